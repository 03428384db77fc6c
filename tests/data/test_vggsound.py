"""From clips in a folder to the networks' inputs: names, csv, classes, layout, spectrograms, frames."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.io.wavfile
import torch
from clips import make_videos
from PIL import Image
from torch.nn.functional import interpolate

from mfh import InputError, PairedDataset
from mfh.data.decoded import DecodedRows
from mfh.data.sources.vggsound.inputs import NormalizeVideo, Spectrogram, magnitude
from mfh.data.sources.vggsound.prepare import PrepareReport, prepare
from mfh.data.sources.vggsound.read import spread
from mfh.data.sources.vggsound.reader import load

LABELS = [["dog, barking", 'playing "drums"', "wind"][(i // 3) % 3] for i in range(30)]
SMALL: dict[str, Any] = {"frames": 4, "size": (16, 24), "jobs": 0, "progress": False}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The csv of 30 clips of three classes, beside their folder; not to be changed."""
    return make_videos(tmp_path_factory.mktemp("vggsound"), LABELS)


@pytest.fixture(scope="module")
def ready(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    """The prepared folder; not to be changed."""
    out = tmp_path_factory.mktemp("ready")
    return out, prepare(source, source.parent / "clips", out, **SMALL)


@pytest.fixture(scope="module")
def data(ready: tuple[Path, PrepareReport]) -> PairedDataset:
    return load(ready[0])


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_folder_is_the_authors(ready: tuple[Path, PrepareReport]) -> None:
    out, report = ready
    assert (report.clips, report.decoded, report.absent, report.skipped) == (30, 30, (), ())
    assert report.splits == {"train": 17, "validation": 3, "test": 10}
    assert sorted(path.name for path in (out / "train").iterdir()) == ["audio_npy", "video_jpg"]
    assert sorted(path.name for path in (out / "test").iterdir()) == ["audio", "audio_npy", "video_jpg"]
    labels = json.loads((out / "label.json").read_text())
    names = (out / "classes.txt").read_text().splitlines()
    assert names == ["dog, barking", 'playing "drums"', "wind"]
    assert [names[labels[f"video{i}"]] for i in range(30)] == LABELS
    for i, split in ((0, "train"), (2, "test")):
        waveform = np.load(out / split / "audio_npy" / f"video{i}_{i:06d}.npy")
        assert waveform.dtype == np.float32
        assert waveform.shape[0] == 1
        assert abs(waveform.shape[1] - 16_000) < 2_100  # AAC comes in blocks of 1024 samples
        with Image.open(out / split / "video_jpg" / f"video{i}_{i:06d}.jpg") as picture:
            assert picture.size == (24, 4 * 16)
    rate, wav = scipy.io.wavfile.read(out / "test" / "audio" / "video2_000002.wav")
    assert rate == 16_000
    np.testing.assert_allclose(wav / 32_767, waveform[0], atol=1e-4)


def test_validation_is_a_tenth_of_train_and_stratified(data: PairedDataset) -> None:
    assert data.split is not None
    held = data.label[torch.from_numpy(data.split == "validation")]
    assert sorted(held.tolist()) == [0, 1, 2]
    test = {name for name, split in zip(data.id, data.split, strict=True) if split == "test"}
    assert test == {f"video{i}_{i:06d}" for i in range(2, 30, 3)}


def test_inputs_show_what_the_clips_hold(data: PairedDataset) -> None:
    assert data.shape("video") == (4, 16, 24, 3)
    assert isinstance(data.modalities["video"], DecodedRows)
    rows = torch.arange(len(data))
    audio, video = data.inputs("audio", rows), data.inputs("video", rows)
    assert audio.shape == (30, 1, 513, 1 + data.shape("audio")[1] // 512)
    assert video.shape == (30, 3, 4, 16, 24)
    hertz = audio[:, 0].mean(dim=-1).argmax(dim=-1) * 16_000 / 1024
    torch.testing.assert_close(hertz, 200.0 * (1 + data.label), atol=8.0, rtol=0)
    brightness = video.mean(dim=(1, 3, 4))
    assert (brightness.diff(dim=1) > 0.3).all()  # in the order of time
    means = torch.stack([brightness[data.label == code].mean() for code in range(3)])
    assert (means.diff() > 0.2).all()


def test_fewer_frames_and_other_sizes_are_options(ready: tuple[Path, PrepareReport]) -> None:
    full, part = load(ready[0]), load(ready[0], frames=2, size=8, audio_frames=20, log=True)
    rows = torch.tensor([3, 1])
    assert torch.equal(part.read(["video"], rows)["video"], full.read(["video"], rows)["video"][:, [1, 3]])
    assert part.inputs("video", rows).shape == (2, 3, 2, 8, 8)
    expected = interpolate(full.inputs("audio", rows), (513, 20), mode="bilinear").log1p()
    torch.testing.assert_close(part.inputs("audio", rows), expected)
    assert full.fingerprint != part.fingerprint
    assert load(ready[0]).fingerprint == full.fingerprint
    with pytest.raises(InputError, match=r"`frames` must lie in 1 \.\.\. 4"):
        load(ready[0], frames=5)


def test_the_cache_gives_the_same_and_decodes_once(ready: tuple[Path, PrepareReport], data: Any) -> None:
    cached = load(ready[0], cache=True)
    assert isinstance(cached.modalities["video"], np.memmap)
    assert cached.fingerprint == data.fingerprint
    rows = torch.tensor([20, 7, 0])
    for name in ("audio", "video"):
        assert torch.equal(cached.inputs(name, rows), data.inputs(name, rows))
    before = {path: path.stat().st_mtime_ns for path in (ready[0] / "cache").iterdir()}
    load(ready[0], cache=True)
    assert {path: path.stat().st_mtime_ns for path in (ready[0] / "cache").iterdir()} == before


@pytest.mark.parametrize("length", [160_000, 159_999, 48_672, 1_024])
def test_spectrograms_are_those_of_librosa(length: int) -> None:
    waveform = np.random.default_rng(0).normal(size=length).astype(np.float32)
    scaled = waveform / (1.1 * np.abs(waveform).max())
    expected = np.abs(librosa.stft(scaled, n_fft=1024, win_length=1024, hop_length=512, window="hann"))
    found = magnitude(torch.from_numpy(waveform)[None])[0]
    assert found.shape == (513, 1 + length // 512)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_shorter_waveforms_are_resized_on_their_own(data: PairedDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    long, short = (torch.randn(1, n, generator=generator) for n in (16_000, 9_000))
    batch = torch.full((3, 1, 16_000), torch.nan)
    batch[0], batch[1, :, :9_000], batch[2] = long, short, 0.01 * long
    found = Spectrogram(32)(batch)
    expected = interpolate(magnitude(short)[:, None], (513, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[0], magnitude(long))
    torch.testing.assert_close(found[1], expected[0])
    torch.testing.assert_close(found[2], found[0])  # loudness does not matter


def test_frames_are_normalised_as_stated() -> None:
    values = torch.randint(0, 256, (2, 3, 4, 6, 3), dtype=torch.uint8)
    found = NormalizeVideo()(values)
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((values / 255 - mean) / sd).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(found, expected)
    resized = NormalizeVideo((2, 3))(values)
    for i in range(3):
        same = interpolate(expected[:, :, i], (2, 3), mode="bilinear", antialias=True, align_corners=False)
        torch.testing.assert_close(resized[:, :, i], same)


def test_spread_takes_the_middles() -> None:
    assert spread(32, 32).tolist() == list(range(32))
    assert spread(5, 2).tolist() == [1, 3]


def test_absent_clips_are_counted_and_listed(source: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for i in range(12):
        (clips / f"video{i}_{i}.mp4").symlink_to(source.parent / "clips" / f"video{i}_{i:06d}.mp4")
    (clips / "notes.mp4").write_bytes(b"")
    report = prepare(source, clips, tmp_path / "out", classes=2, **SMALL)
    assert (report.clips, report.classes) == (9, 2)
    assert len(report.absent) == 12
    assert read_csv(tmp_path / "out" / "absent.csv")[1:] == [[name] for name in report.absent]
    assert [(Path(n.file).name, n.reason) for n in report.skipped] == [
        ("notes.mp4", "the name must be <id>_<start second>")
    ]
    assert "12 absent, 1 skipped" in str(report)


def test_the_crop_is_cut_before_resizing(source: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for i in (0, 4, 8):
        (clips / f"video{i}_{i}.mp4").symlink_to(source.parent / "clips" / f"video{i}_{i:06d}.mp4")
    settings = {**SMALL, "size": 8, "crop": (8, 24, 0, 16)}
    prepare(source, clips, tmp_path / "out", **settings)
    assert load(tmp_path / "out").shape("video") == (4, 8, 8, 3)
    with pytest.raises(InputError, match=r"`crop` \(8, 40, 0, 16\) reaches beyond its frames of 32 x 48"):
        prepare(source, clips, tmp_path / "beyond", **{**settings, "crop": (8, 40, 0, 16)})
    with pytest.raises(InputError, match="with top < bottom and left < right"):
        prepare(source, clips, tmp_path / "wrong", **{**settings, "crop": (8, 8, 0, 16)})
    with pytest.raises(InputError, match=r"`out` must be new .* `crop` \[8, 24, 0, 16\] \(now None\)"):
        prepare(source, clips, tmp_path / "out", **{**settings, "crop": None})


def test_a_clip_may_have_no_label(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for i in (0, 1, 4, 8):
        (clips / f"video{i}_{i}.mp4").symlink_to(source.parent / "clips" / f"video{i}_{i:06d}.mp4")
    lines = read_csv(source)
    lines = [[*line[:2], "" if line[0] == "video1" else line[2], line[3]] for line in lines]
    with (tmp_path / "vggsound.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    for shards in (None, 1.0):
        out = tmp_path / f"out{shards}"
        caplog.clear()
        with caplog.at_level(logging.INFO, "mfh"):
            prepare(tmp_path / "vggsound.csv", clips, out, **SMALL, shards=shards)
        assert [text for text in caplog.messages if "no label" in text] == ["1 of 4 clips have no label"]
        if shards is None:
            assert "video1" not in json.loads((out / "label.json").read_text())
        data = load(out)
        assert dict(zip(data.id, data.labelled, strict=True))["video1_000001"] == np.False_
        assert data.labelled.sum() == 3
    (out / "clips.csv").unlink()  # the tar files alone
    bare = load(out)
    assert bare.labelled.tolist() == [name != "video1_000001" for name in bare.id]


def test_frames_come_from_a_span_of_the_clip(ready: tuple[Path, PrepareReport]) -> None:
    prepared = ready[0]
    whole = load(prepared)
    stored = whole.shape("video")[0]
    late = load(prepared, span=(0.5, 1.0))
    assert late.shape("video")[0] == stored // 2
    rows = slice(0, 2)
    np.testing.assert_array_equal(
        late.modalities["video"][rows], whole.modalities["video"][rows][:, stored - stored // 2 :]
    )
    assert late.fingerprint != load(prepared, frames=stored // 2).fingerprint
    for span, text in (
        ((0.5, 0.5), "`span` must be two shares"),
        ((0.5, 1.0), "those stored in `span` 0.5 to 1"),
    ):
        with pytest.raises(InputError, match=text):
            load(prepared, frames=stored, span=span)

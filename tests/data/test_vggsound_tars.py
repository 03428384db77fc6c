"""VGGSound in tar files: packing, resuming, reading from anywhere, streaming. And the authors' folder."""

import functools
import http.server
import io
import json
import logging
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from clips import make_videos
from torch.utils.data import DataLoader

from mfh import InputError, PairedDataset
from mfh.data.manifest import Manifest
from mfh.data.sources.vggsound.index import INDEX_FILE, held_out
from mfh.data.sources.vggsound.pack import pack
from mfh.data.sources.vggsound.prepare import prepare
from mfh.data.sources.vggsound.reader import load
from mfh.data.sources.vggsound.stream import stream

LABELS = [["dog, barking", "bell"][i // 3 % 2] for i in range(18)]
SMALL: dict[str, Any] = {"frames": 4, "size": (16, 24), "jobs": 0, "progress": False}
TINY = {**SMALL, "shards": 0.04}  # a few clips each


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The csv of 18 clips, beside their folder; not to be changed."""
    return make_videos(tmp_path_factory.mktemp("source"), LABELS, seconds=0.5)


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' layout; not to be changed."""
    out = tmp_path_factory.mktemp("folder")
    prepare(source, source.parent / "clips", out, **SMALL)
    return out


@pytest.fixture(scope="module")
def tars(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tar files; not to be changed."""
    out = tmp_path_factory.mktemp("tars")
    prepare(source, source.parent / "clips", out, **TINY)
    return out


def same(first: PairedDataset, second: PairedDataset, *, places: float = 2e-3) -> None:
    assert first.id.tolist() == second.id.tolist()
    assert torch.equal(first.label, second.label)
    assert first.split is not None
    assert second.split is not None
    assert first.split.tolist() == second.split.tolist()
    rows = torch.arange(len(first))
    assert torch.equal(first.inputs("video", rows), second.inputs("video", rows))
    torch.testing.assert_close(
        first.inputs("audio", rows), second.inputs("audio", rows), atol=places, rtol=places
    )


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_tars_hold_what_the_folder_holds(folder: Path, tars: Path) -> None:
    files = sorted(tars.glob("*.tar"))
    assert {path.name.rpartition("-")[0] for path in files} == {"train", "validation", "test"}
    assert len(files) >= 4
    assert not (tars / "parts").exists()
    names = [name for path in files for name in names_in(path)]
    assert len(names) == len(set(names)) == 3 * 18
    with tarfile.open(files[0]) as tar:
        known = json.load(tar.extractfile(names_in(files[0])[0]))  # type: ignore[arg-type]
    assert known["class"] in LABELS
    same(load(folder), load(tars))
    assert load(folder).class_names == load(tars).class_names == ("bell", "dog, barking")


def test_source_clips_in_tars_give_the_same(source: Path, folder: Path, tmp_path: Path) -> None:
    clips = sorted((source.parent / "clips").iterdir())
    for number in range(3):
        with tarfile.open(tmp_path / f"shard-{number:06d}.tar", "w") as tar:
            for path in clips[number::3]:
                name, start = path.stem.rsplit("_", 1)
                tar.add(path, f"some/folder/{name}_{int(start)}.mp4")
    pattern = tmp_path / "shard-{000000..000002}.tar"
    assert prepare(source, pattern, tmp_path / "a", **SMALL).clips == 18
    same(load(folder), load(tmp_path / "a"), places=0)
    cut = tmp_path / "shard-000001.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    report = prepare(source, tmp_path, tmp_path / "b", **{**SMALL, "jobs": 2})
    assert 13 <= report.clips < 18
    assert len(report.absent) == 18 - report.clips
    assert report.skipped[0].file == str(cut)
    assert "cut short" in report.skipped[0].reason
    with pytest.raises(InputError, match=r"shard-000003\.tar`, one of 4 tar files, does not exist"):
        prepare(source, tmp_path / "shard-{000000..000003}.tar", tmp_path / "c", **SMALL)


def test_resuming_decodes_and_packs_only_what_is_missing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    shutil.copytree(source.parent / "clips", clips)
    late = sorted(clips.iterdir())[:5]
    kept = [(path, path.read_bytes()) for path in late]
    for path in late:
        path.unlink()
    # stopped between decoding and packing
    monkeypatch.setattr("mfh.data.sources.vggsound.prepare.pack", functools.partial(stopped, 0))
    with pytest.raises(KeyboardInterrupt):
        prepare(source, clips, out, **TINY)
    assert len(list((out / "parts").iterdir())) == 2 * 13
    monkeypatch.undo()
    # stopped after a tar file was written and before its parts were gone
    monkeypatch.setattr("mfh.data.sources.vggsound.pack.discard_parts", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, clips, out, **TINY)
    monkeypatch.undo()
    assert len(list(out.glob("*.tar"))) == 1
    report = prepare(source, clips, out, **TINY)
    assert (report.clips, report.decoded, report.resumed) == (13, 0, 13)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    splits = dict(zip(load(out).id, load(out).split, strict=True))  # type: ignore[arg-type]
    for path, content in kept:
        path.write_bytes(content)
    report = prepare(source, clips, out, **TINY)
    assert (report.clips, report.decoded, report.resumed) == (18, 5, 13)
    after = load(out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert splits.items() <= dict(zip(after.id, after.split, strict=True)).items()  # type: ignore[arg-type]
    assert not (out / "parts").exists()
    names = [name for path in out.glob("*.tar") for name in names_in(path)]
    assert len(names) == len(set(names)) == 3 * 18


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_the_index_can_be_built_from_the_tars(tars: Path, tmp_path: Path) -> None:
    for path in tars.glob("*.tar"):
        shutil.copy(path, tmp_path)
    same(load(tars), load(tmp_path))
    train = load(str(tmp_path / "{train,test}-000000.tar"))
    assert 4 < len(train) < 18
    broken = tmp_path / "train-000000.tar"
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(InputError, match="cut short"):
        load(tmp_path)


def test_from_memory(tars: Path) -> None:
    system = fsspec.filesystem("memory")
    for path in tars.iterdir():
        system.pipe_file(f"/vgg/{path.name}", path.read_bytes())
    same(load(tars), load("memory://vgg"))
    some = "{train,validation,test}-000000.tar"
    same(load(str(tars / some)), load(f"memory://vgg/{some}"))
    with pytest.raises(InputError, match="`cache` must name a folder"):
        load("memory://vgg", cache=True)
    system.rm("/vgg", recursive=True)
    with pytest.raises(InputError, match=r"`memory://vgg` does not"):
        load("memory://vgg")
    with pytest.raises(InputError, match="URLs of `nonsense://` cannot be read"):
        load("nonsense://vgg")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with ranges or without."""

    ranges = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if not (self.ranges and wanted and path.is_file()):
            super().do_GET()
            return
        content = path.read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture(params=[True, False])
def server(tars: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Served", (Handler,), {"ranges": request.param})
    served = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(tars))
    )
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()
    thread.join()
    served.server_close()


def test_over_http(tars: Path, server: str, tmp_path: Path) -> None:
    data = load(server)
    same(load(tars), data)
    cached = load(server, cache=tmp_path / "cache")
    assert isinstance(cached.modalities["video"], np.memmap)
    same(data, cached, places=0)
    assert len({sample["id"] for sample in stream(server, "test")}) == 6


# --- streaming


@pytest.mark.parametrize(("nodes", "workers"), [(1, 1), (2, 1), (1, 3), (2, 2), (3, 4)])
def test_nodes_and_workers_cover_every_clip_once(
    tars: Path, nodes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(tars)
    assert data.split is not None
    monkeypatch.setenv("WORLD_SIZE", str(nodes))
    monkeypatch.setenv("NUM_WORKERS", str(workers))
    seen = []
    for node in range(nodes):
        for worker in range(workers):
            monkeypatch.setenv("RANK", str(node))
            monkeypatch.setenv("WORKER", str(worker))
            seen += [sample["id"] for sample in stream(tars, "train", buffer=3)]
    assert sorted(seen) == sorted(data.id[data.split == "train"])


def test_streams_are_shuffled_by_seed_and_epoch(tars: Path) -> None:
    def ids(seed: int, epoch: int = 0) -> list[str]:
        clips = stream(tars, "train", seed=seed)
        clips.epoch = epoch
        return [sample["id"] for sample in clips]

    orders = [ids(0), ids(1), ids(0, 1)]
    assert ids(0) == orders[0]
    assert len({tuple(order) for order in orders}) == 3
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_streamed_samples_are_those_of_load(tars: Path) -> None:
    data = load(tars, frames=2)
    rows = {name: row for row, name in enumerate(data.id)}
    batches = DataLoader(stream(tars, "test", frames=2), batch_size=4, num_workers=2)
    seen = 0
    for batch in batches:
        index = [rows[name] for name in batch["id"]]
        raw = data.read(["audio", "video"], index)
        assert torch.equal(batch["video"], raw["video"])
        assert torch.equal(batch["audio"].nan_to_num(9), raw["audio"].nan_to_num(9))
        assert torch.equal(batch["label"], data.label[index])
        seen += len(index)
    assert seen == 6


def test_streams_of_nothing(folder: Path, tars: Path) -> None:
    with pytest.raises(InputError, match="has no tar files of the train split"):
        stream(folder)
    with pytest.raises(InputError, match="`split` must be one of"):
        stream(tars, "all")


# --- the authors' folder, and damage


@pytest.fixture
def authors(folder: Path, tmp_path: Path) -> Path:
    """What the authors have: no index, no names of classes."""
    out = tmp_path / "authors"
    shutil.copytree(folder, out)
    for name in ("clips.csv", "classes.txt", "prepare.json", "absent.csv", "skipped.csv"):
        (out / name).unlink()
    return out


def test_the_authors_folder_as_it_is(
    folder: Path, authors: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfh.data.sources.vggsound.reader.FRAMES", 4)  # theirs hold 32
    data = load(authors)
    reference = load(folder)
    order = np.argsort(data.id)
    assert data.id[order].tolist() == reference.id.tolist()
    assert data.label[order].tolist() == reference.label.tolist()
    assert data.class_names == ("0", "1")
    assert data.split is not None
    assert (data.split == "validation").sum() == (reference.split == "validation").sum() == 2
    rows = torch.from_numpy(order)
    torch.testing.assert_close(data.inputs("audio", rows), reference.inputs("audio", torch.arange(len(rows))))
    pictures = sorted((authors / "train" / "video_jpg").iterdir())
    pictures[0].write_bytes(pictures[0].read_bytes()[:-40])
    (authors / "train" / "audio_npy" / f"{pictures[1].stem}.npy").unlink()
    array = authors / "train" / "audio_npy" / f"{pictures[2].stem}.npy"
    array.write_bytes(array.read_bytes()[:500])
    shutil.copy(pictures[3], pictures[3].with_name("stranger.jpg"))
    test = sorted((authors / "test" / "audio_npy").iterdir())[0]
    test.unlink()  # its wav is still there
    with caplog.at_level(logging.WARNING):
        data = load(authors)
    assert len(data) == 18 - 3
    assert "4 clips" in caplog.text
    row = data.id.tolist().index(test.stem)
    found = data.inputs("audio", torch.tensor([row]))
    expected = reference.inputs("audio", torch.tensor([reference.id.tolist().index(test.stem)]))
    torch.testing.assert_close(found, expected, atol=5e-2, rtol=1e-2)


def test_clips_that_the_labels_do_not_name_have_none(
    folder: Path, authors: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfh.data.sources.vggsound.reader.FRAMES", 4)
    known = json.loads((authors / "label.json").read_text())
    gone = sorted(known)[0]
    (authors / "label.json").write_text(json.dumps({name: known[name] for name in known if name != gone}))
    with caplog.at_level(logging.INFO, "mfh"):
        data = load(authors)
    assert [text for text in caplog.messages if "no label" in text] == ["1 of 18 samples have no label."]
    reference = load(folder)
    order = np.argsort(data.id)
    assert data.id[order].tolist() == reference.id.tolist()
    without = reference.without_labels(
        np.array([row for row, name in enumerate(reference.id) if name.startswith(f"{gone}_")])
    )
    assert data.label[order].tolist() == without.label.tolist()
    assert -1 in data.label


def test_clips_without_a_label_are_not_held_out_but_for_their_video() -> None:
    splits, videos = ["train"] * 40, [f"v{i // 2}" for i in range(40)]
    labels: list[object] = [i // 2 % 2 for i in range(40)]
    known = held_out(splits[:20], labels[:20], videos[:20], seed=0)
    assert known.count("validation") == 2
    for mark in ("", -1):
        alone = [*labels[:20], *[mark] * 20]
        assert held_out(splits, alone, videos, seed=0) == [*known, *["train"] * 20]
    held = known.index("validation")
    more = held_out(
        [*splits[:20], "train", "test"], [*labels[:20], -1, -1], [*videos[:20], videos[held], "x"], seed=0
    )
    assert more == [*known, "validation", "test"]
    assert held_out(splits[:20], [*labels[:9], *[-1] * 11], videos[:20], seed=0) == splits[:20]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda out: (out / "label.json").unlink(), "does not"),
        (lambda out: (out / "label.json").write_text("[]"), "must map youtube ids to classes"),
        (lambda out: (out / "label.json").write_text('{"other": 1}'), "It names none of 18 clips"),
    ],
)
def test_what_is_no_folder_of_the_authors(authors: Path, change: Any, text: str) -> None:
    change(authors)
    with pytest.raises(InputError, match=text):
        load(authors)


def test_a_damaged_clip_is_told_once_and_blank(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    data = load(out)
    pictures = sorted((out / "train" / "video_jpg").iterdir())
    pictures[3].write_bytes(pictures[3].read_bytes()[:400])
    array = out / "train" / "audio_npy" / f"{pictures[3].stem}.npy"
    np.save(array, np.full((1, 9), np.nan, np.float32))
    row = data.id.tolist().index(pictures[3].stem)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            video, audio = (data.inputs(name, torch.tensor([row])) for name in ("video", "audio"))
    assert caplog.text.count("is damaged and is replaced by a blank sample") == 1
    assert pictures[3].stem in caplog.text
    assert video.abs().max() < 0.02
    assert not audio.any()
    pictures[4].write_bytes(b"")
    with pytest.raises(InputError, match="At least 2 of 18 samples are damaged, more than 1%"):
        data.inputs("video", torch.tensor([data.id.tolist().index(pictures[4].stem)]))
    pictures[5].unlink()  # no fault of the sample's
    with pytest.raises(InputError, match=r"jpg` cannot be read"):
        data.inputs("video", torch.tensor([data.id.tolist().index(pictures[5].stem)]))


def test_a_damaged_index(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "out")
    path = tmp_path / "out" / INDEX_FILE
    text = path.read_text()
    path.write_text(text.replace(",train,", ",test,", 1))
    with pytest.raises(InputError, match=r"clips\.csv` is damaged or exchanged: its checksum differs"):
        load(tmp_path / "out")
    (tmp_path / "out" / "checksums.csv").unlink()
    for damaged, error in ((text[:-150], "damaged"), (text.splitlines()[0], "has no clips")):
        path.write_text(damaged)
        with pytest.raises(InputError, match=error):
            load(tmp_path / "out")


def test_a_damaged_tar_is_refused_and_not_said_to_be_made_again(
    source: Path, tars: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(tars, out)
    path = min(out.glob("*.tar"))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}` is damaged or exchanged: remove it"):
        prepare(source, source.parent / "clips", out, **TINY)
    assert caplog.text == ""
    path.unlink()
    prepare(source, source.parent / "clips", out, **TINY)
    assert {p.name: p.read_bytes() for p in out.glob("*.tar")} == {
        p.name: p.read_bytes() for p in tars.glob("*.tar")
    }


def test_flac_keeps_the_waveform(folder: Path, tars: Path) -> None:
    name = "video2_000002"
    array = np.load(folder / "test" / "audio_npy" / f"{name}.npy")[0]
    for path in tars.glob("test-*.tar"):
        with tarfile.open(path) as tar:
            if f"{name}.flac" in tar.getnames():
                content = tar.extractfile(f"{name}.flac").read()  # type: ignore[union-attr]
    flac, rate = soundfile.read(io.BytesIO(content))
    assert rate == 16_000
    np.testing.assert_allclose(flac * np.abs(array).max(), array, atol=2e-5)


def test_packing_nothing_leaves_nothing(tmp_path: Path) -> None:
    pack(tmp_path, ["a"], [], Manifest(tmp_path), frames=1, megabytes=1.0, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rename", ["my.clip.v1 {}", ".{}", "{}" + "x" * 150, "ü" * 60 + "{}"])
def test_names_with_dots_and_long_names(rename: str, source: Path, tmp_path: Path) -> None:
    """Ids of clips that do not come from YouTube: packed, read and streamed under their own names."""
    clips = tmp_path / "clips"
    clips.mkdir()
    lines = source.read_text(encoding="utf-8").splitlines()[:6]
    for number in range(6):
        name = rename.format(f"video{number}")
        shutil.copy(
            source.parent / "clips" / f"video{number}_{number:06d}.mp4", clips / f"{name}_{number}.mp4"
        )
        lines[number] = lines[number].replace(f"video{number}", name, 1)
    (tmp_path / "clips.csv").write_text("\n".join(lines), encoding="utf-8")
    prepare(tmp_path / "clips.csv", clips, tmp_path / "out", **TINY)
    names = {f"{rename.format(f'video{number}')}_{number:06d}" for number in range(6)}
    assert set(load(tmp_path / "out").id) == names
    assert {
        sample["id"] for split in ("train", "test") for sample in stream(tmp_path / "out", split)
    } == names

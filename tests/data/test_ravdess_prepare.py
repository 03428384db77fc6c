"""From clips to the authors' folder: what is written, what is skipped, splits, resuming, interruption."""

import csv
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clips import SMALL, prepare_small
from PIL import Image

from mfh import InputError
from mfh.data import media
from mfh.data.media_video import decode_picture
from mfh.data.sources.ravdess.generated import encode_mp4
from mfh.data.sources.ravdess.prepare import prepare

CSV = {"train": "spa_dl.csv", "validation": "spa_val.csv", "test": "spa_test.csv"}


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def splits(out: Path) -> dict[str, list[list[str]]]:
    return {name: read_csv(out / "data" / "data_file" / file)[1:] for name, file in CSV.items()}


def files(folder: Path) -> dict[str, int]:
    """Relative names and times of all files, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copy(clips: Path, to: Path, *actors: int) -> Path:
    for actor in actors or (1, 2, 3):
        shutil.copytree(clips / f"Actor_{actor:02d}", to / f"Actor_{actor:02d}")
    return to


def test_the_folder_is_the_authors(prepared: Path, clips: Path) -> None:
    arrays = sorted((prepared / "data" / "aud_features").iterdir())
    pictures = sorted((prepared / "data" / "vid_features").iterdir())
    assert len(arrays) == len(pictures) == 24
    assert {path.name[:3] for path in arrays} == {"03-"}
    assert {path.name[:3] for path in pictures} == {"01-"}
    rows = [row for part in splits(prepared).values() for row in part]
    assert sorted(row[0] for row in rows) == [path.name for path in arrays]
    assert sorted(row[1] for row in rows) == [path.name for path in pictures]
    for audio, image, label in rows:
        assert audio[3:-4] == image[3:-4]
        assert int(label) == int(audio[6:8]) - 1
    for name, part in CSV.items():
        assert read_csv(prepared / "data" / "data_file" / part)[0] == ["audio", "image", "label"], name
    audio, image, _ = rows[5]
    wav = next(clips.rglob(f"{Path(audio).stem}.wav"))
    array = np.load(prepared / "data" / "aud_features" / audio)
    assert array.dtype == np.float32
    expected = media.mfcc(media.decode_audio(wav), frames=16, seconds=0.75)
    np.testing.assert_array_equal(array, expected)
    with Image.open(prepared / "data" / "vid_features" / image) as picture:
        values = np.asarray(picture).astype(float)
    mp4 = next(clips.rglob(f"{Path(image).stem}.mp4"))
    expected = decode_picture(mp4, height=32, width=64)
    assert np.abs(values - expected).mean() < 6  # JPEG


def test_actors_are_dealt_whole_and_by_the_seed(clips: Path, prepared: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "out"))
    seen = set()
    for seed in range(6):
        report = prepare_small(clips, out, seed=seed)
        assert report.splits == {"train": 8, "validation": 8, "test": 8}
        assert sorted(actor for actors in report.actors.values() for actor in actors) == [1, 2, 3]
        for name, rows in splits(out).items():
            assert {int(row[0][18:20]) for row in rows} == set(report.actors[name])
        again = prepare_small(clips, out, seed=seed)
        assert again.actors == report.actors
        seen.add(tuple(report.actors.items()))
    assert len(seen) > 2


def test_a_random_split_is_stratified_and_warns(
    clips: Path, prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "out"))
    with caplog.at_level(logging.WARNING):
        report = prepare_small(clips, out, split="random")
    assert report.splits == {"train": 8, "validation": 8, "test": 8}  # one of three for each emotion
    for rows in splits(out).values():
        assert Counter(row[2] for row in rows) == {str(label): 1 for label in range(8)}
    assert "accuracies look better" in caplog.text
    first = splits(out)
    prepare_small(clips, out, split="random", seed=1)
    assert splits(out) != first


@pytest.mark.parametrize("actors", [1, 2])
def test_fewer_than_three_actors_are_all_training_data(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, actors: int
) -> None:
    raw = copy(clips, tmp_path / "raw", *range(1, actors + 1))
    with caplog.at_level(logging.WARNING):
        report = prepare_small(raw, tmp_path / "out")
    assert report.splits == {"train": 8 * actors, "validation": 0, "test": 0}
    assert f"The clips are of {actors} actor" in report.warning
    assert report.warning in caplog.text
    assert [len(rows) for rows in splits(tmp_path / "out").values()] == [8 * actors, 0, 0]


def test_zips_and_unpacked_folders_give_the_same(clips: Path, prepared: Path, tmp_path: Path) -> None:
    raw = copy(clips, tmp_path / "raw", 3)
    for actor in (1, 2):
        for kind, suffix in (("Video", ".mp4"), ("Audio", ".wav")):
            path = raw / f"{kind}_Speech_Actor_{actor:02d}.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for file in sorted((clips / f"Actor_{actor:02d}").glob(f"*{suffix}")):
                    archive.write(file, f"Actor_{actor:02d}/{file.name}")
    before = files(raw)
    report = prepare_small(raw, tmp_path / "out")
    assert (report.clips, report.skipped, report.unpaired) == (24, (), ())
    assert files(raw) == before
    assert splits(tmp_path / "out") == splits(prepared)
    for folder in ("aud_features", "vid_features"):
        for path in sorted((prepared / "data" / folder).iterdir()):
            assert path.read_bytes() == (tmp_path / "out" / "data" / folder / path.name).read_bytes()


def test_damaged_clips_are_skipped_listed_and_counted(clips: Path, tmp_path: Path) -> None:
    raw = copy(clips, tmp_path / "raw", 1)
    folder = raw / "Actor_01"

    def path(emotion: int, modality: str) -> Path:
        return folder / f"{modality}-01-{emotion:02d}-01-01-01-01.{'mp4' if modality == '01' else 'wav'}"

    path(1, "01").write_bytes(path(1, "01").read_bytes()[:20000])  # cut off
    path(2, "03").write_bytes(media.encode_wav(np.zeros(0, np.float32), rate=24000))  # a wav of length zero
    path(3, "03").unlink()
    path(3, "01").write_bytes(encode_mp4(np.full((9, 16, 16, 3), 9, np.uint8), None))  # no sound, no wav
    path(4, "03").unlink()  # the mp4's own track
    path(5, "01").write_bytes(b"")
    path(6, "01").unlink()  # unpaired
    (folder / "01-01-09-01-01-01-01.mp4").write_bytes(b"-")
    report = prepare_small(raw, tmp_path / "out")
    assert (report.clips, report.decoded, report.resumed) == (3, 3, 0)
    reasons = {Path(note.file).name[6:8]: note.reason for note in report.skipped}
    assert sorted(reasons) == ["01", "02", "03", "05", "09"]
    assert reasons["01"].startswith("video: ")
    assert reasons["02"] == "audio: the audio has length zero"
    assert reasons["03"] == "audio: no audio track"
    assert reasons["05"] == "video: the file is empty"
    assert reasons["09"] == "emotion is 09, must be 01-08"
    assert [Path(note.file).name for note in report.unpaired] == [path(6, "03").name]
    listed = read_csv(tmp_path / "out" / "skipped.csv")
    assert listed == [["file", "reason"], *([note.file, note.reason] for note in report.skipped)]
    assert read_csv(tmp_path / "out" / "unpaired.csv")[1:] == [list(vars(report.unpaired[0]).values())]
    rows = splits(tmp_path / "out")["train"]
    assert [row[0] for row in rows] == [
        "01-01-04-01-01-01-01.npy",
        "03-01-07-01-01-01-01.npy",
        "03-01-08-01-01-01-01.npy",
    ]
    assert "5 skipped, 1 unpaired" in str(report)

    shutil.copy(clips / "Actor_01" / path(1, "01").name, path(1, "01"))  # mended
    report = prepare_small(raw, tmp_path / "out")
    assert (report.clips, report.decoded, report.resumed, len(report.skipped)) == (4, 1, 3, 4)


def test_nothing_usable_is_an_error(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "01-01-01-01-01-01-01.mp4").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"None of 1 clips can be decoded; .*The first: audio: the file is empty"
    ):
        prepare_small(tmp_path / "raw", tmp_path / "out")
    assert len(read_csv(tmp_path / "out" / "skipped.csv")) == 2


def test_a_second_call_decodes_nothing_again(clips: Path, prepared: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "out"))
    before = files(out / "data" / "aud_features") | files(out / "data" / "vid_features")
    (out / "data" / "aud_features" / "03-01-04-01-01-01-02.npy").unlink()
    report = prepare_small(clips, out)
    assert (report.decoded, report.resumed) == (1, 23)
    after = files(out / "data" / "aud_features") | files(out / "data" / "vid_features")
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"03-01-04-01-01-01-02.npy", "01-01-04-01-01-01-02.jpg"}


def test_other_settings_need_another_folder(clips: Path, prepared: Path) -> None:
    before = files(prepared)
    with pytest.raises(InputError, match=r"`out` must be new .* has `height` 32 \(now 16\): name another"):
        prepare_small(clips, prepared, height=16)
    with pytest.raises(InputError, match="`split` must be one of"):
        prepare_small(clips, prepared, split="speaker")
    with pytest.raises(InputError, match="`jobs` must be 0 or more"):
        prepare_small(clips, prepared, jobs=-1)
    with pytest.raises(InputError, match="into equal tiles"):
        prepare_small(clips, prepared, frames=7)
    assert files(prepared) == before


def test_a_missing_package_is_told_before_anything_is_written(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(InputError, match=r"`librosa` .* pip install 'mfh\[av\]'"):
        prepare_small(clips, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_it_and_leaves_nothing_half_written(clips: Path, tmp_path: Path) -> None:
    raw = copy(clips, tmp_path / "raw", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # the arrays have 2688 bytes
    try:
        with pytest.raises(
            InputError, match=r"\.npy` cannot be written: File too large\. No part of it is left"
        ):
            prepare_small(raw, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(files(tmp_path / "out")) == ["prepare.json"]
    assert prepare_small(raw, tmp_path / "out").clips == 8


SCRIPT = """
import sys
from mfh.data.sources.ravdess.prepare import prepare
if __name__ == "__main__":
    settings = {settings}
    assert "torch" not in sys.modules
    print(prepare(sys.argv[1], sys.argv[2], jobs=2, progress=False, **settings))
"""


def test_processes_give_the_same_and_an_interrupt_leaves_whole_files(
    clips: Path, prepared: Path, tmp_path: Path
) -> None:
    raw, script, out = tmp_path / "raw", tmp_path / "run.py", tmp_path / "out"
    raw.mkdir()
    for actor in range(1, 16):  # many times the same three actors, so that there is time to interrupt
        for path in (clips / f"Actor_{(actor - 1) % 3 + 1:02d}").iterdir():
            (raw / f"{path.stem[:-2]}{actor:02d}{path.suffix}").symlink_to(path)
    script.write_text(SCRIPT.format(settings=SMALL))
    command = [sys.executable, str(script), str(raw), str(out)]
    pictures = out / "data" / "vid_features"
    for _ in range(3):  # on a busy machine the command may end before it can be interrupted
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=partial(
                signal.signal, signal.SIGINT, signal.SIG_DFL
            ),  # ignored in a shell's background
        )
        deadline = time.monotonic() + 120
        while not (pictures.is_dir() and any(pictures.glob("*.jpg"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        _, errors = process.communicate(timeout=120)
        if process.returncode != 0:
            break
        shutil.rmtree(out)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in errors
    left = sorted(path for path in out.rglob("*") if path.is_file())
    assert 1 < len(left) < 240
    for path in left:
        if path.name not in ("prepare.json", "checksums.csv"):
            actor = (int(path.stem[-2:]) - 1) % 3 + 1
            same = prepared / path.parent.relative_to(out) / f"{path.stem[:-2]}{actor:02d}{path.suffix}"
            assert path.read_bytes() == same.read_bytes()
    report = prepare_small(clips, out)
    assert report.resumed > 0
    assert report.clips == 24


@pytest.mark.slow
def test_a_process_that_dies_loses_nothing(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def kill_one() -> None:
        while not list(out.rglob("*.jpg")):
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    report = prepare_small(clips, out, jobs=2)
    killer.join()
    assert (report.clips, report.skipped) == (24, ())


def test_the_settings_are_noted(prepared: Path) -> None:
    noted = json.loads((prepared / "prepare.json").read_text())
    assert len(noted.pop("checksum")) == 64
    assert noted == {"settings": {"frames": 8, **SMALL}, "split": "actor", "seed": 0}


def test_real_recordings(data_folder: Path, tmp_path: Path) -> None:
    raw = data_folder / "ravdess_raw"
    report = prepare(raw, tmp_path / "out", jobs=0, progress=False)
    assert (report.clips, len(report.unpaired), report.skipped) == (1, 3, ())
    assert np.load(tmp_path / "out/data/aud_features/01-01-01-01-01-01-01.npy").shape == (40, 256)
    with Image.open(tmp_path / "out/data/vid_features/01-01-01-01-01-01-01.jpg") as picture:
        assert picture.size == (512, 256)

"""The reader of the authors' folder: values, normalisation, splits, bad input, the cache."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mfh import InputError
from mfh.data.sources.ravdess.reader import NormalizeAudio, NormalizeImage, load
from mfh.data.splits import draw_split

CSV = {"train": "spa_dl.csv", "validation": "spa_val.csv", "test": "spa_test.csv"}


def authors_folder(root: Path, per_split: int = 9, frames: tuple[int, ...] = (12,)) -> Path:
    """A folder as the authors', with names of their own making, float64 arrays and png pictures."""
    rng = np.random.default_rng(0)
    for name in ("aud_features", "vid_features", "data_file"):
        (root / "data" / name).mkdir(parents=True)
    number = 0
    for file in CSV.values():
        lines = ["audio_name,image_name,emotion"]
        for i in range(per_split):
            np.save(
                root / "data/aud_features" / f"a{number}.npy", rng.normal(size=(40, frames[i % len(frames)]))
            )
            pixels = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "data/vid_features" / f"v{number}.png")
            lines.append(f"a{number}.npy,v{number}.png,{i % 8}")
            number += 1
        (root / "data/data_file" / file).write_text("\n".join(lines) + "\n")
    return root


def edit(folder: Path, split: str, old: str, new: str) -> None:
    path = folder / "data" / "data_file" / CSV[split]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_authors_folder_is_read_as_it_is(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path)
    data = load(folder)
    assert data.shape("audio") == (1, 40, 12)
    assert data.shape("image") == (3, 16, 32)
    assert list(data.split) == ["train"] * 9 + ["validation"] * 9 + ["test"] * 9
    assert data.label.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0] * 3
    assert list(data.id) == [f"v{i}" for i in range(27)]
    assert data.group is None
    assert data.class_names[7] == "surprised"
    for row in (0, 13, 26):
        expected = np.load(folder / "data/aud_features" / f"a{row}.npy").astype(np.float32)
        assert np.array_equal(data.modalities["audio"][row, 0], expected)
        with Image.open(folder / "data/vid_features" / f"v{row}.png") as picture:
            assert np.array_equal(data.modalities["image"][row], np.asarray(picture).transpose(2, 0, 1))


def test_normalisation_is_the_released_one(tmp_path: Path) -> None:
    data = load(authors_folder(tmp_path))
    rows = torch.tensor([3, 5])
    audio = torch.from_numpy(np.array(data.modalities["audio"][[3, 5]]))
    torch.testing.assert_close(data.inputs("audio", rows), (audio - (-10.59)) / 85.66)
    image = torch.from_numpy(np.array(data.modalities["image"][[3, 5]])).double() / 255
    for channel, (mean, sd) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = ((image[:, channel] - mean) / sd).float()
        torch.testing.assert_close(data.inputs("image", rows)[:, channel], expected)


def test_the_released_order_exchanges_frames_0_and_2(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path)
    plain, released = load(folder), load(folder, released_audio_order=True)
    a, b = plain.inputs("audio", slice(0, 4)), released.inputs("audio", slice(0, 4))
    assert torch.equal(b, a[..., [2, 1, 0, *range(3, 12)]])
    assert not torch.equal(a, b)
    assert torch.equal(released.inputs("image", slice(0, 2)), plain.inputs("image", slice(0, 2)))
    values = torch.ones(1, 1, 2, 4)
    NormalizeAudio(released_order=True)(values)
    assert torch.equal(values, torch.ones(1, 1, 2, 4))
    assert NormalizeImage()(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).dtype == torch.float32


def test_names_tell_the_actors(prepared: Path) -> None:
    data = load(prepared)
    assert len(data) == 24
    assert data.group_names == ("1", "2", "3")
    actors = [int(name[-2:]) for name in data.id]
    assert [int(data.group_names[code]) for code in data.group] == actors
    assert [int(name[6:8]) - 1 for name in data.id] == data.label.tolist()
    split = draw_split(data, 0)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [8, 8, 8]
    assert load(prepared / "data").fingerprint == data.fingerprint
    assert load(prepared, cache=False).fingerprint == data.fingerprint


def test_without_test_samples_no_split_is_brought(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "copy"))
    (folder / "checksums.csv").unlink()  # files are changed on purpose
    for split in ("validation", "test"):
        (folder / "data/data_file" / CSV[split]).write_text("audio,image,label\n")
    with caplog.at_level(logging.WARNING):
        data = load(folder)
    assert data.split is None
    assert len(data) == 8
    assert "has no test samples" in caplog.text


def test_the_cache_is_made_once_and_again_after_a_change(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path)
    load(folder, cache=False)
    assert not (folder / "data/cache").exists()
    first = load(folder)
    times = {path.name: path.stat().st_mtime_ns for path in sorted((folder / "data/cache").glob("*.npy"))}
    assert [name.partition("-")[0] for name in times] == ["audio", "image"]
    assert isinstance(first.modalities["image"], np.memmap)
    load(folder)
    cached = sorted((folder / "data/cache").glob("*.npy"))
    assert {path.name: path.stat().st_mtime_ns for path in cached} == times
    np.save(folder / "data/aud_features/a4.npy", np.full((40, 12), 7.0))
    changed = load(folder)
    assert (changed.modalities["audio"][4] == 7).all()
    assert len(list((folder / "data/cache").glob("*.npy"))) == 2


def test_arrays_of_other_lengths_are_fitted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = authors_folder(tmp_path, frames=(12, 12, 10, 15))
    with caplog.at_level(logging.WARNING):
        data = load(folder)
    assert data.shape("audio") == (1, 40, 12)
    short = np.load(folder / "data/aud_features/a2.npy").astype(np.float32)
    assert np.array_equal(data.modalities["audio"][2, 0, :, :10], short)
    assert np.array_equal(data.modalities["audio"][2, 0, :, 10:], short[:, [-1, -1]])
    assert "12 of 27 MFCC arrays do not have 12 frames" in caplog.text


@pytest.mark.parametrize(
    ("split", "old", "new", "message"),
    [
        ("train", "a3.npy", "a99.npy", "`.*spa_dl.csv` line 5 names `a99.npy`, which is not in"),
        ("test", "v20.png", "v99.png", "`.*spa_test.csv` line 4 names `v99.png`, which is not in"),
        ("train", "v3.png,3", "v3.png,8", r"line 5 must have a label 0 \.\.\. 7, or none\. Got '8'"),
        ("train", "v3.png,3", "v3.png,-1", r"must have a label 0 \.\.\. 7, or none\. Got '-1'"),
        ("train", "v3.png,3", "v3.png,happy", r"must have a label 0 \.\.\. 7, or none\. Got 'happy'"),
        ("train", "v3.png,3", "v3.png", "must have three columns: audio, image, label. It has 2"),
        ("test", "a18.npy,v18.png,0", "a0.npy,v0.png,0", "is in train with label 0 and in test with label 0"),
        ("train", "a1.npy,v1.png,1", "a0.npy,v0.png,1", "is in train with label 0 and in train with label 1"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, split: str, old: str, new: str, message: str) -> None:
    folder = authors_folder(tmp_path)
    edit(folder, split, old, new)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_a_clip_may_have_no_label(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path)
    edit(folder, "train", "v3.png,3", "v3.png,")
    data = load(folder)
    assert data.label.tolist()[2:5] == [2, -1, 4]
    assert data.labelled.sum() == 26


def test_names_may_bring_folders_of_another_machine(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path)
    expected = load(folder).fingerprint
    edit(folder, "train", "a3.npy,v3.png", "data/aud_features/a3.npy,C:\\data\\v3.png")
    assert load(folder).fingerprint == expected
    (tmp_path / "secret.npy").write_bytes(b"-")
    edit(folder, "train", "a4.npy", "../../secret.npy")
    with pytest.raises(InputError, match=r"names `secret.npy`, which is not in `.*aud_features`"):
        load(folder)


def test_repeated_rows_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = authors_folder(tmp_path)
    edit(folder, "train", "a3.npy,v3.png,3", "a3.npy,v3.png,3\na3.npy,v3.png,3")
    with caplog.at_level(logging.WARNING):
        assert len(load(folder)) == 27
    assert "1 repeated lines" in caplog.text


def test_a_picture_used_twice_keeps_ids_apart(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path)
    edit(folder, "train", "v3.png", "v2.png")
    assert list(load(folder).id[2:4]) == ["a2+v2", "a3+v2"]


def test_an_actor_in_two_splits(prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "copy"))
    (folder / "checksums.csv").unlink()  # files are changed on purpose
    train, test = (folder / "data/data_file" / CSV[name] for name in ("train", "test"))
    lines = train.read_text().splitlines()
    train.write_text("\n".join(lines[:-1]) + "\n")
    test.write_text(test.read_text() + lines[-1] + "\n")
    actor = lines[-1].split(",")[0][18:20]
    with pytest.raises(InputError, match=f"was split by actor, but actor `{actor}` is in two splits"):
        load(folder)
    (folder / "prepare.json").unlink()  # as in the authors' folder, of which nobody knows how it was split
    with caplog.at_level(logging.WARNING):
        assert len(load(folder)) == 24
    assert f"Actor `{actor}` is in two splits" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("aud_features/a3.npy", b"not an array", "a3.npy` cannot be read as an array"),
        ("vid_features/v3.png", b"not a picture", "v3.png` cannot be read as a picture"),
        ("vid_features/v3.png", None, "v3.png` cannot be read as a picture"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    path = authors_folder(tmp_path) / "data" / file
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    for cache in (True, False):
        with pytest.raises(InputError, match=message):
            load(tmp_path, cache=cache)
    assert not list(tmp_path.rglob("*.partial"))


def test_arrays_and_pictures_of_other_kinds_are_named(tmp_path: Path) -> None:
    folder = authors_folder(tmp_path) / "data"
    array = folder / "aud_features/a3.npy"
    original = array.read_bytes()
    for values, message in (
        (np.zeros((40, 2)), r"must hold numbers, 40 x T. It holds float64 of shape \(40, 2\)"),
        (np.zeros(40), r"It holds float64 of shape \(40,\)"),
        (np.full((40, 12), np.nan), "must be finite"),
        (np.zeros((13, 12)), r"one number of coefficients. Others: `a3.npy \(13, 12\)`"),
        (np.array([{"a": 1}]), "cannot be read as an array"),
    ):
        np.save(array, values, allow_pickle=True)
        with pytest.raises(InputError, match=message):
            load(tmp_path)
    array.write_bytes(original)
    Image.new("L", (64, 16)).save(folder / "vid_features/v3.png")
    with pytest.raises(InputError, match=r"one size. `v0.png` has 16 x 32, `v3.png` 16 x 64"):
        load(tmp_path)
    Image.new("L", (32, 16), 200).save(folder / "vid_features/v3.png")
    assert (load(tmp_path).modalities["image"][3] == 200).all()  # grey becomes colour


def test_a_folder_of_something_else_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`folder` must have data/data_file/spa_dl.csv"):
        load(tmp_path)
    (tmp_path / "data_file").mkdir()
    (tmp_path / "data_file" / "spa_dl.csv").write_text("audio,image,label\n")
    with pytest.raises(InputError, match="have no samples"):
        load(tmp_path)

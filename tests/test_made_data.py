"""The data of docs/results.md that scripts of benchmarks make: a table with rare positives, and Cora."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks._cora import PARTS, cora, read
from benchmarks._rare import POSITIVES, RARE, rare
from scipy import sparse


def test_rare_keeps_all_other_digits_and_few_eights_in_their_order() -> None:
    label = np.arange(500) % 10
    place = np.arange(500.0)[:, None]
    table = rare({"label": label, "fou": np.hstack([place, -place]), "zer": 1000 + place})
    assert list(table) == ["fou_0", "fou_1", "zer_0", "eight"]
    kept = table["fou_0"].to_numpy().astype(int)
    assert (np.diff(kept) > 0).all()
    assert (table["zer_0"] == 1000 + kept).all()
    assert ((table["eight"] == "yes") == (label[kept] == RARE)).all()
    assert (table["eight"] == "yes").sum() == POSITIVES
    assert (table["eight"] == "no").sum() == 450


def test_neighbours_of_cora_are_averages_at_one_step_and_at_two() -> None:
    # papers 0 and 1 are in `allx`, 3 and 2 in `tx`; 0 - 1 - 2 - 3 in a row
    files = {
        "allx": sparse.csr_array([[1.0, 0, 0], [0, 1, 0]]),
        "tx": sparse.csr_array([[1.0, 1, 0], [0, 0, 1]]),
        "ally": np.eye(3)[[0, 1]],
        "ty": np.eye(3)[[2, 1]],
        "order": np.array([3, 2]),
        "graph": {0: [1], 1: [0], 2: [1, 3], 3: []},  # one direction is enough
    }
    found = cora(files)
    assert found["words"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert found["label"].tolist() == [0, 1, 1, 2]
    one = np.array([[0, 1, 0], [0.5, 0, 0.5], [0.5, 1, 0], [0, 0, 1]])
    two = np.array([one[1], (one[0] + one[2]) / 2, (one[1] + one[3]) / 2, one[2]])
    np.testing.assert_array_equal(found["neighbours"], (one + two) / 2)


def test_other_pickles_are_not_read(tmp_path: Path) -> None:
    for part in PARTS:
        (tmp_path / f"ind.cora.{part}").write_bytes(b"cposix\nabort\n(tR.")
    with pytest.raises(ValueError, match=r"The files of Cora in .* are others: their SHA-256 is"):
        read(tmp_path)

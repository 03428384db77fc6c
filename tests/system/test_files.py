"""Files appear whole or not at all."""

import resource
from pathlib import Path

import numpy as np
import pytest

from mfh import InputError
from mfh._system.files import write_npy


def test_a_full_disk_is_noticed_and_leaves_the_array_that_was_there(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "values.npy", np.arange(3.0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(InputError, match=r"values\.npy` cannot be written: File too large\. No part"):
            write_npy(path, np.zeros(4000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["values.npy"]
    np.testing.assert_array_equal(np.load(path), [0, 1, 2])

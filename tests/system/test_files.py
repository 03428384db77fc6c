"""Files appear whole or not at all."""

import resource
from pathlib import Path

import numpy as np
import pytest

from mfh import InputError
from mfh._system.atomic import bytes_writer, write_atomic
from mfh._system.files import npy_bytes


def test_a_full_disk_is_noticed_and_leaves_the_array_that_was_there(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "values.npy", bytes_writer(npy_bytes(np.arange(3.0))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(InputError, match=r"values\.npy` cannot be written: File too large\. No part"):
            write_atomic(path, bytes_writer(npy_bytes(np.zeros(4000))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["values.npy"]
    np.testing.assert_array_equal(np.load(path), [0, 1, 2])

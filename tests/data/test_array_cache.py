"""The cache of decoded samples: written once, whole or not at all."""

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mfh import InputError
from mfh.data.array_cache import Rows, cached_array, file_key

VALUES = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
KEY = "0123456789abcdef"


def rows(values: np.ndarray = VALUES) -> Rows:
    return Rows(values.shape, values.dtype, iter(values))


def never() -> Rows:
    raise AssertionError("decoded again")


def failing(error: Exception) -> Callable[[], Rows]:
    def some() -> Iterator[np.ndarray]:
        yield VALUES[0]
        raise error

    return lambda: Rows(VALUES.shape, VALUES.dtype, some())


def test_decoded_once_and_then_mapped(tmp_path: Path) -> None:
    first = cached_array(tmp_path / "cache" / "audio", KEY, rows)
    again = cached_array(tmp_path / "cache" / "audio", KEY, never)
    for array in (first, again, rows().in_memory()):
        assert array.dtype == np.float32
        assert np.array_equal(array, VALUES)
    assert isinstance(again, np.memmap)
    again[0] = -1  # a private copy: the file stays as it is
    assert np.array_equal(np.load(tmp_path / "cache" / f"audio-{KEY}.npy"), VALUES)


def test_another_key_replaces_the_file_but_not_those_of_other_names(tmp_path: Path) -> None:
    cached_array(tmp_path / "audio", KEY, rows)
    cached_array(tmp_path / "image", KEY, rows)
    (tmp_path / "audio-notes.npy").write_bytes(b"mine")
    other = cached_array(tmp_path / "audio", "f" * 16, lambda: rows(2 * VALUES))
    assert np.array_equal(other, 2 * VALUES)
    names = sorted(path.name for path in tmp_path.iterdir())
    checksums = [f"audio-{'f' * 16}.json", f"image-{KEY}.json"]
    assert names == sorted([f"audio-{'f' * 16}.npy", "audio-notes.npy", f"image-{KEY}.npy", *checksums])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("a picture is damaged")])
def test_what_breaks_off_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        cached_array(tmp_path / "audio", KEY, failing(error))
    assert list(tmp_path.iterdir()) == []
    assert np.array_equal(cached_array(tmp_path / "audio", KEY, rows), VALUES)


def test_a_file_that_was_cut_off_is_not_used(tmp_path: Path) -> None:
    cached_array(tmp_path / "audio", KEY, rows)
    path = tmp_path / f"audio-{KEY}.npy"
    for size in (path.stat().st_size - 4, 20, 0):
        os.truncate(path, size)
        assert np.array_equal(cached_array(tmp_path / "audio", KEY, rows), VALUES)


def test_a_full_disk_says_how_to_go_without(tmp_path: Path) -> None:
    values = np.zeros((4, 2, 2000), np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(
            InputError, match=r"cannot be written: .* No part of it is left\. Make room, or .*cache=False"
        ):
            cached_array(tmp_path / "audio", KEY, lambda: rows(values))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    endless = Rows((10**12, 2, 3), np.dtype(np.float32), iter(()))
    with pytest.raises(InputError, match=r"needs 24000000\.0 MB, but .* MB are free\. Make room"):
        cached_array(tmp_path / "audio", KEY, lambda: endless)
    assert list(tmp_path.iterdir()) == []


def test_the_key_follows_names_sizes_times_order_and_parameters(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"1")
    os.utime(a, (1, 1))
    os.utime(b, (1, 1))
    keys = [file_key([a, b]), file_key([b, a]), file_key([a]), file_key([a, b], layout=2)]
    os.utime(a, (2, 2))
    keys.append(file_key([a, b]))
    os.utime(a, (1, 1))
    assert file_key([a, b]) == keys[0]
    a.write_bytes(b"12")
    os.utime(a, (1, 1))
    keys.append(file_key([a, b]))
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 for key in keys)

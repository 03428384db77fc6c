"""Samples decoded on demand: the same values as arrays, each decoded once, named errors."""

import pickle
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from mfh import InputError, PairedDataset
from mfh.data.decoded import SampleSource
from mfh.training.batches import AHEAD, feed

SHAPES = {"audio": (3,), "image": (2, 2)}
COUNT = 20


@dataclass
class Recorded:
    """Decodes row r into arrays full of r, and counts what it was asked for."""

    calls: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def __call__(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        self.calls.append((row, tuple(names)))
        self.threads.add(threading.current_thread().name)
        values: dict[str, Any] = {name: np.full(SHAPES[name], row, np.float32) for name in SHAPES}
        values["image"] = torch.from_numpy(values["image"])
        return values


def source(decode: Any, workers: int = 3, identity: str = "first") -> SampleSource:
    dtypes = {name: np.dtype(np.float32) for name in SHAPES}
    return SampleSource(COUNT, decode, SHAPES, dtypes, identity, workers)


def dataset(decode: Any, **settings: Any) -> PairedDataset:
    return PairedDataset.from_arrays(source(decode, **settings).rows(), label=np.arange(COUNT) % 2)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_rows_are_those_asked_for_in_their_order(workers: int) -> None:
    rows = source(Recorded(), workers).rows()["image"]
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == ((20, 2, 2), np.float32, 3, 20)
    chosen = np.arange(COUNT) % 3 == 0
    for index, expected in (
        ([7, 0, 7], [7, 0, 7]),
        (slice(5, 8), [5, 6, 7]),
        (torch.tensor([2, 19]), [2, 19]),
        (chosen, np.flatnonzero(chosen)),
        ([], []),
    ):
        found = rows[index]  # type: ignore[index]
        assert found.shape[1:] == (2, 2)
        assert found[:, 0, 0].tolist() == list(expected)


def test_modalities_of_one_source_are_decoded_together_and_once() -> None:
    decode = Recorded()
    data = dataset(decode)
    read = data.read(["image", "audio"], torch.tensor([4, 1, 8]))
    assert Counter(row for row, _ in decode.calls) == {4: 1, 1: 1, 8: 1}
    assert {names for _, names in decode.calls} == {("image", "audio")}
    assert read["audio"][:, 0].tolist() == read["image"][:, 0, 0].tolist() == [4, 1, 8]
    data.inputs("audio", torch.tensor([4]))
    assert decode.calls[-1] == (4, ("audio",))
    assert data.shape("image") == (2, 2)


def test_the_fingerprint_is_the_identity_and_costs_no_decoding() -> None:
    decode = Recorded()
    first = dataset(decode).fingerprint
    assert dataset(Recorded()).fingerprint == first
    assert dataset(decode, identity="second").fingerprint != first
    assert decode.calls == []


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_read_ahead_by_a_few(workers: int) -> None:
    decode = Recorded()
    data = dataset(decode, workers=workers)
    parts = torch.arange(COUNT).flip(0).split(2)
    seen, ahead = [], []
    for place, batch in enumerate(feed(data, ("audio", "image"), parts, torch.device("cpu"))):
        seen += batch.inputs[0][:, 0].tolist()
        ahead.append(len(decode.calls) - 2 * (place + 1))
    assert seen == list(range(COUNT))[::-1]
    assert len(decode.calls) == COUNT  # both modalities at once
    assert max(ahead) <= (2 * AHEAD if workers else 0)
    assert ("MainThread" in decode.threads) == (workers == 0)


def test_a_batch_that_is_left_stops_the_reading() -> None:
    decode = Recorded()
    batches = feed(dataset(decode), ("audio",), torch.arange(COUNT).split(1), torch.device("cpu"))
    next(batches)
    batches.close()
    assert len(decode.calls) <= 1 + AHEAD
    assert not [t for t in threading.enumerate() if t.name.startswith(("read-ahead", "decode"))]


@pytest.mark.parametrize("workers", [0, 3])
def test_errors_reach_the_caller(workers: int) -> None:
    def failing(row: int, names: Sequence[str]) -> dict[str, Any]:
        if row == 3:
            raise InputError("clip 3 is damaged")
        return {"audio": np.zeros(4 if row == 5 else 3, np.float32), "image": np.zeros((2, 2), np.float32)}

    data = dataset(failing, workers=workers)
    with pytest.raises(InputError, match="clip 3 is damaged"):
        data.read(["audio"], torch.arange(5))
    with pytest.raises(
        InputError, match=r"`audio` must be float32 of shape \(3,\) .* Sample 5 is float32 of"
    ):
        data.read(["audio"], torch.tensor([4, 5]))
    batches = feed(data, ("audio",), torch.arange(6).split(2), torch.device("cpu"))
    next(batches)
    with pytest.raises(InputError, match="clip 3 is damaged"):
        next(batches)


def test_bad_sources_are_refused() -> None:
    with pytest.raises(InputError, match="`workers` must be 0 or more"):
        source(Recorded(), -1)
    with pytest.raises(InputError, match="must name the same modalities"):
        SampleSource(2, Recorded(), SHAPES, {}, "none")
    with pytest.raises(InputError, match="has 20 samples, `label` has 3"):
        PairedDataset.from_arrays(source(Recorded()).rows(), label=[0, 1, 0])


def test_other_processes_can_have_it() -> None:
    data = pickle.loads(pickle.dumps(dataset(Recorded())))
    assert data.inputs("audio", torch.tensor([6])).tolist() == [[6, 6, 6]]

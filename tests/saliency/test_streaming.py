"""Saliency of features in files: the same numbers as in memory, however it is cut, shared out or stopped."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mfh._checks import InputError
from mfh._saliency import SaliencyAccumulator, saliency, streaming, streaming_saliency

FIELDS = ("mean", "increase", "followed", "importance", "stderr_data")
CHANNELS, OUTPUTS = 6, 4


@pytest.fixture
def head():
    head = torch.nn.Linear(CHANNELS, OUTPUTS)
    generator = torch.Generator().manual_seed(1)
    for parameter in head.parameters():
        parameter.data.normal_(generator=generator)
    return head


@pytest.fixture
def arrays(head):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1000, CHANNELS, generator=generator) @ torch.randn(
        CHANNELS, CHANNELS, generator=generator
    )
    features = features + 50  # a mean far from 0, where raw sums of squares would cancel
    with torch.no_grad():
        student = 0.4 * head(features) + torch.randn(1000, OUTPUTS, generator=generator)
    return features, student


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(streaming, "PART", 150)
    monkeypatch.setattr(streaming, "CHUNK", 64)


def write(folder, name, rows, cuts):
    paths = []
    for number, part in enumerate(np.split(np.asarray(rows), cuts)):
        paths.append(folder / f"{name}-{number}.npy")
        np.save(paths[-1], part)
    return paths


def same(result, other):
    return all(np.array_equal(getattr(result, name), getattr(other, name)) for name in FIELDS)


@pytest.mark.usefixtures("small_parts")
def test_files_give_what_memory_gives_wherever_they_are_cut(tmp_path, head, arrays):
    features, student = arrays
    whole = saliency(features, head, student, warn=False)
    args = write(tmp_path, "f", features, [170, 500]), write(tmp_path, "s", student, [333])
    found = streaming_saliency(*args, head.weight, head.bias, dtype=torch.float64, warn=False)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-9)
    quick = streaming_saliency(*args, head.weight, head.bias, warn=False)
    for name in FIELDS:
        largest = abs(getattr(whole, name)).max()
        np.testing.assert_allclose(getattr(quick, name), getattr(whole, name), rtol=0, atol=2e-5 * largest)


@pytest.mark.usefixtures("small_parts")
def test_float32_products_with_float64_sums_beat_float32_sums(head, arrays):
    """At a mean of 1,000 a plain float32 computation keeps two digits; ours keeps what the data hold."""
    features = arrays[0] + 1000
    student = arrays[1]
    exact = saliency(features.double(), head.double(), student.double(), warn=False)
    head.float()
    ours = SaliencyAccumulator(head.weight, head.bias, dtype=torch.float32)
    for part, seen in zip(features.split(64), student.split(64), strict=True):
        ours.update(part, seen)
    error = abs(ours.compute(warn=False).importance - exact.importance).max() / exact.importance.max()
    plain = 2 * head.weight.square().sum(0) * (features.square().mean(0) - features.mean(0) ** 2) / OUTPUTS
    plain_error = abs(plain.detach().numpy() - exact.importance).max() / exact.importance.max()
    assert error < 1e-5
    assert plain_error > 20 * error


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path, head, arrays, monkeypatch):
    monkeypatch.setattr(streaming, "PART", 250)
    args = write(tmp_path, "f", arrays[0], []), write(tmp_path, "s", arrays[1], [])
    one, two = (streaming_saliency(*args, head.weight, head.bias, jobs=jobs, warn=False) for jobs in (1, 2))
    assert same(one, two)


@pytest.mark.usefixtures("small_parts")
def test_a_stopped_call_goes_on_and_ends_the_same(tmp_path, head, arrays, monkeypatch):
    args = write(tmp_path, "f", arrays[0], []), write(tmp_path, "s", arrays[1], [])
    undisturbed = streaming_saliency(*args, head.weight, head.bias, warn=False)
    state = tmp_path / "state.npz"
    absorb, calls = streaming._absorb, []

    def stop_at_the_fourth(*given):
        calls.append(given[2:])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return absorb(*given)

    monkeypatch.setattr(streaming, "_absorb", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        streaming_saliency(*args, head.weight, head.bias, state=state, warn=False)
    assert state.exists()
    resumed = streaming_saliency(*args, head.weight, head.bias, state=state, warn=False)
    assert same(undisturbed, resumed)
    starts = [start for start, _ in calls]
    assert sorted(set(starts)) == list(range(0, 1000, 150))
    assert len(starts) == 7 + 1  # only the part that was stopped is computed twice
    assert not state.exists()


@pytest.mark.usefixtures("small_parts")
def test_the_state_of_another_head_is_refused(tmp_path, head, arrays, monkeypatch):
    args = write(tmp_path, "f", arrays[0], []), write(tmp_path, "s", arrays[1], [])
    state = tmp_path / "state.npz"
    monkeypatch.setattr(streaming._Kept, "save", _save_and_stop(streaming._Kept.save))
    with pytest.raises(KeyboardInterrupt):
        streaming_saliency(*args, head.weight, head.bias, state=state, warn=False)
    with pytest.raises(InputError, match="`state` must belong to the same files, head and options"):
        streaming_saliency(*args, 2 * head.weight, head.bias, state=state, warn=False)


def _save_and_stop(save):
    def stopped(self, total, parts):
        save(self, total, parts)
        raise KeyboardInterrupt

    return stopped


def test_channels_without_weight_or_variance_score_exactly_zero(tmp_path, head, arrays):
    features, student = arrays
    features[:, 1] = 0.1
    head.weight.data[:, 3] = 0
    args = write(tmp_path, "f", features, []), write(tmp_path, "s", student, [])
    result = streaming_saliency(*args, head.weight, head.bias, warn=False)
    assert result.increase[1] == result.increase[3] == 0
    assert result.followed[1] == result.followed[3] == 0


def test_a_value_that_is_not_finite_is_found(tmp_path, head, arrays):
    features, student = arrays
    features[777, 2] = float("inf")
    args = write(tmp_path, "f", features, []), write(tmp_path, "s", student, [])
    with pytest.raises(InputError, match=r"Samples 0 to 999 .* inf at sample 777, channel 2"):
        streaming_saliency(*args, head.weight, head.bias)


BAD = {
    "absent": ("x-none.npy", None, "No such file"),
    "no npy": ("x.npy", b"not an array", "cannot be read as an npy file"),
    "integers": ("x.npy", np.ones((1000, CHANNELS), dtype=np.int64), "must contain floats"),
    "one dimension": ("x.npy", np.ones(1000), "must contain floats of shape"),
    "Fortran order": ("x.npy", np.asfortranarray(np.ones((1000, CHANNELS))), "C order"),
    "other count": ("x.npy", np.ones((900, CHANNELS)), "same samples in the same order. Got 900 and 1000"),
    "other width": ("x.npy", np.ones((1000, 5)), r"`weight` must be \(output, channel\), \(4, 5\)"),
    "objects": ("x.npy", np.full((2, 2), None), "contains Python objects"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_files_that_cannot_be_used_are_refused(tmp_path, head, arrays, case):
    name, content, message = BAD[case]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    student = write(tmp_path, "s", arrays[1], [])
    with pytest.raises(InputError, match=message):
        streaming_saliency(path, student, head.weight, head.bias)


def test_a_file_that_is_cut_short_is_refused(tmp_path, head, arrays):
    features, student = write(tmp_path, "f", arrays[0], []), write(tmp_path, "s", arrays[1], [])
    os.truncate(features[0], features[0].stat().st_size - 100)
    with pytest.raises(InputError, match="is incomplete"):
        streaming_saliency(features, student, head.weight, head.bias)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    """512 MB of features take less than 150 MB beyond what a tenth of them takes."""
    peaks = []
    for count in (25_000, 250_000):
        rows = np.lib.format.open_memmap(tmp_path / "f.npy", mode="w+", dtype=np.float32, shape=(count, 512))
        rows[:] = 1
        rows[::2] = 0
        np.save(tmp_path / "s.npy", np.zeros((count, 10), dtype=np.float32))
        del rows
        code = (
            "import re, torch; from pathlib import Path; from mfh._saliency import streaming_saliency;"
            f"streaming_saliency(r'{tmp_path}/f.npy', r'{tmp_path}/s.npy', torch.ones(10, 512));"
            r"print(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 150

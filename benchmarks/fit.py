"""CPU time of `mfh fit` with a budget of 300 students, and the share of it that is training.

The data have the shapes of two views of UCI's digits: 2,000 samples, 76 and 47 values, 10 classes, 160
labels. The command runs in a process of its own, on two threads, so imports, outer folds, the search on all
samples and the report count. `baseline` is the limit, three minutes of CPU time. `training` is the share of
the wall time of the fits that is inside the calls that train networks.

`python -m benchmarks.fit 16` prints the time of a small budget and records nothing.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import _common
from benchmarks._common import record
from benchmarks.many import generated

BUDGET, LIMIT = 300, 180.0


def run(budget: int = BUDGET) -> None:
    """Run the command and record its CPU time; with another budget, print it alone."""
    if not _common.FULL:
        return
    data = generated(2000, {"fou": 76, "zer": 47}, 10)
    with tempfile.TemporaryDirectory() as folder:
        arrays = {name: values.numpy() for name, values in data.modalities.items()}
        np.savez(f"{folder}/data.npz", **arrays, label=data.label.numpy())
        command = [
            sys.executable, "-m", "mfh", "fit", "--data", f"{folder}/data.npz", "--teacher", "fou",
            "--student", "zer", "--labelled", "0.1", "--budget", str(budget),
            "--device", "cpu", "--jobs", "1", "--quiet", "--out", f"{folder}/out",
        ]  # fmt: skip
        before, start = _cpu(), time.perf_counter()
        threads = os.environ | {"OMP_NUM_THREADS": "2"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=threads)
        seconds, elapsed = _cpu() - before, time.perf_counter() - start
        found = json.loads(Path(folder, "out", "results.json").read_text(encoding="utf-8"))
    share, fits = found["search"]["training"], len(found["records"]) // len(found["arms"]) + 1
    print(f"fit: {seconds:.0f} s of CPU time ({elapsed:.0f} s), {share:.0%} of the fits' time in trainings")
    if budget == BUDGET:
        record(
            "fit", LIMIT, seconds, budget=budget, fits=fits, training=share, elapsed=elapsed,
            clock="CPU time of the command; the baseline is the limit",
        )  # fmt: skip


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))

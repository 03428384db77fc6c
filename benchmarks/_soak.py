"""A long study and a long epoch, watched for memory and open files: `python -m benchmarks._soak WHAT`.

`study` runs `mfh study` on the digits with 56 seeds of 36 students, 2,016 in all, and reads the memory and
the open files of its processes every ten seconds. `loader` reads ten million samples from a memory-mapped
array in shuffled batches. Both print the line fitted to the second half of the readings, without the last
twentieth, in which a study draws its report: what leaks grows there, what is loaded once does not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from mfh import PairedDataset
from mfh.training.batches import epoch_order, feed

SAMPLES = 100_000
WIDTH = 64
BATCH = 64


def main() -> int:
    """Run one of the two and print what was read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._soak", description=__doc__)
    parser.add_argument("what", choices=["study", "loader"])
    parser.add_argument("--data", help="npz of the digits, written by `mfh data mfeat`")
    parser.add_argument("--out", help="folder of the study")
    parser.add_argument("--epochs", type=int, default=400, help="of each student (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=56, help="(default %(default)s)")
    parser.add_argument("--samples", type=int, default=10_000_000, help="read by the loader")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between readings of a study")
    arguments = parser.parse_args()
    if arguments.what == "loader":
        print(json.dumps(loader(arguments.samples), indent=1))
        return 0
    if not arguments.data or not arguments.out:
        parser.error("study needs --data and --out")
    command = ["study", "--data", arguments.data, "--teacher", "pix", "--student", "zer"]
    command += ["--seeds", str(arguments.seeds), "--epochs", str(arguments.epochs)]
    command += ["--ratio", "0.25", "0.5", "0.75", "--out", arguments.out]
    found = watch([sys.executable, "-m", "mfh", *command], arguments.every)
    print(json.dumps(found, indent=1))
    return int(found["exit status"])


def watch(command: Sequence[str], every: float) -> dict[str, Any]:
    """Run a command and read the memory and the open files of it and its children while it runs."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    start, readings = time.perf_counter(), []
    while process.poll() is None:
        reading = look(process)
        if reading is not None:
            readings.append((time.perf_counter() - start, *reading))
        time.sleep(every)
    return {"exit status": process.returncode} | summary(readings, "hour", 3600)


def look(process: psutil.Process) -> tuple[float, float] | None:
    """Resident megabytes and open files of a process with its children; None when it has just ended."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(p.memory_info().rss for p in family) / 1e6, sum(p.num_fds() for p in family)
    except psutil.Error:
        return None


def loader(samples: int) -> dict[str, Any]:
    """Read shuffled batches from a memory-mapped array."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, np.random.default_rng(0).normal(size=(SAMPLES, WIDTH)).astype(np.float32))
        mapped = np.load(path, mmap_mode="r")
        label = np.arange(SAMPLES) % 10
        data = PairedDataset.from_arrays({"x": mapped, "y": mapped}, label=label)
        readings, process, read = [], psutil.Process(), 0
        for batch in batches(data, samples):
            read += len(batch)
            if read % (SAMPLES // 2) < BATCH:
                readings.append((float(read), *(look(process) or (0.0, 0.0))))
        return {"samples": float(read)} | summary(readings, "million samples", 1e6)


def batches(data: PairedDataset, samples: int) -> Iterator[torch.Tensor]:
    """The rows of each batch that was read."""
    cpu = torch.device("cpu")
    for epoch in range(1, samples // len(data) + 1):
        for batch in feed(data, ["x", "y"], epoch_order(len(data), 0, epoch).split(BATCH), cpu):
            yield batch.rows


def summary(readings: Sequence[tuple[float, float, float]], unit: str, scale: float) -> dict[str, Any]:
    """Growth a unit in the second half, by least squares, and the extremes."""
    table = np.array(readings)
    late = table[len(table) // 2 : len(table) - len(table) // 20]
    found: dict[str, Any] = {"readings": len(table), f"last, in {unit}": table[-1, 0] / scale}
    for column, name in ((1, "MB"), (2, "open files")):
        slope = np.polyfit(late[:, 0] / scale, late[:, column], 1)[0]
        found[f"{name}, growth a {unit}"] = float(slope)
        found[f"{name}, at the half"] = float(late[0, column])
        found[f"{name}, at the end"] = float(late[-1, column])
        found[f"{name}, largest"] = float(table[:, column].max())
        found[f"{name}, by tenth"] = [float(tenth[-1, column]) for tenth in np.array_split(table, 10)]
    return found


if __name__ == "__main__":
    sys.exit(main())

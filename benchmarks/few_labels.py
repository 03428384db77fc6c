"""One fit of a study with few labels against a plain PyTorch loop over its trainings, and its memory.

The setting has the shapes of two views of UCI's digits: 2,000 samples, 76 and 47 values, 10 classes, 160
labels; all arms. The baseline is forward, loss, backward and step per batch for one network of each kind
(labels alone, both modalities, the pair of step 1, a student of all pairs), scaled to the number of trainings
of each kind. It evaluates nothing and keeps nothing. Ours is the whole fit, with its saliency, stack,
evaluation and records, compiled before. Both are CPU time on one thread, the fastest of three.

`few_labels_memory` runs a study of 100,000 pairs of 768 and 512 values, of which 1,250 have a label, from
files that are mapped into memory, in a process of its own, and records its peak memory.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import _common
from benchmarks._common import measure, record
from benchmarks.many import generated
from mfh import PairedDataset, StudyConfig
from mfh._study.few.budget import COMPLETE, FOLDS
from mfh._study.few.fit import units_per_fit
from mfh._study.networks import Networks
from mfh._study.seed import run_seed
from mfh.models.mlp import mlp

STEPS, BATCH, LABELS = 300, 96, 160
Models = list[nn.Module]
CONFIG = StudyConfig(teacher="fou", student="zer", labelled=("0.1",), device="cpu")


def run() -> None:
    """Time a fit; where time allows, measure the memory of a large one."""
    data = generated(2000, {"fou": 76, "zer": 47}, 10)
    networks = Networks(data, CONFIG)
    run_seed(networks, 0, _quiet)  # compiles
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = measure(lambda: run_seed(networks, 1, _quiet, 1), warmup=0, clock=time.process_time)
        each = {
            kind: measure(train, warmup=1, clock=time.process_time) for kind, train in _plain(data).items()
        }
    finally:
        torch.set_num_threads(threads)
    counts = _counts(networks)
    baseline = sum(count * each[kind] for kind, count in counts.items())
    record(
        "few_labels", baseline, ours, trainings=counts, baseline_each=each, steps=STEPS, batch=BATCH,
        labels=LABELS, clock="CPU time, one thread",
    )  # fmt: skip
    print(
        f"few_labels: {baseline / ours:.1f} times; one fit of {sum(counts.values())} trainings {ours:.2f} s"
    )
    if _common.FULL:
        _memory()


def _quiet(_stage: str, _count: int) -> None:
    """Show no progress."""


def _counts(networks: Networks) -> dict[str, int]:
    """Return how many networks of each kind one fit trains."""
    units, parts = units_per_fit(networks), FOLDS + 1
    alone = 2 * parts + len(COMPLETE) * (parts - 1) + 6
    assert units["teachers"] == alone + 2 * parts
    return {"labels": alone + 1, "fused": parts, "pair": parts, "student": units["students"] - 1}


def _plain(data: PairedDataset) -> dict[str, Callable[[], None]]:
    """Return a plain training of each kind of network."""
    a, b = data.inputs("fou", slice(None)), data.inputs("zer", slice(None))
    label, soft = data.label, functional.one_hot(data.label, 10).float()
    few, every, third = torch.arange(LABELS), torch.arange(len(a)), BATCH // 3

    def labels(models: Models, step: int) -> Tensor:
        rows = _rows(step, few, BATCH)
        return functional.cross_entropy(models[0](b[rows]), label[rows])

    def fused(models: Models, step: int) -> Tensor:
        rows = _rows(step, few, BATCH)
        return functional.cross_entropy(models[0](a[rows]) + models[1](b[rows]), label[rows])

    def pair(models: Models, step: int) -> Tensor:
        rows = torch.cat([_rows(step, few, third), _rows(step + STEPS, every, BATCH - third)])
        one, two, known = models[0](a[rows]), models[1](b[rows]), label[rows[:third]]
        from_labels = functional.cross_entropy(one[:third], known)
        from_labels = from_labels + functional.cross_entropy(two[:third], known)
        return from_labels + functional.mse_loss(one, two)

    def student(models: Models, step: int) -> Tensor:
        rows = _rows(step, every, BATCH)
        log_q = functional.log_softmax(models[0](b[rows]), 1)
        return functional.kl_div(log_q, soft[rows], reduction="batchmean")

    return {
        "labels": lambda: _fit([mlp(47, 10)], labels),
        "fused": lambda: _fit([mlp(76, 10), mlp(47, 10)], fused),
        "pair": lambda: _fit([mlp(76, 10), mlp(47, 10)], pair),
        "student": lambda: _fit([mlp(47, 10)], student),
    }


def _rows(number: int, pool: Tensor, size: int) -> Tensor:
    """Return random rows of a pool."""
    return pool[torch.randint(len(pool), (size,), generator=torch.Generator().manual_seed(number))]


def _fit(models: Models, loss: Callable[[Models, int], Tensor]) -> None:
    """Train networks plainly by a loss of each step."""
    parameters = [p for model in models for p in model.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / STEPS)
        value = loss(models, step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()


LARGE = """
import json, resource, sys, time
import numpy as np
import mfh
folder = sys.argv[1]
arrays = {name: np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in ("a", "b")}
data = mfh.PairedDataset.from_arrays(arrays, label=np.load(f"{folder}/label.npy"))
config = mfh.StudyConfig(teacher="a", student="b", resampling="splits", seeds=1)
start = time.process_time()
result = mfh.study(data, config=config)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"peak_gib": peak, "cpu": time.process_time() - start, "students": len(result.records)}))
"""


def _memory() -> None:
    """Run a large study in a process of its own, and record its peak memory."""
    count, rng = 100_000, np.random.default_rng(0)
    label = np.arange(count) % 10
    with tempfile.TemporaryDirectory() as folder:
        for name, width in (("a", 768), ("b", 512)):
            values = np.lib.format.open_memmap(f"{folder}/{name}.npy", "w+", np.float32, (count, width))
            centres = rng.normal(size=(10, width)).astype(np.float32)
            for start in range(0, count, 10_000):
                part = slice(start, start + 10_000)
                values[part] = centres[label[part]] + 3 * rng.normal(size=(10_000, width))
            values.flush()
        known = np.where(np.arange(count) < 1_250, label, -1)
        np.save(f"{folder}/label.npy", known)
        done = subprocess.run(
            [sys.executable, "-c", LARGE, folder], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    limit = 4.0
    record(
        "few_labels_memory", limit, found["peak_gib"], unit="GiB; the baseline is the limit",
        pairs=count, widths=[768, 512], cpu_seconds=found["cpu"], students=found["students"],
    )  # fmt: skip
    print(f"few_labels_memory: {found['peak_gib']:.2f} GiB at most, {found['cpu']:.0f} s of CPU time")


if __name__ == "__main__":
    run()

"""One fit of a study with few labels against a plain PyTorch loop over its trainings, and its memory.

The setting has the shapes of two views of UCI's digits: 2,000 samples, 76 and 47 values, 10 classes, 160
labels; all arms. The baseline is the same fit in plain PyTorch: batches of a DataLoader, forward, loss,
backward, clipping, step and schedule, for one network of each kind (labels alone, both modalities, the pair
of step 1, a student of all pairs), scaled to the number of trainings of each kind; then the outputs of every
network, and the saliency of each pair by permutations. `ratio_of_trainings` has a baseline that does less:
batches are drawn by indices without a loader, and nothing is evaluated or ranked. Ours is the whole fit, with
its saliency, stack, evaluation and records, compiled before. All are CPU time on one thread, the fastest of
three.

`few_labels_memory` runs a study of 100,000 pairs of 768 and 512 values, of which 1,250 have a label, from
files that are mapped into memory, in a process of its own, and records its peak memory.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from itertools import count as numbers
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

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
KINDS = ("labels", "fused", "pair", "student")
SLICE = 10
"""One permutation in this number is timed."""
Models = list[nn.Module]
Batch = Sequence[Tensor]
Batches = Callable[[Sequence[Tensor], int], Iterator[Batch]]
Loss = Callable[[Models, Batch], Tensor]
CONFIG = StudyConfig(teacher="fou", student="zer", labelled=("0.1",), device="cpu")


def run() -> None:
    """Time a fit; where time allows, measure the memory of a large one."""
    data = generated(2000, {"fou": 76, "zer": 47}, 10)
    networks = Networks(data, CONFIG)
    run_seed(networks, 0, _quiet)  # compiles
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = _seconds(lambda: run_seed(networks, 1, _quiet, 1))
        each = {kind: _seconds(partial(_fit, *_plain(data, kind, _loaded))) for kind in KINDS}
        lean = {kind: _seconds(partial(_fit, *_plain(data, kind, _drawn))) for kind in KINDS}
        outputs = _seconds(lambda: _predict(data))
        saliency = SLICE * _seconds(lambda: _saliency(data))
    finally:
        torch.set_num_threads(threads)
    counts = _counts(networks)
    trainings = sum(counts.values())
    loops = sum(count * each[kind] for kind, count in counts.items())
    baseline = loops + trainings * outputs + counts["pair"] * saliency
    drawn = sum(count * lean[kind] for kind, count in counts.items())
    record(
        "few_labels", baseline, ours, trainings=counts, baseline_each=each, baseline_outputs=outputs,
        baseline_saliency=saliency, permutations=CONFIG.num_permutations, steps=STEPS, batch=BATCH,
        labels=LABELS, clock="CPU time, one thread", baseline_of_trainings=drawn,
        ratio_of_trainings=drawn / ours,
    )  # fmt: skip
    print(
        f"few_labels: {baseline / ours:.1f} times, {drawn / ours:.1f} times the trainings alone without a "
        f"loader; one fit of {trainings} trainings {ours:.2f} s"
    )
    if _common.FULL:
        _memory()


def _seconds(work: Callable[[], object]) -> float:
    return measure(work, warmup=1, clock=time.process_time)


def _quiet(_stage: str, _count: int) -> None:
    """Show no progress."""


def _counts(networks: Networks) -> dict[str, int]:
    """Return how many networks of each kind one fit trains."""
    units, parts = units_per_fit(networks), FOLDS + 1
    alone = 2 * parts + len(COMPLETE) * (parts - 1) + 6
    assert units["teachers"] == alone + 2 * parts
    return {"labels": alone + 1, "fused": parts, "pair": parts, "student": units["students"] - 1}


def _plain(data: PairedDataset, kind: str, batches: Batches) -> tuple[Models, Loss, Iterator[Batch]]:
    """Return networks of a kind, their loss on a batch, and the batches."""
    a, b = data.inputs("fou", slice(None)), data.inputs("zer", slice(None))
    soft = functional.one_hot(data.label, 10).float()
    few = [values[:LABELS] for values in (a, b, data.label)]

    def labels(models: Models, batch: Batch) -> Tensor:
        _, two, label = batch
        return functional.cross_entropy(models[0](two), label)

    def fused(models: Models, batch: Batch) -> Tensor:
        one, two, label = batch
        return functional.cross_entropy(models[0](one) + models[1](two), label)

    def pair(models: Models, batch: Batch) -> Tensor:
        one, two, label, more_one, more_two = batch
        known = len(label)
        teacher, student = models[0](torch.cat([one, more_one])), models[1](torch.cat([two, more_two]))
        from_labels = functional.cross_entropy(teacher[:known], label)
        from_labels = from_labels + functional.cross_entropy(student[:known], label)
        return from_labels + functional.mse_loss(teacher, student)

    def student(models: Models, batch: Batch) -> Tensor:
        two, target = batch
        log_q = functional.log_softmax(models[0](two), 1)
        return functional.kl_div(log_q, target, reduction="batchmean")

    third = BATCH // 3
    if kind == "labels":
        return [mlp(47, 10)], labels, batches(few, BATCH)
    if kind == "fused":
        return [mlp(76, 10), mlp(47, 10)], fused, batches(few, BATCH)
    if kind == "student":
        return [mlp(47, 10)], student, batches([b, soft], BATCH)
    both = zip(batches(few, third), batches([a, b], BATCH - third), strict=False)
    return [mlp(76, 10), mlp(47, 10)], pair, ([*one, *two] for one, two in both)


def _loaded(tensors: Sequence[Tensor], size: int) -> Iterator[Batch]:
    """Yield batches of a loader, pass after pass."""
    loader = DataLoader(TensorDataset(*tensors), batch_size=size, shuffle=True)
    return chain.from_iterable(loader for _ in numbers())


def _drawn(tensors: Sequence[Tensor], size: int) -> Iterator[Batch]:
    """Yield batches of random rows."""
    for number in numbers():
        rows = torch.randint(len(tensors[0]), (size,), generator=torch.Generator().manual_seed(number))
        yield [values[rows] for values in tensors]


def _fit(models: Models, loss: Loss, batches: Iterator[Batch]) -> None:
    """Train networks plainly."""
    parameters = [p for model in models for p in model.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for batch in islice(batches, STEPS):
        value = loss(models, batch)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _predict(data: PairedDataset) -> None:
    """Compute the outputs of a network for all samples."""
    mlp(47, 10)(data.inputs("zer", slice(None)))


@torch.no_grad()
def _saliency(data: PairedDataset) -> None:
    """Compute the saliency of a pair: one evaluation of the head for each permutation, one in `SLICE`."""
    teacher, head = mlp(76, 10)[:-1], mlp(76, 10)[-1]
    features, student = teacher(data.inputs("fou", slice(None))), mlp(47, 10)(data.inputs("zer", slice(None)))
    for channel in range(features.shape[1]):
        kept = features[:, channel].clone()
        for _ in range(CONFIG.num_permutations // SLICE):
            features[:, channel] = kept[torch.randperm(len(kept))]
            functional.mse_loss(head(features), student)
        features[:, channel] = kept


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

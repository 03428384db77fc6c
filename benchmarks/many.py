"""Students of a whole study at once against a plain PyTorch loop over them, one after another.

The setting is a study on the RAVDESS features: 10 seeds, each with all arms at 5 ratios, 58 students a seed,
of 60 epochs each. `many_students` has action units as the student's modality, `many_students_mfcc` the MFCC;
`many_students_mfeat` has arrays of the shapes of UCI's digits. Without MFH_DATA all arrays are generated.
Teacher outputs are generated in any case: they have no bearing on the time.

The baseline is forward, loss, backward and step per batch, one evaluation per epoch, and keeps no weights. It
is timed on a few students and scaled, with one thread and with as many as torch takes by itself; the quicker
counts. Ours runs all students of a seed in one call, from jobs to results, compiled before. Each student of
the baseline and each seed of ours is the fastest of three. `ratio_of_cpu_time` compares the CPU time of the
baseline on one thread with ours.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks import _common
from benchmarks._common import measure, record
from mfh import PairedDataset
from mfh.config import StudyConfig, TrainConfig
from mfh.data.splits import draw_split
from mfh.data.standardize import Standardize
from mfh.models.mlp import mlp
from mfh.training.batches import epoch_order
from mfh.training.objectives import Distill
from mfh.training.students import StudentJob, seeded, train_students

SEEDS = 10
RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9)
TIMED = 4  # students of the baseline
CONFIG = TrainConfig(device="cpu")


def run() -> None:
    """Time the three settings; the first alone where little time shall pass."""
    ravdess, where = ravdess_features()
    compare("many_students", ravdess, "au", where, SEEDS)
    if not _common.FULL:
        return
    compare("many_students_mfcc", ravdess, "mfcc", where, 2)
    compare("many_students_mfeat", generated(2000, {"pix": 240, "fou": 76}, 10), "pix", "generated", 2)


def compare(name: str, data: PairedDataset, modality: str, where: str, seeds: int) -> None:
    """Time both ways on one data set and record the ratio."""
    jobs = [students(data, modality, seed) for seed in range(seeds)]
    num_students = sum(len(of_seed) for of_seed in jobs)
    slice_of, scale = jobs[0][-TIMED:], num_students / TIMED
    difference = agreement(slice_of)  # compiles
    threads = torch.get_num_threads()
    by_threads = {threads: num_students * measure(lambda: plain(slice_of[0]), warmup=0, repeats=2)}
    try:
        torch.set_num_threads(1)
        plain_cpu = scale * cpu_time(lambda: [plain(job) for job in slice_of])
        by_threads[1] = scale * sum(measure(lambda job=job: plain(job), warmup=0) for job in slice_of)
    finally:
        torch.set_num_threads(threads)
    ours = sum(
        measure(lambda of_seed=of_seed: train_students(of_seed, CONFIG, engine="many"), warmup=0)
        for of_seed in jobs
    )
    ours_cpu = seeds * cpu_time(lambda: train_students(jobs[0], CONFIG, engine="many"))
    baseline = min(by_threads.values())
    record(
        name,
        baseline,
        ours,
        ratio_of_cpu_time=plain_cpu / ours_cpu,
        data=where,
        students=num_students,
        seeds=seeds,
        inputs=int(np.prod(data.shape(modality))),
        training_samples=[len(of_seed[0].train) for of_seed in jobs],
        epochs=CONFIG.epochs,
        batch_size=CONFIG.batch_size,
        baseline_by_threads={str(count): seconds for count, seconds in by_threads.items()},
        baseline_students_timed=TIMED,
        baseline_students_scaled_to=num_students,
        losses_differ_by=difference,
    )
    each = {count: 1000 * seconds / num_students for count, seconds in by_threads.items()}
    shown = ", ".join(f"{seconds:.0f} ms ({count} threads)" for count, seconds in each.items())
    mine = 1000 * ours / num_students
    print(
        f"{name}: {baseline / ours:.1f} times ({plain_cpu / ours_cpu:.1f} of CPU time); "
        f"{mine:.1f} ms a student, plainly {shown}"
    )


def cpu_time(function: Callable[[], object]) -> float:
    """Seconds of CPU time of one call, all threads together."""
    start = time.process_time()
    function()
    return time.process_time() - start


def plain(job: StudentJob) -> tuple[list[float], list[float]]:
    """One student, trained plainly: mean loss and validation accuracy after each epoch."""
    model = mlp(*job_shape(job))
    model.load_state_dict(job.model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=CONFIG.peak_rate, momentum=CONFIG.momentum)
    x, y = job.data.inputs(job.modality, job.train), job.data.label[job.train]
    seen, right = job.data.inputs(job.modality, job.validation), job.data.label[job.validation]
    teacher = job.objective.teacher_logits
    soft = None if teacher is None else torch.softmax(teacher[job.train], dim=1)
    losses, accuracies = [], []
    for epoch in range(1, CONFIG.epochs + 1):
        model.train()
        total = 0.0
        for rows in epoch_order(len(x), job.seed, epoch).split(CONFIG.batch_size):
            logits = model(x[rows])
            if soft is None:
                loss = functional.cross_entropy(logits, y[rows], label_smoothing=job.objective.smoothing)
            else:
                loss = functional.kl_div(functional.log_softmax(logits, 1), soft[rows], reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
        model.eval()
        with torch.no_grad():
            accuracies.append(100 * (model(seen).argmax(dim=1) == right).double().mean().item())
    return losses, accuracies


def agreement(jobs: list[StudentJob]) -> float:
    """Largest difference between ours and the baseline in the mean loss of an epoch."""
    fits = train_students(jobs, CONFIG, engine="many")
    pairs = [(fit.loss, plain(job)[0]) for fit, job in zip(fits, jobs, strict=True)]
    return max(float(np.abs(np.subtract(ours, theirs)).max()) for ours, theirs in pairs)


def students(data: PairedDataset, modality: str, seed: int) -> list[StudentJob]:
    """The students of one seed: all arms at all ratios."""
    split = draw_split(data, seed)
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    data = data.with_transforms({modality: Standardize.fit(data.inputs(modality, train))})
    config = StudyConfig(ratio=RATIOS)
    distilled = 4 + (5 + config.random_draws) * len(RATIOS)
    generator = torch.Generator().manual_seed(seed)
    right = 3 * functional.one_hot(data.label, data.num_classes)
    teachers = [right + torch.randn(right.shape, generator=generator) for _ in range(distilled)]
    objectives = [Distill(), *(Distill(smoothing=share) for share in config.smoothing)]
    objectives += [Distill(logits, label_weight=0.0, distill_weight=1.0) for logits in teachers]
    size = int(np.prod(data.shape(modality)))
    model = seeded(lambda: mlp(size, data.num_classes), seed)
    return [StudentJob(model, objective, data, modality, train, validation, seed) for objective in objectives]


def job_shape(job: StudentJob) -> tuple[int, int]:
    """Inputs and outputs of a student."""
    return int(np.prod(job.data.shape(job.modality))), job.data.num_classes


def ravdess_features() -> tuple[PairedDataset, str]:
    """The RAVDESS features, or arrays of their shapes."""
    path = Path(os.environ.get("MFH_DATA", "")) / "ravdess_features.npz"
    if os.environ.get("MFH_DATA") and path.exists():
        data = PairedDataset.from_npz(
            path, modalities=["au", "mfcc"], label="emotion", group="actor", id="name"
        )
        return data, "RAVDESS features"
    return generated(
        1440, {"au": 35, "mfcc": 259}, 8, groups=24
    ), "generated, of the shapes of RAVDESS features"


def generated(
    count: int, widths: dict[str, int], classes: int, *, groups: int | None = None
) -> PairedDataset:
    """Arrays with some information on the label."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % classes
    modalities = {
        name: rng.normal(size=(classes, width))[label] + 2 * rng.normal(size=(count, width))
        for name, width in widths.items()
    }
    group = None if groups is None else rng.permutation(count) % groups
    return PairedDataset.from_arrays(modalities, label=label, group=group)

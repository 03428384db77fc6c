"""AV-MNIST, the paper's first table: does a more accurate multimodal teacher teach an audio student better?

    mfh avmnist prepare --fsdd v1.0.10.zip --out data/avmnist.npz
    mfh avmnist study --data data/avmnist.npz --out out/avmnist --seeds 10

The paper's student has 68.36% without distillation, 70.10% from an audio teacher and 69.73% from a teacher
of both modalities, although the latter is the more accurate teacher (Table 1). Seconds of one core a seed.
"""

import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._study.networks import Build
from mfh._study.outcome import SeedResult
from mfh._study.resume import Store
from mfh._study.task import derived_seed
from mfh._system.lock import holds
from mfh._system.progress import counted
from mfh.comparing import Outcome, Table, compare_arms, summarize
from mfh.data.paired import PairedDataset
from mfh.data.splits import Split, draw_split
from mfh.data.standardize import Standardize
from mfh.experiments.avmnist_config import AvmnistConfig
from mfh.metrics import find_metric, metrics_of
from mfh.models.avmnist import LateFusion
from mfh.models.mlp import mlp
from mfh.results import Comparison, StudyResult, TeacherRecord, Verdict, environment
from mfh.training.evaluate import predict
from mfh.training.objectives import Distill, learn_from
from mfh.training.scores import make_record, make_teacher_record
from mfh.training.students import StudentJob, seeded, train_students

PAPER = {"no-kd": 68.36, "audio": 70.10, "both": 69.73}
TEACHERS = ("audio", "both", "image")
PAIRS = (
    ("both", "audio"), ("both", "no-kd"), ("audio", "no-kd"), ("image", "no-kd"), ("both", "mismatched"),
    ("no-kd-smoothed", "no-kd"), ("image", "audio"),
)  # fmt: skip
SMOOTHING = 0.1
STUDENT = "audio"


def load(path: Path | str) -> PairedDataset:
    """What `prepare` wrote, with the speakers as groups.

    Raises:
        InputError: it is another file.
    """
    data = PairedDataset.from_npz(path, modalities=["image", "audio", "both"], group="speaker")
    count = len(data.group_names)
    require(count >= 3, f"`data` must hold three speakers or more, one for each split. Got {count}.")
    return data


@holds()
def study(
    data: PairedDataset,
    *,
    config: AvmnistConfig | None = None,
    out: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train an audio student alone and from teachers of audio, image and both; speakers dealt anew per seed.

    Args:
        data: see `load`.
        config: how networks are trained.
        out: folder for results and finished seeds, so that the same call resumes; None keeps all in memory.
        progress: whether to show a bar on stderr.

    Returns:
        Arms `no-kd`, `no-kd-smoothed`, `audio`, `both`, `image` (each from that teacher) and `mismatched`
        (outputs of `both` for other samples of the class); `comparisons`; and a verdict on `both` - `audio`.
    """
    start = time.perf_counter()
    config = config or AvmnistConfig()
    free = ("seeds", "device", "tracker")
    identity = {name: value for name, value in config.to_dict().items() if name not in free}
    identity |= {"experiment": "avmnist", "data": data.fingerprint}
    store = Store.open(out, identity) if out is not None else None
    seeds = []
    planned = range(config.seed, config.seed + config.seeds)
    for seed in counted(planned, "study", len(planned), unit="seeds", show=progress):
        done = store.load(seed) if store is not None else None
        if done is None:
            done = run_seed(data, config, seed)
            if store is not None:
                store.save(done)
        seeds.append(done)
    result = _assemble(data, config, seeds, time.perf_counter() - start)
    if store is not None:
        result.save(store.folder)
    return result


def run_seed(data: PairedDataset, config: AvmnistConfig, seed: int) -> SeedResult:
    """Teachers, then students, of one seed."""
    start = time.perf_counter()
    split = draw_split(data, seed)
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    fitted = {name: Standardize.fit(data.inputs(name, train)) for name in data.modalities}
    data = data.with_transforms(fitted)
    batches, rows = derived_seed(seed, "batches"), torch.arange(len(data))
    jobs = [
        StudentJob(
            seeded(_teacher(data, config, name), derived_seed(seed, name)),
            Distill(),
            data,
            name,
            train,
            validation,
            batches,
        )
        for name in TEACHERS
    ]
    logits = {}
    for job, done in zip(jobs, train_students(jobs, config), strict=True):
        job.model.load_state_dict(done.state)
        logits[job.modality] = predict(job.model, data, job.modality, rows)
    student = seeded(lambda: _student(data, config), derived_seed(seed, "student"))
    objectives = _objectives(logits, data, split, config, seed)
    students = [
        StudentJob(student, objective, data, STUDENT, train, validation, batches)
        for objective in objectives.values()
    ]
    records, correct = [], []
    for arm, done in zip(objectives, train_students(students, config), strict=True):
        student.load_state_dict(done.state)
        found = predict(student, data, STUDENT, rows)
        records.append(
            make_record(
                arm, metrics_of(data.task)[:1], found, data.label, split, seed=seed,
                best_epoch=done.best_epoch, seconds=done.seconds,
                loss=config.loss if objectives[arm].distils else None,
            )
        )  # fmt: skip
        correct.append((found.argmax(dim=1) == data.label).numpy()[split.test])
    teachers = tuple(
        make_teacher_record(
            name,
            find_metric("auto", data.task),
            table,
            data.label,
            split,
            seed=seed,
            temperature=config.temperature,
        )
        for name, table in logits.items()
    )
    return SeedResult(
        seed, split, tuple(records), teachers, np.stack(correct), {}, {},
        {"training": time.perf_counter() - start}, {}, (), "", {},
    )  # fmt: skip


def _teacher(data: PairedDataset, config: AvmnistConfig, name: str) -> Build:
    sizes = {part: int(np.prod(data.shape(part))) for part in data.modalities}
    if name == "both":
        parts = sizes["image"], sizes["audio"]
        return lambda: LateFusion(parts, data.num_classes, hidden=config.teacher_hidden)
    return lambda: mlp(sizes[name], data.num_classes, hidden=config.teacher_hidden)


def _student(data: PairedDataset, config: AvmnistConfig) -> nn.Module:
    return mlp(int(np.prod(data.shape(STUDENT))), data.num_classes, hidden=config.hidden)


def _objectives(
    logits: dict[str, Tensor], data: PairedDataset, split: Split, config: AvmnistConfig, seed: int
) -> dict[str, Distill]:
    order, rng = np.arange(len(data)), np.random.default_rng(derived_seed(seed, "mismatched"))
    labels = data.label.numpy()[split.train]
    for label in np.unique(labels):
        members = split.train[labels == label]
        order[members] = rng.permutation(members)
    return {
        "no-kd": Distill(),
        "no-kd-smoothed": Distill(smoothing=SMOOTHING),
        **{name: learn_from(config, table) for name, table in logits.items()},
        "mismatched": learn_from(config, logits["both"][torch.from_numpy(order)]),
    }


def _assemble(
    data: PairedDataset, config: AvmnistConfig, seeds: list[SeedResult], elapsed: float
) -> StudyResult:
    table: dict[tuple[str, float | None], dict[int, Outcome]] = defaultdict(dict)
    for done in seeds:
        for record, right in zip(done.records, done.correct, strict=True):
            validation = float(record.validation if record.validation is not None else np.nan)
            table[record.arm, None][done.seed] = Outcome(record.test, validation, right.astype(float))
    overlap = float(np.mean([len(done.split.test) / len(done.split.train) for done in seeds]))
    groups = None if data.group is None else {done.seed: data.group[done.split.test] for done in seeds}
    rows = tuple(
        compare_arms(table, (a, None), (b, None), groups, overlap, declared=(a, b) == PAIRS[0])
        for a, b in PAIRS
    )
    teachers = tuple(teacher for done in seeds for teacher in done.teachers)
    return StudyResult(
        config=config.to_dict() | {"teacher": "both", "student": STUDENT},
        environment=environment(),
        timings={"training": sum(done.timings["training"] for done in seeds), "total": elapsed},
        records=tuple(record for done in seeds for record in done.records),
        summary=summarize(Table(table), data.kind.metric, overlap),
        comparisons=rows,
        teachers=teachers,
        verdict=judge(rows[0], *(_mean_test(teachers, name) for name in ("both", "audio"))),
        data={
            "fingerprint": data.fingerprint,
            "num_samples": len(data),
            "classes": list(data.class_names),
            "num_groups": len(data.group_names),
            "teacher": "both",
            "student": STUDENT,
        },
    )


def _mean_test(teachers: tuple[TeacherRecord, ...], name: str) -> float:
    return float(np.mean([teacher.test for teacher in teachers if teacher.teacher == name]))


def judge(both_minus_audio: Comparison, both: float, audio: float) -> Verdict:
    """Whether the teacher of both modalities makes the better student.

    Args:
        both_minus_audio: of the students.
        both: test accuracy of the teacher of both modalities, in percent.
        audio: that of the audio teacher.
    """
    row = both_minus_audio
    better = f"The teacher of both modalities is right in {both:.1f}%, the audio teacher in {audio:.1f}%;"
    if row.low is None or row.high is None:
        text = f"{better} one seed cannot say which of them teaches better ({row.difference:+.2f} points)."
        return Verdict("abstain", None, text)
    span = f"({row.difference:+.2f} points, 95% interval {row.low:+.2f} to {row.high:+.2f}, {row.n} seeds)"
    if row.low > 0:
        return Verdict("help", None, f"{better} its student is the better one too {span}.")
    if row.high < 0:
        return Verdict("hurt", None, f"{better} its student is the worse one {span}.")
    if row.low >= -1 and row.high <= 1:
        return Verdict("no-effect", None, f"{better} their students differ by less than a point {span}.")
    return Verdict("abstain", None, f"{better} these seeds cannot tell their students apart {span}.")

"""The networks that a stack is made of: trained on all labels of a fit, and on all but one fold of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._study.few.budget import members
from mfh._study.given import GIVEN
from mfh._study.networks import Build
from mfh._study.task import SeedTask
from mfh._study.teachers import Teachers, train_alone, trained
from mfh.arms import BASELINE, FUSED
from mfh.data.paired import PairedDataset
from mfh.data.splits import divide
from mfh.training.device import Processes
from mfh.training.evaluate import predict
from mfh.training.objectives import Fused, Pair
from mfh.training.scores import HeldOut
from mfh.training.students import StudentFit, StudentJob, seeded
from mfh.training.weights import row_weights


@dataclass(frozen=True, eq=False)
class Part:
    """The labelled samples that some networks are trained on, and those that are held out.

    Attributes:
        name: part of the names and random streams of its networks; empty for all labels.
        data: all samples; the labels of held-out and of test samples are hidden.
        labelled: rows with a label.
        held_out: rows whose labels these networks do not see, and are judged by; the labelled rows themselves
            where nothing is held out.
    """

    name: str
    data: PairedDataset
    labelled: Tensor
    held_out: Tensor


def divide_labelled(task: SeedTask, data: PairedDataset) -> list[Part]:
    """Return the folds of the labelled samples, then all of them: stratified, groups kept together.

    Where the labelled samples have fewer groups than folds, each group is a fold; where they have too few
    groups even for that, they are divided as if there were no groups; see `divides_groups`.

    Args:
        task: the fit.
        data: the samples as the networks see them, without hidden labels.
    """
    rows = task.labelled.numpy()
    strata = task.networks.data.kind.strata(data.label[task.labelled])
    group = None if data.group is None or divides_groups(task, data) else data.group[rows]
    count = min(task.budget.folds, len(rows), *([] if group is None else [len(np.unique(group))]))
    rng = np.random.default_rng(task.derived("label folds"))
    parts = divide(strata, group, [1 / count] * count, rng)
    if not all(len(part) for part in parts):  # classes have fewer samples than there are folds
        order = rng.permutation(len(rows))
        order = order[np.argsort(strata[order], kind="stable")]
        parts = [order[number::count] for number in range(count)]
    found = []
    for number, part in enumerate(parts):
        held, kept = np.sort(rows[part]), np.sort(np.delete(rows, part))
        found.append(
            Part(f" fold {number}", data.without_labels(held), torch.from_numpy(kept), torch.from_numpy(held))
        )
    require(
        all(len(task.having(part.labelled, "both")) for part in found),
        f"Each fold of the labelled samples must leave complete pairs to train on. In {task.words} one "
        "does not: give more labelled samples that have both modalities.",
    )
    return [*found, Part("", data, task.labelled, task.labelled)]


def divides_groups(task: SeedTask, data: PairedDataset) -> bool:
    """Return whether the labelled samples have too few groups for folds of whole groups.

    Two are enough, but three where teachers are trained without two folds: in a search, and for temperatures.
    """
    if data.group is None:
        return False
    least = 3 if task.config.searches or task.budget.calibrates else 2
    return len(np.unique(data.group[task.labelled.numpy()])) < least


def train_members(task: SeedTask, parts: Sequence[Part]) -> list[Teachers]:
    """Train the teachers of each part: on labels those of one modality and of both; the pair on all pairs.

    Of a given teacher nothing is trained, and its outputs are the same in every part.
    """
    networks, wanted = task.networks, members(task.networks)
    given, known = _given(task, parts[-1].data)
    first = FUSED if networks.both else "regular"
    sides = {"unimodal": (networks.build_student, "student")}
    sides = sides if given else {first: (networks.build_teacher, "teacher"), **sides}
    jobs = {}
    for part in parts:
        for name, (build, side) in sides.items():
            role = f"teacher-{name}{part.name}"
            jobs[role] = labelled_job(task, part, build, side, role)
    fits = train_alone(task, jobs)
    found = []
    for part in parts:
        made = given | {
            name: trained(jobs[key], fits[key]).to(task.device)
            for name in sides
            for key in [f"teacher-{name}{part.name}"]
        }
        if FUSED in wanted and not networks.both:
            made[FUSED] = _train_pair(task, part, Fused)
        if "joint" in wanted:
            joint = _train_pair(task, part, Pair)
            made |= {"joint": joint.teacher, "joint-student": joint.student}
        alone = made["unimodal"]
        found.append(Teachers(made, made.get("joint-student"), alone, part.data, task.train, known=known))
    return found


def _given(task: SeedTask, data: PairedDataset) -> tuple[dict[str, nn.Module], dict[str, Tensor]]:
    """Return the network of a given teacher, and its outputs for every sample; nothing if none is given."""
    if not task.config.given_teacher:
        return {}, {}
    network = task.networks.build_teacher().to(task.device).eval()
    return {GIVEN: network}, {GIVEN: task.predict(network, data, "teacher")}


def labelled_job(
    task: SeedTask,
    part: Part,
    build: Build,
    side: str,
    name: str,
    *,
    smoothing: float = 0.0,
    weight_decay: float | None = None,
    rate: float = 1.0,
    role: str = "",
    batches: str = "batches",
) -> StudentJob:
    """Return a network that learns from the labels of a part alone.

    Args:
        task: the fit.
        part: the labelled samples.
        build: makes the network.
        side: whose modality it sees, `teacher` or `student`.
        name: of the network in messages and in names of files.
        smoothing: label smoothing.
        weight_decay: in place of that of the options.
        rate: factor of the learning rate.
        role: what its initial weights depend on; by default the name.
        batches: what its batches depend on, besides the part.
    """
    seen = task.having(part.labelled, side)
    return StudentJob(
        seeded(build, task.derived(role or name)),
        replace(task.labels, smoothing=smoothing),
        part.data,
        getattr(task, side),
        seen,
        seen,  # the last weights are kept, so these choose nothing
        task.derived(batches + part.name),
        name=f"The network `{name}` of {task.words}",
        metric=task.metric,
        rate=rate,
        weight_decay=weight_decay,
    )


def lone_job(
    task: SeedTask, part: Part, name: str, *, smoothing: float, weight_decay: float | None, rate: float = 1.0
) -> StudentJob:
    """Return a student network that has no teacher; see `labelled_job`.

    Args:
        task: the fit.
        part: the labelled samples.
        name: `no-kd`, or another name for a network that differs from it in its random numbers alone.
        smoothing: label smoothing.
        weight_decay: in place of that of the options.
        rate: factor of the learning rate.
    """
    first = name == BASELINE
    return labelled_job(
        task, part, task.networks.build_student, "student", name + part.name,
        smoothing=smoothing, weight_decay=weight_decay, rate=rate,
        role=("student" if first else name) + part.name, batches="batches" if first else name,
    )  # fmt: skip


def _train_pair(task: SeedTask, part: Part, kind: type[Pair]) -> Pair:
    """Train networks of both modalities: fused, on the labels, or as step 1 of Algorithm 1, on all pairs."""
    role = "fused" if kind is Fused else "joint"
    pair = kind(
        seeded(task.networks.build_teacher, task.derived(f"{role} teacher{part.name}")),
        seeded(task.networks.build_student, task.derived(f"{role} student{part.name}")),
    )
    joint = kind is Pair
    seen = task.having(part.labelled, "both")
    train = task.having(task.train, "both") if joint else seen
    labelled = torch.isin(train, seen).nonzero()[:, 0]
    task.train_pair(
        pair,
        part.data,
        modalities=(task.teacher, task.student),
        train=train,
        validation=seen,
        seed=task.derived("batches" + part.name),
        folder=task.parts.folder(f"pair-{role}{part.name}"),
        labelled=labelled if joint else None,
    )
    return pair


@dataclass(frozen=True, eq=False)
class Tuned:
    """Networks that learn from labels alone, tuned by out-of-fold outputs.

    Attributes:
        smoothing, weight_decay: those that won.
        logits: outputs of the network trained on all labels, for every sample, by its name: `no-kd`, then the
            members of `self`, which differ in their random numbers alone.
        held_out: out-of-fold outputs of the labelled rows that have the student's modality.
        fit: the network of the arm `no-kd`.
        by_fold: where students are calibrated, outputs of the networks that were trained without each fold,
            for every sample.
    """

    smoothing: float
    weight_decay: float
    logits: Mapping[str, Tensor]
    held_out: HeldOut
    fit: StudentFit
    by_fold: Sequence[Tensor] = ()


def tune(task: SeedTask, parts: Sequence[Part], copies: Sequence[str]) -> Tuned:
    """Choose smoothing and weight decay by out-of-fold metric, then by likelihood; train on all labels.

    Args:
        task: the fit.
        parts: the folds, then all labelled samples.
        copies: names of further networks to train, for self-training.
    """
    *folds, complete = parts
    kind = complete.data.kind
    tried = task.budget.trials
    held_out = [task.having(fold.held_out, "student") for fold in folds]
    rows = torch.cat(held_out)
    truth, each = complete.data.label[rows], row_weights(complete.data, rows)
    scored = []
    together = 1 if task.budget.large else len(tried)  # those of large networks fill the memory one by one
    for start in range(0, len(tried), together):
        for outputs, every in _out_of_fold(task, folds, held_out, tried[start : start + together]):
            metric = task.metric(outputs, truth, complete.data.weight_of(rows))
            merit = (task.metric.merit(metric), -float(kind.label_loss(outputs, truth, weight=each)))
            scored.append((merit, outputs, every))
    best = max(range(len(tried)), key=lambda place: scored[place][0])
    best = int(Processes.on(task.device).from_main(float(best)))
    smoothing, decay = tried[best]
    jobs = {
        name: lone_job(task, complete, name, smoothing=smoothing, weight_decay=decay)
        for name in (BASELINE, *copies)
    }
    fits = task.train_side_by_side(jobs, "teachers")
    logits = {
        name: task.predict(trained(job, fit).to(task.device), complete.data, "student")
        for (name, job), fit in zip(jobs.items(), fits, strict=True)
    }
    order = torch.argsort(rows)
    _, outputs, every = scored[best]
    return Tuned(smoothing, decay, logits, HeldOut(rows[order], outputs[order]), fits[0], every)


def _out_of_fold(
    task: SeedTask, folds: Sequence[Part], held_out: Sequence[Tensor], trials: Sequence[tuple[float, float]]
) -> list[tuple[Tensor, list[Tensor]]]:
    """Return for each trial of smoothing and weight decay the outputs for the held-out rows of all folds.

    Where students are calibrated, the outputs of each fold's network for every sample come with them.
    """
    jobs = {}
    for fold in folds:
        job = lone_job(task, fold, BASELINE, smoothing=0.0, weight_decay=None)
        for smoothing, decay in trials:
            jobs[_trial_name(smoothing, decay, fold)] = replace(
                job, objective=replace(job.objective, smoothing=smoothing), weight_decay=decay
            )
    fits = dict(zip(jobs, task.train_side_by_side(jobs, "teachers"), strict=True))
    found = []
    for smoothing, decay in trials:
        names = [_trial_name(smoothing, decay, fold) for fold in folds]
        models = [trained(jobs[name], fits[name]) for name in names]
        parts = [
            predict_rows(task, model, fold.data, rows)
            for model, fold, rows in zip(models, folds, held_out, strict=True)
        ]
        every = [
            task.predict(model, fold.data, "student")
            for model, fold in zip(models, folds, strict=True)
            if task.budget.calibrates
        ]
        found.append((torch.cat(parts), every))
    return found


def _trial_name(smoothing: float, decay: float, fold: Part) -> str:
    return f"no-kd-{smoothing:g}-{decay:g}{fold.name}"


def predict_rows(task: SeedTask, model: nn.Module, data: PairedDataset, rows: Tensor) -> Tensor:
    """Return a student network's outputs for some rows."""
    return predict(model.to(task.device), data, task.student, rows, shared=True)

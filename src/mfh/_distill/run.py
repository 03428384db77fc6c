"""Distil one student from one teacher: compute the teacher's outputs once, train, describe the result."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mfh._checks import InputError, listing, require
from mfh._distill.result import DistillResult
from mfh._focus import uncompiled
from mfh._saliency.plain import require_sized
from mfh._study.describe import describe_data
from mfh._study.kept import describe_build, describe_input, keep
from mfh._study.networks import require_both
from mfh._study.task import derived_seed
from mfh._system.lock import holds
from mfh._system.progress import Progress, is_shown
from mfh.arms import BASELINE
from mfh.config import DistillConfig
from mfh.data.paired import SPLITS, PairedDataset
from mfh.data.prepared import fit_inputs, prepared_when_read
from mfh.data.selection import complete_only, usable_only
from mfh.data.splits import Split, draw_pairs
from mfh.metrics import find_metric, metrics_of
from mfh.models.both import with_inputs
from mfh.models.copies import copied
from mfh.models.mlp import mlp
from mfh.results import environment, read_arrays
from mfh.training.evaluate import evaluate, predict
from mfh.training.loop import fit
from mfh.training.objectives import learn_from
from mfh.training.rate import with_rate
from mfh.training.scores import make_record, make_teacher_record
from mfh.training.students import seeded
from mfh.training.teacher_outputs import teacher_logits

Teacher = nn.Module | Tensor | np.ndarray | Path | str | None
Student = nn.Module | Callable[[], nn.Module] | None


@holds()
def distill(
    teacher: Teacher,
    student: Student,
    data: PairedDataset,
    config: DistillConfig | None = None,
    *,
    seed: int = 0,
    teacher_modality: str | Sequence[str] | None = None,
    student_modality: str | None = None,
    out: Path | str | None = None,
    progress: Progress = "auto",
) -> DistillResult:
    """Train a student of one modality on the soft labels of a teacher of another.

    The teacher's outputs are computed once for every sample, in evaluation mode; it is not trained. The
    student keeps the epoch with the best validation metric; test data choose nothing. One seed is weak
    evidence: `mfh.study` compares arms over many seeds, with controls.

    Samples without a label are training samples of a student with a teacher, which learns its soft labels on
    them. Validation and test samples have labels. Unlabelled samples of the validation or test split, or of
    a group with samples in one of these, are left out.

    From samples that lack the teacher's modality the student learns the label alone. Samples that lack its
    own modality are left out.

    Args:
        teacher: a network, such as a `FocusedTeacher`; or its logits for every sample, (sample, output), in
            the order of the data; or an npz with the arrays `id` and `outputs` or `logits`, or a folder that
            contains one (`teacher_logits` and `DistillResult.save` write such files); or None: the student
            learns from labels alone (arm `no-kd`).
        student: a network, which is copied; a function that makes one, called with torch's generator seeded
            by `seed`; or None for a multilayer perceptron on inputs standardised with training statistics.
        data: paired samples. If they have no split, `seed` draws one of the labelled samples.
        config: training, weights of labels and distillation, temperature; see `DistillConfig`.
        seed: fixes split, batches, dropout, and the initial weights of a student that is made here.
        teacher_modality: the modality that the teacher sees; by default the first of two. Several, such as
            `lidar+camera`, are the inputs of a teacher of both, which gets them as in `mfh.study`.
        student_modality: the modality that the student sees; by default the other one of two.
        out: folder for results, the teacher's outputs and a checkpoint from which the same call resumes;
            None writes nothing.
        progress: whether to show loss and rate on stderr; auto shows them in a terminal and in a notebook.

    Returns:
        The student, its metrics, and a description of the teacher.

    Raises:
        InputError: the data, the teacher's outputs, the networks or the configuration break a rule; the loss
            needs the label of every sample, and some have none.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(200) % 2
        >>> lidar = label[:, None] + 0.3 * rng.normal(size=(200, 3))
        >>> camera = lidar[:, :1] + 0.3 * rng.normal(size=(200, 1))
        >>> data = PairedDataset.from_arrays({"lidar": lidar, "camera": camera}, label=label)
        >>> logits = torch.tensor((lidar.mean(1, keepdims=True) - 0.5) * [-8, 8])
        >>> taught = distill(logits, nn.Linear(1, 2), data, DistillConfig(epochs=20, lr=0.05))
        >>> taught.records[0].arm, taught.test > 80
        ('distilled', True)
    """
    start = time.perf_counter()
    config = (config or DistillConfig()).settled(own_networks=student is not None)
    data = data.with_task(config.task)
    metrics = metrics_of(data.task, find_metric(config.metric, data.task), weighted=data.weight is not None)
    sees = modalities(data, teacher_modality, student_modality)
    every = data
    data = complete_only(data, sees[1:], "`distill`")
    data = data if teacher is None else usable_only(data, *sees, "`distill`")
    if isinstance(teacher, (Tensor, np.ndarray)) and len(teacher) == len(every):
        teacher = teacher[np.flatnonzero(np.isin(every.id, data.id))]
    there = data.present(sees[0])
    split = draw_pairs(data, seed, unlabelled=teacher is not None and config.distill_weight > 0)
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    seen = prepared_when_read(data, fit_inputs(data, train, ()))
    logits = outputs_of(teacher, seen, sees[0], out, there)
    objective = learn_from(config, logits, task=data.task, labelled=bool(data.labelled[split.train].all()))
    objective = objective if there.all() else replace(objective, taught=torch.from_numpy(there))
    fits = fit_inputs(data, train, sees[1:] if student is None else ())
    seen = prepared_when_read(data, fits)
    model = make_student(student, seen, sees[1], seed)
    answered = time.perf_counter()
    config = with_rate(
        config, [(model, sees[1], train)], seen, objective, seed=derived_seed(seed, "range test")
    )
    done = fit(
        model,
        seen,
        objective,
        modalities=(sees[1],),
        train=train,
        config=config,
        seed=derived_seed(seed, "batches"),
        score=lambda network: evaluate(network, seen, sees[1], validation, metrics[0]),
        metric=metrics[0],
        checkpoint=None if out is None else Path(out) / "checkpoint",
        progress=is_shown(progress),
    )
    teachers = []
    if logits is not None:
        described = make_teacher_record(
            "teacher",
            metrics[0],
            logits,
            data.label,
            split.only(there),
            seed=seed,
            temperature=config.temperature,
            task=data.task,
            weight=data.weight,
        )
        teachers.append(described)
    found = predict(done.model, seen, sees[1], torch.arange(len(data)))
    made_by = None if isinstance(student, nn.Module) else describe_build(student, data, sees[1])
    sides = {"student": describe_input(data, sees[1]) | {"network": made_by}}
    names = {"seed": seed, "teacher": sees[0], "student": sees[1], "networks": sides}
    result = DistillResult(
        config=config.to_dict() | names,
        environment=environment(),
        timings={"teacher": answered - start, "student": done.seconds},
        records=(
            make_record(
                BASELINE if logits is None else "distilled",
                metrics,
                found,
                data.label,
                split,
                seed=seed,
                best_epoch=done.best_epoch,
                seconds=done.seconds,
                loss=None if logits is None else config.loss,
                weight=data.weight,
            ),
        ),
        student=done.model,
        teachers=tuple(teachers),
        history=done.history,
        metrics=tuple(metric.info() for metric in metrics),
        data=describe_data(data, split, teacher=sees[0], student=sees[1], redrawn=False),
        inputs=keep(data, sees[1], {}, torch.from_numpy(split.test), inputs=fits.get(sees[1])),
        predictions={
            "id": data.id,
            "label": data.label.numpy(),
            "split": _split_names(split, len(data)),
            "logits": found.numpy(),
            **({} if data.group is None else {"group": np.asarray(data.group_names, dtype=str)[data.group]}),
            **({} if data.weight is None else {"weight": data.weight.numpy()}),
        },
    )
    if out is not None:
        result.save(out)
        return replace(result, kept=Path(out))
    return result


def modalities(
    data: PairedDataset, teacher: str | Sequence[str] | None, student: str | None
) -> tuple[str, str]:
    """Return the modalities of teacher and student; with two modalities in the data they need no names."""
    names = list(data.modalities)
    teacher = data.named(teacher)
    if student is not None:
        data.require_modality(student)
    if teacher is not None and len(data.parts(teacher)) > 1:
        require_both(data, teacher, student)
    elif len(names) == 2:
        teacher = teacher or next(name for name in names if name != student)
        student = student or next(name for name in names if name != teacher)
    if teacher is None or student is None:
        raise InputError(
            "`teacher_modality` and `student_modality` must be given: the data have "
            f"{len(names)} modalities, {listing(names)}."
        )
    return teacher, student


def outputs_of(
    teacher: Teacher,
    data: PairedDataset,
    modality: str,
    out: Path | str | None,
    there: Bool[np.ndarray, " sample"],
) -> Float[Tensor, "sample output"] | None:
    """Return the teacher's logits for every sample; None without a teacher.

    Args:
        teacher: see `distill`.
        data: the samples.
        modality: what the teacher sees.
        out: folder where a network's logits are kept.
        there: whether each sample has this modality; the logits of others mean nothing.
    """
    if teacher is None:
        return None
    if isinstance(teacher, nn.Module):
        require_sized(teacher, "teacher")
        parts, network = data.parts(modality), uncompiled(teacher)
        network = network if len(parts) == 1 else with_inputs(network, parts)
        rows = torch.from_numpy(np.flatnonzero(there))
        logits = teacher_logits(network, data, modality, folder=out, rows=rows)
    elif isinstance(teacher, (str, Path)):
        logits = _read(Path(teacher), data, there)
    else:
        logits = torch.as_tensor(teacher).detach().cpu().float()
    require(
        tuple(logits.shape) == (len(data), *data.output_shape),
        f"`teacher` of `distill` must give logits of the shape {(len(data), *data.output_shape)}: for every "
        f"sample {data.outputs_wanted}. Got {tuple(logits.shape)}.",
    )
    bad = (~logits.isfinite()).flatten(1).any(dim=1) & torch.from_numpy(there)
    require(
        not bad.any(),
        f"`teacher` of `distill` must give finite logits. Those of {int(bad.sum())} samples are not finite, "
        f"first of `{data.id[int(bad.int().argmax())]}`.",
    )
    return logits


def _read(path: Path, data: PairedDataset, there: Bool[np.ndarray, " sample"]) -> Tensor:
    """Read logits from an npz, or from the only one in a folder, and match them by the samples' ids.

    The logits of samples that are not `there` are NaN.
    """
    if path.is_dir():
        files = [p for p in sorted(path.glob("*.npz")) if p.name.endswith(("logits.npz", "predictions.npz"))]
        require(
            len(files) == 1,
            f"If `teacher` of `distill` is a folder, it must contain exactly one file of logits. `{path}` "
            f"contains {listing(p.name for p in files)}: name the file.",
        )
        path = files[0]
    arrays = read_arrays(path)
    values = arrays.get("outputs", arrays.get("logits"))
    if "id" not in arrays or values is None:
        raise InputError(
            f"`{path}` must contain the arrays `id` and `outputs` or `logits`. It contains {listing(arrays)}."
        )
    rows = {name: row for row, name in enumerate(arrays["id"].astype(str))}
    missing = [name for name in data.id[there] if name not in rows]
    require(
        not missing,
        f"`{path}` must contain every sample of the data. It lacks {len(missing)}, such as "
        f"{listing(missing[:3])}.",
    )
    found = torch.from_numpy(values[[rows[name] for name in data.id[there]]]).float()
    return found.new_full((len(data), *found.shape[1:]), torch.nan).index_copy(
        0, torch.from_numpy(np.flatnonzero(there)), found
    )


def make_student(student: Student, data: PairedDataset, modality: str, seed: int) -> nn.Module:
    """Make or copy the network to train, and check the shape of its outputs."""
    if isinstance(student, nn.Module):
        require_sized(student, "student")
        model = copied(uncompiled(student))
    else:
        size = int(np.prod(data.shape(modality)))
        build = student or (lambda: mlp(size, data.num_classes))
        model = uncompiled(seeded(build, derived_seed(seed, "student")))
        require_sized(model, "student")
    output = predict(model, data, modality, torch.arange(min(2, len(data))))
    require(
        tuple(output.shape[1:]) == data.output_shape,
        f"`student` of `distill` must give {data.outputs_wanted}. Got outputs of the shape "
        f"{tuple(output.shape[1:])} for one sample.",
    )
    return model


def _split_names(split: Split, count: int) -> np.ndarray:
    names = np.full(count, "", dtype="<U10")
    for name in SPLITS:
        names[getattr(split, name)] = name
    return names

"""RAVDESS emotion recognition (section 4 of the MFH paper): a teacher that hears, a student that sees.

    mfh ravdess prepare --raw DIR --out DIR      clips to MFCC arrays and pictures
    mfh ravdess train --data DIR --out DIR       Algorithm 1's step 1, a regular teacher, a student without KD
    mfh ravdess saliency --data DIR --out DIR    step 2
    mfh ravdess verify --data DIR --out DIR --mode general --seeds 5
    mfh ravdess study --data DIR --out DIR       all of it with the controls, redrawn for every seed

Published: the modality-general teacher's student is 1.06 points above the regular teacher's. On two CPU cores
one epoch of the student at full size takes minutes; `--width 8` and smaller pictures make a small version.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import mfh
from mfh._checks import InputError, require
from mfh._focus import split
from mfh._saliency import SaliencyResult, linear_start
from mfh._study.teachers import derived_seed
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.experiments._ravdess_result import collect, describe_saliency, saliency_arrays
from mfh.experiments._ravdess_run import Run
from mfh.experiments._ravdess_students import OUTPUTS, fit_alone, in_parts, on_device, train_student
from mfh.experiments.ravdess_config import DEFAULT_RATIO, FOCUSED, RavdessConfig, arm_of
from mfh.models.ravdess import DEFAULT_PLACE, RavdessNetwork, layer_of_place
from mfh.results import StudyResult
from mfh.training.loop import fit, predict
from mfh.training.objectives import Distill, Pair, joint
from mfh.training.teacher_outputs import teacher_logits

DEFAULT_PERMUTATIONS = 10
FEATURE_BYTES = 4 * 2**30
HAND_IN = "Run `mfh ravdess train` with the same --data and --out first, or hand it in with {flag}."


def train(
    data: PairedDataset,
    out: Path | str,
    *,
    config: RavdessConfig | None = None,
    joint_teacher: Path | str | None = None,
    joint_student: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train Algorithm 1's pair, a regular teacher and a student without KD, and keep them in a folder.

    The pair keeps its last epoch, as released; the others their best validation epoch. What is finished is
    not trained again, and what was stopped goes on.

    Args:
        data: as `mfh.data.ravdess.load` reads it.
        out: the folder for this and the following steps.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint that stands in for step 1, such as the released one.
        joint_student: the other network of that pair.
        progress: whether to show progress on stderr.

    Returns:
        Everything that is in the folder: one record, and accuracy and softness of each teacher.

    Raises:
        InputError: the folder is another run's, or a checkpoint does not fit.
    """
    run = Run(data, out, config or RavdessConfig())
    run.adopt_network("teacher-joint", joint_teacher)
    run.adopt_network("student-joint", joint_student)
    given = sum(path is not None for path in (joint_teacher, joint_student))
    require(given != 1, "`joint_teacher` and `joint_student` stand in for step 1 together. Got one of them.")
    if not all(run.checkpoint(name).exists() for name in ("teacher-joint", "student-joint")):
        _train_pair(run, progress)
    if not run.checkpoint("teacher-regular").exists():
        model = run.network("teacher", "teacher")
        fit_alone(run, "regular", model, run.config.teacher, Distill(), run.config.seed, progress)
        run.save_weights("teacher-regular", model)
        run.drop_training("regular")
    _describe_teachers(run)
    train_student(run, "no-kd", None, run.config.seed, DEFAULT_PLACE, progress)
    return collect(run)


def saliency(
    data: PairedDataset,
    out: Path | str,
    *,
    place: int = DEFAULT_PLACE,
    num_permutations: int | str | None = None,
    samples: int | None = None,
    config: RavdessConfig | None = None,
    joint_teacher: Path | str | None = None,
    joint_student: Path | str | None = None,
) -> SaliencyResult:
    """Algorithm 1's step 2 on the training split: `saliency-place5.npz` in the folder.

    Args:
        data: as `mfh.data.ravdess.load` reads it.
        out: folder of `train`.
        place: the released code's number of the layer; see `mfh.models.ravdess.layer_of_place`.
        num_permutations: `exact`, which place 5 allows, or a number; by default exact where that is possible,
            else 10.
        samples: how many training samples, drawn at random; by default all.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint that stands in for `train`.
        joint_student: the other network of that pair.

    Raises:
        InputError: nothing is trained yet, the place is none, or its features do not fit into memory.
    """
    layer = layer_of_place(place, (config or RavdessConfig()).teacher)
    run = Run(data, out, config or RavdessConfig())
    run.adopt_network("teacher-joint", joint_teacher)
    run.adopt_network("student-joint", joint_student)
    teacher = on_device(run, run.trained("teacher-joint", HAND_IN.format(flag="--joint-teacher")))
    student = on_device(run, run.trained("student-joint", HAND_IN.format(flag="--joint-student")))
    device = next(teacher.parameters()).device
    example = data.inputs(run.config.teacher, run.train[:2], device=device)
    trunk, head = split(teacher, layer, example=example)
    rows = _sampled_rows(run, samples)
    with torch.no_grad():
        first = trunk(example)
    fitting, each = FEATURE_BYTES // first[0].nbytes, first[0].nbytes / 2**20
    require(
        len(rows) <= fitting,
        f"`samples` must be {fitting} or fewer at place {place}, whose features take {each:.1f} MiB a "
        f"sample. Got {len(rows)}.",
    )
    start = linear_start(head, first)
    exact = start is not None and start.rest is None
    if num_permutations is None:
        num_permutations = "exact" if exact else DEFAULT_PERMUTATIONS
    require(
        exact or num_permutations != "exact",
        f"`num_permutations` must be a number at place {place}, which more than one layer follows. "
        "Got 'exact'.",
    )
    answers = teacher_logits(
        student, data, run.config.student, folder=run.out / OUTPUTS, name="student-joint", rows=rows
    )
    result = mfh.saliency(
        predict(trunk, data, run.config.teacher, rows).to(device),
        head,
        answers[rows],
        num_permutations=num_permutations,
        generator=torch.Generator().manual_seed(derived_seed(run.config.seed, "permutations")),
    )
    result.save(run.saliency_file(place))
    return result


def plot(out: Path | str, *, place: int = DEFAULT_PLACE, ratio: float = DEFAULT_RATIO) -> list[Path]:
    """Draw the saliency vector in channel order and sorted; returns the files in `OUT/figures`.

    Args:
        out: folder of `saliency`, or one that a vector was handed in to.
        place: the layer.
        ratio: share of channels that the figure shows as removed.

    Raises:
        InputError: there is no saliency of this place.
    """
    from mfh._report import save_figures

    layer_of_place(place, "image")
    arrays = saliency_arrays(Path(out), place)
    if not arrays:
        raise InputError(
            f"`{out}` holds no saliency of place {place}. Run `mfh ravdess saliency --place {place}` with "
            "the same --out first."
        )
    shown = StudyResult(config={"ratio": [ratio]}, channels=arrays, saliency=describe_saliency(arrays, place))
    return save_figures(shown, Path(out) / "figures")


def verify(
    data: PairedDataset,
    out: Path | str,
    *,
    mode: str | int,
    ratio: float = DEFAULT_RATIO,
    seeds: int = 1,
    place: int = DEFAULT_PLACE,
    config: RavdessConfig | None = None,
    joint_teacher: Path | str | None = None,
    saliency: Path | str | None = None,
    progress: bool = False,
) -> StudyResult:
    """Train fresh students on what a mode's teacher answers, one per seed.

    Teacher and split are those of the folder; a seed fixes the student's initial weights and batches, and the
    channels of mode random. A student that is finished is not trained again.

    Args:
        data: as `mfh.data.ravdess.load` reads it.
        out: folder of `train` and `saliency`.
        mode: general (1), specific (2), random (0), joint (-1, nothing removed), regular, or no-kd.
        ratio: share of channels to remove, in [0, 1), for general, specific and random.
        seeds: number of students.
        place: layer whose channels are removed.
        config: see `RavdessConfig`.
        joint_teacher: a checkpoint that stands in for `train`.
        saliency: a vector that stands in for `saliency`.
        progress: whether to show progress on stderr.

    Returns:
        All students in the folder, and the paired differences between them.

    Raises:
        InputError: a step is missing (which is said), or the folder's other students learn in another way.
    """
    arm, config = arm_of(mode), config or RavdessConfig()
    require(seeds >= 1, f"`seeds` must be 1 or more. Got {seeds}.")
    require(0 <= ratio < 1, f"`ratio` must lie in [0, 1). Got {ratio}: removing all leaves nothing to teach.")
    layer_of_place(place, config.teacher)
    run = Run(data, out, config)
    run.adopt_network("teacher-joint", joint_teacher)
    run.adopt_saliency(place, saliency)
    for seed in range(config.seed, config.seed + seeds):
        train_student(run, arm, ratio if arm in FOCUSED else None, seed, place, progress)
    return collect(run)


def study(
    data: PairedDataset,
    out: Path | str | None = None,
    *,
    config: StudyConfig | None = None,
    width: int = 32,
    place: int = DEFAULT_PLACE,
    progress: bool = False,
) -> StudyResult:
    """`mfh.study` with the RAVDESS networks: every arm and control, with the split that the data bring.

    Unlike in `train`, the pair keeps the epoch with the best mean validation accuracy, as every other network
    of a study does.

    Args:
        data: as `mfh.data.ravdess.load` reads it.
        out: folder for results; see `mfh.study`.
        config: see `StudyConfig`; `lr` and `epochs` are the caller's, .01 and 100 as released on the command
            line. Its `layer` must be left out.
        width: see `RavdessConfig`.
        place: layer whose channels are ranked.
        progress: whether to show progress on stderr.
    """
    config = config or StudyConfig(lr=0.01, epochs=100)
    student = config.student or "image"
    teacher = config.teacher or ("audio" if student == "image" else "image")
    require(config.layer is None, f"`layer` is named by `place` here. Got {config.layer!r}: leave it out.")
    config = replace(config, teacher=teacher, student=student, layer=layer_of_place(place, teacher))  # type: ignore[arg-type]
    config = in_parts(config, data, teacher, student)

    def network(modality: str) -> RavdessNetwork:
        return RavdessNetwork(modality, width=width, num_classes=data.num_classes)  # type: ignore[arg-type]

    return mfh.study(
        data, lambda: network(teacher), lambda: network(student), config=config, out=out, progress=progress
    )


def _train_pair(run: Run, progress: bool) -> None:
    config, seed = run.config, run.config.seed
    pair = Pair(run.network("teacher", "teacher"), run.network("student", "joint student"))
    fit(
        pair,
        run.data,
        joint,
        modalities=(config.teacher, config.student),
        train=run.train,
        config=in_parts(config, run.data, config.teacher, config.student),
        seed=derived_seed(seed, "batches"),
        checkpoint=run.training("joint"),
        progress=progress,
    )
    run.save_weights("teacher-joint", pair.teacher)
    run.save_weights("student-joint", pair.student)
    run.drop_training("joint")


def _describe_teachers(run: Run) -> None:
    """Accuracy and softness of the joint and the regular teacher."""
    rows = []
    for name in ("joint", "regular"):
        teacher = on_device(run, run.trained(f"teacher-{name}", ""))
        logits = teacher_logits(teacher, run.data, run.config.teacher, folder=run.out / OUTPUTS, name=name)
        seed, temperature = run.config.seed, run.config.temperature
        rows.append(run.teacher_record(name, logits, temperature=temperature, seed=seed))
    run.save_teachers(rows)


def _sampled_rows(run: Run, samples: int | None) -> Tensor:
    if samples is None or samples >= len(run.train):
        return run.train
    require(samples >= 2, f"`samples` must be 2 or more. Got {samples}.")
    generator = torch.Generator().manual_seed(derived_seed(run.config.seed, "saliency samples"))
    return run.train[torch.randperm(len(run.train), generator=generator)[:samples]].sort().values

"""Export networks of a finished study, and check that the files give the same outputs."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._export.files import (
    DESCRIPTION,
    PROGRAM,
    STUDENT,
    TEACHER,
    WEIGHTS,
    read_program,
    save_weights,
    write_program,
)
from mfh._export.seed import FinishedSeed
from mfh._focus import FocusedTeacher
from mfh._saliency.heads import logits_of
from mfh._system.files import file_checksum, write_json
from mfh._system.import_paths import ClassSpec
from mfh._system.lock import holds
from mfh.arms import HEADLINE
from mfh.data.paired import PairedDataset
from mfh.data.standardize import Standardize
from mfh.training.scores import make_teacher_record

NUM_CHECKED = 32
"""Samples on which the networks read back are compared with those in memory."""
SCORE_TOLERANCE = 1.0
"""By how many points the exported teacher's test metric may differ from the recorded one."""
_log = logging.getLogger("mfh")


@holds("to")
def export_study(
    folder: Path | str,
    data: PairedDataset,
    to: Path | str,
    *,
    teacher: ClassSpec | None = None,
    student: ClassSpec | None = None,
    seed: int | None = None,
    arm: str = HEADLINE,
    ratio: float | None = None,
) -> Path:
    """Write the focused teacher and the chosen student of one seed of a study, and check the files.

    If the study standardised the inputs of a network, the exported network does so itself and takes raw
    values; transforms of the data are not part of a network. The files are read back: the teacher's outputs
    must be equal to the last bit and its score equal to the recorded one; the outputs of the student's
    program must be equal but for rounding.

    Args:
        folder: folder of the study, its `out`.
        data: the study's data.
        to: folder for the files.
        teacher: what makes the teacher's network; None for the study's default.
        student: the same for the student.
        seed: a seed of the study; by default its first.
        arm: the arm whose ranking decides which channels are removed, such as `general`, `specific`,
            `important` or an arm of your own; the study must have stored the values that it ranks by.
        ratio: share of channels to remove; by default what validation chose for `general` (0 if it chose to
            remove nothing).

    Returns:
        Path of `export.json`.

    Raises:
        InputError: the folder contains no finished study of these data; there is no such seed or arm; a
            network cannot be exported, or gives other outputs when it is read back.
    """
    source = FinishedSeed(Path(folder), data, teacher, student, seed=seed, arm=arm, ratio=ratio)
    to = Path(to)
    focused, removed = source.teacher()
    example = source.data.inputs(source.modality(TEACHER), torch.arange(min(NUM_CHECKED, len(data))))
    with torch.no_grad():
        focused(example)  # finds which dimension is channels
    focused.save(to / TEACHER)
    again = FocusedTeacher.load(to / TEACHER, source.network(TEACHER))
    _require_equal(focused, again.eval(), example, "teacher", exactly=True)
    _require_score(source, focused)
    chosen = source.student()
    seen = source.data.inputs(source.modality(STUDENT), torch.arange(min(NUM_CHECKED, len(data))))
    save_weights(chosen, to / STUDENT / WEIGHTS)
    write_program(chosen, seen, to / STUDENT / PROGRAM)
    _require_equal(chosen, read_program(to / STUDENT / PROGRAM), seen, "student", exactly=False)
    names = ("teacher/focus.json", f"{TEACHER}/{WEIGHTS}", f"{STUDENT}/{WEIGHTS}", f"{STUDENT}/{PROGRAM}")
    files = {name: file_checksum(to / name) for name in names}
    description = _describe(source, focused, removed, chosen) | {"files": files}
    return write_json(to / DESCRIPTION, description, sealed=True)


def _require_equal(
    network: nn.Module, again: nn.Module, example: Tensor, side: str, *, exactly: bool
) -> None:
    """Compare the outputs of two networks, on all samples and on one."""
    for inputs in (example, example[:1]):
        with torch.no_grad():
            one, two = logits_of(network(inputs)), logits_of(again(inputs))
        same = torch.equal(one, two) if exactly else torch.allclose(one, two, rtol=1e-4, atol=1e-5)
        require(
            same,
            f"The exported {side} gives other outputs than the trained one: delete the export.",
        )
    _log.info("The exported %s gives the same outputs on %d samples.", side, len(example))


def _require_score(source: FinishedSeed, focused: nn.Module) -> None:
    """Compare the teacher's test metric with the one that the study recorded."""
    name = f"{source.arm.name}@{source.ratio:g}" if source.ratio else source.config.teacher_source
    records = [t for t in source.result.teachers if t.seed == source.seed and t.teacher == name]
    logits = source.logits(focused, TEACHER)
    data = source.data
    now = make_teacher_record(
        name, source.metric, logits, data.label, source.split, seed=source.seed, temperature=1.0,
        task=data.task,
    )  # fmt: skip
    for record in records:
        require(
            abs(record.test - now.test) <= SCORE_TOLERANCE,
            f"The exported teacher must have the test {record.metric} that the study recorded, "
            f"{record.test:.2f}. It has {now.test:.2f}: are data, transforms and networks those of the "
            "study?",
        )


def _describe(
    source: FinishedSeed, focused: FocusedTeacher, removed: list[int], student: nn.Module
) -> dict[str, Any]:
    """Return the content of `export.json`, without the checksums of the files."""
    data, held = source.data, torch.from_numpy(source.split.test)
    test = source.metric(source.logits(student, STUDENT)[held], data.label[held])
    sides = {
        side: {
            "network": source.made_of(side),
            "modality": source.modality(side),
            "shape": list(data.shape(source.modality(side))),
        }
        for side in (TEACHER, STUDENT)
    }
    return {
        "schema_version": 1,
        "study": str(source.folder),
        "fingerprint": source.result.data["fingerprint"],
        "seed": source.seed,
        "task": data.task,
        **({"targets": _scale(source.targets)} if source.targets else {}),
        "class_names": list(data.class_names),
        TEACHER: sides[TEACHER]
        | {
            "arm": source.arm.name,
            "ratio": source.ratio,
            "layer": focused.layer,
            "num_removed": len(removed),
        },
        STUDENT: sides[STUDENT]
        | {
            "arm": source.chosen.arm,
            "ratio": source.chosen.ratio,
            "test": test,
            "recorded": source.chosen.test,
        },
    }


def _scale(fit: Standardize) -> dict[str, list[float]]:
    """Return what converts outputs to the unit of the targets: an output x `sd` + `mean`."""
    return {"mean": fit.mean.flatten().tolist(), "sd": fit.sd.flatten().tolist()}

"""Which student of a finished run is exported."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh._study.kept import Kept, student_names
from mfh._study.outputs import StudentKey
from mfh.arms import BASELINE, CHOSEN, HEADLINE, Arm
from mfh.comparing import source_arm
from mfh.comparing.keys import headline_key
from mfh.metrics import merit
from mfh.results import FitResult, Record, StudyResult


@dataclass(frozen=True, eq=False)
class Chosen:
    """A student of a run, with its weights.

    Attributes:
        arm: the arm that was asked for; `general` stands for its ratio 0 too, which is another arm's student.
        record: the student's record.
        place: its place among the records of its fit.
        state: its weights.
        tensors: what its fit keeps; see `mfh._study.kept`.
    """

    arm: Arm
    record: Record
    place: int
    state: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]


def choose(result: StudyResult, kept: Kept, *, arm: str | None, seed: int | None, loss: str | None) -> Chosen:
    """Return the best student of an arm by its validation metric, the least focused of equals.

    Args:
        result: the run.
        kept: its students.
        arm: name of an arm; None takes `recommended`.
        seed: number of a fit; None takes the one with the best student.
        loss: the distillation loss; None takes the declared one.

    Raises:
        InputError: there is no such arm, fit or loss, or its students were not kept.
    """
    trained = {record.arm for record in result.records}
    arms = {a.name: a for a in result.arms if not trained.isdisjoint(_stands_for(result, a))}
    name = recommended(result) if arm is None else arm
    require(name in arms, f"`arm` must be one of the arms of the run, {listing(arms)}. Got {name!r}.")
    seeds = sorted({record.seed for record in result.records})
    require(seed is None or seed in seeds, f"`seed` must be one of {listing(seeds)}. Got {seed}.")
    loss = _declared(result) if loss is None else loss
    names = _stands_for(result, arms[name])
    mine = [
        record
        for record in result.records
        if record.arm in names and record.loss in (None, loss) and seed in (None, record.seed)
    ]
    where = "any fit" if seed is None else f"fit {seed}"
    require(bool(mine), f"The arm `{name}` has no student with the loss {loss} in {where}: it diverged.")
    for record in sorted(mine, key=lambda r: (-_merit(result, r), r.ratio or 0.0)):
        tensors = kept.of(record.seed)
        stored = StudentKey(record.arm, record.ratio, record.draw, record.loss).name
        if stored in student_names(tensors):
            prefix = f"students/{stored}/"
            state = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
            fit = [r for r in result.records if r.seed == record.seed]
            return Chosen(arms[name], record, fit.index(record), state, tensors)
    raise InputError(
        f"The weights of the arm `{name}` were not kept, since those of all arms are large. Repeat the study "
        f"in another folder with `--arms {BASELINE} {name}`: its students are the same."
    )


def recommended(result: StudyResult) -> str:
    """Return the arm whose student to use.

    It is the headline arm if the study shows that it helps, and `no-kd` if it shows that it does not. Where
    that is open, it is the one of the two with the better mean validation metric.
    """
    if isinstance(result, FitResult):
        return str(result.search["shipped"])
    key = headline_key(result.arms, _source(result))
    head = HEADLINE if key is None else key[0].removesuffix(CHOSEN)
    means = {name: _mean_validation(result, name) for name in (head, BASELINE)}
    known = {name: mean for name, mean in means.items() if mean > -math.inf}
    if not known:
        return next((record.arm for record in result.records), head)
    preferred = {"help": head, "hurt": BASELINE, "no-effect": BASELINE}.get(result.verdict.verdict)
    return preferred if preferred in known else max(known, key=lambda name: known[name])


def _mean_validation(result: StudyResult, name: str) -> float:
    """Return the mean over fits of the best validation metric of an arm's students; -inf without any."""
    arm = next((arm for arm in result.arms if arm.name == name), None)
    if arm is None:
        return -math.inf
    names, loss = _stands_for(result, arm), _declared(result)
    best: dict[int, float] = {}
    for record in result.records:
        if record.arm in names and record.loss in (None, loss):
            best[record.seed] = max(best.get(record.seed, -math.inf), _merit(result, record))
    return sum(best.values()) / len(best) if best else -math.inf


def _stands_for(result: StudyResult, arm: Arm) -> tuple[str, ...]:
    """Return the arms among whose students validation chooses: at ratio 0, `general` is another arm."""
    plain = source_arm(result.arms, _source(result))
    return (arm.name, plain.name) if arm.name == HEADLINE and plain else (arm.name,)


def _source(result: StudyResult) -> str:
    return str(result.config.get("teacher_source", "joint"))


def _declared(result: StudyResult) -> str | None:
    loss = result.config.get("loss")
    return None if loss is None else str(loss)


def _merit(result: StudyResult, record: Record) -> float:
    value = math.nan if record.validation is None else record.validation
    return merit(value, higher_is_better=result.metrics[0].higher_is_better)

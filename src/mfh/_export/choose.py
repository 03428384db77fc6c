"""Which student of a finished run is exported."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh._study.kept import Kept, student_names
from mfh._study.outputs import StudentKey
from mfh.arms import BASELINE, CHOSEN, HEADLINE, Arm
from mfh.comparing import is_worse, source_arm
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
    found = _best(result, kept, mine)
    if found is not None:
        record, state, tensors = found
        fit = [r for r in result.records if r.seed == record.seed]
        return Chosen(arms[name], record, fit.index(record), state, tensors)
    others = [r for r in result.records if r.arm in names and r.loss in (None, loss)]
    other = None if seed is None else _best(result, kept, others)
    require(
        other is None,
        f"Fit {seed} kept no student of the arm `{name}`, since its weights are large. Fit "
        f"{other and other[0].seed} did: leave out `seed`.",
    )
    raise InputError(
        f"The weights of the arm `{name}` were not kept, since those of all arms are large. Repeat the study "
        f"in another folder with `--arms {BASELINE} {name}`: its students are the same."
    )


def _best(
    result: StudyResult, kept: Kept, records: Iterable[Record]
) -> tuple[Record, dict[str, Tensor], Mapping[str, Tensor]] | None:
    """Return the best of some students that were kept: record, weights, what its fit keeps; None if none."""
    for record in sorted(records, key=lambda r: (-_merit(result, r), r.ratio or 0.0)):
        tensors = kept.of(record.seed)
        stored = StudentKey(record.arm, record.ratio, record.draw, record.loss).name
        if stored in student_names(tensors):
            prefix = f"students/{stored}/"
            state = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
            return record, state, tensors
    return None


def recommended(result: StudyResult) -> str:
    """Return the arm whose student to use.

    The verdict compares two arms, by default the headline arm with `no-kd`. It is the first if that is
    better, and the second if that is as good or better. Where it is open, it is the one of the two, or
    `no-kd`, with the best mean validation metric. `no-kd` is taken too if it is better than the arm of the
    verdict.
    """
    if isinstance(result, FitResult):
        return str(result.search["shipped"])
    head, other = _judged(result)
    means = {name: _mean_validation(result, name) for name in dict.fromkeys((head, other, BASELINE))}
    known = {name: mean for name, mean in means.items() if mean > -math.inf}
    if not known:
        return next((record.arm for record in result.records), head)
    preferred = {"help": head, "hurt": other, "no-effect": other}.get(result.verdict.verdict)
    if preferred not in known:
        return max(known, key=lambda name: known[name])
    loses = any(
        (row.a.removesuffix(CHOSEN), row.b, row.ratio) == (preferred, BASELINE, None)
        and is_worse(row, result.metrics[0])
        for row in result.comparisons
    )
    return BASELINE if loses and BASELINE in known else preferred


def _judged(result: StudyResult) -> tuple[str, str]:
    """Return the two arms that the verdict compares."""
    if "experiment" in result.config:  # has an own question
        first = next((row for row in result.comparisons if row.question == 1), None)
        if first is not None:
            return first.a, first.b
    key = headline_key(result.arms, _source(result))
    return HEADLINE if key is None else key[0].removesuffix(CHOSEN), BASELINE


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

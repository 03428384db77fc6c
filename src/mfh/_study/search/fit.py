"""One fit of a search: the best recipe without a teacher, then the best with one, and both students."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mfh._study.few.budget import STUDENTS as USUAL_STUDENTS
from mfh._study.few.budget import Budget
from mfh._study.few.fit import visible_data
from mfh._study.few.lessons import Lesson, require_folds
from mfh._study.few.members import Part, divide_labelled, divides_groups, labelled_job, predict_rows
from mfh._study.few.stack import with_labels
from mfh._study.kept import STUDENTS, keep_students
from mfh._study.networks import Build, Networks
from mfh._study.outcome import SeedResult, Student
from mfh._study.outputs import StudentKey
from mfh._study.search.choose import ERRORS, Taken, choose, compare
from mfh._study.search.clock import Clock
from mfh._study.search.halving import Merit, Tried, round_cost, search
from mfh._study.search.lessons import COPIES, make_lessons, prepare_teachers
from mfh._study.search.space import FIXED, Space
from mfh._study.search.threshold import choose_threshold, judge_threshold, require_threshold
from mfh._study.students import evaluate
from mfh._study.task import SeedTask, Timer
from mfh._study.teachers import teacher_records, trained
from mfh.arms import BASELINE, SEARCH_ARMS, SEARCHED, STACK
from mfh.config import FitConfig, ThresholdRule
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.recipe import Recipe
from mfh.results import Choice
from mfh.tasks import TASKS
from mfh.training.device import Processes
from mfh.training.objectives import Distill
from mfh.training.scores import HeldOut
from mfh.training.students import StudentFit, StudentJob, seeded
from mfh.training.weights import row_weights

logger = logging.getLogger(__name__)
T = TypeVar("T")
ARMS = {arm.name: arm for arm in SEARCH_ARMS}
MANY_UNLABELLED = 0.5
"""Share of the pairs without a label from which on the stack is the anchor, not the untaught student."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Students by recipe, on parts of the labels.

    Attributes:
        task: the fit.
        data: its samples, without hidden labels.
        parts: the folds of the labelled samples, then all of them.
        lessons: what taught students learn from, by part; empty if there are no teachers yet.
    """

    task: SeedTask
    data: PairedDataset
    parts: Sequence[Part]
    lessons: Sequence[Lesson] = ()

    def judge(self, recipes: Sequence[Recipe], fold: int) -> list[tuple[Merit, Tensor]]:
        """Train a student of each recipe without a fold, and judge it on that fold; see `halving`."""
        part, metric = self.parts[fold], self.task.metric
        rows = self.task.having(part.held_out, "student")
        truth, weight = self.data.label[rows], self.data.weight_of(rows)
        each = row_weights(self.data, rows)
        found: list[tuple[Merit, Tensor]] = []
        for job, fit in self.train(recipes, fold, tolerant=True):
            if fit.failure is not None:
                worst = torch.full((len(truth), self.data.num_classes), torch.nan)
                found.append(((-np.inf, -np.inf), worst))
                continue
            outputs = predict_rows(self.task, trained(job, fit), part.data, rows)
            loss = float(self.data.kind.label_loss(outputs, truth, weight=each))
            found.append(((metric.merit(metric(outputs, truth, weight)), -loss), outputs))
        return found

    def train(
        self, recipes: Sequence[Recipe], place: int, *, tolerant: bool = False
    ) -> list[tuple[StudentJob, StudentFit]]:
        """Train a student of each recipe on a part of the labels; equal recipes are trained once."""
        jobs = {str(recipe): self.job(recipe, place) for recipe in recipes}
        named = {f"{name}{self.parts[place].name}": job for name, job in jobs.items()}
        fits = self.task.train_side_by_side(named, "students", tolerant=tolerant)
        done = dict(zip(jobs, zip(jobs.values(), fits, strict=True), strict=True))
        return [done[str(recipe)] for recipe in recipes]

    def job(self, recipe: Recipe, place: int) -> StudentJob:
        """Return the student of a recipe on a part of the labels; the last part has all."""
        task, part = self.task, self.parts[place]
        build, name = self.build(recipe), f"student of {recipe}{part.name}"
        if not recipe.taught:
            return labelled_job(
                task, part, build, "student", name, smoothing=recipe.smoothing,
                weight_decay=recipe.weight_decay, rate=recipe.rate, role="student" + part.name,
            )  # fmt: skip
        lesson = self.lessons[place]
        return StudentJob(
            seeded(build, task.derived("student" + part.name)),
            self._objective(recipe, lesson),
            part.data,
            task.student,
            lesson.train,
            task.having(part.labelled, "student"),  # the last weights are kept, so these choose nothing
            task.derived("batches" + part.name),
            name=f"The {name} of {task.words}",
            metric=task.metric,
            rate=recipe.rate,
            weight_decay=recipe.weight_decay,
        )

    def _objective(self, recipe: Recipe, lesson: Lesson) -> Distill:
        kind, rows = self.data.task, self.task.having(lesson.part.labelled, "student")
        logits = lesson.outputs.logits[recipe.source]
        logits = TASKS[kind].hardened(logits) if recipe.hard else logits
        label = self.data.label[rows]
        return Distill(
            teacher_logits=with_labels(kind, logits, label, rows, weight=recipe.label_weight),
            label_weight=0.0,
            distill_weight=1.0,
            temperature=recipe.temperature,
            loss=None if recipe.loss == "kl" else self.task.networks.losses[recipe.loss],
            task=kind,
            taught=self.task.taught_by(recipe.teacher),
        )

    def build(self, recipe: Recipe) -> Build:
        """Return what makes the student's network of a recipe."""
        networks = self.task.networks
        return networks.build_student if recipe.width == 1 else networks.scaled(recipe.width).build_student

    @property
    def judged(self) -> Tensor:
        """The labelled rows that recipes are judged by, fold by fold."""
        return torch.cat([self.task.having(part.held_out, "student") for part in self.parts[:-1]])

    def held_out(self, one: Tried) -> HeldOut:
        """Return the outputs of a recipe for labelled samples that its students did not see."""
        return HeldOut(self.judged, torch.cat(one.outputs))


def run_search(task: SeedTask) -> SeedResult:
    """Search recipes without and with teachers on the labels of a fit, and test what each search takes."""
    timer = Timer()
    data, truth = visible_data(task)
    space, rng = Space.of(task.networks), np.random.default_rng(task.derived("search"))
    alone = Candidates(task, data, divide_labelled(task, data))
    require_folds(task, alone.parts)
    prepared = prepare_teachers(task, data, alone.parts, focused=bool(space.ratios))
    ranked = prepared.ranked[""]
    timer.lap("teachers")
    plain = _search(
        alone,
        space,
        rng,
        [Recipe()],
        most=task.budget.students,
        until=_half_time(task, timer.seconds["teachers"]),
    )
    untaught = _against(choose, alone, plain, plain[0])
    timer.lap("students")
    lessons = make_lessons(task, data, prepared, untaught.best.recipe)
    complete = lessons[-1]
    timer.lap("teachers")
    both, most = replace(alone, lessons=lessons), task.budget.students
    if task.until is not None:  # no more students with a teacher than without one
        most = sum(len(one.merits) for one in plain)
    taught = _search(both, space, rng, [FIXED], most=most, until=task.until)
    unlabelled = 1 - len(task.labelled) / len(task.train)
    anchor = taught[0] if unlabelled >= MANY_UNLABELLED else untaught.best
    winner = _against(partial(choose, errors=ERRORS), both, [untaught.best, *taught], anchor)
    margins = _against(compare, both, [*plain, *taught], anchor)
    students = _train(both, {BASELINE: untaught.best, STACK: taught[0], SEARCHED: winner.best}, truth)
    timer.lap("students")
    return SeedResult(
        seed=task.seed,
        split=task.split,
        students=students.evaluated,
        teachers=teacher_records(task, truth, complete.outputs.logits, complete.outputs.logits),
        channels=ranked.channels,
        overlap=ranked.overlap,
        timings=timer.seconds,
        weights={STUDENTS: students.kept},
        layer=ranked.layer,
        repeat=task.place[0],
        fold=task.place[1],
        chosen=(Choice(STACK, task.seed, weights=dict(complete.weights)),),
        search={
            "trials": [
                _describe(one, name, task.metric, margins.get(one))
                for name, tried in ((BASELINE, plain), (SEARCHED, taught))
                for one in tried
            ],
            "winners": {BASELINE: _winner(untaught), SEARCHED: _winner(winner)},
            "anchor": str(anchor.recipe),
            "divides_groups": divides_groups(task, data),
            "training": task.training_time.seconds.get("training", 0.0),
            **_thresholds(task, truth, students),
        },
    )


def check_search(networks: Networks) -> None:
    """Check what a search needs before anything is trained; warn if its budget is too small.

    Raises:
        InputError: see `require_threshold`.
    """
    if not isinstance(networks.config, FitConfig):
        return
    require_threshold(networks.data, networks.config)
    budget = Budget.of(networks)
    least = 2 * (budget.folds + round_cost(1, budget.folds))
    if budget.students is not None and 2 * budget.students < least:
        logger.warning(
            "`budget` %d allows the fixed recipe of each search alone, on %d folds, so nothing is searched. "
            "Give %d or more.",
            2 * budget.students,
            budget.folds,
            least,
        )


def units_per_fit(networks: Networks) -> dict[str, int]:
    """Return the work of each stage of one fit: networks to train, or rankings of channels."""
    budget = Budget.of(networks)
    students = USUAL_STUDENTS // 2 if budget.students is None else budget.students
    parts = budget.folds + budget.pairs + 1
    return {
        "teachers": (budget.teachers + 1 + COPIES) * parts,
        "saliency": parts,
        "students": 2 * students + 3,
    }


def _search(
    candidates: Candidates,
    space: Space,
    rng: np.random.Generator,
    fixed: Sequence[Recipe],
    *,
    most: int | None,
    until: float | None,
) -> list[Tried]:
    """Run one search: of taught recipes if there are teachers, else of recipes without one.

    Args:
        candidates: trains and judges.
        space: what recipes are drawn from.
        rng: what they are drawn with.
        fixed: recipes that are tried whatever the limits.
        most: students to train at most; None for no such number.
        until: when to end, `time.monotonic`; None for no such time.
    """
    task, taught = candidates.task, bool(candidates.lessons)
    return search(
        lambda count: space.draw(count, rng, taught=taught),
        candidates.judge,
        fixed=fixed,
        folds=len(candidates.parts) - 1,
        budget=most,
        clock=Clock(until, Processes.on(task.device).from_main),
    )


def _against(function: Callable[..., T], candidates: Candidates, tried: Sequence[Tried], anchor: Tried) -> T:
    """Return what `choose` or `compare` gives for recipes and an anchor."""
    rows, group = candidates.judged, candidates.data.group
    return function(
        tried,
        anchor,
        candidates.data.label[rows],
        None if group is None else group[rows.numpy()],
        candidates.task.metric,
        weight=candidates.data.weight_of(rows),
    )


def _half_time(task: SeedTask, seconds: float) -> float | None:
    """Return when the search without a teacher should be over: the other one needs as long, and teachers.

    Args:
        task: the fit.
        seconds: that the first teachers took, by which the time for the others is estimated.
    """
    if task.until is None:
        return None
    now = time.monotonic()
    others = seconds * (COPIES + 1) / max(1, task.budget.teachers)
    return now + max(0.0, task.until - now - others) / 2


@dataclass(frozen=True, eq=False)
class _Students:
    """The students that a fit tests.

    Attributes:
        evaluated: their records and outputs.
        kept: what the fit keeps of them; see `mfh._study.kept`.
        held_out: for each, outputs of students with its recipe for labelled samples that they did not see.
    """

    evaluated: tuple[Student, ...]
    kept: Mapping[str, Tensor]
    held_out: tuple[HeldOut, ...]


def _train(both: Candidates, chosen: Mapping[str, Tried], truth: PairedDataset) -> _Students:
    """Train the students that were chosen on all labels, and evaluate them."""
    task = both.task
    done = both.train([one.recipe for one in chosen.values()], -1)
    keys = {
        StudentKey(name, loss=task.config.loss if ARMS[name].teacher else None): one
        for name, one in chosen.items()
    }
    fits = {key: fit for key, (_, fit) in zip(keys, done, strict=True)}
    held_out = {key: both.held_out(one) for key, one in keys.items()}
    evaluated = evaluate(
        task,
        truth,
        fits,
        held_out,
        builds={key: both.build(one.recipe) for key, one in keys.items()},
        own=held_out,
    )
    kept = keep_students(task, fits, lambda key: keys[key].merit[0])
    return _Students(evaluated, kept, tuple(held_out.values()))


def _thresholds(task: SeedTask, truth: PairedDataset, students: _Students) -> dict[str, Any]:
    """Return the threshold that held-out samples choose for each student, and its effect on test samples.

    Empty if no threshold is asked for.
    """
    config = task.config
    if not isinstance(config, FitConfig) or config.threshold is None:
        return {}
    rule = ThresholdRule.of(config.threshold)
    names = list(truth.class_names)
    place = 1 if config.positive is None else names.index(config.positive)
    found: dict[str, Any] = {"rule": str(rule), "positive": names[place], "index": place}
    positive = truth.label.numpy() == place
    for student, held_out in zip(students.evaluated, students.held_out, strict=True):
        record = student.record
        scale = record.temperature if config.calibrate == "temperature" and record.temperature else 1.0
        unseen = torch.softmax(held_out.outputs.double() / scale, dim=1)[:, place].numpy()
        tested = torch.softmax(torch.from_numpy(student.outputs).double(), dim=1)[:, place].numpy()
        known, test = positive[held_out.rows.numpy()], positive[task.split.test]
        weights = [_weights(truth, rows) for rows in (held_out.rows, task.test)]
        threshold = choose_threshold(unseen, known, rule, weights[0])
        found[record.arm] = {
            "threshold": threshold,
            "held_out": judge_threshold(unseen, known, threshold, rule, weights[0]),
            "test": judge_threshold(tested, test, threshold, rule, weights[1]),
        }
    return {"threshold": found}


def _weights(data: PairedDataset, rows: Tensor) -> np.ndarray | None:
    weight = data.weight_of(rows)
    return None if weight is None else weight.double().numpy()


def _describe(one: Tried, search: str, metric: Metric, margin: tuple[float, float] | None) -> dict[str, Any]:
    """Return a recipe that was tried, as a row of a table; `margin` is that of `compare`."""
    difference, error = (None if x is None or not np.isfinite(x) else x for x in margin or (None, None))
    sign = 1.0 if metric.higher_is_better else -1.0
    (value, loss), (first, _) = one.merit, one.merits[0]
    known = np.isfinite(value)
    return {
        "search": search,
        **one.recipe.to_dict(),
        "folds": len(one.merits),
        "fixed": one.fixed,
        "first": sign * float(first) if np.isfinite(first) else None,
        "validation": sign * float(value) if known else None,
        "loss_on_labels": -float(loss) if known else None,
        "difference": difference,
        "error": error,
    }


def _winner(taken: Taken) -> dict[str, Any]:
    """Return the recipe that a search took."""
    error = None if np.isnan(taken.error) else taken.error
    return {**taken.best.recipe.to_dict(), "difference": taken.difference, "error": error}

"""The diagnosis where labels are missing: a small study on the labelled samples, in folds.

The pilot is a study with few labels, for one repeat: its folds are drawn over the labelled samples, and all
pairs train. So its teachers and students are judged on samples whose labels they did not see.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from mfh._checks import require
from mfh._diagnose.few_words import Effect, advise, explain
from mfh._diagnose.verdict import Belief, name_verdict
from mfh._study.experiment import study
from mfh._study.few.budget import MEMBERS
from mfh._study.few.labels import draw_labelled
from mfh._study.networks import Build
from mfh._system.progress import Progress
from mfh.arms import BASELINE, FEW_PILOT, STACK, TEACHERS
from mfh.config import DiagnoseConfig, LabelCount, StudyConfig
from mfh.data.paired import PairedDataset
from mfh.results import Diagnosis, StudyResult, Verdict

TRANSFER_SD = 2.0
"""Standard deviation, in points, of a study's gain around that of its pilot, besides the pilot's own error.

Gains on other data sets are not used: they would pull the expectation away from the truth (docs/diagnose.md).
"""
TRUSTED = 0.1
"""Mean weight in the stack from which a teacher counts as trusted."""
HALF = "0.5"


def diagnose_few(
    data: PairedDataset,
    teacher: Build | None,
    student: Build | None,
    config: DiagnoseConfig,
    progress: Progress,
) -> Diagnosis:
    """Return what the labelled samples and the pairs tell before a study with few labels.

    Args:
        data: all samples, of the task of `config`.
        teacher: makes the teacher's network; see `mfh.study`.
        student: makes the student's network.
        config: the options, with the modalities of teacher and student.
        progress: see `diagnose`.

    Raises:
        InputError: there are too few labelled samples for the folds.
    """
    start = time.perf_counter()
    seen = visible(data, config)
    options = pilot_options(seen, config)
    pilot = study(seen, teacher, student, config=options, progress=progress)
    gain = compare(pilot, STACK, pilot, BASELINE, seen)
    outlook = {}
    if config.outlook:
        fewer = replace(options, labelled=(HALF,), arms=(BASELINE, STACK))
        with_half = study(seen, teacher, student, config=fewer, progress=progress)
        outlook["labels"] = compare(pilot, STACK, with_half, STACK, seen)
        outlook["labels_alone"] = compare(pilot, BASELINE, with_half, BASELINE, seen)
        rows = half_of_pairs(seen, config.seed)
        few_pairs = study(
            seen.rows(rows), teacher, student, config=replace(options, arms=(STACK,)), progress=progress
        )
        outlook["pairs"] = compare(pilot, STACK, few_pairs, STACK, seen, rows=rows)
    return assemble(pilot, gain, outlook, config, time.perf_counter() - start)


def visible(data: PairedDataset, config: DiagnoseConfig) -> PairedDataset:
    """Return the samples that the diagnosis may see, with the labels that it may see."""
    if data.split is not None:
        data = replace(data.rows(np.flatnonzero(data.split != "test")), split=None)
    rows = np.arange(len(data))
    count = LabelCount.of(config.labelled[0]) if config.labelled else None
    labelled = draw_labelled(data, rows, count, config.seed)
    return data.without_labels(np.setdiff1d(rows, labelled))


def pilot_options(data: PairedDataset, config: DiagnoseConfig) -> StudyConfig:
    """Return the options of the pilot: one repeat over the labelled samples for each of `seeds`."""
    values = {spec.name: getattr(config, spec.name) for spec in fields(StudyConfig)}
    folds = min(config.folds, int(data.labelled.sum()) // 2)
    require(
        folds >= 2,
        f"A diagnosis needs four labelled samples or more, two in each fold. Got {data.labelled.sum()}: give "
        "more labels.",
    )
    return StudyConfig(
        **values
        | {
            "resampling": "kfold",
            "repeats": config.num_repeats,
            "folds": folds,
            "seeds": None,
            "fix_split": False,
            "labelled": ("1",) if data.labelled.all() else (),
            "label_curve": (),
            "label_weight": 0.0,
            "arms": FEW_PILOT,
        }
    )


def half_of_pairs(data: PairedDataset, seed: int) -> np.ndarray:
    """Return the rows of the labelled samples and of half of the others, drawn at random."""
    free = np.flatnonzero(~data.labelled)
    kept = np.random.default_rng([seed, 0x9A125]).permutation(free)[: len(free) // 2]
    return np.sort(np.concatenate([np.flatnonzero(data.labelled), kept]))


def compare(
    one: StudyResult,
    arm: str,
    other: StudyResult,
    than: str,
    data: PairedDataset,
    *,
    rows: np.ndarray | None = None,
) -> Effect | None:
    """Return the difference of two arms on the samples that both were tested on; None if it is unknown.

    Args:
        one: a study on `data`.
        arm: an arm of it.
        other: another study on the same samples.
        than: an arm of it, which is subtracted.
        data: all samples.
        rows: rows of `data` that `other` had; all by default.
    """
    if arm not in one.sample_values or than not in other.sample_values:
        return None
    (mine, values), (theirs, others) = one.sample_values[arm], other.sample_values[than]
    theirs = theirs if rows is None else rows[theirs]
    _, here, there = np.intersect1d(mine, theirs, return_indices=True)
    gaps = values[here] - others[there]
    if data.group is not None:
        codes = np.unique(data.group[mine[here]], return_inverse=True)[1]
        sizes = np.bincount(codes)
        gaps = np.bincount(codes, gaps) / sizes.mean()
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else float("inf")
    return Effect(float(gaps.mean()), error, len(gaps))


def trust(pilot: StudyResult) -> list[dict[str, Any]]:
    """Return how well each teacher predicts labels that it did not see, the best first.

    Each row has `name`, `sees`, `log_loss` (mean over the folds), `better_in` (folds in which it is lower
    than that of the network without a teacher), `folds` and `weight` (its mean weight in the stack).
    """
    losses: dict[str, dict[int, float]] = {}
    for record in pilot.teachers:
        if record.test_loss is not None and record.teacher in (*MEMBERS, STACK):
            losses.setdefault(record.teacher, {})[record.seed] = record.test_loss
    weights = [choice.weights or {} for choice in pilot.chosen if choice.arm == STACK]
    base, rows = losses[BASELINE], []
    for name, mine in losses.items():
        side = "student" if name == BASELINE else TEACHERS[name].side
        rows.append(
            {
                "name": name,
                "sees": pilot.data.get(side, "both"),
                "log_loss": float(np.mean(list(mine.values()))),
                "better_in": sum(value < base[seed] for seed, value in mine.items()),
                "folds": len(mine),
                "weight": None if name == STACK else float(np.mean([w.get(name, 0.0) for w in weights])),
            }
        )
    return sorted(rows, key=lambda row: row["log_loss"])


def assemble(
    pilot: StudyResult,
    gain: Effect | None,
    outlook: Mapping[str, Effect | None],
    config: DiagnoseConfig,
    seconds: float,
) -> Diagnosis:
    """Return the diagnosis: verdict, reasons and advice, with the tables of the pilot."""
    belief = expect(gain) if gain is not None and pilot.metrics[0].name == "accuracy" else None
    word, probability = (pilot.verdict.verdict, None) if belief is None else name_verdict(belief)
    teachers = trust(pilot)
    reasons = explain(pilot, gain, belief, teachers, trusted=TRUSTED)
    advice = advise(outlook, pilot.metrics[0])
    diagnosis: dict[str, Any] = {
        "verdict": word,
        "probability": probability,
        "belief": None if belief is None else describe_belief(belief),
        "gain": None if gain is None else asdict(gain),
        "outlook": {name: None if effect is None else asdict(effect) for name, effect in outlook.items()},
        "trust": teachers,
        "companions": [],
        "reasons": reasons,
        "advice": {"sentences": advice},
        "pilot": [asdict(row) for row in pilot.comparisons],
    }
    kept = {spec.name: getattr(pilot, spec.name) for spec in fields(StudyResult)}
    return Diagnosis(
        **kept
        | {
            "config": config.to_dict(),
            "verdict": Verdict(word, None, reasons[0], tuple(reasons[1:])),
            "diagnosis": diagnosis,
            "predictions": {},
            "timings": dict(pilot.timings) | {"total": seconds},
        }
    )


def expect(gain: Effect) -> Belief:
    """Return the distribution of a study's gain after its pilot."""
    return Belief(gain.mean, float(np.hypot(gain.error, TRANSFER_SD)))


def describe_belief(belief: Belief) -> dict[str, float]:
    """Return a belief as plain numbers, with its 95% interval."""
    return asdict(belief) | {
        "help": belief.help,
        "no_effect": belief.no_effect,
        "hurt": belief.hurt,
        "low": belief.mean - 1.96 * belief.sd,
        "high": belief.mean + 1.96 * belief.sd,
    }

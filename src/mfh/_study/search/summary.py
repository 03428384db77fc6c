"""From the fits of a search to its result: what was tried, what won, what each choice is worth."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from mfh._study.by_part import by_part, worst
from mfh._study.few.budget import Budget
from mfh._study.outcome import SeedResult
from mfh._study.search.choose import ERRORS
from mfh._study.search.threshold import Decision
from mfh._study.search.words import describe_limits, describe_search
from mfh.arms import BASELINE, SEARCHED
from mfh.config import FitConfig
from mfh.recipe import Recipe
from mfh.results import FitResult, StudyResult, Verdict
from mfh.stats import t_interval

logger = logging.getLogger(__name__)
CHOICES = {
    "source": "teacher",
    "hard": "the teacher's class alone",
    "temperature": "temperature",
    "label_weight": "label weight",
    "loss": "loss",
    "weight_decay": "weight decay",
    "rate": "learning rate x",
    "width": "width x",
}
"""What the table of choices shows, in words."""


def as_fit(
    result: StudyResult,
    config: FitConfig,
    budget: Budget,
    fits: Sequence[SeedResult],
    final: Sequence[SeedResult],
) -> FitResult:
    """Return the result of a search.

    Args:
        result: the comparison of its arms.
        config: its options.
        budget: how much each fit trained.
        fits: its outer folds.
        final: the search on all samples; empty if it failed.
    """
    trials = [{"fit": fit.seed, **row} for fit in fits for row in fit.search["trials"]]
    winners = [
        {"fit": fit.seed, "search": name, **_recipe(row), "test": _test(fit, name)}
        for fit in fits
        for name, row in fit.search["winners"].items()
    ]
    search: dict[str, Any] = {
        "budget": budget.students,
        "folds": budget.folds,
        "training": training_share([*fits, *final]),
        "trials": trials,
        "winners": winners,
        "worth": worth([row for row in trials if row["search"] == SEARCHED]),
        "fixed_alone": _fixed_alone([*fits, *final]),
        "threshold": _threshold(fits, final),
        "final": describe_final(final[0]) if final else None,
    }
    untaught = all(not Recipe.from_dict(r).taught for r in winners if r["search"] == SEARCHED)
    verdict = result.verdict
    if untaught and not verdict.one_class:
        verdict = replace(verdict, verdict="no-effect")
    search["untaught"] = untaught
    search["shipped"] = shipped(verdict, search["final"])
    values = {spec.name: getattr(result, spec.name) for spec in fields(StudyResult)}
    values["config"] = {**result.config, "losses": list(config.losses)}
    found = FitResult(**values, search=search)
    search |= _by_part(found)
    divided = sum(fit.search.get("divides_groups", False) for fit in fits)
    sentence, reasons = describe_search(found, untaught=untaught, divided=divided)
    if config.minutes is not None and (limits := describe_limits(found)):
        logger.warning("%s", limits)  # that of `budget` is known before the fits
    every = (*reasons, *verdict.reasons)
    return replace(found, verdict=replace(verdict, focusing=None, sentence=sentence, reasons=every))


def shipped(verdict: Verdict, final: Mapping[str, Any] | None) -> str:
    """Return the arm whose student to ship.

    The search on all samples decides, unless the outer folds show that teachers do not help.
    """
    if verdict.verdict in ("hurt", "no-effect") or final is None:
        return BASELINE
    return SEARCHED if final["winners"][SEARCHED]["teacher"] != "none" else BASELINE


def worth(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how good recipes with each value of each choice are, compared with all recipes of the same fit.

    Only drawn recipes count, and only their first fold, on which all of them were judged: so no value is
    there because it was good.

    Args:
        trials: rows of the search with teachers.

    Returns:
        `choice`, `value`, `tried` recipes, and the mean `difference` in points of the metric with its 95%
        interval over fits (`low`, `high`; None for one fit).
    """
    rows = [
        {**row, "source": row["teacher"] + (f", {row['focus']}" if row["focus"] else "")}
        for row in trials
        if not row["fixed"] and row["first"] is not None
    ]
    fits = sorted({row["fit"] for row in rows})
    means = {fit: np.mean([row["first"] for row in rows if row["fit"] == fit]) for fit in fits}
    found = []
    for name, words in CHOICES.items():
        values = sorted({row[name] for row in rows})
        for value in values if len(values) > 1 else ():
            mine = [row for row in rows if row[name] == value]
            by_fit = [
                float(np.mean([row["first"] for row in mine if row["fit"] == fit]) - means[fit])
                for fit in fits
                if any(row["fit"] == fit for row in mine)
            ]
            interval = t_interval(np.array(by_fit))
            found.append(
                {
                    "choice": words,
                    "value": _words(value),
                    "tried": len(mine),
                    "difference": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
    return found


def _fixed_alone(fits: Sequence[SeedResult]) -> list[int]:
    """Return the fits of which a search tried nothing but its fixed recipe."""
    drawn = {(fit.seed, row["search"]) for fit in fits for row in fit.search["trials"] if not row["fixed"]}
    return [fit.seed for fit in fits if not {(fit.seed, name) for name in (BASELINE, SEARCHED)} <= drawn]


def _by_part(result: FitResult) -> dict[str, Any]:
    """Return the metric of both procedures by class and by group, at their thresholds where there are some.

    Returns:
        `by_part`, kind of part -> arm -> rows: of many parts, those in which the shipped students are worst;
        `num_parts`, kind of part -> how many there are.
    """
    found: dict[str, Any] = {"by_part": {}, "num_parts": {}}
    if "label" not in result.predictions:
        return found
    info, arms = result.metrics[0], (BASELINE, SEARCHED)
    every = {}
    for arm in arms:
        mine = [record for record in result.records if record.arm == arm]
        every[arm] = by_part(result, mine, info, Decision.of(result, arm))
    for kind, rows in every[result.search["shipped"]].items():
        if rows is None:
            continue
        shown = worst(rows, higher_is_better=kind == "by_class" or info.higher_is_better)
        place = {row["name"]: number for number, row in enumerate(shown)}
        found["num_parts"][kind] = len(rows)
        found["by_part"][kind] = {
            arm: sorted((r for r in every[arm][kind] if r["name"] in place), key=lambda r: place[r["name"]])
            for arm in arms
        }
    return found


def training_share(fits: Sequence[SeedResult]) -> float | None:
    """Return the share of the time of some fits that was spent inside trainings; None if it is not known."""
    total = sum(sum(fit.timings.values()) for fit in fits)
    inside = [fit.search["training"] for fit in fits if "training" in fit.search]
    return sum(inside) / total if total and len(inside) == len(fits) else None


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _recipe(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe in words, then its fields."""
    return {"recipe": str(Recipe.from_dict(row)), **row}


def _test(fit: SeedResult, arm: str) -> float:
    return next(record.test for record in fit.records if record.arm == arm)


def describe_final(fit: SeedResult) -> dict[str, Any]:
    """Return what the search on all samples took."""
    return {
        "winners": {name: _recipe(row) for name, row in fit.search["winners"].items()},
        "trials": [_recipe(row) for row in fit.search["trials"]],
        "anchor": fit.search["anchor"],
        "errors": ERRORS,
        "validation": {record.arm: record.validation for record in fit.records},
        "temperature": {record.arm: record.temperature for record in fit.records},
        "weights": dict(fit.chosen[0].weights or {}),
        "samples": len(fit.split.train),
        "labelled": len(fit.split.learnt),
    }


def _threshold(fits: Sequence[SeedResult], final: Sequence[SeedResult]) -> dict[str, Any] | None:
    """Return the threshold to use, and what thresholds chosen in the same way lead to on test samples."""
    if not final or final[0].search.get("threshold") is None:
        return None
    chosen = final[0].search["threshold"]
    found: dict[str, Any] = {name: chosen[name] for name in ("rule", "positive", "index")}
    for arm in (BASELINE, SEARCHED):
        tested = [fit.search["threshold"][arm]["test"] for fit in fits]
        means: dict[str, float | None] = {}
        for name in ("precision", "recall", "cost"):
            known = [row[name] for row in tested if row[name] is not None]
            means[name] = float(np.mean(known)) if known else None
        by_fit = {str(fit.seed): fit.search["threshold"][arm]["threshold"] for fit in fits}
        found[arm] = {"threshold": chosen[arm]["threshold"], "test": means, "by_fit": by_fit}
    return found

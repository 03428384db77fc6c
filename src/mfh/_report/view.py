"""A study as its page shows it: one metric, one distillation loss, the arms in their order."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from mfh._report import wording
from mfh._report.wording import shorten
from mfh._system.files import plain
from mfh.arms import BASELINE, CHOSEN, HEADLINE, SEARCHED, STACK, Arm, Look, ShownArm
from mfh.comparing import sees_teacher_side
from mfh.results import Comparison, MetricInfo, Record, StudyResult, Summary

Key = tuple[str, float | None]
"""An arm's name and its ratio."""
Values = dict[Key, dict[int, float]]
Row = TypeVar("Row", Record, Summary, Comparison)

TEACHER_WORDS = {
    HEADLINE: "the focused teacher",
    STACK: "the stack of teachers",
    SEARCHED: "the teachers that the search took",
}
"""Headline arm -> what its students learn from, in a sentence; `the teacher` for all others."""
MAX_DOTS = 60  # more dots than this would hide each other
SPARE_LOOKS = (
    Look(color="green", marker="P", dashes=(3, 1, 1, 1)),
    Look(color="purple", marker="X", dashes=(2, 1)),
    Look(color="orange", marker="p", dashes=(8, 2)),
    Look(color="blue", marker="h", dashes=(1, 2)),
    Look(color="ink", marker="*", dashes=(4, 1, 1, 1)),
)
"""Looks for arms with ratios that were given none, so that their lines can be told apart."""


class StudyView:
    """What the sections of a study's page read.

    Attributes:
        result: the study, with all its metrics and losses.
        config, data: its configuration and the description of its data, as plain values.
        source: the teacher whose channels are removed.
        metric: the metric that the page is about.
        losses: names of all losses, the declared one first.
        loss: the declared loss; None in a study of one loss.
        records, summary, comparisons: the rows of this metric and this loss; arms without a teacher belong
            to every loss.
        arms: all arms by name, in the order in which they are shown.
    """

    def __init__(self, result: StudyResult) -> None:
        self.result = result
        self.config: dict[str, Any] = plain(result.config)
        self.data: dict[str, Any] = plain(result.data)
        self.source = str(self.config.get("teacher_source") or "joint")
        self.arms = {arm.name: arm for arm in result.arms}
        self.metric = _metric(result)
        self.losses = _losses(result)
        self.loss = self.losses[0] if len(self.losses) > 1 else None
        self.records = self.of_loss(r for r in result.records if r.metric == self.metric.name)
        self.summary = self.of_loss(row for row in result.summary if row.metric == self.metric.name)
        self.comparisons = self.of_loss(row for row in result.comparisons if row.loss_b is None)

    def of_loss(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows of the declared loss, and those of arms without a teacher."""
        return [row for row in rows if self.loss is None or row.loss in (None, self.loss)]

    @property
    def modalities(self) -> dict[str, str]:
        """What the teacher and the student see, by role."""
        return {
            role: shorten(self.data.get(role) or self.config.get(role) or f"the {role}'s modality", 40)
            for role in ("teacher", "student")
        }

    @property
    def alike(self) -> str:
        """What samples share whose outputs are swapped."""
        return self.data.get("alike") or wording.SAME_CLASS

    @property
    def num_fits(self) -> int:
        """Number of fits."""
        fits = {record.seed for record in self.of_loss(self.result.records)}
        return len(fits) or max((row.n for row in self.result.summary), default=0)

    @property
    def num_repeats(self) -> int:
        """Number of repeats of the resampling; each random split is one."""
        return len({record.repeat for record in self.result.records})

    @property
    def num_folds(self) -> int:
        """Number of folds of each repeat; 1 for random splits and where all fits share one split."""
        return len({record.fold for record in self.result.records})

    @property
    def level(self) -> float:
        """Coverage of the intervals, in (0, 1): that of the last look, if the study was looked at."""
        return self.result.looks[-1].level if self.result.looks else 0.95

    @property
    def exploratory(self) -> bool:
        """Whether the last look at the study was not among the planned ones."""
        return bool(self.result.looks) and self.result.looks[-1].exploratory

    @property
    def digits(self) -> int:
        """Decimals that show the metric to a tenth of the zone of no effect."""
        return 1 - math.floor(math.log10(self.metric.margin)) if self.metric.margin > 0 else 2

    def arm(self, name: str) -> Arm:
        """Return an arm by its name, with or without the mark of a chosen ratio."""
        name = wording.base(name)
        return self.arms.get(name) or ShownArm(name=name)

    def explain(self, name: str) -> str:
        """Return what the students of an arm learn from; empty where that is not known."""
        words = self.arm(name).explain(source=self.source, **self.modalities)
        return wording.of_task(words, self.alike)

    @cached_property
    def rank(self) -> Callable[[str], tuple[int, str, bool]]:
        """Sort key of the names of arms; see `arm_order`."""
        return arm_order(self.arms)

    def plain_arm(self, teacher: str | None) -> Arm | None:
        """Return the arm that learns from a teacher's outputs as they are; None where there is none."""
        arms = (arm for arm in self.arms.values() if arm.is_plain)
        return next((arm for arm in arms if arm.teacher_name(self.source) == teacher), None)

    @property
    def ordinary_arms(self) -> list[Arm]:
        """The arms that learn from a teacher of the other modality, with nothing changed."""
        plain = [arm for arm in self.arms.values() if arm.is_plain]
        return [arm for arm in plain if sees_teacher_side(arm, self.source)]

    def ranked_by(self, ranking: str) -> str:
        """Return the arm that removes the channels that rank lowest; the ranking's name if there is none."""
        arms = (arm for arm in self.arms.values() if arm.ranking == ranking and arm.remove == "lowest")
        return next((arm.name for arm in arms), ranking)

    @cached_property
    def head(self) -> str:
        """The arm that the verdict is about: see `mfh.comparing.headline_key`."""
        names = {wording.base(row.arm) for row in self.summary}
        names |= {record.arm for record in self.records}
        names |= {wording.base(row.a) for row in self.comparisons}
        source = self.plain_arm(self.source)
        for name in (SEARCHED, STACK):
            if name in names:
                return name
        if HEADLINE not in names and source is not None and source.name in names:
            return source.name
        return HEADLINE

    @property
    def few_labels(self) -> bool:
        """Whether labels are missing: then out-of-fold outputs choose what validation chooses elsewhere."""
        return bool(self.result.labels)

    def chosen(self, name: str) -> dict[int, float]:
        """Return fit -> the ratio that was chosen for an arm."""
        rows = [row for row in self.result.chosen if self.loss is None or row.loss in (None, self.loss)]
        return {row.seed: row.ratio for row in rows if row.arm == name and row.ratio is not None}

    @cached_property
    def ratio(self) -> float | None:
        """The ratio at which arms are shown that have no chosen one.

        It is the one that was chosen most often for `general`, 0 aside, or else the smallest one.
        """
        counts = Counter(ratio for ratio in self.chosen(HEADLINE).values() if ratio > 0)
        if counts:
            return min(counts, key=lambda ratio: (-counts[ratio], ratio))
        return min((row.ratio for row in self.summary if row.ratio), default=None)

    @property
    def ratios(self) -> list[float]:
        """All ratios at which something is removed."""
        return sorted({row.ratio for row in self.summary if row.ratio})

    @cached_property
    def values(self) -> Values:
        """Test metric by arm and ratio, and by fit."""
        return by_fit(self.records)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each arm and ratio: its summary, the test metric of each fit, and words.

        `main` marks one row for each arm: the chosen ratio, or else the ratio at which arms are shown.
        """
        have_chosen = {wording.base(row.arm) for row in self.summary if row.arm.endswith(CHOSEN)}
        rows = []
        for row in sorted(self.summary, key=lambda r: (self.rank(r.arm), r.ratio is not None, r.ratio)):
            name, is_chosen = wording.base(row.arm), row.arm.endswith(CHOSEN)
            fits = self._chosen_values(row) if is_chosen else self.values.get((row.arm, row.ratio), {})
            rows.append(
                asdict(row)
                | {
                    "name": name,
                    "explain": self.explain(name),
                    "drawn": self.arm(name).output != "broken",
                    "fits": {str(fit): value for fit, value in fits.items()},
                    "dots": list(fits.values())[:MAX_DOTS],
                    "main": is_chosen
                    or row.ratio is None
                    or (row.ratio == self.ratio and name not in have_chosen),
                }
            )
        return rows

    def _chosen_values(self, row: Summary) -> dict[int, float]:
        """Return the test metric of each fit at the chosen ratio.

        It is empty where its mean is not the one that the study gives.
        """
        arm = self.arm(row.arm)
        unchanged = self.plain_arm(arm.teacher_name(self.source))
        found = {}
        for fit, ratio in self.chosen(arm.name).items():
            key = (arm.name, ratio) if ratio or unchanged is None else (unchanged.name, None)
            if fit in self.values.get(key, {}):
                found[fit] = self.values[key][fit]
        return found if agree(list(found.values()), row.mean) else {}

    @cached_property
    def looks(self) -> dict[str, dict[str, Any]]:
        """How each arm is drawn, in the fields of `Look`."""
        bare = [arm.name for arm in self.arms.values() if arm.takes_ratio and arm.look == Look()]
        spare = {name: SPARE_LOOKS[i % len(SPARE_LOOKS)] for i, name in enumerate(bare)}
        return {name: asdict(spare.get(name, arm.look)) for name, arm in self.arms.items()}

    def facts(self) -> dict[str, Any]:
        """Return what several sections need, for their summary."""
        return {
            "modalities": self.modalities,
            "metric": metric_words(self.metric),
            "metrics": _metric_names(self.result),
            "unit": self.metric.unit,
            "points": self.metric.points,
            "higher_is_better": self.metric.higher_is_better,
            "zone": self.metric.margin,
            "digits": self.digits,
            "loss": self.loss,
            "loss_names": list(dict.fromkeys(row.loss for row in self.result.summary if row.loss)),
            "source": self.source,
            "head": self.head,
            "teacher": TEACHER_WORDS.get(self.head, "the teacher"),
            "few_labels": self.few_labels,
            "chosen_by": "out-of-fold outputs" if self.few_labels else "validation",
            "num_fits": self.num_fits,
            "num_repeats": self.num_repeats,
            "num_folds": self.num_folds,
            "level": self.level,
            "exploratory": self.exploratory,
            "interval_name": f"{wording.level(self.level)} interval",
            "shown_ratio": self.ratio,
            "chosen": {str(fit): ratio for fit, ratio in self.chosen(HEADLINE).items()},
            "looks": self.looks,
            "arms": self.rows,
        }


def agree(values: Sequence[float], mean: float | None) -> bool:
    """Return whether the values of fits belong to the mean that a study gives.

    That mean is over samples, so that it differs a little from the mean over folds of unequal size.

    >>> agree([1.0, 2.0, 3.0], 2.1), agree([1.0, 2.0, 3.0], 3.0), agree([], 0.0)
    (True, False, False)
    """
    if not values or mean is None:
        return False
    return abs(float(np.mean(values)) - mean) <= max(float(np.std(values)) / 2, 1e-6)


def by_fit(records: Sequence[Record]) -> Values:
    """Return the test metric by arm and ratio, and by fit; the mean over draws."""
    lists: dict[Key, dict[int, list[float]]] = {}
    for record in records:
        if record.test is not None and math.isfinite(record.test):
            lists.setdefault((record.arm, record.ratio), {}).setdefault(record.seed, []).append(record.test)
    return {
        key: {fit: sum(draws) / len(draws) for fit, draws in sorted(fits.items())}
        for key, fits in lists.items()
    }


def arm_order(names: Iterable[str]) -> Callable[[str], tuple[int, str, bool]]:
    """Return a sort key: the order of these arms, unknown ones last, chosen ratios before the others.

    >>> sorted(["zebra", "general", "general (chosen)", "no-kd"], key=arm_order(["no-kd", "general"]))
    ['no-kd', 'general (chosen)', 'general', 'zebra']
    """
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}

    def rank(arm: str) -> tuple[int, str, bool]:
        name = wording.base(arm)
        return places.get(name, len(places)), name, name == arm

    return rank


def metric_words(metric: MetricInfo) -> str:
    """Return the name of a metric for readers.

    >>> metric_words(MetricInfo("R2", unit="", points="hundredths of R^2"))
    '100 × R²'
    """
    name = metric.name.replace("R2", "R\N{SUPERSCRIPT TWO}")
    return f"100 \N{MULTIPLICATION SIGN} {name}" if metric.points.startswith("hundredths") else name


def _metric(result: StudyResult) -> MetricInfo:
    """Return the first metric of a result; one with its name alone where its rows have another one."""
    names = _metric_names(result)
    for info in result.metrics:
        if info.name in names or not names:
            return info
    return replace(result.metrics[0], name=names[0]) if result.metrics else MetricInfo("accuracy")


def _metric_names(result: StudyResult) -> list[str]:
    """Return the metrics of the rows of a result, that of its summary first."""
    of_summary = dict.fromkeys(row.metric for row in result.summary)
    return list(of_summary | dict.fromkeys(record.metric for record in result.records))


def _losses(result: StudyResult) -> list[str]:
    """Return the losses of a result, the declared one first, with those of which every student diverged."""
    trained = dict.fromkeys(row.loss for row in result.records if row.loss is not None)
    trained |= dict.fromkeys(row.loss for row in result.failed if row.loss is not None)
    declared = [name for name in result.config.get("losses") or () if name in trained]
    return list(dict.fromkeys([*declared, *trained]))


def baseline_mean(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean of the arm that learns from labels alone; None where there is none."""
    return next((row["mean"] for row in rows if row["arm"] == BASELINE), None)

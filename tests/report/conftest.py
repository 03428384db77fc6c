"""Results with plausible numbers, for the report to show; nothing here is measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from mfh._report import style
from mfh._report.pages import PAGES, summarize
from mfh.arms import ARMS, Arm, Question, ShownArm
from mfh.results import (
    Choice,
    Comparison,
    GaussianResult,
    Record,
    StudyResult,
    Summary,
    TeacherRecord,
    Verdict,
)

LEVELS = {
    "no-kd": 78.0,
    "no-kd-smoothed": 78.6,
    "regular": 78.4,
    "joint": 79.6,
    "mismatched": 78.9,
    "self": 78.2,
}
LOSSES = {
    "general": -0.4,
    "important": 0.1,
    "random": 1.2,
    "specific": 4.0,
    "softened": 0.2,
    "softened-regular": 0.8,
}

COMPONENTS = {
    "samples": 8.5, "noise": 14.2, "trainings": 0.6, "error": 0.44, "degrees": 31.0, "size": 2000.0,
    "units": 2000, "repeats": 2, "folds": 5, "test_over_train": 1 / 3, "more_repeats": 0.62,
    "more_samples": 0.38,
}  # fmt: skip

Values = dict[tuple[str, float | None], dict[int, float]]


def _records(rng: np.random.Generator, seeds: int, ratios: tuple[float, ...]) -> list[Record]:
    records = []

    def add(arm: str, ratio: float | None, seed: int, level: float, draw: int | None = None) -> None:
        test = level + 1.2 * shift[seed] + 0.5 * rng.standard_normal()
        validation = test + 0.6 * rng.standard_normal()
        epoch = int(rng.integers(15, 56))
        loss = None if arm.startswith("no-kd") else "kl"  # as the records of a study of one loss have it
        train = min(99.9, test + 9)
        records.append(
            Record(
                arm, ratio, seed, "accuracy", train, validation, test, epoch, 0.8, draw, loss=loss,
                repeat=seed // 5, fold=seed % 5,
            )
        )  # fmt: skip

    shift = rng.standard_normal(seeds)
    for seed in range(seeds):
        for arm, level in LEVELS.items():
            add(arm, None, seed, level)
        for ratio in ratios:
            for arm, loss in LOSSES.items():
                for draw in range(5) if arm == "random" else [None]:
                    add(arm, ratio, seed, 79.6 - loss * 2 * ratio, draw)
    return records


def _per_seed(records: list[Record]) -> tuple[Values, list[Choice]]:
    """(arm, ratio) -> seed -> test accuracy, chosen ratios included, and the choices of validation."""
    validation, test = ({}, {})
    draws: dict[tuple, list[Record]] = {}
    for record in records:
        draws.setdefault((record.arm, record.ratio, record.seed), []).append(record)
    for (arm, ratio, seed), drawn in draws.items():
        validation.setdefault((arm, ratio), {})[seed] = sum(r.validation for r in drawn) / len(drawn)
        test.setdefault((arm, ratio), {})[seed] = sum(r.test for r in drawn) / len(drawn)
    ratios = sorted({ratio for _, ratio in test if ratio is not None})
    choices = [Choice("no-kd-smoothed", seed, smoothing=0.1) for seed in test["no-kd-smoothed", None]]
    for arm, follows in (("general", "general"), ("important", "important"), ("softened", "general")):
        for seed in {r.seed for r in records}:
            scores = {0.0: validation["joint", None][seed]}
            scores |= {ratio: validation[follows, ratio][seed] for ratio in ratios}
            best = max(scores, key=lambda ratio: (scores[ratio], -ratio))
            key = (arm, best) if best else ("joint", None)
            test.setdefault((f"{arm} (chosen)", None), {})[seed] = test[key][seed]
            choices.append(Choice(arm, seed, best, "kl"))
    return test, choices


def _verdict(seeds: int, teacher: str, student: str) -> Verdict:
    if seeds == 1:
        return Verdict("abstain", None, "One seed cannot carry a verdict.")
    return Verdict(
        "help",
        False,
        f"A teacher of {teacher} helps a student of {student}; it does not beat `joint`.",
        ("Against `joint` (nothing removed): +0.75 points.", "The layer is narrow."),
    )


def _interval(values: list[float]) -> tuple[float, float | None, float | None, float | None]:
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, None, None, None
    sd = float(np.std(values, ddof=1))
    half = 2.2 * sd * float(np.sqrt(1 / len(values) + 1 / 3))
    return mean, sd, mean - half, mean + half


def _curves(
    rng: np.random.Generator, records: list[Record], seeds: int, epochs: int
) -> dict[str, np.ndarray]:
    """Rising metrics and falling losses, (network, epoch)."""
    time = np.arange(1, epochs + 1)

    def pair(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noise = rng.standard_normal((len(levels), epochs))
        return levels[:, None] * (1 - np.exp(-time / 8)) + noise / 4, 2 * np.exp(-time / 10) + noise**2 / 50

    found = {}
    levels = {
        "students": [r.validation for r in records],
        **dict.fromkeys(("regular", "joint", "unimodal"), [93] * seeds),
    }
    for name, values in levels.items():
        found[f"{name}_validation"], found[f"{name}_loss"] = pair(np.array(values, dtype=float))
    return found


DIAGNOSIS = {
    "gamma": {
        "estimate": 0.37, "low": 0.29, "high": 0.44, "between": 0.41, "within": 0.2,
        "venn": {"alpha": 0.5, "beta": 0.2, "gamma": 0.3, "note": "Alpha and beta rest on two networks."},
    },
    "verdict": "help", "probability": 0.81,
    "reasons": ["The pilot gains +1.2 points."], "advice": {"sentences": ["Try ratio 0.5."]},
    "companions": [{"name": "CKA", "value": 0.4, "null": 0.1, "unit": "", "note": "linear"}],
    "pilot": [{"a": "general (chosen)", "b": "no-kd", "difference": 1.2}],
}  # fmt: skip


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudyResult]:
    """A factory of studies: `make_study(seeds=10, ratios=(.25, .5, .75), channels=64, ...)`."""

    def make(
        *,
        seeds: int = 10,
        ratios: tuple[float, ...] = (0.25, 0.5, 0.75),
        channels: int = 64,
        teacher: str = "pix",
        student: str = "zer",
        classes: list[str] | None = None,
        verdict: Verdict | None = None,
        diagnosis: dict | None = None,
    ) -> StudyResult:
        rng = np.random.default_rng(7)
        records = _records(rng, seeds, ratios)
        per_seed, choices = _per_seed(records)
        summary = [
            Summary(arm, ratio, "accuracy", seeds, *_interval(list(values.values())))
            for (arm, ratio), values in sorted(per_seed.items(), key=str)
        ]

        def compare(b: str, ratio: float | None = None, question: int | None = None) -> Comparison:
            a = "general (chosen)" if ratio is None else "general"
            differences = [per_seed[a, ratio][seed] - per_seed[b, ratio][seed] for seed in range(seeds)]
            mean, sd, low, high = _interval(differences)
            if sd is None:
                return Comparison(
                    a, b, ratio, seeds, mean, None, None, None, None, None, question, reason="one fit"
                )
            shown = {1: True, 2: True, 3: False, 4: None}.get(question or 0)
            return Comparison(
                a, b, ratio, seeds, mean, low, high, None, None, 0.004, question, shown, COMPONENTS, 7, 4321
            )

        asked = {"no-kd": 1, "self": 2, "mismatched": 3}
        asked |= dict.fromkeys(("joint", "important (chosen)", "softened (chosen)"), 4)
        declared = [compare(b, question=question) for b, question in asked.items()]
        others = ("regular", "no-kd-smoothed")
        at_ratios = ("important", "random", "specific", "softened", "softened-regular")
        exploratory = [compare(b) for b in others] + [compare(b, r) for r in ratios for b in at_ratios]
        scale = np.sort(rng.gamma(0.8, 1.0, channels))[rng.permutation(channels)]
        increase = np.abs(scale * (1 + 0.2 * rng.standard_normal((seeds, channels))))
        teachers = [
            TeacherRecord(name, seed, "accuracy", 100.0, 93 - loss, 92.5 - loss, entropy, saturated)
            for seed in range(seeds)
            for name, loss, entropy, saturated in (
                ("regular", 0.0, 0.012, 0.97),
                ("joint", 1.6, 0.4, 0.41),
                ("unimodal", 14.0, 0.03, 0.93),
                *((f"general@{r}", 2 + 6 * r, 0.4 + r, 0.4 - r / 3) for r in ratios),
            )
        ]
        return StudyResult(
            config={
                "teacher": teacher, "student": student, "seeds": seeds, "seed": 0, "ratio": list(ratios),
                "teacher_source": "joint", "saliency_split": "train", "score": "increase",
                "teacher_outputs": "in-sample", "label_weight": 0.0, "distill_weight": 1.0,
                "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "batch_size": 64, "epochs": 60,
                "resampling": "kfold", "until": "fixed",
                "temperature": 1.0, "hidden": [128, 64], "random_draws": 5, "fix_split": False, "layer": None,
            },
            environment={
                "mfh": "0.1.0", "python": "3.11.2", "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
                "system": "Linux-6.1", "machine": "x86_64",
                "command": ["/opt/bin/mfh", "study", "--data", "my data.npz", "--teacher", teacher],
            },
            timings={"teachers": 14.2, "saliency": 0.3, "students": 61.9, "total": 40.1},
            records=records,
            summary=summary,
            comparisons=[*declared, *exploratory],
            teachers=teachers,
            saliency={
                "overlap": [
                    {"split": split, "ratio": r, "mean": mean, "low": low, "high": high}
                    for split, highest, slope in (("train", 0.97, 0.04), ("validation", 0.9, 0.5))
                    for r in ratios
                    for mean in [highest - slope * r]
                    for low, high in [(mean - 0.03, mean + 0.02) if seeds > 1 else (None, None)]
                ],
                "negative": [{"split": "train", "share": 0.01}, {"split": "validation", "share": 0.21}],
                "rank_correlation": [
                    {"what": "saliency and importance, train", "mean": 0.98},
                    {"what": "saliency of two seeds", "mean": 0.03, "note": "each network numbers anew"},
                ],
                "layer": "layers.2", "num_channels": channels, "score": "increase", "split": "train",
            },
            verdict=verdict or _verdict(seeds, teacher, student),
            chosen=choices,
            data={
                "fingerprint": "9f2c71d0", "redrawn": True, "num_samples": 2000,
                "leaks": {"duplicates": 0, "groups": None},
                "splits": {"train": 1200, "validation": 400, "test": 400},
                "classes": classes or [str(i) for i in range(10)], "num_groups": None, "group": None,
                "teacher": teacher, "student": student, "shapes": {teacher: [240], student: [47]},
            },
            channels={
                "seed": np.arange(seeds),
                "increase_train": increase,
                "importance_train": increase * 1.05,
                "followed_train": increase * 0.5,
                "stderr_train": increase * 0.06,
                "increase_validation": increase - 0.2,
                "importance_validation": increase,
            },
            curves=_curves(rng, records, seeds, 60),
            diagnosis=diagnosis or {},
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def diagnosis() -> dict:
    return DIAGNOSIS


@pytest.fixture
def gaussian() -> GaussianResult:
    rows = [
        {
            "gamma": g,
            "teacher": 70.0 + 3 * g,
            "no_kd": 69.41,
            "kd": 68.7 + 3.2 * g,
            "difference": 3.2 * g - 0.71,
        }
        for g in (0.0, 0.11, 0.25, 0.43, 0.67, 1.0)
    ]
    return GaussianResult(
        figure="fig2",
        config={"figure": "fig2", "seeds": 10},
        environment={"mfh": "0.1.0", "command": ["mfh", "gaussian", "--figure", "fig2"]},
        timings={"training": 1.4},
        rows=rows,
        notes=[
            "The gain from the teacher grows with the shared part: from -0.7 to +2.5 points.",
            "Ten runs.",
        ],
    )


@pytest.fixture(scope="session")
def summary(make_study: Callable[..., StudyResult], diagnosis: dict) -> dict:
    """The summary of a study of ten seeds; not to be changed."""
    return summarize(make_study(diagnosis=diagnosis))


@pytest.fixture(scope="session")
def drawn(summary: dict) -> dict[str, Figure | None]:
    """Name -> figure of that study."""
    with style.style():
        return {picture.name: picture.draw(summary) for picture in PAGES["study"].pictures}


@pytest.fixture(scope="session")
def with_own_arm(make_study: Callable[..., StudyResult]) -> StudyResult:
    """A study with an arm of the user's, `gradient`, whose students are those of `important`."""
    study = make_study(seeds=4)
    arm = Arm(
        name="gradient", teacher="source", ranking=lambda *_, saliency: [],
        words="the {source} teacher of {teacher} without channels of small gradient",
        question=Question(asks="Is it better than gradient?", better="Yes: gradient does worse.",
                          same="No: gradient does as well.", worse="No: gradient does better."),
    )  # fmt: skip

    def doubled(rows: Sequence[Any], field: str) -> tuple[Any, ...]:
        named = ((row, getattr(row, field)) for row in rows)
        mine = [
            replace(row, **{field: name.replace("important", "gradient")})
            for row, name in named
            if name.startswith("important")
        ]
        return (*rows, *mine)

    comparisons = doubled(study.comparisons, "b")
    place = [i for i, record in enumerate(study.records) if record.arm == "important"]
    curves = {
        name: np.concatenate([values, values[place]]) if name.startswith("students") else values
        for name, values in study.curves.items()
    }
    return replace(
        study,
        arms=(*ARMS.values(), ShownArm.from_dict(arm.to_dict())),
        records=doubled(study.records, "arm"),
        summary=doubled(study.summary, "arm"),
        comparisons=tuple(
            replace(c, question=None, shown=None) if c.b.startswith("grad") else c for c in comparisons
        ),
        chosen=doubled(study.chosen, "arm"),
        curves=curves,
    )

"""Rules that say before a study whether to distil, against what the study then measured.

    python -m benchmarks._diagnose_rules --runs out/gain

reads what `_diagnose_gain` wrote. Every rule that is fitted is fitted on all data sets but one and judged on
that one. Intervals are bootstraps over data sets, and over the views of mfeat, whose pairs share views.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mfh.stats import rank_correlation

HARM = -1.0  # points: a loss that counts
RIDGE = 1.0
FEATURES: dict[str, tuple[str, ...]] = {
    "pilot, recalibrated": ("pilot",),
    "pilot of joint, recalibrated": ("pilot joint",),
    "pilot and gamma_hat": ("pilot", "gamma", "gamma within"),
    "no pilot: gamma_hat and companions": (
        "gamma", "gamma within", "advantage", "entropy", "non-target divergence",
    ),
    "everything": (
        "pilot", "pilot joint", "gamma", "gamma within", "advantage", "entropy", "non-target divergence",
    ),
}  # fmt: skip


def read(folder: Path) -> list[dict[str, Any]]:
    """One row a pair: evidence, and the measured gain with its interval."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = kept["diagnosis"]
        pilot = {(c["a"], c["b"]): c["difference"] for c in found["pilot"]}
        study = {(c["a"], c["b"]): c for c in kept["study"]["comparisons"] if c["ratio"] is None}
        companions = {row["name"]: row for row in found["companions"]}
        gain = study["general (chosen)", "no-kd"]
        row = {
            "data": kept["dataset"], "pair": kept["pair"],
            "gain": gain["difference"], "low": gain["low"], "high": gain["high"],
            "gain joint": study["joint", "no-kd"]["difference"],
            "gain regular": study["regular", "no-kd"]["difference"],
            "pilot": pilot["general (chosen)", "no-kd"], "pilot joint": pilot["joint", "no-kd"],
            "pilot regular": pilot["regular", "no-kd"],
            "gamma": found["gamma"]["estimate"], "gamma within": found["gamma"]["within"],
            "gamma between": found["gamma"]["between"], "R^2": found["gamma"]["r2"],
            "advantage": found["teacher"]["accuracy"] - found["teacher"]["student_accuracy"],
            "teacher accuracy": found["teacher"]["accuracy"],
            "entropy": found["teacher"]["entropy"], "saturated": found["teacher"]["saturated"],
            "calibration error": found["teacher"]["calibration_error"],
        }  # fmt: skip
        rows.append(row | {name: _beyond(entry) for name, entry in companions.items()})
    return rows


def _beyond(entry: Mapping[str, Any]) -> float:
    """A companion beyond its null."""
    return float("nan") if entry["value"] is None else entry["value"] - entry["null"]


def column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One value a pair."""
    return np.array([float(row[name]) for row in rows])


def left_out(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> np.ndarray:
    """Predicted gains: ridge regression on standardised evidence of all data sets but the pair's own."""
    predicted = np.empty(len(rows))
    data = np.array([row["data"] for row in rows])
    values, gain = np.stack([column(rows, name) for name in names], axis=1), column(rows, "gain")
    for one in np.unique(data):
        train = data != one
        mean, sd = values[train].mean(axis=0), values[train].std(axis=0) + 1e-12
        x = np.hstack([np.ones((train.sum(), 1)), (values[train] - mean) / sd])
        penalty = RIDGE * np.diag([0.0, *np.ones(len(names))])
        slopes = np.linalg.solve(x.T @ x + penalty, x.T @ gain[train])
        predicted[~train] = slopes[0] + ((values[~train] - mean) / sd) @ slopes[1:]
    return predicted


def rules(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What each rule predicts, above 0 where it says to distil."""
    fixed = {
        "always distil": np.ones(len(rows)),
        "never distil": -np.ones(len(rows)),
        "teacher better than student": column(rows, "advantage"),
        "gamma_hat above .5": column(rows, "gamma") - 0.5,
        "pilot alone": column(rows, "pilot"),
    }
    return fixed | {name: left_out(rows, names) for name, names in FEATURES.items()}


def judge(predicted: np.ndarray, gain: np.ndarray) -> dict[str, float | None]:
    """Rank correlation, and what following the rule costs."""
    distil = predicted > 0
    regret = np.maximum(gain, 0) - np.where(distil, gain, 0)
    return {
        "rho": rank_correlation(predicted, gain),
        "distilled": 100 * float(distil.mean()),
        "harmful": 100 * float((distil & (gain < HARM)).mean()),
        "regret": float(regret.mean()),
    }


def resamples(rows: Sequence[Mapping[str, Any]], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Row numbers: data sets drawn anew, and within mfeat its views; a pair counts as often as both views."""
    ends = [row["pair"].partition(": ")[2].split(" -> ") for row in rows]
    inside = [row["data"] == "mfeat" for row in rows]
    names = sorted({row["data"] for row in rows})
    views = sorted({view for end, mine in zip(ends, inside, strict=True) if mine for view in end})
    made: list[np.ndarray] = []
    while len(made) < count:
        times, drawn = _draw(names, rng), _draw(views, rng)
        weights = [
            times[row["data"]] * (drawn[end[0]] * drawn[end[1]] if mine else 1)
            for row, end, mine in zip(rows, ends, inside, strict=True)
        ]
        chosen = np.repeat(np.arange(len(rows)), weights)
        if len(np.unique(chosen)) > 3:
            made.append(chosen)
    return made


def _draw(names: Sequence[str], rng: np.random.Generator) -> dict[str, int]:
    """How often each name is drawn when as many are drawn as there are."""
    counts = rng.multinomial(len(names), np.full(len(names), 1 / max(len(names), 1)))
    return dict(zip(names, counts.tolist(), strict=True))


def interval(
    statistic: Callable[[np.ndarray], float | None], samples: Sequence[np.ndarray]
) -> tuple[float, float]:
    """95% percentile interval over resamples."""
    values = [value for chosen in samples if (value := statistic(chosen)) is not None]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print three tables: pairs, single numbers against the gain, rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    rows = read(parser.parse_args().runs)
    gain = column(rows, "gain")
    samples = resamples(rows, 2000, np.random.default_rng(0))
    for row in rows:
        shown = " | ".join(f"{row[name]:.2f}" for name in ("gamma", "gamma within", "advantage"))
        span = f"{row['gain']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})"
        print(f"| {row['pair']} | {shown} | {row['pilot']:+.1f} | {row['pilot joint']:+.1f} | {span} |")
    print("\n| one number | rho with the gain |\n|---|---|")
    numbers = [name for name in rows[0] if name not in ("data", "pair", "gain", "low", "high")]
    for name in numbers:
        values = column(rows, name)
        if np.isfinite(values).all():
            low, high = interval(lambda c, v=values: rank_correlation(v[c], gain[c]), samples)
            print(f"| {name} | {rank_correlation(values, gain) or 0:+.2f} ({low:+.2f} to {high:+.2f}) |")
    print("\n| rule | rho | distils | harmful | regret |\n|---|---|---|---|---|")
    for name, predicted in rules(rows).items():
        found = judge(predicted, gain)
        low, high = interval(lambda c, p=predicted: judge(p[c], gain[c])["regret"], samples)
        rho = "" if found["rho"] is None else f"{found['rho']:+.2f}"
        if rho:
            ends = interval(lambda c, p=predicted: rank_correlation(p[c], gain[c]), samples)
            rho += f" ({ends[0]:+.2f} to {ends[1]:+.2f})"
        regret = f"{found['regret']:.2f} ({low:.2f} to {high:.2f})"
        print(f"| {name} | {rho} | {found['distilled']:.0f}% | {found['harmful']:.0f}% | {regret} |")
    error = gain - column(rows, "pilot")
    print(f"\ngain - pilot: mean {error.mean():+.2f}, sd {error.std(ddof=1):.2f}; {len(rows)} pairs")


if __name__ == "__main__":
    main()

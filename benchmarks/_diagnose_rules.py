"""Rules that say before a study whether to distil, against what the study then measured.

    python -m benchmarks._diagnose_rules --runs out/gain

reads what `_diagnose_gain` wrote. Every rule that is fitted is fitted on all data sets but one and judged on
that one; so are the constants of the verdict. Intervals are bootstraps over data sets, and over the views of
mfeat, whose pairs share views.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mfh._diagnose.verdict import MARGIN, Belief, Transfer, believe, name_verdict
from mfh.stats import rank_correlation

HARM = -1.0  # points: a loss that counts
RIDGE = 1.0
SHIFTED = "pilot plus an offset"
"""The verdict's expected gain, corrected by the mean distance of other pilots from their studies."""
TOLD = ("data", "pair", "gain", "low", "high", "n", "error", "word")
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
    for path in sorted(folder.glob("*.diagnosis.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        measured = path.with_name(path.name.replace(".diagnosis.", ".study."))
        if not measured.exists():
            continue
        found, compared = told["diagnosis"], json.loads(measured.read_text(encoding="utf-8"))["comparisons"]
        pilot = {(c["a"], c["b"]): c["difference"] for c in found["pilot"]}
        study = {(c["a"], c["b"]): c for c in compared if c["ratio"] is None}
        companions = {row["name"]: row for row in found["companions"]}
        gain = study["general (chosen)", "no-kd"]
        row = {
            "data": told["dataset"], "pair": told["pair"],
            "gain": gain["difference"], "low": gain["low"], "high": gain["high"], "n": gain["n"],
            "error": found["belief"]["pilot_error"],
            "word": study_word(gain),
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


def study_word(gain: Mapping[str, Any]) -> str:
    """Return the verdict of a study on a gain, by its interval."""
    if gain["low"] > 0:
        return "help"
    if gain["high"] < 0:
        return "hurt"
    return "no-effect" if gain["low"] >= -MARGIN and gain["high"] <= MARGIN else "abstain"


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


def refit(rows: Sequence[Mapping[str, Any]], *, offset: bool) -> Transfer:
    """Return the verdict's constants from other pairs; every data set counts the same."""
    sets = [row["data"] for row in rows]
    weight = np.array([1 / sets.count(one) for one in sets]) / len(set(sets))
    gain, gap = column(rows, "gain"), column(rows, "gain") - column(rows, "pilot")
    mean = float(weight @ gap) if offset else 0.0
    return Transfer(float(np.sqrt(weight @ gain**2)), mean, float(np.sqrt(weight @ (gap - mean) ** 2)))


def left_out_beliefs(rows: Sequence[Mapping[str, Any]], *, offset: bool) -> list[Belief]:
    """What the verdict believes of each pair with constants from the other data sets."""
    made = []
    for row in rows:
        transfer = refit([other for other in rows if other["data"] != row["data"]], offset=offset)
        made.append(believe(row["pilot"], row["error"], transfer))
    return made


def rules(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What each rule predicts, above 0 where it says to distil."""
    fixed = {
        "always distil": np.ones(len(rows)),
        "never distil": -np.ones(len(rows)),
        "teacher better than student": column(rows, "advantage"),
        "gamma_hat above .5": column(rows, "gamma") - 0.5,
        "pilot alone": column(rows, "pilot"),
        SHIFTED: np.array([belief.mean for belief in left_out_beliefs(rows, offset=True)]),
    }
    return fixed | {name: left_out(rows, names) for name, names in FEATURES.items()}


def regrets(predicted: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """What following a rule costs in each pair against knowing the study's outcome, in points."""
    regret: np.ndarray = np.maximum(gain, 0) - np.where(predicted > 0, gain, 0)
    return regret


def harmful(predicted: np.ndarray, gain: np.ndarray) -> float:
    """Percent of the pairs where the rule distils and the study loses more than a point."""
    return 100 * float(((predicted > 0) & (gain < HARM)).mean())


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
    """Print the tables: pairs, single numbers against the gain, rules, verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    rows = read(parser.parse_args().runs)
    samples = resamples(rows, 2000, np.random.default_rng(0))
    print_pairs(rows)
    print_numbers(rows, samples)
    print_rules(rows, samples)
    print_verdicts(rows, samples)


def print_pairs(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a pair, with the study's verdict and that by constants from the other data sets."""
    for row, belief in zip(rows, left_out_beliefs(rows, offset=False), strict=True):
        shown = " | ".join(f"{row[name]:.2f}" for name in ("gamma", "gamma within"))
        shown += f" | {row['advantage']:+.1f}"
        span = f"{row['gain']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f}; {row['n']})"
        pilots = f"{row['pilot']:+.1f} | {row['pilot joint']:+.1f}"
        words = f"`{row['word']}` | `{name_verdict(belief)[0]}`"
        print(f"| {row['pair']} | {shown} | {pilots} | {span} | {words} |")


def print_numbers(rows: Sequence[Mapping[str, Any]], samples: Sequence[np.ndarray]) -> None:
    """Rank correlation of every single number with the gain."""
    gain = column(rows, "gain")
    print("\n| one number | rho with the gain |\n|---|---|")
    for name in [name for name in rows[0] if name not in TOLD]:
        values = column(rows, name)
        if np.isfinite(values).all():
            low, high = interval(lambda c, v=values: rank_correlation(v[c], gain[c]), samples)
            print(f"| {name} | {rank_correlation(values, gain) or 0:+.2f} ({low:+.2f} to {high:+.2f}) |")


def print_rules(rows: Sequence[Mapping[str, Any]], samples: Sequence[np.ndarray]) -> None:
    """Rules, and what each costs beyond the pilot plus an offset."""
    gain, made = column(rows, "gain"), rules(rows)
    print(f"\n| rule | rho | distils | harmful | regret | minus that of `{SHIFTED}` |\n{'|---' * 6}|")
    best = regrets(made[SHIFTED], gain)
    for name, predicted in made.items():
        cost = regrets(predicted, gain)
        rho = rank_correlation(predicted, gain)
        told = (
            "" if rho is None else _with(rho, lambda c, p=predicted: rank_correlation(p[c], gain[c]), samples)
        )
        parts = [
            f"{100 * (predicted > 0).mean():.0f}%", f"{harmful(predicted, gain):.0f}%",
            _with(cost.mean(), lambda c, v=cost: float(v[c].mean()), samples, ""),
            _with((cost - best).mean(), lambda c, v=cost - best: float(v[c].mean()), samples),
        ]  # fmt: skip
        print(f"| {name} | {told} | {' | '.join(parts)} |")


def print_verdicts(rows: Sequence[Mapping[str, Any]], samples: Sequence[np.ndarray]) -> None:
    """Verdicts with constants from other data sets: their words, what studies found, and their width."""
    gain = column(rows, "gain")
    for offset in (False, True):
        beliefs = left_out_beliefs(rows, offset=offset)
        words = [name_verdict(belief)[0] for belief in beliefs]
        print(f"\n{'with' if offset else 'without'} an offset, refitted without the data set judged:")
        for one in sorted({row["data"] for row in rows}):
            print(f"  without {one}: {refit([r for r in rows if r['data'] != one], offset=offset)}")
        print(f"  of all: {refit(rows, offset=offset)}")
        for word in ("help", "no-effect", "hurt", "abstain"):
            mine = gain[[w == word for w in words]]
            if len(mine):
                spread = f"{mine.min():+.1f} to {mine.max():+.1f}, mean {mine.mean():+.1f}"
                print(f"  {word}: {len(mine)}, gains {spread}, {(mine < 0).sum()} below 0")
        away = np.array([(g - b.mean) / b.sd for g, b in zip(gain, beliefs, strict=True)])
        for level, ends in ((80, 1.2816), (95, 1.96)):
            inside = (np.abs(away) <= ends).astype(float)
            told = _with(100 * inside.mean(), lambda c, v=inside: 100 * v[c].mean(), samples, "")
            print(f"  within {level}%: {told}")
        surprise = 0.5 * away**2 + np.log([belief.sd for belief in beliefs])
        told = _with(surprise.mean(), lambda c, v=surprise: v[c].mean(), samples)
        print(f"  mean -log density (+ constant): {told}")
    gap = gain - column(rows, "pilot")
    print(f"\ngain - pilot: mean {gap.mean():+.2f}, sd {gap.std(ddof=1):.2f}; {len(rows)} pairs")
    for one in sorted({row["data"] for row in rows}):
        mine = gap[[row["data"] == one for row in rows]]
        print(f"  {one}: mean {mine.mean():+.2f}, {len(mine)} pairs")


def _with(
    value: float,
    statistic: Callable[[np.ndarray], float | None],
    samples: Sequence[np.ndarray],
    sign: str = "+",
) -> str:
    low, high = interval(statistic, samples)
    return f"{value:{sign}.2f} ({low:{sign}.2f} to {high:{sign}.2f})"


if __name__ == "__main__":
    main()

"""How well a pilot on few labelled samples predicts the gain of a study, from studies that are finished.

    python -m benchmarks._diagnose_few --studies out/few

A study with few labels has ten fits. The first five are used as a pilot: 200 times, as many of their test
samples are drawn as a pilot would have. The other five, with other labels and other trainings, give the gain.
What a rule takes from other data sets comes from all data sets but the one that is judged.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mfh
from mfh._diagnose.few import expect
from mfh._diagnose.few_words import Effect
from mfh._diagnose.verdict import Transfer, believe, name_verdict
from mfh.stats import rank_correlation

DATA = {"cora": "Cora", "mfcc-au": "RAVDESS", "au-mfcc": "RAVDESS"}
"""The data set of a study, by the name of its folder; all others are views of digits."""
DRAWS = 200


@dataclass(frozen=True)
class Setting:
    """One study: pilots that could have preceded it, and its gain.

    Attributes:
        name: folder and number of labels.
        data: the data set.
        labels: mean number of labels of a fit.
        pilots: drawn pilots.
        gain: of the stack over no-kd, in points, in the other half of the fits.
        advantage: how much more accurate the stack's teachers are than no-kd, out of fold.
    """

    name: str
    data: str
    labels: float
    pilots: list[Effect]
    gain: float
    advantage: float


def read(folder: Path, rng: np.random.Generator) -> Setting:
    """Read one study, and draw its pilots."""
    result = mfh.load_results(folder)
    seeds = sorted({record.seed for record in result.records})
    gaps = {}
    for seed in seeds:
        place = {(r.arm, r.ratio): n for n, r in enumerate(r for r in result.records if r.seed == seed)}
        outputs = result.predictions[f"outputs/{seed}"]
        label = result.predictions["label"][result.predictions[f"rows/{seed}"]]
        right = {arm: 100.0 * (outputs[place[arm, None]].argmax(1) == label) for arm in ("stack", "no-kd")}
        gaps[seed] = right["stack"] - right["no-kd"]
    half = len(seeds) // 2
    labels = float(result.labels["labelled"])
    size = max(
        2, round(labels * half / (half - 1) / half)
    )  # a fit of the pilot is tested on one fold of the labels
    pilots = []
    for _ in range(DRAWS):
        drawn = np.concatenate([rng.choice(gaps[seed], size, replace=False) for seed in seeds[:half]])
        pilots.append(Effect(float(drawn.mean()), float(drawn.std(ddof=1) / len(drawn) ** 0.5), len(drawn)))
    held_out = {(t.teacher, t.seed): t.validation for t in result.teachers}
    ahead = [held_out["stack", seed] - held_out["no-kd", seed] for seed in seeds[:half]]
    name = folder.parent.parent.name
    gain = float(np.mean([gaps[seed].mean() for seed in seeds[half:]]))
    return Setting(
        f"{name} {folder.name}", DATA.get(name, "digits"), labels, pilots, gain, float(np.mean(ahead))
    )


def measure(settings: list[Setting]) -> tuple[float, Transfer]:
    """Return the mean gain, and a prior and a transfer, with equal weights for data sets."""
    share = np.array([1 / sum(s.data == other.data for other in settings) for s in settings])
    share /= share.sum()
    gains = np.array([s.gain for s in settings])
    mean = float(share @ gains)
    gaps = np.array([[s.gain - pilot.mean for pilot in s.pilots] for s in settings])
    errors = np.array([np.mean([pilot.error**2 for pilot in s.pilots]) for s in settings])
    sd = float(np.sqrt(max(share @ ((gaps**2).mean(axis=1) - errors), 0.0)))
    return mean, Transfer(spread=float(np.sqrt(share @ (gains - mean) ** 2)), offset=0.0, sd=sd)


Rule = Callable[[Effect, float, Transfer], tuple[float, float]]


def _shrunk(pilot: Effect, mean: float, transfer: Transfer) -> tuple[float, float]:
    belief = believe(pilot.mean - mean, pilot.error, transfer)
    return mean + belief.mean, belief.sd


def _expected(pilot: Effect, *_: object) -> tuple[float, float]:
    belief = expect(pilot)
    return belief.mean, belief.sd


RULES: dict[str, Rule] = {
    "the mean of the other data sets": lambda _, mean, transfer: (mean, transfer.spread),
    "the pilot with its own error": lambda pilot, *_: (pilot.mean, pilot.error),
    "the pilot, pulled to the other data sets": _shrunk,
    "the diagnosis: the pilot, 2 points wider": _expected,
}


def main() -> None:
    """Print the settings and the rules as tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--studies", type=Path, required=True, help="folder of study folders with labels/COUNT"
    )
    parser.add_argument("--names", nargs="*", default=None, help="folders to read (default: all)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    folders = sorted(path.parent for path in options.studies.glob("*/labels/*/results.json"))
    wanted = [
        f for f in folders if f.name != "1" and (not options.names or f.parent.parent.name in options.names)
    ]
    settings = [read(folder, rng) for folder in wanted]
    print(
        "| setting | labels | pilot (its error) | stack - no-kd out of fold | gain |\n|---|---|---|---|---|"
    )
    for s in settings:
        pilot, error = (np.mean([getattr(p, name) for p in s.pilots]) for name in ("mean", "error"))
        print(
            f"| {s.name} | {s.labels:.0f} | {pilot:+.1f} ({error:.1f}) | {s.advantage:+.1f} | {s.gain:+.1f} |"
        )
    print("\n| rule | root mean square error | 95% intervals with the gain | width |\n|---|---|---|---|")
    sets = sorted({s.data for s in settings})
    for name, rule in RULES.items():
        cells = []
        for held in sets:
            known = measure([s for s in settings if s.data != held])
            cells.append(
                np.mean(
                    [
                        (gap**2, abs(gap) < 1.96 * sd, 2 * 1.96 * sd)
                        for s in settings if s.data == held
                        for pilot in s.pilots
                        for mean, sd in [rule(pilot, *known)]
                        for gap in [mean - s.gain]
                    ],
                    axis=0,
                )
            )  # fmt: skip
        errors = [f"{held} {cell[0] ** 0.5:.1f}" for held, cell in zip(sets, cells, strict=True)]
        covered = [f"{held} {100 * cell[1]:.0f}%" for held, cell in zip(sets, cells, strict=True)]
        width = np.mean([cell[2] for cell in cells])
        print(f"| {name} | {', '.join(errors)} | {', '.join(covered)} | {width:.1f} |")
    gains = np.array([s.gain for s in settings])
    one = [rank_correlation(np.array([s.pilots[k].mean for s in settings]), gains) for k in range(DRAWS)]
    ahead = rank_correlation(np.array([s.advantage for s in settings]), gains)
    print(
        f"\nRank correlation with the gain: one pilot {np.mean(one):+.2f}, stack - no-kd out of fold "
        f"{ahead:+.2f}"
    )
    words: dict[tuple[str, str], float] = {}
    for s in settings:
        size = "above 1" if s.gain > 1 else "below -1" if s.gain < -1 else "within 1"
        for pilot in s.pilots:
            key = name_verdict(expect(pilot))[0], size
            words[key] = words.get(key, 0.0) + 1 / DRAWS
    for (word, size), count in sorted(words.items()):
        print(f"`{word}` where the gain is {size}: {count:.1f} of {len(settings)}")


if __name__ == "__main__":
    main()

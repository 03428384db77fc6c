"""The tables of docs/results.md from study folders: `python -m benchmarks._study_tables out/pix-zer ...`.

Four tables: accuracy by arm, `general` minus each, by ratio, and the teachers. With `--questions` one: the
declared questions, for studies that train fewer arms.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("no-kd", "no-kd-smoothed", "self", "regular", "joint", "mismatched")
CHOSEN = tuple(f"{arm} (chosen)" for arm in ("softened", "important", "general"))
AGAINST = ("no-kd", "regular", "joint", "important (chosen)", "softened (chosen)", "mismatched")
QUESTIONS = ("no-kd", "self", "mismatched", "joint", "important (chosen)", "softened (chosen)")
BY_RATIO = ("general", "important", "softened", "random", "specific")
TEACHERS = ("regular", "joint", "general@0.5", "important@0.5")
Study = dict[str, Any]


def main() -> None:
    """Print the tables."""
    folders = [Path(name) for name in sys.argv[1:] if name != "--questions"]
    studies = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in folders]
    for table in (questions,) if "--questions" in sys.argv else (by_arm, differences, by_ratio, teachers):
        print("\n".join(f"| {' | '.join(row)} |" for study in studies for row in table(study)), end="\n\n")


def pair(study: Study) -> str:
    """Teacher and student modality."""
    return f"{study['config']['teacher']} → {study['config']['student']}"


def mean(study: Study, arm: str, ratio: float | None = None) -> str:
    """Mean test accuracy of an arm."""
    return next(f"{s['mean']:.1f}" for s in study["summary"] if (s["arm"], s["ratio"]) == (arm, ratio))


def difference(study: Study, a: str, b: str, ratio: float | None = None) -> str:
    """A difference with its intervals over fits and over groups."""
    found = next(c for c in study["comparisons"] if (c["a"], c["b"], c["ratio"]) == (a, b, ratio))
    text = f"{found['difference']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"
    if found["low_boot"] is not None:
        text += f"; groups {found['low_boot']:+.2f} to {found['high_boot']:+.2f}"
    return text.replace("+0.00", "0.00").replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def by_arm(study: Study) -> Iterator[list[str]]:
    """One row: the accuracy of each arm."""
    yield [pair(study), *(mean(study, arm) for arm in ARMS + CHOSEN)]


def differences(study: Study) -> Iterator[list[str]]:
    """One row: `general` minus each, and the verdict."""
    told = [difference(study, "general (chosen)", arm) for arm in AGAINST]
    yield [pair(study), *told, f"`{study['verdict']['verdict']}`"]


def questions(study: Study) -> Iterator[list[str]]:
    """One row: verdict, fits, and `general` minus the arm of each declared question."""
    gain = next(c for c in study["comparisons"] if c["question"] == 1)
    told = [difference(study, gain["a"], arm) for arm in QUESTIONS]
    weight = f"{study['config']['label_weight']:g}"
    yield [pair(study), weight, f"`{study['verdict']['verdict']}`", str(gain["n"]), *told]


def by_ratio(study: Study) -> Iterator[list[str]]:
    """A row a ratio; the shares of channels that two rankings keep."""
    shares = {(o["split"], o["ratio"]): f"{o['mean']:.0%}" for o in study["saliency"]["overlap"]}
    for ratio in study["config"]["ratio"]:
        told = [mean(study, arm, ratio) for arm in BY_RATIO]
        kept = [shares[split, ratio] for split in ("train", "validation")]
        yield [pair(study), f"{ratio:g}", *told, difference(study, "general", "important", ratio), *kept]


def teachers(study: Study) -> Iterator[list[str]]:
    """A row a teacher: means over the fits."""
    negative = {n["split"]: f"{n['share']:.0%}" for n in study["saliency"]["negative"]}
    for name in TEACHERS:
        rows = [t for t in study["teachers"] if t["teacher"] == name]
        train, test, entropy, saturated = (
            float(np.mean([t[key] for t in rows])) for key in ("train", "test", "entropy", "saturated")
        )
        told = [f"{train:.1f}", f"{test:.1f}", f"{entropy:.2f}", f"{saturated:.0%}"]
        shares = [negative[split] if name == "joint" else "" for split in ("train", "validation")]
        yield [pair(study), f"`{name}`", *told, *shares]


if __name__ == "__main__":
    main()

"""Tables of docs/results.md, made from the `results.json` of study folders.

Each function takes studies and returns a table: the names of its columns and its rows. `benchmarks.studies`
writes them into the page.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

MINUS = "\N{MINUS SIGN}"
ARMS = ("no-kd", "no-kd-smoothed", "self", "regular", "joint", "mismatched")
FOCUSED = ("softened", "important", "general")
AGAINST = ("no-kd", "regular", "joint", "important (chosen)", "softened (chosen)", "mismatched")
QUESTIONS = ("no-kd", "self", "mismatched", "joint", "important (chosen)", "softened (chosen)")
BY_RATIO = ("general", "important", "softened", "random", "specific")
BY_LOSS = ("regular", "self", "joint", "mismatched", "softened", "important", "general", "random", "specific")
TEACHERS = ("regular", "joint", "general@0.5", "important@0.5")
PAPER = {"no-kd": "68.36", "audio": "70.10", "both": "69.73"}
"""Accuracy of the audio student in the paper's Table 1, by teacher."""
WORDS = {
    "no-kd": "labels (`no-kd`)",
    "no-kd-smoothed": "labels, smoothed by .1",
    "audio": "an audio teacher (unimodal)",
    "both": "a teacher of both (crossmodal)",
    "image": "an image teacher",
    "mismatched": 'control: outputs of "both" for other samples of the class',
}
Study = Mapping[str, Any]
Row = list[str]
Table = tuple[Sequence[str], list[Row]]


def pair(study: Study) -> str:
    """Return teacher and student modality."""
    return f"{study['config']['teacher']} → {study['config']['student']}"


def base(arm: str) -> str:
    """Return an arm as the page names it."""
    return f"`{arm.removesuffix(' (chosen)')}`"


def summary_row(study: Study, arm: str, ratio: float | None, loss: str | None = None) -> Study | None:
    """Return the summary of an arm by the first metric; of an arm that removes channels at the chosen ratio.

    Args:
        study: the results.
        arm: its name.
        ratio: None for the chosen ratio, or an arm without ratios.
        loss: in a study of several losses.
    """
    metric = study["summary"][0]["metric"]
    rows = [row for row in study["summary"] if row["metric"] == metric and row["loss"] in (loss, None)]
    for name in (arm, f"{arm} (chosen)"):
        for row in rows:
            if (row["arm"], row["ratio"]) == (name, ratio):
                found: Study = row
                return found
    return None


def mean(study: Study, arm: str, ratio: float | None = None, loss: str | None = None) -> str:
    """Return the mean test metric of an arm; empty if it was not trained."""
    row = summary_row(study, arm, ratio, loss)
    return "" if row is None else f"{row['mean']:.1f}"


def signed(low: float, high: float, value: float, digits: int) -> str:
    """Return a difference with its interval."""
    text = f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
    zero = f"{0:+.{digits}f}"
    return text.replace(zero, zero[1:]).replace(f"-{zero[1:]}", zero[1:]).replace("-", MINUS)


def difference(
    study: Study,
    a: str,
    b: str,
    ratio: float | None = None,
    *,
    digits: int = 2,
    loss: str | None = None,
    loss_b: str | None = None,
) -> str:
    """Return a difference with its interval; empty if the study has none."""
    wanted = (a, b, ratio, loss, loss_b)
    for row in study["comparisons"]:
        if (row["a"], row["b"], row["ratio"], row["loss"], row["loss_b"]) == wanted:
            if row["low"] is None:
                return f"{row['difference']:+.{digits}f}".replace("-", MINUS)
            return signed(row["low"], row["high"], row["difference"], digits)
    return ""


def by_arm(studies: Sequence[Study]) -> Table:
    """Return the metric of each arm, a row a study."""
    columns = ("teacher → student", *map(base, ARMS + FOCUSED))
    return columns, [[pair(study), *(mean(study, arm) for arm in ARMS + FOCUSED)] for study in studies]


def differences(studies: Sequence[Study]) -> Table:
    """Return `general` minus each, and the verdict, a row a study."""
    columns = ("teacher → student", *(f"minus {base(arm)}" for arm in AGAINST), "verdict")
    rows = []
    for study in studies:
        found = [difference(study, "general (chosen)", arm) for arm in AGAINST]
        rows.append([pair(study), *found, verdict(study)])
    return columns, rows


def verdict(study: Study) -> str:
    """Return the verdict as the page writes it."""
    return f"`{study['verdict']['verdict']}`"


def questions(studies: Sequence[Study]) -> Table:
    """Return verdict, fits, and `general` minus the arm of each declared question, a row a study."""
    columns = ("teacher → student", "label weight", "verdict", "fits")
    rows = []
    for study in studies:
        gain = gain_of(study)
        found = [difference(study, gain["a"], arm, loss=gain["loss"]) for arm in QUESTIONS]
        weight = f"{study['config']['label_weight']:g}"
        rows.append([pair(study), weight, verdict(study), str(gain["n"]), *found])
    return (*columns, *(f"minus {base(arm)}" for arm in QUESTIONS)), rows


def gain_of(study: Study) -> Study:
    """Return the comparison that answers the first declared question."""
    return next(row for row in study["comparisons"] if row["question"] == 1)


def shares(study: Study) -> dict[tuple[str, float], str]:
    """Return the share of channels that `general` and `important` both keep, by split and ratio."""
    return {(row["split"], row["ratio"]): f"{row['mean']:.0%}" for row in study["saliency"]["overlap"]}


def by_ratio(studies: Sequence[Study]) -> Table:
    """Return the arms that remove channels, a row a ratio, with the shares that two rankings keep."""
    columns = ("teacher → student", "ratio", *map(base, BY_RATIO), f"`general` {MINUS} `important`",
               "kept by both: train", "validation")  # fmt: skip
    rows = []
    for study in studies:
        kept = shares(study)
        for ratio in study["config"]["ratio"]:
            found = [mean(study, arm, ratio) for arm in BY_RATIO]
            both = [kept[split, ratio] for split in ("train", "validation")]
            gap = difference(study, "general", "important", ratio)
            rows.append([pair(study), f"{ratio:g}", *found, gap, *both])
    return columns, rows


def teachers(studies: Sequence[Study]) -> Table:
    """Return the teachers of each study: means over its fits."""
    columns = ("teacher → student", "teacher", "train", "test", "entropy, nats", "saturated",
               "negative increases: train", "validation")  # fmt: skip
    return columns, [row for study in studies for row in _teachers(study)]


def _teachers(study: Study) -> Iterator[Row]:
    negative = {row["split"]: f"{row['share']:.0%}" for row in study["saliency"]["negative"]}
    for name in TEACHERS:
        rows = [row for row in study["teachers"] if row["teacher"] == name]
        train, test, entropy, saturated = (
            float(np.mean([row[key] for row in rows])) for key in ("train", "test", "entropy", "saturated")
        )
        found = [f"{train:.1f}", f"{test:.1f}", f"{entropy:.2f}", f"{saturated:.0%}"]
        parts = [negative[split] if name == "joint" else "" for split in ("train", "validation")]
        yield [pair(study), f"`{name}`", *found, *parts]


def followed(studies: Sequence[Study]) -> Table:
    """Return the score `followed` beside the increase; studies come in twos, by increase and by followed."""
    columns = ("teacher → student", "ratio", "`general` by increase", "by followed", "`important`",
               f"followed {MINUS} `important`", "kept by both")  # fmt: skip
    rows = []
    for plain, other in zip(studies[::2], studies[1::2], strict=True):
        kept = shares(other)
        for ratio in other["config"]["ratio"]:
            found = [mean(plain, "general", ratio), mean(other, "general", ratio)]
            gap = difference(other, "general", "important", ratio)
            both = kept["train", ratio]
            rows.append([pair(other), f"{ratio:g}", *found, mean(other, "important", ratio), gap, both])
    return columns, rows


def losses(studies: Sequence[Study]) -> Table:
    """Return the arms under each loss of one study, a row a loss; `general` and the like at chosen ratios."""
    (study,) = studies
    first, ratio = study["config"]["losses"][0], study["config"]["ratio"][0]
    columns = ("loss", *map(base, BY_LOSS), f"`joint` {MINUS} `no-kd`", f"`joint` {MINUS} `mismatched`",
               f"`joint`: loss {MINUS} `kl`")  # fmt: skip
    rows = []
    for loss in study["config"]["losses"]:
        found = [mean(study, arm, ratio if arm in ("random", "specific") else None, loss) for arm in BY_LOSS]
        gaps = [difference(study, "joint", arm, digits=1, loss=loss) for arm in ("no-kd", "mismatched")]
        across = difference(study, "joint", "joint", digits=1, loss=loss, loss_b=first)
        rows.append([f"`{loss}`", *found, *gaps, across])
    return columns, rows


def arms(studies: Sequence[Study]) -> Table:
    """Return the arms of one study with their intervals, and by ratio."""
    (study,) = studies
    ratios = study["config"]["ratio"]
    names = dict.fromkeys(row["arm"].removesuffix(" (chosen)") for row in study["summary"])
    rows = []
    for arm in names:
        row = summary_row(study, arm, None)
        own = "" if row is None else f"{row['mean']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
        rows.append([f"`{arm}`", own, *(mean(study, arm, ratio) for ratio in ratios)])
    return ("arm", "chosen, or without ratio", *(f"{ratio:g}" for ratio in ratios)), rows


def minus(studies: Sequence[Study]) -> Table:
    """Return `general` minus each arm in one study, a row an arm, with its declared question."""
    (study,) = studies
    gain = gain_of(study)
    rows = []
    for row in study["comparisons"]:
        if row["a"] == gain["a"] and row["ratio"] is None and row["loss"] == gain["loss"]:
            asked = "" if row["question"] is None else str(row["question"])
            gap = difference(study, row["a"], row["b"], digits=1, loss=row["loss"], loss_b=row["loss_b"])
            rows.append([base(row["b"]), asked, gap])
    return (f"{base(gain['a'])} {MINUS}", "question", "points (95%)"), rows


def avmnist(studies: Sequence[Study]) -> Table:
    """Return the paper's Table 1 beside one study of AV-MNIST."""
    (study,) = studies
    rows = []
    for arm, words in WORDS.items():
        found = [row["test"] for row in study["teachers"] if row["teacher"] == arm]
        teacher = f"{float(np.mean(found)):.1f}" if found else ""
        rows.append([words, mean(study, arm), PAPER.get(arm, ""), teacher])
    return ("student learns from", "test accuracy", "paper", "teacher's test accuracy"), rows


def pairs(studies: Sequence[Study]) -> Table:
    """Return the differences of one study of AV-MNIST."""
    (study,) = studies
    rows = [
        [f"{base(row['a'])} {MINUS} {base(row['b'])}", difference(study, row["a"], row["b"])]
        for row in study["comparisons"]
    ]
    return ("difference", "points (95%)"), rows


TABLES: dict[str, Callable[[Sequence[Study]], Table]] = {
    table.__name__.replace("_", "-"): table
    for table in (
        by_arm, differences, questions, by_ratio, teachers, followed, losses, arms, minus, avmnist, pairs,
    )
}  # fmt: skip
"""The tables by the name that the page calls them by."""

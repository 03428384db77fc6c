"""What would decide a study: the sources of its uncertainty, and its looks if it went on until decided."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.sections.differences import gain_of
from mfh._report.tables import Table, cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, number, percent, signed, two_digits
from mfh.arms import SEARCHED, STACK
from mfh.crossed import POWER

DEVIATIONS = ("samples", "noise", "trainings", "error")
SHARES = ("more_repeats", "more_samples")
TEMPLATE = """
{% if "components" in tables %}
{{ grid("components") }}
<p class="aside">SD: standard deviation; SE: standard error of the difference. More repeats and more
{{ s.units }} would remove these shares of its square. Needed: what will decide with a probability of
{{ s.power }}, if the difference is as estimated.</p>
{% endif %}
{% if s.looks_taken %}
<p>{{ s.looks_words }}</p>
{{ grid("looks-taken") }}
{% endif %}
"""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the looks of a study that went on until it was decided, and how it was run."""
    looks = [asdict(look) for look in view.result.looks]
    return {
        "power": percent(POWER),
        "units": "groups" if view.data.get("num_groups") else "samples",
        "looks_taken": looks,
        "looks_words": _on_looks(view, looks) if looks else "",
        "goes_on": view.config.get("until") == "decided",
    }


def _declared(summary: Summary) -> list[Mapping[str, Any]]:
    """Return the declared comparisons with components, in the order of their questions."""
    rows = [
        row
        for row in (*summary["differences"], *summary["focusing"])
        if row["question"] is not None and row["components"] is not None
    ]
    return sorted(rows, key=lambda row: int(row["question"]))


def build_components(summary: Summary) -> Table | None:
    """Return where the uncertainty of each declared comparison comes from, and what would decide it."""
    rows, digits = [], summary["digits"] + 1
    for row in _declared(summary):
        parts = _known(row["components"])
        name = row["name"]
        if summary["focusing"]:
            name = f"{wording.base(row['a'])} {wording.MINUS} {name}"
        rows.append(
            [
                cell(name, note=f"question {row['question']}"),
                *(cell(number(parts.get(name), digits), parts.get(name)) for name in DEVIATIONS),
                *(cell(percent(parts.get(name)), parts.get(name)) for name in SHARES),
                *_needed(row),
            ]
        )
    columns = (
        "Comparison" if summary["focusing"] else f"{summary['head']} minus",
        f"SD of {summary['units']} #",
        "SD of noise #",
        "SD of trainings #",
        "SE #",
        "More repeats #",
        f"More {summary['units']} #",
        "Repeats needed",
        "Samples needed",
    )
    caption = "Where the uncertainty comes from, in points"
    return table("components", caption, columns, rows)


def _known(parts: Mapping[str, float]) -> Mapping[str, float]:
    """Return the components that a study can tell apart: one repeat cannot tell noise from samples."""
    if parts["repeats"] > 1:
        return parts
    return {name: value for name, value in parts.items() if name in ("trainings", "error")}


def _needed(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of the repeats and samples that a comparison needs."""
    if is_decided(row):
        return [cell("decided"), cell(wording.NOTHING)]
    if row["p"] is None or row["components"]["repeats"] == 1:
        return [cell(wording.NOTHING), cell(wording.NOTHING)]
    repeats, samples = row["repeats_needed"], row["samples_needed"]
    few = cell("no number") if repeats is None else cell(two_digits(repeats), repeats)
    return [few, cell(two_digits(samples), samples)]


def is_decided(row: Mapping[str, Any]) -> bool:
    """Return whether the interval of a comparison excludes 0, or lies inside the zone of no effect."""
    return row["reading"] in ("better", "worse", "same")


def build_looks(summary: Summary) -> Table | None:
    """Return the looks at the gain, one for each row."""
    digits = summary["digits"] + 1
    rows = [
        [
            cell(look["repeats"], look["repeats"]),
            cell(signed(look["difference"], digits), look["difference"]),
            cell(interval(look["low"], look["high"], digits, sign=True), look["low"]),
            cell(wording.level(look["level"]), look["level"]),
            cell(number(look["bound"], 2), look["bound"]),
            cell(
                "open" if look["verdict"] == "abstain" else look["verdict"],
                note="exploratory" if look["exploratory"] else "",
            ),
        ]
        for look in summary["looks_taken"]
    ]
    columns = ("Repeats #", "Gain #", "Interval #", "Level #", "Bound #", "Verdict")
    return table("looks-taken", "Looks at the gain, in points", columns, rows)


def _on_looks(view: StudyView, looks: Sequence[Mapping[str, Any]]) -> str:
    """Return what the looks do to the error and to the intervals."""
    level, words = looks[-1]["level"], []
    if not all(look["exploratory"] for look in looks):
        words.append(
            "The study added repeats until its first question was decided, or until the limit was reached. "
            "Many looks find more by chance than one, so at each look |gain / standard error| must exceed a "
            "bound above 1.96; this keeps the error over all planned looks at 5%. All intervals of this page "
            f"have the level of the last look, {wording.level(level)}; p-values are those of a single look."
        )
    if looks[-1]["exploratory"]:
        words.append(
            f"The plan ended with {view.data.get('planned_repeats')} repeats. The looks that are marked as "
            "exploratory are not part of it: they were added when its result was known, so their intervals "
            "exclude 0 by chance in more than 5% of such studies, and no declared question is answered."
        )
    return " ".join(words)


def _intro(summary: Summary) -> str:
    gain = gain_of(summary)
    if gain is None or gain["components"] is None:
        return ""
    parts, units = gain["components"], summary["units"]
    if parts["repeats"] == 1:
        return (
            f"With one repeat the noise of training cannot be told from the differences between {units}, so "
            "this study does not show how much more repeats would help. Use `--repeats 2` or more."
        )
    return (
        f"The gain is uncertain for three reasons: {units} differ, training adds noise to the result of "
        "each, and trainings differ as a whole. Of its squared standard error more repeats would remove "
        f"{percent(parts['more_repeats'])}; only more {units} would remove the other "
        f"{percent(parts['more_samples'])}. {_outlook(summary, gain)}"
    )


def _outlook(summary: Summary, gain: Mapping[str, Any]) -> str:
    """Return what would decide whether the teacher helps."""
    repeats, samples = gain["repeats_needed"], gain["samples_needed"]
    helps = "the teachers help" if summary["head"] in (STACK, SEARCHED) else "the teacher helps"
    if is_decided(gain):
        return f"Whether {helps} is decided."
    if gain["p"] is None:
        return "Its spread is unknown, so nothing can be planned from it."
    if repeats is not None:
        text = f"About {two_digits(repeats)} repeats in all will probably decide whether {helps}."
        again = (
            " A study that goes on because it was open looks at its data twice, so its result is "
            "exploratory; `--until decided` allows for that from the start."
        )
        return text if summary["goes_on"] else text + again
    text = f"More repeats may not decide whether {helps}."
    if samples is None:
        return text
    return (
        f"{text} If the gain is as estimated, a new study of about {two_digits(samples)} samples probably "
        "will."
    )


SECTION = Section(
    name="deciding",
    heading="What would decide it",
    summarize=summarize,
    intro=_intro,
    tables=(build_components, build_looks),
    template=TEMPLATE,
    is_shown=lambda summary: bool(_declared(summary) or summary["looks_taken"]),
)

"""All comparisons of a study: the declared questions, and the paired differences with intervals."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.tables import Table, cell, ratio_cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, p_value, sequence, signed
from mfh.arms import QUESTIONS


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return all comparisons under the declared loss, and whether they resample groups."""
    rows = view.of_loss(view.result.comparisons)
    return {
        "comparisons": [asdict(row) for row in rows],
        "has_groups": any(row.low_boot is not None for row in rows),
    }


def build_questions(summary: Summary) -> Table | None:
    """Return the declared questions in their order, and their answers."""
    rows, one_head = [], not summary["focusing"]
    for number, words in QUESTIONS.items():
        asked = [row for row in summary["comparisons"] if row["question"] == number]
        if asked:
            others = sequence([wording.base(row["b"]) for row in asked])
            if not one_head:
                others = f"{wording.base(asked[0]['a'])} {wording.MINUS} {others}"
            rows.append(
                [
                    cell(f"{number}. {words}"),
                    cell(others),
                    cell("exploratory" if summary["exploratory"] else _answer(asked)),
                ]
            )
    compared = f"Is {summary['head']} better than" if one_head else "Comparison"
    columns = ("Question", compared, "Answer")
    return table("questions", "The declared questions, in the order in which they are asked", columns, rows)


def _answer(asked: list[Mapping[str, Any]]) -> str:
    """Return the answer to a declared question from the comparisons that answer it."""
    if any(row["shown"] is None for row in asked):
        return "not asked"
    return "yes" if all(row["shown"] for row in asked) else "not shown"


def declared(row: Mapping[str, Any]) -> str:
    """Return the declared question that a comparison answers, in words; empty for exploratory ones."""
    return "" if row["question"] is None else f"declared, question {row['question']}"


def build(summary: Summary) -> Table | None:
    """Return every paired difference, declared ones first."""
    rows, digits = [], summary["digits"] + 1
    losses = len(summary["loss_names"]) > 1
    for row in sorted(summary["comparisons"], key=lambda row: row["question"] or len(QUESTIONS) + 1):
        loss, other = row["loss"] or "", row["loss_b"]
        cells = [
            cell(f"{row['a']} {wording.MINUS} {row['b']}", note=declared(row)),
            *([cell(f"{loss} {wording.MINUS} {other}" if other else loss)] * losses),
            ratio_cell(row["ratio"]),
            cell(signed(row["difference"], digits) + "*" * bool(row["shown"]), row["difference"]),
            cell(interval(row["low"], row["high"], digits, sign=True), row["low"]),
            cell(interval(row["low_boot"], row["high_boot"], digits, sign=True), row["low_boot"]),
            cell(p_value(row["p"]), row["p"]),
            cell(row["n"], row["n"]),
        ]
        rows.append(cells)
    intervals = (f"{summary['interval_name']} #", "95%, groups resampled #")
    columns = ("Comparison", *("Loss",) * losses, "Ratio #", "Difference #", *intervals, "p #", "Fits #")
    return table("comparisons", "Paired differences on test data, in points", columns, rows)


def _intro(summary: Summary) -> str:
    sentences = ["Differences are paired by fit.", *_on_intervals(summary)]
    if any(row["question"] is not None for row in summary["comparisons"]):
        sentences.append(
            "Up to four questions were declared before the data were seen. They are asked in a fixed order, "
            "each at the full level of 5%, until one is not answered with yes; those after it are not asked. "
            "A star marks the differences that answer a question with yes. All other comparisons are "
            "exploratory and have no star."
        )
    return " ".join(sentences)


def _on_intervals(summary: Summary) -> list[str]:
    """Return what the intervals are computed from."""
    rows = [row for row in summary["comparisons"] if row["low"] is not None and row["p"] is not None]
    found = []
    if any(row["components"] is not None for row in rows):
        units = "groups" if summary["data"].get("num_groups") else "samples"
        found.append(
            f"Intervals come from crossed components of variance: how much {units} differ, how much noise "
            f"training adds to each, and how much trainings differ as a whole."
        )
    if any(row["components"] is None for row in rows):
        some = "Those without components of variance" if found else "Intervals"
        found.append(
            f"{some} are Student's t over fits with the correction of Nadeau and Bengio, since fits on the "
            "same data share samples."
        )
    if summary["has_groups"]:
        found.append(
            "The other interval resamples whole groups, so that what one group has in common counts once."
        )
    return found


SECTION = Section(
    name="comparisons",
    heading="All comparisons",
    summarize=summarize,
    intro=_intro,
    tables=(build_questions, build),
)

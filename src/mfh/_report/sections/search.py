"""A search: what was tried and taken, what each choice is worth, by class and group, the threshold."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mfh._report.section import Section, Summary
from mfh._report.tables import Table, cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, number, plural, signed
from mfh.arms import BASELINE, SEARCHED

MOST_TRIED = 40
"""Recipes that the table of the tried ones shows."""
SEARCHES = {BASELINE: "without", SEARCHED: "with"}
"""Arm of a search -> whether it is the one with teachers, in a word."""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return what was tried and what won."""
    search: Mapping[str, Any] = getattr(view.result, "search", {})
    tried = [row for row in search.get("trials", ()) if row["search"] == SEARCHED]
    return {
        "winners": _winners(search),
        "worth": list(search.get("worth", ())),
        "by_part": search.get("by_part") or {},
        "num_parts": search.get("num_parts") or {},
        "threshold": search.get("threshold"),
        "shipped": search.get("shipped"),
        "final": search.get("final"),
        "tried": {
            "recipes": len({tuple(sorted((k, str(v)) for k, v in row.items())) for row in tried}),
            "budget": search.get("budget"),
            "folds": search.get("folds"),
            "training": search.get("training"),
        },
    }


def _winners(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each fit, and one for the search on all samples."""
    by_fit: dict[int, dict[str, Any]] = {}
    for row in search.get("winners", ()):
        by_fit.setdefault(row["fit"], {})[row["search"]] = row
    rows = [{"fit": str(fit), **found} for fit, found in sorted(by_fit.items())]
    final = search.get("final")
    return rows + ([{"fit": "all samples", **final["winners"]}] if final else [])


def build_winners(summary: Summary) -> Table | None:
    """Return the recipes that the searches took, by fit."""
    digits = summary["digits"]
    rows = []
    for row in summary["winners"]:
        alone, taught = row[BASELINE], row[SEARCHED]
        rows.append(
            [
                cell(row["fit"]),
                cell(alone["recipe"]),
                cell(number(alone.get("test"), digits), alone.get("test")),
                cell(taught["recipe"]),
                cell(number(taught.get("test"), digits), taught.get("test")),
            ]
        )
    return table(
        "winners",
        f"Recipes that the two searches took, and the test {summary['metric']} of their students",
        ("Fit", "Without a teacher", "Test without #", "With teachers allowed", "Test with #"),
        rows,
    )


def build_tried(summary: Summary) -> Table | None:
    """Return the recipes that the searches on all samples tried, the best first."""
    final, digits = summary["final"] or {}, summary["digits"]
    sign = 1 if summary["higher_is_better"] else -1
    known = [row for row in final.get("trials", ()) if row["validation"] is not None]
    most, rows = max((row["folds"] for row in known), default=0), []
    for row in sorted(known, key=lambda r: (r["folds"], sign * r["validation"]), reverse=True):
        marks = {"the anchor": final["anchor"]}
        marks |= {f"taken as {arm}": final["winners"][arm]["recipe"] for arm in SEARCHES}
        notes = [words for words, recipe in marks.items() if recipe == row["recipe"] and row["folds"] == most]
        rows.append(
            [
                cell(row["recipe"], note=", ".join(notes)),
                cell(SEARCHES[row["search"]]),
                cell(str(row["folds"]), row["folds"]),
                cell(number(row["validation"], digits), row["validation"]),
                cell(signed(row["difference"], digits), row["difference"]),
                cell(number(row["error"], digits), row["error"]),
            ]
        )
    return table(
        "tried",
        "Recipes that the searches on all samples tried, the best first",
        ("Recipe", "Teachers", "Folds #", "Held-out #", "Better by #", "Error #"),
        rows,
        most=MOST_TRIED,
    )


def build_worth(summary: Summary) -> Table | None:
    """Return how good recipes with each value are, against all recipes of the same fit."""
    digits = summary["digits"]
    rows = [
        [
            cell(row["choice"]),
            cell(row["value"]),
            cell(str(row["tried"]), row["tried"]),
            cell(signed(row["difference"], digits), row["difference"]),
            cell(interval(row["low"], row["high"], digits, sign=True)),
        ]
        for row in summary["worth"]
    ]
    return table(
        "worth",
        f"Mean {summary['metric']} on held-out labelled samples of recipes with a value, minus that of all "
        "recipes of the same fit",
        ("Choice", "Value", "Tried #", "Points #", "95% interval over fits"),
        rows,
    )


def build_parts(summary: Summary) -> Table | None:
    """Return the metric of the shipped student and of the untaught one by class and by group."""
    digits, rows = summary["digits"], []
    for kind, words in (("by_class", "class"), ("by_group", "group")):
        found = summary["by_part"].get(kind) or {}
        alone = {row["name"]: row["value"] for row in found.get(BASELINE, ())}
        for row in found.get(SEARCHED, ()):
            other = alone.get(row["name"])
            rows.append(
                [
                    cell(f"{words} {row['name']}"),
                    cell(str(row["samples"]), row["samples"]),
                    cell(number(other, digits), other),
                    cell(number(row["value"], digits), row["value"]),
                ]
            )
    at = ", at the thresholds of the students" if summary["threshold"] else ""
    at += _worst(summary, "by_class", "classes") + _worst(summary, "by_group", "groups")
    return table(
        "parts",
        f"Test samples of all fits: accuracy within each class, and the metric within each group{at}",
        ("Part", "Samples #", f"{BASELINE} #", f"{SEARCHED} #"),
        rows,
    )


def _worst(summary: Summary, kind: str, many: str) -> str:
    """Return which of many classes or groups a table shows, in words; nothing if it shows all."""
    shown = len((summary["by_part"].get(kind) or {}).get(SEARCHED, ()))
    count = summary["num_parts"].get(kind, 0)
    return f"; the {shown} of {count} {many} in which {summary['shipped']} is worst" if shown < count else ""


def build_threshold(summary: Summary) -> Table | None:
    """Return the threshold of each student and what thresholds chosen like it lead to."""
    found, rows = summary["threshold"], []
    for arm in (BASELINE, SEARCHED) if found else ():
        row = found[arm]
        cells = [cell(arm), cell(number(row["threshold"], 3), row["threshold"])]
        for name in ("precision", "recall", "cost"):
            value = row["test"][name]
            cells.append(cell(number(value, 3), value))
        rows.append(cells)
    return table(
        "threshold",
        "Threshold of the student that is trained on all samples; precision, recall and cost per sample on "
        "test data, means over fits, each with the threshold that its own labelled samples chose",
        ("Arm", "Threshold #", "Precision #", "Recall #", "Cost #"),
        rows,
    )


def build_group_threshold(summary: Summary) -> Table | None:
    """Return what the shipped students' thresholds lead to in each group."""
    found = summary["by_part"].get("by_group") or {}
    rows = [
        [
            cell(row["name"]),
            cell(str(row["samples"]), row["samples"]),
            *(cell(number(row[name], 3), row[name]) for name in ("precision", "recall", "cost")),
        ]
        for row in found.get(summary["shipped"], ())
        if "recall" in row
    ]
    return table(
        "threshold-groups",
        f"Test samples of all fits, at the thresholds of {summary['shipped']}, by group"
        f"{_worst(summary, 'by_group', 'groups')}",
        ("Group", "Samples #", "Precision #", "Recall #", "Cost #"),
        rows,
    )


def _intro_winners(summary: Summary) -> str:
    tried, final = summary["tried"], summary["final"]
    shares = ""
    if tried["training"] is not None:
        shares = (
            f" {tried['training']:.0%} of the time of the fits was spent inside trainings; the rest went to "
            "judging, predicting, ranking channels and stacking."
        )
    ships = ""
    if final is not None:
        recipe = final["winners"][summary["shipped"]]["recipe"]
        ships = (
            f" The student to ship is that of `{summary['shipped']}`, trained on "
            f"{plural(final['labelled'], 'label')} and {plural(final['samples'], 'sample')}: {recipe}."
        )
    return (
        f"Each search trained up to {plural(tried['budget'], 'student')} in each fit, the one without a "
        "teacher and the one with teachers alike; no search saw a test sample. A recipe is judged on "
        f"{tried['folds']} folds of the labelled samples: half of the recipes go on from one fold to the "
        f"next.{shares} Teachers that the fits took: {_taken(summary)}.{ships}"
    )


def _taken(summary: Summary) -> str:
    """Return how many fits took each teacher."""
    rows = [row[SEARCHED] for row in summary["winners"] if row["fit"].isdigit()]
    counts = Counter(row["teacher"] + (f", {row['focus']}" if row["focus"] else "") for row in rows)
    return ", ".join(f"{name} in {count}" for name, count in counts.most_common())


def _intro_tried(summary: Summary) -> str:
    final, points = summary["final"] or {}, summary["points"]
    if "anchor" not in final:
        return ""
    taken = final["winners"][SEARCHED]
    if taken["recipe"] == final["anchor"]:
        end = "No recipe was that much better, so the anchor was taken."
    else:
        error = "" if taken["error"] is None else f", with a standard error of {number(taken['error'], 2)}"
        end = f"Taken: {taken['recipe']}, at {signed(taken['difference'], 2)} {points}{error}."
    return (
        "Each recipe was judged on one fold of held-out labelled samples or more. Those that got furthest "
        f"come first, then the best mean {summary['metric']}. The anchor is: {final['anchor']}. Another "
        f"recipe is taken if it is better by more than {final['errors']:g} standard errors of the "
        f"difference, on the same samples. {end} The search without teachers takes the best recipe as it is."
    )


def _intro_worth(_: Summary) -> str:
    return (
        "Recipes were drawn at random, and all of them were judged on the first fold of the labelled "
        "samples. So these means compare like with like, one choice at a time. Few recipes have each value, "
        "so read the intervals."
    )


def _intro_parts(_: Summary) -> str:
    return "A gain may be found in some classes or groups alone, and a loss may hide in a mean."


def _intro_threshold(summary: Summary) -> str:
    return (
        f"The rule is `{summary['threshold']['rule']}`: a sample counts as "
        f"`{summary['threshold']['positive']}` if its "
        "probability reaches the threshold."
        if summary["threshold"]
        else ""
    )


WINNERS = Section(
    name="search",
    heading="What the searches took",
    summarize=summarize,
    intro=_intro_winners,
    tables=(build_winners,),
)
TRIED = Section(name="tried", heading="What was tried", intro=_intro_tried, tables=(build_tried,))
WORTH = Section(name="worth", heading="What each choice is worth", intro=_intro_worth, tables=(build_worth,))
PARTS = Section(name="parts", heading="By class and by group", intro=_intro_parts, tables=(build_parts,))
THRESHOLD = Section(
    name="threshold",
    heading="The threshold",
    intro=_intro_threshold,
    tables=(build_threshold, build_group_threshold),
)

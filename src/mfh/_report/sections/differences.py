"""What each comparison shows: the student of the focused teacher against every other student."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure

from mfh._report import style, wording
from mfh._report.section import Picture, Section, Summary
from mfh._report.view import MAX_DOTS, StudyView, agree
from mfh._report.wording import interval, plural, signed
from mfh.arms import ARMS, BASELINE, CHOSEN, FOCUSING, HEADLINE, SEARCHED, STACK, Question
from mfh.results import Comparison

OPEN = "Open: these fits do not show which of the two is better."
WHY_OPEN = {
    "one fit": "Open: one fit shows nothing.",
    "few units": "Open: one or two groups show nothing.",
    "no whole repeat": "Open: fits failed, and no repeat has all its folds.",
    "equal": "Open: all fits differ by the same amount, or in too few samples, so the spread is unknown.",
}
"""What a comparison without an interval or p-value shows, by its `reason`."""
EXPLORATORY = " This is exploratory: a declared question before this one was not answered with yes."
UNPLANNED = " This is exploratory: the repeats were added after the planned look at the data."

TEMPLATE = """
{% macro listed(rows) %}
<ol class="controls">
{% for row in rows %}
<li class="{{ row.reading }}">
<h3><code>{{ row.name }}</code>
{% if row.ratio is not none %} <small>at ratio {{ "%g"|format(row.ratio) }}</small>{% endif %}
{% if row.question %} <em>declared, question {{ row.question }}</em>{% endif %}</h3>
<p class="difference">{{ row.difference|signed(s.digits + 1) }}
{% if row.low is not none %}
 <small>points, {{ row.low|interval(row.high, s.digits + 1, sign=true) }}</small>
{% endif %}</p>
<p class="question">{{ row.asks|code }}</p>
<p class="reading">{{ row.meaning|code }}</p>
</li>
{% endfor %}
</ol>
{% endmacro %}
{{ listed(s.differences) }}
{% if s.focusing %}
<h3>Does focusing the {{ s.source }} teacher help?</h3>
<p>{{ s.focusing_words|code }}</p>
{{ listed(s.focusing) }}
{% endif %}
"""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the comparisons of the headline arm with each other arm, and what each of them shows.

    `focusing` has those of `general` with its controls where another arm is the headline.
    """
    return {
        "differences": [_row(view, row) for row in select(view)],
        "focusing": [_row(view, row) for row in select_focusing(view)],
        "focusing_words": f"Here `{HEADLINE}{CHOSEN}` is compared with its controls, which learn from the "
        f"{view.source} teacher with nothing removed, with channels removed by its own importance, and with "
        "softer outputs.",
    }


def select(view: StudyView) -> list[Comparison]:
    """Return one comparison of the headline arm with each other arm: at chosen ratios if there is one.

    Otherwise it is the one at the ratio that is closest to the one at which arms are shown.
    """
    found: dict[str, tuple[tuple[int, float], Comparison]] = {}
    for row in view.comparisons:
        name = wording.base(row.b)
        if wording.base(row.a) != view.head or name == view.head:
            continue
        if view.head == STACK and view.arm(name).control:  # a control of `general`, not of the stack
            continue
        distance = abs((row.ratio or 0.0) - (view.ratio or 0.0)) if row.ratio is not None else 0.0
        preference = (0 if row.ratio is None else 1, distance)
        if name not in found or preference < found[name][0]:
            found[name] = (preference, row)
    return [found[name][1] for name in sorted(found, key=view.rank)]


def select_focusing(view: StudyView) -> list[Comparison]:
    """Return the comparisons of `general` with its controls, where `general` is not the headline arm."""
    if view.head != STACK:
        return []
    return [row for row in view.comparisons if row.question == FOCUSING]


def gain_of(summary: Summary) -> Mapping[str, Any] | None:
    """Return the comparison with the arm that learns from labels alone; None where there is none."""
    return next((row for row in summary["differences"] if row["name"] == BASELINE), None)


def _row(view: StudyView, comparison: Comparison) -> dict[str, Any]:
    row = asdict(comparison)
    name = wording.base(comparison.b)
    question = _question(view, wording.base(comparison.a), name)
    code = read(row, view.metric.margin, higher_is_better=view.metric.higher_is_better)
    return row | {
        "name": name,
        "asks": question.asks,
        "reading": code,
        "meaning": wording.of_task(explain(row, code, question, unplanned=view.exploratory), view.alike),
        "drawn": view.arm(name).output != "broken",
        "dots": _per_fit(view, comparison),
    }


def _question(view: StudyView, head: str, name: str) -> Question:
    """Return what the comparison of `head` with an arm asks.

    The questions of arms are those of `general`, and where labels are missing those of `stack`.
    """
    if head == HEADLINE and view.head == STACK:
        return ARMS.get(name, view.arm(name)).question
    if head == HEADLINE or name == BASELINE or (head in (STACK, SEARCHED) and view.arm(name).question.asks):
        return view.arm(name).question
    return Question(
        asks=f"Is it better than `{name}`?",
        better=f"Yes: `{name}` does worse.",
        same=f"No: `{name}` does as well.",
        worse=f"No: `{name}` does better.",
    )


def read(row: Mapping[str, Any], zone: float | int, *, higher_is_better: bool = True) -> str:
    """Return what a paired difference shows: `better`, `worse`, `same`, `open` or `single`.

    It is `same` where the interval lies inside +-`zone`, `single` where there is but one fit, and `open`
    where the spread is unknown (no p-value).
    """
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return "single" if row["n"] <= 1 else "open"
    if row["p"] is None:
        return "open"
    if low > 0 or high < 0:
        return "better" if (low > 0) == higher_is_better else "worse"
    return "same" if -zone <= low and high <= zone else "open"


def explain(row: Mapping[str, Any], code: str, question: Question, *, unplanned: bool = False) -> str:
    """Return what a comparison with the outcome `code` means, in a sentence.

    Args:
        row: the comparison.
        code: what it shows; see `read`.
        question: what it asks.
        unplanned: whether the look at the study was not a planned one.
    """
    if code == "single":
        return WHY_OPEN["one fit"]
    if code == "open":
        unknown = "equal" if row["low"] is not None and row["p"] is None else row["reason"]
        return WHY_OPEN.get(unknown, OPEN)
    text: str = getattr(question, code)
    unasked = row["question"] is not None and row["shown"] is None
    return text + (UNPLANNED if unplanned else EXPLORATORY) if text and unasked and code != "same" else text


def _per_fit(view: StudyView, row: Comparison) -> list[float]:
    """Return the difference in each fit; nothing where they do not belong to the mean of the study."""
    found = {(arm["arm"], arm["ratio"]): arm["fits"] for arm in view.rows}
    a, b = (found.get((arm, row.ratio)) or found.get((arm, None)) or {} for arm in (row.a, row.b))
    differences = [a[fit] - b[fit] for fit in a if fit in b]
    return differences[:MAX_DOTS] if agree(differences, row.difference) else []


def _draw(summary: Summary) -> Figure | None:
    """Draw the headline arm minus every other arm, with intervals; filled if a question is answered yes."""
    rows = _drawn(summary)
    if not rows:
        return None
    figure, (ax,) = style.canvas(0.8 + 0.29 * len(rows))
    style.draw_differences(ax, rows, [bool(row["shown"]) for row in rows], zone=summary["zone"])
    labels = [style.label_arm(row["name"], row["ratio"]) for row in rows]
    style.name_rows(ax, labels, [signed(row["difference"], summary["digits"]) for row in rows])
    side = "right" if summary["higher_is_better"] else "left"
    ax.set_xlabel(f"points; {side} of 0, {summary['head']} is better")
    return figure


def _drawn(summary: Summary) -> list[Mapping[str, Any]]:
    """Return the rows of the figure; `broken` is so much worse that the others could not be told apart."""
    return [row for row in summary["differences"] if row["difference"] is not None and row["drawn"]]


def _caption(summary: Summary) -> str:
    rows, head = summary["differences"], summary["head"]
    bars = f" with its {summary['interval_name']}" if any(row["low"] is not None for row in rows) else ""
    declared = any(row["question"] is not None for row in rows)
    filled = " Filled: declared questions that are answered with yes, in their order." if declared else ""
    dots = " Dots: the difference in each fit." if any(row["dots"][1:] for row in rows) else ""
    left_out = [row for row in rows if not row["drawn"] and row["difference"] is not None]
    far = [f"{row['name']} ({signed(row['difference'], summary['digits'])})" for row in left_out]
    return (
        f"The student taught by {summary['teacher']} ({head}) minus the student of the arm on the left: mean "
        f"of {plural(summary['num_fits'], 'fit')}{bars}.{dots}{filled} Shaded: {zone_words(summary)}."
        f"{not_drawn(far)}"
    )


def not_drawn(names: Sequence[str]) -> str:
    """Return a sentence about what a figure leaves out; empty where that is nothing."""
    return f" Not drawn, being far away: {wording.sequence(names)}." if names else ""


def zone_words(summary: Summary) -> str:
    """Return the zone of no effect in words."""
    zone = f"{summary['zone']:g}"
    return f"up to {zone} {'point' if zone == '1' else 'points'}, which counts as no difference"


def _describe(summary: Summary) -> str:
    parts = []
    for row in summary["differences"]:
        ends = interval(row["low"], row["high"], summary["digits"], sign=True)
        ends = "" if ends == wording.NOTHING else f" ({ends})"
        parts.append(f"{row['name']} {signed(row['difference'], summary['digits'])}{ends}")
    return f"Differences in points between {summary['head']} and each other arm: " + "; ".join(parts) + "."


def _intro(summary: Summary) -> str:
    return (
        "A gain can have many causes. Each comparison below tests one of them. Only where "
        f"`{summary['head']}` is better than the other arm, that cause is ruled out."
    )


PICTURE = Picture(name="differences", draw=_draw, caption=_caption, describe=_describe)
SECTION = Section(
    name="controls",
    heading="What each comparison shows",
    summarize=summarize,
    intro=_intro,
    pictures=(PICTURE,),
    template=TEMPLATE,
    is_shown=lambda summary: bool(summary["differences"]),
)

"""The sections of the page of a Gaussian experiment: title and figures, notes, numbers."""

from typing import Any

from mfh._report.section import Section, Summary
from mfh._report.tables import Table, mappings
from mfh.results import GaussianResult

TITLES: dict[str, str] = {
    "fig2": "Does a larger shared part make a better teacher? (Figure 2)",
    "fig3": "Is a more accurate teacher a better teacher? (Figure 3)",
    "table2": "Does a teacher that uses only shared channels teach better? (Table 2)",
    "regime": "When does focusing a teacher pay?",
}
HEAD_TEMPLATE = """
<header>
<p class="kicker">{{ page.kicker }}</p>
<h1>{{ s.title }}</h1>
{% if s.headline %}
<p class="lead">{{ s.headline|code }}</p>
{% endif %}
{% for p in drawn_before %}
<figure class="paper">
<div class="scroll" tabindex="0" role="region" aria-label="{{ p.name }}">
<img src="{{ p.uri }}" alt="{{ p.name }}: drawn from the numbers in the table below">
</div>
{% if drawn_before|length > 1 %}<figcaption>{{ p.name }}</figcaption>{% endif %}
</figure>
{% endfor %}
</header>
"""
NOTES_TEMPLATE = """
<ul>
{% for note in s.notes %}
<li>{{ note|code }}</li>
{% endfor %}
</ul>
"""


def _summarize_head(result: GaussianResult, _: Summary) -> dict[str, Any]:
    notes = [str(note) for note in result.notes]
    return {
        "title": TITLES.get(result.figure, f"Gaussian data: {result.figure or 'a run'}"),
        "headline": notes[0] if notes else "",
        "notes": notes[1:],
    }


def _summarize_numbers(result: GaussianResult, _: Summary) -> dict[str, Any]:
    return {
        "rows": [dict(row) for row in result.rows],
        "differences": [dict(row) for row in result.differences],
    }


def _build_rows(summary: Summary) -> Table | None:
    return mappings("rows", "The experiment", summary["rows"])


def _build_differences(summary: Summary) -> Table | None:
    return mappings("differences", "Differences a - b in points, paired by run", summary["differences"])


HEAD = Section(name="answer", summarize=_summarize_head, template=HEAD_TEMPLATE)
NOTES = Section(
    name="notes",
    heading="What the numbers show",
    template=NOTES_TEMPLATE,
    is_shown=lambda summary: bool(summary["notes"]),
)
NUMBERS = Section(
    name="numbers",
    heading="Numbers",
    summarize=_summarize_numbers,
    tables=(_build_rows, _build_differences),
    is_shown=lambda summary: bool(summary["rows"]),
)

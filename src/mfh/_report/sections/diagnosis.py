"""What was found before any student was trained: gamma, what the modalities share, and measures beside it."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from mfh._report.section import Picture, Section, Summary
from mfh._report.style import INK, canvas
from mfh._report.tables import Table, mappings
from mfh._report.venn import apart, circles
from mfh._report.view import StudyView
from mfh._report.wording import interval, number, percent, shorten
from mfh._system.files import plain

Rows = list[dict[str, Any]]
TEXT_WIDTH = 0.42
"""Width of a percentage in the figure, where the teacher's circle has the radius 1."""

TEMPLATE = """
{% set d = s.diagnosis %}
{% if d.sentence %}<p>{{ d.sentence }}</p>{% endif %}
{% if d.verdict %}
<p>The verdict before any student was trained: <strong>{{ d.verdict }}</strong>
{%- if d.probability is not none %} (probability {{ "%.2f"|format(d.probability) }}){% endif %}.</p>
{% endif %}
{% if d.note %}<p class="aside">{{ d.note }}</p>{% endif %}
{% if d.reasons %}<ul>{% for reason in d.reasons %}<li>{{ reason|code }}</li>{% endfor %}</ul>{% endif %}
<div class="pair">
{{ picture("venn") }}
<div>
{{ grid("companions") }}
{{ grid("pilot") }}
</div>
</div>
"""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return the diagnosis of a study, ready to be shown; empty where there is none."""
    return {"diagnosis": describe(plain(view.result.diagnosis))}


def describe(diagnosis: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `diagnosis` of a result, ready to be shown; empty where there is none.

    Args:
        diagnosis: `gamma` (`estimate`, `low`, `high`, `between`, `within`, all shares of what decides the
            teacher's outputs), in it `venn`, where the data allow with `alpha`, `beta` and `gamma` (what only
            the teacher's, only the student's modality and both have, as shares of all that decides in either)
            and a `note`; `verdict`, `probability`, `reasons`, `advice` with `sentences`; `companions`; and
            `pilot`, its comparisons.
    """
    gamma = diagnosis.get("gamma") or {}
    estimate = gamma.get("estimate")
    venn = gamma.get("venn") or {}
    found: dict[str, Any] = {
        "gamma": dict(gamma),
        "shares": None,
        "sentence": "",
        "verdict": diagnosis.get("verdict"),
        "probability": diagnosis.get("probability"),
        "reasons": [str(reason) for reason in diagnosis.get("reasons") or ()],
        "advice": [str(advice) for advice in (diagnosis.get("advice") or {}).get("sentences") or ()],
        "teacher": dict(diagnosis.get("teacher") or {}),
        "companions": _rows(diagnosis.get("companions")),
        "pilot": _rows(diagnosis.get("pilot")),
        "note": venn.get("note") or "",
    }
    if estimate is None:
        return found if diagnosis else {}
    shared = min(max(float(estimate), 0.0), 1.0)
    beta = venn.get("beta")
    found["shares"] = {
        "shared": shared,
        "teacher_only": 1.0 - shared,
        "student_only": None if beta is None else float(beta) / max(1.0 - float(beta), 1e-9),
    }
    ends = interval(gamma.get("low"), gamma.get("high"), 2)
    given = f" (95% interval {ends})" if gamma.get("low") is not None else ""
    found["sentence"] = (
        f"The student's modality has {percent(shared)} of what decides the teacher's outputs: gamma is "
        f"{number(estimate, 2)}{given}."
    )
    return found


def _rows(value: Any) -> Rows:
    """Return mappings as rows of a table, whatever shape they come in."""
    if isinstance(value, Mapping):
        return [
            {"what": name, **(item if isinstance(item, Mapping) else {"value": item})}
            for name, item in value.items()
        ]
    return [dict(row) for row in value or () if isinstance(row, Mapping)]


def build_companions(summary: Summary) -> Table | None:
    """Return the measures beside gamma."""
    caption = "Other measures, and what shuffled pairs give"
    return mappings("companions", caption, summary["diagnosis"].get("companions") or ())


def build_pilot(summary: Summary) -> Table | None:
    """Return the short trainings of a diagnosis."""
    caption = "A pilot: short trainings inside the training data"
    return mappings("pilot", caption, summary["diagnosis"].get("pilot") or ())


def draw_venn(summary: Summary) -> Figure | None:
    """Draw what decides the teacher's outputs, and how much of it the student can see too."""
    shares = summary["diagnosis"].get("shares")
    if not shares:
        return None
    figure, (ax,) = canvas(2.7)
    shared, student_only = shares["shared"], shares["student_only"]
    radius_a = 1.0  # the teacher's decisive part has the area pi
    own = student_only if student_only is not None else shares["teacher_only"]
    radius_b = math.sqrt(max(shared + own, 1e-6))
    names = tuple(shorten(summary["modalities"][role], 16) for role in ("teacher", "student"))
    distance = apart(math.pi * shared, radius_a, radius_b)
    a, b = circles(ax, radius_a, radius_b, distance, (names[0], names[1]), known=student_only is not None)
    left = max(b.center[0] - radius_b, a.center[0] - radius_a)
    right = min(a.center[0] + radius_a, b.center[0] + radius_b)
    start, end = a.center[0] - radius_a, b.center[0] + radius_b
    if shared > 0.02:
        ax.text((left + right) / 2, 0, percent(shared), ha="center", va="center", color=INK)
    for share, inner, outer, side in (
        (shares["teacher_only"], left, start, "right"),
        (student_only, right, end, "left"),
    ):
        if share is not None and share > 0.02:
            fits = abs(outer - inner) > TEXT_WIDTH
            x, align = ((inner + outer) / 2, "center") if fits else (outer, side)
            ax.text(x, 0, percent(share) if fits else f" {percent(share)} ", ha=align, va="center", color=INK)
    height = 1.12 * max(radius_a, radius_b)
    ax.set(xlim=(-2.7, 2.7), ylim=(-height, height))
    return figure


def _caption(summary: Summary) -> str:
    known = summary["diagnosis"]["shares"]["student_only"] is not None
    size = (
        "" if known else " Dashed: how much only the student sees is unknown, so the circles have one size."
    )
    return (
        f"What decides the teacher's outputs, and what the student can see of it; areas are to scale.{size}"
    )


PICTURE = Picture(
    name="venn", draw=draw_venn, caption=_caption, describe=lambda summary: summary["diagnosis"]["sentence"]
)
SECTION = Section(
    name="diagnosis",
    heading="What the modalities share",
    summarize=summarize,
    pictures=(PICTURE,),
    tables=(build_companions, build_pilot),
    template=TEMPLATE,
    is_shown=lambda summary: bool(summary["diagnosis"]),
)

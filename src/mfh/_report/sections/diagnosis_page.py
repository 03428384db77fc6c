"""The sections of the page of `mfh diagnose`: answer, reasons, measures beside gamma, pilot."""

from typing import Any

from mfh._report.section import Section, Summary
from mfh._report.sections import (
    answer,
    arms,
    checks,
    comparisons,
    curves,
    differences,
    labels,
    saliency,
    teachers,
)
from mfh._report.sections import diagnosis as shared
from mfh._report.sections.differences import gain_of
from mfh._report.view import StudyView
from mfh._report.wording import interval, number, percent, signed

ANSWERS = {
    "help": "Probably yes",
    "hurt": "Probably not: it would do harm",
    "no-effect": "Probably it makes no difference",
    "abstain": "Undecided",
}
PROBABILITIES = {"hurt": "Probability of a loss", "no-effect": "Probability of less than a point"}
"""What the probability of a verdict is of, where it is not of a gain."""
CODES = ("MFH104", "MFH105", "MFH106", "MFH107")
"""The checks of a diagnosis; the others are about the fits and ratios of a study."""

HEAD = (
    """
<header class="first">
<div class="answer">
"""
    + answer.HEAD
    + """
</div>
{{ picture("venn") }}
</header>
"""
)
REASONS = """
{% set d = s.diagnosis %}
{% if d.sentence %}<p>{{ d.sentence }}</p>{% endif %}
{% if d.reasons %}<ul>{% for reason in d.reasons %}<li>{{ reason|code }}</li>{% endfor %}</ul>{% endif %}
{% if d.advice %}
<h3>What to try</h3>
<ul>{% for advice in d.advice %}<li>{{ advice|code }}</li>{% endfor %}</ul>
{% endif %}
{% for c in s.checks %}
<p><b>{{ c.title }}</b> <a href="#about-{{ c.code }}"><code>{{ c.code }}</code></a> {{ c.text|code }}</p>
{% endfor %}
{% if s.checks %}{{ all_checks() }}{% endif %}
"""
PILOT_TEMPLATE = """
<div class="pair">
{{ picture("differences") }}
{{ picture("arms") }}
</div>
{{ grid("comparisons") }}
{{ grid("arms") }}
{{ grid("teachers") }}
"""


def _summarize_head(view: StudyView, summary: Summary) -> dict[str, Any]:
    """Return question and answer of a diagnosis."""
    known = labels.summarize(view, summary) | dict(summary)
    values, names = answer.summarize(view, known), summary["modalities"]
    return values | {
        "title": f"Is a teacher that sees {names['teacher']} likely to make a better student that only sees "
        f"{names['student']}?",
        "headline": ANSWERS.get(str(summary["diagnosis"].get("verdict")), "No verdict") + ".",
        "facts": _facts(summary),
    }


def _facts(summary: Summary) -> list[dict[str, str]]:
    found = summary["diagnosis"]
    gamma, teacher, gain = found.get("gamma") or {}, found.get("teacher") or {}, gain_of(summary)
    facts = []
    if gamma.get("estimate") is not None:
        ends = interval(gamma.get("low"), gamma.get("high"), 2)
        facts.append(_fact("Shared (gamma)", number(gamma["estimate"], 2), ends))
    if found.get("probability") is not None:
        label = PROBABILITIES.get(str(found.get("verdict")), "Probability of a gain")
        facts.append(_fact(label, percent(found["probability"]), ""))
    if gain is not None:
        ends = interval(gain["low"], gain["high"], summary["digits"], sign=True)
        value = f"{signed(gain['difference'], summary['digits'])} points"
        facts.append(_fact("Gain in the pilot", value, f"95% interval {ends}"))
    if teacher.get("accuracy") is not None:
        unit = summary["unit"]
        note = f"the student alone {number(teacher.get('student_accuracy'))}{unit}"
        facts.append(_fact("The teacher, on held-out data", f"{number(teacher['accuracy'])}{unit}", note))
    return facts


def _fact(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def _summarize_pilot(view: StudyView, summary: Summary) -> dict[str, Any]:
    """Return what the sections of a study return for the pilot's students and teachers."""
    values = dict(summary)
    for section in (curves, teachers, saliency, comparisons, arms, differences):
        values |= section.SECTION.summarize(view, values)
    return values


HEAD_SECTION = Section(name="answer", summarize=_summarize_head, pictures=(shared.PICTURE,), template=HEAD)
REASONS_SECTION = Section(
    name="why",
    heading="Reasons",
    summarize=lambda _, summary: checks.look(summary, CODES),
    template=REASONS,
    is_shown=lambda _: True,
)
COMPANIONS = Section(
    name="companions",
    heading="Other measures",
    summarize=shared.summarize,
    intro=lambda _: (
        "Each measure is listed with what shuffled pairs give: a value inside that range tells nothing about "
        "what the modalities share."
    ),
    tables=(shared.build_companions,),
)
PILOT = Section(
    name="pilot",
    heading="The pilot",
    summarize=_summarize_pilot,
    intro=lambda _: (
        "The pilot trains students for a short time in folds of the training data. Fits on this page are "
        "these folds."
    ),
    pictures=(differences.PICTURE, arms.PICTURE),
    tables=(arms.build, comparisons.build, teachers.build),
    template=PILOT_TEMPLATE,
)

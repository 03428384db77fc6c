"""The head of a study's page: question, answer, size of the gain; for readers new to the hypothesis."""

from collections.abc import Mapping, Sequence
from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.sections import labels
from mfh._report.sections.differences import gain_of
from mfh._report.view import StudyView, baseline_mean
from mfh._report.wording import interval, number, plural, sequence, signed
from mfh.arms import ARMS, BASELINE, CHOSEN, DEFAULT, FOCUSING, HEADLINE, SEARCHED, STACK, Arm
from mfh.comparing import focusing_controls
from mfh.results import NO_VERDICT

ANSWERS: dict[str, tuple[str, str, str]] = {
    "help": ("\N{BLACK UP-POINTING TRIANGLE}", "Yes. The teacher helps", "Yes. The teachers help"),
    "hurt": ("\N{BLACK DOWN-POINTING TRIANGLE}", "No. The teacher does harm", "No. The teachers do harm"),
    "no-effect": ("=", "No. The teacher makes no difference", "No. The teachers make no difference"),
    "abstain": (
        "?",
        "Undecided. These runs do not show whether the teacher helps",
        "Undecided. These runs do not show whether the teachers help",
    ),
    "none": ("?", "No verdict", "No verdict"),
}
"""Verdict -> its symbol, and the headline of one teacher and of a stack of several."""

HEAD = """
<p class="kicker">{{ page.kicker }}</p>
<h1>{{ s.title }}</h1>
<p class="verdict {{ s.verdict }}"><span aria-hidden="true">{{ s.symbol }}</span> {{ s.headline }}</p>
{% if s.sentence %}
<p class="lead">{{ s.sentence|code }}</p>
{% endif %}
<dl class="facts">
{% for fact in s.facts %}
<div>
<dt>{{ fact.label }}</dt>
<dd><strong>{{ fact.value }}</strong>{% if fact.note %}<small>{{ fact.note }}</small>{% endif %}</dd>
</div>
{% endfor %}
</dl>
"""

TEMPLATE = (
    """
<header class="first">
<div class="answer">
"""
    + HEAD
    + """
<p class="asked"><b>The question.</b> {{ s.asked|code }}</p>
</div>
<div>
{{ picture("differences") }}
{{ picture("label-curve") }}
</div>
</header>
"""
)


def summarize(view: StudyView, summary: Summary) -> dict[str, Any]:
    """Return question, answer, size of the gain, and how sure it is."""
    names, verdict = summary["modalities"], view.result.verdict
    code = "none" if verdict == NO_VERDICT else verdict.verdict
    stacked = summary["head"] in (STACK, SEARCHED)
    symbol, *headlines = ANSWERS[code]
    headline = headlines[stacked]
    if code == "no-effect" and getattr(view.result, "search", {}).get("untaught"):
        headline = "No. No teacher was clearly better, so none was taken"
    gain = gain_of(summary)
    if gain and gain["difference"] is not None and code in ("help", "hurt"):
        headline += f", by {number(abs(gain['difference']), summary['digits'])} points"
    facts = (
        _gain(summary, gain),
        _levels(summary),
        _sure(summary, gain),
        *labels.facts(summary),
        _focusing(view, summary),
    )
    asked = "Do teachers that also see" if stacked else "Does a teacher that sees"
    return {
        "title": f"{asked} {names['teacher']} make a better student that only sees {names['student']}?",
        "verdict": code,
        "symbol": symbol,
        "headline": f"{headline}.",
        "sentence": "" if code == "none" and view.comparisons else verdict.sentence,
        "asked": _asked(view, summary),
        "facts": [fact for fact in facts if fact],
    }


def _asked(view: StudyView, summary: Summary) -> str:
    names, data = summary["modalities"], view.data
    size = plural(data["num_samples"], "sample") if data.get("num_samples") else "samples"
    classes = data.get("classes") or []
    kinds = ""
    if classes and data.get("task") in wording.OUTPUTS:
        kinds = f", with {plural(len(classes), wording.OUTPUTS[data['task']])}"
    elif classes:
        kinds = f", with {plural(len(classes), 'class', 'classes')}"
    units = "" if view.metric.name == "accuracy" else f" Points are {summary['points']}."
    return (
        f"Two modalities, {names['teacher']} and {names['student']}, describe the same {size}{kinds}. "
        f"In use, only {names['student']} is available. {_trained(summary)} "
        f"{wording.title(summary['metric'])} is measured on test data, which were used for no choice.{units}"
    )


def _trained(summary: Summary) -> str:
    names, head = summary["modalities"], summary["head"]
    alone = f"a student that sees {names['student']} was trained"
    if not any(wording.base(row["arm"]) == head for row in summary["arms"]):
        return f"So far {alone} without a focused teacher."
    if head == SEARCHED:
        return (
            f"So two searches with the same budget looked for the best student that sees {names['student']}: "
            f"one without a teacher (`{BASELINE}`), one with teachers that also see {names['teacher']} "
            f"(`{head}`)."
        )
    if head == STACK:
        return (
            f"So {alone} twice: on the labels alone (`{BASELINE}`), and on all pairs, labelled or not, to "
            f"imitate a stack of teachers that also see {names['teacher']} (`{head}`)."
        )
    twice = f"So {alone} twice: on the labels alone (`{BASELINE}`), and to imitate a teacher that sees"
    if head != HEADLINE:
        return f"{twice} {names['teacher']} (`{head}`)."
    return (
        f"{twice} {names['teacher']}, reduced to the channels that {names['student']} can follow: a focused "
        f"teacher (`{head}`)."
    )


def _gain(summary: Summary, gain: Mapping[str, Any] | None) -> dict[str, str] | None:
    if gain is None:
        return None
    ends = interval(gain["low"], gain["high"], summary["digits"], sign=True)
    several = summary["head"] in (STACK, SEARCHED)
    return {
        "label": f"Gain from the teacher{'s' * several}",
        "value": f"{signed(gain['difference'], summary['digits'])} points",
        "note": "no interval" if ends == wording.NOTHING else f"{summary['interval_name']} {ends}",
    }


def _levels(summary: Summary) -> dict[str, str] | None:
    means = {row["arm"]: row["mean"] for row in summary["arms"] if row["main"]}
    before, head = baseline_mean(summary["arms"]), summary["head"]
    after = means.get(head + CHOSEN, means.get(head))
    if before is None or after is None:
        return None
    levels = [f"{number(mean, summary['digits'])}{summary['unit']}" for mean in (before, after)]
    return {
        "label": "The student's test " + summary["metric"],
        "value": " \N{RIGHTWARDS ARROW} ".join(levels),
        "note": f"labels alone \N{RIGHTWARDS ARROW} with {summary['teacher']}",
    }


def _sure(summary: Summary, gain: Mapping[str, Any] | None) -> dict[str, str] | None:
    count = summary["num_fits"]
    if not count:
        return None
    fits = {row["arm"]: row["fits"] for row in summary["arms"] if row["main"]}
    taught = fits.get(gain["a"] if gain else "", {})
    pairs = [(taught[fit], value) for fit, value in fits.get(BASELINE, {}).items() if fit in taught]
    ahead = sum(a > b if summary["higher_is_better"] else a < b for a, b in pairs)
    notes = []
    if summary["num_folds"] > 1:
        notes.append(f"{plural(summary['num_repeats'], 'repeat')} of {summary['num_folds']} folds")
    if pairs and count > 1:
        notes.append(f"the taught student was ahead in {ahead} of {len(pairs)}")
    return {"label": "Repetitions", "value": plural(count, "fit"), "note": "; ".join(notes)}


def _focusing(view: StudyView, summary: Summary) -> dict[str, str] | None:
    """Return whether the focusing made the difference, and which controls it does not beat."""
    if summary["head"] != HEADLINE and not summary["focusing"]:
        return None
    focusing = view.result.verdict.focusing
    rows = {row["name"]: row for row in summary["focusing"] or summary["differences"]}
    needed = _controls(list(view.arms.values()), view.source)
    left_out = _controls([ARMS[name] for name in DEFAULT], view.source)
    compared = [name for name in needed if name in rows]
    unbeaten = [name for name in compared if rows[name]["reading"] != "better"]
    absent = [name for name in dict.fromkeys((*needed, *left_out)) if name not in rows]
    if focusing:
        value, note = "Yes", "it beats every control: " + sequence(compared or needed)
    elif focusing is False:
        value = "Not shown"
        asked = all(row["shown"] is not None for row in rows.values() if row["question"] == FOCUSING)
        note = "it does not beat every control" if asked else "an earlier question was not answered with yes"
        note = f"not better than {sequence(unbeaten)}" if unbeaten else note
    else:
        value = "Open"
        note = f"not compared: {sequence(absent)}" if compared and absent else "too few fits to tell"
    return {"label": "Does focusing itself help?", "value": value, "note": note}


def _controls(arms: Sequence[Arm], source: str) -> list[str]:
    return [wording.base(name) for name, _ in focusing_controls(arms, source)]


SECTION = Section(name="answer", summarize=summarize, template=TEMPLATE)

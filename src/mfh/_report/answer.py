"""The first screen: question, answer, by how much, how sure; for a reader new to the hypothesis."""

from collections.abc import Mapping
from typing import Any

from mfh._report import wording
from mfh._report.wording import interval, number, plural, sequence, signed
from mfh.results import StudyResult

NEEDED = ("joint", "important", "softened", "mismatched")  # what focusing must beat to be what helped

ANSWERS: dict[str, tuple[str, str]] = {
    "help": ("\N{BLACK UP-POINTING TRIANGLE}", "Yes. The teacher helps"),
    "hurt": ("\N{BLACK DOWN-POINTING TRIANGLE}", "No. The teacher does harm"),
    "no-effect": ("=", "No. The teacher makes no difference"),
    "abstain": ("?", "These runs cannot say"),
    "none": ("?", "No verdict"),
}


def first_screen(result: StudyResult, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Question, answer, by how much, how sure: for a reader who knows nothing of the hypothesis."""
    names = summary["modalities"]
    code = result.verdict.verdict if result.verdict else "none"
    symbol, word = ANSWERS.get(code, ANSWERS["none"])
    gain = next((row for row in summary["differences"] if wording.base(row["b"]) == "no-kd"), None)
    if gain and gain["difference"] is not None and code in ("help", "hurt"):
        word += f", by {number(abs(gain['difference']))} points"
    return {
        "title": f"Does a teacher that sees {names['teacher']} make a better student "
        f"that only sees {names['student']}?",
        "verdict": code,
        "symbol": symbol,
        "headline": f"{word}.",
        "sentence": result.verdict.sentence if result.verdict else "",
        "warnings": _warnings(result),
        "asked": _asked(summary),
        "facts": [fact for fact in (_gain(gain), _levels(summary), _sure(summary, gain)) if fact]
        + [_focusing(result, summary)],
    }


def _warnings(result: StudyResult) -> list[str]:
    """What the study notes beside the outcome of each comparison, which the page states in full."""
    return [
        text for text in (result.verdict.reasons if result.verdict else ()) if not text.startswith("Against ")
    ]


def _asked(summary: Mapping[str, Any]) -> str:
    names, data = summary["modalities"], summary["data"]
    size = plural(data["num_samples"], "sample") if data.get("num_samples") else "samples"
    classes = data.get("classes") or []
    kinds = ""
    if classes and data.get("task") in wording.OUTPUTS:
        kinds = f", with {plural(len(classes), wording.OUTPUTS[data['task']])}"
    elif classes:
        kinds = f", with {plural(len(classes), 'class', 'classes')}"
    return (
        f"Two modalities, {names['teacher']} and {names['student']}, show the same {size}{kinds}. In use, "
        f"only {names['student']} is there. {_trained(summary)} "
        f"{wording.title(summary['metric'])} is on test data, by which nothing was chosen."
    )


def _trained(summary: Mapping[str, Any]) -> str:
    names = summary["modalities"]
    alone = f"a student that sees {names['student']} was trained"
    if not any(wording.base(row["arm"]) == "general" for row in summary["arms"]):
        return f"So far {alone} without a focused teacher."
    return (
        f"So {alone} twice: on the labels alone (`no-kd`), and to imitate a teacher that sees "
        f"{names['teacher']}, reduced to the channels that {names['student']} can follow: a focused teacher "
        "(`general`)."
    )


def _gain(gain: Mapping[str, Any] | None) -> dict[str, str] | None:
    if gain is None:
        return None
    has_interval = gain["low"] is not None and gain["high"] is not None
    return {
        "label": "Gain from the teacher",
        "value": f"{signed(gain['difference'])} points",
        "note": f"95% interval {interval(gain['low'], gain['high'], sign=True)}"
        if has_interval
        else "no interval",
    }


def _levels(summary: Mapping[str, Any]) -> dict[str, str] | None:
    means = {row["arm"]: row["mean"] for row in summary["arms"] if row["main"]}
    focused = means.get("general (chosen)", means.get("general"))
    if means.get("no-kd") is None or focused is None:
        return None
    unit = summary["unit"]
    return {
        "label": "The student's test " + summary["metric"],
        "value": f"{number(means['no-kd'])}{unit} \N{RIGHTWARDS ARROW} {number(focused)}{unit}",
        "note": "labels alone \N{RIGHTWARDS ARROW} with the focused teacher",
    }


def _sure(summary: Mapping[str, Any], gain: Mapping[str, Any] | None) -> dict[str, str] | None:
    count = summary["num_seeds"]
    if not count:
        return None
    seeds = {row["arm"]: row["seeds"] for row in summary["arms"] if row["main"]}
    focused = seeds.get(gain["a"] if gain else "", {})
    pairs = [(focused[seed], value) for seed, value in seeds.get("no-kd", {}).items() if seed in focused]
    ahead = sum(a > b for a, b in pairs)
    note = f"the taught student was ahead in {ahead} of {len(pairs)}" if pairs and count > 1 else ""
    return {"label": "How often repeated", "value": plural(count, "seed"), "note": note}


def _focusing(result: StudyResult, summary: Mapping[str, Any]) -> dict[str, str]:
    """Whether it was the focusing that did it, and what stands against it."""
    verdict = result.verdict.focusing if result.verdict else None
    rows = {wording.base(row["b"]): row for row in summary["differences"]}
    unbeaten = [name for name in NEEDED if name in rows and rows[name]["reading"] != "better"]
    absent = [name for name in NEEDED if name not in rows]
    if verdict:
        asked = [name for name in NEEDED if name in rows] or list(NEEDED)
        value, note = "Yes", "it beats every control: " + sequence(asked)
    elif verdict is False:
        value = "Not shown"
        note = f"not better than {sequence(unbeaten)}" if unbeaten else "it does not beat every control"
    else:
        value = "Open"
        some_absent = 0 < len(absent) < len(NEEDED)
        note = f"not compared: {sequence(absent)}" if some_absent else "too few seeds to say"
    return {"label": "Does focusing itself help?", "value": value, "note": note}

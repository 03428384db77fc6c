"""What a model card says of results: over all fits, at a threshold, by class and by group."""

from collections.abc import Mapping
from typing import Any

from mfh._checks import one_line


def describe_results(info: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the section that says how good a student is; see `mfh._export.card.write_card`."""
    score, refit = facts["score"], facts.get("refit")
    lines = _means(facts)
    temperature, calibrates = info["calibration"]["temperature"], facts["calibrates"]
    way = f": `mfh {calibrates} --calibrate temperature` fits their probabilities" if calibrates else ""
    lines += [
        f"Scores are divided by the temperature {temperature:.3g}, fitted on samples that the student, or "
        "students like it, did not see."
        if temperature is not None
        else f"Scores are not calibrated{way}."
    ] * (info["task"] != "regression")
    if score["rescaled"] and not score["of_classes"]:
        divided = "not divided" if temperature is not None else "divided"
        lines += [f"The figures of {score['metric']} are of scores that are {divided} by a temperature."]
    if score["threshold"]:
        lines += _at_threshold(info, facts)
    others = {name: value for name, value in score["also"].items() if value == value}
    if others:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in others.items())
        whose = "of one student trained in this way" if refit else "of this student"
        how = ["calibrated by its own temperature"] if temperature is not None else []
        how += ["deciding at its threshold"] if score["threshold"] else []
        lines += [f"Other metrics {whose}{', ' if how else ''}{' and '.join(how)}: {shown}."]
    text = ["## Results", "", " ".join(lines), *_parts(score)]
    if score["by_group"] is None:
        text += ["", "The data have no groups, so nothing is known of how it does by group."]
    return "\n".join(text)


def _means(facts: Mapping[str, Any]) -> list[str]:
    """Return how good students like this one are, in sentences."""
    score, refit, recipe = facts["score"], facts.get("refit"), facts["recipe"]
    unit, lines = score["unit"], []
    if score["threshold"] and score["of_classes"]:
        lines += ["First without the threshold: each sample gets its likelier class."]
    if score["mean"] is not None:
        interval = (
            f" (95% interval {score['low']:.2f} to {score['high']:.2f})" if score["low"] is not None else ""
        )
        way = "trained in this way" if recipe is None else "that the same search found"
        lines += [
            f"Test {score['metric']} of students {way}: **{score['mean']:.2f}{unit}**{interval}"
            f", mean of {score['fits']} fits, each on samples that its training did not see."
        ]
    if refit:
        lines += ["The exported network was then trained on all samples, so none is left to test it on."]
        lines += _fewer_labels(facts)
    else:
        lines += [f"This student alone: {score['test']:.2f}{unit}."]
    if gain := score["gain"]:
        span = f" (95% interval {gain['low']:+.2f} to {gain['high']:+.2f})" if gain["low"] is not None else ""
        than = "a student without a teacher" + (", searched with the same budget" if recipe else "")
        lines += [f"Difference to {than}: {gain['difference']:+.2f} points{span}."]
    return lines


def _fewer_labels(facts: Mapping[str, Any]) -> list[str]:
    """Return that the tested students had another number of labels than the exported one, where it is so."""
    theirs, mine = facts["data"]["labelled"], facts["refit"]["labelled"]
    if not theirs or round(theirs) == mine:
        return []
    return [
        f"These figures are of students with {theirs:.0f} labels (mean of fits); this network had {mine}."
    ]


def _at_threshold(info: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return what students like this one do at their thresholds, in sentences."""
    score, threshold, at = facts["score"], info["threshold"], facts["score"]["threshold"]
    lines = [
        f"A sample counts as `{one_line(threshold['positive'])}` if its probability is "
        f"{threshold['probability']:.3g} or more (rule `{threshold['rule']}`, chosen on labelled samples "
        "that the student's like did not see)."
    ]
    lines += [
        "On test samples, students at thresholds that were chosen in the same way have "
        f"{_shares(at['mean'], score)}, means of {at['fits']} fits."
    ]
    if not facts.get("refit"):
        lines += [f"This student alone at its threshold: {_shares(at['alone'], score)}."]
    return lines


def _shares(row: Mapping[str, Any], score: Mapping[str, Any]) -> str:
    """Return precision, recall and cost, and the metric if it depends on the threshold, in words."""
    text = ", ".join(f"{name} {_number(row[name], 3)}" for name in ("precision", "recall"))
    own = "" if row["value"] is None else f", {score['metric']} {row['value']:.2f}{score['unit']}"
    return f"{text}{own} and a cost of {_number(row['cost'], 3)} for each sample"


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _parts(score: Mapping[str, Any]) -> list[str]:
    """Return the tables by class and by group."""
    text, at = [], score["threshold"]
    own = score["metric"] + (" at the threshold" if at and score["of_classes"] else "")
    right = "share that is right" + (" at the threshold" if at else "")
    for kind, many, name in (("class", "classes", right), ("group", "groups", own)):
        rows = score[f"by_{kind}"]
        if not rows:
            continue
        count = score["num_parts"][f"by_{kind}"]
        text += ["", f"### By {kind}", ""]
        text += [f"The {len(rows)} worst of {count} {many}:", ""] * (len(rows) < count)
        more = ("precision", "recall", "cost") if "recall" in rows[0] else ()
        text += [f"| {' | '.join((kind, 'test samples', name, *more))} |", "|---" * (3 + len(more)) + "|"]
        for row in rows:
            cells = [one_line(row["name"]), str(row["samples"]), f"{row['value']:.1f}"]
            text += [f"| {' | '.join((*cells, *(_number(row[key], 3) for key in more)))} |"]
    return text

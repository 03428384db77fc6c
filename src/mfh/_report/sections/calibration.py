"""Calibration: whether the probabilities of each arm's students are as sure as they are right."""

from typing import Any

from mfh._report import wording
from mfh._report.section import Section, Summary
from mfh._report.tables import Table, cell, table
from mfh._report.view import StudyView
from mfh._report.wording import interval, number
from mfh.arms import BASELINE, CHOSEN

METRICS = {
    "calibration-error": ("Calibration error, %", 1),
    "log-loss": ("Log-loss, nats", 3),
    "brier": ("Brier", 3),
}
"""Metrics of the table: heading, and digits after the point."""


def summarize(view: StudyView, _: Summary) -> dict[str, Any]:
    """Return calibration error, log-loss and Brier score of every arm, at its chosen ratio if it has any."""
    rows: dict[str, dict[str, Any]] = {}
    with_chosen = {row.arm.removesuffix(CHOSEN) for row in view.result.summary if row.arm.endswith(CHOSEN)}
    for row in view.of_loss(view.result.summary):
        shown = row.arm.endswith(CHOSEN) or (row.ratio is None and row.arm not in with_chosen)
        if row.metric in METRICS and shown and row.mean is not None:
            found = {"mean": row.mean, "low": row.low, "high": row.high}
            rows.setdefault(row.arm, {})[row.metric] = found
    temperatures = _temperatures(view)
    calibrated = view.result.config.get("calibrate") == "temperature"
    return {
        "calibration": {
            "arms": [
                {"arm": arm, "temperature": temperatures.get(wording.base(arm)), **rows[arm]}
                for arm in sorted(rows, key=view.rank)
            ],
            "calibrated": calibrated,
        }
    }


def _temperatures(view: StudyView) -> dict[str, float]:
    """Return the mean temperature that calibrates the students of each arm; at its chosen ratios."""
    found: dict[str, list[float]] = {}
    for record in view.of_loss(view.result.records):
        ratios = view.chosen(record.arm)
        if record.temperature is not None and (not ratios or ratios.get(record.seed) == record.ratio):
            found.setdefault(record.arm, []).append(record.temperature)
    return {arm: sum(values) / len(values) for arm, values in found.items()}


def build(summary: Summary) -> Table | None:
    """Return the table of all arms."""
    rows = []
    for row in summary["calibration"]["arms"]:
        cells = [cell(row["arm"])]
        for name, (_, digits) in METRICS.items():
            value = row.get(name)
            if value is None:
                cells.append(cell(wording.NOTHING))
            else:
                ends = interval(value["low"], value["high"], digits)
                cells.append(cell(number(value["mean"], digits), value["mean"], ends))
        cells.append(cell(number(row["temperature"], 2), row["temperature"]))
        rows.append(cells)
    columns = ("Arm", *(f"{heading} #" for heading, _ in METRICS.values()), "Temperature #")
    caption = (
        "Probabilities of the students on test data; less is better. Temperature: what the outputs must be "
        "divided by to fit labels that the students did not see, above 1 for students that are too sure"
    )
    return table("calibration", caption, columns, rows)


def _intro(summary: Summary) -> str:
    """Return how the calibration of the headline arm compares with that of the untaught student."""
    errors = {
        row["arm"]: row["calibration-error"]["mean"]
        for row in summary["calibration"]["arms"]
        if "calibration-error" in row
    }
    head = next((arm for arm in errors if wording.base(arm) == summary["head"]), None)
    text = (
        "A student is calibrated if, of the predictions that it gives a probability of 80%, 80% are right. "
    )
    if head is not None and BASELINE in errors:
        text += (
            f"The calibration error of `{wording.base(head)}` is {errors[head]:.1f} points, that of "
            f"`{BASELINE}` {errors[BASELINE]:.1f}. "
        )
    if summary["calibration"]["calibrated"]:
        return (
            text + "The outputs of every student were divided by its temperature (`--calibrate temperature`)."
        )
    fitted = any(row["temperature"] is not None for row in summary["calibration"]["arms"])
    what = "of a study or an export" if fitted else "of a study"
    return text + f"`--calibrate temperature` divides the outputs {what} by the temperature."


SECTION = Section(
    name="calibration", heading="Calibration", summarize=summarize, intro=_intro, tables=(build,)
)

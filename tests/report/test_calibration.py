"""Calibration on the page: one row for each arm, at its chosen ratio, and what the note says."""

from dataclasses import replace

import pytest

from mfh._report.pages import summarize
from mfh._report.sections.calibration import SECTION, build
from mfh.results import StudyResult, Summary


@pytest.fixture
def calibrated(make_study) -> StudyResult:
    study = make_study(seeds=2, ratios=(0.5,))
    rows = [
        Summary(arm, ratio, "calibration-error", 2, mean, 1.0, mean - 1, mean + 1)
        for arm, ratio, mean in (
            ("no-kd", None, 9.0), ("general", 0.5, 5.0), ("general (chosen)", None, 4.0),
            ("joint", None, 6.0),
        )
    ]  # fmt: skip
    rows.append(Summary("no-kd", None, "log-loss", 2, 0.5, 0.1, 0.4, 0.6))
    records = [replace(r, temperature=2.0 + r.seed if r.arm == "no-kd" else 1.0) for r in study.records]
    return replace(study, summary=[*study.summary, *rows], records=records)


def test_there_is_one_row_for_each_arm_at_its_chosen_ratio(calibrated) -> None:
    summary = summarize(calibrated)
    rows = {row["arm"]: row for row in summary["calibration"]["arms"]}
    assert set(rows) == {"no-kd", "joint", "general (chosen)"}
    assert rows["no-kd"]["temperature"] == pytest.approx(2.5)
    assert rows["general (chosen)"]["calibration-error"]["mean"] == 4.0
    table = build(summary)
    assert table is not None
    assert table["rows"][0][0]["text"] == "no-kd"


def test_the_note_compares_the_headline_arm_with_the_untaught_student(calibrated) -> None:
    note = SECTION.intro(summarize(calibrated))
    assert "The calibration error of `general` is 4.0 points, that of `no-kd` 9.0." in note
    assert "`--calibrate temperature` divides" in note
    done = replace(calibrated, config={**calibrated.config, "calibrate": "temperature"})
    assert "The outputs of every student were divided by its temperature" in SECTION.intro(summarize(done))


def test_a_study_without_probabilities_has_no_such_table(make_study) -> None:
    assert build(summarize(make_study(seeds=2, ratios=(0.5,)))) is None

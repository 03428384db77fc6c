"""What results look like as text."""

import numpy as np
from samples import make_paired
from torch import nn

import mfh
from mfh.results import GaussianResult, StudyResult

QUICK = mfh.StudyConfig(
    teacher="audio", student="image", resampling="splits", seeds=2, epochs=2, hidden=(8,), device="cpu"
)


def test_a_study_fits_on_a_screen() -> None:
    result = mfh.study(make_paired(), config=QUICK)
    lines = repr(result).splitlines()
    assert lines[0] == f"StudyResult of audio -> image: {len(result.records)} students in 2 fits"
    assert lines[1].startswith(f"{result.verdict.verdict}: ")
    assert any(line.split()[:1] == ["no-kd"] for line in lines)
    assert lines[-1] == f"{sum(row.metric == 'accuracy' for row in result.summary)} rows: .frame('summary')"
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def test_results_of_other_kinds_and_empty_ones_are_short() -> None:
    data = make_paired()
    student = mfh.distill(
        None, nn.Linear(7, 3), data, mfh.DistillConfig(epochs=1, device="cpu"),
        teacher_modality="audio", student_modality="image",
    )  # fmt: skip
    assert repr(student).splitlines()[0] == "DistillResult of audio -> image: 1 student in 1 fit"
    assert "array" not in repr(student)
    rows = [{"gamma": share, "kd_mean": 70.0} for share in np.linspace(0, 1, 30)]
    lines = repr(GaussianResult(figure="fig2", rows=rows)).splitlines()
    assert lines[0] == "GaussianResult fig2: 0 models"
    assert lines[-1] == "30 rows: .frame('rows')"
    assert len(lines) == 15
    assert repr(StudyResult()).startswith("StudyResult: 0 students in 0 fits\nabstain: ")


def test_names_cannot_control_the_terminal() -> None:
    text = repr(StudyResult(config={"teacher": "a\x1b[31m", "student": "b"}))
    assert "\x1b" not in text

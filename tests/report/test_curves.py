"""Training curves: which arms are drawn, and what of them."""

from dataclasses import replace

import pytest

from mfh._report.pages import summarize


def test_curves_are_means_over_seeds(make_study, drawn):
    result = make_study()
    rows = [i for i, record in enumerate(result.records) if record.arm == "no-kd"]
    lines = {line.get_label(): line for line in drawn["curves"].axes[0].lines}
    assert list(lines) == ["no-kd", "regular", "joint", "general", "important", "softened"]
    expected = result.curves["students_validation"][rows].mean(axis=0)
    assert lines["no-kd"].get_ydata() == pytest.approx(expected, rel=1e-4)
    teachers = [line.get_label() for line in drawn["teacher-curves"].axes[0].lines]
    assert teachers == ["regular", "joint", "unimodal"]


def test_the_softened_arm_of_the_source_teacher_is_drawn(make_study):
    result = make_study(seeds=2)
    result = replace(result, config={**result.config, "teacher_source": "regular"})
    assert list(summarize(result)["curves"]["students"])[-1] == "softened-regular"

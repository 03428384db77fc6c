"""The compact columns of the page's long tables: all channels and all students."""

import base64
from dataclasses import replace

import numpy as np
import pytest

from mfh._report.sections import channel_explorer
from mfh._report.sections.channel_explorer import pack_channels
from mfh._report.sections.student_explorer import pack_students
from mfh.results import StudyResult


def decode(text):
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_channels_are_packed_fit_by_fit(make_study):
    result = make_study(seeds=3)
    packed = pack_channels(result, ratios=[0.25, 0.5], ratio=0.5)
    assert [(s["seed"], s["split"]) for s in packed["sets"]][:3] == [
        (0, "train"), (0, "validation"), (1, "train"),
    ]  # fmt: skip
    third = packed["sets"][2]
    np.testing.assert_allclose(decode(third["saliency"]), result.channels["increase_train"][1], rtol=1e-6)
    np.testing.assert_allclose(decode(third["importance"]), result.channels["importance_train"][1], rtol=1e-6)
    assert packed["sets"][1]["error"] is None
    assert packed["left_out"] == 0


def test_what_does_not_fit_is_left_out_and_counted(make_study, monkeypatch):
    monkeypatch.setattr(channel_explorer, "MAX_VALUES", 64 * 3 + 64 * 2 + 10)
    packed = pack_channels(make_study(seeds=3), ratios=[], ratio=None)
    assert len(packed["sets"]) == 2
    assert packed["left_out"] == 4
    monkeypatch.setattr(channel_explorer, "MAX_VALUES", 100)
    assert pack_channels(make_study(seeds=3), ratios=[], ratio=None) is None
    assert pack_channels(StudyResult(), ratios=[], ratio=None) is None


def test_students_are_listed_with_the_columns_they_have(make_study):
    result = make_study(seeds=2)
    packed = pack_students(result.records)
    labels = [column["label"] for column in packed["columns"]]
    assert labels == [
        "Arm", "Ratio", "Fit", "Repeat", "Fold", "Draw", "Train", "Validation", "Test",
        "Best epoch", "Seconds",
    ]  # fmt: skip
    splits = pack_students([replace(record, repeat=record.seed, fold=0) for record in result.records])
    assert not {"Repeat", "Fold"} & {column["label"] for column in splits["columns"]}
    columns = dict(zip(labels, packed["columns"], strict=True))
    arms = [columns["Arm"]["names"][code] for code in columns["Arm"]["values"]]
    assert arms == [record.arm for record in result.records]
    assert columns["Test"]["values"] == pytest.approx([r.test for r in result.records], abs=1e-3)
    assert pack_students(()) is None

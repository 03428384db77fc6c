"""A diagnosis where labels are missing: what it sees, whom it trusts, what it expects."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import make_paired

import mfh
from mfh import DiagnoseConfig, InputError
from mfh._diagnose.few import compare, expect, half_of_pairs, pilot_options, visible
from mfh._diagnose.few_words import Effect, advise
from mfh._report import html
from mfh.results import Diagnosis, MetricInfo, StudyResult

QUICK = DiagnoseConfig(
    teacher="audio", student="image", folds=3, labelled=("0.3",), steps=30, label_folds=2,
    label_tuning="none", hidden=(8,),
)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return mfh.diagnose(make_paired(150), config=QUICK)


def test_the_pilot_is_judged_on_labelled_samples_alone(found: Diagnosis) -> None:
    assert {row.arm for row in found.summary} == {"no-kd", "self", "stack"}
    assert found.diagnosis["gain"]["num"] == 45  # 30% of 150
    assert found.labels["labelled"] == 30  # two of three folds
    assert found.labels["unlabelled"] == 105
    assert found.verdict.verdict in ("help", "no-effect", "hurt", "abstain")


def test_hidden_labels_change_nothing(found: Diagnosis) -> None:
    data = make_paired(150)
    hidden = np.flatnonzero(~visible(data, QUICK).labelled)
    label = data.label.clone()
    label[torch.from_numpy(hidden)] = (label[torch.from_numpy(hidden)] + 1) % 3
    kept = visible(data, QUICK)
    assert len(hidden) == 105
    poisoned = replace(kept, label=kept.label.clone())
    again = mfh.diagnose(poisoned, config=replace(QUICK, labelled=()))
    assert again.diagnosis["gain"] == found.diagnosis["gain"]
    assert again.diagnosis["trust"] == found.diagnosis["trust"]
    assert (label[kept.labelled] == kept.label[kept.labelled]).all()


def test_teachers_are_ranked_by_the_log_loss_of_labels_that_they_did_not_see(found: Diagnosis) -> None:
    rows = {row["name"]: row for row in found.diagnosis["trust"]}
    assert set(rows) == {"regular", "unimodal", "fused", "joint", "joint-student", "no-kd", "stack"}
    assert [rows[name]["sees"] for name in ("regular", "unimodal", "fused", "no-kd")] == [
        "audio", "image", "both", "image",
    ]  # fmt: skip
    losses = [row["log_loss"] for row in found.diagnosis["trust"]]
    assert losses == sorted(losses)
    assert all(row["weight"] is None or row["weight"] >= 0 for row in rows.values())
    assert "log-loss on labels that" in " ".join(found.diagnosis["reasons"])


def test_the_page_gives_reasons_and_advice(found: Diagnosis) -> None:
    page = html(found)
    assert "Expect" in page
    assert "All unlabelled pairs instead of half of them" in page
    assert found.frame("trust").name.tolist() == [row["name"] for row in found.diagnosis["trust"]]


def test_a_teacher_that_sees_noise_is_not_trusted() -> None:
    data = make_paired(150)
    noise = np.random.default_rng(0).normal(size=(150, 6)).astype("f4")
    data = replace(data, modalities={"audio": torch.from_numpy(noise), "image": data.modalities["image"]})
    result = mfh.diagnose(data, config=replace(QUICK, outlook=False, steps=100))
    rows = {row["name"]: row for row in result.diagnosis["trust"]}
    assert rows["regular"]["weight"] < 0.1
    assert rows["regular"]["log_loss"] > rows["no-kd"]["log_loss"]
    assert result.diagnosis["outlook"] == {}
    assert result.diagnosis["advice"]["sentences"] == []


def test_the_outlook_compares_with_half_of_the_labels_and_half_of_the_pairs(found: Diagnosis) -> None:
    assert set(found.diagnosis["outlook"]) == {"labels", "labels_alone", "pairs"}
    assert all(effect["num"] == 45 for effect in found.diagnosis["outlook"].values())
    first, second, *_ = found.diagnosis["advice"]["sentences"]
    assert first.startswith("All labels instead of half of them: ")
    assert second.startswith("All unlabelled pairs instead of half of them: ")


def test_words_of_the_outlook_say_what_is_certain() -> None:
    metric = MetricInfo("accuracy")
    texts = advise({"labels": Effect(6.0, 1.0, 50), "pairs": Effect(0.5, 1.0, 50)}, metric)
    assert "+6.0 points for the student of the stack (95% +4.0 to +8.0). More of them will prob" in texts[0]
    assert "It is open whether more of them would pay" in texts[1]
    assert texts[2] == "Twice as many labels would bring more than twice as many pairs."
    assert len(advise({"labels": Effect(1.0, 1.0, 50), "pairs": Effect(0.5, 1.0, 50)}, metric)) == 2
    assert advise({}, metric) == []


def test_data_with_a_test_split_keep_it_unseen() -> None:
    data = make_paired(150)
    split = np.where(np.arange(150) < 30, "test", np.where(np.arange(150) < 60, "validation", "train"))
    seen = visible(replace(data, split=split), QUICK)
    assert len(seen) == 120
    assert seen.split is None
    assert set(seen.id) == set(data.id[30:])


def test_half_of_the_pairs_keeps_every_label() -> None:
    data = visible(make_paired(150), QUICK)
    rows = half_of_pairs(data, 0)
    assert set(np.flatnonzero(data.labelled)) <= set(rows)
    assert len(rows) == 45 + 52


def test_students_are_compared_sample_by_sample() -> None:
    data = make_paired(6)
    one = StudyResult(sample_values={"stack": (np.array([0, 2, 4]), np.array([100.0, 0.0, 100.0]))})
    other = StudyResult(sample_values={"no-kd": (np.array([0, 1]), np.array([0.0, 0.0]))})
    effect = compare(one, "stack", other, "no-kd", data, rows=np.array([2, 4, 5]))
    assert effect is not None
    assert (effect.mean, effect.num) == (50.0, 2)
    assert effect.error == pytest.approx(50.0)
    assert compare(one, "self", other, "no-kd", data) is None


def test_samples_of_a_group_count_as_one() -> None:
    data = make_paired(6, num_groups=3)
    values = np.array([100.0, 0.0, 100.0, 100.0, 0.0, 100.0])
    result = StudyResult(sample_values={"stack": (np.arange(6), values), "no-kd": (np.arange(6), 0 * values)})
    effect = compare(result, "stack", result, "no-kd", data)
    assert effect is not None
    assert effect.num == 3
    assert effect.mean == pytest.approx(values.mean())


def test_a_study_may_differ_from_its_pilot_by_more_than_the_error_of_the_pilot() -> None:
    belief = expect(Effect(10.0, 1.5, 80))
    assert (belief.mean, belief.sd) == (10.0, pytest.approx(2.5))
    assert belief.help > 0.99


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(InputError, match="four labelled samples or more"):
        pilot_options(make_paired(6).without_labels(np.arange(3)), QUICK)


def test_other_tasks_get_the_pilot_without_a_probability() -> None:
    data = make_paired(120)
    numbers = replace(
        data, label=data.modalities["audio"][:, :1].float(), class_names=("y",), task="regression"
    )
    result = mfh.diagnose(numbers, config=replace(QUICK, outlook=False))
    assert result.diagnosis["probability"] is None
    assert result.verdict.verdict in ("help", "no-effect", "hurt", "abstain")

"""What the sections of a study's page read: one metric, one loss, arms, choices, looks."""

from dataclasses import replace

import pytest

from mfh._report.view import StudyView, arm_order
from mfh.arms import ARMS, Look, ShownArm
from mfh.results import Choice, MetricInfo, Record, StudyResult, Summary


def test_chosen_students_are_shown_by_seed_and_agree_with_the_study(make_study):
    result = make_study()
    rows = {row["arm"]: row for row in StudyView(result).rows if row["main"]}
    for arm in ("general (chosen)", "important (chosen)", "softened (chosen)"):
        mean = next(row.mean for row in result.summary if row.arm == arm)
        values = list(rows[arm]["fits"].values())
        assert len(values) == 10
        assert sum(values) / 10 == pytest.approx(mean)


def test_choices_are_read_and_not_made_again(make_study):
    result = make_study(seeds=3)
    view = StudyView(replace(result, chosen=[Choice("general", seed, 0.25, "kl") for seed in range(3)]))
    assert view.chosen("general") == {0: 0.25, 1: 0.25, 2: 0.25}
    assert view.ratio == 0.25
    assert StudyView(replace(result, chosen=())).chosen("general") == {}


def test_chosen_students_are_left_out_where_they_disagree_with_the_study(make_study):
    result = make_study()
    rows = [
        replace(row, mean=row.mean + 1) if row.arm == "general (chosen)" else row for row in result.summary
    ]
    table = StudyView(replace(result, summary=rows)).rows
    assert next(row for row in table if row["arm"] == "general (chosen)")["dots"] == []


def test_a_softened_arm_of_another_source_has_its_chosen_students(make_study):
    def renamed(rows, field):
        swap = {"softened": "softened-regular", "softened-regular": "softened"}
        for row in rows:
            name, mark, _ = getattr(row, field).partition(" (chosen)")
            yield replace(row, **{field: swap.get(name, name) + mark})

    result = make_study(seeds=3)
    result = replace(
        result,
        config={**result.config, "teacher_source": "regular"},
        records=[
            replace(r, arm={"joint": "regular", "regular": "joint"}.get(r.arm, r.arm))
            for r in renamed(result.records, "arm")
        ],
        summary=list(renamed(result.summary, "arm")),
        chosen=list(renamed(result.chosen, "arm")),
    )
    row = next(row for row in StudyView(result).rows if row["arm"] == "softened-regular (chosen)")
    assert sum(row["dots"]) / 3 == pytest.approx(row["mean"])


def test_fits_of_folds_of_unequal_size_may_differ_a_little_from_the_mean_over_samples(make_study):
    result = make_study()
    rows = [replace(row, mean=row.mean + 0.02) for row in result.summary]
    table = StudyView(replace(result, summary=rows)).rows
    assert len(next(row for row in table if row["arm"] == "general (chosen)")["dots"]) == 10


def test_random_draws_are_averaged_within_a_fit(make_study):
    result = make_study()
    records = [r for r in result.records if (r.arm, r.ratio, r.seed) == ("random", 0.5, 3)]
    row = next(row for row in StudyView(result).rows if (row["arm"], row["ratio"]) == ("random", 0.5))
    assert len(records) == 5
    assert row["fits"]["3"] == pytest.approx(sum(r.test for r in records) / 5)


def test_records_that_name_the_only_loss_are_shown(make_study):
    result = make_study(seeds=3)
    assert {record.loss for record in result.records} == {None, "kl"}
    assert {row.loss for row in result.summary} == {None}
    view = StudyView(result)
    assert [len(row["dots"]) for row in view.rows if row["arm"] == "no-kd"] == [3]
    assert len(view.chosen("general")) == 3


def test_arms_are_ordered_with_chosen_ratios_first_and_unknown_ones_last():
    names = ["zebra", "specific", "general", "general (chosen)", "no-kd"]
    expected = ["no-kd", "general (chosen)", "general", "specific", "zebra"]
    assert sorted(names, key=arm_order(ARMS)) == expected


def test_words_are_filled_in_once_whatever_the_modalities_are_called():
    result = StudyResult(
        config={"teacher": "{student}", "student": "b", "teacher_source": "joint"},
        arms=[*ARMS.values(), ShownArm(name="mine", words="{teacher}, {student}, {source}, {other}")],
    )
    assert StudyView(result).explain("mine (chosen)") == "{student}, b, joint, {other}"
    assert StudyView(result).explain("something new") == ""


def test_arms_without_a_look_of_their_own_can_be_told_apart():
    arms = [ShownArm(name=f"mine-{i}", teacher="source", ranking="own") for i in range(3)]
    looks = StudyView(StudyResult(arms=[*ARMS.values(), *arms])).looks
    seen = {(look["marker"], str(look["dashes"])) for name, look in looks.items() if name.startswith("mine")}
    taken = {(arm.look.marker, str(arm.look.dashes)) for arm in ARMS.values()}
    assert len(seen) == 3
    assert not seen & taken
    assert looks["general"]["marker"] == ARMS["general"].look.marker != Look().marker


def test_the_metric_of_the_result_is_shown_with_its_unit_direction_and_margin():
    loss = MetricInfo("log-loss", unit="", higher_is_better=False, points="nats", margin=0.01)
    rows = [Summary("no-kd", None, name, 2, 0.5, None, None, None) for name in ("log-loss", "accuracy")]
    facts = StudyView(StudyResult(summary=rows, metrics=[loss, MetricInfo("accuracy")])).facts()
    assert (facts["metric"], facts["unit"], facts["higher_is_better"]) == ("log-loss", "", False)
    assert (facts["zone"], facts["digits"]) == (0.01, 3)
    assert [row["metric"] for row in facts["arms"]] == ["log-loss"]


def test_rows_of_a_metric_that_is_not_described_are_shown_all_the_same():
    row = Summary("no-kd", None, "mIoU", 2, 50.0, None, None, None)
    assert StudyView(StudyResult(summary=[row])).facts()["metric"] == "mIoU"


def test_the_source_teacher_leads_a_study_without_general():
    records = [Record(arm, None, 0, "accuracy", 90.0, 80.0, 80.0, 1, 0.1) for arm in ("no-kd", "joint")]
    assert StudyView(StudyResult(records=records)).head == "joint"
    records.append(Record("general", 0.5, 0, "accuracy", 90.0, 80.0, 80.0, 1, 0.1))
    assert StudyView(StudyResult(records=records)).head == "general"

import json
from dataclasses import replace

import pytest

from mfh._checks import InputError
from mfh._report.summarize import summarize
from mfh.results import GaussianResult, Record, RunResult, StudyResult, Verdict


@pytest.fixture
def summary(make_study):
    return summarize(make_study())


def fact(summary, label):
    return next(fact for fact in summary["facts"] if label in fact["label"])


def comparison(result, b):
    return next(c for c in result.comparisons if c.b == b)


def with_comparison(result, b, **changes):
    rows = [replace(c, **changes) if c.b == b and c.ratio is None else c for c in result.comparisons]
    return replace(result, comparisons=rows)


def test_summary_is_plain_and_finite(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_first_screen_asks_answers_and_says_how_sure(make_study):
    result = make_study()
    summary = summarize(result)
    gain = comparison(result, "no-kd")
    assert summary["title"] == "Does a teacher that sees pix make a better student that only sees zer?"
    assert summary["headline"] == f"Yes. The teacher helps, by {gain.difference:.1f} points."
    assert fact(summary, "Gain")["value"] == f"+{gain.difference:.1f} points"
    assert fact(summary, "Gain")["note"] == f"95% interval +{gain.low:.1f} to +{gain.high:.1f}"
    assert fact(summary, "repeated")["value"] == "10 seeds"
    assert "2,000 samples" in summary["asked"]
    assert "10 classes" in summary["asked"]


@pytest.mark.parametrize(
    ("code", "begins"),
    [
        ("hurt", "No. The teacher does harm, by"),
        ("no-effect", "No. The teacher makes"),
        ("abstain", "These runs"),
    ],
)
def test_headline_follows_the_verdict(make_study, code, begins):
    result = make_study(verdict=Verdict(code, False, "As it is."))
    assert summarize(result)["headline"].startswith(begins)


def test_focusing_names_what_it_does_not_beat(make_study):
    result = make_study()
    for b in ("joint", "softened (chosen)", "mismatched", "important (chosen)"):
        result = with_comparison(result, b, low=0.2, high=1.4)
    result = with_comparison(result, "important (chosen)", low=-0.2, high=0.4)
    shown = fact(summarize(result), "focusing")
    assert (shown["value"], shown["note"]) == ("Not shown", "not better than important")
    shown = fact(summarize(replace(result, verdict=Verdict("help", True, "Yes."))), "focusing")
    assert shown["value"] == "Yes"


def test_chosen_students_are_shown_by_seed_and_agree_with_the_study(make_study, summary):
    result = make_study()
    rows = {row["arm"]: row for row in summary["arms"] if row["main"]}
    for arm in ("general (chosen)", "important (chosen)", "softened (chosen)"):
        stated = next(row.mean for row in result.summary if row.arm == arm)
        values = list(rows[arm]["seeds"].values())
        assert len(values) == 10
        assert sum(values) / 10 == pytest.approx(stated)
    assert set(summary["chosen"].values()) <= {0.0, 0.25, 0.5, 0.75}


def test_chosen_students_are_left_out_where_they_disagree_with_the_study(make_study):
    result = make_study()
    rows = [
        replace(row, mean=row.mean + 1) if row.arm == "general (chosen)" else row for row in result.summary
    ]
    table = summarize(replace(result, summary=rows))["arms"]
    assert next(row for row in table if row["arm"] == "general (chosen)")["dots"] == []


def test_equal_validation_chooses_the_smaller_ratio():
    def student(arm, ratio, validation):
        return Record(arm, ratio, 0, "accuracy", 90.0, validation, 80.0, 1, 0.1)

    records = [student("joint", None, 80.0), student("general", 0.5, 81.0), student("general", 0.25, 81.0)]
    assert summarize(StudyResult(records=records))["chosen"] == {"0": 0.25}
    records = [student("joint", None, 81.0), *records[1:]]
    assert summarize(StudyResult(records=records))["chosen"] == {"0": 0.0}


def test_random_draws_are_averaged_within_a_seed(make_study, summary):
    records = [r for r in make_study().records if (r.arm, r.ratio, r.seed) == ("random", 0.5, 3)]
    row = next(row for row in summary["arms"] if (row["arm"], row["ratio"]) == ("random", 0.5))
    assert len(records) == 5
    assert row["seeds"]["3"] == pytest.approx(sum(r.test for r in records) / 5)


def test_differences_prefer_chosen_ratios_and_name_the_others(summary):
    rows = {row["name"]: row for row in summary["differences"]}
    assert list(rows)[:6] == ["no-kd", "regular", "joint", "important", "softened", "mismatched"]
    assert rows["important"]["primary"]
    assert rows["important"]["a"] == "general (chosen)"
    assert (rows["random"]["a"], rows["random"]["ratio"]) == ("general", summary["shown_ratio"])


def test_sweep_begins_where_nothing_is_removed(make_study, summary):
    joint = next(row["mean"] for row in summary["arms"] if row["arm"] == "joint")
    lines = summary["sweep"]["lines"]
    assert lines["general"][0]["ratio"] == 0
    assert lines["general"][0]["mean"] == lines["softened"][0]["mean"] == joint
    assert lines["softened-regular"][0]["ratio"] == 0.25  # softened from the start, so not `regular`
    result = make_study()
    result = replace(result, config={**result.config, "teacher_source": "regular"})
    lines = summarize(result)["sweep"]["lines"]
    assert lines["general"][0]["mean"] == lines["softened-regular"][0]["mean"] != joint
    assert lines["softened"][0]["ratio"] == 0.25


def test_teachers_are_means_over_seeds_in_order(summary):
    names = [row["teacher"] for row in summary["teachers"]]
    assert names == ["regular", "joint", "unimodal", "general@0.25", "general@0.5", "general@0.75"]
    assert summary["teachers"][0] == {
        "teacher": "regular", "n": 10, "train": 100.0, "validation": 93.0, "test": 92.5,
        "entropy": pytest.approx(0.012), "saturated": pytest.approx(0.97),
    }  # fmt: skip
    assert "The less accurate of the two teaches the better student." in summary["teachers_note"]


def test_command_is_as_typed(make_study):
    assert summarize(make_study())["command"] == "mfh study --data 'my data.npz' --teacher pix"

    def command(argv):
        return summarize(StudyResult(environment={"command": argv}))["command"]

    assert command(["/usr/lib/mfh/__main__.py", "study"]) == "python -m mfh study"
    assert command(["examples/own.py", "--out", "x"]) == "examples/own.py --out x"
    assert command("mfh study") == "mfh study"
    assert command([]) == ""


def test_only_what_the_page_does_not_say_itself_is_repeated_from_the_verdict(summary):
    assert summary["warnings"] == ["The layer is narrow."]


def test_gaussian_headline_is_the_first_note(gaussian):
    summary = summarize(gaussian)
    assert summary["headline"] == gaussian.notes[0]
    assert summary["notes"] == list(gaussian.notes[1:])
    assert "Figure 2" in summary["title"]
    assert len(summary["rows"]) == 6
    assert summarize(GaussianResult(figure="fig9"))["title"] == "Gaussian data: fig9"


def test_other_results_are_refused():
    with pytest.raises(InputError, match=r"must be a StudyResult or a GaussianResult. Got RunResult"):
        summarize(RunResult())


def test_records_that_name_the_only_loss_are_shown(make_study):
    result = make_study(seeds=3)
    assert {record.loss for record in result.records} == {None, "kl"}
    assert {row.loss for row in result.summary} == {None}
    summary = summarize(result)
    assert [len(row["dots"]) for row in summary["differences"] if row["b"] == "no-kd"] == [3]
    assert len(summary["chosen"]) == 3
    assert "general" in summary["curves"]["students"]

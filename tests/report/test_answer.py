"""The head of a study's page: question, answer, by how much, how sure."""

from dataclasses import replace

import pytest

from mfh._report.pages import summarize
from mfh.results import NO_VERDICT, Look, MetricInfo, StudyResult, Verdict


def fact(summary, label):
    return next(fact for fact in summary["facts"] if label in fact["label"])


def comparison(result, b):
    return next(c for c in result.comparisons if c.b == b)


def with_comparison(result, b, **changes):
    rows = [replace(c, **changes) if c.b == b and c.ratio is None else c for c in result.comparisons]
    return replace(result, comparisons=rows)


def test_the_head_asks_answers_and_tells_how_sure(make_study):
    result = make_study()
    summary = summarize(result)
    gain = comparison(result, "no-kd")
    assert summary["title"] == "Does a teacher that sees pix make a better student that only sees zer?"
    assert summary["headline"] == f"Yes. The teacher helps, by {gain.difference:.1f} points."
    assert fact(summary, "Gain")["value"] == f"+{gain.difference:.1f} points"
    assert fact(summary, "Gain")["note"] == f"95% interval +{gain.low:.1f} to +{gain.high:.1f}"
    assert fact(summary, "Repetitions")["value"] == "10 fits"
    assert fact(summary, "Repetitions")["note"].startswith("2 repeats of 5 folds; the taught student was")
    assert "2,000 samples" in summary["asked"]
    assert "10 classes" in summary["asked"]


@pytest.mark.parametrize(
    ("code", "begins"),
    [
        ("hurt", "No. The teacher does harm, by"),
        ("no-effect", "No. The teacher makes"),
        ("abstain", "Undecided. These runs"),
    ],
)
def test_headline_follows_the_verdict(make_study, code, begins):
    result = make_study(verdict=Verdict(code, False, "As it is."))
    assert summarize(result)["headline"].startswith(begins)


def test_no_verdict_is_no_undecided_study(make_study):
    empty, partial = summarize(StudyResult()), summarize(replace(make_study(seeds=2), verdict=NO_VERDICT))
    assert empty["headline"] == partial["headline"] == "No verdict."
    assert empty["sentence"] == NO_VERDICT.sentence
    assert partial["sentence"] == ""  # students were compared


def test_focusing_names_what_it_does_not_beat(make_study):
    result = make_study()
    for b in ("joint", "softened (chosen)", "important (chosen)"):
        result = with_comparison(result, b, low=0.2, high=1.4)
    result = with_comparison(result, "important (chosen)", low=-0.2, high=0.4)
    shown = fact(summarize(result), "focusing")
    assert (shown["value"], shown["note"]) == ("Not shown", "not better than important")
    shown = fact(summarize(replace(result, verdict=Verdict("help", True, "Yes."))), "focusing")
    assert (shown["value"], shown["note"]) == (
        "Yes", "it beats every control: joint, important and softened",
    )  # fmt: skip
    result = with_comparison(result, "important (chosen)", low=0.2, high=1.4)
    assert fact(summarize(result), "focusing")["note"] == "an earlier question was not answered with yes"


def test_the_controls_of_focusing_follow_the_source_teacher(make_study):
    result = make_study()
    result = replace(
        result,
        config={**result.config, "teacher_source": "regular"},
        comparisons=[
            replace(c, low=-1.0, high=1.0, b=c.b.replace("softened (chosen)", "softened-regular (chosen)"))
            for c in result.comparisons
        ],
    )
    assert fact(summarize(result), "focusing")["note"] == (
        "not better than regular, important and softened-regular"
    )


def test_fewer_is_better_where_the_metric_is_a_loss(make_study):
    study = make_study(seeds=4)
    loss = MetricInfo("log-loss", unit="", higher_is_better=False, points="nats", margin=0.01)

    def scaled(row, *fields):
        changed = {field: getattr(row, field) and -getattr(row, field) / 100 for field in fields}
        return replace(row, **changed | ({"metric": "log-loss"} if hasattr(row, "metric") else {}))

    result = replace(
        study,
        metrics=[loss],
        records=[scaled(r, "train", "validation", "test") for r in study.records],
        summary=[
            replace(s, metric="log-loss", mean=-s.mean / 100, low=None, high=None) for s in study.summary
        ],
        comparisons=[
            replace(c, difference=-c.difference / 100, low=-c.high / 100, high=-c.low / 100)
            for c in study.comparisons
        ],
    )
    before, after = summarize(study), summarize(result)
    assert fact(after, "Repetitions")["note"] == fact(before, "Repetitions")["note"]
    assert (
        fact(after, "Gain")["value"]
        == f"\N{MINUS SIGN}{comparison(study, 'no-kd').difference / 100:.3f} points"
    )
    assert "Points are nats." in after["asked"]
    readings = [[row["reading"] for row in summary["differences"]] for summary in (before, after)]
    assert readings[0] == readings[1]
    assert "better" in readings[0]
    assert {check["code"] for check in after["checks"]} >= {"MFH101"} & {c["code"] for c in before["checks"]}


def test_intervals_of_looks_name_their_level(make_study):
    look = Look(2, 0.5, 2.2, 0.972, 0.8, 0.1, 1.5, "help")
    summary = summarize(replace(make_study(), looks=[look]))
    assert fact(summary, "Gain")["note"].startswith("97.2% interval")


def test_only_what_the_page_does_not_show_itself_is_repeated_from_the_verdict(summary):
    assert summary["warnings"] == ["The layer is narrow."]

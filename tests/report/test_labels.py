"""Studies with few labels: the head is the stack, labels have a section, and words are true of them."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mfh._report import html, style, svg
from mfh._report.drawings import Drawings
from mfh._report.pages import PAGES, summarize, summarize_comparison, summarize_unfinished
from mfh._report.section import Section
from mfh._report.sections import comparison, labels, learnt
from mfh._system.files import write_json
from mfh.arms import FEW_LABELS, HEADLINE, STACK
from mfh.results import Choice, Comparison, Record, StudyResult, Summary, TeacherRecord, Verdict

LEVELS = {
    "no-kd": 72.0, "self": 73.0, "regular": 75.0, "fused": 78.0, "joint": 79.0, "stack": 79.5, "hard": 79.6,
    "mismatched": 80.0, "broken": 20.0, "oracle": 83.0,
}  # fmt: skip
FITS = 4


def _arms_at(count: float, *, alone: bool = False) -> list[dict[str, Any]]:
    """One point of the curve; the gain of the stack shrinks as labels grow."""
    base = 72.0 + count / 100
    rows = [{"arm": "no-kd", "mean": base, "low": base - 2, "high": base + 2, "n": FITS}]
    gain = 8.0 - count / 100
    for arm in () if alone else ("self", STACK, "oracle"):
        row = {"arm": arm, "mean": base + gain, "low": base + gain - 2, "high": base + gain + 2, "n": FITS}
        rows.append(row | {"gain": gain, "gain_low": gain - 3, "gain_high": gain + 3})
    return rows


@pytest.fixture(scope="module")
def few(make_study: Callable[..., StudyResult]) -> StudyResult:
    """A study of 80 labels in a curve to 1,600; its numbers are made up."""
    records = [
        Record(
            arm,
            None,
            fit,
            "accuracy",
            90.0,
            85.0,
            level + fit / 10,
            1,
            0.1,
            loss=None if arm == "no-kd" else "kl",
        )
        for fit in range(FITS)
        for arm, level in LEVELS.items()
    ]
    records += [
        Record(arm, 0.5, fit, "accuracy", 90.0, 85.0, 78.0 + fit / 10, 1, 0.1, loss="kl")
        for fit in range(FITS)
        for arm in ("general", "important", "softened")
    ]
    summary = [
        Summary(arm, None, "accuracy", FITS, level, 1.0, level - 2, level + 2)
        for arm, level in LEVELS.items()
    ]
    chosen = ("general (chosen)", "important (chosen)", "softened (chosen)")
    summary += [Summary(arm, None, "accuracy", FITS, 78.0, 1.0, 76.0, 80.0) for arm in chosen]
    summary += [Summary("general", 0.5, "accuracy", FITS, 78.0, 1.0, 76.0, 80.0)]

    def compare(a: str, b: str, difference: float, question: int | None = None) -> Comparison:
        low, high = difference - 1.5, difference + 1.5
        shown = None if question == 4 or question is None else low > 0
        return Comparison(a, b, None, FITS, difference, low, high, None, None, 0.01, question, shown)

    asked = {"no-kd": 1, "self": 2, "mismatched": 3}
    comparisons = [compare(STACK, b, LEVELS[STACK] - LEVELS[b], asked.get(b)) for b in LEVELS if b != STACK]
    comparisons += [compare(STACK, arm, 1.0) for arm in chosen]
    comparisons += [compare("general (chosen)", b, 0.1, 4) for b in ("joint", *chosen[1:])]
    members = {
        "regular": 0.0,
        "unimodal": 0.0,
        "fused": 0.25,
        "joint": 0.5,
        "joint-student": 0.25,
        "no-kd": 0.5,
    }
    choices = [Choice("general", fit, 0.5, "kl") for fit in range(FITS)]
    choices += [Choice("no-kd", fit, smoothing=0.1, weight_decay=0.01) for fit in range(FITS)]
    choices += [Choice(STACK, fit, weights={**members, "fused": fit / 4}) for fit in range(FITS)]
    study = make_study(seeds=2)
    return replace(
        study,
        config=study.config | {"labelled": ["0.05", "0.1"], "label_curve": ["1"], "arms": ["joint"]},
        records=records,
        summary=summary,
        comparisons=comparisons,
        chosen=choices,
        curves={},
        arms=tuple(FEW_LABELS.values()),
        teachers=[
            TeacherRecord(name, fit, "accuracy", 99.0, 80.0, 75.0, 0.1, 0.95)
            for fit in range(FITS)
            for name in (*members, STACK, "self", "general@0.5")
        ],
        verdict=Verdict(
            "help",
            False,
            "A student of `zer` gains.",
            (
                "`stack` against `self` (self-training): +6.50 points (+5.00 to +8.00).",
                "`general` against `joint` (nothing removed): +0.10 points (-1.40 to +1.60).",
                "The split is the same in every fit.",
            ),
        ),
        labels={
            "labelled": 80.0, "unlabelled": 1520.0, "oracle": 1600.0, "hidden": True, "known": 2000,
            "training": {"steps": 300, "batch_size": 96, "clip": 5.0, "schedule": "linear"},
            "curve": [
                {"count": "0.05", "labels": 80.0, "arms": _arms_at(80.0)},
                {"count": "0.1", "labels": 600.0, "arms": _arms_at(600.0)},
                {"count": "1", "labels": 1600.0, "arms": _arms_at(1600.0, alone=True)},
            ],
            "equivalents": {
                "0.05": {"labels": 80.0, "most": 1600.0, "further": 223.4, "low": 143.9, "high": None},
                "0.1": {"labels": 600.0, "most": 1600.0, "further": 300.0, "low": 0.0, "high": 900.0},
            },
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(few: StudyResult) -> dict[str, Any]:
    return summarize(few)


def fact(summary: dict[str, Any], label: str) -> dict[str, str] | None:
    return next((fact for fact in summary["facts"] if label in fact["label"]), None)


def test_the_head_is_about_the_stack_and_its_labels(shown: dict[str, Any]) -> None:
    assert shown["head"] == STACK
    assert shown["title"] == "Do teachers that also see pix make a better student that only sees zer?"
    assert shown["headline"] == "Yes. The teachers help, by 7.5 points."
    assert fact(shown, "Gain")["value"] == "+7.5 points"
    assert fact(shown, "test accuracy")["value"] == "72.0% \N{RIGHTWARDS ARROW} 79.5%"
    assert fact(shown, "Labels in each fit") == {
        "label": "Labels in each fit", "value": "80", "note": "and 1,520 unlabelled pairs",
    }  # fmt: skip
    second = fact(shown, "second modality")
    assert (second["value"], second["note"]) == ("Yes", "+6.5 points over self-training")
    worth = fact(shown, "worth")
    assert (worth["value"], worth["note"]) == (
        "220 further labels",
        "95% interval 140 or more further labels",
    )
    focusing = fact(shown, "focusing")
    assert (focusing["value"], focusing["note"]) == (
        "Not shown",
        "not better than joint, important and softened",
    )


def test_a_study_that_is_open_does_not_say_what_teachers_are_worth(few: StudyResult) -> None:
    summary = summarize(replace(few, verdict=Verdict("abstain", False, "It is open.")))
    assert summary["headline"] == "Undecided. These runs do not show whether the teachers help."
    assert fact(summary, "worth") is None
    assert fact(summary, "second modality") is None


def test_the_stack_has_its_own_comparisons_and_general_those_of_focusing(shown: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in shown["differences"]}
    assert {row["a"] for row in rows.values()} == {STACK}
    assert not {"important", "softened"} & set(rows)
    assert rows["joint"]["asks"] == "Is the stack better than the joint teacher alone?"
    assert rows["mismatched"]["question"] == 3
    focusing = {row["name"]: row for row in shown["focusing"]}
    assert list(focusing) == ["joint", "important", "softened"]
    assert focusing["joint"]["asks"] == "Does removing channels add anything to joint training?"
    tables = PAGES["study"].build_tables(shown)["comparisons"]["questions"]
    assert [row[1]["text"] for row in tables["rows"]] == [
        "stack \N{MINUS SIGN} no-kd", "stack \N{MINUS SIGN} self", "stack \N{MINUS SIGN} mismatched",
        "general \N{MINUS SIGN} joint, important and softened",
    ]  # fmt: skip


def test_broken_pairs_are_named_and_not_drawn(shown: dict[str, Any]) -> None:
    pictures = {picture.name: picture for picture in PAGES["study"].pictures}
    for name, value in (("differences", "broken (+59.5)"), ("arms", "broken (20.0)")):
        with style.style():
            (ax, *_) = pictures[name].draw(shown).axes
        assert "broken" not in [label.get_text() for label in ax.get_yticklabels()]
        assert f"Not drawn, being far away: {value}." in pictures[name].caption(shown)


def test_checks_know_what_is_true_with_few_labels(shown: dict[str, Any]) -> None:
    found = {check["code"]: check for check in shown["checks"]}
    assert "`general` minus `important` is +0.10 points" in found["MFH103"]["text"]
    assert "MFH104" not in found  # sure outputs on unlabelled pairs teach more than the labels
    assert "--saliency-split" not in found["MFH110"]["text"]
    assert shown["warnings"] == ["The split is the same in every fit."]


def test_out_of_fold_outputs_choose_and_no_section_speaks_of_validation(few: StudyResult) -> None:
    page = html(few)
    body = page[page.index("<main") : page.index('id="all-checks"')] + page[page.index('id="controls"') :]
    assert "Number of fits in which out-of-fold outputs chose each ratio" in body
    assert "whose teacher has the best out-of-fold accuracy" in body
    assert "the focused teacher reaches" not in body
    text = body[: body.index("<script")]
    assert "validation data" not in text
    assert "validation chose" not in text
    assert "best validation" not in text
    assert "<td>steps" not in body
    assert ">steps</th><td>300<" in body.replace("\n", "")
    assert ">epochs</th>" not in body
    assert "no-kd, self, regular, fused, joint, stack" in body


def test_the_label_curve_has_a_line_and_a_band_for_each_arm(shown: dict[str, Any]) -> None:
    with style.style():
        figure = labels.SECTION.pictures[0].draw(shown)
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    lines = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert lines["no-kd"] == [80, 600, 1600]
    assert {name: len(x) for name, x in lines.items()} == {"no-kd": 3, "self": 2, "stack": 2, "oracle": 2}
    assert len(ax.collections) == 4
    assert ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["80", "600", "1,600"]
    assert "stack: 80.0 at 80, 80.0 at 600" in labels.SECTION.pictures[0].describe(shown)


def test_the_table_of_labels_gives_gain_and_worth_where_there_is_a_gain(shown: dict[str, Any]) -> None:
    table = labels.build_curve(shown)
    rows = [[cell["text"] for cell in row] for row in table["rows"]]
    dash = "\N{EN DASH}"
    assert rows[0] == ["80", "72.8", "80.0", "+7.20", "+4.20 to +10.20", "220", "140 or more"]
    assert rows[1][3:] == ["+2.00", "\N{MINUS SIGN}1.00 to +5.00", dash, dash]
    assert rows[2] == ["1,600", "88.0", dash, dash, dash, dash, dash]
    arms = labels.build_arms(shown)
    assert [row[0]["text"] for row in arms["rows"]] == ["no-kd", "self", "stack", "oracle"]
    assert arms["rows"][0][1]["note"] == "70.8 to 74.8"


def test_a_curve_that_ends_is_more_than_all(few: StudyResult) -> None:
    ended = {"labels": 80.0, "most": 1600.0, "further": None, "low": 310.0, "high": None}
    changed = {**few.labels, "equivalents": {"0.05": ended}}
    summary = summarize(replace(few, labels=changed))
    assert fact(summary, "worth")["value"] == "more than all 1,600 labels"
    assert labels.build_curve(summary)["rows"][0][5]["text"] == "more than all 1,600"


def test_labels_of_the_data_themselves_say_on_how_many_the_answer_rests(few: StudyResult) -> None:
    missing = {key: few.labels[key] for key in ("labelled", "unlabelled", "oracle", "training")}
    summary = summarize(replace(few, labels={**missing, "hidden": False, "known": 400}))
    words = labels.SECTION.intro(summary)
    assert (
        "Of the 2,000 samples 400 have a label. Only these are tested, so the answer rests on 400 labels."
        in words
    )
    assert "hid" not in words
    assert labels.build_curve(summary) is None
    assert "the answer rests on 400 labels" in html(
        replace(few, labels={**missing, "hidden": False, "known": 400})
    )
    assert "The study hid the other labels." in labels.SECTION.intro(summarize(few))


def test_who_learnt_from_how_many_labels_and_pairs(shown: dict[str, Any]) -> None:
    rows = {(row["name"], row["role"]): row for row in shown["learnt"]}
    sizes = {
        key: (row["sees"], row["labels"], row["pairs"]) for key, row in rows.items() if key[1] == "teacher"
    }
    assert sizes["regular", "teacher"] == ("pix", 80.0, 0.0)
    assert sizes["joint", "teacher"] == ("pix", 80.0, 1520.0)
    assert sizes["joint-student", "teacher"] == ("zer", 80.0, 1520.0)
    assert sizes["fused", "teacher"] == ("pix and zer", 80.0, 0.0)
    assert rows["no-kd", "student"]["pairs"] == 0
    assert rows["oracle", "student"]["labels"] == 1600
    (others,) = [row for row in shown["learnt"] if row["name"] == "every other arm"]
    assert others["pairs"] == 1520
    assert "stack" in others["role"]
    assert "oracle" not in others["role"]


def test_weights_of_the_stack_are_shown_by_fit(shown: dict[str, Any]) -> None:
    assert shown["weights"]["fused"] == [0.0, 0.25, 0.5, 0.75]
    table = learnt.build_weights(shown)
    row = next(row for row in table["rows"] if row[0]["text"] == "fused")
    assert [cell["text"] for cell in row[1:]] == ["0.38", "0.00", "0.75", "1"]
    with style.style():
        (ax, *_) = learnt.SECTION.pictures[0].draw(shown).axes
    dots = [line for line in ax.lines if len(line.get_xdata()) == FITS]
    assert [0.0, 0.25, 0.5, 0.75] in [list(line.get_xdata()) for line in dots]
    tuned = learnt.build_tuned(shown)
    assert [cell["text"] for cell in tuned["rows"][0]] == ["0.10", "0.010", "4"]


@pytest.mark.parametrize("width", [3.25, 6.75])
@pytest.mark.parametrize("section", [labels.SECTION, learnt.SECTION], ids=["labels", "learnt"])
def test_nothing_leaves_the_canvas(shown: dict[str, Any], section: Section, width: float) -> None:
    with style.style(**style.paper(width)):
        figure = section.pictures[0].draw(shown)
        figure.set_dpi(300)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    assert -0.01 <= box.x0 < box.x1 <= width + 0.01
    assert -0.01 <= box.y0 < box.y1 <= figure.get_figheight() + 0.01


@pytest.mark.parametrize("name", ["label-curve", "weights"])
def test_figures_take_the_colours_of_the_page(shown: dict[str, Any], name: str) -> None:
    content = Drawings(PAGES["study"].pictures, shown).content(name, "svg", **{"svg.fonttype": "none"})
    text = svg.embed(content.decode(), prefix=name)
    assert not re.search(r"#[0-9a-f]{6}\b", text), "a colour that a dark page cannot change"


def test_a_study_with_all_labels_has_none_of_this(make_study: Callable[..., StudyResult]) -> None:
    study = make_study(seeds=2)
    page, summary = html(study), summarize(study)
    assert 'id="labels"' not in page
    assert 'id="learnt"' not in page
    assert summary["focusing"] == []
    assert fact(summary, "Labels") is None


def test_runs_are_compared_by_their_own_headline_arm(
    few: StudyResult, make_study: Callable[..., StudyResult]
) -> None:
    stacks = summarize_comparison({"one": few, "two": replace(few, config={**few.config, "student": "mor"})})
    assert stacks["headline"].startswith("Of 2 stacks of teachers, 2 help.")
    picture = comparison.GAINS.pictures[0]
    assert "the student of the stack of teachers (stack) minus" in picture.caption(stacks)
    columns = [column["label"] for column in comparison.GAINS.tables[0](stacks)["columns"]]
    assert {"Labels", "Unlabelled"} <= set(columns)
    mixed = summarize_comparison({"one": few, "two": make_study(seeds=2)})
    assert "the student of the teacher minus" in picture.caption(mixed)
    ordinary = summarize_comparison({"two": make_study(seeds=2)})
    assert f"the student of the focused teacher ({HEADLINE}) minus" in picture.caption(ordinary)
    columns = [column["label"] for column in comparison.GAINS.tables[0](ordinary)["columns"]]
    assert "Labels" not in columns


def test_a_study_of_several_numbers_that_has_not_ended_says_how_far_each_is(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"labelled": ["0.1", "20/class"], "label_curve": ["1"]})
    done, begun = tmp_path / "labels" / "0.1", tmp_path / "labels" / "20-per-class" / "state"
    write_json(done / "results.json", {})
    write_json(begun / "seed-0000.json", {})
    summary = summarize_unfinished(tmp_path)
    assert summary["headline"] == "1 of 3 numbers of labels finished."
    assert summary["sentences"][:3] == [
        "Labels 0.1: finished.", "Labels 20/class: 1 fit finished.", "Labels 1: 0 fits finished.",
    ]  # fmt: skip

"""Results by ratio, and what validation chose."""

from dataclasses import replace

from mfh._report import style
from mfh._report.pages import PAGES, summarize


def test_lines_begin_where_nothing_is_removed(make_study, summary):
    joint = next(row["mean"] for row in summary["arms"] if row["arm"] == "joint")
    lines = summary["sweep"]["lines"]
    assert lines["general"][0]["ratio"] == 0
    assert lines["general"][0]["mean"] == lines["softened"][0]["mean"] == joint
    assert lines["softened-regular"][0]["ratio"] == 0.25  # softened from the start, so not `regular`
    assert list(summary["sweep"]["references"]) == ["no-kd", "regular"]
    result = make_study()
    result = replace(result, config={**result.config, "teacher_source": "regular"})
    summary = summarize(result)
    lines = summary["sweep"]["lines"]
    assert lines["general"][0]["mean"] == lines["softened-regular"][0]["mean"] != joint
    assert lines["softened"][0]["ratio"] == 0.25
    assert list(summary["sweep"]["references"]) == ["no-kd", "joint"]


def test_lines_differ_in_more_than_colour(summary, drawn):
    ax = drawn["ratio"].axes[0]
    labelled = [line for line in ax.lines if not line.get_label().startswith("_")]
    looks = [(line.get_marker(), str(line._dash_pattern)) for line in labelled]
    assert {line.get_label() for line in labelled} == {*summary["sweep"]["lines"], "no-kd", "regular"}
    assert len(set(looks)) == len(looks)


def test_the_line_of_an_own_arm_differs_too(with_own_arm):
    summary = summarize(with_own_arm)
    (picture,) = (picture for picture in PAGES["study"].pictures if picture.name == "ratio")
    with style.style():
        lines = [line for line in picture.draw(summary).axes[0].lines if line.get_label()[0] != "_"]
    assert "gradient" in [line.get_label() for line in lines]
    assert len({(line.get_marker(), str(line._dash_pattern)) for line in lines}) == len(lines)


def test_choices_are_counted(make_study):
    result = make_study()
    table = PAGES["study"].build_tables(summarize(result))["ratios"]["chosen"]
    assert [row[0]["text"] for row in table["rows"]] == ["general", "important", "softened"]
    for row in table["rows"]:
        assert sum(cell["value"] for cell in row[1:]) == 10
    assert [column["label"] for column in table["columns"]] == ["Arm", "0", "0.25", "0.5", "0.75"]
    heads = [column["label"] for column in table["columns"]][1:]
    counts = dict(zip(heads, (cell["value"] for cell in table["rows"][0][1:]), strict=True))
    chosen = [f"{choice.ratio:g}" for choice in result.chosen if choice.arm == "general"]
    assert counts == {ratio: chosen.count(ratio) for ratio in heads}

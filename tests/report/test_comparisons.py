"""All comparisons: the declared questions in their order, stars, and what intervals come from."""

from dataclasses import replace

from mfh._report.pages import PAGES, summarize
from mfh._report.sections.comparisons import SECTION


def table(result, name):
    return PAGES["study"].build_tables(summarize(result))["comparisons"][name]


def column(found, label):
    place = [column["label"] for column in found["columns"]].index(label)
    return [row[place]["text"] for row in found["rows"]]


def asking(result, shown):
    """The study with other answers, by question."""
    rows = [replace(c, shown=shown.get(c.question)) for c in result.comparisons]
    return replace(result, comparisons=rows)


def test_questions_are_listed_in_their_order_with_their_answers(make_study):
    found = table(make_study(), "questions")
    assert [text[:2] for text in column(found, "Question")] == ["1.", "2.", "3.", "4."]
    assert column(found, "Is general better than") == [
        "no-kd", "self", "mismatched", "joint, important and softened",
    ]  # fmt: skip
    assert column(found, "Answer") == ["yes", "yes", "not shown", "not asked"]


def test_a_question_needs_all_of_its_comparisons(make_study):
    result = asking(make_study(), dict.fromkeys((1, 2, 3, 4), True))
    assert column(table(result, "questions"), "Answer") == ["yes"] * 4
    rows = [replace(c, shown=False) if c.b == "joint" else c for c in result.comparisons]
    assert column(table(replace(result, comparisons=rows), "questions"), "Answer")[-1] == "not shown"


def test_a_star_marks_what_was_shown_and_not_what_is_significant(make_study):
    result = asking(make_study(), {1: True, 2: False})
    stars = [text.endswith("*") for text in column(table(result, "comparisons"), "Difference")]
    assert stars == [True] + [False] * (len(stars) - 1)


def test_an_absent_question_is_left_out(make_study):
    result = make_study()
    result = replace(result, comparisons=[c for c in result.comparisons if c.question in (1, None)])
    assert len(table(result, "questions")["rows"]) == 1
    result = replace(result, comparisons=[c for c in result.comparisons if c.question is None])
    assert "questions" not in PAGES["study"].build_tables(summarize(result))["comparisons"]
    assert "declared" not in SECTION.intro(summarize(result))


def test_the_words_name_the_kind_of_interval(make_study):
    result = make_study()
    assert "crossed components" in SECTION.intro(summarize(result))
    assert "Nadeau" not in SECTION.intro(summarize(result))
    grouped = replace(result, data={**result.data, "num_groups": 12})
    assert "how much groups differ" in SECTION.intro(summarize(grouped))
    plain = replace(result, comparisons=[replace(c, components=None) for c in result.comparisons])
    assert "Nadeau and Bengio" in SECTION.intro(summarize(plain))
    assert "crossed" not in SECTION.intro(summarize(plain))

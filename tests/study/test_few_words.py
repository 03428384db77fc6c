"""The sentences of studies with few labels: gain, second modality, label equivalents, focusing, reasons."""

from dataclasses import replace

import pytest

from mfh._study.few.words import describe_curve, describe_equivalent, describe_gain
from mfh._study.sentences import write_verdict
from mfh.arms import FEW_LABELS, STACK
from mfh.comparing import decide
from mfh.results import Comparison, MetricInfo

ACCURACY = MetricInfo("accuracy")
LABELS = {"labelled": 79.6, "unlabelled": 1520.0}


def compare(a: str, b: str, low: float, high: float, question: int | None = None) -> Comparison:
    shown = None if question is None else low > 0
    low, high = float(low), float(high)
    return Comparison(a, b, None, 10, (low + high) / 2, low, high, None, None, 0.01, question, shown)


def gain_words(
    low: float, high: float, *, metric: MetricInfo = ACCURACY, beyond: tuple[float, float] = (4, 8)
) -> str:
    versus = {"self": compare(STACK, "self", *beyond)}
    return describe_gain(compare(STACK, "no-kd", low, high), versus, LABELS, metric, ("fou", "zer"), 0.95)


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (
            5.0,
            9.0,
            "A student of `zer` with 80 labels and 1,520 unlabelled pairs gains +7.0 points from teachers "
            "that also see `fou` (95% +5.0 to +9.0, 10 fits); the second modality is "
            "needed (+6.0 over self-training).",
        ),
        (
            -9.0,
            -5.0,
            "A student of `zer` with 80 labels and 1,520 unlabelled pairs loses 7.0 points with teachers "
            "that also see `fou` (95% -9.0 to -5.0, 10 fits).",
        ),
        (
            -0.5,
            0.7,
            "A student of `zer` with 80 labels and 1,520 unlabelled pairs neither gains nor loses a point "
            "with teachers that also see `fou` (+0.1 points, 95% -0.5 to +0.7, 10 fits).",
        ),
        (
            -1.0,
            3.0,
            "It is open whether a student of `zer` with 80 labels and 1,520 unlabelled pairs gains from "
            "teachers that also see `fou` (+1.0 points, 95% -1.0 to +3.0, 10 fits).",
        ),
    ],
)
def test_a_gain_in_words(low: float, high: float, sentence: str) -> None:
    assert gain_words(low, high) == sentence


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        ((-3.0, -1.0), "; self-training alone does better (-2.0 over self-training, -3.0 to -1.0)."),
        ((-0.4, 0.8), "; the second modality is not needed (+0.2 over self-training, -0.4 to +0.8)."),
        (
            (-1.0, 3.0),
            "; it is open whether the second modality is needed (+1.0 over self-training, -1.0 to +3.0).",
        ),
    ],
)
def test_the_second_modality_in_words(beyond: tuple[float, float], words: str) -> None:
    assert gain_words(5.0, 9.0, beyond=beyond).endswith(words)


def test_a_metric_of_which_less_is_better() -> None:
    error = MetricInfo("error", higher_is_better=False, margin=0.1)
    assert "gains 0.50 points from teachers" in gain_words(-0.8, -0.2, metric=error, beyond=(-0.8, -0.2))
    assert "loses 0.50 points with teachers" in gain_words(0.2, 0.8, metric=error)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ((183.0, 129.0, 243.0), "The teachers are worth 180 further labels (95% 130 to 240)."),
        (
            (None, 310.0, None),
            "The teachers are worth more than all 1,600 labels (95% 310 further labels or more).",
        ),
        ((None, None, None), "The teachers are worth more than all 1,600 labels."),
    ],
)
def test_a_label_equivalent_in_words(found: tuple[float | None, ...], sentence: str) -> None:
    values = dict(zip(("further", "low", "high"), found, strict=True))
    assert describe_equivalent({"labels": 80.0, "most": 1600.0, **values}) == sentence


def test_the_terminal_has_a_line_for_each_number_of_labels() -> None:
    def point(count: str, labels: float, gain: float) -> dict[str, object]:
        stack = {"arm": STACK, "mean": 72.0 + gain, "gain": gain, "gain_low": gain - 2, "gain_high": gain + 2}
        return {"count": count, "labels": labels, "arms": [{"arm": "no-kd", "mean": 72.0}, stack]}

    worth = {"labels": 80.0, "most": 1600.0, "further": 183.0, "low": 129.0, "high": 243.0}
    curve = [point("0.05", 80.0, 7.0), point("0.3", 480.0, 1.0)]
    curve.append({"count": "1", "labels": 1600.0, "arms": [{"arm": "no-kd", "mean": 84.0}]})
    labels = {"curve": curve, "equivalents": {"0.05": worth, "0.3": worth}}
    assert describe_curve(labels, ACCURACY) == [
        "80 labels: no-kd 72.0, stack 79.0 (+7.0, 95% +5.0 to +9.0). The teachers are worth 180 further "
        "labels (95% 130 to 240).",
        "480 labels: no-kd 72.0, stack 73.0 (+1.0, 95% -1.0 to +3.0).",
        "1,600 labels: no-kd 84.0.",
    ]
    assert describe_curve({}, ACCURACY) == []


def test_focusing_is_judged_by_the_comparisons_of_general() -> None:
    arms, focused = tuple(FEW_LABELS.values()), "general (chosen)"
    comparisons = [
        compare(STACK, "no-kd", 5, 9, 1),
        compare(STACK, "self", 4, 8, 2),
        compare(STACK, "mismatched", 0.5, 1.5, 3),
        compare(STACK, "joint", 0.2, 1.0),  # the stack beats joint, `general` does not
        compare(STACK, "important (chosen)", 0.2, 1.0),
        compare(focused, "joint", -0.5, 0.5, 4),
        compare(focused, "important (chosen)", 0.3, 1.0, 4),
        compare(focused, "softened (chosen)", -0.2, 0.9, 4),
    ]
    decision = decide(comparisons, arms=arms, source="joint", metric=ACCURACY)
    words = {"modalities": ("fou", "zer"), "alike": "of the same class", "softens": True, "labels": LABELS}
    verdict = write_verdict(decision, arms=arms, source="joint", metric=ACCURACY, **words)
    assert (verdict.verdict, verdict.focusing) == ("help", False)
    assert verdict.sentence.endswith(
        "Focusing the joint teacher on modality-general channels is not shown to help: its student "
        "(`general`) does not beat `joint` or `softened`."
    )
    starts = [reason.partition(" (")[0] for reason in verdict.reasons]
    assert starts == [
        "`stack` against `self`", "`stack` against `mismatched`", "`general` against `joint`",
        "`general` against `important`", "`general` against `softened`", "`stack` against `joint`",
    ]  # fmt: skip
    assert "outputs shuffled among samples of the same predicted class): +1.00 points" in verdict.reasons[1]
    beaten = [
        replace(row, low=0.1, difference=0.5, shown=True) if row.question == 4 else row for row in comparisons
    ]
    decision = decide(beaten, arms=arms, source="joint", metric=ACCURACY)
    verdict = write_verdict(decision, arms=arms, source="joint", metric=ACCURACY, **words)
    assert verdict.focusing
    assert verdict.sentence.endswith("helps: its student (`general`) beats every control.")

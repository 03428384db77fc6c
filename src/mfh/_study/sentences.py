"""The sentences of a study: its verdict, the reasons for it, and what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from mfh._checks import listing
from mfh._study.few.words import describe_gain, rounded
from mfh.arms import BASELINE, CHOSEN, HEADLINE, STACK, Arm
from mfh.comparing import ONE_OUTPUT, Decision, sees_teacher_side, source_arm
from mfh.results import Comparison, FailedStudent, MetricInfo, Verdict

NO_INTERVAL = {
    "one fit": "One fit cannot support a verdict: the gain in it was {difference}. Repeat with more.",
    "few units": "One or two groups cannot support a verdict: the gain was {difference}. More groups are "
    "needed, or no groups if their samples have nothing in common.",
    "no whole repeat": "No verdict: fits failed, and no repeat has all its folds. The gain in the others was "
    "{difference}. Repeat the command.",
}
"""Why a study has no interval."""
NO_SOFTENED = {
    True: "There is no `softened` arm: this loss compares features, which softening does not change, so it "
    "would repeat `joint`.",
    False: "There is no `softened` arm: these outputs are numbers, not probabilities that could be softer.",
}
"""Why that control of focusing is absent, by whether the task's outputs can be softened."""


def write_verdict(
    decision: Decision,
    *,
    arms: Sequence[Arm],
    source: str,
    metric: MetricInfo,
    modalities: tuple[str, str],
    alike: str,
    softens: bool,
    labels: Mapping[str, Any] | None = None,
    also: str = "",
    largest_class: str = "",
    level: float = 0.95,
) -> Verdict:
    """Return the verdict in words.

    Args:
        decision: of `mfh.comparing.decide`.
        arms: the arms of the study.
        source: the teacher whose channels are removed.
        metric: the metric of the verdict.
        modalities: of teacher and student.
        alike: what samples that `mismatched` shuffles among have in common, such as `of the same class`.
        softens: whether the task's outputs are probabilities.
        labels: where labels are missing, how many there are; see `StudyResult.labels`.
        also: what the teacher sees that the student does not.
        largest_class: the class with most samples and its share, in words.
        level: coverage of the intervals, in (0, 1).
    """
    gain = decision.gain
    if gain is None or gain.low is None or gain.high is None:
        return Verdict("abstain", None, _why_none(decision, arms, source))
    if labels and gain.a == STACK and not decision.without_spread and not decision.one_class:
        first = describe_gain(gain, decision.versus or {}, labels, metric, (also, modalities[1]), level)
    else:
        first = _on_distillation(decision, gain, metric, largest_class, level)
    sentences = [first]
    if decision.verdict == "abstain" and not decision.one_class:
        sentences.append(_what_would_decide(gain))
    if decision.asked:
        sentences.append(_on_focusing(decision, source))
    sentence = " ".join(filter(None, sentences))
    reasons = [
        _reason(row, gain.a, arms, source, modalities, alike) for row in _shown(decision, arms, source)
    ]
    for name, why in (decision.absent or {}).items():
        lost = f"No {_names([name])} student was left to compare with: they diverged."
        reasons.append(lost if why == "diverged" else NO_SOFTENED[softens])
    return Verdict(decision.verdict, decision.focusing, sentence, tuple(reasons), decision.one_class)


def _shown(decision: Decision, arms: Sequence[Arm], source: str) -> list[Comparison]:
    """Return the comparisons that the reasons name: declared ones first, those of focusing in their order."""
    versus, focused = decision.versus or {}, decision.focused
    declared = [row for row in versus.values() if row.question in (2, 3)]
    plain = [arm.name for arm in arms if arm.is_plain and sees_teacher_side(arm, source)]
    others = [versus[name] for name in plain if name in versus]
    return list({(row.a, row.b): row for row in (*declared, *focused.values(), *others)}.values())


def _why_none(decision: Decision, arms: Sequence[Arm], source: str) -> str:
    """Return why there is no interval to decide by."""
    names = {arm.name for arm in arms}
    if decision.gain is not None:
        return NO_INTERVAL[decision.gain.reason].format(difference=f"{decision.gain.difference:+.2f} points")
    if BASELINE not in names:
        return f"No verdict: the arm `{BASELINE}`, which gains are measured against, was not trained."
    plain = source_arm(arms, source)
    heads = [name for name in (HEADLINE, plain.name if plain else None) if name in names]
    if not heads:
        return f"No verdict: neither the arm `{HEADLINE}` nor `{source}` was trained."
    shown = " and ".join(f"`{name}`" for name in heads)
    return f"No verdict: every student of {shown} with the declared loss diverged."


def _on_distillation(
    decision: Decision, gain: Comparison, metric: MetricInfo, largest_class: str, level: float
) -> str:
    name = f"{100 * level:.3g}% interval"
    span = f"{gain.difference:+.2f} points, {name} {gain.low:+.2f} to {gain.high:+.2f}, {gain.n} fits"
    if decision.one_class:
        why = f"the largest class is {largest_class}, and a network that always predicts it is right as often"
        if decision.one_output:
            arms = " and ".join(f"`{name}`" for name in decision.one_output)
            why = f"the students of {arms} give one class to over {100 * ONE_OUTPUT:g}% of the test samples"
        return (
            f"Accuracy cannot show whether crossmodal distillation helps ({span}): {why}. Repeat with "
            "`--metric balanced-accuracy`, `auroc` or `average-precision`."
        )
    if decision.without_spread:
        return (
            f"All {gain.n} fits differ by the same {gain.difference:+.2f} points, or in too few samples, so "
            "the spread is unknown: repeat with more."
        )
    none = "of a point" if metric.margin == 1 else f"of {metric.margin:g}"
    return {
        "help": f"Crossmodal distillation helps this student ({span}).",
        "hurt": f"Crossmodal distillation hurts this student ({span}).",
        "no-effect": f"Crossmodal distillation makes no difference {none} here ({span}).",
        "abstain": f"It is open whether crossmodal distillation helps this student ({span}).",
    }[decision.verdict]


def _what_would_decide(gain: Comparison) -> str:
    """Return what would decide a comparison that is open."""
    if gain.components is None or gain.p is None:
        return ""
    if gain.components["repeats"] == 1 and gain.components["folds"] > 1:
        return "Two repeats or more show how many would decide it."
    if gain.repeats_needed is not None:
        return f"About {gain.repeats_needed} repeats in all will probably decide it (`--repeats`)."
    if gain.samples_needed is None:
        return "More repeats may not decide it."
    return (
        "More repeats may not decide it. If the difference is as estimated, a study of about "
        f"{rounded(gain.samples_needed):,} samples probably will."
    )


def _on_focusing(decision: Decision, source: str) -> str:
    """Return whether focusing itself is shown to help; its controls are compared with `general`."""
    stacked = decision.gain is not None and decision.gain.a == STACK
    lost = [name for name, why in (decision.absent or {}).items() if why == "diverged"]
    unbeaten = [name for name in decision.asked if name not in decision.beaten and _compared(decision, name)]
    if decision.focusing and stacked:
        return (
            f"Focusing the {source} teacher on modality-general channels helps: its student (`general`) "
            "beats every control."
        )
    if decision.focusing:
        return "Focusing on modality-general channels is the reason: `general` beats every control."
    if decision.focusing is None:
        controls, were = ("control", "was") if len(decision.left_out) == 1 else ("controls", "were")
        return (
            f"Whether focusing on modality-general channels matters is open: the {controls} "
            f"{_names(decision.left_out)} {were} not trained."
        )
    if not unbeaten and not lost:
        return (
            "Whether focusing on modality-general channels matters is open: `general` beats its controls, "
            "but this counts only if the declared questions before it are answered with yes."
        )
    if stacked:
        *others, last = [_names([name]) for name in (*unbeaten, *lost)]
        names = f"{', '.join(others)} or {last}" if others else last
        return (
            f"Focusing the {source} teacher on modality-general channels is not shown to help: its student "
            f"(`general`) does not beat {names}."
        )
    return (
        "Focusing on modality-general channels is not shown to matter: it does not beat "
        f"{_names([*unbeaten, *lost])}."
    )


def _compared(decision: Decision, name: str) -> bool:
    return name in decision.focused


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name.removesuffix(CHOSEN)}`" for name in names)


def _reason(
    comparison: Comparison,
    head: str,
    arms: Sequence[Arm],
    source: str,
    modalities: tuple[str, str],
    alike: str,
) -> str:
    """Return a comparison in words; the arm that is compared is named where several are."""
    name = comparison.b.removesuffix(CHOSEN)
    arm = next(arm for arm in arms if arm.name == name)
    words = arm.explain(teacher=modalities[0], student=modalities[1], source=source)
    plain = comparison.a == head and head != STACK
    start = "Against" if plain else f"`{comparison.a.removesuffix(CHOSEN)}` against"
    return (
        f"{start} `{name}` ({words.removeprefix('control: ').replace('of the same class', alike)}): "
        f"{comparison.difference:+.2f} points ({comparison.low:+.2f} to {comparison.high:+.2f})."
    )


def describe_failed(failed: Sequence[FailedStudent], losses: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each loss of which students diverged."""
    sentences = []
    for loss in losses:
        mine = [student for student in failed if student.loss == loss]
        seeds = sorted({student.seed for student in mine})
        if mine:
            arms = listing(dict.fromkeys(student.arm for student in mine))
            sentences.append(
                f"{len(mine)} students with the loss `{loss}` diverged and are left out of summary and "
                f"comparisons (arms {arms}; seeds {', '.join(map(str, seeds))}). The field `failed` of "
                "results.json gives the reason of each."
            )
    return tuple(sentences)

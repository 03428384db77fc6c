"""A teacher that exists: logits in the data, or a network that stays as it is. Nothing of it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from torch import nn

from mfh._checks import listing, require
from mfh.arms import DEFAULT, FEW_LABELS, FUSED, STACK, Arm, Question
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.losses import DistillLoss
from mfh.recipe import GIVEN_TEACHER
from mfh.training.fingerprint import network_fingerprint

GIVEN = "regular"
"""The name that the given teacher has among the teachers of a study."""
UNTRAINED = (None, GIVEN, "unimodal")
"""Teachers for which nothing that sees the teacher's modality is trained."""
UNTRAINED_FEW = (*UNTRAINED, "self", STACK)
"""The same with few labels, where the given teacher is a member of the stack."""


def arms_for(arms: Sequence[Arm], config: StudyConfig, *, few_labels: bool = False) -> tuple[Arm, ...]:
    """Return the arms that a given teacher allows, which are all of them if the teacher is trained.

    Left out are arms whose teacher would have to be trained, and with logits alone those that remove channels
    or are as soft as an arm that does. Controls that shuffle the outputs of another teacher shuffle those of
    the given one; with few labels those of its stack with the networks that see the student's modality.
    """
    if not config.given_teacher:
        return tuple(arms)
    untrained = UNTRAINED_FEW if few_labels else UNTRAINED
    arms = [_of_given(arm, untrained) if arm.output == "shuffled" else arm for arm in arms]
    channels = config.teacher_logits is None
    kept = [
        arm
        for arm in arms
        if arm.teacher_name(GIVEN) in untrained and (channels or (arm.ranking is None and arm.like is None))
    ]
    require(
        any(arm.teacher_name(GIVEN) in (GIVEN, STACK) for arm in kept),
        f"`arms` must hold one that learns from the given teacher, such as {GIVEN}. Got "
        f"{listing(arm.name for arm in arms)}.",
    )
    return tuple(_described(arm) if arm.name == GIVEN else arm for arm in kept)


def _described(arm: Arm) -> Arm:
    """Return the arm that learns from the given teacher, with words that say so."""
    asks = {
        name: text.replace("regular teacher", "given teacher") for name, text in asdict(arm.question).items()
    }
    return replace(arm, words="the {teacher} teacher that was given", question=Question(**asks))


def _of_given(arm: Arm, untrained: Sequence[str | None]) -> Arm:
    """Return an arm of another teacher that sees the teacher's modality as one of the given teacher."""
    if arm.teacher_name(GIVEN) in untrained:
        return arm
    words = arm.words.replace(f"the {arm.teacher} teacher", "the given teacher")
    return replace(arm, teacher=GIVEN, words=words)


def recipe_name(config: StudyConfig, teacher: str) -> str:
    """Return what recipes of a search call a teacher."""
    return GIVEN_TEACHER if config.given_teacher and teacher == GIVEN else teacher


def describe_left_out(config: StudyConfig, arms: Sequence[Arm], *, few_labels: bool = False) -> str:
    """Return which arms a study leaves out because its teacher is given, or sees both; empty if none.

    Args:
        config: the options of the study, with the arms that were asked for.
        arms: the arms that it trains.
        few_labels: whether labels are missing.
    """
    names = {arm.name for arm in arms}
    asked = [arm.name for arm in FEW_LABELS.values() if not arm.hidden_labels]
    asked = asked if few_labels and config.arms == DEFAULT else list(config.arms)
    absent = [name for name in asked if name not in names and "." not in name and ":" not in name]
    if config.teacher_source == FUSED:
        rest = [name for name in absent if name in ("joint", "softened-regular")]
        are = "is" if len(rest) == 1 else "are"
        left = (
            f" {listing(rest)} {are} left out: both networks of a pair would agree through {config.student}."
        )
        return (
            f"The teacher sees {config.student} too, so `{FUSED}` takes the place of `regular`."
            f"{left if rest else ''}"
        )
    if not config.given_teacher or not absent:
        return ""
    logits = config.teacher_logits
    as_what = "" if logits is None else f" as the logits `{logits}`, without channels to remove"
    then = f"{listing(absent)} are left out"
    if config.searches:
        then = "recipes have it, `self` or their stack as a teacher, or none"
    return f"The teacher is given{as_what}, and nothing of it is trained: {then}."


def require_given(
    data: PairedDataset,
    config: StudyConfig,
    teacher: nn.Module,
    again: nn.Module,
    losses: Mapping[str, DistillLoss],
) -> None:
    """Check a given teacher.

    Args:
        data: all samples.
        config: the options of the study.
        teacher: its network.
        again: the same network, made once more.
        losses: the distillation losses of the study by name.

    Raises:
        InputError: the logits have another shape than the task needs, or a loss compares features; the
            network has other weights each time it is made; the labels are numbers.
    """
    name = config.teacher_logits
    require(
        data.task != "regression",
        "`teacher_logits` and `frozen_teacher` must be left out for the task regression, whose targets are "
        "standardised in each fit.",
    )
    if name is not None:
        require(
            data.shape(name) == data.output_shape,
            f"`teacher_logits` {name} must hold {data.outputs_wanted}. Got shape "
            f"{(len(data), *data.shape(name))}.",
        )
        compare = [loss for loss in losses if losses[loss].features]
        require(
            not compare,
            f"`losses` must not hold {listing(compare)} with `teacher_logits`: they compare features, and "
            "logits have none. Use kl, dkd or dist.",
        )
        return
    require(
        network_fingerprint(teacher) == network_fingerprint(again),
        "`frozen_teacher` needs the same weights each time the teacher's network is made. They differ: give "
        "a `checkpoint`, or a function that loads weights.",
    )

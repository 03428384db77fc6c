"""The arms by name: those that come with mfh, and those of users."""

import importlib
import re
from collections.abc import Iterable
from dataclasses import replace

from mfh._checks import InputError, listing, require
from mfh.arms.arm import SOURCE, Arm, Question, Ranking
from mfh.arms.both import FUSED, arms_of_both
from mfh.arms.built_in import BUILT_IN
from mfh.arms.few import FEW

ARMS: dict[str, Arm] = {arm.name: arm for arm in BUILT_IN}
"""Arms by name, in the order in which they are shown; `register_arm` adds to them."""
DEFAULT = tuple(ARMS)
"""The arms that a study trains by default, where all samples have labels."""
FEW_LABELS: dict[str, Arm] = {arm.name: arm for arm in FEW}
"""The arms of a study where labels are missing, by name; some have the names of other arms."""
ONLY_FEW = tuple(name for name in FEW_LABELS if name not in ARMS)
"""Arms that need missing labels."""
ALL_LABELS = ("regular", "joint", "unimodal")
"""The teachers of a study where all samples have labels."""
PILOT = tuple(arm.name for arm in BUILT_IN if arm.pilot)
"""The arms that a diagnosis trains."""
FEW_PILOT = ("no-kd", "self", "stack")
"""The arms that a diagnosis trains where labels are missing."""


def register_arm(arm: Arm, ranking: Ranking | None = None) -> Arm:
    """Make an arm known by its name, for `StudyConfig.arms` and `--arms`.

    Args:
        arm: the arm; see `Arm`.
        ranking: what orders the channels of the source teacher; see `Ranking`. By default `arm.ranking`.

    Returns:
        The arm with its ranking.

    Raises:
        InputError: the name belongs to an arm that comes with mfh; a field of the arm breaks a rule.

    Example:
        >>> def by_spread(features, head, student_logits, *, saliency):
        ...     return features.flatten(1).std(dim=0)
        >>> register_arm(Arm(name="spread", teacher="source"), ranking=by_spread).takes_ratio
        True
        >>> del ARMS["spread"]
    """
    require(
        arm.name not in DEFAULT,
        f"`name` must not be that of an arm that comes with mfh. Got {arm.name!r}: choose another name.",
    )
    arm = _described(arm if ranking is None else replace(arm, ranking=ranking))
    ARMS[arm.name] = arm
    return arm


def find_arms(names: Iterable[str], *, few_labels: bool = False, both: str = "") -> tuple[Arm, ...]:
    """Return the arms of these names or import paths, in the order in which they are shown.

    Args:
        names: names of `ARMS`, or import paths of an `Arm`, such as `mypackage.arms:gradient`.
        few_labels: whether labels are missing; names are then those of `FEW_LABELS`, by default all of them.
        both: the source teacher of a study whose teacher sees both modalities; see `arms_of_both`.

    Raises:
        InputError: there is no such arm (the text lists those there are), an import path may not be used or
            gives no `Arm`, or a softened arm is without the arm whose entropy it takes.

    Example:
        >>> [arm.name for arm in find_arms(["joint", "no-kd"])]
        ['no-kd', 'joint']
    """
    names = tuple(names)
    if few_labels and names == DEFAULT:
        names = tuple(FEW_LABELS)
    if both and not few_labels:
        names = tuple("regular" if name == FUSED else name for name in names)
    if not few_labels:
        alone = [name for name in names if name in ONLY_FEW]
        require(
            not alone,
            f"`arms` must not hold {listing(alone)} where all labels are used: hide some, or ask for this "
            "protocol with all of them, with `labelled` (`--labelled 0.1`, `--labelled 1`).",
        )
    found = {arm.name: arm for name in names for arm in [_find(name, few_labels)]}
    for arm in found.values():
        require(
            arm.like is None or arm.like in found,
            f"`arms` must hold {arm.like} if they hold {arm.name}, whose outputs are made as soft. "
            f"Got {listing(found)}.",
        )
    for arm in () if few_labels else found.values():
        require(
            arm.teacher in (None, SOURCE, *ALL_LABELS, *([FUSED] if both else [])),
            f"`teacher` of the arm {arm.name} must be one of {listing(ALL_LABELS)} with all labels. "
            f"Got {arm.teacher!r}: hide some labels with `labelled`.",
        )
    order = [*(FEW_LABELS if few_labels else ()), *ARMS, *found]
    arms = tuple(sorted(found.values(), key=lambda arm: order.index(arm.name)))
    return arms_of_both(arms, both) if both else arms


def why_no_arm(name: object) -> str | None:
    """Return why a name can be no arm's; None for names of `ARMS` and for what may be an import path."""
    if isinstance(name, str) and (name in ARMS or name in ONLY_FEW or re.fullmatch(r"\w+([.:]\w+)+", name)):
        return None
    former = ". The arm `unimodal` is called `self` now" if name == "unimodal" else ""
    known = listing([*ARMS, *ONLY_FEW])
    return f"hold names of arms, {known}, or import paths such as `package.module:name`{former}"


def _find(name: str, few_labels: bool) -> Arm:
    if few_labels and name in FEW_LABELS:
        return FEW_LABELS[name]
    if name in ARMS:
        return ARMS[name]
    rule = why_no_arm(name)
    require(rule is None, f"`arms` must {rule}. Got {name!r}.")
    module, _, attribute = name.replace(":", ".").rpartition(".")
    from mfh._system.import_paths import require_own  # imports more than results and reports need

    require_own(name)
    try:
        value = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"`arms`: {name} cannot be imported: {error}.") from error
    require(
        isinstance(value, Arm),
        f"`arms`: {name} must be an mfh.Arm. Got {type(value).__name__}.",
    )
    require(
        value.name not in DEFAULT,
        f"`arms`: {name} must not have the name of an arm that comes with mfh. Got {value.name!r}.",
    )
    return _described(value)


def _described(arm: Arm) -> Arm:
    """Return an arm of the user's with words and a question, if it was given none."""
    words = arm.words or (
        f"the {{source}} teacher without the channels that {arm.name} ranks {arm.remove}"
        if arm.ranking is not None
        else f"the arm {arm.name}"
    )
    question = arm.question
    if not question.asks:
        question = Question(
            asks=f"Is it better than {arm.name}?",
            better=f"Yes: {arm.name} does worse.",
            same=f"No: {arm.name} does as well.",
            worse=f"No: {arm.name} does better.",
        )
    return replace(arm, words=words, question=question)

"""The arms of a study whose teacher sees the student's modality too, beside another."""

from collections.abc import Sequence
from dataclasses import replace

from mfh.arms.arm import Arm, Look

FUSED = "fused"
"""The teacher of both modalities that learns from labels, and the arm that learns from it."""
WORDS = "a teacher of {teacher}, trained on its own"


def arms_of_both(arms: Sequence[Arm], source: str) -> tuple[Arm, ...]:
    """Return the arms for a teacher of both modalities.

    `fused` takes the place of `regular`. A pair whose teacher sees the student's modality agrees through it,
    so the joint teacher is left out unless it is the source; its controls are those of the fused teacher.

    Args:
        arms: of a study whose teacher sees the other modality alone.
        source: the teacher whose channels are removed, `fused` or `joint`.

    Example:
        >>> from mfh.arms.built_in import BUILT_IN
        >>> [arm.name for arm in arms_of_both(BUILT_IN, "fused")][2:6]
        ['fused', 'general', 'important', 'softened']
    """
    found: dict[str, Arm] = {}
    fused = any(arm.name == FUSED for arm in arms)
    for arm in arms:
        if arm.name == "softened-regular" or (arm.name == "regular" and fused):
            continue
        if arm.name in ("regular", FUSED):
            made = replace(arm, name=FUSED, teacher=FUSED, words=WORDS, look=Look(color="purple", marker="P"))
        elif arm.teacher == "regular" or (arm.teacher in ("joint", "joint-student") and source != "joint"):
            if arm.is_plain:
                continue
            words = arm.words.replace(f"the {arm.teacher} teacher", f"the {FUSED} teacher")
            made = replace(arm, teacher=FUSED, words=words)
        else:
            made = arm
        found[made.name] = made
    return tuple(found.values())

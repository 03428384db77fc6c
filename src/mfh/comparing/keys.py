"""Which arms a study compares with each other, and by which names tables hold them."""

from collections.abc import Iterator, Sequence

from mfh.arms import BASELINE, CHOSEN, FOCUSING, HEADLINE, SEARCHED, STACK, TEACHERS, Arm

Key = tuple[str, float | None]
"""An arm's name and its ratio."""


def chosen_key(arm: Arm) -> Key:
    """Return the key of an arm at the ratio that validation chose."""
    return arm.name + CHOSEN, None


def source_arm(arms: Sequence[Arm], source: str) -> Arm | None:
    """Return the arm that learns from the source teacher with nothing removed; None where there is none."""
    return next((arm for arm in arms if arm.is_plain and arm.teacher_name(source) == source), None)


def focusing_controls(arms: Sequence[Arm], source: str) -> tuple[Key, ...]:
    """Return the arms that `general` must beat before focusing itself is credited.

    They are the source teacher with nothing removed and every control. A softened control counts where it
    learns from the source teacher.
    """
    plain = source_arm(arms, source)
    controls = [
        arm for arm in arms if arm.control and (arm.like is None or arm.teacher_name(source) == source)
    ]
    keys = [(arm.name, None) if not arm.takes_ratio else chosen_key(arm) for arm in controls]
    return (*([(plain.name, None)] if plain else []), *keys)


def sees_teacher_side(arm: Arm, source: str) -> bool:
    """Return whether an arm has a teacher of a study, and that teacher sees the modality that students lack.

    A recipe may have teachers of its own, which are not in `TEACHERS`.
    """
    name = arm.teacher_name(source)
    return name in TEACHERS and TEACHERS[name].side != "student"


def headline_key(arms: Sequence[Arm], source: str) -> Key | None:
    """Return the arm that the verdict is about, or None.

    It is `searched` after a search, and `stack` where labels are missing; else `general (chosen)`, or the
    source teacher's arm without it.
    """
    for name in (SEARCHED, STACK):
        if any(arm.name == name for arm in arms):
            return name, None
    return focused_key(arms) or _plain_key(arms, source)


def focused_key(arms: Sequence[Arm]) -> Key | None:
    """Return the key of `general` at the chosen ratio; None where it is not trained."""
    general = next((arm for arm in arms if arm.name == HEADLINE), None)
    return None if general is None else chosen_key(general)


def _plain_key(arms: Sequence[Arm], source: str) -> Key | None:
    plain = source_arm(arms, source)
    return None if plain is None else (plain.name, None)


def pairs(arms: Sequence[Arm], source: str, ratios: Sequence[float]) -> Iterator[tuple[Key, Key, int | None]]:
    """Yield what is compared with what, and the number of the declared question that this answers."""
    seen: set[tuple[Key, Key]] = set()
    for a, b, question in _all_pairs(arms, source, ratios):
        if a != b and (a, b) not in seen:
            seen.add((a, b))
            yield a, b, question


def _all_pairs(
    arms: Sequence[Arm], source: str, ratios: Sequence[float]
) -> Iterator[tuple[Key, Key, int | None]]:
    base = (BASELINE, None)
    alone = [arm for arm in arms if not arm.takes_ratio]
    yield from _declared_pairs(arms, source)
    for arm in alone:
        yield (arm.name, None), base, None
    for arm in alone:  # outputs that were changed against the same teacher's as they are
        plain = next((p for p in alone if p.is_plain and p.teacher == arm.teacher), None)
        if plain is not None and arm.teacher is not None and not arm.is_plain:
            yield (plain.name, None), (arm.name, None), None
    yield from _own_pairs(arms, source, ratios)
    general = next((arm for arm in arms if arm.name == HEADLINE), None)
    for ratio in ratios if general is not None else ():
        for arm in arms:
            if arm.takes_ratio:
                yield (HEADLINE, ratio), (arm.name, ratio), None
        for arm in alone:
            if arm.name == BASELINE or (arm.is_plain and sees_teacher_side(arm, source)):
                yield (HEADLINE, ratio), (arm.name, None), None


def _declared_pairs(arms: Sequence[Arm], source: str) -> Iterator[tuple[Key, Key, int | None]]:
    """Yield the comparisons of the headline arm, and those of `general` with its controls."""
    head, focused = headline_key(arms, source), focused_key(arms)
    if head is None:
        return
    controls = focusing_controls(arms, source)
    for arm in arms:
        if arm.has_chosen or not arm.takes_ratio:
            key = chosen_key(arm) if arm.has_chosen else (arm.name, None)
            focusing = FOCUSING if key in controls and head == focused else None
            yield head, key, arm.declared or focusing
    if focused is not None and head != focused:
        for key in controls:
            yield focused, key, FOCUSING


def _own_pairs(
    arms: Sequence[Arm], source: str, ratios: Sequence[float]
) -> Iterator[tuple[Key, Key, int | None]]:
    """Yield the comparisons of the user's own rankings with no teacher, the source teacher and importance."""
    plain = source_arm(arms, source)
    by_importance = next((arm for arm in arms if arm.ranking == "importance"), None)
    for arm in arms:
        if not arm.is_own:
            continue
        keys: list[tuple[Key, float | None]] = [((arm.name, ratio), ratio) for ratio in ratios]
        for mine, ratio in [(chosen_key(arm), None), *keys] if arm.has_chosen else keys:
            yield mine, (BASELINE, None), None
            if plain is not None:
                yield mine, (plain.name, None), None
            if by_importance is not None:
                theirs = chosen_key(by_importance) if ratio is None else (by_importance.name, ratio)
                yield mine, theirs, None

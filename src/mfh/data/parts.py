"""Names of modalities, and of several at once: `lidar+camera` is what a teacher of both sees."""

from collections.abc import Collection, Iterator, Sequence

from mfh._checks import InputError, listing, require

JOIN = "+"
"""What stands between the names of modalities that are seen together."""


def join_names(names: Sequence[str]) -> str:
    """Return one name for modalities that are seen together.

    >>> join_names(["lidar", "camera"])
    'lidar+camera'
    """
    return JOIN.join(names)


def split_name(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the modalities that a name stands for; the name of a modality itself wins.

    Args:
        name: of one modality, or of several with + between them.
        known: the modalities of the data, whose names may hold a + too.

    Raises:
        InputError: there is no such modality, a modality is named twice, or the name can be read in two ways.

    Example:
        >>> split_name("lidar+camera", ["lidar", "camera"])
        ('lidar', 'camera')
        >>> split_name("a+b", ["a", "b", "a+b"])
        ('a+b',)
    """
    if name in known:
        return (name,)
    found = list(_readings([part.strip() for part in name.split(JOIN)], known))
    have = f"They hold {listing(known)}: name one of these"
    held = have.replace("They", "The data")
    if not found:
        parts = [part.strip() for part in name.split(JOIN)]
        absent = [part for part in parts if part not in known]
        several = f", or several with {JOIN} between them" if len(parts) > 1 else ""
        require(all(absent), f"`{name}` must have a name before and after each {JOIN}. {held}{several}.")
        raise InputError(f"The data hold no modality {listing(absent)}. {have}{several}.")
    require(
        len(found) == 1,
        f"`{name}` can be read as {listing([join_names([f'[{part}]' for part in way]) for way in found])}. "
        "Rename a modality, so that its name holds no +.",
    )
    (parts_of,) = found
    require(
        len(set(parts_of)) == len(parts_of),
        f"`{name}` names a modality twice. {held}, or different ones with + between them.",
    )
    return parts_of


def _readings(words: Sequence[str], known: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Yield every way to read words as names of modalities, each a run of words with + between them."""
    if not words:
        yield ()
    for count in range(1, len(words) + 1):
        if (first := JOIN.join(words[:count])) in known:
            yield from ((first, *rest) for rest in _readings(words[count:], known))

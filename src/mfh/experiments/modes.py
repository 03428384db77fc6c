"""What a student of an experiment's steps can learn from. Free of torch, so that `--help` is instant."""

from mfh._checks import InputError, listing

MODES = {"general": 1, "specific": 2, "random": 0, "joint": -1, "regular": None, "no-kd": None}
"""What a student learns from, and the released code's number for it."""
FOCUSED = ("general", "specific", "random")


def arm_of(mode: str | int) -> str:
    """The arm that a mode names, by word or by the released code's number.

    Example:
        >>> arm_of("general"), arm_of(1), arm_of("-1")
        ('general', 'general', 'joint')

    Raises:
        InputError: there is no such mode.
    """
    numbers = {str(number): name for name, number in MODES.items() if number is not None}
    name = numbers.get(str(mode), str(mode))
    if name not in MODES:
        told = [f"{word} ({number})" if number is not None else word for word, number in MODES.items()]
        raise InputError(f"`mode` must be one of {listing(told)}. Got {mode!r} instead.")
    return name

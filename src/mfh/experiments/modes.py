"""The modes of `mfh ravdess verify` and `mfh vggsound distill`: arms, by name or the released code's number.

Only this module knows these numbers. It is free of torch, so that `--help` is quick.
"""

from mfh._checks import InputError, listing
from mfh.arms import ARMS, Arm

NUMBERS = {"general": 1, "specific": 2, "random": 0, "joint": -1}
"""The released code's number of each mode that it has."""
MODES: dict[str, Arm] = {name: ARMS[name] for name in (*NUMBERS, "regular", "no-kd")}
"""All modes by name; results compare each with those after it."""


def find_mode(mode: str | int) -> Arm:
    """Return the arm that a mode names, by its name or by the released code's number.

    Example:
        >>> find_mode("general").name, find_mode(1).name, find_mode("-1").name
        ('general', 'general', 'joint')

    Raises:
        InputError: there is no such mode.
    """
    by_number = {str(number): name for name, number in NUMBERS.items()}
    name = by_number.get(str(mode), str(mode))
    if name not in MODES:
        known = [f"{name} ({NUMBERS[name]})" if name in NUMBERS else name for name in MODES]
        raise InputError(f"`mode` must be one of {listing(known)}. Got {mode!r} instead.")
    return MODES[name]

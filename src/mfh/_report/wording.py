"""Number formats and small pieces of sentences that all sections share."""

import math
import re
from collections.abc import Sequence

from mfh.arms import CHOSEN

Number = float | int | None

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
SAME_CLASS = "of the same class"
OUTPUTS = {"multi-label": "label", "regression": "target"}
"""What one output of a network is, by task; a class where the task is not listed."""


def base(arm: str) -> str:
    """Return an arm's name without the mark of a chosen ratio.

    >>> base("general (chosen)")
    'general'
    """
    return arm.removesuffix(CHOSEN)


def title(metric: str) -> str:
    """Return the name of a metric for the start of a sentence.

    >>> title("accuracy"), title("mIoU")
    ('Accuracy', 'mIoU')
    """
    return metric.capitalize() if metric.islower() else metric


def of_task(text: str, alike: str) -> str:
    """Rewrite a sentence about samples of one class for a task whose samples are alike in another way.

    >>> of_task("No: outputs swapped within a class do better.", "with the same labels")
    'No: outputs swapped among samples with the same labels do better.'
    """
    if alike == SAME_CLASS:
        return text
    text = text.replace("within a class", f"among samples {alike}").replace(SAME_CLASS, alike)
    return text.replace("; what is taught is how classes resemble each other, and", ", so")


def number(value: Number, digits: int = 1) -> str:
    """Return a number with a true minus sign; a dash for None, NaN and infinity.

    >>> number(-0.04), number(-1.25, 2), number(None)
    ('0.0', '−1.25', '–')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not re.search("[1-9]", text) else text.replace("-", MINUS)


def signed(value: Number, digits: int = 1) -> str:
    """Return a difference with its sign.

    >>> signed(1.86), signed(-0.3), signed(0.01)
    ('+1.9', '−0.3', '0.0')
    """
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and re.search("[1-9]", text) else text


def interval(low: Number, high: Number, digits: int = 1, *, sign: bool = False) -> str:
    """Return both ends of an interval; a dash where there is none.

    >>> interval(-0.2, 1.25, 2, sign=True)
    '−0.20 to +1.25'
    """
    if low is None or high is None:
        return NOTHING
    form = signed if sign else number
    return f"{form(low, digits)} to {form(high, digits)}"


def percent(share: Number, digits: int = 0) -> str:
    """Return a share in [0, 1] as a percentage."""
    return NOTHING if share is None else f"{number(100 * share, digits)}%"


def level(coverage: float) -> str:
    """Return the coverage of an interval as a percentage.

    >>> level(0.95), level(0.98311)
    ('95%', '98.3%')
    """
    return f"{100 * coverage:.3g}%"


def two_digits(count: int | None) -> str:
    """Return a count with two significant digits; a dash for None.

    >>> two_digits(7), two_digits(78_912)
    ('7', '79,000')
    """
    if count is None:
        return NOTHING
    return f"{round(count, -max(len(str(count)) - 2, 0)):,}"


def p_value(p: Number) -> str:
    """Return a p-value to three places.

    >>> p_value(0.00002), p_value(0.0312)
    ('< 0.001', '0.031')
    """
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else number(p, 3)


def duration(seconds: Number) -> str:
    """Return seconds in words.

    >>> duration(0.31), duration(75), duration(7300)
    ('0.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(count: int, noun: str, many: str = "") -> str:
    """Return a count with its noun.

    >>> plural(1, "fit"), plural(2000, "sample"), plural(10, "class", "classes")
    ('1 fit', '2,000 samples', '10 classes')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def sequence(names: Sequence[str]) -> str:
    """Return names as a list in a sentence.

    >>> sequence(["joint", "important", "softened"])
    'joint, important and softened'
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def shorten(text: object, limit: int = 28) -> str:
    """Return a text on one line of at most `limit` characters.

    >>> shorten("a  name that is far too long", 12)
    'a name that…'
    """
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"

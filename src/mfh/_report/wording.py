"""Words and number formats that every part of a report shares."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

Number = float | int | None

CHOSEN = " (chosen)"
MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"

# What a student of each arm learns from, in the order in which arms are shown.
ARMS: dict[str, str] = {
    "no-kd": "labels only, no teacher",
    "no-kd-smoothed": "smoothed labels, no teacher; validation chose how smooth",
    "regular": "a {teacher} teacher trained on its own",
    "joint": "a {teacher} teacher trained together with a {student} student (Algorithm 1, step 1), "
    "nothing removed",
    "general": "the {source} teacher without its least salient channels",
    "important": "control: as general, but channels are ranked by the teacher alone",
    "softened": "control: the joint teacher, nothing removed, its outputs made as soft as those of general",
    "softened-regular": "control: the regular teacher, its outputs made as soft as those of general",
    "mismatched": "control: the joint teacher, its outputs shuffled among samples of the same class",
    "random": "the {source} teacher without channels picked at random",
    "specific": "the {source} teacher without its most salient channels",
    "unimodal": "a teacher of the same size that sees {student}, as the student does",
}

# What `general` is compared with, what that asks, and what each outcome means.
CONTROLS: dict[str, dict[str, str]] = {
    "no-kd": {
        "asks": "Does the teacher help at all?",
        "better": "Yes: imitating the focused teacher beats learning from labels alone.",
        "same": "No: labels alone do as well.",
        "worse": "No: labels alone do better, so this teacher does harm.",
    },
    "regular": {
        "asks": "Is it better than ordinary distillation?",
        "better": "Yes: a focused teacher teaches better than one trained on its own.",
        "same": "No: ordinary distillation does as well.",
        "worse": "No: ordinary distillation does better.",
    },
    "joint": {
        "asks": "Does removing channels add anything to joint training?",
        "better": "Yes: removing channels adds to what joint training gives.",
        "same": "No: the joint teacher with all its channels does as well.",
        "worse": "No: removing channels costs something.",
    },
    "important": {
        "asks": "Does it matter that channels are ranked with the student in view?",
        "better": "Yes: a ranking that never looks at the student does worse.",
        "same": "No: a ranking that never looks at the student does as well, so this run is no evidence "
        "for modality-generality.",
        "worse": "No: a ranking that never looks at the student does better.",
    },
    "softened": {
        "asks": "Is it more than softer outputs?",
        "better": "Yes: outputs as soft, with no channel removed, do worse.",
        "same": "No: outputs as soft, with no channel removed, do as well.",
        "worse": "No: outputs as soft, with no channel removed, do better.",
    },
    "mismatched": {
        "asks": "Does it matter which sample an output belongs to?",
        "better": "Yes: outputs swapped within a class do worse, so something about the sample is taught.",
        "same": "No: outputs swapped within a class do as well; what is taught is how classes resemble "
        "each other, and the pairing of the two modalities goes unused.",
        "worse": "No: outputs swapped within a class do better.",
    },
    "random": {
        "asks": "Does it matter which channels are removed?",
        "better": "Yes: random channels removed do worse. Any ranking by importance shows this.",
        "same": "No: random channels removed do as well.",
        "worse": "No: random channels removed do better.",
    },
    "specific": {
        "asks": "Is it better to keep the salient channels than to remove them?",
        "better": "Yes, as any ranking by importance would show; no evidence by itself.",
        "same": "No: the ranking makes no difference, in either direction.",
        "worse": "No: the ranking points the wrong way.",
    },
    "no-kd-smoothed": {
        "asks": "Is it more than label smoothing?",
        "better": "Yes: smoothed labels, without any teacher, do worse.",
        "same": "No: smoothed labels, without any teacher, do as well.",
        "worse": "No: smoothed labels, without any teacher, do better.",
    },
    "softened-regular": {
        "asks": "Would the regular teacher do, with softer outputs?",
        "better": "No: the regular teacher with outputs as soft does worse.",
        "same": "Yes: the regular teacher with outputs as soft does as well.",
        "worse": "Yes: the regular teacher with outputs as soft does better.",
    },
    "unimodal": {
        "asks": "Is the second modality needed?",
        "better": "Yes: a teacher of the student's own modality teaches less.",
        "same": "No: a teacher of the student's own modality does as well.",
        "worse": "No: a teacher of the student's own modality does better.",
    },
}
METRICS = {"R2": "100 \N{MULTIPLICATION SIGN} R\N{SUPERSCRIPT TWO}"}  # others are written as they are named
SAME_CLASS = "of the same class"
OUTPUTS = {"multi-label": "label", "regression": "target"}
OPEN = "Open: these seeds cannot tell the two apart."
SINGLE = "Open: one seed cannot say."


def base(arm: str) -> str:
    """The arm without the mark of a chosen ratio.

    >>> base("general (chosen)")
    'general'
    """
    return arm.removesuffix(CHOSEN)


def rank(arm: str) -> tuple[int, str, bool]:
    """Sort key: the order of `ARMS`, unknown arms last, chosen ratios before the others."""
    names = list(ARMS)
    return names.index(base(arm)) if base(arm) in names else len(names), base(arm), base(arm) == arm


def title(metric: str) -> str:
    """The name of a metric at the start of a sentence.

    >>> title("accuracy"), title("mIoU")
    ('Accuracy', 'mIoU')
    """
    return metric.capitalize() if metric.islower() else metric


def of_task(text: str, alike: str) -> str:
    """A sentence about samples of one class, said of samples that are alike in another way.

    >>> of_task("No: outputs swapped within a class do better.", "with the same labels")
    'No: outputs swapped among samples with the same labels do better.'
    """
    if alike == SAME_CLASS:
        return text
    text = text.replace("within a class", f"among samples {alike}").replace(SAME_CLASS, alike)
    return text.replace("; what is taught is how classes resemble each other, and", ", so")


def explain(arm: str, *, teacher: str, student: str, source: str) -> str:
    """What the students of an arm learn from; empty for an arm that is not known here."""
    return ARMS.get(base(arm), "").format(teacher=teacher, student=student, source=source)


def reading(row: Mapping[str, Any], zone: float) -> str:
    """What a paired difference shows: `better`, `worse`, `same` (inside +-zone), `open` or `single`."""
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return "single" if (row.get("n") or 0) <= 1 else "open"
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "same" if -zone <= low and high <= zone else "open"


def meaning(row: Mapping[str, Any], code: str) -> str:
    """The outcome `code` of comparing `general` with an arm, in a sentence."""
    if code in ("open", "single"):
        return OPEN if code == "open" else SINGLE
    text = CONTROLS.get(base(row["b"]), {}).get(code, "")
    p = row.get("p_holm")
    if text and code != "same" and p is not None and p >= 0.05:
        text += f" Weak evidence: corrected for the primary comparisons, p = {p_value(p)}."
    return text


def unit(metric: str) -> str:
    """The unit of a metric: shares are told in percent, errors and R^2 as they are.

    >>> unit("accuracy"), unit("mAP"), unit("r2")
    ('%', '%', '')
    """
    return "%" if any(word in metric.lower() for word in ("accuracy", "map", "miou", "auroc", "f1")) else ""


def number(value: Number, digits: int = 1) -> str:
    """A number with a true minus sign; a dash for None, NaN and infinity.

    >>> number(-0.04), number(-1.25, 2), number(None)
    ('0.0', '−1.25', '–')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not re.search("[1-9]", text) else text.replace("-", MINUS)


def signed(value: Number, digits: int = 1) -> str:
    """A difference, with its sign.

    >>> signed(1.86), signed(-0.3), signed(0.01)
    ('+1.9', '−0.3', '0.0')
    """
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and re.search("[1-9]", text) else text


def interval(low: Number, high: Number, digits: int = 1, *, sign: bool = False) -> str:
    """Both ends of an interval; a dash where there is none.

    >>> interval(-0.2, 1.25, 2, sign=True)
    '−0.20 to +1.25'
    """
    if low is None or high is None:
        return NOTHING
    form = signed if sign else number
    return f"{form(low, digits)} to {form(high, digits)}"


def percent(share: Number, digits: int = 0) -> str:
    """A share in [0, 1] as a percentage."""
    return NOTHING if share is None else f"{number(100 * share, digits)}%"


def p_value(p: Number) -> str:
    """A p-value to three places.

    >>> p_value(0.00002), p_value(0.0312)
    ('< 0.001', '0.031')
    """
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else number(p, 3)


def duration(seconds: Number) -> str:
    """Seconds as a person says them.

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
    """A count with its noun.

    >>> plural(1, "seed"), plural(2000, "sample"), plural(10, "class", "classes")
    ('1 seed', '2,000 samples', '10 classes')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def sequence(names: Sequence[str]) -> str:
    """Names as a list in a sentence.

    >>> sequence(["joint", "important", "softened"])
    'joint, important and softened'
    """
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def shorten(text: object, limit: int = 28) -> str:
    """One line of at most `limit` characters.

    >>> shorten("a  name that is far too long", 12)
    'a name that…'
    """
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"

"""The arms of a study as values: what each arm's students learn from, and how the arm is shown.

Everything that depends on an arm reads it from here: which teachers are trained, which students, what they
are compared with, and the words, colours and markers of tables, figures and the report. Free of torch.
"""

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from mfh._checks import InputError, listing, require

CHOSEN = " (chosen)"
"""Added to an arm's name for its students at the ratio that validation chose."""
SOURCE = "source"
"""Stands for the teacher whose channels the study ranks, `StudyConfig.teacher_source`."""
BASELINE = "no-kd"
"""The arm that every gain is measured against."""
HEADLINE = "general"
"""The arm that the verdict is about."""
RANKINGS = ("saliency", "importance", "random")
"""Rankings that come with mfh: Algorithm 1's saliency, the teacher's own importance, a random order."""
COLORS = ("ink", "muted", "blue", "orange", "green", "purple")

Ranking = Callable[..., Any]
"""A function `(features, head, student_logits, *, saliency)` that returns one number for each channel.

`features` are the teacher's at the chosen layer, (sample, channel, *position); `head` maps them to logits;
`student_logits` are those of the student that the teacher is ranked against, (sample, output); `saliency` is
the `mfh.SaliencyResult` of the same samples. Channels with small values are removed first.
"""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How an arm or a teacher is drawn.

    Attributes:
        color: one of `COLORS`.
        marker: marker of matplotlib.
        dashes: line style: "-" for a solid line, else the lengths of dashes and gaps in line widths.
    """

    color: str = "ink"
    marker: str = "o"
    dashes: str | Sequence[float | int] = "-"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the comparison of `general` with an arm asks, and what each outcome means.

    Attributes:
        asks: the question.
        better: the answer where `general` is better than the arm.
        same: the answer where the difference lies inside the zone of no effect.
        worse: the answer where `general` is worse.
    """

    asks: str = ""
    better: str = ""
    same: str = ""
    worse: str = ""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network that students learn from.

    Attributes:
        name: as in records.
        side: `teacher` or `student`: which of the two modalities it sees.
        words: what it is, for readers; {teacher} and {student} stand for the modalities.
        look: how its curve is drawn.
    """

    name: str
    side: Literal["teacher", "student"]
    words: str
    look: Look = Look()


TEACHERS: dict[str, Teacher] = {
    teacher.name: teacher
    for teacher in (
        Teacher(name="regular", side="teacher", words="a {teacher} teacher trained on its own"),
        Teacher(
            name="joint",
            side="teacher",
            words="a {teacher} teacher trained together with a {student} student (Algorithm 1, step 1)",
            look=Look(color="blue", dashes=(4, 1.5)),
        ),
        Teacher(
            name="unimodal",
            side="student",
            words="a teacher of the same size that sees {student}, as the student does",
            look=Look(color="orange", dashes=(1, 1.2)),
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm of a study.

    Attributes:
        name: lower-case letters, digits and hyphens; it appears in records, tables and flags.
        teacher: the teacher whose outputs the students learn from: a name of `TEACHERS`, `source` (the one
            whose channels the study ranks), or None for labels alone.
        ranking: what orders the source teacher's channels before some are removed: a name of `RANKINGS` or a
            function (see `Ranking`); None removes nothing.
        remove: which channels are removed, those ranked `lowest` or `highest`.
        output: what is done to the teacher's outputs: `unchanged`; `softened` to the mean entropy of the arm
            `like` at the same ratio; `shuffled` among training samples of the same class.
        like: for `softened`, the arm whose entropy is matched.
        smoothing: whether the labels are smoothed, by the share that validation chooses.
        declared: whether the comparison of `general` with this arm is declared before the data are seen.
        control: whether `general` must beat this arm before focusing is credited.
        pilot: whether `mfh diagnose` trains it.
        question: what the comparison of `general` with this arm asks.
        words: what the students learn from; `explain` fills in {teacher}, {student} and {source}.
        look: how it is drawn.

    Raises:
        InputError: a field breaks a rule.

    Example:
        >>> Arm(name="late", teacher="source", ranking=lambda features, *_, saliency: range(4)).takes_ratio
        True
    """

    name: str
    teacher: str | None = None
    ranking: str | Ranking | None = None
    remove: Literal["lowest", "highest"] = "lowest"
    output: Literal["unchanged", "softened", "shuffled"] = "unchanged"
    like: str | None = None
    smoothing: bool = False
    declared: bool = False
    control: bool = False
    pilot: bool = False
    question: Question = field(default_factory=Question)
    words: str = ""
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        """Check every field."""
        require(
            isinstance(self.name, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name) is not None,
            f"`name` of an arm must consist of lower-case letters, digits and hyphens. Got {self.name!r}.",
        )
        teachers = (*TEACHERS, SOURCE)
        require(
            self.teacher is None or self.teacher in teachers,
            f"`teacher` of the arm {self.name} must be one of {listing(teachers)}, or None for labels alone. "
            f"Got {self.teacher!r}.",
        )
        require(
            self.ranking is None or callable(self.ranking) or self.ranking in RANKINGS,
            f"`ranking` of the arm {self.name} must be one of {listing(RANKINGS)}, a function, or None. "
            f"Got {self.ranking!r}.",
        )
        require(
            self.ranking is None or self.teacher == SOURCE,
            f"`teacher` of the arm {self.name} must be {SOURCE!r}: only the channels of that teacher are "
            f"ranked. Got {self.teacher!r}.",
        )
        for name, allowed in (
            ("remove", ("lowest", "highest")),
            ("output", ("unchanged", "softened", "shuffled")),
        ):
            require(
                getattr(self, name) in allowed,
                f"`{name}` of the arm {self.name} must be one of {listing(allowed)}. "
                f"Got {getattr(self, name)!r}.",
            )
        require(
            (self.output == "softened") == (self.like is not None),
            f"`like` of the arm {self.name} must name an arm if `output` is 'softened', and only then. "
            f"Got {self.like!r}.",
        )

    @property
    def takes_ratio(self) -> bool:
        """Whether it has one student for each ratio of removed channels."""
        return self.ranking is not None or self.like is not None

    @property
    def is_drawn(self) -> bool:
        """Whether it has several draws of random channels."""
        return self.ranking == "random"

    @property
    def has_chosen(self) -> bool:
        """Whether validation chooses one of its ratios; random and reversed rankings only show a trend."""
        return self.takes_ratio and not self.is_drawn and self.remove == "lowest"

    @property
    def is_plain(self) -> bool:
        """Whether it learns from a teacher's outputs as they are."""
        return self.teacher is not None and not self.takes_ratio and self.output == "unchanged"

    @property
    def is_own(self) -> bool:
        """Whether its ranking is a function of the user's."""
        return callable(self.ranking) or self.ranking == "own"

    def teacher_name(self, source: str) -> str | None:
        """Return the name of its teacher, where `source` is the teacher whose channels are ranked."""
        return source if self.teacher == SOURCE else self.teacher

    def explain(self, *, teacher: str, student: str, source: str) -> str:
        """Return what the students learn from, in words.

        Args:
            teacher: the modality that teachers see.
            student: the modality that students see.
            source: the teacher whose channels are ranked.
        """
        names = {"teacher": teacher, "student": student, "source": source}
        words = re.sub(r"\{(teacher|student|source)\}", lambda found: names[found[1]], self.words)
        return f"control: {words}" if self.control else words

    def count(self, num_ratios: int, num_draws: int, num_smoothings: int) -> int:
        """Return how many students it has under one loss."""
        if self.smoothing:
            return num_smoothings
        return (num_ratios if self.takes_ratio else 1) * (num_draws if self.is_drawn else 1)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values; a ranking function becomes the word `own`."""
        return asdict(replace(self, ranking=None)) | {
            "ranking": "own" if callable(self.ranking) else self.ranking
        }


@dataclass(frozen=True, kw_only=True)
class ShownArm(Arm):
    """An arm as results keep it: its ranking may be the word `own`, for a function that is not kept."""

    def __post_init__(self) -> None:
        """Check nothing: what results hold was checked when it was made."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ShownArm":
        """Read what `Arm.to_dict` wrote.

        Raises:
            TypeError: the values are not those of an arm.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"an arm must be a mapping, not {values!r:.60}")
        known = {spec.name for spec in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        given["question"] = Question(**given.get("question", {}))
        look = dict(given.get("look", {}))
        if isinstance(look.get("dashes"), list):
            look["dashes"] = tuple(look["dashes"])
        given["look"] = Look(**look)
        return cls(**given)


_BUILT_IN = (
    Arm(
        name="no-kd",
        pilot=True,
        words="labels only, no teacher",
        look=Look(color="muted", dashes=(3, 2)),
        question=Question(
            asks="Does the teacher help at all?",
            better="Yes: imitating the focused teacher beats learning from labels alone.",
            same="No: labels alone do as well.",
            worse="No: labels alone do better, so this teacher does harm.",
        ),
    ),
    Arm(
        name="no-kd-smoothed",
        smoothing=True,
        words="smoothed labels, no teacher; validation chose how smooth",
        question=Question(
            asks="Is it more than label smoothing?",
            better="Yes: smoothed labels, without any teacher, do worse.",
            same="No: smoothed labels, without any teacher, do as well.",
            worse="No: smoothed labels, without any teacher, do better.",
        ),
    ),
    Arm(
        name="regular",
        teacher="regular",
        declared=True,
        pilot=True,
        words=TEACHERS["regular"].words,
        question=Question(
            asks="Is it better than ordinary distillation?",
            better="Yes: a focused teacher teaches better than one trained on its own.",
            same="No: ordinary distillation does as well.",
            worse="No: ordinary distillation does better.",
        ),
    ),
    Arm(
        name="joint",
        teacher="joint",
        declared=True,
        pilot=True,
        words=TEACHERS["joint"].words + ", nothing removed",
        look=Look(color="green", dashes=(6, 2)),
        question=Question(
            asks="Does removing channels add anything to joint training?",
            better="Yes: removing channels adds to what joint training gives.",
            same="No: the joint teacher with all its channels does as well.",
            worse="No: removing channels costs something.",
        ),
    ),
    Arm(
        name="general",
        teacher=SOURCE,
        ranking="saliency",
        pilot=True,
        words="the {source} teacher without its least salient channels",
        look=Look(color="blue", marker="D"),
    ),
    Arm(
        name="important",
        teacher=SOURCE,
        ranking="importance",
        declared=True,
        control=True,
        pilot=True,
        words="as general, but channels are ranked by the teacher alone",
        look=Look(color="orange", marker="s", dashes=(4, 1.5)),
        question=Question(
            asks="Does it matter that channels are ranked with the student in view?",
            better="Yes: a ranking that never looks at the student does worse.",
            same="No: a ranking that never looks at the student does as well, so this run is no evidence "
            "for modality-generality.",
            worse="No: a ranking that never looks at the student does better.",
        ),
    ),
    Arm(
        name="softened",
        teacher="joint",
        output="softened",
        like="general",
        control=True,
        pilot=True,
        words="the joint teacher, nothing removed, its outputs made as soft as those of general",
        look=Look(color="green", marker="^", dashes=(1, 1.2)),
        question=Question(
            asks="Is it more than softer outputs?",
            better="Yes: outputs as soft, with no channel removed, do worse.",
            same="No: outputs as soft, with no channel removed, do as well.",
            worse="No: outputs as soft, with no channel removed, do better.",
        ),
    ),
    Arm(
        name="softened-regular",
        teacher="regular",
        output="softened",
        like="general",
        control=True,
        pilot=True,
        words="the regular teacher, its outputs made as soft as those of general",
        look=Look(color="green", marker="<", dashes=(6, 2)),
        question=Question(
            asks="Would the regular teacher do, with softer outputs?",
            better="No: the regular teacher with outputs as soft does worse.",
            same="Yes: the regular teacher with outputs as soft does as well.",
            worse="Yes: the regular teacher with outputs as soft does better.",
        ),
    ),
    Arm(
        name="mismatched",
        teacher="joint",
        output="shuffled",
        control=True,
        words="the joint teacher, its outputs shuffled among samples of the same class",
        question=Question(
            asks="Does it matter which sample an output belongs to?",
            better="Yes: outputs swapped within a class do worse, so something about the sample is taught.",
            same="No: outputs swapped within a class do as well; what is taught is how classes resemble "
            "each other, and the pairing of the two modalities goes unused.",
            worse="No: outputs swapped within a class do better.",
        ),
    ),
    Arm(
        name="random",
        teacher=SOURCE,
        ranking="random",
        words="the {source} teacher without channels picked at random",
        look=Look(color="muted", dashes=(2, 2)),
        question=Question(
            asks="Does it matter which channels are removed?",
            better="Yes: random channels removed do worse. Any ranking by importance shows this.",
            same="No: random channels removed do as well.",
            worse="No: random channels removed do better.",
        ),
    ),
    Arm(
        name="specific",
        teacher=SOURCE,
        ranking="saliency",
        remove="highest",
        words="the {source} teacher without its most salient channels",
        look=Look(color="purple", marker="v", dashes=(5, 1.5, 1, 1.5)),
        question=Question(
            asks="Is it better to keep the salient channels than to remove them?",
            better="Yes, as any ranking by importance would show; no evidence by itself.",
            same="No: the ranking makes no difference, in either direction.",
            worse="No: the ranking points the wrong way.",
        ),
    ),
    Arm(
        name="self",
        teacher="unimodal",
        words=TEACHERS["unimodal"].words,
        question=Question(
            asks="Is the second modality needed?",
            better="Yes: a teacher of the student's own modality teaches less.",
            same="No: a teacher of the student's own modality does as well.",
            worse="No: a teacher of the student's own modality does better.",
        ),
    ),
)

ARMS: dict[str, Arm] = {arm.name: arm for arm in _BUILT_IN}
"""Arms by name, in the order in which they are shown; `register_arm` adds to them."""
DEFAULT = tuple(ARMS)
"""The arms that a study trains by default."""
PILOT = tuple(arm.name for arm in _BUILT_IN if arm.pilot)
"""The arms that a diagnosis trains."""


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


def find_arms(names: Iterable[str]) -> tuple[Arm, ...]:
    """Return the arms of these names or import paths, in the order in which they are shown.

    Args:
        names: names of `ARMS`, or import paths of an `Arm`, such as `mypackage.arms:gradient`.

    Raises:
        InputError: there is no such arm (the text lists those there are), an import path may not be used or
            gives no `Arm`, or a softened arm is without the arm whose entropy it takes.

    Example:
        >>> [arm.name for arm in find_arms(["joint", "no-kd"])]
        ['no-kd', 'joint']
    """
    found = {arm.name: arm for name in names for arm in [_find(name)]}
    for arm in found.values():
        require(
            arm.like is None or arm.like in found,
            f"`arms` must hold {arm.like} if they hold {arm.name}, whose outputs are made as soft. "
            f"Got {listing(found)}.",
        )
    order = [*ARMS, *found]
    return tuple(sorted(found.values(), key=lambda arm: order.index(arm.name)))


def why_no_arm(name: object) -> str | None:
    """Return why a name can be no arm's; None for names of `ARMS` and for what may be an import path."""
    if isinstance(name, str) and (name in ARMS or re.fullmatch(r"\w+([.:]\w+)+", name)):
        return None
    former = ". The arm `unimodal` is called `self` now" if name == "unimodal" else ""
    return f"hold names of arms, {listing(ARMS)}, or import paths such as `package.module:name`{former}"


def _find(name: str) -> Arm:
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

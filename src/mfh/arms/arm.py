"""What an arm and a teacher are: frozen values that hold everything that is known of each."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from mfh._checks import listing, require

CHOSEN = " (chosen)"
"""Added to an arm's name for its students at the ratio that validation chose."""
SOURCE = "source"
"""Stands for the teacher whose channels the study ranks, `StudyConfig.teacher_source`."""
BASELINE = "no-kd"
"""The arm that every gain is measured against."""
HEADLINE = "general"
"""The arm that the verdict is about."""
STACK = "stack"
"""The arm that the verdict is about where labels are missing."""
SEARCHED = "searched"
"""The arm that the verdict of a search is about."""
FOCUSING = 4
"""The declared question whether focusing beats all its controls."""
QUESTIONS = {
    1: "Does the teacher help?",
    2: "Is the second modality needed?",
    3: "Does it matter which sample an output belongs to?",
    FOCUSING: "Does focusing itself help?",
}
"""The declared questions, in the order in which they are asked."""
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
        side: `teacher`, `student` or `both`: which of the two modalities it sees.
        words: what it is, for readers; {teacher} and {student} stand for the modalities.
        look: how its curve is drawn.
        on_all_pairs: whether it learns from pairs without a label too.
    """

    name: str
    side: Literal["teacher", "student", "both"]
    words: str
    look: Look = Look()
    on_all_pairs: bool = False

    @property
    def trained_on(self) -> Literal["teacher", "student", "both"]:
        """Which modalities a sample needs to train it: those of its side, or both if it learns from pairs."""
        return "both" if self.on_all_pairs else self.side


TEACHERS: dict[str, Teacher] = {
    teacher.name: teacher
    for teacher in (
        Teacher(name="regular", side="teacher", words="a {teacher} teacher trained on its own"),
        Teacher(
            name="joint",
            side="teacher",
            words="a {teacher} teacher trained together with a {student} student (Algorithm 1, step 1)",
            look=Look(color="blue", dashes=(4, 1.5)),
            on_all_pairs=True,
        ),
        Teacher(
            name="unimodal",
            side="student",
            words="a teacher of the same size that sees {student}, as the student does",
            look=Look(color="orange", dashes=(1, 1.2)),
        ),
        Teacher(
            name="fused",
            side="both",
            words="a teacher of {teacher} and {student}: both trunks, one linear layer on their features",
            look=Look(color="purple", dashes=(5, 1.5, 1, 1.5)),
        ),
        Teacher(
            name="self",
            side="student",
            words="several tuned networks that see {student}, as the student does: their outputs multiplied",
        ),
        Teacher(
            name="joint-student",
            side="student",
            words="the {student} student trained together with the joint teacher",
            look=Look(color="green", dashes=(2, 2)),
            on_all_pairs=True,
        ),
        Teacher(
            name="stack",
            side="both",
            words="the stack: a weighted product of all teachers, with weights by their outputs on labelled "
            "samples that they were not trained on",
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
            `like` at the same ratio; `shuffled` among training samples of the same class; `broken`, shuffled
            among all training samples; `hardened` to the class with the largest output.
        hidden_labels: whether it learns from the labels that the study hid.
        like: for `softened`, the arm whose entropy is matched.
        smoothing: whether the labels are smoothed, by the share that validation chooses.
        declared: number of the question, declared before the data are seen, that the comparison of the
            headline arm with this arm answers; 0 for none. Questions are asked in this order.
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
    output: Literal["unchanged", "softened", "shuffled", "broken", "hardened"] = "unchanged"
    hidden_labels: bool = False
    like: str | None = None
    smoothing: bool = False
    declared: int = 0
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
            ("output", ("unchanged", "softened", "shuffled", "broken", "hardened")),
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
        control = self.control or self.output in ("shuffled", "broken") or self.hidden_labels
        return f"control: {words}" if control else words

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

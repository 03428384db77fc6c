"""What the students of each arm learn from: the outputs of teachers, focused, softened or shuffled."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfh._saliency.heads import logits_of
from mfh.arms import Arm
from mfh.stats import bisect
from mfh.tasks import TASKS

K = TypeVar("K")


@dataclass(frozen=True)
class StudentKey:
    """Which student of a seed: its arm, the ratio of removed channels, the draw of random ones, its loss."""

    arm: str
    ratio: float | None = None
    draw: int | None = None
    loss: str | None = None

    @property
    def words(self) -> str:
        """The student in a message: arm `random` at ratio 0.5, draw 2, with the loss `dkd`."""
        share = "" if self.ratio is None else f" at ratio {self.ratio:g}"
        draw = "" if self.draw is None or self.ratio is None else f", draw {self.draw}"
        loss = "" if self.loss is None else f", with the loss `{self.loss}`"
        return f"arm `{self.arm}`{share}{draw}{loss}"

    @property
    def name(self) -> str:
        """The name of the student's folder, such as `random-0.5-draw-2` or `joint-by-dkd`."""
        share = "" if self.ratio is None else f"-{self.ratio:g}"
        draw = "" if self.draw is None else f"-draw-{self.draw}"
        loss = re.sub(r"[^\w.-]", "-", f"-by-{self.loss}") if self.loss not in (None, "kl") else ""
        return self.arm + share + draw + loss


@dataclass(eq=False)
class TeacherOutputs:
    """The outputs of all teachers for every sample of the data set.

    Attributes:
        temperature: of the soft labels.
        logits: of whole teachers by name, each (sample, output).
        focused: logits of focused teachers, by student.
        features: of whole teachers by name, each (sample, channel); empty unless a loss compares features.
        focused_features: features of focused teachers, with removed channels filled.
        task: what is predicted.
    """

    temperature: float
    logits: dict[str, Tensor]
    focused: dict[StudentKey, Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)
    focused_features: dict[StudentKey, Tensor] = field(default_factory=dict)
    task: str = "single-label"

    def with_rows_of(self, other: "TeacherOutputs", rows: Int[Tensor, " row"]) -> "TeacherOutputs":
        """Return these outputs with some rows replaced by those of another set of teachers."""

        def replaced(mine: dict[K, Tensor], theirs: dict[K, Tensor]) -> dict[K, Tensor]:
            return {key: values.index_copy(0, rows, theirs[key][rows]) for key, values in mine.items()}

        return TeacherOutputs(
            self.temperature,
            replaced(self.logits, other.logits),
            replaced(self.focused, other.focused),
            replaced(self.features, other.features),
            replaced(self.focused_features, other.focused_features),
            self.task,
        )

    def entropy(self, logits: Float[Tensor, "sample ..."]) -> float:
        """Return the mean entropy of the soft labels, in nats."""
        return TASKS[self.task].softness(logits.double(), self.temperature)[0]


def soft_labels(
    outputs: TeacherOutputs,
    arms: Iterable[Arm],
    source: str,
    *,
    train: Int[Tensor, " train"],
    shuffled: Int[Tensor, " sample"],
    broken: Int[Tensor, " sample"] | None = None,
) -> dict[StudentKey, Tensor]:
    """Return the logits that each taught student learns from, each (sample, output).

    Args:
        outputs: the outputs of all teachers.
        arms: the arms; those without a teacher are left out, and softened ones where outputs are numbers.
        source: the teacher whose channels are removed.
        train: rows of the training samples, over which entropies are matched.
        shuffled: for each sample the one whose outputs the arms with `shuffled` output take.
        broken: the same for the arms with `broken` output.
    """
    found: dict[StudentKey, Tensor] = {}
    for arm in arms:
        teacher = arm.teacher_name(source)
        if arm.ranking is not None:
            found |= {key: logits for key, logits in outputs.focused.items() if key.arm == arm.name}
        elif arm.like is not None and TASKS[outputs.task].softens:
            for key, logits in outputs.focused.items():
                if key.arm == arm.like:
                    entropy = outputs.entropy(logits[train])
                    softened = soften(outputs, outputs.logits[str(teacher)], train, entropy)
                    found[StudentKey(arm.name, key.ratio)] = softened
        elif teacher is not None and arm.like is None:
            if arm.output == "hardened" and not TASKS[outputs.task].softens:
                continue
            found[StudentKey(arm.name)] = _changed(outputs, arm, outputs.logits[teacher], shuffled, broken)
    return found


def _changed(
    outputs: TeacherOutputs, arm: Arm, logits: Tensor, shuffled: Tensor, broken: Tensor | None
) -> Tensor:
    """Return a teacher's outputs as an arm changes them."""
    if arm.output == "shuffled":
        return logits[shuffled]
    if arm.output == "broken" and broken is not None:
        return logits[broken]
    return TASKS[outputs.task].hardened(logits) if arm.output == "hardened" else logits


def taught_features(
    outputs: TeacherOutputs, arms: Iterable[Arm], source: str, shuffled: Int[Tensor, " sample"]
) -> dict[StudentKey, Tensor]:
    """Return the features that each student compares its own with, each (sample, channel).

    Softening changes no features, so softened arms are left out: they would repeat their teacher's arm.
    """
    found: dict[StudentKey, Tensor] = {}
    for arm in arms if outputs.features else ():
        teacher = arm.teacher_name(source)
        if arm.ranking is not None:
            found |= {key: values for key, values in outputs.focused_features.items() if key.arm == arm.name}
        elif teacher is not None and arm.like is None:
            features = outputs.features[teacher]
            found[StudentKey(arm.name)] = features[shuffled] if arm.output == "shuffled" else features
    return found


def soften(
    outputs: TeacherOutputs, logits: Float[Tensor, "sample ..."], train: Int[Tensor, " train"], entropy: float
) -> Float[Tensor, "sample ..."]:
    """Divide logits by the temperature that gives them a mean entropy, in nats, on the training rows."""
    mine = logits[train].double()
    exponent = bisect(lambda power: outputs.entropy(mine / 2**power), entropy, -10.0, 20.0, steps=45)
    return logits / 2**exponent


@torch.no_grad()
def focused_logits(features: Tensor, head: nn.Module, removed: Tensor, fill: Tensor) -> Tensor:
    """Return the head's logits with some channels (dimension 1) replaced by their fill."""
    return logits_of(head(fill_channels(features, removed, fill))).cpu()


def fill_channels(features: Tensor, removed: Tensor, fill: Tensor) -> Tensor:
    """Return features with some channels (dimension 1) replaced by their fill."""
    changed = features.clone()
    shape = [1, -1] + [1] * (features.ndim - 2)
    removed = removed.to(features.device)
    changed[:, removed] = fill[removed].to(features.dtype).view(shape)
    return changed

"""What each arm's student learns from: teacher outputs, whole, focused, softened or shuffled."""

import re
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError
from mfh._focus import layers, uncompiled
from mfh._saliency.dense import pointwise
from mfh._saliency.heads import logits_of
from mfh.stats import bisect
from mfh.tasks import TASKS


@dataclass(frozen=True)
class ArmKey:
    """Which student: its arm, its teacher's ratio of removed channels, the draw of random ones, its loss."""

    arm: str
    ratio: float | None = None
    draw: int | None = None
    loss: str | None = None

    @property
    def words(self) -> str:
        """In messages: arm `random` at ratio 0.5, draw 2, with the loss `dkd`."""
        share = "" if self.ratio is None else f" at ratio {self.ratio:g}"
        draw = "" if self.draw is None or self.arm != "random" else f", draw {self.draw}"
        loss = "" if self.loss is None else f", with the loss `{self.loss}`"
        return f"arm `{self.arm}`{share}{draw}{loss}"

    @property
    def name(self) -> str:
        """Of its folder, such as `random-0.5-draw-2` or `joint-by-dkd`."""
        share = "" if self.ratio is None else f"-{self.ratio:g}"
        draw = "" if self.draw is None else f"-draw-{self.draw}"
        loss = re.sub(r"[^\w.-]", "-", f"-by-{self.loss}") if self.loss not in (None, "kl") else ""
        return self.arm + share + draw + loss


@dataclass(eq=False)
class Tables:
    """What every teacher gives for every sample of the data set.

    Attributes:
        temperature: of the soft labels.
        logits: of whole teachers by name, each (sample, output).
        focused: logits of focused teachers.
        features: of whole teachers by name, each (sample, channel); empty where no loss asks for them.
        focused_features: features of focused teachers, removed channels filled.
        task: what is predicted.
    """

    temperature: float
    logits: dict[str, Tensor]
    focused: dict[ArmKey, Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)
    focused_features: dict[ArmKey, Tensor] = field(default_factory=dict)
    task: str = "single-label"

    def take(self, other: "Tables", rows: Tensor) -> None:
        """Take the given rows from another set of teachers."""
        for name in ("logits", "focused", "features", "focused_features"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for key in mine:
                mine[key] = mine[key].index_copy(0, rows, theirs[key][rows])

    def arms(self, train: Tensor, shuffled: Tensor) -> dict[ArmKey, Tensor]:
        """What each distilled arm's student learns from; softened only where outputs are probabilities."""
        arms = {ArmKey(name): logits for name, logits in self.logits.items()}
        arms[ArmKey("mismatched")] = self.logits["joint"][shuffled]
        arms |= self.focused
        for key, logits in self.focused.items():
            if key.arm == "general" and TASKS[self.task].softens:
                entropy = self.entropy(logits[train])
                for arm, name in (("softened", "joint"), ("softened-regular", "regular")):
                    arms[ArmKey(arm, key.ratio)] = self.soften(self.logits[name], train, entropy)
        return arms

    def arm_features(self, shuffled: Tensor) -> dict[ArmKey, Tensor]:
        """What each arm's student compares its features with.

        Softening changes no features: the softened arms are left out, since they would be `joint` again.
        """
        if not self.features:
            return {}
        arms = {ArmKey(name): features for name, features in self.features.items()}
        return arms | {ArmKey("mismatched"): self.features["joint"][shuffled]} | self.focused_features

    def entropy(self, logits: Float[Tensor, "sample ..."]) -> float:
        """Mean entropy of the soft labels, in nats."""
        return TASKS[self.task].softness(logits.double(), self.temperature)[0]

    def soften(self, logits: Tensor, train: Tensor, entropy: float) -> Tensor:
        """Divide logits by the temperature that gives them a mean entropy on the training rows."""
        mine = logits[train].double()
        exponent = bisect(lambda power: self.entropy(mine / 2**power), entropy, -10.0, 20.0)
        return logits / 2**exponent


@torch.no_grad()
def without(features: Tensor, head: nn.Module, removed: Tensor, fill: Tensor) -> Tensor:
    """Logits of the head when some channels (dimension 1) are replaced by their fill."""
    return logits_of(head(filled(features, removed, fill))).cpu()


def filled(features: Tensor, removed: Tensor, fill: Tensor) -> Tensor:
    """Features with some channels (dimension 1) replaced by their fill."""
    changed = features.clone()
    shape = [1, -1] + [1] * (features.ndim - 2)
    removed = removed.to(features.device)
    changed[:, removed] = fill[removed].to(features.dtype).view(shape)
    return changed


def last_hidden(model: nn.Module, example: Tensor) -> str:
    """Name of the layer that feeds a network's last linear layer: the last one before it called just once.

    Where there is none, the last 1 x 1 convolution stands for it.
    """
    modules = dict(uncompiled(model).named_modules())
    leaves = [info for info in layers(model, example) if not list(modules[info.name].children())]
    linear = [place for place, leaf in enumerate(leaves) if isinstance(modules[leaf.name], nn.Linear)]
    if not linear:  # a dense prediction's last layer is linear at each position
        linear = [place for place, leaf in enumerate(leaves) if pointwise(modules[leaf.name]) is not None]
    before = [leaf.name for leaf in leaves[: linear[-1]] if leaf.calls == 1] if linear else []
    if not before:
        raise InputError(
            "`layer` cannot be chosen: the teacher has no linear layer after another layer that is called "
            f"once. Name one with `layer`; it has {', '.join(leaf.name for leaf in leaves)}."
        )
    return before[-1]

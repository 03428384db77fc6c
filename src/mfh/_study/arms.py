"""What each arm's student learns from: teacher outputs, whole, focused, softened or shuffled."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError
from mfh._focus import layers, uncompiled
from mfh.losses import soft_label_entropy
from mfh.stats import bisect
from mfh.training.loop import logits_of


@dataclass(frozen=True)
class ArmKey:
    """Which student: its arm, the ratio of its teacher's removed channels, the draw of random channels."""

    arm: str
    ratio: float | None = None
    draw: int | None = None

    @property
    def name(self) -> str:
        """Of its folder, such as `random-0.5-draw-2`."""
        share = "" if self.ratio is None else f"-{self.ratio:g}"
        return self.arm + share + ("" if self.draw is None else f"-draw-{self.draw}")


@dataclass(eq=False)
class Tables:
    """Logits of every teacher for every sample of the data set, each (sample, output)."""

    temperature: float
    logits: dict[str, Tensor]
    focused: dict[ArmKey, Tensor] = field(default_factory=dict)

    def take(self, other: "Tables", rows: Tensor) -> None:
        """Take the given rows from another set of teachers."""
        for mine, theirs in ((self.logits, other.logits), (self.focused, other.focused)):
            for key in mine:
                mine[key] = mine[key].index_copy(0, rows, theirs[key][rows])  # type: ignore[index]

    def arms(self, train: Tensor, shuffled: Tensor) -> dict[ArmKey, Tensor]:
        """What each distilled arm's student learns from."""
        arms = {ArmKey(name): logits for name, logits in self.logits.items()}
        arms[ArmKey("mismatched")] = self.logits["joint"][shuffled]
        arms |= self.focused
        for key, logits in self.focused.items():
            if key.arm == "general":
                entropy = self.entropy(logits[train])
                for arm, name in (("softened", "joint"), ("softened-regular", "regular")):
                    arms[ArmKey(arm, key.ratio)] = self.soften(self.logits[name], train, entropy)
        return arms

    def entropy(self, logits: Float[Tensor, "sample output"]) -> float:
        """Mean entropy of the soft labels, in nats."""
        return float(soft_label_entropy(logits.double(), temperature=self.temperature).mean())

    def soften(self, logits: Tensor, train: Tensor, entropy: float) -> Tensor:
        """Divide logits by the temperature that gives them a mean entropy on the training rows."""
        mine = logits[train].double()
        exponent = bisect(lambda power: self.entropy(mine / 2**power), entropy, -10.0, 20.0)
        return logits / 2**exponent


@torch.no_grad()
def without(features: Tensor, head: nn.Module, removed: Tensor, fill: Tensor) -> Tensor:
    """Logits of the head when some channels (dimension 1) are replaced by their fill."""
    changed = features.clone()
    shape = [1, -1] + [1] * (features.ndim - 2)
    removed = removed.to(features.device)
    changed[:, removed] = fill[removed].to(features.dtype).view(shape)
    return logits_of(head(changed)).cpu()


def last_hidden(model: nn.Module, example: Tensor) -> str:
    """Name of the layer that feeds a network's last linear layer: the last one before it called just once."""
    modules = dict(uncompiled(model).named_modules())
    leaves = [info for info in layers(model, example) if not list(modules[info.name].children())]
    linear = [place for place, leaf in enumerate(leaves) if isinstance(modules[leaf.name], nn.Linear)]
    before = [leaf.name for leaf in leaves[: linear[-1]] if leaf.calls == 1] if linear else []
    if not before:
        raise InputError(
            "`layer` cannot be chosen: the teacher has no linear layer after another layer that is called "
            f"once. Name one with `layer`; it has {', '.join(leaf.name for leaf in leaves)}."
        )
    return before[-1]

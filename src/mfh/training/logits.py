"""What networks return, as logits."""

from typing import Any

from torch import Tensor

from mfh._checks import InputError


def logits_of(outputs: Any) -> Tensor:
    """The logits in what a network returns: the tensor itself, `.logits`, or the first of a tuple."""
    if isinstance(outputs, Tensor):
        return outputs
    if hasattr(outputs, "logits"):
        return outputs.logits
    if isinstance(outputs, (tuple, list)) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    raise InputError(
        "A network must return a tensor of logits, an object with `.logits`, or a tuple that begins with the "
        f"logits. Got {type(outputs).__name__} instead: wrap it in a module that returns its logits."
    )

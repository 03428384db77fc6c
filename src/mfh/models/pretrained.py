"""Networks with the weights of a file."""

from dataclasses import dataclass
from typing import Any

from mfh._system.import_paths import ClassSpec
from mfh.models.weights import load_state


@dataclass(frozen=True)
class Pretrained(ClassSpec):
    """Name a network by its import path, with arguments and a file of weights; a call makes a new one.

    Attributes:
        checkpoint: `.safetensors` or a file of `torch.save`, with the state dict of the network. It is read
            without unpickling code.
    """

    checkpoint: str = ""

    def __call__(self) -> Any:
        """Make the network and load its weights.

        Raises:
            InputError: as `ClassSpec`; or the file is missing or damaged, or does not fit the network.
        """
        network = super().__call__()
        load_state(network, self.checkpoint, f"a state dict of `{self.class_path}`")
        return network

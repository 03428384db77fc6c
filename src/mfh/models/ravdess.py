"""The two RAVDESS networks, the places of the released code, and its state dicts."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import choice, listing, require
from mfh.models._sparse_gradient import SparseGradientConv2d
from mfh.models.weights import load_state

Modality = Literal["audio", "image"]
MODALITIES: tuple[Modality, ...] = ("audio", "image")
PLACES = {0: "input", 1: "relu1", 2: "relu2", 3: "relu3", 4: "relu4", 5: "relu5", 6: "fc3"}
DEFAULT_PLACE = 5
NUM_CLASSES = 8
WIDTH = 32
_POOLED = (7, 14)
_IN_CHANNELS = {"audio": 1, "image": 3}
_KERNELS = {"audio": (7, 5, 5), "image": (3, 3, 3)}

logger = logging.getLogger(__name__)


class RavdessNetwork(nn.Sequential):
    """Three convolutions and three linear layers, from an MFCC array or a picture to eight emotions.

    Each convolution (padding 1) is pooled and rectified: 2 x 2 max-pooling with stride 2 after the first two,
    adaptive max-pooling to 7 x 14 after the third, so that inputs may have any size. Linear layers with ReLU
    between them follow. Pooling before ReLU gives the same values and gradients as after it, and is faster.
    The state dict has the released names: conv1, conv2, conv3, fc1, fc2, fc3. Every place of the released
    code is a submodule; `layer_of_place` returns its name.

    Called with normalised MFCC arrays (sample, 1, 40, T) or pictures (sample, 3, 256, 512), it returns logits
    (sample, num_classes).

    Args:
        modality: `audio` (1 channel, kernels 7, 5, 5) or `image` (3 channels, kernels 3).
        width: channels of the first convolution. The others have 2 and 4 times as many, and the hidden linear
            layers 32 and 4 times; 32 is the released size.
        num_classes: number of outputs.

    Example:
        >>> import torch
        >>> network = RavdessNetwork("audio", width=2)
        >>> network(torch.zeros(5, 1, 40, 256)).shape
        torch.Size([5, 8])
    """

    def __init__(self, modality: Modality, *, width: int = WIDTH, num_classes: int = NUM_CLASSES) -> None:
        choice("modality", modality, MODALITIES)
        require(width >= 1, f"`width` must be 1 or more. Got {width}.")
        require(num_classes >= 2, f"`num_classes` must be 2 or more. Got {num_classes}.")
        channels, kernels = _IN_CHANNELS[modality], _KERNELS[modality]
        layers: dict[str, nn.Module] = {
            "input": ChannelsLast(channels),
            "conv1": nn.Conv2d(channels, width, kernels[0], padding=1),
            "pool1": nn.MaxPool2d(2, 2),
            "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(width, 2 * width, kernels[1], padding=1),
            "pool2": nn.MaxPool2d(2, 2),
            "relu2": nn.ReLU(),
            "conv3": SparseGradientConv2d(2 * width, 4 * width, kernels[2], padding=1),
            "pool3": nn.AdaptiveMaxPool2d(_POOLED),
            "relu3": nn.ReLU(),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(4 * width * _POOLED[0] * _POOLED[1], 32 * width),
            "relu4": nn.ReLU(),
            "fc2": nn.Linear(32 * width, 4 * width),
            "relu5": nn.ReLU(),
            "fc3": nn.Linear(4 * width, num_classes),
        }
        super().__init__(OrderedDict(layers))
        self.modality, self.width, self.num_classes = modality, width, num_classes


class ChannelsLast(nn.Module):
    """Put channels last in memory. On a CPU both networks then run 1.4 to 2.4 times as fast.

    `contiguous(memory_format=...)` does not change the strides of a single channel, so the audio network
    would stay slow, and `vmap` does not support it.

    Args:
        channels: channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(
        self, x: Float[Tensor, "sample channel height width"]
    ) -> Float[Tensor, "sample channel height width"]:
        """Return `x`, or a copy with another memory layout."""
        return x.permute(0, 2, 3, 1).flatten(2).unflatten(2, (-1, self.channels)).permute(0, 3, 1, 2)


def layer_of_place(place: int, modality: Modality = "audio") -> str:
    """Return the name of the layer at a place of the released code; its channels are dimension 1.

    Args:
        place: 0 input, 1-3 the three pooled and rectified convolutions, 4 and 5 the hidden linear layers
            after ReLU (5 is the released default), 6 the output.
        modality: modality of the network.

    Raises:
        InputError: the place is out of range, or is 0 for the audio network, whose input has one channel.

    Example:
        >>> layer_of_place(5)
        'relu5'
    """
    choice("modality", modality, MODALITIES)
    require(
        place in PLACES,
        f"`place` must lie in 0 ... 6. Got {place}. "
        f"Places 1 ... 6 are the layers {listing(name for number, name in PLACES.items() if number)}.",
    )
    require(
        not (place == 0 and modality == "audio"),
        "`place` must lie in 1 ... 6 for audio. Got 0: the input has one channel, so none can be removed.",
    )
    if place == 6:
        logger.warning("Place 6 is the output: its channels are the classes, removing one removes a class.")
    return PLACES[place]


def is_released(path: Path | str) -> bool:
    """Return whether a checkpoint has a suffix of the released code: `.pkl`, `.pt` or `.pth`.

    The released audio network was trained with two frames exchanged (`released_audio_order` of
    `mfh.data.sources.ravdess.reader.load`).
    """
    return Path(path).suffix.lower() in (".pkl", ".pt", ".pth")


def load_released(
    path: Path | str, modality: Modality, *, width: int = WIDTH, num_classes: int = NUM_CLASSES
) -> RavdessNetwork:
    """Build a network with the weights of a state dict of the released form; see `load_weights`.

    Args:
        path: the file, such as `teacher_mod_1_overlap.pkl`.
        modality: `audio` or `image` (mod 1 and mod 0 in released names).
        width: width of the network; see `RavdessNetwork`.
        num_classes: number of outputs.

    Raises:
        InputError: see `load_weights`.
    """
    network = RavdessNetwork(modality, width=width, num_classes=num_classes)
    load_weights(network, path)
    return network


def load_weights(network: RavdessNetwork, path: Path | str) -> None:
    """Load the weights of a state dict into a network, without unpickling code.

    Args:
        network: the network; it changes only if everything fits.
        path: `.safetensors`, or a file of `torch.save`, from any device.

    Raises:
        InputError: the file is missing, damaged or contains more than tensors; or a parameter is missing,
            unknown, not finite or has another shape (the message names each).
    """
    load_state(
        network,
        path,
        f"a state dict of the {network.modality} network of width {network.width} with "
        f"{network.num_classes} classes",
    )

"""The VGGSound networks: an audio ResNet, a 3-D video ResNet, and the video models of torchvision.

Parameters have the names of the released code: `inconv`, `layer1` ... `layer4` and `fc_avg` (audio) or `proj`
(video). Blocks of the video network contain `conv` and `downsample`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torchvision import models
from torchvision.models import resnet

from mfh._checks import choice, listing, require
from mfh.models.weights import load_state, read_state

WIDTH = 64
AUDIO_NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "resnet18": (resnet.BasicBlock, (2, 2, 2, 2)),
    "resnet50": (resnet.Bottleneck, (3, 4, 6, 3)),
}
VIDEO_NETWORK = "resnet3d"
LAYER = "flatten"
"""The layer whose channels are ranked: the pooled features before the audio network's classifier."""


class AudioNetwork(nn.Sequential):
    """A ResNet for spectrograms: a stem of one input channel, then torchvision's blocks.

    The stem's convolution is 1 -> width, kernel 7, stride 2, padding 1, without bias. `flatten` returns the
    pooled features: 8 x width (ResNet-18; 512 at the released width) or 32 x width (ResNet-50; 2048).

    Called with spectrograms (sample, 1, frequency, time), it returns logits (sample, num_classes).

    Args:
        num_classes: number of outputs, 2 or more.
        depth: `resnet18` or `resnet50`.
        width: channels of the first stage, 1 or more; 64 is the released size.

    Example:
        >>> import torch
        >>> AudioNetwork(10, width=2)(torch.zeros(3, 1, 65, 40)).shape
        torch.Size([3, 10])
    """

    def __init__(self, num_classes: int, *, depth: str = "resnet18", width: int = WIDTH) -> None:
        choice("audio_network", depth, tuple(AUDIO_NETWORKS))
        _require_size(num_classes, width)
        super().__init__()
        block, blocks = AUDIO_NETWORKS[depth]
        self.inconv = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=7, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        planes = width
        for number, count in enumerate(blocks):
            stage = _stage_2d(block, planes, width * 2**number, count, stride=1 if number == 0 else 2)
            self.add_module(f"layer{number + 1}", stage)
            planes = width * 2**number * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc_avg = nn.Linear(planes, num_classes)
        _initialise(self)


class VideoNetwork(nn.Sequential):
    """A 3-D ResNet: a stem that also halves time, and four stages of three basic 3 x 3 x 3 blocks.

    Called with clips (sample, 3, frames, height, width), it returns logits (sample, num_classes).

    Args:
        num_classes: number of outputs, 2 or more.
        width: channels of the first stage, 1 or more; 64 is the released size.

    Example:
        >>> import torch
        >>> VideoNetwork(10, width=2)(torch.zeros(3, 3, 8, 32, 40)).shape
        torch.Size([3, 10])
    """

    def __init__(self, num_classes: int, *, width: int = WIDTH) -> None:
        _require_size(num_classes, width)
        super().__init__()
        self.inconv = nn.Sequential(
            nn.Conv3d(3, width, kernel_size=(3, 7, 7), stride=2, padding=(1, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(kernel_size=3, stride=2, padding=1),
        )
        planes = width
        for number in range(4):
            wide = width * 2**number
            first = Block3D(planes, wide, stride=1 if number == 0 else 2)
            stage = nn.Sequential(first, *(Block3D(wide, wide) for _ in range(2)))
            self.add_module(f"layer{number + 1}", stage)
            planes = wide
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.flatten = nn.Flatten()
        self.proj = nn.Linear(planes, num_classes)


class Block3D(nn.Module):
    """A basic residual block of two 3 x 3 x 3 convolutions."""

    def __init__(self, planes: int, wide: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv3d(planes, wide, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm3d(wide),
            nn.ReLU(inplace=True),
            nn.Conv3d(wide, wide, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm3d(wide),
        )
        self.downsample: nn.Sequential | None = None
        if stride > 1 or planes != wide:
            self.downsample = nn.Sequential(
                nn.Conv3d(planes, wide, kernel_size=1, stride=stride, bias=False), nn.BatchNorm3d(wide)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(
        self, x: Float[Tensor, "sample channel frame height width"]
    ) -> Float[Tensor, "sample wide frame2 height2 width2"]:
        """Return the block's features."""
        return self.relu(self.conv(x) + (x if self.downsample is None else self.downsample(x)))


def audio_network(num_classes: int, *, name: str = "resnet18", width: int = WIDTH) -> AudioNetwork:
    """Build the audio network with a name; see `AudioNetwork`."""
    return AudioNetwork(num_classes, depth=name, width=width)


def video_network(num_classes: int, *, name: str = VIDEO_NETWORK, width: int = WIDTH) -> nn.Module:
    """Build the video network with a name: `resnet3d` (see `VideoNetwork`), or a video model of torchvision.

    Args:
        num_classes: number of outputs, 2 or more.
        name: a name such as `r3d_18`, `mc3_18`, `r2plus1d_18`, `s3d`.
        width: width of `resnet3d`; it has no effect on torchvision's models, whose width is fixed.

    Raises:
        InputError: there is no such model; the message lists the models.

    Example:
        >>> type(video_network(10, name="r3d_18")).__name__
        'VideoResNet'
    """
    if name == VIDEO_NETWORK:
        return VideoNetwork(num_classes, width=width)
    require(
        name in video_networks(),
        f"`student_network` must be one of {listing(video_networks(), limit=99)}. Got {name!r} instead.",
    )
    _require_size(num_classes, width)
    return models.get_model(name, weights=None, num_classes=num_classes)


def video_networks() -> Sequence[str]:
    """Return the names that `video_network` accepts.

    >>> "r3d_18" in video_networks()
    True
    """
    return VIDEO_NETWORK, *models.list_models(module=models.video)


def load_weights(network: nn.Module, path: Path | str) -> None:
    """Load the weights of a state dict, also of the released code, into a network, without unpickling code.

    Args:
        network: the network; it changes only if everything fits.
        path: `.safetensors`, or a file of `torch.save`, from any device, of a network or of one that was
            wrapped for several processes.

    Raises:
        InputError: the file is missing, damaged or contains more than tensors; it has another number of
            classes; or a parameter is missing, unknown, not finite or has another shape (each is named).
    """
    last = classifier(network)
    name = next(name for name, module in network.named_modules() if module is last)
    theirs = read_state(Path(path)).get(f"{name}.weight")
    if isinstance(theirs, Tensor) and theirs.ndim == 2:
        require(
            len(theirs) == last.out_features,
            f"`{path}` must have {last.out_features} classes, as the data have. It has {len(theirs)} "
            f"(`{name}.weight`): use the data it was trained on, or train again.",
        )
    load_state(network, path, f"a state dict of {type(network).__name__}, of the width that `width` names")


def classifier(network: nn.Module) -> nn.Linear:
    """Return a network's last linear layer, whose outputs are the classes."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def _stage_2d(block: Any, planes: int, wide: int, count: int, *, stride: int) -> nn.Sequential:
    """Build residual blocks of torchvision, with the parameter names of its ResNet."""
    outputs = wide * block.expansion
    downsample = None
    if stride > 1 or planes != outputs:
        downsample = nn.Sequential(resnet.conv1x1(planes, outputs, stride), nn.BatchNorm2d(outputs))
    first = block(planes, wide, stride, downsample)
    return nn.Sequential(first, *(block(outputs, wide) for _ in range(count - 1)))


def _initialise(network: nn.Module) -> None:
    """Set the initial weights of torchvision's ResNet (He, fan-out); the stem keeps PyTorch's default."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not name.startswith("inconv"):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _require_size(num_classes: int, width: int) -> None:
    require(width >= 1, f"`width` must be 1 or more. Got {width}.")
    require(num_classes >= 2, f"`num_classes` must be 2 or more. Got {num_classes}.")

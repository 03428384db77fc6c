"""A convolution for layers whose output is mostly unused, such as before pooling with large windows.

Its gradient is almost all zeros: in the last convolution of the RAVDESS networks at full size, 98 of the
8,192 positions of a channel differ from zero. A dense backward pass multiplies by every zero.
"""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._system.compiled import compiled

DENSEST = 0.05
"""Largest share of nonzero gradients for this code, on one thread; at twice this share dense is as fast."""


class SparseGradientConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` (stride 1, square kernel, bias) whose backward pass skips zeros on the CPU.

    Outputs equal those of `Conv2d`, and so do gradients except for rounding. With few zeros, on other
    devices, in mixed precision and under `torch.func` it runs `Conv2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel.
        padding: zeros added on each side.

    Example:
        >>> layer = SparseGradientConv2d(1, 2, 3, padding=1)
        >>> layer(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 2, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, padding: int = 0) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)

    def forward(
        self, input: Float[Tensor, "sample channel height width"]
    ) -> Float[Tensor, "sample output rows columns"]:
        """Return the convolution of `input`."""
        if not self._applies(input):
            return super().forward(input)
        return _Convolution.apply(input, self.weight, self.bias, int(self.padding[0]))

    def _applies(self, input: Any) -> bool:
        if not isinstance(input, Tensor) or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        tensors = (input, self.weight)
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor
        here = all(t.device.type == "cpu" and t.dtype == torch.float32 and not wrapped(t) for t in tensors)
        return here and input.ndim == 4 and not torch.is_autocast_enabled("cpu")


class _Convolution(torch.autograd.Function):
    """A convolution whose backward pass visits only nonzero gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return nn.functional.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = gradient.permute(0, 2, 3, 1).contiguous()
        flat = rows.numpy().reshape(-1)
        places = np.flatnonzero(flat)
        if len(places) * torch.get_num_threads() > DENSEST * flat.size:
            padding = [ctx.padding] * 2
            mask = list(ctx.needs_input_grad[:3])
            into = torch.ops.aten.convolution_backward(
                gradient, x, weight, [len(weight)], [1, 1], padding, [1, 1], False, [0, 0], 1, mask
            )
            return *into, None
        kernel = weight.permute(0, 2, 3, 1).contiguous()  # channels last, so that neighbours are contiguous
        pixels = x.permute(0, 2, 3, 1).contiguous()
        into = [torch.zeros_like(t) for t in (pixels, kernel, weight[:, 0, 0, 0])]
        lines = [t.flatten(2).numpy() for t in (pixels, kernel, *into[:2])]
        size = (rows.shape[1], rows.shape[2], pixels.shape[3])
        _accumulate(flat[places], places, size, ctx.padding, *lines, into[2].numpy())
        return into[0].permute(0, 3, 1, 2), into[1].permute(0, 3, 1, 2).contiguous(), into[2], None


@compiled("contract", "reassoc", "nsz")
@no_type_check
def _accumulate(values, places, sizes, padding, x, w, to_x, to_w, to_bias):
    """Add the contributions of each entry of the gradient to the gradients of input, weight and bias.

    `places` count through (sample, row, column, output) of sizes (samples, height, width, outputs); `sizes`
    are height, width and channels. `x` and `to_x` are (sample, line, pixels with their channels), `w` and
    `to_w` (output, line of the kernel, pixels with their channels).
    """
    height, width, channels = sizes
    length = x.shape[2]
    outputs, steps, side = w.shape
    for entry in range(len(values)):
        value = values[entry]
        position, output = divmod(places[entry], outputs)
        position, column = divmod(position, width)
        sample, row = divmod(position, height)
        to_bias[output] += value
        start = (column - padding) * channels
        low, high = max(start, 0), min(start + side, length)
        for step in range(steps):
            line = row - padding + step
            if 0 <= line < x.shape[1] and low < high:
                seen, back = x[sample, line, low:high], to_x[sample, line, low:high]
                taken, learnt = w[output, step, low - start :], to_w[output, step, low - start :]
                for place in range(high - low):
                    learnt[place] += value * seen[place]
                    back[place] += value * taken[place]

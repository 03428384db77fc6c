"""ImageNet's normalisation of colours, which all networks for pictures here expect."""

import torch
from jaxtyping import Float, Num
from torch import Tensor

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalize(values: Num[Tensor, "sample 3 *place"]) -> Float[Tensor, "sample 3 *place"]:
    """Scale 0-255 to [0, 1], then standardise red, green and blue by their mean and sd on ImageNet.

    Example:
        >>> normalize(torch.full((1, 3, 1, 1), 255)).amax(dim=(0, 2, 3))
        tensor([2.2489, 2.4286, 2.6400])
    """
    shape = (1, 3, *(1,) * (values.ndim - 2))
    mean, sd = (torch.tensor(v, device=values.device).view(shape) for v in (MEAN, SD))
    # in place: new memory for each operation costs more than the arithmetic
    result = values.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return result.div_(255).sub_(mean).div_(sd)

"""Calibration: the temperature at which a network's probabilities fit the labels of held-out samples."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy import special
from torch import Tensor

from mfh.stats import bisect

PROBABILITIES = ("single-label", "multi-label")
"""Tasks whose outputs give probabilities of a sample."""
MOST_VALUES = 2**23
"""Outputs above which the temperature is fitted on every second sample, every third and so on."""
EXPONENTS = (-7.0, 7.0)
"""Temperatures lie between 2 to the power of these."""


def fit_temperature(
    logits: Float[Tensor, "sample output"],
    label: Shaped[Tensor, "sample ..."],
    weight: Float[Tensor, " sample"] | None = None,
    *,
    ridge: float | None = None,
) -> float:
    """Return the temperature that minimises the log-loss of logits / temperature.

    It is temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section
    4.2), with one deviation: the labels count as if each class had one sample more, which every sample
    shares. Otherwise samples that are all right would ask for a temperature of 0. With few labels and many
    classes this makes the temperature too high; `ridge` takes its place there.

    Args:
        logits: what the network returns for samples that it was not trained on.
        label: one class per sample, (sample,), or several labels 0 and 1, (sample, label).
        weight: how much each sample counts; None lets all count alike.
        ridge: adds ridge * (1 / temperature - 1)^2 to the log-loss summed over samples, and takes the labels
            as they are: without evidence the temperature is 1. 0 or more; None adds nothing.

    Returns:
        The temperature: above 1 if the network is too sure, below 1 if it is not sure enough.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
        >>> fit_temperature(logits, torch.tensor([0, 0, 1, 1])) > 5
        True
    """
    step = -(-logits.numel() // MOST_VALUES)
    if step > 1:
        logits, label, weight = logits[::step], label[::step], None if weight is None else weight[::step]
    values = logits.detach().cpu().double().numpy()
    truth, count = label.cpu().numpy(), len(label)
    shared = 0 if ridge is not None else 1
    if truth.ndim == 2:
        target = (count * truth + shared) / (count + 2 * shared)
    else:
        classes = values.shape[1]
        target = (count * (truth[:, None] == np.arange(classes)) + shared) / (count + classes * shared)
        values = values - values.max(axis=1, keepdims=True)
    if np.ptp(values) == 0:
        return 1.0
    expected = special.expit if truth.ndim == 2 else lambda scaled: special.softmax(scaled, axis=1)

    def slope(exponent: float) -> float:
        """Return the derivative of the log-loss by the inverse temperature, which increases."""
        inverse = 2**exponent
        slopes = (expected(inverse * values) - target) * values
        mean = float(slopes.mean() if weight is None else np.average(slopes.mean(axis=1), weights=weight))
        return mean + 2 * (ridge or 0.0) * (inverse - 1) / values.size

    return float(2 ** -bisect(slope, 0.0, *EXPONENTS))

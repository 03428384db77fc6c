"""Weights of samples and of classes in the loss.

A sample's weight multiplies its whole loss: of the label, of the teacher's outputs, of the distance in joint
training. It is the weight of the sample times that of its class. So training is that on a sample of a
population in which classes and samples have these shares. For soft labels this is right, too: let a teacher
trained with class weights c give q_k proportional to p(k | a) c_k. A student that sees b and learns from it
with the same weights then learns, where its label tells nothing beyond a, the mean over a given b of
sum_y p(y | a) c_y q_k = p(k | a) c_k: what its own labels would teach with these weights.

Weights are divided by their mean over the training samples, which leaves the size of gradients as it is.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._checks import listing, require
from mfh.data.paired import PairedDataset
from mfh.tasks import UNLABELLED

BALANCED = "balanced"
WITH_CLASSES = ("single-label", "dense")
"""Tasks whose samples, or positions, have one class each."""


def loss_weights(data: PairedDataset, train: Int[Tensor, " train"]) -> Float[Tensor, "sample ..."] | None:
    """Return the weight of each sample in the loss, with a mean of 1 over the training rows.

    For dense labels with class weights each position has a weight, and the mean is that of the positions with
    a class. Samples and positions without a label have class weight 1.

    Returns:
        float32, (sample,) or (sample, *position); None where all training samples count alike.

    Raises:
        InputError: all training samples have weight 0.

    Example:
        >>> values = np.zeros((4, 1))
        >>> data = PairedDataset.from_arrays(
        ...     {"a": values, "b": values}, label=[0, 1, 1, 0], weight=[1, 1, 2, 5]
        ... )
        >>> loss_weights(data, torch.arange(3))
        tensor([0.7500, 0.7500, 1.5000, 3.7500])
    """
    weight = data.weight
    if data.class_weight is not None:
        of_class = torch.tensor([*data.class_weight, 1.0], dtype=torch.float64)  # of no class, -1, the last
        of_label = of_class[data.label]
        weight = of_label if weight is None else of_label * weight.view(-1, *[1] * (of_label.ndim - 1))
    if weight is None:
        return None
    mine = weight[train]
    if mine.ndim > 1:
        mine = mine[data.label[train] != UNLABELLED]
    require(
        bool((mine > 0).any()),
        f"`weight` and `class_weight` must leave training samples that count. All {len(train)} of a fit have "
        "weight 0.",
    )
    return None if bool((mine == mine[0]).all()) else (weight / mine.mean()).float()


def row_weights(data: PairedDataset, rows: Int[Tensor, " row"]) -> Float[Tensor, "row ..."] | None:
    """Return the weights of these rows in the loss on them alone; see `loss_weights`."""
    weight = loss_weights(data, rows)
    return None if weight is None else weight[rows]


def class_weights(
    wanted: str | Mapping[str | int, int | float] | None, data: PairedDataset, train: Int[Tensor, " train"]
) -> tuple[float, ...] | None:
    """Return the weight of each class in the loss, in the order of `class_names`.

    Args:
        wanted: `balanced`: n / (classes x count), as in scikit-learn, with the counts of the classes in the
            labels of the training rows; or class -> weight, 1 for the others; or None.
        data: the samples.
        train: the training rows.

    Raises:
        InputError: there is no such class, or the task has none.

    Example:
        >>> values = np.zeros((4, 1))
        >>> data = PairedDataset.from_arrays({"a": values, "b": values}, label=["x", "y", "y", "y"])
        >>> class_weights("balanced", data, torch.arange(4))
        (2.0, 0.6666666666666666)
    """
    if wanted is None:
        return None
    require(
        data.task in WITH_CLASSES,
        f"`class_weight` must be left out for the task {data.task}, where a sample has no single class. "
        "Weights of samples are for every task (`weight`).",
    )
    if isinstance(wanted, str):
        label = data.label[train]
        counts = np.bincount(label[label != UNLABELLED].numpy(), minlength=data.num_classes)
        present = counts > 0
        even = counts.sum() / (present.sum() * np.where(present, counts, 1))
        return tuple(np.where(present, even, 1.0).tolist())
    given = {str(name): float(value) for name, value in wanted.items()}
    unknown = [name for name in given if name not in data.class_names]
    require(
        not unknown,
        f"`class_weight` must name classes of the data, {listing(data.class_names)}. Got {listing(unknown)}.",
    )
    return tuple(given.get(name, 1.0) for name in data.class_names)

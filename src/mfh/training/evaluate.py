"""Outputs of a network, and its metric, on some rows of a data set."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._saliency.heads import evaluating, logits_of
from mfh.data.paired import PairedDataset
from mfh.metrics import Metric
from mfh.training.batches import feed
from mfh.training.device import Processes

EVALUATION_BATCH = 2048
"""Largest number of samples in a forward pass."""
EVALUATION_VALUES = 2**24
"""Largest number of input values in a forward pass on the CPU."""
ACCELERATOR_VALUES = 2**27
"""The same on other devices."""


def predict(
    model: nn.Module,
    data: PairedDataset,
    modality: str,
    rows: Tensor,
    *,
    batch_size: int | None = None,
    shared: bool = False,
) -> Tensor:
    """Return the outputs of a network in evaluation mode for some rows, in float32 on the CPU.

    Args:
        model: the network. It may return a tensor, or an object with `.logits`.
        data: the samples.
        modality: what the network is fed; of several modalities together, one input for each.
        rows: which samples, int64.
        batch_size: samples in a forward pass; by default see `evaluation_batch`.
        shared: whether every process of a distributed run makes this call; each then computes its share of
            the rows.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if batch_size is None:
        batch_size = evaluation_batch(data, modality, device)
    processes = Processes.on(device)
    mine = rows
    if shared and processes.count > 1:  # the same number of rows for each process
        filler = rows[:1].expand(-len(rows) % processes.count)
        mine = torch.cat([rows, filler])[processes.rank :: processes.count]
    with evaluating(model):
        batches = feed(data, data.parts(modality), mine.split(batch_size), device)
        parts = [_per_sample(logits_of(model(*batch.inputs)), len(batch.rows)) for batch in batches]
    outputs = torch.cat(parts).float()
    if shared:
        outputs = processes.collect(outputs)[: len(rows)]
    return outputs.cpu()


def evaluate(model: nn.Module, data: PairedDataset, modality: str, rows: Tensor, metric: Metric) -> float:
    """Return a network's metric on some rows; every process of a distributed run must make this call."""
    outputs = predict(model, data, modality, rows, shared=True)
    return metric(outputs, data.label[rows], data.weight_of(rows))


def require_defined(metric: str, validation: Sequence[float]) -> None:
    """Check that a training had a best epoch.

    Args:
        metric: its name, for the message.
        validation: the metric after each epoch.

    Raises:
        InputError: every value is NaN.
    """
    require(
        not all(map(math.isnan, validation)),
        f"`{metric}` must be defined on the validation samples in one epoch at least. It was NaN in all "
        f"{len(validation)}: choose another metric, or more validation samples; or see why the network "
        "returns NaN.",
    )


def evaluation_batch(data: PairedDataset, modality: str, device: torch.device) -> int:
    """Return the samples of a forward pass: `EVALUATION_BATCH`, or fewer if a sample has many values."""
    values = EVALUATION_VALUES if device.type == "cpu" else ACCELERATOR_VALUES
    return min(EVALUATION_BATCH, max(1, values // data.num_values(modality)))


def _per_sample(outputs: Tensor, count: int) -> Tensor:
    require(
        outputs.ndim > 0 and len(outputs) == count,
        "A network or layer must have samples as the first dimension of its output. Got shape "
        f"{tuple(outputs.shape)} for {count} samples: recurrent and attention layers need batch_first=True.",
    )
    return outputs

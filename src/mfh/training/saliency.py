"""Saliency of a layer over a data set, batch by batch if that is exact; each process computes its share."""

import torch
from torch import Tensor, nn

from mfh._checks import require
from mfh._saliency import SaliencyAccumulator, SaliencyResult, linear_start, saliency
from mfh._saliency.heads import evaluating
from mfh.data.paired import PairedDataset
from mfh.training.device import Processes
from mfh.training.evaluate import evaluation_batch, predict

FEATURE_BYTES = 4 * 2**30
DEFAULT_PERMUTATIONS = 10


def dataset_saliency(
    trunk: nn.Module,
    head: nn.Module,
    data: PairedDataset,
    modality: str,
    rows: Tensor,
    student_logits: Tensor,
    *,
    distance: str = "mse",
    score: str = "increase",
    num_permutations: int | str | None = None,
    generator: torch.Generator | None = None,
) -> SaliencyResult:
    """Return `mfh.saliency` of a layer's channels on some samples of a data set.

    Each process of a distributed run computes the features of its share of the samples. For MSE, a linear
    head and channels without positions, features are accumulated batch by batch and never kept.

    Args:
        trunk: the teacher up to the layer, on the device it shall run on.
        head: the teacher from there on.
        data: the samples.
        modality: what the teacher sees.
        rows: which samples, int64, two or more.
        student_logits: of the student on these rows, (sample, output).
        distance: see `mfh.saliency`.
        score: see `mfh.saliency`.
        num_permutations: `exact` or a number; by default exact for a linear head, else 10.
        generator: see `mfh.saliency`.

    Raises:
        InputError: as `mfh.saliency`; or all features must be kept and do not fit into memory.
    """
    require(len(rows) >= 2, f"`samples` must be 2 or more. Got {len(rows)}.")
    device = next((p.device for p in trunk.parameters()), torch.device("cpu"))
    with evaluating(trunk), evaluating(head):
        first = trunk(*data.inputs_of(modality, rows[:2], device=device))
    start = linear_start(head, first)
    num_permutations = permutations_of(head, first, num_permutations)
    if num_permutations == "exact" and distance == "mse" and first.ndim == 2 and start is not None:
        accumulator = SaliencyAccumulator(
            start.weight.cpu(), None if start.bias is None else start.bias.cpu(), score=score
        )
        return _accumulated(accumulator, trunk, data, modality, rows, student_logits, device)
    fitting, each = FEATURE_BYTES // first[0].nbytes, first[0].nbytes / 2**20
    require(
        len(rows) <= fitting,
        f"`samples` must be {fitting} or fewer for this layer, whose features take {each:.1f} MiB a sample. "
        f"Got {len(rows)}.",
    )
    return saliency(
        predict(trunk, data, modality, rows, shared=True).to(device),
        head,
        student_logits,
        distance=distance,
        score=score,
        num_permutations=num_permutations,
        generator=generator,
    )


def permutations_of(head: nn.Module, features: Tensor, wanted: int | str | None = None) -> int | str:
    """Return the permutations for each channel: `wanted`, or by default `exact` for a linear head, else 10.

    Args:
        head: the teacher from the layer on.
        features: the layer's output for a few samples.
        wanted: `exact`, a number, or None.

    Raises:
        InputError: `wanted` is `exact`, but the head is not linear.
    """
    start = linear_start(head, features)
    exact = start is not None and start.rest is None
    require(
        exact or wanted != "exact",
        "`num_permutations` must be a number for this layer, which more than one layer follows. Got 'exact'.",
    )
    return wanted or ("exact" if exact else DEFAULT_PERMUTATIONS)


def _accumulated(
    accumulator: SaliencyAccumulator,
    trunk: nn.Module,
    data: PairedDataset,
    modality: str,
    rows: Tensor,
    student_logits: Tensor,
    device: torch.device,
) -> SaliencyResult:
    """Accumulate every `count`-th sample in each process, and merge all in the order of the processes."""
    processes = Processes.on(device)
    places = torch.arange(len(rows))[processes.rank :: processes.count]
    size = evaluation_batch(data, modality, device)
    for part in places.split(size):
        features = predict(trunk, data, modality, rows[part], batch_size=size)
        accumulator.update(features, student_logits[part])
    mine, *others = processes.gather(accumulator)
    for other in others:
        mine.merge(other)
    return mine.compute()

"""Algorithm 1: the modality-general saliency of a teacher's channels."""

from typing import cast

import torch
from torch import Tensor, nn

from mfh._checks import InputError, choice, require
from mfh._saliency.dense import exact_dense, pointwise
from mfh._saliency.heads import Head, LinearStart, evaluating, linear_start, logits_of, weights_of
from mfh._saliency.inputs import check_pair, check_width, warn_of_negatives
from mfh._saliency.l1 import exact_l1
from mfh._saliency.linear import SaliencyAccumulator
from mfh._saliency.plain import require_sized
from mfh._saliency.result import Distance, SaliencyResult, Score
from mfh._saliency.sampled import sampled
from mfh._saliency.spatial import exact_spatial


def saliency(
    features: Tensor,
    head: Head,
    student_logits: Tensor,
    *,
    distance: str = "mse",
    num_permutations: int | str = "exact",
    score: str = "increase",
    channel_dim: int = 1,
    generator: torch.Generator | None = None,
    memory_budget: int | None = None,
    precision: float | None = None,
    warn: bool = True,
) -> SaliencyResult:
    """Compute how far a teacher moves from the student when one channel of a layer is permuted.

    Step 2 of Algorithm 1 of the MFH paper (arXiv 2206.06487): D_c is the distance between the teacher's
    logits with channel c permuted across samples and the student's logits, averaged over permutations. A
    channel with a large D_c is salient: the paper interprets it as modality-general and decisive. For a
    linear head the average over all n! permutations has a closed form, which needs no draws.

    What the increase measures depends on the samples. Where the student fits the teacher, as on the training
    split after joint training, it equals `importance`, which does not use the student. On held-out samples
    increases can be negative; then `followed` ranks more reliably.

    Args:
        features: (sample, channel, *position), the layer's output, floating-point.
        head: what follows the layer: a callable from features to logits (sample, output), to a tuple that
            begins with them, or to an object with `.logits`. A module runs in evaluation mode; its mode is
            restored. Linear heads are recognised: `nn.Linear`, and an `nn.Sequential` of [global average
            pooling,] [Flatten,] Linear. Positions are flattened innermost.
        student_logits: (sample, output), of the student on the same samples in the same order; for dense
            predictions (sample, output, *position), which are exact for a 1 x 1 convolution as `head`.
        distance: `mse` or `l1`, mean over samples and outputs.
        num_permutations: `exact`, for linear heads, or the number of permutations to draw, at least 1. All
            channels use the same permutations.
        score: what to rank by. `increase` is D_c minus the distance without permutation. `followed` is the
            part of it that depends on how the student's logits vary, increase(s) - increase(mean of s), under
            MSE only.
        channel_dim: the dimension of the features that is the channels, such as -1 for (sample, token,
            channel); see `mfh.layers`.
        generator: source of the permutations; a new one seeded with 0 when None.
        memory_budget: bytes to use in addition to the inputs, approximately; when None, 32 MiB on a CPU and
            1 GiB on other devices. It changes the speed, not the result.
        precision: stop when the expected correlation of the scores with those of all permutations is at least
            1 - `precision`, or after about `num_permutations` draws. The permutations are then stratified
            (see `mfh._saliency.sampled`): a few of them are as precise as hundreds of independent ones. The
            result gives their number. Between 0 and 1, such as .001; None draws `num_permutations`
            independent ones.
        warn: whether to warn when increases are negative and the score is `increase`.

    Returns:
        Arrays per channel; see `SaliencyResult`.

    Raises:
        InputError: shapes do not fit, samples are too few, values are integers or NaN, an exact result is
            asked for a head that is not linear, or an option is unknown.

    Example:
        >>> signs = torch.tensor([-1.0, 1.0])
        >>> features = torch.cartesian_prod(signs, signs, signs)  # three channels, uncorrelated
        >>> head = torch.nn.Linear(3, 2, bias=False)
        >>> head.weight.data = torch.tensor([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])
        >>> student_logits = features[:, [0, 0]]  # the student sees the first channel only
        >>> result = saliency(features, head, student_logits)
        >>> result.increase.tolist(), result.importance.tolist()
        ([2.0, 0.0, 0.0], [2.0, 2.0, 0.0])
        >>> result.ranking.tolist()
        [0, 1, 2]
    """
    _check_options(distance, num_permutations, score, memory_budget)
    _check_precision(precision, num_permutations)
    check_pair(features, student_logits.flatten(1) if student_logits.ndim > 2 else student_logits)
    if isinstance(head, nn.Module):
        require_sized(head, "head")
    if channel_dim % features.ndim != 1:
        features, head = _channels_second(features, head, channel_dim)
    features, student_logits = features.detach(), student_logits.detach().to(features.device)
    if student_logits.ndim > 2 and num_permutations == "exact":
        result = _exact_dense(features, head, student_logits, distance, cast(Score, score))
        if warn:
            warn_of_negatives(result)
        return result
    if student_logits.ndim > 2:
        head, student_logits = _FlatOutput(head), student_logits.flatten(1)
    with evaluating(head):
        start = linear_start(head, features)
        if start is not None and start.rest is None:
            check_width(student_logits, len(start.weight))
        if isinstance(num_permutations, str):
            result = _exact(features, start, student_logits, cast(Distance, distance), cast(Score, score))
        else:
            result = sampled(
                features,
                head,
                start,
                student_logits,
                distance=cast(Distance, distance),
                score=cast(Score, score),
                num_permutations=num_permutations,
                generator=torch.Generator().manual_seed(0) if generator is None else generator,
                memory_budget=memory_budget or (2**25 if features.device.type == "cpu" else 2**30),
                precision=precision,
            )
    if warn:
        warn_of_negatives(result)
    return result


def _channels_second(features: Tensor, head: Head, channel_dim: int) -> tuple[Tensor, Head]:
    valid = -features.ndim <= channel_dim < features.ndim and channel_dim % features.ndim != 0
    require(
        valid,
        f"`channel_dim` must be a dimension of `features` other than the first, the samples. Got "
        f"{channel_dim} for shape {tuple(features.shape)}.",
    )
    return features.movedim(channel_dim, 1), _MovedInput(head, channel_dim)


class _MovedInput(nn.Module):
    """A head that receives channels as dimension 1 and passes them on as another dimension."""

    def __init__(self, head: Head, channel_dim: int) -> None:
        super().__init__()
        self.head, self.channel_dim = head, channel_dim

    def forward(self, features: Tensor) -> object:
        """Return what the head returns."""
        return self.head(features.movedim(1, self.channel_dim))


class _FlatOutput(nn.Module):
    """A head whose logits are (sample, output x position)."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Return the head's logits, flattened."""
        return logits_of(self.head(features)).flatten(1)


def _exact(
    features: Tensor, start: LinearStart | None, student_logits: Tensor, distance: Distance, score: Score
) -> SaliencyResult:
    """Return the average over all permutations for a linear head."""
    if start is None or start.rest is not None:
        raise InputError(
            "`num_permutations` must be a number, such as num_permutations=100, unless `head` is known to be "
            "linear. Got 'exact', which needs nn.Linear, or nn.Sequential of [global average pooling,] "
            "[Flatten,] Linear, without hooks."
        )
    # mps has no float64
    weight = start.weight.to("cpu" if features.device.type == "mps" else features.device, torch.float64)
    bias = weight.new_zeros(len(weight)) if start.bias is None else start.bias.to(weight)
    if start.pooled:
        features = torch.cat([part.to(weight).flatten(2).mean(2) for part in features.split(256)])
    elif features[0, 0].numel() == 1:
        features = features.flatten(1)
    accumulator = SaliencyAccumulator(weight, bias, score=score)
    if distance == "l1":
        return exact_l1(features, weight, bias, student_logits)
    if features.ndim > 2:
        return exact_spatial(features, weight, bias, student_logits, score=score)
    return accumulator.update(features, student_logits).compute(warn=False)


def _exact_dense(
    features: Tensor, head: Head, student_logits: Tensor, distance: str, score: Score
) -> SaliencyResult:
    """Return the average over all permutations for a head that is linear at each position."""
    conv = pointwise(head)
    if conv is None or distance != "mse":
        raise InputError(
            "`num_permutations` must be a number for outputs with positions unless `head` is a 1 x 1 "
            "convolution and distance='mse', such as num_permutations=100. Got 'exact'."
        )
    wanted = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
    ndim = next(count for kind, count in wanted.items() if isinstance(conv, kind))
    require(
        features.ndim == ndim and features.shape[1] == conv.in_channels,
        f"`features` must have {ndim} dimensions and {conv.in_channels} channels for this `head`, "
        f"{type(conv).__name__}. Got shape {tuple(features.shape)}.",
    )
    require(
        student_logits.shape[1:] == (conv.out_channels, *features.shape[2:]),
        "`student_logits` must have the shape that `head` gives, "
        f"{(len(features), conv.out_channels, *features.shape[2:])}. Got {tuple(student_logits.shape)}.",
    )
    own_weight, own_bias = weights_of(conv)
    device = "cpu" if features.device.type == "mps" else features.device
    weight = own_weight.to(device, torch.float64).flatten(1)
    bias = weight.new_zeros(len(weight)) if own_bias is None else own_bias.to(weight)
    return exact_dense(features, weight, bias, student_logits, score=score)


def _check_options(distance: str, num_permutations: int | str, score: str, memory_budget: int | None) -> None:
    choice("distance", distance, ("mse", "l1"))
    choice("score", score, ("increase", "followed"))
    counted = not isinstance(num_permutations, (str, bool)) and num_permutations >= 1
    require(
        counted or num_permutations == "exact",
        f"`num_permutations` must be 'exact' or a whole number of at least 1. Got {num_permutations!r}.",
    )
    require(
        distance == "mse" or score == "increase",
        "`score` must be 'increase' with distance='l1', since `followed` is defined by squared distances. "
        "Got 'followed': use distance='mse'.",
    )
    require(
        memory_budget is None or memory_budget > 0,
        f"`memory_budget` must be a positive number of bytes, or None. Got {memory_budget}.",
    )


def _check_precision(precision: float | None, num_permutations: int | str) -> None:
    if precision is None:
        return
    require(0 < precision < 1, f"`precision` must lie between 0 and 1. Got {precision!r} instead.")
    require(
        not isinstance(num_permutations, str),
        "`precision` needs a largest number of permutations, such as num_permutations=1000. Got "
        f"{num_permutations!r}, which draws none.",
    )

"""Saliency of any head by drawing permutations. Only the part of the head that changes is run again.

All channels use the same permutations, so that differences between channels are not due to the draw.

With a precision, permutations are drawn in rounds. A round gives each sample one value from each stratum
of the channel's distribution, at random within it, and each of its draws is a permutation. Where the distance
is smooth in the value received, the error of q such draws falls as q^-1.5 instead of q^-0.5 (stratified
sampling; McKay, Beckman, Conover, 1979, doi 10.2307/1268522). If the head can be differentiated, the part of
the distance that its slopes predict is removed too (see `mfh._saliency.slopes`). Short rounds then come first
and often suffice; if a finer precision needs long rounds, the draws of the short ones are not used.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mfh._checks import require
from mfh._saliency.changes import Changes, changes_of
from mfh._saliency.heads import Head, LinearStart
from mfh._saliency.result import Distance, SaliencyResult, Score
from mfh._saliency.slopes import Slopes, slopes_of
from mfh._saliency.tallies import IndependentTally, RoundTally

Donors = Int[Tensor, "permutation sample"]
STRATA = 8  # of a long round
SHORT = 4  # of a short one
SHORT_OF_MAPS = 2  # for channels with positions, which strata by mean describe poorly
FEW = 8  # draws before long rounds begin
FEWEST_ROUNDS = 2  # differences between rounds give the error
PILOT = 8  # one in so many channels gets a second round, which calibrates the error of a single round
FEWEST_PILOTS = 8


def sampled(
    features: Float[Tensor, "sample channel *position"],
    head: Head,
    start: LinearStart | None,
    student_logits: Float[Tensor, "sample output"],
    *,
    distance: Distance,
    score: Score,
    num_permutations: int,
    generator: torch.Generator,
    memory_budget: int,
    precision: float | None = None,
) -> SaliencyResult:
    """Return the saliency of every channel, the mean over `num_permutations` permutations of the samples.

    `head` must be in evaluation mode, without recording gradients. `start` is the result of `linear_start`.
    With `precision`, draws stop when the ranking is precise enough, after about `num_permutations` at most.
    """
    require(
        features.device.type != "mps",
        "`features` must not be on mps, which has no float64, to draw permutations. Move `features` and "
        "`head` to the CPU.",
    )
    if start is not None and start.pooled:
        features = features.flatten(2).mean(2)
    changes = changes_of(
        features, head, start, student_logits, distance=distance, memory_budget=memory_budget
    )
    size = max(1, memory_budget // (64 * len(features)))
    if precision is None:
        draws = _independent(len(features), num_permutations, generator)
        independent = [IndependentTally(changes, channel, score) for channel in range(features.shape[1])]
        for tally in independent:
            tally.add(draws.to(features.device).split(size))
        rows = [tally.result() for tally in independent]
    else:
        slopes = None
        if distance == "mse":
            make = partial(slopes_of, features, head, start, memory_budget=memory_budget)
            slopes = changes.slopes(make)
        tallies, num_permutations = _until_precise(
            changes, slopes, features, score, precision, num_permutations, generator, size
        )
        rows = [tally.result() for tally in tallies]
    increase, followed, importance, stderr_data, stderr_permutation = np.array(rows).T + 0.0
    return SaliencyResult(
        mean=changes.baseline + increase,
        increase=increase,
        followed=followed if distance == "mse" else None,
        importance=importance if changes.knows_importance else None,
        stderr_data=stderr_data,
        stderr_permutation=stderr_permutation,
        baseline=changes.baseline,
        score=score,
        distance=distance,
        num_samples=len(features),
        num_permutations=num_permutations,
    )


def _until_precise(
    changes: Changes,
    slopes: Slopes | None,
    features: Tensor,
    score: Score,
    precision: float,
    limit: int,
    generator: torch.Generator,
    size: int,
) -> tuple[list[RoundTally], int]:
    """Draw rounds until the ranking is precise enough, about `limit` permutations at most."""
    keys = features if features.ndim == 2 else features.flatten(2).mean(2)
    few = limit < 2 * STRATA * FEWEST_ROUNDS
    short = SHORT if features.ndim == 2 else SHORT_OF_MAPS
    stages = []
    if slopes is not None:
        stages = [(short, max(FEWEST_ROUNDS, (limit if few else FEW) // short))]
    if not stages or not few:
        stages.append((STRATA, max(FEWEST_ROUNDS, (limit - FEW * len(stages)) // STRATA)))
    before = 0
    for strata, rounds in stages:
        tallies = [
            RoundTally(changes, channel, score, key=key, slopes=slopes)
            for channel, key in enumerate(keys.unbind(1))
        ]
        for number, ranks in enumerate(_rounds(len(features), rounds, generator, strata)):
            groups = ranks.to(features.device).split(max(size, short))
            piloted = number == 1 and len(groups) == 1 and len(tallies) >= PILOT * FEWEST_PILOTS
            pilots, others = (tallies[::PILOT], [t for t in tallies if t.channel % PILOT])
            for part in (pilots, others) if piloted else (tallies,):
                for tally in part:
                    tally.add(groups)
                if part is pilots:
                    _calibrate(pilots, others)
                if _imprecision(tallies) <= precision:
                    return tallies, before + strata * min(tally.rounds for tally in tallies)
        before += strata * rounds
    return tallies, before


def _calibrate(pilots: Sequence[RoundTally], others: Sequence[RoundTally]) -> None:
    """Correct the errors of `others`, which had one round, by the second round of `pilots`.

    The error of a single round is estimated from the differences between its draws. It is too large, since
    the draws also differ by their strata. The excess is similar for all channels.
    """
    estimated = sum(tally.error_of_first_round() ** 2 for tally in pilots)
    found = sum(tally.error_between_rounds() ** 2 for tally in pilots)
    if estimated > 0:
        for tally in others:
            tally.calibrate(2 * found / estimated)


def _independent(count: int, number: int, generator: torch.Generator) -> Donors:
    """Draw permutations independently of each other."""
    device = generator.device
    return torch.stack([torch.randperm(count, generator=generator, device=device) for _ in range(number)])


def _rounds(count: int, rounds: int, generator: torch.Generator, strata: int = STRATA) -> Iterator[Donors]:
    """Yield rounds of permutations in which each sample receives one rank from each stratum.

    The ranks are cut into `strata` blocks, and the samples at random into as many groups. In draw q, group g
    receives block g + q, shuffled. Samples that are left over exchange values among themselves.
    """
    device, size = generator.device, count // strata

    def shuffled(number: int) -> Tensor:
        return torch.randperm(number, generator=generator, device=device)

    for _ in range(rounds):
        samples, ranks = shuffled(count), shuffled(count)
        left, ranks = ranks[size * strata :], ranks[: size * strata].sort().values
        blocks = ranks.view(strata, size)
        result = torch.empty(strata, count, dtype=torch.int64, device=device)
        for draw in range(strata):
            mixed = torch.rand(strata, size, generator=generator, device=device).argsort(dim=1)
            given = blocks.roll(-draw, 0).gather(1, mixed)
            result[draw, samples] = torch.cat([given.flatten(), left[shuffled(len(left))]])
        yield result


def _imprecision(tallies: Sequence[RoundTally]) -> float:
    """Return 1 - the expected correlation of the scores with those of all permutations.

    With v the variance of the scores over channels and e the mean of their squared standard errors, the
    scores of all permutations vary by v - e, and the correlation is sqrt((v - e) / v).
    """
    scores = np.array([tally.score for tally in tallies])
    errors = np.mean([tally.error**2 for tally in tallies])
    spread = scores.var(ddof=1) if len(scores) > 1 else 0.0
    return 1 - float(np.sqrt(max(spread - errors, 0.0) / spread)) if spread > 0 else float(errors > 0)

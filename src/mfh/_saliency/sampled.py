"""Saliency by drawing permutations, for any head: the trunk is never run, and of the head only what changes.

Every channel meets the same permutations, so that differences between channels owe nothing to the draw.

Asked for a precision, permutations are drawn in rounds. A round gives each sample one value from each stratum
of the channel's distribution, at random within it, and each of its draws is a permutation. Where the distance
is smooth in the value received, the error of q such draws falls as q^-1.5 instead of q^-0.5 (stratified
sampling; McKay, Beckman, Conover, 1979, doi 10.2307/1268522). What is known of the head beforehand is taken
out besides, where it can be differentiated (see `mfh._saliency.slopes`): then short rounds come first, the
first of which may do, and what they drew is left aside when a finer precision needs long ones.
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
SHORT_OF_MAPS = 2  # where channels have positions, which strata, by their means, tell little of
FEW = 8  # draws before long rounds begin
FEWEST_ROUNDS = 2  # by which errors are told from how rounds differ
PILOT = 8  # of as many channels one is drawn for once more, to tell the error of a single round
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
    """Saliency of every channel, the mean over `num_permutations` permutations of the samples.

    `head` must be in evaluation mode, and no gradients recorded. `start` is what `linear_start` says of it.
    With `precision` there are as many as the ranking needs, and `num_permutations` at the most.
    """
    require(
        features.device.type != "mps",
        "`features` must not be on mps to draw permutations, since it has no float64. Move them and the "
        "head to the cpu.",
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
    """Draw rounds until the ranking is as precise as asked, about `limit` permutations at the most."""
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
    """Scale the errors of `others` after their only round, by what a second round of `pilots` shows.

    The error of a single round is estimated from how its draws differ. That is too much, since they differ
    by their strata too; how much too much is alike for all channels.
    """
    estimated = sum(tally.error_of_first_round() ** 2 for tally in pilots)
    found = sum(tally.error_between_rounds() ** 2 for tally in pilots)
    if estimated > 0:
        for tally in others:
            tally.calibrate(2 * found / estimated)


def _independent(count: int, number: int, generator: torch.Generator) -> Donors:
    """Permutations, each drawn by itself."""
    device = generator.device
    return torch.stack([torch.randperm(count, generator=generator, device=device) for _ in range(number)])


def _rounds(count: int, rounds: int, generator: torch.Generator, strata: int = STRATA) -> Iterator[Donors]:
    """Rounds of permutations that give each sample one rank from each stratum, in random order.

    The ranks are cut into `strata` blocks and the samples dealt into as many groups. In draw q, group g
    receives block g + q, shuffled. What does not divide evenly is exchanged among itself.
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
    """1 - the correlation to be expected between the scores and those of all permutations.

    With v the variance of the scores over channels and e the mean of their squared standard errors, the
    scores of all permutations vary by v - e, and the correlation is sqrt((v - e) / v).
    """
    scores = np.array([tally.score for tally in tallies])
    errors = np.mean([tally.error**2 for tally in tallies])
    spread = scores.var(ddof=1) if len(scores) > 1 else 0.0
    return 1 - float(np.sqrt(max(spread - errors, 0.0) / spread)) if spread > 0 else float(errors > 0)

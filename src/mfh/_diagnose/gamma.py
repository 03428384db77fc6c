"""gamma_hat: how much of what a teacher says can be said from another modality."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from mfh._checks import require
from mfh._diagnose.basis import make_basis
from mfh._diagnose.regression import Choice, Regression

LEAST_PER_FOLD = 10


@dataclass(frozen=True, eq=False)
class Gamma:
    """The teacher's share, estimated.

    Attributes:
        estimate: share of the variance of the teacher's centred logits that modality b explains, about in
            [0, 1] (noise can carry it a little outside).
        low, high: 95% interval by bootstrap over samples or groups, the regression fitted anew.
        between: the same share of the variance of the class means.
        within: the same share of the variance within classes.
        weight: share of the variance that lies between classes: estimate = weight x between + (1 - weight) x
            within.
        null: estimates for shuffled pairs.
        null_within: estimates within classes for pairs shuffled among samples of the same class.
        r2: R^2 of the same regression, for comparison.
        linear: share of the folds for which a linear regression was enough, in [0, 1].
        prediction: what modality b says the teacher's centred logits are.
    """

    estimate: float
    low: float
    high: float
    between: float
    within: float
    weight: float
    null: Float[np.ndarray, " shuffle"]
    null_within: Float[np.ndarray, " shuffle"]
    r2: float
    linear: float
    prediction: Float[np.ndarray, "sample output"] = field(repr=False)


def estimate_gamma(
    logits: Float[np.ndarray, "*fold sample output"],
    values: Float[np.ndarray, "sample value"],
    label: Int[np.ndarray, " sample"],
    folds: Int[np.ndarray, " sample"],
    *,
    group: Int[np.ndarray, " sample"] | None = None,
    generator: np.random.Generator,
    num_bootstrap: int = 200,
    num_shuffles: int = 20,
) -> Gamma:
    """Estimate gamma / (alpha + gamma), the modality-general part of what a teacher decides by.

    gamma_hat = sum_k Cov(s_k, z_k) / sum_k Var(z_k): z are the teacher's logits, centred over classes, on
    samples that it was not fitted on, s the regression of z on modality b, fitted on other folds. Unlike R^2
    it is not pulled down by noise in s. It needs neither a linear head nor a basis of the teacher's features.
    Where each fold has a teacher of its own, s for that fold is the regression of what this very teacher says
    of the other folds: a regression of what other teachers say misses whatever teachers differ in.
    For a linear teacher of independent channels it estimates the sum over the shared channels c of
    ||W_c||^2 Var(h_c), over that of all channels. It counts the class itself as shared; `within` does not.

    Args:
        logits: of one teacher, on samples that it was not fitted on, (sample, output); or of one teacher for
            each fold, fitted without it, on all samples, (fold, sample, output). The latter are brought to
            one variance on what they were not fitted on.
        values: modality b of the same samples, flattened.
        label: classes.
        folds: fold of each sample for the regression; no group stands in two folds.
        group: resampled as a whole in the bootstrap; None resamples samples.
        generator: source of landmarks, resamples and shuffles.
        num_bootstrap: resamples, 2 or more.
        num_shuffles: shuffled pairings for the null, 0 or more.

    Raises:
        InputError: fewer than three folds, fewer than ten samples in one, or logits without variance.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(600, 4))
        >>> label = (x.sum(axis=1) > 0).astype(int)
        >>> logits = x.sum(axis=1, keepdims=True) * np.array([-1.0, 1.0])
        >>> gamma = estimate_gamma(logits, x[:, :3], label, np.arange(600) % 5, generator=rng)
        >>> abs(gamma.estimate - 0.75) < 0.05, gamma.low < 0.75 < gamma.high
        (True, True)
    """
    counts = np.bincount(folds)
    require(
        len(counts) >= 3 and int(counts.min()) >= LEAST_PER_FOLD,
        f"`folds` must be three or more, of {LEAST_PER_FOLD} samples or more each. Got {len(counts)}, the "
        f"smallest of {counts.min()}: {LEAST_PER_FOLD * max(3, len(counts))} samples are needed.",
    )
    targets = align(logits, folds) if logits.ndim == 3 else center(logits)
    z = unseen(targets, folds)
    require(
        float(z.var(axis=0).sum()) > 0,
        "`logits` must differ between samples. The teacher answers the same to all of them: train it first.",
    )
    regression = Regression(make_basis(values, generator=generator), folds)
    choices = regression.choose(targets)
    s = regression.predict(targets, choices)
    whole, between, within, weight = decompose(s, z, label)
    resampled = _bootstrap(regression, targets, z, choices, group, generator, num_bootstrap)
    # refitted on fewer distinct samples the estimates sit a little off; their spread is what counts
    low, high = np.quantile(resampled, [0.025, 0.975]) - resampled.mean() + whole
    null, null_within = _shuffled(regression, targets, label, choices, generator, num_shuffles)
    total = float(((z - z.mean(axis=0)) ** 2).sum())
    return Gamma(
        whole, float(low), float(high), between, within, weight, null, null_within,
        r2=1 - float(((s - z) ** 2).sum()) / total,
        linear=float(np.mean([choice.kernel is None for choice in choices])),
        prediction=s,
    )  # fmt: skip


def center(logits: Float[np.ndarray, "*fold sample output"]) -> Float[np.ndarray, "*fold sample output"]:
    """Subtract each sample's mean over outputs, which no softmax sees."""
    logits = np.asarray(logits, dtype=np.float64)
    return logits - logits.mean(axis=-1, keepdims=True)


def align(
    logits: Float[np.ndarray, "fold sample output"], folds: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "fold sample output"]:
    """Centre each teacher's logits, and bring them to mean 0 and total variance 1 on its own fold.

    Example:
        >>> both = np.array([[1.0, -1.0], [3.0, -3.0], [0.0, 0.0], [8.0, -8.0]])
        >>> align(np.stack([both, both]), np.array([0, 0, 1, 1]))[0].round(2)
        array([[-0.71,  0.71],
               [ 0.71, -0.71],
               [-1.41,  1.41],
               [ 4.24, -4.24]])
    """
    z = center(logits)
    for fold, table in enumerate(z):
        own = table[folds == fold]
        table -= own.mean(axis=0)
        table /= max(float(np.sqrt(own.var(axis=0).sum())), 1e-12)
    return z


def unseen(
    targets: Float[np.ndarray, "*fold sample output"], folds: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "sample output"]:
    """Of each sample what the teacher says that was not fitted on it."""
    return targets[folds, np.arange(len(folds))] if targets.ndim == 3 else targets


def decompose(
    s: Float[np.ndarray, "sample output"], z: Float[np.ndarray, "sample output"], label: np.ndarray
) -> tuple[float, float, float, float]:
    """Cov(s, z) / Var(z): in all, of class means, within classes; and the share of Var(z) between classes."""
    s, z = s - s.mean(axis=0), z - z.mean(axis=0)
    onehot = (label[:, None] == np.unique(label)).astype(np.float64)
    means_s, means_z = (onehot @ ((onehot.T @ v) / onehot.sum(axis=0)[:, None]) for v in (s, z))
    total, between = float((z**2).sum()), float((means_z**2).sum())
    covariance, covariance_between = float((s * z).sum()), float((means_s * means_z).sum())
    within = total - between
    return (
        covariance / total,
        covariance_between / between if between > 0 else 0.0,
        (covariance - covariance_between) / within if within > 1e-12 * total else 0.0,
        between / total,
    )


def contributions(
    weight: Float[np.ndarray, "output channel"],
    features: Float[np.ndarray, "sample channel"],
    prediction: Float[np.ndarray, "sample output"],
    logits: Float[np.ndarray, "sample output"],
) -> Float[np.ndarray, " channel"]:
    """What each channel of a linear head adds to gamma_hat: W_c . Cov(s, h_c) / sum_k Var(z_k).

    Args:
        weight: of the head.
        features: what the head reads.
        prediction: s, of the same samples.
        logits: z, of the same samples.

    Returns:
        One value a channel; they add up to Cov(s, z) / Var(z) on these samples.
    """
    weight = weight - weight.mean(axis=0)
    s, h = prediction - prediction.mean(axis=0), features - features.mean(axis=0)
    z = center(logits)
    total = float(((z - z.mean(axis=0)) ** 2).sum())
    result: np.ndarray = ((s @ weight) * h).sum(axis=0) / max(total, 1e-300)
    return result


def _bootstrap(
    regression: Regression,
    targets: np.ndarray,
    z: np.ndarray,
    choices: Sequence[Choice],
    group: np.ndarray | None,
    generator: np.random.Generator,
    count: int,
) -> np.ndarray:
    """gamma_hat of resamples: weights count how often a sample was drawn, and it stays in its fold."""
    unit = np.arange(len(z)) if group is None else np.unique(group, return_inverse=True)[1]
    num_units = int(unit.max()) + 1
    values = []
    for _ in range(count):
        weights = generator.multinomial(num_units, np.full(num_units, 1 / num_units))[unit].astype(float)
        if min(weights[rows].sum() for rows in regression.rows) == 0:
            continue
        values.append(_weighted(regression.predict(targets, choices, weights), z, weights))
    return np.array(values)


def _weighted(s: np.ndarray, z: np.ndarray, weights: np.ndarray) -> float:
    share = (weights / weights.sum())[:, None]
    s, z = s - (share * s).sum(axis=0), z - (share * z).sum(axis=0)
    return float((share * s * z).sum() / (share * z**2).sum())


def _shuffled(
    regression: Regression,
    targets: np.ndarray,
    label: np.ndarray,
    choices: Sequence[Choice],
    generator: np.random.Generator,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """gamma_hat of shuffled pairs, and its part within classes for pairs shuffled within classes.

    Samples change places within their fold only, so that no teacher is asked of what it was fitted on.
    """
    folds = regression.folds
    everywhere: list[float] = []
    inside: list[float] = []
    for _ in range(count):
        for values, kept, part in ((everywhere, folds, 0), (inside, _both(folds, label), 2)):
            rows = shuffle_within(kept, generator)
            moved = targets[..., rows, :]
            s, z = regression.predict(moved, choices), unseen(moved, folds)
            values.append(decompose(s, z, label[rows])[part])
    return np.array(everywhere), np.array(inside)


def _both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One number for each combination."""
    return np.unique(np.stack([one, other]), axis=1, return_inverse=True)[1].reshape(-1)


def shuffle_within(label: Int[np.ndarray, " sample"], generator: np.random.Generator) -> np.ndarray:
    """For each sample another of its class, drawn without replacement."""
    rows = np.arange(len(label))
    for value in np.unique(label):
        members = np.flatnonzero(label == value)
        rows[members] = generator.permutation(members)
    return rows

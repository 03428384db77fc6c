"""gamma_hat: the share of a teacher's outputs that the student's modality explains."""

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
    """The estimate of the teacher's share.

    Attributes:
        estimate: share of the variance of the teacher's centred logits that modality b explains, about in
            [0, 1] (noise can move it slightly outside).
        low, high: 95% interval by bootstrap over samples or groups; the regression is refitted each time.
        between: the same share for the variance of the class means.
        within: the same share for the variance within classes.
        weight: share of the variance that is between classes: estimate = weight x between + (1 - weight) x
            within.
        null: estimates for shuffled pairs.
        null_within: `within` for pairs shuffled among samples of the same class.
        r2: R^2 of the same regression, for comparison.
        linear: share of the folds for which a linear regression was chosen, in [0, 1].
        prediction: the teacher's centred logits, predicted from modality b.
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
    """Estimate gamma / (alpha + gamma), the modality-general share of the evidence that a teacher uses.

    gamma_hat = sum_k Cov(s_k, z_k) / sum_k Var(z_k). z are the teacher's logits, centred over classes, for
    samples that it was not fitted on; s is the prediction of z from modality b, fitted on other folds. Unlike
    R^2 it is not lowered by noise in s. It needs neither a linear head nor a basis of the teacher's features.

    If each fold has its own teacher, s for a fold is fitted to this teacher's outputs for the other folds. A
    fit to the other teachers' outputs would miss everything in which the teachers differ.

    For a linear teacher with independent channels, gamma_hat estimates the sum of ||W_c||^2 Var(h_c) over the
    shared channels c, divided by the sum over all channels. It counts the class itself as shared; `within`
    does not.

    Args:
        logits: outputs of one teacher for samples that it was not fitted on, (sample, output); or of one
            teacher per fold, fitted without that fold, for all samples, (fold, sample, output). The latter
            are scaled to equal variance on the folds that they were not fitted on.
        values: modality b of the same samples, flattened.
        label: classes.
        folds: fold of each sample for the regression; each group must be within one fold.
        group: group of each sample, for a bootstrap over groups; None resamples samples.
        generator: random numbers for landmarks, resamples and shuffles.
        num_bootstrap: number of resamples, 2 or more.
        num_shuffles: number of shuffled pairings for the null, 0 or more.

    Returns:
        The estimate, its interval, its parts and its null.

    Raises:
        InputError: there are fewer than three folds, a fold has fewer than ten samples, or the logits have no
            variance.

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
        f"`folds` must be three or more, with {LEAST_PER_FOLD} samples or more each. Got {len(counts)}, and "
        f"the smallest has {counts.min()}: {LEAST_PER_FOLD * max(3, len(counts))} samples are needed.",
    )
    targets = align(logits, folds) if logits.ndim == 3 else center(logits)
    z = unseen(targets, folds)
    require(
        float(z.var(axis=0).sum()) > 0,
        "`logits` must differ between samples. The teacher gives the same output for all of them: train it.",
    )
    regression = Regression(make_basis(values, generator=generator), folds)
    choices = regression.choose(targets)
    s = regression.predict(targets, choices)
    estimate, between, within, weight = decompose(s, z, label)
    resampled = _bootstrap(regression, targets, z, choices, group, generator, num_bootstrap)
    # resamples have fewer distinct samples, which shifts their estimates: only their spread is used
    low, high = np.quantile(resampled, [0.025, 0.975]) - resampled.mean() + estimate
    null, null_within = _shuffled(regression, targets, label, choices, generator, num_shuffles)
    total = float(((z - z.mean(axis=0)) ** 2).sum())
    return Gamma(
        estimate, float(low), float(high), between, within, weight, null, null_within,
        r2=1 - float(((s - z) ** 2).sum()) / total,
        linear=float(np.mean([choice.kernel is None for choice in choices])),
        prediction=s,
    )  # fmt: skip


def center(logits: Float[np.ndarray, "*fold sample output"]) -> Float[np.ndarray, "*fold sample output"]:
    """Subtract each sample's mean over outputs, which does not change its softmax."""
    logits = np.asarray(logits, dtype=np.float64)
    return logits - logits.mean(axis=-1, keepdims=True)


def align(
    logits: Float[np.ndarray, "fold sample output"], folds: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "fold sample output"]:
    """Centre each teacher's logits, and scale them to mean 0 and total variance 1 on its own fold.

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
    """Return each sample's logits by the teacher that was not fitted on it."""
    return targets[folds, np.arange(len(folds))] if targets.ndim == 3 else targets


def decompose(
    s: Float[np.ndarray, "sample output"], z: Float[np.ndarray, "sample output"], label: np.ndarray
) -> tuple[float, float, float, float]:
    """Return Cov(s, z) / Var(z) in total, of class means and within classes, and the between-class share.

    Returns:
        The three quotients, then the share of Var(z) that is between classes.
    """
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
    """Return what each channel of a linear head contributes to gamma_hat: W_c . Cov(s, h_c) / sum_k Var(z_k).

    Args:
        weight: weights of the head.
        features: inputs of the head.
        prediction: s for the same samples.
        logits: z for the same samples.

    Returns:
        One value per channel; their sum is Cov(s, z) / Var(z) on these samples.
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
    """Compute gamma_hat of resamples; a sample's weight is how often it was drawn, and folds are kept."""
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
    """Compute gamma_hat of shuffled pairs, and `within` of pairs that were shuffled within classes.

    Samples are exchanged within their fold only, so that no teacher is used on samples it was fitted on.
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
    """Return one number for each combination."""
    return np.unique(np.stack([one, other]), axis=1, return_inverse=True)[1].reshape(-1)


def shuffle_within(label: Int[np.ndarray, " sample"], generator: np.random.Generator) -> np.ndarray:
    """Return for each sample another one of its class, drawn without replacement."""
    rows = np.arange(len(label))
    for value in np.unique(label):
        members = np.flatnonzero(label == value)
        rows[members] = generator.permutation(members)
    return rows

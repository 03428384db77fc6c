"""Modality b as columns for a regression: principal components, and a few kernel features."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LARGEST_EXACT = 1_000
MOST_COMPONENTS = 256
MOST_LANDMARKS = 150
BANDWIDTHS = (1.0, 0.5)


@dataclass(frozen=True, eq=False)
class Basis:
    """The predictors of the regression, computed from modality b alone, without labels and teacher.

    Attributes:
        linear: standardised values, or their first principal components.
        kernels: Nyström features of Gaussian kernels on `linear`, one array per bandwidth; the mean squared
            norm of a row is 1.
    """

    linear: Float[np.ndarray, "sample component"]
    kernels: tuple[Float[np.ndarray, "sample _"], ...]


def make_basis(
    values: Float[np.ndarray, "sample value"],
    *,
    generator: np.random.Generator,
    components: int = MOST_COMPONENTS,
    landmarks: int = MOST_LANDMARKS,
) -> Basis:
    """Standardise the values, reduce them to principal components if there are many, add kernel features.

    Bandwidths are the median distance between samples and half of it. Landmarks are drawn from the samples,
    at most a third of them (Williams and Seeger, Using the Nyström method, 2001).

    Args:
        values: modality b.
        generator: random numbers for landmarks and principal components.
        components: largest number of columns of `linear`; more values are reduced to principal components.
        landmarks: largest number of landmarks.

    Example:
        >>> values = np.random.default_rng(0).normal(size=(30, 4))
        >>> basis = make_basis(values, generator=np.random.default_rng(1))
        >>> basis.linear.shape, [kernel.shape for kernel in basis.kernels]
        ((30, 4), [(30, 10), (30, 10)])
    """
    values = np.asarray(values, dtype=np.float64)
    sd = values.std(axis=0)
    constant = sd <= 1e-6 * np.abs(values.mean(axis=0))
    scaled = (values - values.mean(axis=0)) / np.where(constant, np.inf, sd)
    scaled = scaled[:, ~constant] if not constant.all() else scaled[:, :1]
    if scaled.shape[1] > components:
        scaled = principal_components(scaled, components, generator=generator)
    count = max(2, min(landmarks, len(scaled) // 3))
    chosen = scaled[generator.permutation(len(scaled))[:count]]
    squared = squared_distances(scaled, chosen)
    median = float(np.median(squared[squared > 0])) if (squared > 0).any() else 1.0
    kernels = tuple(_nystrom(squared, chosen, median * scale**2) for scale in BANDWIDTHS)
    return Basis(scaled, kernels)


def principal_components(
    values: Float[np.ndarray, "sample value"], count: int, *, generator: np.random.Generator
) -> Float[np.ndarray, "sample component"]:
    """Return the first principal components of centred values, as scores.

    For large arrays they are approximated by a random subspace and three power iterations (Halko, Martinsson,
    Tropp, Finding structure with randomness, 2011, arXiv 0909.4061).
    """
    count = min(count, *values.shape)
    if min(values.shape) <= LARGEST_EXACT:
        left, size, _ = np.linalg.svd(values, full_matrices=False)
        return left[:, :count] * size[:count]
    subspace = values @ generator.normal(size=(values.shape[1], min(count + 16, *values.shape)))
    for _ in range(3):
        subspace, _ = np.linalg.qr(values @ (values.T @ subspace))
    left, size, _ = np.linalg.svd(subspace.T @ values, full_matrices=False)
    return (subspace @ left[:, :count]) * size[:count]


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distance between every row of `a` and every row of `b`."""
    cross = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.maximum(cross, 0)


def _nystrom(squared: np.ndarray, landmarks: np.ndarray, width: float) -> np.ndarray:
    own = np.exp(-squared_distances(landmarks, landmarks) / (2 * width))
    size, vectors = np.linalg.eigh(own)
    kept = size > 1e-8 * size[-1]
    features = np.exp(-squared / (2 * width)) @ (vectors[:, kept] / np.sqrt(size[kept]))
    features -= features.mean(axis=0)
    return features / max(float(np.sqrt((features**2).sum(axis=1).mean())), 1e-12)

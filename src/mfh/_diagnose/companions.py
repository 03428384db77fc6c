"""Companion statistics of gamma_hat: how similar teacher and student are, each with a shuffled null."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from mfh._diagnose.gamma import center, shuffle_within

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""A function of the teacher's logits, the student's logits and the labels of the same samples."""
BINS = 10


def cka(first: Float[np.ndarray, "sample one"], second: Float[np.ndarray, "sample two"]) -> float:
    """Return the linear centred kernel alignment, in [0, 1] (Kornblith and others, 2019, arXiv 1905.00414).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> round(cka(x, x @ np.diag([2.0, 2.0, -2.0])), 6)
        1.0
    """
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    cross = float(((a.T @ b) ** 2).sum())
    size = float(np.sqrt(((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum()))
    return cross / size if size > 0 else 0.0


def cca(first: Float[np.ndarray, "sample one"], second: Float[np.ndarray, "sample two"]) -> float:
    """Return the mean canonical correlation of two sets of columns, in [0, 1].

    It rises with the number of columns even if nothing is shared, so it needs a null.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> round(cca(x, x @ np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])), 6)
        1.0
    """
    bases = [_orthonormal(values - values.mean(axis=0)) for values in (first, second)]
    correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float(correlations.clip(0, 1).mean()) if correlations.size else 0.0


def _orthonormal(values: np.ndarray) -> np.ndarray:
    left, size, _ = np.linalg.svd(values, full_matrices=False)
    kept: np.ndarray = left[:, size > 1e-6 * max(float(size.max(initial=0.0)), 1e-300)]
    return kept


def non_target_divergence(
    teacher: Float[np.ndarray, "sample output"],
    student: Float[np.ndarray, "sample output"],
    label: Int[np.ndarray, " sample"],
) -> float:
    """Return the mean KL divergence of student from teacher over the wrong classes, in nats.

    Each sample's true class is left out, and the other probabilities are scaled to sum to 1 (as in decoupled
    distillation, Zhao and others, 2022, arXiv 2203.08679). It needs three classes or more.
    """
    log_p, log_q = (_wrong(logits, label) for logits in (teacher, student))
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def wrong_class_correlation(
    teacher: Float[np.ndarray, "sample output"],
    student: Float[np.ndarray, "sample output"],
    label: Int[np.ndarray, " sample"],
) -> float:
    """Return the mean over samples of the rank correlation of the wrong classes' logits; needs 3 classes."""
    ranks = [_wrong(z, label).argsort(axis=1).argsort(axis=1).astype(float) for z in (teacher, student)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    return float(((a * b).sum(axis=1) / (a**2).sum(axis=1)).mean())


def _wrong(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the log-probabilities of the classes that are not a sample's, (sample, output - 1)."""
    keep = np.arange(logits.shape[1]) != label[:, None]
    kept = logits[keep].reshape(len(logits), -1)
    log_p: np.ndarray = special.log_softmax(kept, axis=1)
    return log_p


def agreement_table(
    teacher: Float[np.ndarray, "sample output"],
    student: Float[np.ndarray, "sample output"],
    label: Int[np.ndarray, " sample"],
) -> dict[str, float]:
    """Return the percentages of samples that both, one or neither of teacher and student get right."""
    right_t, right_s = (logits.argmax(axis=1) == label for logits in (teacher, student))
    cells = {
        "both": right_t & right_s,
        "only teacher": right_t & ~right_s,
        "only student": ~right_t & right_s,
        "neither": ~right_t & ~right_s,
    }
    return {name: 100 * float(cell.mean()) for name, cell in cells.items()}


def calibration_error(
    logits: Float[np.ndarray, "sample output"], label: Int[np.ndarray, " sample"], *, bins: int = BINS
) -> float:
    """Return the expected calibration error in points: mean |confidence - accuracy| over equal-size bins."""
    probability = special.softmax(logits, axis=1)
    order = np.argsort(probability.max(axis=1), kind="stable")
    right = probability.argmax(axis=1) == label
    error = 0.0
    for rows in np.array_split(order, min(bins, len(order))):
        error += len(rows) * abs(float(probability.max(axis=1)[rows].mean()) - float(right[rows].mean()))
    return 100 * error / len(order)


def compare_outputs(
    teacher: Float[np.ndarray, "sample output"],
    student: Float[np.ndarray, "sample output"],
    label: Int[np.ndarray, " sample"],
    *,
    generator: np.random.Generator,
    num_shuffles: int = 20,
) -> list[dict[str, Any]]:
    """Compute every companion statistic of two networks' outputs, with its null.

    Args:
        teacher: logits of the teacher for samples that it was not fitted on.
        student: the same for a student trained on labels alone.
        label: classes.
        generator: random numbers for the shuffles.
        num_shuffles: number of shuffled pairings, 1 or more. Samples are paired with others of their class,
            so that the null contains what the class alone explains.

    Returns:
        One mapping per statistic: `name`, `value`, `null` (mean over shuffles), `null_low` and `null_high`
        (range over shuffles), `unit`, `note`. If there are too few classes, the value is None and the note
        gives the reason.
    """
    orders = [shuffle_within(label, generator) for _ in range(num_shuffles)]
    rows = []
    for name, unit, least, statistic in STATISTICS:
        if teacher.shape[1] < least:
            rows.append(_row(name, unit, None, [], f"needs {least} classes or more"))
            continue
        value = statistic(teacher, student, label)
        rows.append(_row(name, unit, value, [statistic(teacher[o], student, label) for o in orders], ""))
    return rows


def _row(name: str, unit: str, value: float | None, null: list[float], note: str) -> dict[str, Any]:
    ends = {"null": float(np.mean(null)), "null_low": min(null), "null_high": max(null)} if null else {}
    return {"name": name, "value": value, **ends, "unit": unit, "note": note}


def _cell(name: str) -> Statistic:
    return lambda teacher, student, label: agreement_table(teacher, student, label)[name]


STATISTICS: tuple[tuple[str, str, int, Statistic], ...] = (
    ("both right", "%", 2, _cell("both")),
    ("only the teacher right", "%", 2, _cell("only teacher")),
    ("only the student right", "%", 2, _cell("only student")),
    ("neither right", "%", 2, _cell("neither")),
    ("disagreement", "%", 2, lambda t, s, _: 100 * float((t.argmax(axis=1) != s.argmax(axis=1)).mean())),
    ("CKA of the logits", "", 2, lambda t, s, _: cka(center(t), center(s))),
    ("CCA of the logits", "", 2, lambda t, s, _: cca(center(t), center(s))),
    ("non-target divergence", "nats", 3, non_target_divergence),
    ("wrong-class rank correlation", "", 3, wrong_class_correlation),
)  # fmt: skip

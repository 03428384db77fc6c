"""Is gamma_hat right? Gaussian data whose teacher's share is known, 20 seeds, every share in `SHARES`.

Each setting is one line: how the teacher was fitted, on which samples gamma_hat was computed, and the mean
absolute error against the share of the teacher actually trained, of gamma_hat and of R^2, CKA and squared CCA
on the same samples. The last lines are controls: shuffled pairs, and modalities that share nothing but the
class. The table is printed and kept in `diagnose.json`; nothing here is a time.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks._diagnose_truth import Draw, Network, draw, linear_teachers, mlp_teachers
from mfh._diagnose.companions import cca, cka
from mfh._diagnose.gamma import Gamma, align, estimate_gamma, unseen
from mfh._system.files import write_json

SEEDS = 20
SHARES = ((5, 20), (10, 10), (30, 10))  # decisive channels in both modalities, and in the teacher's alone
FOLDS = 5
NULL_SIZES = (200, 500, 1000, 1500, 2000)
RESULTS = Path(__file__).with_name("diagnose.json")
Teachers = Callable[[Draw, list[np.ndarray], int], list[tuple[Network, float]]]


def held_out(teachers: Teachers, seed: int, shared: int, only_a: int, *, rotated: bool) -> dict[str, float]:
    """200 samples for the teacher, 2,000 others for gamma_hat."""
    rng = np.random.default_rng([seed, shared])
    samples = draw(rng, 2200, shared=shared, only_a=only_a, rotated=rotated)
    ((network, truth),) = teachers(samples, [np.arange(200)], seed)
    rest = samples.take(np.arange(200, 2200))
    folds = rng.permutation(2000) % FOLDS
    return compare(network(rest.a), rest, folds, truth, rng)


def cross_fitted(
    teachers: Teachers, seed: int, shared: int, only_a: int, n: int, *, rotated: bool, shuffle: bool = False
) -> dict[str, float]:
    """N samples in all: a teacher for each fold, fitted on the others."""
    rng = np.random.default_rng([seed, shared, n])
    samples = draw(rng, n, shared=shared, only_a=only_a, rotated=rotated)
    folds = rng.permutation(n) % FOLDS
    fitted = teachers(
        samples, [rng.permutation(np.flatnonzero(folds != fold)) for fold in range(FOLDS)], seed
    )
    logits = np.stack([network(samples.a) for network, _ in fitted])
    truth = float(np.mean([truth for _, truth in fitted]))
    if shuffle:
        samples = replace(samples, b=samples.b[rng.permutation(n)])
        truth = 0.0
    return compare(logits, samples, folds, truth, rng)


def compare(
    logits: np.ndarray, samples: Draw, folds: np.ndarray, truth: float, rng: np.random.Generator
) -> dict[str, float]:
    """gamma_hat and what others use, beside the truth."""
    found: Gamma = estimate_gamma(
        logits, samples.b, samples.label, folds, generator=rng, num_bootstrap=60, num_shuffles=0
    )
    held = unseen(align(logits, folds) if logits.ndim == 3 else logits, folds)
    return {
        "truth": truth,
        "data": samples.shared / max(samples.shared + samples.only_a, 1),
        "gamma_hat": found.estimate,
        "inside": float(found.low <= truth <= found.high),
        "r2": found.r2,
        "cka": cka(held, samples.b),
        "cca": cca(held, samples.b) ** 2,
        "within": found.within,
    }


def same_class_only(seed: int) -> dict[str, float]:
    """Two modalities that are independent but for the class."""
    rng = np.random.default_rng([seed, 77])
    label = rng.integers(2, size=2000)
    a, b = (2 * label[:, None] - 1) * 0.25 + rng.standard_normal((2, 2000, 20))
    folds = rng.permutation(2000) % FOLDS
    weight = np.full((20, 1), 0.5) * np.array([-1.0, 1.0])
    samples = Draw(a, b, np.eye(20), label, 0, 0)
    return compare(a @ weight, samples, folds, 0.0, rng)


SETTINGS: dict[str, Callable[[int, int, int], dict[str, float]]] = {
    "200 train + 2,000 held out": lambda s, k, a: held_out(linear_teachers, s, k, a, rotated=False),
    "2,000 in all": lambda s, k, a: cross_fitted(linear_teachers, s, k, a, 2000, rotated=False),
    "2,000 in all, rotated": lambda s, k, a: cross_fitted(linear_teachers, s, k, a, 2000, rotated=True),
    "2,000 in all, perceptron": lambda s, k, a: cross_fitted(mlp_teachers, s, k, a, 2000, rotated=False),
    "2,000 in all, perceptron, rotated": lambda s, k, a: cross_fitted(
        mlp_teachers, s, k, a, 2000, rotated=True
    ),
    "200 train + 2,000 held out, perceptron": lambda s, k, a: held_out(mlp_teachers, s, k, a, rotated=False),
    "200 in all": lambda s, k, a: cross_fitted(linear_teachers, s, k, a, 200, rotated=False),
}


def shuffled(seed: int, n: int) -> dict[str, float]:
    """Pairs shuffled before anything else."""
    return cross_fitted(linear_teachers, seed, 10, 10, n, rotated=False, shuffle=True)


CONTROLS: dict[str, Callable[[int], dict[str, float]]] = {
    **{f"shuffled pairs, {n:,} in all": partial(shuffled, n=n) for n in NULL_SIZES},
    "only the class in common": same_class_only,
}


def summarize(rows: list[dict[str, float]]) -> dict[str, float]:
    """One line: errors against the truth."""
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    truth = table["truth"]
    line = {"n": len(rows), "truth": float(truth.mean())}
    for name in ("gamma_hat", "r2", "cka", "cca"):
        error = table[name] - truth
        line |= {f"{name}_error": float(np.abs(error).mean()), f"{name}_bias": float(error.mean())}
    return line | {
        "data": float(table["data"].mean()),
        "largest_error": float(np.abs(table["gamma_hat"] - truth).max()),
        "covered": float(table["inside"].mean()),
        "mean": float(table["gamma_hat"].mean()),
        "largest": float(np.abs(table["gamma_hat"]).max()),
        "within": float(table["within"].mean()),
    }


def run(
    seeds: int = SEEDS, path: Path | None = RESULTS, only: Sequence[str] = (), shared: Sequence[int] = ()
) -> None:
    """Every setting (or `only` some), then the controls; each is kept as soon as it is there."""
    torch.set_num_threads(1)
    for name, setting in SETTINGS.items():
        if not only or name in only:
            kept = {
                f"{name}, {number} shared of {number + only_a}": [
                    setting(seed, number, only_a) for seed in range(seeds)
                ]
                for number, only_a in SHARES
                if not shared or number in shared
            }
            _keep(path, {name: list(itertools.chain(*kept.values()))} | kept)
    for name, control in CONTROLS.items():
        if not only or name in only:
            _keep(path, {name: [control(seed) for seed in range(seeds)]})


def _keep(path: Path | None, groups: dict[str, list[dict[str, float]]]) -> None:
    lines = {name: summarize(rows) for name, rows in groups.items()}
    first = next(iter(lines))
    print(line(first, lines[first]), flush=True)
    if path is not None:
        there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(path, there | lines)


def line(name: str, values: dict[str, float]) -> str:
    """One line of the printed table."""
    errors = ("gamma_hat_error", "largest_error", "covered", "r2_error", "cka_error", "cca_error")
    shown = (*errors, "mean", "largest", "within")
    return f"{name:40s}" + "  ".join(f"{key} {values[key]:.3f}" for key in shown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help=f"of {[*SETTINGS, *CONTROLS]}")
    parser.add_argument("--shared", nargs="*", type=int, default=(), help="of 5, 10 and 30 shared channels")
    options = parser.parse_args()
    run(options.seeds, RESULTS if options.seeds == SEEDS else None, options.only, options.shared)

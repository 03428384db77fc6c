"""Descriptions of the data, the saliency and the training curves of a study, for its results."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mfh._study.outcome import SeedResult
from mfh.config import StudyConfig
from mfh.data.equal import equal_across_splits
from mfh.data.overview import weights_line
from mfh.data.paired import SPLITS, PairedDataset
from mfh.data.splits import Split
from mfh.stats import rank_correlation, t_interval

MOST_EQUAL = 10
"""Sets of equal samples, and samples of each, that results name."""


def describe_data(
    data: PairedDataset, split: Split, *, teacher: str | None, student: str | None, redrawn: bool
) -> dict[str, Any]:
    """Return sizes, classes and groups, for the report.

    Args:
        data: all samples.
        split: the split of the first seed.
        teacher: the modality that the teacher sees.
        student: the modality that the student sees.
        redrawn: whether each seed has its own split.
    """
    return {
        "fingerprint": data.fingerprint,
        "task": data.task,
        "alike": data.kind.alike,
        "num_samples": len(data),
        "splits": {name: len(getattr(split, name)) for name in SPLITS},
        "redrawn": redrawn,
        "classes": list(data.class_names),
        "leaks": find_leaks(data, split),
        "num_groups": len(data.group_names) if data.group is not None else None,
        **({} if data.weight is None else {"weights": weights_line(data.weight)}),
        "teacher": teacher,
        "student": student,
        "shapes": {name: list(data.shape(name)) for name in data.modalities},
    }


def find_leaks(data: PairedDataset, split: Split) -> dict[str, Any]:
    """Find the samples and groups of the training split that other splits contain too.

    Returns:
        `duplicates`: number of samples of the other splits that equal a training sample in every modality;
        None if a modality is not in memory or is too large to compare. `equal`: the ids of samples that are
        equal although they are in different splits, of at most `MOST_EQUAL` of them. `groups`: number of
        groups that are in several splits; None without groups.
    """
    inside = {name: getattr(split, name) for name in SPLITS}
    groups = None
    if data.group is not None:
        names = [np.unique(data.group[rows]) for rows in inside.values()]
        groups = int((np.unique(np.concatenate(names), return_counts=True)[1] > 1).sum())
    equal = equal_across_splits(data, split)
    if equal is None:
        return {"duplicates": None, "equal": [], "groups": groups}
    train = set(data.id[split.train].tolist())
    copies = sum(sum(name not in train for name in ids) for ids in equal if not train.isdisjoint(ids))
    shown = [list(ids[:MOST_EQUAL]) for ids in equal[:MOST_EQUAL]]
    return {"duplicates": copies, "equal": shown, "groups": groups}


def describe_saliency(config: StudyConfig, seeds: Sequence[SeedResult]) -> dict[str, Any]:
    """Return how far the ranking differs from importance, and how stable it is; empty without a ranking."""
    if not seeds[0].channels:
        return {}
    overlap, negative, correlation = [], [], []
    for name in ("train", "validation"):
        for ratio in config.ratio:
            shares = np.array([seed.overlap[name, ratio] for seed in seeds])
            interval = t_interval(shares)
            row = {
                "split": name,
                "ratio": ratio,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
            }
            overlap.append(row)
        below = [float((seed.channels[f"increase_{name}"] < 0).mean()) for seed in seeds]
        negative.append({"split": name, "share": float(np.mean(below))})
        correlation.append(
            {
                "what": f"saliency and importance, {name}",
                "mean": _mean(
                    rank_correlation(seed.channels[f"increase_{name}"], seed.channels[f"importance_{name}"])
                    for seed in seeds
                ),
            }
        )
    within = (
        rank_correlation(seed.channels["increase_train"], seed.channels["increase_validation"])
        for seed in seeds
    )
    correlation.append({"what": "saliency on train and on validation", "mean": _mean(within)})
    vectors = [seed.channels[f"increase_{config.saliency_split}"] for seed in seeds]
    between = (rank_correlation(a, b) for i, a in enumerate(vectors) for b in vectors[:i])
    correlation.append(
        {
            "what": "saliency of two fits",
            "mean": _mean(between),
            "note": "near 0 where networks start from other weights: each numbers its channels anew",
        }
    )
    return {
        "layer": seeds[0].layer,
        "num_channels": len(vectors[0]),
        "score": config.score,
        "split": config.saliency_split,
        "overlap": overlap,
        "negative": negative,
        "rank_correlation": correlation,
    }


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def stack_channels(seeds: Sequence[SeedResult]) -> dict[str, np.ndarray]:
    """Return the per-channel arrays of all seeds, each (seed, channel)."""
    names: Mapping[str, np.ndarray] = seeds[0].channels
    arrays = {name: np.stack([seed.channels[name] for seed in seeds]) for name in names}
    return {"seed": np.array([seed.seed for seed in seeds]), **arrays} if arrays else {}


def stack_curves(seeds: Sequence[SeedResult]) -> dict[str, np.ndarray]:
    """Return the curves of all seeds: teachers (seed, epoch), students (record, epoch); NaN after a stop.

    Empty if a seed was trained by a version that kept no curves.
    """
    if not all(seed.curves for seed in seeds):
        return {}
    curves: dict[str, np.ndarray] = {}
    for name in seeds[0].curves:
        parts = [np.atleast_2d(seed.curves[name]) for seed in seeds]
        longest = max(part.shape[1] for part in parts)
        curves[name] = np.concatenate([pad(part, longest) for part in parts])
    return curves


def pad(curves: np.ndarray, epochs: int) -> np.ndarray:
    """Return curves (network, epoch) of that many epochs, with NaN after their end."""
    missing = np.full((len(curves), epochs - curves.shape[1]), np.nan, dtype=np.float32)
    return np.concatenate([curves.astype(np.float32), missing], axis=1)


def curve(values: Sequence[float]) -> np.ndarray:
    """Return one value per epoch, in the precision that a figure needs."""
    return np.asarray(values, dtype=np.float32)

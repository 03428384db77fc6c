"""Small studies of pure noise, through the code that decides real ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks._coverage_learners import CONFIG, Ridge
from mfh import PairedDataset
from mfh._checks import InputError
from mfh._study.design import Design
from mfh.arms import find_arms
from mfh.comparing import Fit, Resampling, compare_losses, decide, tabulate_losses
from mfh.data.splits import Split, draw_split
from mfh.influence import sample_values
from mfh.metrics import Metric, find_metric
from mfh.results import Record

STUDIES = 3000
DESIGNS = (
    *(("kfold", folds, repeats) for folds, repeats in ((2, 1), (3, 1), (5, 1), (10, 1), (2, 2), (3, 3))),
    *(("kfold", folds, repeats) for folds, repeats in ((4, 2), (5, 2), (2, 5), (3, 2))),
    *(("fixed", 1, seeds) for seeds in (2, 3, 5, 10)),
)
"""Kind, folds and repeats; 2 to 10 fits."""
KINDS = ("balanced", "95:5", "groups", "95:5 in groups")
SIZES = {"balanced": (40, 100), "95:5": (100, 200), "groups": (60, 120), "95:5 in groups": (200, 300)}
GROUPS = (3, 5, 12)
METRICS = ("accuracy", "accuracy", "AUROC", "balanced-accuracy")
ARMS = find_arms(("no-kd", "joint"))
WIDTH = 5


def noise_study(number: int) -> dict[str, Any]:
    """Return the verdict of a study in which nothing can be learned and both arms do the same.

    The arms are fits of one learner that differ in their random numbers alone, so the true gain is 0.
    """
    kind = KINDS[number % len(KINDS)]
    place = number // len(KINDS)
    name, folds, repeats = DESIGNS[place % len(DESIGNS)]
    metric = find_metric(METRICS[place // len(DESIGNS) % len(METRICS)], "single-label")
    for attempt in range(200):
        rng = np.random.default_rng([number, 0x401, attempt])
        data = _noise(rng, kind, folds)
        design = Design(name, folds, repeats, 0)
        try:
            splits = _splits(data, design)
            break
        except InputError:
            continue
    else:
        raise AssertionError(f"no data set of study {number} has both classes in every split")
    found = _decided(data, design, splits, metric, number)
    return {
        "number": number,
        "kind": kind,
        "design": name,
        "fits": len(splits),
        "metric": metric.name,
    } | found


def _noise(rng: np.random.Generator, kind: str, folds: int) -> PairedDataset:
    """Draw samples whose label depends on nothing."""
    n = int(rng.choice(SIZES[kind]))
    rare = 0.05 if kind.startswith("95") else 0.5
    label = (rng.permutation(n) < rare * n).astype(np.int64)
    group = None
    if kind.endswith("groups"):
        count = max(int(rng.choice(GROUPS)), folds + 1)
        group = rng.permutation(n) % count
    inputs = rng.normal(size=(n, WIDTH)).astype(np.float32)
    return PairedDataset.from_arrays({"a": inputs, "b": inputs}, label=label, group=group)


def _splits(data: PairedDataset, design: Design) -> list[Split]:
    """Return the split of each fit."""
    if design.kind == "fixed":
        return [draw_split(data, design.first)] * design.repeats
    return [design.draw(data, CONFIG, seed) for seed in design.seeds]


def _decided(
    data: PairedDataset, design: Design, splits: Sequence[Split], metric: Metric, number: int
) -> dict[str, Any]:
    """Return verdict, interval and smallest weight of a sample."""
    inputs, label = data.modalities["b"].numpy(), data.label.numpy()  # type: ignore[union-attr]
    records, values = [], []
    for seed, split in enumerate(splits):
        for arm in ARMS:
            target = 2.0 * label[split.train] - 1
            ridge = Ridge(inputs[split.train], target, 2 * (1000 * number + seed) + (arm.name == "joint"))
            logits = torch.from_numpy(np.stack([np.zeros(len(data)), ridge(inputs)], axis=1))
            train, held, test = (
                metric(logits[rows], data.label[rows]) for rows in (split.train, split.validation, split.test)
            )
            loss = None if arm.teacher is None else "kl"
            records.append(Record(arm.name, None, seed, metric.name, train, held, test, 1, 0.0, loss=loss))
            values.append(sample_values(metric, logits[split.test], data.label[split.test]))
    unit = np.arange(len(data)) if data.group is None else data.group
    tested = np.unique(np.concatenate([split.test for split in splits]))
    resampling = Resampling(
        fits={seed: Fit(*divmod(seed, design.folds), unit[split.test]) for seed, split in enumerate(splits)},
        folds=design.folds,
        test_over_train=0.0
        if design.kind == "fixed"
        else float(np.mean([len(split.test) / len(split.train) for split in splits])),
        crossed=True,
        groups=data.group is not None,
        num_samples=len(tested),
    )
    tables = tabulate_losses(records, values, ["kl"], arms=ARMS, source="joint")
    rows = compare_losses(tables, ARMS, "joint", resampling, metric.info())
    share = float(np.bincount(label).max() / len(label))
    decision = decide(rows, arms=ARMS, source="joint", metric=metric.info(), largest_class=share)
    gain = decision.gain
    width = None if gain is None or gain.low is None or gain.high is None else gain.high - gain.low
    return {
        "verdict": decision.verdict,
        "difference": None if gain is None else gain.difference,
        "width": width,
        "reason": "" if gain is None else gain.reason,
        "weight": 100 / len(tested),
    }

"""The gain of the stack in the setting in which its recipe was developed, against the figures found then.

    python -m benchmarks.few_labels_reference --mfeat mfeat.npz --cora cora.npz --ravdess ravdess_features.npz

`mfh study` draws labels by class. The first measurements drew them at random, so that a class may have few:
here labels are drawn so too. They had six random splits a direction, seeds 0 to 5; here there are 30, because
the gain of one split varies by three points and that of six by more than one. Cora's views are row-normalised
and reduced to 200 principal components, which are not standardised one by one. `limit` is how far the mean
may be from the first one, `range` where it must lie, `error` the standard error of the mean over splits, and
`six` the mean of the first six. Figures go to benchmarks/few_labels_reference.json.
"""

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

from mfh import PairedDataset, StudyConfig, study
from mfh._study import design
from mfh.config import LabelCount
from mfh.models.mlp import mlp

RESULTS = Path(__file__).with_suffix(".json")
MFEAT = ("fac>zer", "fou>zer", "zer>fou", "mor>fou", "pix>mor", "fou>kar")
SHARES = ("0.05", "0.1", "0.3")
FIRST = {
    ("mfeat", "0.05"): (9.5, 1.5), ("mfeat", "0.1"): (5.2, 1.0), ("mfeat", "0.3"): (1.4, 0.8),
    ("cora", "0.05"): (11.5, 3.0), ("cora", "0.1"): (9.3, 3.0), ("cora", "0.3"): (4.5, 2.0),
}  # fmt: skip
"""Mean gain of the stack over `no-kd` in the first measurement, and how far another may be from it."""
RANGE = {("mfcc>au", "0.05"): (-2, 99), ("mfcc>au", "0.1"): (-1, 4), ("au>mfcc", "0.1"): (1, 99)}
"""Where the mean gain must lie for speech."""
SEEDS, FIRST_SEEDS = 30, 6


def at_random(data: PairedDataset, rows: np.ndarray, count: LabelCount | None, seed: int) -> np.ndarray:
    """Draw labels at random, by class no more than chance gives."""
    assert count is not None
    rng = np.random.default_rng([seed, 0x1ABE1])
    assert len(data) > len(rows)
    return np.sort(rng.choice(rows, round(count.share * len(rows)), replace=False))


def gains(
    data: PairedDataset,
    teacher: str,
    student: str,
    share: str,
    arms: tuple[str, ...],
    build: Callable[[], nn.Module] | None = None,
) -> np.ndarray:
    """Return the gains over `no-kd` by fit and arm, (fit, arm).

    `build` makes both networks where their inputs shall not be standardised.
    """
    config = StudyConfig(
        teacher=teacher, student=student, labelled=(share,), resampling="splits", seeds=SEEDS,
        arms=("no-kd", *arms), device="cpu", optimizer="sgd", lr=0.05, clip=5.0,
    )  # fmt: skip
    with mock.patch.object(design, "draw_labelled", at_random):
        frame = study(data, build, build, config=config, progress=False).frame()
    table = frame.pivot_table(index="seed", columns="arm", values="test")
    found: np.ndarray = np.stack([(table[arm] - table["no-kd"]).to_numpy() for arm in arms], axis=1)
    return found


def components(values: np.ndarray, count: int = 200) -> np.ndarray:
    """Return principal components of row-normalised values."""
    rows = values.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows -= rows.mean(axis=0)
    left, size, _ = np.linalg.svd(rows, full_matrices=False)
    found = left[:, :count] * size[:count]
    return np.asarray(found / found.std())


def main() -> None:
    """Measure every setting whose data are given, print a line for each, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("mfeat", "cora", "ravdess"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def keep(name: str, share: str, values: list[np.ndarray]) -> None:
        first = FIRST.get((name, share))
        by_seed = np.mean(values, axis=0)
        means, error = by_seed.mean(axis=0), by_seed.std(axis=0, ddof=1) / SEEDS**0.5
        six = by_seed[:FIRST_SEEDS].mean(axis=0)
        row = {"stack": means[0], "regular": means[1], "error": error[0], "six": six[0], "fits": SEEDS}
        row = {key: float(value) for key, value in row.items()}
        if first is not None:
            row |= {"first": first[0], "limit": first[1], "holds": bool(abs(means[0] - first[0]) <= first[1])}
        if (name, share) in RANGE:
            low, high = RANGE[name, share]
            row |= {"range": [low, high], "holds": bool(low <= means[0] <= high)}
        found[f"{name} {share}"] = row
        print(f"{name} {share}", row, flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")

    arms = ("stack", "regular")
    for share in SHARES:
        if options.mfeat:
            values = []
            for direction in MFEAT:
                teacher, student = direction.split(">")
                data = PairedDataset.from_npz(options.mfeat, modalities=[teacher, student])
                values.append(gains(data, teacher, student, share, arms))
            keep("mfeat", share, values)
        if options.cora:
            arrays = np.load(options.cora)
            data = PairedDataset.from_arrays(
                {name: components(arrays[name]) for name in ("neighbours", "words")}, label=arrays["label"]
            )
            keep("cora", share, [gains(data, "neighbours", "words", share, arms, lambda: mlp(200, 7))])
        if options.ravdess:
            data = PairedDataset.from_npz(
                options.ravdess, modalities=["mfcc", "au"], label="emotion", group="actor", id="name"
            )
            for teacher, student in (("mfcc", "au"), ("au", "mfcc")):
                keep(f"{teacher}>{student}", share, [gains(data, teacher, student, share, arms)])


if __name__ == "__main__":
    main()

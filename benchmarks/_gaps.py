"""What students gain from the labels of samples that lack the teacher's modality.

    python -m benchmarks._gaps --mfeat mfeat.npz

Two views of UCI's digits, `fou` (teacher) and `zer` (student). In each of five draws half of the labelled
training samples lack `fou`. A study uses their labels; another one leaves these samples out. Both have the
same complete pairs and the same test samples, so that the difference of an arm is what the labels are worth
to it. In the first table all training samples have a label; in the second there are unlabelled pairs too.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

from mfh import PairedDataset, StudyConfig, study

DRAWS, LABELS, VALIDATION, PAIRS = 5, 200, 200, 800
CONFIG = StudyConfig(
    teacher="fou", student="zer", seeds=1, repeats=None, resampling="splits", ratio=(0.25, 0.5),
    random_draws=1, device="cpu",
)  # fmt: skip
ARMS = {
    "all labelled": ("no-kd", "regular", "joint", "general", "self"),
    "few labels": ("no-kd", "regular", "joint", "stack", "self"),
}


def with_gaps(data: PairedDataset, seed: int, *, few: bool) -> PairedDataset:
    """Return the data with a split, of whose labelled training samples half lack `fou`."""
    order = np.random.default_rng(seed).permutation(len(data))
    labelled, others = order[:LABELS], order[LABELS : LABELS + (PAIRS if few else VALIDATION)]
    split = np.full(len(data), "test", dtype="<U10")
    split[labelled], split[others] = "train", "train" if few else "validation"
    fou = data.modalities["fou"].clone()
    fou[torch.from_numpy(labelled[: LABELS // 2])] = torch.nan
    data = replace(data, modalities={**data.modalities, "fou": fou}, split=split)
    return data.without_labels(others) if few else data


def compare(data: PairedDataset, *, few: bool) -> dict[str, np.ndarray]:
    """Return the test accuracy of each arm, (draw, left out or used)."""
    arms = ARMS["few labels" if few else "all labelled"]
    found: dict[str, list[list[float]]] = {}
    for seed in range(DRAWS):
        gaps, config = with_gaps(data, seed, few=few), replace(CONFIG, seed=seed, arms=arms)
        complete = gaps.rows(np.flatnonzero(gaps.present("fou")))
        both = [study(mine, config=config, progress=False) for mine in (complete, gaps)]
        means = [
            {row.arm: row.mean for row in r.summary if row.metric == "accuracy" and row.ratio is None}
            for r in both
        ]
        for arm in means[0]:
            found.setdefault(arm, []).append([each[arm] for each in means])
    return {arm: np.array(values) for arm, values in found.items()}


def main() -> None:
    """Print a table for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mfeat", required=True, help="the file that `mfh data mfeat` writes")
    data = PairedDataset.from_npz(parser.parse_args().mfeat)
    for name in ARMS:
        print(f"\n| {name} | left out | used | gain | standard error |\n|---|---|---|---|---|")
        for arm, values in compare(data, few=name == "few labels").items():
            gain = values[:, 1] - values[:, 0]
            error = gain.std(ddof=1) / np.sqrt(DRAWS)
            left, used = values.mean(axis=0)
            print(f"| `{arm}` | {left:.1f} | {used:.1f} | {gain.mean():+.1f} | {error:.1f} |")


if __name__ == "__main__":
    main()

"""Does a diagnosis predict what a study finds? Runs both on disjoint halves of each data set.

    python -m benchmarks._diagnose_gain --out out/gain --mfeat mfeat.npz --ravdess ravdess_features.npz \
        --mnist mnist.npz --npz avmnist.npz
    python -m benchmarks._diagnose_rules --runs out/gain

One JSON file is written a pair of modalities; the same command resumes. A data set is divided in two, by
class and group: the diagnosis sees the one half, the study (five seeds, ratio .5) the other, so that no
sample counts twice.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mfh import DiagnoseConfig, PairedDataset, StudyConfig, diagnose, study
from mfh._diagnose.folds import take
from mfh._files import write_json
from mfh.data.mfeat import VIEWS
from mfh.data.splits import divide

HALVES_SEED = 2026
DIAGNOSE = {"num_bootstrap": 100, "num_shuffles": 10}
STUDY = {"seeds": 5, "ratio": (0.5,), "random_draws": 1, "smoothing": (0.1,)}
CROP_SHIFTS = (0, 4, 7, 10, 14)  # columns by which the student's crop of 14 columns is moved
CROP_SAMPLES = 2000


def crops(path: Path, shift: int) -> PairedDataset:
    """MNIST images seen through two windows of 14 columns that share 14 - shift of them."""
    with np.load(path) as arrays:
        images, label = arrays["x_train"][:CROP_SAMPLES], arrays["y_train"][:CROP_SAMPLES]
    images = images.astype(np.float32) / 255
    start = 7 - shift // 2
    windows = {"left": images[:, :, start : start + 14], "moved": images[:, :, start + shift :][:, :, :14]}
    return PairedDataset.from_arrays(
        {name: values.reshape(len(values), -1) for name, values in windows.items()}, label=label
    )


def pairs(options: argparse.Namespace) -> Iterator[tuple[str, str, str, PairedDataset]]:
    """Data set, teacher, student, samples."""
    if options.ravdess:
        data = PairedDataset.from_npz(
            options.ravdess, modalities=["au", "mfcc"], label="emotion", group="actor", id="name"
        )
        for teacher, student in (("mfcc", "au"), ("au", "mfcc")):
            yield "ravdess", teacher, student, data
    if options.mfeat:
        data = PairedDataset.from_npz(options.mfeat)
        for teacher, student in itertools.permutations(VIEWS, 2):
            yield "mfeat", teacher, student, data
    if options.mnist:
        for shift in CROP_SHIFTS:
            yield f"crops-{shift:02d}", "left", "moved", crops(Path(options.mnist), shift)
    for path in options.npz:
        data = PairedDataset.from_npz(path)
        for teacher, student in itertools.permutations(list(data.modalities)[:2], 2):
            yield Path(path).stem, teacher, student, data


def run(options: argparse.Namespace) -> None:
    """Every pair that has no file yet."""
    for name, teacher, student, data in pairs(options):
        path = Path(options.out) / f"{name}.{teacher}.{student}.json"
        if path.exists():
            continue
        data = replace(data, split=None)
        group = None if data.group is None else data.group
        parts = divide(data.label.numpy(), group, [0.5, 0.5], np.random.default_rng(HALVES_SEED))
        one, two = (take(data, np.sort(part)) for part in parts)
        names = {"teacher": teacher, "student": student, "seed": options.seed}
        names["label_weight"] = options.label_weight
        found = diagnose(one, config=DiagnoseConfig(**names, **DIAGNOSE))
        measured = study(two, config=StudyConfig(**names, **STUDY))
        keep = {
            "dataset": name.partition("-")[0],
            "pair": f"{name}: {teacher} -> {student}",
            "diagnosis": found.to_dict()["diagnosis"],
            "teachers": found.to_dict()["teachers"],
            "summary": found.to_dict()["summary"],
            "study": {k: measured.to_dict()[k] for k in ("comparisons", "summary", "teachers", "verdict")},
            "timings": {"diagnosis": found.timings["total"], "study": measured.timings["total"]},
        }
        write_json(path, keep)
        print(path.name, json.dumps(keep["timings"]), flush=True)


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label-weight", type=float, default=0.0)
    for name in ("mfeat", "ravdess", "mnist"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--npz", nargs="*", default=[], help="further data sets of two modalities each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run(options)


if __name__ == "__main__":
    main()

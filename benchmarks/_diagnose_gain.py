"""Does a diagnosis predict what a study finds? Runs both on disjoint halves of each data set.

    python -m benchmarks._diagnose_gain --out out/gain --mfeat mfeat.npz --ravdess ravdess_features.npz \
        --mnist mnist.npz --avmnist avmnist.npz --grid data/grid
    python -m benchmarks._diagnose_rules --runs out/gain

Two JSON files are written a pair of modalities; the same command resumes. A data set is divided in two, by
class and group: the diagnosis sees the one half, the study (ratio .5) the other, so that no sample counts
twice. Settings other than the defaults stand in `_diagnose_data.SETTINGS`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks._diagnose_data import SETTINGS, pairs
from mfh import DiagnoseConfig, PairedDataset, StudyConfig, diagnose, study
from mfh._diagnose.folds import take
from mfh._system.files import write_json
from mfh.data.splits import divide

HALVES_SEED = 2026
DIAGNOSE = {"num_bootstrap": 20, "num_shuffles": 5}
STUDY = {
    "ratio": (0.5,),
    "random_draws": 1,
    "smoothing": (0.1,),
    "arms": ("no-kd", "joint", "general"),
}
KEPT = ("diagnosis", "comparisons", "summary", "teachers", "verdict")
PARTS = ("study", "diagnosis")
FILES = ("mfeat", "ravdess", "mnist", "avmnist", "grid")


def run(options: argparse.Namespace) -> None:
    """Every part of every pair that has no file yet."""
    for name, teacher, student, data in pairs(**{file: getattr(options, file) for file in FILES}):
        dataset = name.partition("-")[0]
        names = {"teacher": teacher, "student": student} | SETTINGS.get(dataset, {})
        for part in options.parts:
            path = Path(options.out) / f"{name}.{teacher}.{student}.{part}.json"
            if path.exists():
                continue
            one, two = halves(data)
            if part == "diagnosis":
                result = diagnose(one, config=DiagnoseConfig(**names, **DIAGNOSE)).to_dict()
            else:
                config = StudyConfig(**names, **STUDY, seeds=options.seeds)
                result = study(two, config=config).to_dict()
            kept = {key: result.get(key) for key in KEPT}
            heading = {"dataset": dataset, "pair": f"{name}: {teacher} -> {student}"}
            write_json(path, heading | kept | {"seconds": result["timings"]["total"]})
            print(path.name, f"{result['timings']['total']:.0f} s", flush=True)


def halves(data: PairedDataset) -> tuple[PairedDataset, PairedDataset]:
    """What the diagnosis sees and what the study sees: by group, stratified by class."""
    data = replace(data, split=None)
    parts = divide(data.label.numpy(), data.group, [0.5, 0.5], np.random.default_rng(HALVES_SEED))
    one, two = (take(data, np.sort(part)) for part in parts)
    return one, two


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seeds", type=int, default=10, help="fits of each study")
    for name in FILES:
        parser.add_argument(f"--{name}", help="where it is; left out, its pairs are not run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run(options)


if __name__ == "__main__":
    main()

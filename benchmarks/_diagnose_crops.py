"""gamma_hat on MNIST seen through two windows, beside what 50,000 images say of the same teacher.

    python -m benchmarks._diagnose_crops --mnist mnist.npz

The diagnosis has 800 images. The reference is gamma_hat of the first fold's teacher on 10,000 images, by a
perceptron fitted to what that teacher says of 40,000 others, none of which it has seen. `common` is gamma_hat
by a regression on what the other folds' teachers say, as it was at first.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks._diagnose_data import CROP_SHIFTS, crops
from benchmarks._diagnose_gain import halves
from mfh import DiagnoseConfig, PairedDataset
from mfh._diagnose.folds import deal, fold_task, take, usable_rows
from mfh._diagnose.gamma import align, center, decompose, estimate_gamma, unseen
from mfh._study.networks import Networks
from mfh._study.task import predict_all
from mfh._study.teachers import train_teachers
from mfh.models.mlp import mlp
from mfh.training.evaluate import predict

FITTED, ALL = 40_000, 50_000
EPOCHS, BATCH = 12, 128


def shares(path: Path, shift: int) -> dict[str, tuple[float, ...]]:
    """In all, between and within classes: gamma_hat, by one regression for all teachers, reference."""
    one, _ = halves(crops(path, shift))
    config = DiagnoseConfig(teacher="left", student="moved")
    seen = take(one, usable_rows(one, 0))
    networks, folds, label = Networks(seen, config), deal(seen, 5, 0), seen.label.numpy()
    tasks = [fold_task(networks, 0, fold, folds) for fold in range(5)]
    fitted = [train_teachers(task, task.train) for task in tasks]
    teachers = [found.networks["regular"] for found in fitted]
    logits = np.stack(
        [predict_all(t, f.data, "left").double().numpy() for t, f in zip(teachers, fitted, strict=True)]
    )
    values = seen.inputs("moved", torch.arange(len(seen))).flatten(1).double().numpy()
    found = {}
    for name, given in (("gamma_hat", logits), ("common", unseen(align(logits, folds), folds))):
        gamma = estimate_gamma(
            given, values, label, folds, generator=np.random.default_rng(0), num_bootstrap=20, num_shuffles=0
        )
        found[name] = (gamma.estimate, gamma.between, gamma.within)
    # standardised as that teacher's own training samples are
    more = crops(path, shift, slice(10_000, 10_000 + ALL))
    both = Networks(_stacked(seen, more), config).prepared(tasks[0].train)
    rows = torch.arange(len(seen), len(both))
    z = center(predict(teachers[0], both, "left", rows).double().numpy())
    s = imitate(both.inputs("moved", rows).flatten(1).float(), torch.from_numpy(z).float())
    found["reference"] = decompose(s, z[FITTED:], more.label.numpy()[FITTED:])[:3]
    return found


def imitate(inputs: torch.Tensor, logits: torch.Tensor) -> np.ndarray:
    """What a perceptron, fitted to a teacher's logits on the first 40,000 samples, says of the others."""
    scale = logits.var(dim=0).sum().sqrt()
    torch.manual_seed(0)
    model = mlp(inputs.shape[1], logits.shape[1], hidden=(512, 256))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-3)
    steps = EPOCHS * -(-FITTED // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(FITTED).split(BATCH):
            loss = ((model(inputs[rows]) - logits[rows] / scale) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        said: np.ndarray = (model(inputs[FITTED:]) * scale).double().numpy()
    return said


def _stacked(one: PairedDataset, other: PairedDataset) -> PairedDataset:
    parts = [data.read(list(data.modalities), torch.arange(len(data))) for data in (one, other)]
    arrays = {name: np.concatenate([part[name].flatten(1).numpy() for part in parts]) for name in parts[0]}
    return PairedDataset.from_arrays(arrays, label=np.concatenate([one.label.numpy(), other.label.numpy()]))


def main() -> None:
    """Print a line a window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--shifts", type=int, nargs="+", default=CROP_SHIFTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for shift in options.shifts:
        told = {name: " ".join(f"{v:.3f}" for v in row) for name, row in shares(options.mnist, shift).items()}
        print(f"{14 - shift:2d} of 14 columns", *(f"{k} {v}" for k, v in told.items()), sep="  ", flush=True)


if __name__ == "__main__":
    main()

"""Gaussian data whose teacher's share is known, for the validation of gamma_hat."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from mfh import PairedDataset, TrainConfig
from mfh.data.sources.gaussian import TorchStream
from mfh.experiments.gaussian import linear
from mfh.models.mlp import mlp
from mfh.training.objectives import Distill
from mfh.training.students import StudentJob, seeded, train_students

WIDTH = 50
Network = Callable[[np.ndarray], np.ndarray]  # from inputs to centred logits
FRESH = 20_000


@dataclass(frozen=True)
class Draw:
    """Samples of both modalities, as the networks see them and before any rotation.

    Attributes:
        a, b: what teacher and student see, (sample, channel).
        rotation: of modality a, whose first `shared` channels before it are in b too.
        label: 0 or 1.
        shared: number of shared channels.
        only_a: number of decisive channels that modality b lacks.
    """

    a: np.ndarray
    b: np.ndarray
    rotation: np.ndarray
    label: np.ndarray
    shared: int
    only_a: int

    def take(self, rows: np.ndarray) -> "Draw":
        """Some samples."""
        kept = {name: getattr(self, name)[rows] for name in ("a", "b", "label")}
        return replace(self, **kept)


def draw(rng: np.random.Generator, n: int, *, shared: int, only_a: int, rotated: bool = False) -> Draw:
    """Standard normal channels; the label is the sign of the sum of the decisive ones."""
    decisive = rng.standard_normal((n, shared + only_a))
    plain, b = rng.standard_normal((2, n, WIDTH))
    plain[:, : shared + only_a] = decisive
    b[:, :shared] = decisive[:, :shared]
    rotation = np.eye(WIDTH)
    if rotated:
        rotation, other = (np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in range(2))
        b = b @ other
    label = (decisive.sum(axis=1) > 0).astype(np.int64)
    return Draw(plain @ rotation, b, rotation, label, shared, only_a)


def linear_teachers(samples: Draw, trains: list[np.ndarray], seed: int) -> list[tuple[Network, float]]:
    """Linear teachers by full-batch descent, with the truth: shared over all of ||W_c||^2 Var."""
    made = []
    for number, rows in enumerate(trains):
        x = np.ascontiguousarray(samples.a[rows].T.astype(np.float32))
        label = samples.label[rows].astype(np.float32)
        weights = linear.fit(x, label, TorchStream(1000 * seed + number).linear(WIDTH), lr=0.1, steps=1000)
        slopes = (weights[:, :-1] - weights[:, :-1].mean(axis=0)).astype(np.float64)
        sizes = ((slopes @ samples.rotation.T) ** 2).sum(axis=0)  # of the channels before the rotation
        truth = float(sizes[: samples.shared].sum() / sizes.sum())
        made.append((lambda a, slopes=slopes: a @ slopes.T, truth))
    return made


def mlp_teachers(samples: Draw, trains: list[np.ndarray], seed: int) -> list[tuple[Network, float]]:
    """Perceptrons with 32 hidden units.

    The truth is Var(E[z | shared channels]) / Var(z), which is the linear teachers' truth where z is linear:
    the covariance of logits that have the shared channels in common and nothing else, on fresh samples.
    """
    data = PairedDataset.from_arrays({"a": samples.a, "b": samples.b}, label=samples.label)
    jobs = [
        StudentJob(
            seeded(lambda: mlp(WIDTH, 2, hidden=(32,)), 1000 * seed + number), Distill(), data, "a",
            torch.from_numpy(rows[: -len(rows) // 10]), torch.from_numpy(rows[-len(rows) // 10 :]), seed,
        )
        for number, rows in enumerate(trains)
    ]  # fmt: skip
    made = []
    for done in train_students(jobs, TrainConfig(epochs=30, device="cpu")):
        model = mlp(WIDTH, 2, hidden=(32,))
        model.load_state_dict(done.state)
        network = _centred(model)
        rng = np.random.default_rng(seed)
        one, other = rng.standard_normal((2, FRESH, WIDTH))
        other[:, : samples.shared] = one[:, : samples.shared]
        z, z_other = (network(x @ samples.rotation) for x in (one, other))
        z, z_other = z - z.mean(axis=0), z_other - z_other.mean(axis=0)
        made.append((network, float(2 * (z * z_other).sum() / ((z**2).sum() + (z_other**2).sum()))))
    return made


def _centred(model: torch.nn.Module) -> Network:
    def network(a: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = model(torch.from_numpy(a).float()).double().numpy()
        return logits - logits.mean(axis=1, keepdims=True)

    return network

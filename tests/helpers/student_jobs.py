"""Small students to be trained, with every kind of objective."""

import numpy as np
import torch

from mfh import PairedDataset
from mfh.models.mlp import mlp
from mfh.training.objectives import Distill
from mfh.training.students import StudentJob, seeded

NUM_SAMPLES, NUM_INPUTS, NUM_CLASSES = 300, 11, 5
TRAIN, VALIDATION = torch.arange(150), torch.arange(150, 230)  # batches of 64, 64 and 22


def make_data(seed=0, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, NUM_CLASSES, NUM_SAMPLES)
    x = rng.normal(size=(NUM_SAMPLES, NUM_INPUTS)) + np.eye(NUM_CLASSES, NUM_INPUTS)[label]
    data = PairedDataset.from_arrays(
        {"a": x, "b": x[:, :2]}, label=label, id=[f"clip {i}" for i in range(NUM_SAMPLES)]
    )
    return data.with_transforms({"a": lambda values: values.to(dtype)})


def make_objectives(seed=0):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(2 * rng.normal(size=(NUM_SAMPLES, NUM_CLASSES)))
    taught = torch.arange(NUM_SAMPLES) % 3 > 0
    part = torch.where(taught[:, None], logits, torch.nan)
    return {
        "labels": Distill(),
        "smoothed": Distill(smoothing=0.1),
        "teacher": Distill(logits, label_weight=0.0, distill_weight=1.0),
        "hot teacher": Distill(logits, label_weight=0.0, distill_weight=0.5, temperature=4.0),
        "both": Distill(logits, label_weight=0.3, distill_weight=0.6, smoothing=0.2),
        "both, hot": Distill(logits, label_weight=0.3, distill_weight=0.6, temperature=3.0),
        "part taught": Distill(part, label_weight=0.0, distill_weight=0.8, temperature=2.0, taught=taught),
        "part taught, both": Distill(part, label_weight=0.3, distill_weight=0.6, taught=taught),
    }


def make_jobs(dtype=torch.float32, hidden=(24, 16), objectives=None, data=None, seed=0):
    data = data or make_data(dtype=dtype)
    model = seeded(lambda: mlp(NUM_INPUTS, NUM_CLASSES, hidden=hidden), seed).to(dtype)
    found = make_objectives() if objectives is None else objectives
    return [StudentJob(model, found[name], data, "a", TRAIN, VALIDATION, seed) for name in found]

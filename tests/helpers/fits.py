"""One small training that several tests share, with its changes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mfh import PairedDataset, TrainConfig
from mfh._formulas import accuracy
from mfh.training.evaluate import predict
from mfh.training.loop import LoopResult, fit
from mfh.training.objectives import Distill

CONFIG = TrainConfig(epochs=3, batch_size=32, device="cpu")
TRAIN, VALIDATION = torch.arange(0, 150), torch.arange(150, 240)


def seeded(build: Callable[[], nn.Module], seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def network(*, dropout: float = 0.0) -> nn.Sequential:
    middle = [nn.Dropout(dropout)] if dropout else []
    return seeded(lambda: nn.Sequential(nn.Linear(10, 16), nn.ReLU(), *middle, nn.Linear(16, 3)), 0)


def train(data: PairedDataset, model: nn.Module | None = None, **changes: Any) -> LoopResult:
    arguments: dict[str, Any] = {"modalities": ("audio",), "train": TRAIN, "config": CONFIG, "seed": 5}
    objective = changes.pop("objective", Distill())
    return fit(network() if model is None else model, data, objective, **(arguments | changes))


def on_validation(data: PairedDataset) -> Callable[[nn.Module], float]:
    labels = data.label[VALIDATION]
    return lambda model: accuracy(predict(model, data, "audio", VALIDATION), labels)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])

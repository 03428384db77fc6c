"""A study of your own map-style PyTorch dataset: the five lines in `main`.

python examples/own_dataset.py [folder]
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import mfh


class Machines(Dataset[dict[str, Any]]):
    """Vibration and temperature of machines, intact or broken; all samples of a machine are one group."""

    def __init__(self, count: int = 240) -> None:
        generator = torch.Generator().manual_seed(0)
        self.broken = torch.arange(count) % 2
        wear = self.broken[:, None] + 0.8 * torch.randn(count, 1, generator=generator)
        self.vibration = wear[:, None] + torch.randn(count, 2, 16, generator=generator)
        self.temperature = wear + 0.5 * torch.randn(count, 4, generator=generator)

    def __len__(self) -> int:
        return len(self.broken)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return one sample: all modalities, the label and the group."""
        return {
            "vibration": self.vibration[row],
            "temperature": self.temperature[row],
            "label": "broken" if self.broken[row] else "intact",
            "machine": f"machine {row // 2 % 30}",
        }


class Teacher(nn.Module):
    """A one-dimensional CNN; it calls functions between its layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, width, 5)
        self.fc = nn.Linear(width, 2)

    def forward(self, vibration: Tensor) -> Tensor:
        """Return logits."""
        return self.fc(torch.relu(self.conv(vibration)).mean(2))


def student() -> nn.Module:
    """Make a perceptron that sees temperatures."""
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def main(out: str = "out/machines") -> mfh.StudyResult:
    """Run the study and write its report."""
    data = mfh.PairedDataset.from_torch(Machines(), group="machine")
    config = mfh.StudyConfig(teacher="vibration", student="temperature", repeats=1, epochs=10, ratio=(0.5,))
    result = mfh.study(data, Teacher, student, config=config, out=out)
    mfh.report(result, out)
    print(result.frame("summary").query("metric == 'accuracy'").round(1).to_string(index=False))
    return result


if __name__ == "__main__":
    main(*sys.argv[1:2])

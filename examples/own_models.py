"""A study of your own networks: a torchvision ResNet teaches a small CNN.

The teacher sees sharp colour pictures, the student dark grey ones of low contrast. The pictures are made
up, so that this runs in seconds; replace `pictures` by a function that reads yours.

    python examples/own_models.py [folder]
"""

import sys

import numpy as np
import torchvision
from torch import nn

import mfh

NUM_CLASSES = 3


def pictures(count: int = 150, size: int = 16) -> mfh.PairedDataset:
    """Make pictures of stripes in three directions, as a good and a poor camera see them."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % NUM_CLASSES
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    waves = np.stack([np.sin(x), np.sin(y), np.sin(x + y)])[label][:, None]
    sharp = waves + 0.7 * rng.normal(size=(count, 3, size, size))
    dark = 0.5 * sharp.mean(axis=1, keepdims=True) + rng.normal(size=(count, 1, size, size))
    return mfh.PairedDataset.from_arrays({"day": sharp, "night": dark}, label=label)


def teacher() -> nn.Module:
    """Make the teacher. Its channels are those before the last linear layer, here the output of `avgpool`."""
    return torchvision.models.resnet18(num_classes=NUM_CLASSES)


def student() -> nn.Module:
    """Make the student: a small CNN."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 16, NUM_CLASSES),
    )


def main(out: str | None = None) -> mfh.StudyResult:
    """Run the study. A real one needs more repeats, folds and epochs."""
    config = mfh.StudyConfig(
        teacher="day", student="night", repeats=1, folds=2, epochs=2, lr=0.02, ratio=(0.5,),
        random_draws=1, smoothing=(0.1,),
    )  # fmt: skip
    result = mfh.study(pictures(), teacher, student, config=config, out=out)
    print(result.verdict.sentence)
    table = result.frame("summary").query("metric == 'accuracy'")
    print(table[["arm", "ratio", "mean"]].round(1).to_string(index=False))
    return result


if __name__ == "__main__":
    main(*sys.argv[1:2])

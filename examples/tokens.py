"""A transformer that sees words and returns an object with `.logits` teaches a student that sees numbers.

The outputs of its layers are (sample, token, channel); `mfh` finds from the weights which dimension is
channels.

    python examples/tokens.py
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import mfh

VOCABULARY, LENGTH, WIDTH, NUM_CLASSES = 30, 8, 16, 3


@dataclass
class Output:
    """An output as the models of many libraries return it."""

    logits: Tensor
    hidden: Tensor


class Transformer(nn.Module):
    """A transformer from token ids to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, NUM_CLASSES)

    def forward(self, ids: Tensor) -> Output:
        """Return the logits, from the mean over tokens, in an object."""
        hidden = self.norm(self.encoder(self.embedding(ids)))
        return Output(self.classifier(hidden.mean(1)), hidden)


def student() -> nn.Module:
    """Make a perceptron."""
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, NUM_CLASSES))


def reports(count: int = 180) -> mfh.PairedDataset:
    """Make samples of two modalities: the words of a report, and the numbers of a sensor."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % NUM_CLASSES
    words = (rng.integers(10, size=(count, LENGTH)) + 8 * label[:, None]) % VOCABULARY
    numbers = np.eye(5)[label] + 0.5 * rng.normal(size=(count, 5))
    # without this transform the network would get floats
    return mfh.PairedDataset.from_arrays(
        {"report": words, "sensor": numbers}, label=label, transforms={"report": torch.Tensor.long}
    )


def main() -> mfh.StudyResult:
    """Print the layers, and run a study that ranks the channels of `norm`."""
    data = reports()
    for layer in mfh.layers(Transformer(), data.inputs("report", slice(0, 2))):
        print(f"{layer.name:24}{layer.kind:26}{layer.shape!s:16}channels: {layer.channels}")
    config = mfh.StudyConfig(
        teacher="report", student="sensor", layer="norm", repeats=1, folds=3, epochs=3, ratio=(0.5,),
        random_draws=1, smoothing=(0.1,),
    )  # fmt: skip
    result = mfh.study(data, Transformer, student, config=config)
    table = result.frame("summary").query("metric == 'accuracy'")
    print(table[["arm", "ratio", "mean"]].round(1).to_string(index=False))
    return result


if __name__ == "__main__":
    main()

"""Stored features instead of networks: of the teacher, only its last linear layer is known.

Stored are the teacher's features, the labels, the features that the student sees, the logits of a student
that was trained together with the teacher, and the weights of the teacher's last layer. From these `main`
computes the saliency of the teacher's channels and the logits of a focused teacher, and trains a student on
these logits.

    python examples/features.py
"""

import numpy as np
import torch
from torch import Tensor, nn

import mfh


def stored(count: int = 600) -> tuple[mfh.PairedDataset, nn.Linear, Tensor]:
    """Make what you would read from files: paired features, the teacher's last layer, the student's logits.

    The first 4 of the teacher's channels carry information that the student sees too, the next 4 information
    that it does not see, and the last 4 noise.
    """
    rng = np.random.default_rng(0)
    label = np.arange(count) % 4
    shared, own = (np.eye(4)[label] + 0.7 * rng.normal(size=(count, 4)) for _ in range(2))
    lidar = np.hstack([shared, own, rng.normal(size=(count, 4))])
    camera = np.hstack([shared, rng.normal(size=(count, 4))])
    head = nn.Linear(12, 4)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(np.hstack([np.eye(4), np.eye(4), np.zeros((4, 4))])))
        head.bias.zero_()
    student_logits = torch.tensor(2 * shared, dtype=torch.float32)
    return (
        mfh.PairedDataset.from_arrays({"lidar": lidar, "camera": camera}, label=label),
        head,
        student_logits,
    )


def main() -> dict[str, float]:
    """Compute the saliency, focus the teacher, train three students; return test accuracies in percent."""
    data, head, student_logits = stored()
    features = data.inputs("lidar", slice(None))
    ranked = mfh.saliency(features, head, student_logits)
    print(ranked.frame()[["channel", "values", "importance"]].round(2).to_string(index=False))
    removed = mfh.select(ranked, 0.5, "general")
    classifier = nn.Sequential(nn.Identity(), head)  # layer "0" returns the features
    focused = mfh.FocusedTeacher(classifier, "0", removed, features.mean(0))
    config = mfh.DistillConfig(epochs=10, device="cpu")
    with torch.no_grad():
        teachers = {"no-kd": None, "whole": head(features), "focused": focused(features)}
    reached = {name: mfh.distill(logits, None, data, config).test for name, logits in teachers.items()}
    print({name: round(test, 1) for name, test in reached.items()})
    return reached


if __name__ == "__main__":
    main()

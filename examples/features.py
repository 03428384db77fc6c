"""Cached features only: no network runs, and none is at hand but the teacher's last linear layer.

What is cached: the teacher's features and labels, the student's modality as features, the logits of a student
trained jointly with the teacher, and the weights of the teacher's classifier. From these come the saliency of
the teacher's channels, a focused teacher's logits, and a student that learns from them.

    python examples/features.py
"""

import numpy as np
import torch
from torch import Tensor, nn

import mfh


def cached(count: int = 600) -> tuple[mfh.PairedDataset, nn.Linear, Tensor]:
    """Stand-ins for files of yours: paired features, the classifier, the joint student's logits.

    The teacher's first 4 channels show what the student can see too, the next 4 what it cannot, the last 4
    nothing.
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
    """Saliency, a focused teacher, and test accuracies in percent of three students."""
    data, head, student_logits = cached()
    features = data.inputs("lidar", slice(None))
    ranked = mfh.saliency(features, head, student_logits)
    print(ranked.frame()[["channel", "values", "importance"]].round(2).to_string(index=False))
    removed = mfh.select(ranked, 0.5, "general")
    classifier = nn.Sequential(nn.Identity(), head)  # the layer of the features, and what follows it
    focused = mfh.FocusedTeacher(classifier, "0", removed, features.mean(0))
    config = mfh.DistillConfig(epochs=10, device="cpu")
    with torch.no_grad():
        teachers = {"no-kd": None, "whole": head(features), "focused": focused(features)}
    reached = {name: mfh.distill(logits, None, data, config).test for name, logits in teachers.items()}
    print({name: round(test, 1) for name, test in reached.items()})
    return reached


if __name__ == "__main__":
    main()

"""An arm of your own: channels ranked by a gradient instead of by saliency.

The ranking asks how much each channel of the teacher moves its outputs towards those of the student. The
study trains the arm at every ratio, and compares it with no teacher, with the whole teacher, and with the
ranking by importance.

    python examples/own_arm.py [folder]
    cd examples && mfh study --data DATA.npz --arms no-kd joint general important own_arm:GRADIENT --out out
"""

import sys

import numpy as np
import torch

import mfh


def by_gradient(features, head, student_logits, *, saliency):  # noqa: ARG001
    """Return the mean size of gradient x feature of the agreement of teacher and student, by channel."""
    features.requires_grad_()
    agreement = (head(features).log_softmax(1) * student_logits.softmax(1)).sum()
    (gradient,) = torch.autograd.grad(agreement, features)
    return (gradient * features).abs().movedim(1, 0).flatten(1).mean(dim=1)


GRADIENT = mfh.Arm(name="gradient", teacher="source", ranking=by_gradient)


def main(out: str | None = None) -> mfh.StudyResult:
    """Run a small study with the arm; more repeats and epochs for a real one."""
    rng = np.random.default_rng(0)
    label = np.arange(180) % 3
    shared = np.eye(3)[label] + rng.normal(size=(180, 3))
    data = mfh.PairedDataset.from_arrays(
        {"lidar": np.hstack([shared, rng.normal(size=(180, 5))]), "camera": shared + 0.5}, label=label
    )
    mfh.register_arm(GRADIENT)
    config = mfh.StudyConfig(
        teacher="lidar", student="camera", repeats=1, epochs=5, ratio=[0.5], hidden=[16, 12],
        arms=["no-kd", "joint", "general", "important", "gradient"],
    )  # fmt: skip
    result = mfh.study(data, config=config, out=out)
    rows = result.frame("comparisons").query("a == 'gradient (chosen)'")
    print(rows[["a", "b", "difference", "low", "high"]].round(1).to_string(index=False))
    return result


if __name__ == "__main__":
    main(*sys.argv[1:2])

"""The Gaussian experiments written plainly in PyTorch: one linear model after another, no shortcuts.

This is the procedure of the released code, the baseline of `benchmarks.gaussian` and the independent
reference that a slow test compares every row with. It shares no code with `mfh`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STEPS = 1000
FIGURES = {
    "fig2": {"decisive": 20, "width": 25, "points": [(10 - o, 20 - o) for o in (0, 2, 4, 6, 8, 10)]},
    "fig3": {"decisive": 50, "width": 50, "points": [(0, k + 10) for k in (0, 10, 20, 30, 40)]},
}
SHARED = (5, 10, 15, 20, 25, 30)


@dataclass
class Plain:
    """How to train: with accuracies on both splits at every step, as released, or only after the last."""

    every_step: bool = True
    models: int = 0

    def fit(self, model, x, y, test_x, test_y, teacher=None, teacher_x=None):
        """Train one model by full-batch gradient descent; returns its last test accuracy in percent."""
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if teacher is not None:
            with torch.no_grad():
                target = functional.softmax(teacher(teacher_x), dim=1)
        accuracy = 0.0
        for step in range(STEPS):
            logits = model(x)
            loss = functional.cross_entropy(logits, y)
            if teacher is not None:
                log_q = functional.log_softmax(logits, dim=1)
                loss = loss + functional.kl_div(log_q, target, reduction="none").mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if self.every_step or step == STEPS - 1:
                measure(model, x, y)
                accuracy = measure(model, test_x, test_y)
        self.models += 1
        return accuracy


def measure(model, x, y):
    """Accuracy in percent."""
    with torch.no_grad():
        return 100 * (model(x).argmax(dim=1) == y).double().mean().item()


def tensors(*arrays):
    """Float32 inputs and integer labels."""
    return [torch.tensor(a, dtype=torch.float32 if a.dtype == np.float64 else torch.int64) for a in arrays]


def figure_split(a, n, decisive, width, columns):
    """One split of Figure 2 or 3 from the global NumPy stream: x1, x2, y."""
    xs = np.random.randn(n, decisive)  # noqa: NPY002
    y = (xs @ a[:decisive] > 0).astype(np.int64)
    x2 = np.random.randn(n, 50)  # noqa: NPY002
    x2[:, :10] = xs[:, :10]
    x1 = np.random.randn(n, width)  # noqa: NPY002
    x1[:, slice(*columns)] = xs[:, slice(*columns)]
    return tensors(x1, x2, y)


def reseed(seed):
    """Both global streams."""
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def figure_point(figure, index, seed, plain):
    """Teacher, no-KD and KD accuracy of one point of a figure, one run."""
    spec = FIGURES[figure]
    shape = (spec["decisive"], spec["width"], spec["points"][index])
    reseed(seed)
    a = np.random.randn(500)  # noqa: NPY002
    x1, x2, y = figure_split(a, 200, *shape)
    reseed(seed + 1)
    x1_test, x2_test, y_test = figure_split(a, 1000, *shape)
    teacher = nn.Linear(spec["width"], 2)
    teacher_accuracy = plain.fit(teacher, x1, y, x1_test, y_test)
    kd = plain.fit(nn.Linear(50, 2), x2, y, x2_test, y_test, teacher, x1)
    no_kd = plain.fit(nn.Linear(50, 2), x2, y, x2_test, y_test)
    return {"teacher": teacher_accuracy, "no_kd": no_kd, "kd": kd}


def table_split(a, n, shared):
    """One split of Table 2 from the global NumPy stream: x1, x2, y."""
    xs = np.random.randn(n, 10 + shared)  # noqa: NPY002
    y = (xs @ a[: 10 + shared] > 0).astype(np.int64)
    x1 = np.random.randn(n, 50)  # noqa: NPY002
    x1[:, : 10 + shared] = xs
    x2 = np.random.randn(n, 50)  # noqa: NPY002
    x2[:, :shared] = xs[:, :shared]
    return tensors(x1, x2, y)


def joint_pair(x1, x2, y):
    """Step 1 of Algorithm 1: teacher and student trained together."""
    teacher, student = nn.Linear(50, 2), nn.Linear(50, 2)
    parameters = [*teacher.parameters(), *student.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    for _ in range(STEPS):
        z, s = teacher(x1), student(x2)
        loss = functional.cross_entropy(z, y) + functional.cross_entropy(s, y) + functional.mse_loss(z, s)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return teacher, student


def permuted(model, x, other, permutations=100):
    """Step 2 of Algorithm 1 by permutations: mean distance to the other's logits per channel."""
    distance = torch.zeros(x.shape[1])
    with torch.no_grad():
        for channel in range(x.shape[1]):
            changed = x.clone()
            for _ in range(permutations):
                changed[:, channel] = x[torch.randperm(len(x)), channel]
                distance[channel] += functional.mse_loss(model(changed), other)
    return distance


def algorithm1(x1, x2, y, shared):
    """The chosen channels of x1, and which share of the true ones both rankings find."""
    teacher, student = joint_pair(x1, x2, y)
    with torch.no_grad():
        z, s = teacher(x1), student(x2)
    first = permuted(teacher, x1, s).argsort(descending=True)[:shared]
    second = permuted(student, x2, z).argsort(descending=True)[:shared]
    return first, [(chosen < shared).double().mean().item() for chosen in (first, second)]


def table_point(shared, mode, seed, plain, swapped=True):
    """One run of one line of Table 2; `swapped` feeds regular KD the modalities as the released code does."""
    reseed(seed)
    a = np.ones(500)
    x1, x2, y = table_split(a, 200, shared)
    x1_test, x2_test, y_test = table_split(a, 1000, shared)
    teacher = nn.Linear(50, 2)
    row = {"regular_teacher": plain.fit(teacher, x1, y, x1_test, y_test)}
    if mode == "alg1":
        channels, (row["recovery_x1"], row["recovery_x2"]) = algorithm1(x1, x2, y, shared)
    x1, x2, y = table_split(a, 200, shared)
    row["no_kd"] = plain.fit(nn.Linear(50, 2), x2, y, x2_test, y_test)
    if swapped:
        row["regular_kd_as_released"] = plain.fit(nn.Linear(50, 2), x1, y, x2_test, y_test, teacher, x2)
    else:
        row["regular_kd"] = plain.fit(nn.Linear(50, 2), x2, y, x2_test, y_test, teacher, x1)
    if mode == "random":
        channels = torch.from_numpy(np.random.randint(0, 50, shared))  # noqa: NPY002
    elif mode == "gt":
        channels = torch.arange(shared)
    general = nn.Linear(shared, 2)
    row["general_teacher"] = plain.fit(general, x1[:, channels], y, x1_test[:, channels], y_test)
    row["general_kd"] = plain.fit(nn.Linear(50, 2), x2, y, x2_test, y_test, general, x1[:, channels])
    return row


def mean_rows(rows):
    """Mean of every column over runs."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

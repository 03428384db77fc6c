"""The source teacher's channels, ranked in every way that an arm asks for, and the teacher without some."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfh._checks import InputError, one_line, require
from mfh._focus import channel_means, channel_split, layers, select, uncompiled
from mfh._focus import split as split_network
from mfh._focus.inventory import INPUT
from mfh._saliency import SaliencyResult, linear_start, saliency
from mfh._saliency.dense import pointwise
from mfh._saliency.heads import logits_of
from mfh._study.outputs import StudentKey, TeacherOutputs, fill_channels, focused_logits
from mfh._study.parts import Ranked
from mfh._study.task import SeedTask
from mfh._study.teachers import Teachers
from mfh.arms import TEACHERS, Arm
from mfh.data.paired import PairedDataset
from mfh.training.objectives import Fused
from mfh.training.watched import pooled

SPLITS = ("train", "validation")
"""Splits that saliency is computed on; one of them ranks, the other shows how stable the ranking is."""


def rank(task: SeedTask, teachers: Teachers, *, fold: str = "") -> Ranked:
    """Rank the channels and compute the outputs of every teacher, or read what an earlier call has kept."""
    ranked = task.parts.load("ranked" + fold)
    if ranked is None:
        ranked = _rank(task, teachers)
        task.parts.save("ranked" + fold, ranked)
    return ranked


def _rank(task: SeedTask, teachers: Teachers) -> Ranked:
    config, data = task.config, teachers.data
    logits = {
        name: teachers.known[name] if name in teachers.known else _outputs(task, name, network, data)
        for name, network in teachers.networks.items()
    }
    outputs = TeacherOutputs(config.temperature, logits, task=data.task)
    layer = config.layer or ""
    channels: dict[str, np.ndarray] = {}
    overlap: dict[tuple[str, float], float] = {}
    if task.ranks:
        model, partner = teachers.networks[task.source], teachers.partner(task.source)
        assert partner is not None  # noqa: S101 - `train_teachers` makes it where an arm ranks channels
        example = _example(task, data, "teacher", task.device)
        layer = layer or last_hidden(model, example)
        trunk, head = channel_split(model, layer, example, config.channel_dim)
        student_logits = task.predict(partner, data, "student")
        features = task.predict(trunk, data, "teacher").to(task.device)
        rankings, channels, overlap = _rankings(task, teachers.train, features, head, student_logits)
        _focus(task, outputs, features, head, rankings, teachers.train)
    student_layer = config.student_layer or ""
    if task.compares_features:
        student_layer = _add_features(task, teachers, outputs, layer)
    return Ranked(outputs, channels, overlap, layer, student_layer)


def _outputs(task: SeedTask, name: str, network: nn.Module, data: PairedDataset) -> Tensor:
    """Return a teacher's outputs for every sample."""
    if isinstance(network, Fused):
        sides = ((network.teacher, "teacher"), (network.student, "student"))
        first, second = (task.predict(part, data, side) for part, side in sides)
        return first + second
    return task.predict(network, data, _side(name))


def _side(teacher: str) -> str:
    """Return whose input a teacher takes; `fused` is one network only if the study's teacher sees both."""
    return "student" if TEACHERS[teacher].side == "student" else "teacher"


def _example(
    task: SeedTask, data: PairedDataset, side: str, device: torch.device | str = "cpu"
) -> tuple[Tensor, ...]:
    """Return the first two inputs of a side's network."""
    rows = task.having(torch.arange(len(data)), side)[:2]
    return data.inputs_of(getattr(task, side), rows, device=device)


def _rankings(
    task: SeedTask, train: Tensor, features: Tensor, head: nn.Module, student_logits: Tensor
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[tuple[str, float], float]]:
    """Return the values that rank channels by ranking, what results keep of them, and shares in common."""
    config = task.config
    rankings: dict[str, np.ndarray] = {}
    channels: dict[str, np.ndarray] = {}
    overlap: dict[tuple[str, float], float] = {}
    for split, every in zip(SPLITS, (train, task.validation), strict=True):
        rows = task.having(every, "both")
        found = compute_saliency(task, features[rows], head, student_logits[rows])
        importance = compute_importance(task, found, features[rows], head)
        channels |= {
            f"increase_{split}": found.increase,
            f"importance_{split}": importance,
            f"stderr_{split}": found.stderr_data,
        }
        if found.followed is not None:
            channels[f"followed_{split}"] = found.followed
        for ratio in config.ratio:
            kept = [
                set(range(len(importance))) - set(select(values, ratio, "general").tolist())
                for values in (found.values, importance)
            ]
            overlap[split, ratio] = len(kept[0] & kept[1]) / len(kept[0])
        if split == config.saliency_split:
            rankings |= {"saliency": found.values, "importance": importance}
            for arm in task.arms:
                if callable(arm.ranking):
                    values = own_ranking(arm, features[rows], head, student_logits[rows], found)
                    rankings[arm.name] = channels[f"{arm.name}_{split}"] = values
    return rankings, channels, overlap


def compute_saliency(
    task: SeedTask, features: Tensor, head: nn.Module, student_logits: Tensor
) -> SaliencyResult:
    """Return the saliency of the channels: exact where the head is linear, else from permutations."""
    if student_logits.ndim > 2:
        exact = pointwise(head) is not None
    else:
        start = linear_start(head, features)
        exact = start is not None and start.rest is None
    return saliency(
        features,
        head,
        student_logits,
        num_permutations="exact" if exact else task.config.num_permutations,
        score=task.config.score,
        generator=torch.Generator().manual_seed(task.derived("permutations")),
        precision=None if exact else task.config.saliency_precision,
        warn=False,
    )


def compute_importance(
    task: SeedTask, found: SaliencyResult, features: Tensor, head: nn.Module
) -> Float[np.ndarray, " channel"]:
    """Return the importance of the channels to the teacher alone."""
    if found.importance is not None:
        return found.importance
    with torch.no_grad():
        own = logits_of(head(features))
    return compute_saliency(task, features, head, own).increase


def own_ranking(
    arm: Arm, features: Tensor, head: nn.Module, student_logits: Tensor, found: SaliencyResult
) -> Float[np.ndarray, " channel"]:
    """Return the values by which an arm of the user's ranks the channels.

    Raises:
        InputError: the function raises, or does not return one finite number for each channel.
    """
    name = f"`ranking` of the arm {arm.name}"
    ranking: Callable[..., Any] = arm.ranking  # type: ignore[assignment]
    try:
        values = ranking(features.detach().clone(), head, student_logits.detach().clone(), saliency=found)
        values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        values = values.astype(np.float64)
    except Exception as error:
        raise InputError(f"{name} fails: {type(error).__name__}: {one_line(error)}") from error
    require(
        values.shape == (features.shape[1],),
        f"{name} must return one number for each of the {features.shape[1]} channels. "
        f"Got shape {values.shape}.",
    )
    wrong = np.flatnonzero(~np.isfinite(values))
    require(
        not len(wrong),
        f"{name} must return finite numbers. Got {values[wrong[:1]]} for the channels {wrong[:12].tolist()}.",
    )
    return values


def _focus(
    task: SeedTask,
    outputs: TeacherOutputs,
    features: Tensor,
    head: nn.Module,
    rankings: Mapping[str, np.ndarray],
    train: Tensor,
) -> None:
    """Add the source teacher's outputs without the channels that each arm removes."""
    fill = channel_means(features[task.having(train, "teacher")])
    generator = torch.Generator().manual_seed(task.derived("random channels"))
    for ratio in task.config.ratio:
        for arm in task.arms:
            if arm.ranking is None:
                continue
            for draw in range(task.config.random_draws) if arm.is_drawn else (None,):
                values = rankings["saliency" if arm.is_drawn else _ranking_name(arm)]
                removed = select(values, ratio, arm, generator=generator if arm.is_drawn else None)
                key = StudentKey(arm.name, ratio, draw)
                outputs.focused[key] = focused_logits(features, head, removed, fill)
                if task.compares_features:
                    outputs.focused_features[key] = pooled(fill_channels(features, removed, fill)).cpu()


def _ranking_name(arm: Arm) -> str:
    return arm.ranking if isinstance(arm.ranking, str) else arm.name


def _add_features(task: SeedTask, teachers: Teachers, outputs: TeacherOutputs, layer: str) -> str:
    """Add the features of the whole teachers for losses that compare them; return the student's layer."""
    example = _example(task, teachers.data, "student")
    student_layer = task.config.student_layer or last_hidden(task.networks.build_student(), example)
    for name, network in teachers.networks.items():
        example = _example(task, teachers.data, _side(name), task.device)
        if TEACHERS[name].side != "student":
            layer = layer or last_hidden(network, example)
            trunk, _ = channel_split(network, layer, example, task.config.channel_dim)
        else:
            trunk, _ = channel_split(network, student_layer, example, None)
        outputs.features[name] = pooled(task.predict(trunk, teachers.data, _side(name)))
    return student_layer


def last_hidden(model: nn.Module, example: object) -> str:
    """Return the name of the layer that feeds a network's last linear layer.

    It is the last layer before it that is called just once, or the input of the linear layer itself, where
    the network cannot be cut at that layer, because code joins its output with others. Where there is no
    linear layer, the last 1 x 1 convolution takes its place.

    Raises:
        InputError: there is no such layer.
    """
    modules = dict(uncompiled(model).named_modules())
    leaves = [info for info in layers(model, example) if not list(modules[info.name].children())]
    linear = [place for place, leaf in enumerate(leaves) if isinstance(modules[leaf.name], nn.Linear)]
    if not linear:  # a dense prediction's last layer is linear at each position
        linear = [place for place, leaf in enumerate(leaves) if pointwise(modules[leaf.name]) is not None]
    before = [leaf.name for leaf in leaves[: linear[-1]] if leaf.calls == 1] if linear else []
    if not before:
        raise InputError(
            "`layer` cannot be chosen: the teacher has no linear layer after another layer that is called "
            f"once. Name one with `layer`; it has {', '.join(leaf.name for leaf in leaves)}."
        )
    for name in (before[-1], leaves[linear[-1]].name + INPUT):
        with suppress(InputError):
            split_network(model, name, example=example)
            return name
    return before[-1]

"""The saliency of a layer's channels in a partial study: computed by a step, or supplied by the user.

The file is `saliency-<layer>.npz` if it was computed and `saliency-<layer>.npy` if it was supplied.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mfh._checks import InputError, require
from mfh._focus import split
from mfh._saliency import SaliencyResult
from mfh._study.task import derived_seed
from mfh._system.files import bytes_writer, checksum, npy_bytes, require_files, run_mark, write_atomic
from mfh.experiments._steps.partial_study import PartialStudy
from mfh.experiments._steps.recipe import RankedLayer
from mfh.experiments._steps.supplied import FILE, list_supplied, read_vector, supplied_files
from mfh.training.saliency import dataset_saliency, permutations_of
from mfh.training.teacher_outputs import teacher_logits

OUTPUTS = "teacher-outputs"
logger = logging.getLogger(__name__)


def saliency_file(out: Path, layer: RankedLayer, suffix: str = ".npz") -> Path:
    """Return the path of a layer's saliency in a folder."""
    return out / f"saliency-{layer.name}{suffix}"


def rank(
    partial: PartialStudy,
    layer: RankedLayer,
    *,
    distance: str = "mse",
    score: str = "increase",
    num_permutations: int | str | None = None,
    samples: int | None = None,
) -> SaliencyResult:
    """Compute and save the saliency of a layer's channels on the training split: step 2 of Algorithm 1.

    The source teacher is ranked against the student that was trained like it: in its pair, or alone.

    Args:
        partial: the folder.
        layer: the layer.
        distance: see `mfh.saliency`.
        score: see `mfh.saliency`.
        num_permutations: see `mfh.training.saliency.dataset_saliency`.
        samples: number of training samples, drawn at random; by default all.

    Raises:
        InputError: nothing is trained yet, or `mfh.saliency` raises it.
    """
    teacher = partial.trained(f"teacher-{layer.source}")
    name = f"student-{layer.source}"
    student = partial.trained(name)
    rows = _sampled_rows(partial, samples)
    data, config = partial.data, partial.config
    example = data.inputs(config.teacher, partial.train[:2], device=partial.device)
    trunk, head = split(teacher, layer.layer, example=example)
    with torch.no_grad():
        num_permutations = permutations_of(head, trunk(example), num_permutations)
    folder = partial.out / OUTPUTS
    student_logits = teacher_logits(student, data, config.student, folder=folder, name=name, rows=rows)
    generator = torch.Generator().manual_seed(derived_seed(config.seed, "permutations"))
    result = dataset_saliency(
        trunk, head, data, config.teacher, rows, student_logits[rows], distance=distance, score=score,
        num_permutations=num_permutations, generator=generator,
    )  # fmt: skip
    if partial.processes.main:
        result.save(saliency_file(partial.out, layer), mark=f"{partial.mark} {layer.name}")
    partial.processes.wait()
    return result


def _sampled_rows(partial: PartialStudy, samples: int | None) -> Tensor:
    if samples is None or samples >= len(partial.train):
        return partial.train
    require(samples >= 2, f"`samples` must be 2 or more. Got {samples}.")
    generator = torch.Generator().manual_seed(derived_seed(partial.config.seed, "saliency samples"))
    return partial.train[torch.randperm(len(partial.train), generator=generator)[:samples]].sort().values


@dataclass(frozen=True, eq=False)
class LayerSaliency:
    """The saliency of a layer's channels in a folder.

    Attributes:
        values: what the channels are ranked by, shape (channel,).
        score: the score that these values are, `increase` or `followed`.
        arrays: everything that is known of the channels, in the layout of `StudyResult.channels`.
    """

    values: Float[np.ndarray, " channel"]
    score: str
    arrays: Mapping[str, np.ndarray]


def load_saliency(out: Path, layer: RankedLayer, seed: int = 0) -> LayerSaliency | None:
    """Read the saliency of a layer's channels, computed or supplied; return None if there is none.

    Args:
        out: the folder.
        layer: the layer.
        seed: the first seed, whose teacher was ranked.

    Raises:
        InputError: it is damaged, or belongs to another run or layer.
    """
    path, mark = saliency_file(out, layer), run_mark(out)
    if path.exists():
        result = SaliencyResult.load(path, mark=f"{mark} {layer.name}" if mark else "")
        named = {
            "increase": result.increase,
            "stderr": result.stderr,
            "importance": result.importance,
            "followed": result.followed,
        }
        values, score = result.values, result.score
    elif (path := path.with_suffix(".npy")).exists():
        require_files(out, {path.name: supplied_files(out, mark).get(path.name, "")}, FILE)
        values, score = read_vector(path), "increase"
        named = {"increase": values}
    else:
        return None
    arrays = {f"{name}_train": array[None] for name, array in named.items() if array is not None}
    return LayerSaliency(values, score, {"seed": np.array([seed]), **arrays})


def saliency_values(partial: PartialStudy, layer: RankedLayer) -> Float[np.ndarray, " channel"]:
    """Return the saliency by which a layer's channels are ranked.

    Raises:
        InputError: there is none yet, or it cannot be used; the text says what to do.
    """
    try:
        found = load_saliency(partial.out, layer)
    except InputError as error:
        raise InputError(f"{error} {saliency_remedy(partial, layer)}") from error
    if found is None:
        raise InputError(
            f"`{partial.out}` contains no saliency of {layer.words}. Run `{_command(partial, layer)}` with "
            "the same --data and --out first, or supply a vector with --saliency."
        )
    return found.values


def saliency_remedy(partial: PartialStudy, layer: RankedLayer) -> str:
    """Return how to replace a damaged saliency, for messages."""
    return f"Run `{_command(partial, layer)}` again."


def _command(partial: PartialStudy, layer: RankedLayer) -> str:
    return f"mfh {partial.recipe.name} saliency {layer.option}".strip()


def supply_saliency(partial: PartialStudy, layer: RankedLayer, path: Path | str | None) -> None:
    """Copy a saliency vector that the user supplies: a `.npy`, like the authors', or a `.npz` of ours.

    Raises:
        InputError: it is not a vector of finite numbers, or the folder contains another one already.
    """
    if path is None:
        return
    values = read_vector(path)
    try:
        known = load_saliency(partial.out, layer)
    except InputError as error:
        logger.warning("%s It is written again.", error)
        known = None
    if known is not None:
        require(
            np.array_equal(known.values, values),
            f"`{partial.out}` contains another saliency of {layer.words} than `{path}`. Name another `out`.",
        )
        return
    partial.claim()
    path, content = saliency_file(partial.out, layer, ".npy"), npy_bytes(values)
    list_supplied(partial, path.name, checksum(content))
    if partial.processes.main:
        write_atomic(path, bytes_writer(content))
    partial.processes.wait()


def describe_saliency(found: LayerSaliency, layer: RankedLayer) -> dict[str, Any]:
    """Return a description of a saliency vector, in the layout of `StudyResult.saliency`."""
    values = found.arrays["increase_train"]
    return {
        "layer": layer.layer,
        "num_channels": values.shape[1],
        "score": found.score,
        "split": "train",
        "overlap": [],
        "negative": [{"split": "train", "share": float((values < 0).mean())}],
        "rank_correlation": [],
    }

"""The files of an export: write a student as weights, program and ONNX, and read it back."""

import io
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mfh._checks import InputError, one_line, require
from mfh._export.deployed import Deployed, Outputs, deployed_from, network_of
from mfh._export.portable import portable
from mfh._focus import FocusedTeacher
from mfh._system.files import bytes_writer, read_json, require_files, write_atomic
from mfh._system.import_paths import own_classes_only

TEACHER, STUDENT, DESCRIPTION = "teacher", "student", "export.json"
WEIGHTS, PROGRAM, ONNX = "model.safetensors", "model.pt2", "model.onnx"
SCHEMA_VERSION = 2
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUT = "inputs"
TOLERANCE = 1e-5
"""Largest difference between scores of the network and of a file, for scores up to 1 in size."""
_log = logging.getLogger("mfh")


@dataclass(frozen=True)
class Exported:
    """A student, and perhaps its teacher, read from an export.

    Attributes:
        student: takes values as the data have them, (sample, *shape), and returns scores, (sample, class).
        info: the content of `export.json`.
        teacher: the focused teacher, if it was exported too; it takes the inputs of its modality.

    Example:
        >>> Exported(nn.Linear(2, 3), {"seed": 0}).info
        {'seed': 0}
    """

    student: nn.Module = field(repr=False)
    info: Mapping[str, Any]
    teacher: nn.Module | None = field(default=None, repr=False)


def load_export(folder: Path | str, *, imports: bool = False) -> Exported:
    """Read what `mfh export` wrote, and make its networks from the classes that it names.

    Args:
        folder: folder given to `mfh export --to`.
        imports: whether your own networks may be imported by the paths written in the folder. This runs
            their code: allow it only if you trust the folder. Without it only the default networks and those
            of `mfh.models` and `torch.nn` can be made.

    You can also use the files without `mfh`: `predict.py` shows how. `model.onnx` needs onnxruntime alone,
    and `torch.export.load` reads `model.pt2`.

    Returns:
        The networks in evaluation mode, and the content of `export.json`.

    Raises:
        InputError: files are missing or damaged, or a class cannot be made or may not be imported.

    Example:
        >>> load_export("nowhere")
        Traceback (most recent call last):
        mfh._checks.InputError: `nowhere/export.json` does not exist. Name a folder that `mfh export` wrote.
    """
    folder = Path(folder)
    try:
        info = read_info(folder)
        with own_classes_only(not imports):
            student = deployed_from(info[STUDENT], info["class_names"], info["task"])
            focused = network_of(info[TEACHER]["network"]) if TEACHER in info else None
        student.load_state_dict(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    except FileNotFoundError as error:
        raise InputError(
            f"`{error.filename}` does not exist. Name a folder that `mfh export` wrote."
        ) from None
    except InputError:
        raise
    except Exception as error:
        reason = one_line(error)
        raise InputError(f"`{folder}` cannot be read as an export: {reason}. Export again.") from error
    teacher = None if focused is None else FocusedTeacher.load(folder / TEACHER, focused.eval()).eval()
    return Exported(student.eval(), info, teacher)


def read_info(folder: Path) -> dict[str, Any]:
    """Read `export.json`, and check the files that it names.

    Raises:
        InputError: a file is missing or damaged, or another version of mfh wrote the folder.
    """
    info = read_json(folder / DESCRIPTION, sealed=False)
    require_files(folder, info.pop("files", {}), DESCRIPTION)
    version = info.get("schema_version")
    require(
        version == SCHEMA_VERSION,
        f"`{folder / DESCRIPTION}` has schema version {version}; this mfh reads {SCHEMA_VERSION}. Export "
        "again.",
    )
    return info


def write_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of a network."""
    state = {n: v.detach().cpu().contiguous().clone() for n, v in model.state_dict().items()}
    write_atomic(path, bytes_writer(safetensors.torch.save(state)))


def write_program(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network as a program of torch.export that takes any number of samples.

    Raises:
        InputError: torch.export cannot trace the network's code; the text has the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own future changes
            program = torch.export.export(model, (example,), dynamic_shapes=({0: _any_number()},))
            blob = io.BytesIO()
            torch.export.save(program, blob)
    except Exception as error:
        raise _not_traced("a program: torch.export", error) from error
    write_atomic(path, bytes_writer(blob.getbuffer()))


def read_program(path: Path) -> nn.Module:
    """Read a program of torch.export. It is unpickled in parts: read your own programs only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(str(path)).module()


def missing_for_onnx() -> list[str]:
    """Return the packages that ONNX needs and that are not installed."""
    return [name for name in ONNX_PACKAGES if find_spec(name) is None]


def write_onnx(model: Deployed, example: Tensor, path: Path) -> None:
    """Write a student as ONNX: input `inputs`, outputs `scores` and, for classes, `probabilities`.

    The number of samples is free. Adaptive pools become slices; see `mfh._export.portable`.

    Raises:
        InputError: the network's code cannot be written as ONNX; the text has the reason.
    """
    wrapped = portable(Outputs(model)).eval()
    names = ["scores", "probabilities"][: len(wrapped(example))]
    for package in ("torch.onnx", "onnxscript", "onnx_ir"):  # they tell every step
        logging.getLogger(package).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                wrapped,
                (example,),
                dynamo=True,
                verbose=False,
                dynamic_shapes=({0: _any_number()},),
                input_names=[INPUT],
                output_names=names,
            )
        assert program is not None  # noqa: S101 - `dynamo` returns a program
        blob = program.model_proto.SerializeToString()
    except Exception as error:
        raise _not_traced("ONNX: torch.onnx", error) from error
    write_atomic(path, bytes_writer(blob))


def onnx_scores(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Return the scores that onnxruntime computes for a batch with a file of `write_onnx`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    scores: np.ndarray = session.run(["scores"], {INPUT: inputs})[0]
    return scores


def require_same(model: Deployed, example: Tensor, path: Path, *, what: str) -> None:
    """Compare the scores of a file with those of the network in memory, on all samples and on one.

    Raises:
        InputError: they differ by more than `TOLERANCE` times the largest score (or 1).
    """
    program = read_program(path) if path.name == PROGRAM else None
    worst = 0.0
    for inputs in (example, example[:1]):
        with torch.no_grad():
            expected = model(inputs)
            found = (
                torch.from_numpy(onnx_scores(path, inputs.numpy())) if program is None else program(inputs)
            )
        same = found.shape == expected.shape
        size = max(1.0, float(expected.abs().max()))
        worst = max(worst, float((found - expected).abs().max()) / size) if same else float("inf")
    require(
        worst <= TOLERANCE,
        f"The exported {what} gives other scores than the trained network (difference {worst:.2g}): do not "
        f"use `{path}`. The code of the network may depend on the number of samples.",
    )
    _log.info("The %s gives the scores of the network on %d samples.", what, len(example))


def _any_number() -> Any:
    return torch.export.Dim("samples", min=1)


def _not_traced(what: str, error: Exception) -> InputError:
    reason = one_line(error)[:300]
    return InputError(
        f"The student cannot be exported as {what} raised {type(error).__name__}: {reason}. The network's "
        "code must not depend on the values or the number of samples."
    )

"""The files of an export: write networks and programs, and read them back."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from mfh._checks import InputError, one_line
from mfh._focus import FocusedTeacher
from mfh._saliency.heads import logits_of
from mfh._system.files import bytes_writer, read_json, require_files, write_atomic
from mfh._system.import_paths import ClassSpec, own_classes_only
from mfh.models.mlp import mlp, standardized

TEACHER, STUDENT, DESCRIPTION = "teacher", "student", "export.json"
WEIGHTS, PROGRAM = "model.safetensors", "program.pt2"


@dataclass(frozen=True)
class Exported:
    """A teacher and a student, read from an export.

    Attributes:
        teacher: the focused teacher; it takes the inputs of its modality.
        student: the chosen student; it takes the inputs of its modality.
        info: content of `export.json`.

    Example:
        >>> Exported(nn.Identity(), nn.Linear(2, 3), {"seed": 0}).info
        {'seed': 0}
    """

    teacher: nn.Module = field(repr=False)
    student: nn.Module = field(repr=False)
    info: Mapping[str, Any]


class Logits(nn.Module):
    """Wrap a network so that it returns its logits as a tensor, whatever object it returned."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        return logits_of(self.network(inputs))


def load_export(folder: Path | str, *, imports: bool = False) -> Exported:
    """Read what `mfh export` wrote, and make its networks from the classes that it names.

    Args:
        folder: folder given to `mfh export --to`.
        imports: whether your own networks may be imported by the paths written in the folder. This runs
            their code: allow it only if you trust the folder. Without it only the default networks and those
            of `mfh.models` and `torch.nn` can be made.

    You can also read the files one by one, without imports: `FocusedTeacher.load` takes a network that you
    made, and `torch.export.load` reads the student's program.

    Returns:
        Both networks in evaluation mode, and the content of `export.json`.

    Raises:
        InputError: files are missing or damaged, or a class cannot be made or may not be imported.

    Example:
        >>> load_export("nowhere")
        Traceback (most recent call last):
        mfh._checks.InputError: `nowhere/export.json` does not exist. Name a folder that `mfh export` wrote.
    """
    folder = Path(folder)
    try:
        info = read_json(folder / DESCRIPTION, sealed=False)
        require_files(folder, info.pop("files", {}), DESCRIPTION)
        with own_classes_only(not imports):
            sides = {side: network_of(info[side]["network"]) for side in (TEACHER, STUDENT)}
        sides[STUDENT].load_state_dict(safetensors.torch.load((folder / STUDENT / WEIGHTS).read_bytes()))
    except FileNotFoundError as error:
        raise InputError(
            f"`{error.filename}` does not exist. Name a folder that `mfh export` wrote."
        ) from None
    except InputError:
        raise
    except Exception as error:
        reason = one_line(error)
        raise InputError(f"`{folder}` cannot be read as an export: {reason}. Export again.") from error
    teacher = FocusedTeacher.load(folder / TEACHER, sides[TEACHER].eval())
    return Exported(teacher.eval(), sides[STUDENT].eval(), info)


def write_program(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network as a program of torch.export that takes any number of samples.

    Raises:
        InputError: torch.export cannot trace the network's code; the text has the reason.
    """
    samples = torch.export.Dim("samples", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own future changes
            program = torch.export.export(Logits(network), (example,), dynamic_shapes=({0: samples},))
            blob = io.BytesIO()
            torch.export.save(program, blob)
    except Exception as error:
        reason = one_line(error)[:300]
        raise InputError(
            f"The student cannot be exported as a program: torch.export raised {type(error).__name__}: "
            f"{reason}. The network's code must not depend on the values or the number of samples."
        ) from error
    write_atomic(path, bytes_writer(blob.getbuffer()))


def read_program(path: Path) -> nn.Module:
    """Read a program of torch.export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(str(path)).module()


def network_of(made_of: Mapping[str, Any]) -> nn.Module:
    """Make a network from plain values: a class with arguments, or the default perceptron."""
    if "class_path" in made_of:
        return ClassSpec.parse(made_of)()
    shape = list(made_of["mlp"])
    size = int(torch.Size(shape).numel())
    return standardized(mlp(size, made_of["outputs"], hidden=made_of["hidden"]), shape)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights."""
    state = {n: v.detach().cpu().contiguous().clone() for n, v in network.state_dict().items()}
    blob = safetensors.torch.save(state)
    write_atomic(path, bytes_writer(blob))

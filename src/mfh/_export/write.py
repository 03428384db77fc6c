"""Write a student and all that belongs to it into a folder, and check the files."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mfh._checks import InputError, listing
from mfh._export.card import write_card
from mfh._export.deployed import Deployed
from mfh._export.files import (
    DESCRIPTION,
    ONNX,
    PROGRAM,
    SCHEMA_VERSION,
    WEIGHTS,
    missing_for_onnx,
    require_same,
    write_onnx,
    write_program,
    write_weights,
)
from mfh._export.script import write_script
from mfh._system.files import file_checksum, write_json, write_text

CARD, SCRIPT = "README.md", "predict.py"
_log = logging.getLogger("mfh")


def write_model(
    to: Path,
    model: Deployed,
    example: Tensor,
    info: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    more: tuple[str, ...] = (),
) -> Path:
    """Write a student as weights, program, ONNX, script and model card, and check program and ONNX.

    Args:
        to: the folder.
        model: the student, in evaluation mode, on the CPU.
        example: real samples, as the student takes them: the files must give their scores to 1e-5.
        info: content of `export.json`, without version and checksums.
        facts: what the model card says besides; see `mfh._export.card.write_card`.
        more: files of the export that were written before.

    Returns:
        Path of `export.json`, which is written last.

    Raises:
        InputError: the network cannot be written as a program; or the program or the ONNX file gives other
            scores. A network that cannot be written as ONNX is no error: the log says so.
    """
    write_weights(model, to / WEIGHTS)
    write_program(model, example, to / PROGRAM)
    require_same(model, example, to / PROGRAM, what="program")
    names = [WEIGHTS, PROGRAM]
    if _write_onnx(to / ONNX, model, example):
        names.append(ONNX)
    write_text(to / SCRIPT, write_script(info, onnx=ONNX in names))
    write_text(to / CARD, write_card(info, facts, [*names, SCRIPT, DESCRIPTION, *more]))
    files = {name: file_checksum(to / name) for name in (*names, *more)}
    described = {"schema_version": SCHEMA_VERSION, **info, "files": files}
    return write_json(to / DESCRIPTION, described, sealed=True)


def _write_onnx(path: Path, model: Deployed, example: Tensor) -> bool:
    """Write and check the ONNX file; return whether it could be written, else say why not in the log."""
    path.unlink(missing_ok=True)
    if missing := missing_for_onnx():
        _log.warning(
            "%s is left out, since %s is not installed: pip install 'mfh[onnx]', then export again.",
            path.name, listing(missing),
        )  # fmt: skip
        return False
    try:
        write_onnx(model, example, path)
    except InputError as error:
        _log.warning("%s is left out. %s", path.name, error)
        return False
    require_same(model, example, path, what="ONNX file")
    return True

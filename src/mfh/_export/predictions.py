"""Predict new samples with an export: read them, compute scores, write a table."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mfh._checks import InputError, listing, one_line, require
from mfh._export.deployed import PROBABILITIES, SIGMOID, SOFTMAX
from mfh._export.files import ONNX, STUDENT, load_export, missing_for_onnx, onnx_scores, read_info
from mfh._system.files import write_npz, write_text
from mfh.results import read_arrays

BATCH = 1024
"""Samples whose scores are computed at once."""
NOT_FEATURES = ("id", "label", "group", "split", "fold", "time")
"""Columns of a table that are no features, unless the export names them."""


def predict_file(folder: Path | str, data: Path | str, out: Path | str) -> Path:
    """Predict the samples in a file with an export, and write the predictions.

    Args:
        folder: folder that `mfh export` wrote.
        data: a CSV with one column for each value of a sample, or an npz with an array named like the
            modality, or with one array of its shape. `id` names the samples.
        out: a CSV, or an npz (for dense predictions): `id`, `prediction` and, for classes, a probability for
            each; for several labels and numbers, one column for each.

    Returns:
        Path of what was written.

    Raises:
        InputError: the folder is no export, or the file has no values of the shape that the student takes.
    """
    folder, out = Path(folder), Path(out)
    info = read_export_info(folder)
    require(out.suffix in (".csv", ".npz"), f"`out` must end in .csv or .npz. Got {out.name}.")
    require(
        info["task"] != "dense" or out.suffix == ".npz",
        f"`out` must end in .npz for the task dense, which has a class for every position. Got {out.name}.",
    )
    ids, values = read_new(Path(data), info[STUDENT])
    scores = compute_scores(folder, info, values)
    if out.suffix == ".npz":
        return write_npz(out, {"id": ids, **_arrays(info, scores)})
    return write_text(out, _table(info, ids, scores))


def read_export_info(folder: Path) -> dict[str, Any]:
    """Return the content of `export.json`.

    Raises:
        InputError: the folder is no export, or a file of it is damaged.
    """
    try:
        return read_info(folder)
    except FileNotFoundError as error:
        raise InputError(
            f"`{error.filename}` does not exist. Name a folder that `mfh export` wrote."
        ) from None


def read_new(path: Path, student: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and values of new samples, as an exported student takes them.

    Args:
        path: see `predict_file`.
        student: `modality`, `shape`, `dtype`, `network` and, if the export names them, `columns`.

    Raises:
        InputError: the file cannot be read, or has no such values; or one of them is no finite number.
    """
    require(path.suffix in (".csv", ".npz"), f"`data` must be a .csv or .npz file. Got {path.name}.")
    ids, values = (_of_table if path.suffix == ".csv" else _of_arrays)(path, student)
    shape = tuple(student["shape"])
    require(
        values.shape[1:] == shape,
        f"`data` {path} must have samples of the shape {shape}. Got {values.shape[1:]}.",
    )
    made_of = student["network"] or {}
    fills = made_of.get("fills") or (made_of.get("prepared") or {}).get("fills")
    flat = values.reshape(len(values), -1)
    wrong = np.isinf(flat) if fills else ~np.isfinite(flat)
    bad = ids[wrong.any(axis=1)]
    require(
        len(bad) == 0,
        f"`data` {path} must have finite numbers. Sample `{bad[0] if len(bad) else ''}` has a value that is "
        "missing, NaN or infinite.",
    )
    return ids, values.astype(student["dtype"])


def _of_arrays(path: Path, student: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    arrays, name = read_arrays(path), str(student["modality"])
    if name not in arrays:
        shape = tuple(student["shape"])
        fitting = [n for n, a in arrays.items() if a.dtype.kind in "fiub" and a.shape[1:] == shape]
        require(
            len(fitting) == 1,
            f"`data` {path} must have an array `{name}`, or one array with samples of the shape {shape}. It "
            f"has {listing(arrays)}.",
        )
        name = fitting[0]
    values = arrays[name]
    require(
        values.ndim > 0 and values.dtype.kind in "fiub",
        f"`{name}` in {path} must have numbers, one row for each sample. Got {values.dtype}.",
    )
    ids = arrays.get("id", np.arange(len(values)))
    require(
        ids.shape == (len(values),),
        f"`id` in {path} must have one name for each of {len(values)} samples. Got shape {ids.shape}.",
    )
    return ids.astype(str), values


def _of_table(path: Path, student: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = pd.read_csv(path, dtype={"id": str}, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"`data` {path} cannot be read as a CSV: {one_line(error)}.") from error
    table = table.set_axis([str(name) for name in table.columns], axis="columns")
    named = student.get("columns")
    names = _columns(list(table.columns), student, path) if named is None else list(named)
    values = np.stack([_feature(table, name, path) for name in names], axis=1)
    ids = table["id"].to_numpy(dtype=str) if "id" in table else np.arange(len(table)).astype(str)
    return ids, values.reshape(-1, *student["shape"])


def _feature(table: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    """Return one value of every sample: a column, `column=category` or `column missing`."""
    if name not in table:
        column, is_category, category = name.partition("=")
        while is_category and column not in table and "=" in category:  # a column's name may have the sign
            more, _, category = category.partition("=")
            column = f"{column}={more}"
        if is_category and column in table:
            found = table[column]
            return np.asarray((found.astype(str) == category) & found.notna(), dtype=np.float64)
        column = name.removesuffix(" missing")
        require(
            column != name and column in table,
            f"`data` {path} must have the columns of the input. It lacks `{column}`.",
        )
        return np.asarray(table[column].isna(), dtype=np.float64)
    require(
        table[name].dtype.kind in "fiub",
        f"`data` {path} must have numbers in the column `{name}`. It has text.",
    )
    return table[name].to_numpy(dtype=np.float64)


def _columns(found: Sequence[str], student: Mapping[str, Any], path: Path) -> list[str]:
    """Return the columns that are the input, in their order.

    They are those whose names begin with the modality's, if their number fits; else all that `NOT_FEATURES`
    does not name.
    """
    size, modality = math.prod(student["shape"]), str(student["modality"])
    ways = (
        [name for name in found if name.startswith(modality)],
        [name for name in found if name.lower() not in NOT_FEATURES],
    )
    fitting = next((names for names in ways if len(names) == size), None)
    if fitting is None:
        raise InputError(
            f"`data` {path} must have {size} columns for `{modality}`, named like it, or {size} columns "
            f"besides {listing(NOT_FEATURES)}. It has {len(ways[0])} and {len(ways[1])}."
        )
    return fitting


def compute_scores(folder: Path, info: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    """Return the scores of an export for new samples, (sample, output, *position).

    The network is used if its class can be imported; else the ONNX file.
    """
    require(len(values) > 0, "`data` must have one sample or more. Got none.")
    parts = range(0, len(values), BATCH)
    if info[STUDENT]["network"] is None:
        require(
            (folder / ONNX).exists() and not missing_for_onnx(),
            f"The student's network has no import path, and there is no {ONNX} or no onnxruntime: install "
            "'mfh[onnx]', and export again if the file is missing.",
        )
        return np.concatenate([onnx_scores(folder / ONNX, values[at : at + BATCH]) for at in parts])
    student = load_export(folder, imports=True).student
    with torch.no_grad():
        return np.concatenate([student(torch.from_numpy(values[at : at + BATCH])).numpy() for at in parts])


def _arrays(info: Mapping[str, Any], scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return predictions, and probabilities if there are any, in full."""
    kind, values = PROBABILITIES[info["task"]], torch.from_numpy(scores)
    if kind == SOFTMAX:
        chosen = scores.argmax(axis=1)
        if "threshold" in info:
            place = info["threshold"]["index"]
            positive = scores[:, place] - scores[:, 1 - place] >= info["threshold"]["margin"]
            chosen = np.where(positive, place, 1 - place)
        return {"prediction": chosen, "probability": values.softmax(dim=1).numpy()}
    if kind == SIGMOID:
        return {"prediction": scores > 0, "probability": values.sigmoid().numpy()}
    return {"prediction": scores}


def _table(info: Mapping[str, Any], ids: np.ndarray, scores: np.ndarray) -> str:
    """Return predictions as the text of a CSV."""
    arrays, names = _arrays(info, scores), list(info["class_names"])
    head, rows = ["id"], [[name] for name in ids.tolist()]
    if info["task"] == "single-label":
        head.append("prediction")
        rows = [[*row, names[k]] for row, k in zip(rows, arrays["prediction"], strict=True)]
    else:
        head += names
        shown = arrays["prediction"]
        shown = shown.astype(int) if shown.dtype == bool else shown
        rows = [[*row, *map(str, found)] for row, found in zip(rows, shown.tolist(), strict=True)]
    if "probability" in arrays:
        head += [f"p({name})" for name in names]
        found = arrays["probability"]
        rows = [[*row, *(f"{p:.6g}" for p in line)] for row, line in zip(rows, found.tolist(), strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()

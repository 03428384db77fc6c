"""Whole commands, from the shell to the report.

`study_mfeat` is `mfh study` with 10 seeds, 3 ratios, all arms and controls on arrays of the shapes of UCI's
digits (2,000 samples, 240 and 47 inputs, 10 classes). The baseline is the same command whose networks are
trained one by one by the loop, one seed of it, scaled in what is not start-up.

`ravdess_elsewhere` and `vggsound_elsewhere` look where a training command spends its time
(`benchmarks/_where.py`), imports left out. The baseline is network, decoding and what makes inputs of what
was decoded, ours the rest: a ratio of 19 is 5%. What a run pays once (checkpoints, checksums, fingerprints,
the report) is told from the rest by a shorter run, and noted in seconds. RAVDESS: `mfh ravdess train` at full
size (40 x 256, 3 x 256 x 512, 104 clips; the joint pair, a regular teacher and a student; 3 epochs).
VGGSound: `mfh vggsound pretrain` of the video network at a quarter of its width on 20 clips of 16 x 96 x 96,
decoded as needed, 16 epochs. The clips are generated. `--check` leaves these two out.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _common, ravdess, vggsound
from benchmarks._common import record
from mfh import PairedDataset

SEEDS = 10


def run() -> None:
    """Time the study, then look where the other two spend their time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _study(folder)
        if not _common.FULL:
            return
        ravdess._write(folder / "ravdess")
        words = ["ravdess", "train", "--data", folder / "ravdess"]
        _elsewhere("ravdess_elsewhere", words, folder, (1, 3))
        index = vggsound._write(folder / "clips", 24, seconds=3, height=128, width=160)
        vggsound._prepare(index, folder / "vggsound")
        words = ["vggsound", "pretrain", "--data", folder / "vggsound", "--modality", "video"]
        words += ["--width", "16", "--frames", "16", "--size", "96", "--batch-size", "8"]
        _elsewhere("vggsound_elsewhere", words, folder, (4, 16))


def digits() -> PairedDataset:
    """Arrays of the shapes of UCI's digits, in two views."""
    rng = np.random.default_rng(0)
    label = np.arange(2000) % 10
    views = {
        name: rng.normal(size=(10, width))[label] + 2 * rng.normal(size=(2000, width))
        for name, width in (("pix", 240), ("zer", 47))
    }
    return PairedDataset.from_arrays(views, label=label)


def _study(folder: Path) -> None:
    data = digits()
    views = {name: data.inputs(name, slice(None)).numpy() for name in data.modalities}
    np.savez(folder / "digits.npz", label=data.label.numpy(), **views)
    command = ["study", "--data", folder / "digits.npz", "--teacher", "pix", "--student", "zer"]
    command += ["--ratio", "0.25", "0.5", "0.75", "--quiet"]
    ours = _seconds(*command, "--seeds", SEEDS, "--out", folder / "ours")
    plain = _seconds(*command, "--seeds", 1, "--engine", "loop", "--out", folder / "plain")
    kept, alone = (_results(folder / name) for name in ("ours", "plain"))
    training = alone["timings"]["total"]
    record(
        "study_mfeat",
        plain + (SEEDS - 1) * training,
        ours,
        seeds=SEEDS,
        students=len(kept["records"]),
        ours_by_stage=kept["timings"],
        baseline_of_one_seed=plain,
        baseline_scaled_to=SEEDS,
    )
    print(f"study_mfeat: {ours:.1f} s, {kept['timings']['total']:.1f} of them in teachers and students")


def _results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def _seconds(*arguments: object) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-m", "mfh", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _elsewhere(name: str, words: Sequence[object], folder: Path, epochs: tuple[int, int]) -> None:
    few, many = (_where(*words, "--out", folder / f"{name}-{n}", "--epochs", n) for n in epochs)
    used, rest = many["used"], many["rest"]
    later = rest - few["rest"]  # of the further epochs alone
    once = few["rest"] - later * epochs[0] / (epochs[1] - epochs[0])
    further = later / (later + used - few["used"])
    record(
        name, used, rest, seconds_once=once, share_of_further_epochs=further, epochs=epochs, runs=[few, many]
    )
    print(
        f"{name}: {rest / (used + rest):.1%} of {used + rest:.1f} s are neither network nor decoding nor "
        f"inputs, {once:.1f} s of them once; {further:.1%} of further epochs"
    )


def _where(*words: object) -> dict[str, Any]:
    """Seconds of a command by what it did."""
    command = [sys.executable, "-m", "benchmarks._where", *map(str, words), "--device", "cpu"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    spent = {kind: found["seconds"] * share for kind, share in found["share"].items()}
    used = sum(spent.get(kind, 0.0) for kind in ("network", "decode", "inputs"))
    return {"used": used, "rest": spent.get("else", 0.0), "by_kind": spent, **found}

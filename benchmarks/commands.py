"""Whole commands, from the shell to the report.

`study_mfeat` is `mfh study` with 10 seeds, 3 ratios, all arms and controls on arrays of the shapes of UCI's
digits (2,000 samples, 240 and 47 inputs, 10 classes). The baseline is the same command whose networks are
trained one by one by the loop, one seed of it, scaled in what is not start-up.

`ravdess_elsewhere` and `vggsound_elsewhere` are the share of a training command that is neither network nor
decoding (`benchmarks/_where.py`), imports left out: the baseline is network and decoding, ours the rest, so a
ratio of 19 is 5%. RAVDESS: `mfh ravdess train` at full size (40 x 256, 3 x 256 x 512, 104 clips, one epoch of
the joint pair, a regular teacher and a student). VGGSound: `mfh vggsound pretrain` of the video network at a
quarter of its width on 20 clips of 16 x 96 x 96, decoded as needed. The clips are generated.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import ravdess, vggsound
from benchmarks._common import record
from mfh import PairedDataset

SEEDS = 10


def run() -> None:
    """Time the study, then look where the other two spend their time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _study(folder)
        ravdess._write(folder / "ravdess")
        _elsewhere(
            "ravdess_elsewhere", "ravdess", "train", "--data", folder / "ravdess", "--out", folder / "one",
            "--epochs", "1", "--device", "cpu",
        )  # fmt: skip
        index = vggsound._write(folder / "clips", 24, seconds=3, height=128, width=160)
        vggsound._prepare(index, folder / "vggsound")
        _elsewhere(
            "vggsound_elsewhere", "vggsound", "pretrain", "--data", folder / "vggsound",
            "--out", folder / "two", "--modality", "video", "--width", "16", "--frames", "16",
            "--size", "96", "--batch-size", "8", "--epochs", "6", "--device", "cpu",
        )  # fmt: skip


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


def _elsewhere(name: str, *arguments: object) -> None:
    command = [sys.executable, "-m", "benchmarks._where", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    share, seconds = found["share"], found["seconds"]
    used = seconds * (share.get("network", 0.0) + share.get("decode", 0.0))
    rest = seconds * share.get("else", 0.0)
    record(name, used, rest, share=share, elsewhere=rest / (used + rest), by_function=found["else"])
    print(
        f"{name}: {100 * rest / (used + rest):.1f}% of {used + rest:.1f} s are neither network nor decoding"
    )

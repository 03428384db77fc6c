"""Commands that are interrupted at random moments and repeated, and how they end."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from clips import make_videos
from kills import BASE, DECODING, Case, Command, End, Runner, content, paired_npz
from kills import CASES as KILLED
from safetensors.numpy import save_file

SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
TOLD = "mfh: stopped. "
LEFT = (".partial", ".lock")


def problems(end: End, number: int, out: Path) -> list[str]:
    """What is wrong with how a command ended after a signal; nothing where it came too late."""
    if end.status == 0:
        return []
    found = []
    if end.status != STATUS[signal.Signals(number)]:
        found.append(f"its status is {end.status}")
    lines = [line for line in end.told.splitlines() if line.startswith(TOLD)]
    if len(lines) != 1 or "repeat the command" not in lines[0]:
        found.append(f"it says {lines}")
    if "Traceback" in end.told or "Exception ignored" in end.told:
        found.append(f"a traceback: {end.told[-3000:]}")
    return found + [f"{path} is left" for path in sorted(out.parent.rglob("*")) if path.name.endswith(LEFT)]


def interrupts(
    case: Case, folder: Path, count: int, *, seed: int, chain: int = 5
) -> Iterator[dict[str, Any]]:
    """Interrupt `count` times at moments drawn uniformly over an undisturbed run; yields each end of a chain.

    A folder is interrupted up to `chain` times, then the command is repeated to its end. Ctrl-C reaches the
    whole process group, SIGTERM now that and now the command alone.
    """
    runner = Runner(case, folder, seed=seed)
    try:
        runner.finish(folder / "first" / "out")  # fills the caches of compiled code and of the inputs
        seconds = runner.finish(folder / "undisturbed" / "out")
        wanted = content(folder / "undisturbed")
        generator, done, number = np.random.default_rng(seed), 0, 0
        while done < count:
            out = folder / f"place-{number}" / "out"
            told: dict[str, Any] = {"signals": [], "seconds": [], "late": 0, "problems": []}
            for _ in range(min(chain, count - done)):
                name, group = str(generator.choice(list(SIGNALS))), bool(generator.integers(2))
                moment = float(generator.uniform(0, seconds))
                end = runner.send(SIGNALS[name], out, moment, group=group or name == "SIGINT")
                if end.sent:
                    done += 1
                    told["signals"].append(f"{name} {moment:.2f}{' group' * group}")
                    told["seconds"].append([round(end.seconds, 2), round(end.busy, 2)])
                    told["problems"] += [
                        f"{told['signals'][-1]}: {p}" for p in problems(end, SIGNALS[name], out)
                    ]
                elif end.status != 0:
                    told["problems"].append(f"failed: {end.told[-3000:]}")
                if end.status == 0:
                    told["late"] += end.sent
                    break
            runner.finish(out)
            found = content(out.parent)
            differing = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n, 0) != found.get(n, 0))
            yield told | {
                "of": round(seconds, 2),
                "startup": round(runner.startup, 2),
                "differing": differing,
            }
            number += 1
    finally:
        runner.close()


# --- the commands


def _first(name: str, number: int = 0) -> Callable[[Path, Path], list[Command]]:
    """One of the commands that are killed, alone."""
    return lambda inputs, out: [KILLED[name].commands(inputs, out)[number]]


def _more(name: str, *options: str) -> Callable[[Path, Path], list[Command]]:
    return lambda inputs, out: [[*KILLED[name].commands(inputs, out)[0], *options]]


def _diagnose(inputs: Path, out: Path) -> list[Command]:
    data = [
        "--data",
        str(inputs / "data.npz"),
        "--teacher",
        "lidar",
        "--student",
        "camera",
        "--device",
        "cpu",
    ]
    few = ["--seeds", "2", "--folds", "3", "--epochs", "10", "--hidden", "8", "--num-bootstrap", "50"]
    return [["diagnose", *data, *few, "--out", str(out), "--quiet"]]


def features(folder: Path) -> None:
    """200,000 samples of 16 channels, which take several parts."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200_000, 16)).astype(np.float32)
    np.save(folder / "h.npy", rows)
    np.save(folder / "s.npy", rows[:, :3] + 1)
    head = {"weight": rng.normal(size=(3, 16)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    save_file(head, folder / "head.safetensors")


def _saliency(*options: str) -> Callable[[Path, Path], list[Command]]:
    def commands(inputs: Path, out: Path) -> list[Command]:
        files = ["--features", str(inputs / "h.npy"), "--student-logits", str(inputs / "s.npy")]
        head = ["--head", str(inputs / "head.safetensors"), "--out", str(out.with_suffix(".npz"))]
        return [["saliency", *files, *head, *options, "--quiet"]]

    return commands


def vggsound(inputs: Path) -> None:
    """Clips of two classes, and the folder of what they become."""
    from mfh.data.sources.vggsound.prepare import prepare

    csv = make_videos(inputs, [f"class {i % 2}" for i in range(16)])
    prepare(csv, inputs / "clips", inputs / "prepared", frames=6, size=(16, 20), jobs=0, progress=False)


def _pretrain(inputs: Path, out: Path) -> list[Command]:
    places = ["--modality", "audio", "--data", str(inputs / "prepared"), "--out", str(out), "--quiet"]
    small = ["--width", "2", "--epochs", "3", "--batch-size", "5", "--frames", "6", "--device", "cpu"]
    return [["vggsound", "pretrain", *places, *small]]


RANKING = (*BASE, "joblib", "mfh._saliency.streaming", "mfh.commands.saliency")


def _trained(inputs: Path) -> None:
    """Prepared clips, and the folder of a trained teacher, which a student is distilled from."""
    from mfh.cli import main

    vggsound(inputs)
    assert main(_pretrain(inputs, inputs / "teacher")[0]) == 0


def _distill(inputs: Path, out: Path) -> list[Command]:
    places = ["--data", str(inputs / "prepared"), "--out", str(out), "--quiet", "--mode", "regular"]
    weights = inputs / "teacher" / "checkpoints" / "seed-0000" / "teacher-regular.safetensors"
    teacher = ["--audio-checkpoint", str(weights)]
    small = ["--width", "2", "--epochs", "3", "--batch-size", "5", "--frames", "6", "--device", "cpu"]
    return [["vggsound", "distill", *places, *teacher, *small, "--seeds", "2"]]


CASES = {
    "study": Case(KILLED["study"].commands, paired_npz),
    "study with jobs": Case(_more("study", "--jobs", "2"), paired_npz),
    "study of large networks": Case(KILLED["study of large networks"].commands, paired_npz),
    "diagnose": Case(_diagnose, paired_npz),
    "saliency": Case(_saliency(), features, modules=RANKING),
    "saliency with jobs": Case(_saliency("--jobs", "2"), features, modules=RANKING),
    "ravdess train": Case(_first("ravdess"), KILLED["ravdess"].inputs),
    "ravdess prepare": Case(
        _more("ravdess prepare", "--jobs", "2"), KILLED["ravdess prepare"].inputs, modules=DECODING
    ),
    "vggsound prepare": Case(
        _more("vggsound prepare", "--jobs", "1"), KILLED["vggsound prepare"].inputs, modules=DECODING
    ),
    "vggsound prepare into tars": Case(
        _first("vggsound prepare", 1), KILLED["vggsound prepare"].inputs, modules=DECODING
    ),
    "vggsound pretrain": Case(_pretrain, vggsound),
    "vggsound distill": Case(_distill, _trained),
}


if __name__ == "__main__":  # python tests/helpers/interrupts.py FOLDER COUNT CASE...
    for name in sys.argv[3:] or CASES:
        place = Path(sys.argv[1]) / name.replace(" ", "-")
        place.mkdir(parents=True)
        total: dict[str, Any] = {
            "signals": 0,
            "late": 0,
            "ends": 0,
            "slowest": [0.0, 0.0],
            "problems": [],
            "differing": [],
        }
        for end in interrupts(CASES[name], place, int(sys.argv[2]), seed=0):
            total["signals"] += len(end["signals"])
            total["late"] += end["late"]
            total["ends"] += 1
            total["slowest"] = max([total["slowest"], *end["seconds"]])
            total["problems"] += end["problems"]
            total["differing"] += end["differing"]
            sys.stdout.write(f"{name} {end}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{name} {total}\n")

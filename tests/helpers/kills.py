"""Commands that are killed at random moments and repeated, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from clips import make_clips, make_videos
from safetensors.torch import load

Command = Sequence[str]
TIMES = ("timings", "seconds", "started", "updated", "command")
START = """
import json, os, sys
sys.path.insert(0, {here!r})
from mfh.cli import main
def run(commands, often):
    if often:  # a checkpoint after every step, and so a kill between any two of them
        from mfh.training.loop import fit
        fit.__kwdefaults__["save_every"] = 0.0
    from mfh._report import write_report  # of three formats one, or most kills would meet a figure
    write_report.__kwdefaults__["formats"] = ("svg",)
    for words in commands:
        if status := main(words):
            return status
    return 0
"""
WHOLE = (
    START
    + """
if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1]), {often}))
"""
)
FORKED = (
    START
    + """
import glob, signal, time, traceback
from kills import heeds, spent as cpu
def child(commands, notes):
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if notes:
        os.dup2(os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        status = run(commands, {often})
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stderr.flush()
    os._exit(status)
def serve():
    sys.stdout.write(f"{{cpu(os.getpid())}}\\n"); sys.stdout.flush()
    for line in sys.stdin:
        commands, moment, jitter, number, group, notes = json.loads(line)
        pid = os.fork()
        if not pid:
            child(commands, notes)
        sent, used, seconds, busy = False, 0.0, 0.0, 0.0
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            used = cpu(pid)
            there = glob.glob(moment) if isinstance(moment, str) else moment is not None and used >= moment
            if there and (number == signal.SIGKILL or heeds(pid)):
                time.sleep(jitter)
                sent, start = True, time.monotonic()
                (os.killpg if group else os.kill)(pid, number)
                _, status, usage = os.wait4(pid, 0)
                seconds, busy = time.monotonic() - start, usage.ru_utime + usage.ru_stime - used
                break
            time.sleep(0.005)
        sys.stdout.write(json.dumps([sent, os.waitstatus_to_exitcode(status), used, seconds, busy]) + "\\n")
        sys.stdout.flush()
if __name__ == "__main__":  # not in workers, which import this
    import importlib
    for module in {modules!r}:
        importlib.import_module(module)
    serve()
"""
)


BASE = ("numpy", "scipy.stats", "pandas", "torch", "tqdm.auto", "mfh")
TRAINING = (
    *(*BASE, "accelerate", "matplotlib.pyplot", "jinja2", "joblib", "mfh._report.render"),
    *("mfh._study.experiment", "mfh.experiments.ravdess"),
)
DECODING = (*BASE, "av", "PIL.Image", "mfh.data.media_video", "mfh.data.sources.ravdess.prepare")
DECODING = (*DECODING, "mfh.data.sources.vggsound.prepare", "soundfile", "librosa")


@dataclass(frozen=True)
class Case:
    """Commands of one process, one after the other.

    Attributes:
        commands: from the folder of the inputs and that of the output to the commands' words.
        inputs: makes the inputs in a folder.
        often: whether a training writes a checkpoint after every step.
        modules: that it imports.
    """

    commands: Callable[[Path, Path], list[Command]]
    inputs: Callable[[Path], object]
    often: bool = False
    modules: Sequence[str] = TRAINING


@dataclass(frozen=True)
class End:
    """How a run ended.

    Attributes:
        sent: whether a signal was sent to it.
        status: of its exit; minus the number of a signal that ended it.
        used: seconds of processor time until the signal, or in all.
        seconds: from the signal to the end.
        busy: seconds of processor time from the signal to the end.
        told: what stands on stderr.
    """

    sent: bool
    status: int
    used: float
    seconds: float
    busy: float
    told: str


class Runner:
    """Runs a case's commands, each time in a process and process group of its own.

    Processes are forked from one that has imported everything, so that a run costs no start-up; a moment that
    lies within the start-up is tried with a whole process instead. Time is that of the processor: on a busy
    machine too a moment lies where it was drawn.
    """

    def __init__(self, case: Case, folder: Path, *, seed: int = 0) -> None:
        self.case, self.inputs, self.folder = case, folder / "inputs", folder
        self.notes, self.jitter = folder / "notes.txt", np.random.default_rng([seed, 1])
        self.inputs.mkdir()
        case.inputs(self.inputs)
        self.environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        self.errors = (folder / "errors.txt").open("w")
        self.whole, forked = (folder / f"{name}.py" for name in ("whole", "forked"))
        here = str(Path(__file__).parent)
        self.whole.write_text(WHOLE.format(here=here, often=case.often))
        forked.write_text(FORKED.format(here=here, often=case.often, modules=list(case.modules)))
        self.server = subprocess.Popen(
            [sys.executable, str(forked)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            text=True, env=self.environment, cwd=folder,
        )  # fmt: skip
        self.startup = float(self._answer())

    def close(self) -> None:
        """End the process that forks."""
        self.server.communicate()
        self.errors.close()

    def _answer(self) -> str:
        assert self.server.stdout is not None
        answer = self.server.stdout.readline()
        assert answer, (self.folder / "errors.txt").read_text()[-4000:]
        return answer

    def _ask(self, out: Path, moment: float | str | None, *, end: int, group: bool) -> End:
        assert self.server.stdin is not None
        jitter = float(self.jitter.uniform(0, 0.03))
        question = [self.case.commands(self.inputs, out), moment, jitter, end, group, str(self.notes)]
        self.server.stdin.write(json.dumps(question) + "\n")
        self.server.stdin.flush()
        return End(*json.loads(self._answer()), self.notes.read_text())

    def finish(self, out: Path) -> float:
        """Run to the end; returns the seconds of processor time that it took, with the start-up."""
        end = self._ask(out, None, end=0, group=False)
        assert end.status == 0, end.told[-4000:]
        return self.startup + end.used

    def send(self, number: int, out: Path, moment: float | str, *, group: bool = True) -> End:
        """Send a signal to the process or its whole group.

        Args:
            number: of the signal.
            out: folder of the output.
            moment: seconds of processor time, or a pattern of the file beside or in `out` that is awaited.
            group: whether all processes of the command get it.
        """
        if isinstance(moment, str):
            return self._ask(out, str(out.parent / moment), end=number, group=group)
        if moment >= self.startup:
            return self._ask(out, moment - self.startup, end=number, group=group)
        commands = self.case.commands(self.inputs, out)
        words = [sys.executable, str(self.whole), json.dumps(commands)]
        if number != signal.SIGKILL:  # as it is called, for what happens before the first import
            words = [sys.executable, "-m", "mfh", *commands[0]]
        with self.notes.open("w") as notes:
            process = subprocess.Popen(
                words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=notes, cwd=self.folder,
                env=self.environment, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip
        while (used := spent(process.pid)) < moment or (number != signal.SIGKILL and not heeds(process.pid)):
            time.sleep(0.005)
            if (ended := process.poll()) is not None:
                return End(False, ended, used, 0.0, 0.0, self.notes.read_text())
        start = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        _, code, usage = os.wait4(process.pid, 0)
        seconds, busy = time.monotonic() - start, usage.ru_utime + usage.ru_stime - used
        process.returncode = os.waitstatus_to_exitcode(code)
        return End(True, process.returncode, used, seconds, busy, self.notes.read_text())

    def kill(self, out: Path, moment: float) -> bool:
        """Kill a run after so many seconds of processor time; whether it was still running."""
        end = self.send(signal.SIGKILL, out, moment)
        assert end.status in (0, -signal.SIGKILL), end.told[-4000:]
        return end.status != 0


def spent(pid: int) -> float:
    """Processor time of a process and its children, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in task.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(spent, children))


def heeds(pid: int) -> bool:
    """Whether a process has set what happens at SIGTERM, or has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return True
    if any(line.startswith("State:\tZ") for line in lines):
        return True
    mask = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(mask, 16) & 1 << signal.SIGTERM - 1)


def content(folder: Path) -> dict[str, Any]:
    """Everything in a folder but times: file -> what it holds."""
    return {
        str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.suffix == ".html":
        return None  # it shows times
    if path.suffix == ".safetensors":
        return {name: value.numpy().tobytes() for name, value in load(path.read_bytes()).items()}
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files if not name.startswith("mfh_")}
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    """JSON without times, and without the checksums that times change."""
    if isinstance(value, dict):
        return {n: _timeless(v) for n, v in value.items() if n not in (*TIMES, "checksum", "files")}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def kills(case: Case, folder: Path, count: int, *, seed: int, chain: int = 5) -> Iterator[dict[str, Any]]:
    """Kill `count` times at moments drawn uniformly over an undisturbed run; yields each end of a chain.

    A folder is killed up to `chain` times, then the command is repeated to its end.
    """
    runner = Runner(case, folder, seed=seed)
    try:
        runner.finish(folder / "first")  # fills the caches of compiled code and of the inputs
        seconds = runner.finish(folder / "undisturbed")
        wanted = content(folder / "undisturbed")
        generator, done, number = np.random.default_rng(seed), 0, 0
        while done < count:
            out = folder / f"out-{number}"
            moments = []
            for _ in range(min(chain, count - done)):
                moment = float(generator.uniform(0, seconds))
                if not runner.kill(out, moment):
                    break
                moments.append(round(moment, 2))
                done += 1
            runner.finish(out)
            found = content(out)
            differing = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n, 0) != found.get(n, 0))
            told = {
                "kills": len(moments),
                "moments": moments,
                "of": round(seconds, 2),
                "differing": differing,
            }
            yield told | {"startup": round(runner.startup, 2)}
            number += 1
    finally:
        runner.close()


# --- the commands


def paired_npz(folder: Path, width: int = 12) -> Path:
    """150 samples of two classes in three modalities, of which `wide` is too long for a small network."""
    rng = np.random.default_rng(0)
    label = np.arange(150) % 2
    shared = label[:, None] + rng.normal(size=(150, 6))
    noise = rng.normal(size=(150, 2100))
    noise[:, :6] = shared
    arrays = {"lidar": np.hstack([shared, rng.normal(size=(150, width - 6))]), "camera": shared[:, :5]}
    np.savez(folder / "data.npz", **arrays, wide=noise, label=label)
    return folder / "data.npz"


def _study(teacher: str, *options: str) -> Callable[[Path, Path], list[Command]]:
    def commands(inputs: Path, out: Path) -> list[Command]:
        data = ["--data", str(inputs / "data.npz"), "--teacher", teacher, "--student", "camera"]
        few = [
            "--resampling",
            "splits",
            "--seeds",
            "3",
            "--epochs",
            "20",
            "--ratio",
            "0.5",
            "--random-draws",
            "1",
            "--hidden",
            "8",
        ]
        return [["study", *data, *few, "--smoothing", "0.1", *options, "--out", str(out), "--quiet"]]

    return commands


def _clips(inputs: Path) -> None:
    make_clips(inputs / "raw")


def _prepared(inputs: Path) -> None:
    from clips import prepare_small

    _clips(inputs)
    prepare_small(inputs / "raw", inputs / "prepared", height=64, width=128, audio_frames=64)


def _ravdess(inputs: Path, out: Path) -> list[Command]:
    places = ["--data", str(inputs / "prepared"), "--out", str(out), "--quiet"]
    small = ["--width", "2", "--epochs", "2", "--batch-size", "8"]
    return [
        ["ravdess", "train", *places, *small],
        ["ravdess", "saliency", *places],
        ["ravdess", "verify", *places, "--mode", "general", "--seeds", "2"],
    ]


def _ravdess_prepare(inputs: Path, out: Path) -> list[Command]:
    small = ["--height", "32", "--width", "64", "--audio-frames", "16", "--seconds", "0.75"]
    places = ["--raw", str(inputs / "raw"), "--out", str(out), "--quiet"]
    return [["ravdess", "prepare", *places, *small, "--jobs", "0"]]


def _videos(inputs: Path) -> None:
    make_videos(inputs, [f"class {i % 3}" for i in range(30)])


def _vggsound_prepare(inputs: Path, out: Path) -> list[Command]:
    places = ["--csv", str(inputs / "clips.csv"), "--clips", str(inputs / "clips"), "--quiet"]
    small = ["--frames", "6", "--size", "16", "20", "--jobs", "0"]
    return [
        ["vggsound", "prepare", *places, *small, "--out", str(out / "folders")],
        ["vggsound", "prepare", *places, *small, "--out", str(out / "tars"), "--shards", "0.05"],
    ]


CASES = {
    "study": Case(_study("lidar"), paired_npz),
    "study of large networks": Case(_study("wide", "--epochs", "2"), paired_npz, often=True),
    "ravdess": Case(_ravdess, _prepared, often=True),
    "ravdess prepare": Case(_ravdess_prepare, _clips, modules=DECODING),
    "vggsound prepare": Case(_vggsound_prepare, _videos, modules=DECODING),
}


if __name__ == "__main__":  # python tests/helpers/kills.py FOLDER COUNT CASE...
    for name in sys.argv[3:]:
        place = Path(sys.argv[1]) / name.replace(" ", "-")
        place.mkdir(parents=True)
        total: dict[str, Any] = {"kills": 0, "ends": 0, "differing": []}
        for end in kills(CASES[name], place, int(sys.argv[2]), seed=0):
            total["kills"] += end["kills"]
            total["ends"] += 1
            total["differing"] += end["differing"]
            sys.stdout.write(f"{name} {end}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{name} {total}\n")

"""A payload of pickle never runs, wherever a path is taken: each is refused in one line."""

import itertools
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from clips import make_clips, make_videos, prepare_small
from payloads import Payload, payloads
from torch import nn

import mfh
from mfh._checks import InputError
from mfh._saliency.result import SaliencyResult
from mfh._saliency.streaming import read_head, streaming_saliency
from mfh._system.files import read_arrays, read_json, read_npy
from mfh.cli import build_parser, main
from mfh.data.sources import avmnist, mfeat
from mfh.data.sources.ravdess import reader as ravdess
from mfh.data.sources.vggsound import reader as vggsound
from mfh.data.sources.vggsound import stream as vggsound_stream
from mfh.experiments._steps.supplied import read_vector
from mfh.models.weights import read_state

STUDY = [
    "--teacher",
    "a",
    "--student",
    "b",
    "--resampling",
    "splits",
    "--seeds",
    "1",
    "--epochs",
    "1",
    "--hidden",
    "4",
    "--ratio",
    "0.5",
]
STUDY += ["--random-draws", "1", "--device", "cpu"]
SMALL = ["--width", "2", "--epochs", "1", "--batch-size", "16", "--device", "cpu"]
WRITTEN = {  # options that name what is written
    ("layers", "--out"), ("diagnose", "--out"), ("export", "--to"), ("predict", "--out"),
    ("report", "--out"),
    ("report", "--figures"),
    ("report", "--tables"), ("saliency", "--out"), ("data", "--out"), ("gaussian", "--out"),
    ("ravdess download", "--out"), ("ravdess prepare", "--out"), ("vggsound prepare", "--out"),
    ("avmnist prepare", "--out"),
}  # fmt: skip
SAME = {"pretrain": "train", "distill": "verify"}  # steps with two names


def path_options() -> Iterator[tuple[str, str]]:
    """Every option of every command that names a file or a folder."""

    def walk(parser: Any, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        steps = getattr(parser, "_subcommands_action", None)
        if steps is not None:
            for name, sub in steps.choices.items():
                yield from walk(sub, (*words, name))
            return
        for action in parser._actions:
            shown = str(action.metavar)
            if any(word in shown for word in ("FILE", "DIR", "PATH", "TARS")):
                option = action.option_strings[-1] if action.option_strings else action.dest
                yield " ".join(words), option

    return walk(build_parser(), ())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with its data, and files of saliency."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    views = {"a": rng.normal(size=(60, 4)) + label[:, None], "b": rng.normal(size=(60, 3)) + label[:, None]}
    np.savez(folder / "data.npz", label=label, **views)
    study = ["study", "--data", str(folder / "data.npz"), "--out", str(folder / "out"), *STUDY, "--quiet"]
    assert main(study) == 0
    np.save(folder / "h.npy", rng.normal(size=(60, 4)))
    np.save(folder / "s.npy", rng.normal(size=(60, 2)))
    safetensors.numpy.save_file({"weight": rng.normal(size=(2, 4))}, folder / "head.safetensors")
    return folder


def one_line(words: list[str], trace: Path, capsys: pytest.CaptureFixture[str], *, expect: set[int]) -> str:
    """Run a command that has to leave no trace and, if it refuses, to say so in one line."""
    capsys.readouterr()
    status = main([*words, "--quiet"])
    error = capsys.readouterr().err.strip()
    told = f"{words}: {status}, {error}"
    assert not trace.exists(), told
    assert status in expect, told
    if status == 2:
        assert len([line for line in error.splitlines() if line.startswith("mfh: ")]) == 1, told
        assert "Traceback" not in error, told
    return error


def test_the_payload_works_on_a_careless_reader(tmp_path: Path) -> None:
    for name in ("pickle", "old pickle"):
        pickle.loads(payloads(tmp_path / name)[name])
        assert (tmp_path / name).is_dir()
    (tmp_path / "bad.pt").write_bytes(payloads(tmp_path / "torch")["torch"])
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert (tmp_path / "torch").is_dir()
    (tmp_path / "bad.npy").write_bytes(payloads(tmp_path / "npy")["npy"])
    np.load(tmp_path / "bad.npy", allow_pickle=True)
    assert (tmp_path / "npy").is_dir()


READERS: dict[str, Callable[[Path], object]] = {
    "PairedDataset.from_npz": mfh.PairedDataset.from_npz,
    "load_results": mfh.load_results,
    "load_export": mfh.load_export,
    "FocusedTeacher.load": lambda path: mfh.FocusedTeacher.load(path, nn.Linear(2, 2)),
    "DistillResult.load": lambda path: mfh.DistillResult.load(path, nn.Linear(2, 2)),
    "SaliencyResult.load": SaliencyResult.load,
    "read_arrays": read_arrays,
    "read_npy": read_npy,
    "read_npy of bytes": lambda path: read_npy(path.read_bytes()),
    "read_vector": read_vector,
    "read_state": read_state,
    "read_head": lambda path: read_head(path, dtype="float32", device="cpu"),
    "streaming_saliency": lambda path: streaming_saliency(path, path, torch.ones(2, 2), None),
    "ravdess.load": ravdess.load,
    "vggsound.load": vggsound.load,
    "vggsound_stream.stream": vggsound_stream.stream,
    "mfeat.fetch": lambda path: mfeat.fetch(path.parent / "new.npz", source=path),
    "avmnist.prepare": lambda path: avmnist.prepare(path.parent / "new.npz", mnist=path, fsdd=path),
}
SUFFIXES = (".npz", ".npy", ".pkl", ".safetensors")
MORE_SUFFIXES = (".pt", ".json", ".zip", ".tar", ".whl", ".csv")


@pytest.mark.parametrize("reader", READERS)
def test_readers_refuse_payloads(reader: str, tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "bad"
    for (kind, content), suffix in itertools.product(payloads(trace).items(), (*SUFFIXES, *MORE_SUFFIXES)):
        path = file.with_suffix(suffix)
        path.write_bytes(content)
        expected = (InputError, ValueError) if reader.startswith("read_npy") else InputError
        with pytest.raises(expected) as caught:
            READERS[reader](path)
        assert not trace.exists(), (kind, suffix)
        assert len(str(caught.value).splitlines()) == 1, (kind, suffix, str(caught.value))
        path.unlink()
    assert not (tmp_path / "new.npz").exists()


FOLDERS: dict[str, tuple[str, ...]] = {
    "load_results": ("results.json", "saliency.npz", "curves.npz"),
    "load_export": ("export.json", "model.safetensors", "teacher/focus.json"),
    "FocusedTeacher.load": ("focus.json", "model.safetensors"),
    "DistillResult.load": ("results.json", "student.safetensors", "predictions.npz"),
    "vggsound.load": ("clips.csv", "classes.txt", "prepare.json", "label.json", "train-000000.tar"),
    "ravdess.load": ("data/data_file/spa_dl.csv", "data_file/spa_dl.csv", "prepare.json"),
}


@pytest.mark.parametrize("reader", FOLDERS)
def test_readers_of_folders_refuse_payloads(reader: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for number, content in enumerate(payloads(trace).values()):
        folder = tmp_path / str(number)
        for name in FOLDERS[reader]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            READERS[reader](folder)
        assert not trace.exists()
        assert len(str(caught.value).splitlines()) == 1, str(caught.value)


def file_cases(place: Path, new: Path) -> dict[tuple[str, str], list[str]]:
    """(Command, option that names a file) -> the words before it, which are right."""
    data, out = str(place / "data.npz"), str(place / "out")
    ranks = {
        "--features": place / "h.npy",
        "--student-logits": place / "s.npy",
        "--head": place / "head.safetensors",
    }
    cases = {
        ("study", "--data"): ["study", *STUDY, "--out", str(new)],
        ("diagnose", "--data"): ["diagnose", "--teacher", "a", "--student", "b", "--out", str(new)],
        ("layers", "--data"): ["layers", "--teacher", "a", "--student", "b"],
        ("export", "--data"): ["export", "--out", out, "--to", str(new), "--refit"],
        ("export", "run"): ["export", "--to", str(new)],
        ("predict", "folder"): ["predict", "--data", data, "--out", f"{new}.csv"],
        ("predict", "--data"): ["predict", str(place / "exported"), "--out", f"{new}.csv"],
        ("avmnist study", "--data"): ["avmnist", "study", "--out", str(new)],
        ("avmnist prepare", "--mnist"): ["avmnist", "prepare", "--fsdd", str(place), "--out", f"{new}.npz"],
        ("avmnist prepare", "--fsdd"): ["avmnist", "prepare", "--mnist", data, "--out", f"{new}.npz"],
        ("data", "--source"): ["data", "mfeat", "--out", f"{new}.npz"],
        ("report", "folder"): ["report"],
        ("ravdess download", "--source"): ["ravdess", "download", "--out", str(new)],
        ("ravdess prepare", "--raw"): ["ravdess", "prepare", "--out", str(new)],
        ("vggsound prepare", "--csv"): ["vggsound", "prepare", "--clips", str(place), "--out", str(new)],
        ("vggsound prepare", "--clips"): [
            "vggsound", "prepare", "--csv", str(place / "c.csv"), "--out", str(new)
        ],
        ("vggsound prepare", "--classes"): [
            "vggsound", "prepare", "--csv", str(place / "c.csv"), "--clips", str(place), "--out", str(new)
        ],
    }  # fmt: skip
    for option in ranks:
        others = [word for name, path in ranks.items() if name != option for word in (name, str(path))]
        cases["saliency", option] = ["saliency", *others, "--out", f"{new}.npz"]
    for command, option in path_options():
        if option == "--config":
            cases[command, option] = command.split()
    return cases


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_files_on_the_command_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], every: bool
) -> None:
    (place / "c.csv").write_text("v,1,cat,train\nw,1,dog,test\n")
    trace, new = tmp_path / "trace", tmp_path / "new"
    suffixes, kinds = itertools.cycle((*SUFFIXES, *MORE_SUFFIXES)), itertools.cycle(payloads(trace).values())
    tried = 0
    for (command, option), words in file_cases(place, new).items():
        if not every and option == "--config" and command not in ("study", "ravdess train"):
            continue
        for content in itertools.islice(kinds, len(payloads(trace)) if every and option != "--config" else 1):
            path = tmp_path / f"bad{next(suffixes) if option != '--head' else '.safetensors'}"
            path.write_bytes(content)
            chosen = [str(path)] if not option.startswith("-") else [option, str(path)]
            one_line([*words, *chosen], trace, capsys, expect={2})
            path.unlink()
            tried += 1
        assert not new.exists() or not any(p.is_file() for p in new.rglob("*")), words
    assert not Path(f"{new}.npz").exists()
    assert tried > (150 if every else 15)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_names_that_no_file_can_have(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (place / "c.csv").write_text("v,1,cat,train\nw,1,dog,test\n")
    for (command, option), words in file_cases(place, tmp_path / "new").items():
        if option != "--config" or command == "study":
            told = [name] if not option.startswith("-") else [option, name]
            one_line([*words, *told], tmp_path / "trace", capsys, expect={2})


@pytest.mark.slow
def test_files_in_the_folder_of_a_run(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, data = tmp_path / "trace", str(place / "data.npz")
    names = sorted(str(p.relative_to(place / "out")) for p in (place / "out").rglob("*") if p.is_file())
    names = [name for name in names if not name.startswith("figures")]
    assert {"results.json", "saliency.npz", "curves.npz"} <= set(names)
    kinds = itertools.cycle(payloads(trace).values())
    commands = {
        "study": ["study", "--data", data, *STUDY, "--out"],
        "export": ["export", "--to", str(tmp_path / "to"), "--out"],
        "report": ["report"],
    }
    for name, words in itertools.product(names, commands.values()):
        out = shutil.copytree(place / "out", tmp_path / "copy")
        (out / name).write_bytes(next(kinds))
        one_line([*words, str(out)], trace, capsys, expect={0, 2})
        shutil.rmtree(out)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*have a negative increase")
def test_files_and_folders_of_ravdess_and_vggsound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clips(tmp_path / "raw")
    prepare_small(tmp_path / "raw", tmp_path / "ravdess", audio_frames=64)
    csv = make_videos(tmp_path / "v", [f"class {i % 3}" for i in range(45)],
                      split=lambda i: "test" if i // 3 % 3 == 2 else "train")  # fmt: skip
    step = ["vggsound", "prepare", "--csv", str(csv), "--clips", str(tmp_path / "v" / "clips"), "--out"]
    assert (
        main([*step, str(tmp_path / "vggsound"), "--frames", "6", "--size", "16", "--jobs", "1", "--quiet"])
        == 0
    )
    video = ["--frames", "4", "--time-shift", "1", "--pixel-shift", "1", "--workers", "1"]
    steps: dict[tuple[str, str], list[str]] = {}
    for name, train, verify, more in (
        ("ravdess", "train", "verify", []), ("vggsound", "pretrain", "distill", video)
    ):  # fmt: skip
        first = [] if name == "ravdess" else ["--modality", "audio"]
        modes = ["--mode", "general", "--seeds", "1"]
        steps[name, train] = [*first, *SMALL, *more]
        steps[name, "saliency"] = []
        steps[name, verify] = modes
        steps[name, "study"] = ["--width", "2", "--epochs", "1", "--seeds", "1", "--ratio", "0.5", *more[:2]]
    files = {
        "--joint-teacher": ("train", "saliency", "verify"), "--joint-student": ("train", "saliency"),
        "--audio-checkpoint": ("saliency", "distill"), "--video-checkpoint": ("saliency",),
        "--saliency": ("verify", "distill"),
    }  # fmt: skip
    trace = tmp_path / "trace"
    tried = {
        (f"{dataset} {step}", option)
        for option, among in files.items() for dataset, step in steps if step in among
        if (option.startswith("--joint")) == (dataset == "ravdess") or option == "--saliency"
    }  # fmt: skip
    covered = set(file_cases(tmp_path, tmp_path)) | WRITTEN | tried
    covered |= {(f"{d} {s}", option) for d, s in steps for option in ("--data", "--out")}
    covered |= {
        ("ravdess plot", "--out"),
        ("study", "--out"),
        ("export", "--out"),
        ("avmnist study", "--out"),
    }
    wanted = {(" ".join(SAME.get(w, w) for w in c.split()), o) for c, o in path_options()}
    assert wanted - {(" ".join(SAME.get(w, w) for w in c.split()), o) for c, o in covered} == set()

    for (dataset, step), more in steps.items():
        if step == "study":  # reads the same folders in the same way
            continue
        data, out = tmp_path / dataset, tmp_path / f"{dataset}-out"
        words = [dataset, step, "--data", str(data), *more]
        for option in sorted(option for command, option in tried if command == f"{dataset} {step}"):
            for suffix, content in zip(itertools.cycle((".pt", ".pkl", ".npy", ".npz", ".safetensors")),
                                       payloads(trace).values(), strict=False):  # fmt: skip
                bad = tmp_path / f"bad{suffix}"
                bad.write_bytes(content)
                one_line(
                    [*words, "--out", str(tmp_path / "new"), option, str(bad)], trace, capsys, expect={2}
                )
        content = itertools.cycle(payloads(trace).values())
        kinds = {path.suffix: path for path in sorted(data.rglob("*")) if path.is_file()}
        for path in kinds.values():
            copy = shutil.copytree(data, tmp_path / "copy")
            (copy / path.relative_to(data)).write_bytes(next(content))
            again = [dataset, step, "--data", str(copy), "--out", str(tmp_path / "new"), *more]
            one_line(again, trace, capsys, expect={0, 2})
            shutil.rmtree(copy)
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
        assert main([*words, "--out", str(out), "--quiet"]) == 0
        if step in ("pretrain",):
            assert main([*words[:4], "--modality", "video", *more[2:], "--out", str(out), "--quiet"]) == 0
        written = {p.suffix: str(p.relative_to(out)) for p in sorted(out.rglob("*")) if p.is_file()}
        for name in written.values():
            copy = shutil.copytree(out, tmp_path / "copy")
            (copy / name).write_bytes(next(content))
            one_line([*words, "--out", str(copy)], trace, capsys, expect={0, 2})
            if dataset == "ravdess":
                one_line(["ravdess", "plot", "--out", str(copy)], trace, capsys, expect={0, 2})
            shutil.rmtree(copy)


def test_a_damaged_student_counts_as_absent(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for content in payloads(trace).values():
        (tmp_path / "student.json").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            read_json(tmp_path / "student.json")
    assert not trace.exists()
    assert Payload(trace).__reduce__()[1] == (str(trace),)

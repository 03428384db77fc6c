"""What is fuzzed: readers of files that may come from strangers, each with valid content to begin with."""

import io
import json
import tempfile
import time
import wave
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from jsonargparse import ArgumentParser
from PIL import Image

import mfh
from mfh._checks import InputError
from mfh._export.deployed import Deployed, network_of
from mfh._export.files import SCHEMA_VERSION
from mfh._report import html
from mfh._saliency.result import SaliencyResult
from mfh._saliency.rows import RowFile
from mfh._system.files import npy_header
from mfh._system.lock import _read as read_lock
from mfh._system.progress import load_progress
from mfh.commands import _config, _yaml, report, study
from mfh.data import archives, tar_files
from mfh.data.manifest import Manifest
from mfh.data.sources import avmnist
from mfh.data.sources.ravdess import reader as ravdess
from mfh.data.sources.ravdess.clips import ClipName
from mfh.data.sources.ravdess.record import find_archives
from mfh.data.sources.vggsound import authors as vggsound_authors
from mfh.data.sources.vggsound import clips as vggsound_clips
from mfh.data.sources.vggsound import reader as vggsound
from mfh.experiments._steps.supplied import read_vector
from mfh.models.weights import read_state
from mfh.results import Comparison, Record, StudyResult, Summary, TeacherRecord, Verdict

SECONDS = 20.0
"""Of processor time, for one input."""


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        read: called with the file, or the folder that holds it.
        valid: contents that it reads.
        file: name of the file.
        folder: whether it is given the folder.
        several: whether an error may have several lines.
        beside: further files of the folder, name -> content.
        costly: whether an input takes so long that a tenth of them must do.
    """

    read: Callable[[Path], object]
    valid: list[bytes]
    file: str = "file"
    folder: bool = False
    several: bool = False
    beside: Mapping[str, bytes] = field(default_factory=dict)
    costly: bool = False

    def settle(self, place: Path) -> None:
        """Make the folders, and the files beside that which is fuzzed."""
        for name, content in {**self.beside, self.file: b""}.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)

    def judge(self, content: bytes, place: Path) -> None:
        """Read content in a settled folder: in time, with no error but `InputError`, nothing written."""
        path = place / self.file
        path.write_bytes(content)
        before, start = sorted(place.rglob("*")), time.process_time()
        try:
            self.read(place if self.folder else path)
        except InputError as error:
            assert len(str(error).splitlines()) <= 1 or self.several, error  # noqa: PT017
        assert time.process_time() - start < SECONDS
        assert sorted(place.rglob("*")) == before


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _jpg(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (90, 20, 30)).save(file, "JPEG")
    return file.getvalue()


def _data(path: Path) -> None:
    data = mfh.PairedDataset.from_npz(path)
    assert data.fingerprint
    for modality in data.modalities:
        data.inputs(modality, torch.arange(min(2, len(data))))


def _saliency() -> bytes:
    names = ("mean", "increase", "followed", "importance", "stderr_data", "stderr_permutation")
    values = {name: np.arange(3.0) for name in names}
    told = {
        "baseline": 1.0,
        "score": "increase",
        "distance": "mse",
        "num_samples": 9,
        "num_permutations": "exact",
    }
    return _npz(**values, **{k: np.asarray(v) for k, v in told.items()}, saliency_format=np.asarray(1))


def _saliency_file(path: Path) -> None:
    result = SaliencyResult.load(path)
    assert len(result.ranking) == len(result.frame()) == len(result.stderr)
    assert result._repr_html_()


def _ravdess_name(path: Path) -> None:
    clip = ClipName.parse(path.read_text("utf-8", "replace"))
    assert 0 <= clip.label < 8
    assert ClipName.parse(str(clip)) == clip


def _vggsound_name(path: Path) -> None:
    clip = vggsound_clips.ClipName.parse(path.read_text("utf-8", "replace"))
    assert clip.start >= 0


def _study() -> StudyResult:
    return StudyResult(
        records=(
            Record("general", 0.5, 0, "accuracy", 70.0, 60.0, 50.0, 3, 1.0),
            Record("no-kd", None, 0, "accuracy", 70.0, 60.0, 49.0, 3, 1.0, also={"f1": 40.0}),
        ),
        summary=(Summary("general", 0.5, "accuracy", 1, 50.0, None, None, None),),
        comparisons=(
            Comparison("general", "no-kd", 0.5, 1, 1.0, -1.0, 3.0, None, None, 0.3, 1, True),
        ),
        teachers=(TeacherRecord("regular", 0, "accuracy", 90.0, 80.0, 81.0, 0.2, 0.1),),
        verdict=Verdict("no-effect", None, "Nothing is seen.", ("One seed.",)),
        config={"teacher": "a", "student": "b", "seeds": 1, "ratio": [0.5], "losses": ["kl"]},
        timings={"students": 1.0},
        environment={"mfh": "1", "command": ["mfh", "study"], "packages": {"numpy": "2"}},
        data={"splits": {"train": 5, "test": 4}, "classes": ["x", "y"], "shapes": {"a": [3], "b": [2]}},
        saliency={
            "overlap": [{"split": "train", "ratio": 0.5, "mean": 0.9, "low": None, "high": None}],
            "negative": [{"split": "train", "share": 0.1}],
            "rank_correlation": [{"what": "saliency of two seeds", "mean": 0.5}],
            "layer": "1", "num_channels": 3, "score": "increase", "split": "train",
        },
    )  # fmt: skip


RESULTS = json.dumps(_study().to_dict()).encode()
CHANNELS = {"seed": np.arange(1), "increase_train": np.ones((1, 3)), "importance_train": np.ones((1, 3))}
CURVES = {"regular_loss": np.ones((1, 4)), "students_loss": np.ones((2, 4))}


def _results(path: Path) -> None:
    result = mfh.load_results(path)
    for table in result._tables():
        result.frame(table)
    with report.showing(path):
        assert result._repr_html_()
        assert html(result)


def _study_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    study.add_options(parser)
    return parser


PARSER = _study_parser()


def _yaml_file(path: Path) -> None:
    file = _yaml.read(str(path))
    _config.options_from(file, PARSER, given={"data", "out", "teacher", "student"})


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Actor_01/01-01-01-01-01-01-01.mp4", b"clip" * 20)
    return file.getvalue()


def _members(path: Path) -> None:
    for file in archives.stored_files(path, (".mp4",)):
        file.source()


def _tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    tar_files.write_tar(file, members.items())
    return file.getvalue()


def _wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(avmnist.RATE)
        sound.writeframes(bytes(80))
    return file.getvalue()


def _tar_members(path: Path) -> None:
    for member in tar_files.tar_members(str(path))[0]:
        member.source()


def _clips(path: Path) -> None:
    entries, _ = vggsound_clips.read_entries(path)
    vggsound_clips.choose_classes(entries, None)


def _ravdess(path: Path) -> None:
    assert len(ravdess.load(path, cache=False)) > 0


def _vggsound(path: Path) -> None:
    data = vggsound.load(path)
    for modality in data.modalities:
        data.inputs(modality, torch.arange(min(2, len(data))))


def _npy_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            npy_header(file)
    except ValueError as error:
        raise InputError(str(error)) from error


def _manifest(path: Path) -> None:
    manifest = Manifest(path)
    manifest.are_intact([path / name for name in ("a", "b")])


def _export() -> dict[str, bytes]:
    """A teacher without its channel 1 and a student, as `mfh export` writes them, without checksums."""
    made_of = {"mlp": [2], "outputs": 2, "hidden": [3]}
    with tempfile.TemporaryDirectory() as folder:
        mfh.FocusedTeacher(network_of(made_of), "network.linear1", [1], torch.tensor([0.5])).save(folder)
        told = json.loads((Path(folder) / "focus.json").read_text())
        weights = (Path(folder) / "model.safetensors").read_bytes()
    for name in ("files", "checksum"):
        del told[name]
    student = Deployed(network_of(made_of), 2, "single-label").state_dict()
    info = {side: {"network": made_of, "modality": "a", "shape": [2]} for side in ("teacher", "student")}
    info |= {"schema_version": SCHEMA_VERSION, "task": "single-label", "class_names": ["a", "b"]}  # type: ignore[dict-item]
    return {
        "export.json": json.dumps(info).encode(),
        "model.safetensors": safetensors.torch.save(student),
        "teacher/model.safetensors": weights,
        "teacher/focus.json": json.dumps(told).encode(),
    }


def _exported(path: Path) -> None:
    exported = mfh.load_export(path)
    if exported.teacher is not None:  # most exports hold a student alone
        exported.teacher(torch.zeros(4, 2))
    exported.student(torch.zeros(4, 2))


EXPORT = _export()
RNG = np.random.default_rng(0)
LABEL = np.arange(12) % 2
YAML = b"teacher: a\nstudent: b\nratio: [0.25, 0.5]\nseeds: 2\nlr: 1e-2\nhidden: [4]\nlosses: [kl]\n"
YAML_CLASS = (
    b"teacher_network:\n  class_path: mfh.models.mlp.mlp\n  init_args: {num_inputs: 3, num_outputs: 2}\n"
)
INDEX = b"name,id,start,label,split,place,samples,picture_at,picture_bytes,audio_at,audio_bytes\n"
INDEX += b"a_000001,a,1,x,train,train,9,0,1,0,1\nb_000002,b,2,y,test,test,9,0,1,0,1\n"
SETTINGS = b'{"settings": {"frames": 8}}'
CLIP = {
    f"{split}/{place}/{name}": content
    for split, clip in (("train", "a_000001"), ("test", "b_000002"))
    for place, name, content in (
        ("video_jpg", f"{clip}.jpg", _jpg(8, 2)), ("audio_npy", f"{clip}.npy", _npy(np.ones((1, 9), "f4"))),
    )
}  # fmt: skip
TOLD = b'{"id": "a", "label": 0, "class": "x", "split": "train", "samples": 9, "frames": 8}'
PACKED = _tar({"a_1.json": TOLD, "a_1.jpg": b"jpg", "a_1.flac": b"fLaC"})
RAVDESS = {
    f"data/{folder}/{number}.{kind}": content
    for number in (1, 2)
    for folder, kind, content in (
        ("aud_features", "npy", _npy(np.ones((40, 3)))), ("vid_features", "jpg", _jpg(256, 512))
    )
}  # fmt: skip
ZENODO = {"files": [{"key": "Audio_Speech_Actors_01-24.zip", "size": 3, "checksum": "md5:" + "0" * 32}]}
LOCK = b'{"pid": 1, "host": "h", "since": "2026-01-01T00:00:00+00:00", "started": ""}'
PROGRESS = b'{"kind": "study", "seeds": [0, 1], "stages": [{"name": "a", "done": 1, "total": 2}]}'
READERS = {
    "npz": Reader(
        _data,
        [
            _npz(a=RNG.normal(size=(12, 2)), b=RNG.normal(size=(12, 3)), label=LABEL),
            _npz(a=np.ones((12, 2)), b=np.ones((12, 3)), label=LABEL, group=LABEL, id=np.arange(12)),
        ],
        "d.npz",
    ),
    "npy": Reader(read_vector, [_npy(np.arange(5.0)), _npy(np.arange(4, dtype="f4"))], "v.npy"),
    "npy header": Reader(_npy_header, [_npy(np.zeros((2, 3)))[:128]], "h.npy"),
    "npy rows": Reader(lambda path: RowFile.open(path).read(0, 1), [_npy(np.zeros((4, 3)))], "r.npy"),
    "saliency": Reader(_saliency_file, [_saliency()], "s.npz"),
    "ravdess names": Reader(_ravdess_name, [b"03-01-05-02-01-01-12.wav", b"01-02-08-01-02-02-24"], "name"),
    "vggsound names": Reader(_vggsound_name, [b"a_b-_000030.mp4", b"x_7"], "name"),
    "results json": Reader(_results, [RESULTS], "results.json", folder=True, costly=True),
    "results arrays": Reader(
        _results, [_npz(**CHANNELS)], "saliency.npz", True, beside={"results.json": RESULTS}, costly=True
    ),
    "results curves": Reader(
        _results, [_npz(**CURVES)], "curves.npz", True, beside={"results.json": RESULTS}, costly=True
    ),
    "label json": Reader(vggsound_authors.scan, [b'{"a": 0, "b": 1}'], "label.json", True, beside=CLIP),
    "clips csv": Reader(_clips, [b'a,1,cat,train\n"b",2,dog,test\n'], "clips.csv"),
    "ravdess csv": Reader(
        _ravdess, [b"audio,image,label\n1.npy,1.jpg,0\n2.npy,2.jpg,7\n"], "data/data_file/spa_dl.csv", True,
        beside=RAVDESS,
    ),
    "index csv": Reader(
        _vggsound, [INDEX], "clips.csv", True,
        beside={"prepare.json": SETTINGS, "classes.txt": b"x\ny\n", **CLIP},
    ),
    "settings json": Reader(
        _vggsound, [SETTINGS], "prepare.json", True,
        beside={"clips.csv": INDEX, "classes.txt": b"x\ny\n", **CLIP},
    ),
    "record json": Reader(find_archives, [json.dumps(ZENODO).encode()], "record.json", folder=True),
    "md5sums": Reader(
        find_archives, [b"0" * 32 + b"  Audio_Speech_Actors_01-24.zip\n"], "md5sums.txt", folder=True
    ),
    "manifest": Reader(
        _manifest, [b"file,sha256\na," + b"0" * 64 + b"\n"], "checksums.csv", folder=True, beside={"a": b"a"}
    ),
    "yaml": Reader(_yaml_file, [YAML, YAML_CLASS], "c.yaml", several=True),
    "zip": Reader(_members, [_zip()], "x.zip"),
    "tar": Reader(_tar_members, [_tar({"clips/a_1.mp4": b"clip" * 20, "b_2.mp4": b"x"})], "x.tar"),
    "packed tar": Reader(lambda path: vggsound.find(path), [PACKED], "train-000000.tar"),
    "weights": Reader(read_state, [EXPORT["teacher/model.safetensors"]], "w.safetensors"),
    "focus json": Reader(
        _exported, [EXPORT["teacher/focus.json"]], "teacher/focus.json", folder=True, beside=EXPORT
    ),
    "export json": Reader(_exported, [EXPORT["export.json"]], "export.json", folder=True, beside=EXPORT),
    "lock": Reader(read_lock, [LOCK], ".lock"),
    "progress json": Reader(load_progress, [PROGRESS], "progress.json", folder=True),
    "wav": Reader(lambda path: avmnist.read_wav(path), [_wav()], "0_a_1.wav"),
}  # fmt: skip

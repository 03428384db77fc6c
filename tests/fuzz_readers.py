"""What is fuzzed: readers of files that may come from strangers, each with valid content to begin with."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser

import mfh
from mfh._checks import InputError
from mfh._files import npy_header
from mfh._saliency.result import SaliencyResult
from mfh._saliency.rows import RowFile
from mfh.commands import _yaml, study
from mfh.data import archives, ravdess, tar_files, vggsound_authors, vggsound_clips, vggsound_index
from mfh.data.ravdess_clips import ClipName
from mfh.data.ravdess_record import find_archives
from mfh.experiments._steps.run import read_vector
from mfh.results import Record, StudyResult


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        read: called with the file, or the folder that holds it.
        valid: contents that it reads.
        file: name of the file.
        folder: whether it is given the folder.
        several: whether an error may have several lines.
    """

    read: Callable[[Path], object]
    valid: list[bytes]
    file: str = "file"
    folder: bool = False
    several: bool = False


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


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


def _names(path: Path) -> None:
    for parse in (ClipName.parse, vggsound_clips.ClipName.parse):
        try:
            parse(path.read_text("utf-8", "replace"))
        except InputError:
            continue


def _results() -> bytes:
    record = Record("general", 0.5, 0, "accuracy", 70.0, 60.0, 50.0, 3, 1.0)
    return json.dumps(StudyResult(records=(record,), config={"a": 1}).to_dict()).encode()


def _study_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    study.add_options(parser)
    return parser


PARSER = _study_parser()


def _yaml_file(path: Path) -> None:
    file = _yaml.read(str(path))
    _yaml.check(file, PARSER, given={"data", "out", "teacher", "student"})
    _yaml.defaults_from(file, PARSER)


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Actor_01/01-01-01-01-01-01-01.mp4", b"clip" * 20)
    return file.getvalue()


def _members(path: Path) -> None:
    for file in archives.stored_files(path, (".mp4",)):
        file.source()


def _tar() -> bytes:
    file = io.BytesIO()
    tar_files.write_tar(file, [("clips/a_1.mp4", b"clip" * 20), ("b_2.mp4", b"x")])
    return file.getvalue()


def _tar_members(path: Path) -> None:
    for member in tar_files.tar_members(str(path))[0]:
        member.source()


def _index(path: Path) -> None:
    classes = path / "classes.txt"
    classes.write_text("x\n")
    try:
        vggsound_index.read_index(str(path))
    finally:
        classes.unlink()


def _npy_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            npy_header(file)
    except ValueError as error:
        raise InputError(str(error)) from error


RNG = np.random.default_rng(0)
LABEL = np.arange(12) % 2
YAML = b"teacher: a\nstudent: b\nratio: [0.25, 0.5]\nseeds: 2\nlr: 1e-2\nhidden: [4]\nlosses: [kl]\n"
CLIP = "clips.csv"
INDEX = b"name,id,start,label,split,place,samples,picture_at,picture_bytes,audio_at,audio_bytes\n"
ZENODO = {"files": [{"key": "Audio_Speech_Actors_01-24.zip", "size": 3, "checksum": "md5:" + "0" * 32}]}
READERS = {
    "npz": Reader(
        mfh.PairedDataset.from_npz,
        [_npz(a=RNG.normal(size=(12, 2)), b=RNG.normal(size=(12, 3)), label=LABEL)],
        "d.npz",
    ),
    "npy": Reader(read_vector, [_npy(np.arange(5.0)), _npy(np.arange(4, dtype="f4"))], "v.npy"),
    "npy header": Reader(_npy_header, [_npy(np.zeros((2, 3)))[:128]], "h.npy"),
    "npy rows": Reader(lambda path: RowFile.open(path).read(0, 1), [_npy(np.zeros((4, 3)))], "r.npy"),
    "saliency": Reader(SaliencyResult.load, [_saliency()], "s.npz"),
    "names": Reader(_names, [b"03-01-05-02-01-01-12.wav", b"a_b-_000030.mp4"], "name"),
    "results json": Reader(mfh.load_results, [_results()], "results.json", folder=True),
    "label json": Reader(vggsound_authors._read_labels, [b'{"a": 0, "b_c": 1}'], "label.json"),
    "clips csv": Reader(vggsound_clips.read_entries, [b"a,1,cat,train\n\"b\",2,dog,test\n"], CLIP),
    "ravdess csv": Reader(
        lambda path: list(ravdess._read_csv(path, "train")), [b"audio,image,label\n"],
        "data_file/spa_dl.csv", True,
    ),
    "index csv": Reader(
        _index,
        [INDEX + b"a_000001,a,1,x,train,train,9,0,1,0,1\n"], CLIP, True,
    ),
    "settings json": Reader(
        lambda path: vggsound_index.read_settings(str(path)), [b'{"settings": {"frames": 8}}'],
        "prepare.json", True,
    ),
    "record json": Reader(find_archives, [json.dumps(ZENODO).encode()], "record.json", folder=True),
    "md5sums": Reader(
        find_archives, [b"0" * 32 + b"  Audio_Speech_Actors_01-24.zip\n"], "md5sums.txt", folder=True
    ),
    "yaml": Reader(_yaml_file, [YAML], "c.yaml", several=True),
    "zip": Reader(_members, [_zip()], "x.zip"),
    "tar": Reader(_tar_members, [_tar()], "x.tar"),
}  # fmt: skip

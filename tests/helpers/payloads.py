"""Files that would run code if they were unpickled, and whether they did."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.trace,)


def payloads(trace: Path) -> dict[str, bytes]:
    """Contents by the way they are packed; each leaves `trace` when a careless reader opens it."""
    bad = Payload(trace)
    objects = np.empty(2, dtype=object)
    objects[:] = [bad, bad]
    plain = pickle.dumps(bad)
    return {
        "pickle": plain,
        "old pickle": pickle.dumps(bad, protocol=0),
        "npy": _saved(lambda file: np.save(file, objects, allow_pickle=True)),
        "npz": _saved(lambda file: np.savez(file, label=objects, a=objects, b=objects)),
        "torch": _saved(lambda file: torch.save(bad, file)),
        "old torch": _saved(lambda file: torch.save(bad, file, _use_new_zipfile_serialization=False)),
        "zip": _zip(dict.fromkeys(("a.npy", "label.npy", "data.pkl", "archive/data.pkl"), plain)),
        "tar": _tar(dict.fromkeys(("0.json", "0.flac", "0.jpg", "data.pkl", "storages", "pickle"), plain)),
    }


def _saved(save: object) -> bytes:
    file = io.BytesIO()
    save(file)  # type: ignore[operator]
    return file.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()

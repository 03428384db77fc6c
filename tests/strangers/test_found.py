"""What fuzzing found: content that ended in a traceback, or never ended, is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_readers import READERS, RESULTS, TOLD, _npz, _saliency, _tar, _wav

import mfh
from mfh import InputError
from mfh._system.files import read_arrays
from mfh.cli import main
from mfh.data.manifest import read_manifest
from mfh.data.sources.vggsound.stream import ClipStream

DIGITS, DEEP = b"9" * 5000, b"[" * 100_000
LINE = b"a_000001,a,1,x,train,train,%d,%d,1,0,1\n"
HEADER = b"name,id,start,label,split,place,samples,picture_at,picture_bytes,audio_at,audio_bytes\n"


def results(**changes: Any) -> bytes:
    return json.dumps(json.loads(RESULTS) | changes).encode()


def record(**changes: Any) -> bytes:
    rows = json.loads(RESULTS)["records"]
    return results(records=[rows[0] | changes])


def focus(**changes: Any) -> bytes:
    return json.dumps(json.loads(READERS["focus json"].valid[0]) | changes).encode()


def packed(**changes: Any) -> bytes:
    told = json.dumps(json.loads(TOLD) | changes).encode()
    return _tar({"a_1.json": told, "a_1.jpg": b"jpg", "a_1.flac": b"fLaC"})


def saliency(place: Path, **changes: Any) -> bytes:
    (place / "whole.npz").write_bytes(_saliency())
    return _npz(**read_arrays(place / "whole.npz") | {k: np.asarray(v) for k, v in changes.items()})


FOUND: dict[str, list[bytes | Callable[[Path], bytes]]] = {
    "vggsound names": [b"a_" + DIGITS],
    "clips csv": [b"a," + DIGITS + b",cat,train\n"],
    "ravdess csv": [b"1.npy,1.jpg," + DIGITS, b"1.npy," + b"a" * 400 + b",1\n"],
    "label json": [DEEP, b'{"a": 1e999}', b'{"a": 0, "b": 999999999999}'],
    "settings json": [DEEP, b'{"settings": {}}', b'{"settings": {"frames": "8"}}'],
    "index csv": [
        HEADER + LINE % (10**11, 0), HEADER + LINE % (9, -1),
        HEADER + LINE % (9, 0) + b"b_000002,b,2,y,test,\0,9,0,1,0,1\n",
    ],
    "packed tar": [packed(label=10**9), packed(label=-1), packed(label=float("inf")), packed(frames=0)],
    "record json": [DEEP, b'{"files": [{"key": "a", "size": 1e999, "checksum": "md5:%s"}]}' % (b"0" * 32)],
    "lock": [DEEP, READERS["lock"].valid[0].replace(b'"pid": 1', b'"pid": "1"')],
    "progress json": [b'{"kind": "study", "seeds": 5}', b'{"kind": "study", "stages": [3]}'],
    "npz": [
        _npz(a=np.ones((3, 2)), b=np.ones((3, 2)), label=np.asarray(1.5)),
        _npz(a=np.ones((3, 2)), b=np.ones((3, 2)), label=np.ones((0, 3))),
        _npz(a=np.ones((3, 2)), b=np.ones((3, 2)), label=np.arange(3), id=np.asarray("x")),
        _npz(a=np.ones((3, 2)), b=np.ones((3, 2)), label=np.arange(3), group=np.ones(0)),
    ],
    "saliency": [
        lambda place: saliency(place, mean=["a"] * 3),
        lambda place: saliency(place, increase=[1.0, 2.0]),
        lambda place: saliency(place, mean=np.ones((3, 1))),
        lambda place: saliency(place, score=["increase"] * 3),
        lambda place: saliency(place, distance=["mse", "l1"]),
        lambda place: saliency(place, baseline=[1.0, 2.0]),
        lambda place: saliency(place, saliency_format=[1, 1]),
    ],
    "results json": [
        results(kind=["study"]), results(config=5), results(saliency=[]), results(verdict=3),
        results(timings=[["a"]]), record(test="a"), record(arm=None), record(also={"f1": "x"}),
        results(data={"splits": 3, "classes": 4}),
    ],
    "results arrays": [_npz(increase_train=np.asarray("x"), seed=np.arange(1))],
    "focus json": [focus(removed=["a"]), focus(channel_dim="1"), focus(removed=[2**70]), focus(fill=[[]])],
    "export json": [READERS["export json"].valid[0].replace(b'"hidden": [3]', b'"hidden": [3, 3]')],
    "yaml": [
        b"ratio: " + b"[" * 3000, b"ratio: &a [*a]",
        b"a0: &a0 x\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"*a%d, " % (i - 1) * 9) for i in range(1, 9)),
    ],
    "wav": [_wav()[:-1], _wav().replace(b"\x02\x00\x10\x00", b"\x02\x00\x00\x00")],
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    reader, place = READERS[name], tmp_path / "place"
    reader.settle(place)
    for content in FOUND[name]:
        (place / reader.file).write_bytes(content if isinstance(content, bytes) else content(tmp_path))
        with pytest.raises(InputError) as caught:
            reader.read(place if reader.folder else place / reader.file)
        assert len(str(caught.value).splitlines()) == 1


def test_names_that_are_no_text_are_no_archives(tmp_path: Path) -> None:
    reader = READERS["record json"]
    (tmp_path / reader.file).write_bytes(
        b'{"files": [{"key": 5, "size": 3, "checksum": "md5:%s"}]}' % (b"0" * 32)
    )
    assert reader.read(tmp_path) == []


def test_a_field_without_end_counts_as_absent(tmp_path: Path) -> None:
    line = f"a,{'0' * 64}\n"
    (tmp_path / "checksums.csv").write_text(f'{line}"{"b" * 200_000},{"0" * 64}\n')
    assert read_manifest(tmp_path) == {"a": "0" * 64}


def test_numbers_of_other_machines_are_read(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "d.npz", a=values.astype(">f4"), b=values.astype("g"), label=np.arange(3))
    data = mfh.PairedDataset.from_npz(tmp_path / "d.npz")
    assert (data.modalities["a"].numpy() == values).all()
    assert (data.modalities["b"].numpy() == values).all()


def test_a_packed_clip_without_a_label_is_named() -> None:
    stream = ClipStream(("x.tar",), 8, 8, 9)
    with pytest.raises(InputError, match="did not pack the clip `a`"):
        stream._decoded({"__key__": "a", "json": b"{}", "jpg": b"", "flac": b""})


def test_results_that_cannot_be_shown_leave_the_page_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_bytes(results(data={"splits": 3, "classes": 4}))
    (tmp_path / "report.html").write_text("before")
    assert main(["report", str(tmp_path), "--quiet"]) == 2
    assert "cannot be shown" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "before"

"""How valid content is damaged for fuzzing: bytes, values of JSON, members of zips, arrays among them."""

import io
import json
import random
import warnings
import zipfile
import zlib
from copy import deepcopy
from typing import Any

import numpy as np

TOKENS = (
    b"null", b"-1", b"1e999", b"NaN", b"9" * 20, b"9" * 5000, b"[", b"{", b"}", b"]", b'"', b",", b"\n",
    b"\0", b"../", b"\xff\xfe", b"\xef\xbb\xbf", b"!!python/object/apply:os.system [x]", b"&a [*a]",
    b"\xe2\x80\xae", b"true", b": ", b"- ", b"'", b"O8", b"|O", b"(", b"\x93NUMPY", b"PK\x03\x04",
    b"\xed\xa0\x80", b"1_0", b"a" * 400, b"[" * 3000, b'"' + b"a" * 140_000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**70, 1.5, float("nan"), float("inf"), "", "a", "\0", "\ud800", "../x", "x" * 400,
    "<b>", [], [1], ["a"], {}, {"a": 1}, [[]], "2026-01-01", "1e3",
)  # fmt: skip
NAMES = ("", "a" * 300, "../a.npy", "/a.npy", "a\\b.npy", "C:a.npy", "a.npy", "label.npy", "x.txt", "é.mp4")


def odd_arrays() -> list[np.ndarray]:
    """Arrays of every kind of value and of strange shapes, free of Python objects."""
    pair = np.dtype([("a", "f4"), ("b", "S2")])
    kinds = [
        "?",
        "u1",
        "i1",
        "u8",
        "i8",
        "f2",
        "f4",
        "f8",
        "g",
        "c8",
        "c16",
        "M8[s]",
        "m8[ns]",
        "S3",
        "U3",
        "V4",
        ">f4",
        ">i2",
    ]
    arrays = [np.zeros(12, kind) for kind in kinds] + [np.zeros((12, 2), kind) for kind in kinds]
    arrays += [np.zeros((), kind) for kind in kinds] + [np.zeros(3, pair), np.zeros((12, 2), pair)]
    arrays += [np.zeros(shape) for shape in ((0,), (12, 0), (0, 3), (1,), (12, 1), (1,) * 32, (3,), (4, 3))]
    arrays += [np.full(12, value) for value in (np.nan, np.inf, -1e308, 2**63, -1, 1.5, "nan", "train")]
    arrays += [np.asarray(value) for value in ("exact", "mse", "increase", "", "\0", -1, 2**63, 1.5)]
    return arrays


ARRAYS = odd_arrays()


def mutated(valid: bytes, seed: int) -> bytes:
    """Valid content with some changes, in its bytes or in what they stand for; the same for the same seed."""
    rng = random.Random(seed)
    changed = None
    if rng.random() < 0.7:
        changed = _changed_zip(valid, rng) if valid[:2] == b"PK" else _changed_json(valid, rng)
    return _changed_bytes(valid, rng) if changed is None else changed


def _changed_bytes(valid: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes flipped, cut out, doubled, inserted, replaced."""
    values = bytearray(valid)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(values) + 1)
        end = min(len(values), at + rng.choice((1, 2, 8, 64)))
        kind = rng.randrange(5)
        if kind == 0 and at < len(values):
            values[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del values[at:end]
        elif kind == 2:
            values[at:at] = values[at:end]
        elif kind == 3:
            values[at:at] = rng.choice(TOKENS)
        else:
            values[at:end] = rng.randbytes(end - at)
    return bytes(values)


def _changed_json(valid: bytes, rng: random.Random) -> bytes | None:
    """One to three values of a JSON text exchanged, removed or renamed; None where it is no JSON."""
    try:
        root = [json.loads(valid)]
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.randint(1, 3)):
        holder: Any = root
        key: Any = 0
        while rng.random() < 0.8 and isinstance(inner := holder[key], dict | list) and inner:
            holder, key = inner, rng.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        kind = rng.randrange(4)
        if kind == 0 and isinstance(holder, dict):
            holder[rng.choice(("a", "", "x" * 300, "\0"))] = holder.pop(key)
        elif kind == 1 and holder is not root:
            del holder[key]
        else:
            holder[key] = deepcopy(rng.choice(VALUES))
    return json.dumps(root[0]).encode()


def _changed_zip(valid: bytes, rng: random.Random) -> bytes | None:
    """A zip packed again with one member changed, renamed, doubled, left out or exchanged for an array."""
    try:
        with zipfile.ZipFile(io.BytesIO(valid)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    if not members:
        return None
    at, kind = rng.randrange(len(members)), rng.randrange(6)
    name, content = members[at]
    if kind == 0:
        members[at] = name, _changed_bytes(content, rng)
    elif kind == 1:
        members[at] = rng.choice(NAMES), content
    elif kind == 2:
        members.append((name, content))
    elif kind == 3:
        del members[at]
    else:
        file = io.BytesIO()
        np.save(file, rng.choice(ARRAYS))
        members[at] = name, file.getvalue()
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that stands there twice
        with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, content in members:
                archive.writestr(name or "_", content)
    return packed.getvalue()

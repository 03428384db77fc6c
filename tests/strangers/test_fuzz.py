"""Random and damaged files: every reader reads them or raises InputError in one line, and writes nothing.

A few inputs by default; `MFH_FUZZ=11000 pytest -m slow tests/strangers/test_fuzz.py` tries so many for each
of the readers. `python tests/fuzz_atheris.py NAME -runs=20000` (pip install atheris) mutates by coverage.
"""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_readers import READERS, Reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mfh import InputError

MANY = int(os.environ.get("MFH_FUZZ", "1000"))
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def mutated(valid: bytes, seed: int) -> bytes:
    """Valid content with one to four changes: bytes flipped, cut out, doubled, inserted, numbers replaced."""
    rng, values = random.Random(seed), bytearray(valid)
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


TOKENS = (
    b"null", b"-1", b"1e999", b"NaN", b"99999999999999999999", b"[", b"{", b"}", b"]", b'"', b",", b"\n",
    b"\0",
    b"../", b"\xff\xfe", b"\xef\xbb\xbf", b"!!python/object/apply:os.system [x]", b"&a [*a]", b"\xe2\x80\xae",
    b"true", b": ", b"- ", b"'", b"O8", b"|O", b"(", b"\x93NUMPY", b"PK\x03\x04", b"\xed\xa0\x80", b"1_0",
)  # fmt: skip


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def judge(reader: Reader, content: bytes, place: Path) -> None:
    path = place / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    before = sorted(place.rglob("*"))
    try:
        reader.read(place if reader.folder else path)
    except InputError as error:
        assert len(str(error).splitlines()) <= 1 or reader.several, error  # noqa: PT017
    assert sorted(place.rglob("*")) == before


def contents(reader: Reader) -> st.SearchStrategy[bytes]:
    changed = st.builds(mutated, st.sampled_from(reader.valid), st.integers(0, 2**62))
    return st.one_of(changed, changed, changed, st.binary(max_size=300))


def fuzz(name: str, count: int, place: Path) -> None:
    reader, folder = READERS[name], place / name.replace(" ", "-")

    @settings(
        max_examples=count, deadline=20_000, database=None, derandomize=True, suppress_health_check=CHECKS
    )
    @given(contents(reader))
    def run(content: bytes) -> None:
        judge(reader, content, folder)

    run()


@pytest.mark.parametrize("name", READERS)
def test_valid_content_is_read(name: str, place: Path) -> None:
    for content in READERS[name].valid:
        path = place / name.replace(" ", "-") / READERS[name].file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        READERS[name].read(place / name.replace(" ", "-") if READERS[name].folder else path)


@pytest.mark.parametrize("name", READERS)
def test_a_few(name: str, place: Path) -> None:
    fuzz(name, 40, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many(name: str, place: Path) -> None:
    fuzz(name, MANY, place)

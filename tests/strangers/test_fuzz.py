"""Random and damaged files: every reader reads them or raises InputError in one line, and writes nothing.

A few inputs by default; `MFH_FUZZ=11000 pytest -m slow tests/strangers/test_fuzz.py` tries so many for each
of the readers. `python tests/helpers/fuzz_atheris.py NAME` (pip install atheris) mutates by coverage.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_changes import mutated
from fuzz_readers import READERS, Reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MANY = int(os.environ.get("MFH_FUZZ", "1000"))
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def contents(reader: Reader) -> st.SearchStrategy[bytes]:
    changed = st.builds(mutated, st.sampled_from(reader.valid), st.integers(0, 2**62))
    return st.one_of(changed, changed, changed, st.binary(max_size=300))


def fuzz(name: str, count: int, place: Path) -> None:
    reader, folder = READERS[name], place / name.replace(" ", "-")
    reader.settle(folder)
    count = count // 10 if reader.costly else count

    @settings(
        max_examples=count, deadline=20_000, database=None, derandomize=True, suppress_health_check=CHECKS
    )
    @given(contents(reader))
    def run(content: bytes) -> None:
        reader.judge(content, folder)

    run()


@pytest.mark.parametrize("name", READERS)
def test_valid_content_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    reader.settle(tmp_path)
    for content in reader.valid:
        (tmp_path / reader.file).write_bytes(content)
        reader.read(tmp_path if reader.folder else tmp_path / reader.file)


@pytest.mark.parametrize("name", READERS)
def test_a_few(name: str, place: Path) -> None:
    fuzz(name, 40, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many(name: str, place: Path) -> None:
    fuzz(name, MANY, place)

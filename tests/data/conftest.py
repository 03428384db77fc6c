"""Generated clips and what they are prepared into, made once."""

from pathlib import Path

import pytest
from clips import make_clips, prepare_small


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three actors, each with one clip of every emotion; not to be changed."""
    return make_clips(tmp_path_factory.mktemp("clips")).folder


@pytest.fixture(scope="session")
def prepared(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips as the authors' folder, 32 x 64 and 40 x 16; not to be changed."""
    out = tmp_path_factory.mktemp("prepared")
    prepare_small(clips, out)
    return out

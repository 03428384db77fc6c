"""Moods of music, several labels for each sample: timbre teaches a student that sees the rhythm.

The data are 593 songs (Trohidis et al., ISMIR 2008; the set is called "emotions" or "music"). The labels of
a song are those of six moods that three listeners agreed on; the modalities are 64 numbers about its timbre
and 8 about its rhythm. The source distribution of scikit-multiflow 0.4.1 on PyPI contains the data; pip
needs numpy and cython to download it.

    pip install cython "setuptools<70" wheel
    pip download scikit-multiflow==0.4.1 --no-deps --no-binary :all: --no-build-isolation
    python examples/music.py scikit-multiflow-0.4.1.tar.gz music.npz
    mfh study --data music.npz --teacher timbre --student rhythm --seeds 10 --out out/music
"""

import csv
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np

MEMBER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets/music.csv"
SHA256 = "1d18e5a32fba9a24334d124375206b82d7afbc8badf1bdc94ba3da11d9e1766c"
MOODS, TIMBRE = 6, 64


def read(source: Path) -> bytes:
    """Read the csv from the source distribution."""
    try:
        with tarfile.open(source) as archive:
            member = archive.extractfile(MEMBER)
            text = member.read() if member else b""
    except (OSError, KeyError, tarfile.TarError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise SystemExit(f"`{source}` must be scikit-multiflow-0.4.1.tar.gz: {reason}.") from error
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise SystemExit(f"`{source}` contains another music.csv than that of 0.4.1. Download it again.")
    return text


def parse(text: bytes) -> dict[str, np.ndarray]:
    """Return the labels and both modalities: the columns are six moods, then timbre, then rhythm."""
    names, *rows = csv.reader(io.StringIO(text.decode()))
    values = np.array(rows, dtype=np.float32)
    if len(names) <= MOODS + TIMBRE or values.shape[1] != len(names):
        raise SystemExit(
            f"music.csv must have {MOODS} columns of moods, {TIMBRE} of timbre, and some of rhythm. "
            f"Got {len(names)} columns in all."
        )
    return {
        "label": values[:, :MOODS].astype(np.int64),
        "timbre": values[:, MOODS : MOODS + TIMBRE],
        "rhythm": values[:, MOODS + TIMBRE :],
    }


def main(source: str = "scikit-multiflow-0.4.1.tar.gz", out: str = "music.npz") -> None:
    """Write the npz that `mfh study` reads."""
    arrays = parse(read(Path(source)))
    np.savez(out, **arrays)
    print(f"Wrote {out}: {len(arrays['label'])} songs.")


if __name__ == "__main__":
    main(*sys.argv[1:3])

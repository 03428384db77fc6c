"""Sizes and chunks in the headers of wav, w64 and AVI files, which FFmpeg does not check."""

import io
from pathlib import Path

from mfh._checks import InputError, require

PLACEHOLDER = 0x7F000000
"""A size from here on is what a program writes that cannot go back to the header, as into a pipe."""
_SLACK = 64  # bytes by which writers get a size wrong: a pad byte, or the header counted twice

Source = Path | bytes
File = io.BytesIO | io.BufferedReader


def open_source(source: Source) -> File:
    """Open a clip, given by its path or its content.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or error}") from error


def require_whole(source: Source) -> None:
    """Raise `InputError` if a wav, w64 or AVI is shorter than its header tells.

    FFmpeg decodes such a file without complaint. A size of 0, or one near 2 or 4 GiB, is not a promise:
    programs leave it that write into a pipe.
    """
    with open_source(source) as file:
        available = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(24)
        kind, promised = "wav", 0
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            promised = _end_of_samples(file, head[:4], available)
        elif head[:4] == b"RIFF":
            size = int.from_bytes(head[4:8], "little")
            kind, promised = head[8:11].decode("ascii", "replace"), size + 8 if size < PLACEHOLDER else 0
        elif head[:8] == b"riff\x2e\x91\xcf\x11":
            size = int.from_bytes(head[16:24], "little")
            promised = size if size < 2**62 else 0
    require(available + _SLACK >= promised, f"{kind} cut short: {available} of {promised} bytes are there")


def _end_of_samples(file: File, mark: bytes, available: int) -> int:
    """Return the byte at which the samples of a wav end by its header; 0 if the header does not tell."""
    order = "big" if mark == b"RIFX" else "little"
    at, long_size = 12, 0
    while at + 8 <= available:
        head = _read(file, at, 8)
        size = int.from_bytes(head[4:], order)  # type: ignore[arg-type]
        if head[:4] == b"ds64":  # sizes of 64 bits: of the file, then of the samples
            long_size = int.from_bytes(file.read(16)[8:], "little")
        if head[:4] == b"data":
            size = long_size if size == 0xFFFFFFFF else 0 if size >= PLACEHOLDER else size
            return at + 8 + size if 0 < size < 2**62 else 0
        at += 8 + size + size % 2
    return 0


def empty_chunks(source: Source, stream: int) -> list[int]:
    """Return where the empty chunks of an AVI's track are, as bytes from the start of the file.

    Each is a frame or a piece of sound that the recording left out: the frame before it is shown longer.
    FFmpeg passes over them, so that the sound behind them would come too early.

    Args:
        source: the file.
        stream: number of the track.
    """
    mark, found, at = b"%02d" % stream, [], 12
    with open_source(source) as file:
        while len(head := _read(file, at, 12)) >= 8 and head[:4] != bytes(4):
            size = int.from_bytes(head[4:8], "little")
            if head[:4] in (b"RIFF", b"LIST") and head[8:] in (b"AVIX", b"movi", b"rec "):
                at += 12  # go on with what is in the list
                continue
            found += [at] if head[:2] == mark and size == 0 else []
            at += 8 + size + size % 2
    return found


def _read(file: File, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)

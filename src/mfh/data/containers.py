"""Opening media files with FFmpeg (PyAV): which formats, which track, and whether the file is complete.

The packages come with the extra `av` and are imported on first use. Damaged input raises `InputError` with a
text short enough to be the reason in a list of skipped clips.
"""

import importlib
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mfh._checks import InputError, require
from mfh.data.riff import PLACEHOLDER, Source, open_source

MAX_PIXELS = 2**26
# Not those of play lists, which name other files and addresses for FFmpeg to open.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav", "mpeg", "mpegts", "mpegvideo", "flv", "asf",
    "ogg", "flac", "mp3", "aac", "aiff", "w64", "h264", "hevc", "m4v", "ivf", "nut",
)  # fmt: skip
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
# Of these FFmpeg only estimates the length, from the bit rate or the last time stamp, or it adjusts the
# length in the header to the size of the file.
_ESTIMATED = {"mpeg", "mpegts", "mpegvideo", "aac", "h264", "hevc", "m4v", "nut", "wav", "w64", "ogg"}
# The header of these notes the length of the whole file, not of each track.
_LENGTH_OF_FILE = {"matroska,webm", "flv", "asf"}
TIMELESS = {"wav", "w64", "aiff", "flac", "mp3", "aac"}
"""Formats without time stamps: those of FFmpeg are counted, so there can be no pause between two packets."""
_CROPPING = re.compile(r"^ +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)$", re.MULTILINE)
_DUMPING = threading.Lock()


def need(name: str) -> Any:
    """Import a package of the extra `av`.

    Raises:
        InputError: it is not installed; the text tells how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"`{name.partition('.')[0]}` is needed here and cannot be imported: pip install 'mfh[av]'."
        ) from error


@contextmanager
def opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """Open a media file; yields PyAV and the container. Every failure of FFmpeg becomes an `InputError`.

    Raises:
        InputError: the file is empty, cannot be read, is of a format that is not in `FORMATS`, or is damaged.
    """
    av = need("av")
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        require(size > 0, "the file is empty")
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        with av.open(file, metadata_errors="replace", container_options=OPTIONS) as container:
            for stream in container.streams.video:
                if stream.codec_context is not None:  # else FFmpeg has no decoder for it
                    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield av, container
    except InputError:
        raise
    except (av.error.FFmpegError, OSError, ValueError, ArithmeticError, LookupError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"FFmpeg cannot decode it: {reason}") from error


def track(container: Any, kind: str) -> tuple[Any, str]:
    """Return the track that players take, and its name for messages.

    It is the first that is marked as default, or the first of all where none is. Pictures of a cover are no
    video.

    Args:
        container: see `opened`.
        kind: `audio` or `video`.

    Raises:
        InputError: there is no such track, or FFmpeg cannot decode it.
    """
    disposition = need("av.stream").Disposition
    still = disposition.attached_pic | disposition.timed_thumbnails
    tracks = [stream for stream in getattr(container.streams, kind) if not stream.disposition & still]
    require(len(tracks) > 0, f"no {kind} track")
    chosen = next((stream for stream in tracks if stream.disposition & disposition.default), tracks[0])
    name = kind if len(tracks) == 1 else f"{kind} track {tracks.index(chosen) + 1} of {len(tracks)}"
    require(chosen.codec_context is not None, f"FFmpeg has no decoder for the {name}")
    return chosen, name


def promised_seconds(source: Source, container: Any, stream: Any) -> float:
    """Return how long a track must last by the index or header of its file; 0 where nothing reliable tells.

    Args:
        source: the file.
        container: see `opened`.
        stream: the track.
    """
    kind, codec = container.format.name, stream.codec_context
    if kind == "mp3":
        return _mp3_frames(source) * (1152 if codec.sample_rate >= 32_000 else 576) / codec.sample_rate
    if not stream.duration or kind in _ESTIMATED:
        return 0.0
    if kind == "aiff":
        num_bytes = stream.duration * codec.layout.nb_channels * codec.format.bytes
        if num_bytes >= PLACEHOLDER:
            return 0.0
    return float(stream.duration * stream.time_base)


def _mp3_frames(source: Source) -> int:
    """Return how many frames an mp3 has by its first one; 0 where that does not tell.

    FFmpeg then estimates the length from one bit rate, and so it does where two files were joined.
    """
    with open_source(source) as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag, its size in seven bits a byte
            file.seek(10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:])))
        head = file.read(2048)
    for mark, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = head.find(mark)
        if at >= 0 and (mark == b"VBRI" or (head[at + 7 : at + 8] and head[at + 7] & 1)):
            return int.from_bytes(head[at + offset : at + offset + 4], "big")
    return 0


class Reach:
    """The packets of a track, and the time at which the last one of the file ends.

    So it is noticed that the end of a file is missing, where the header notes the length of the file.

    Args:
        container: see `opened`.
    """

    def __init__(self, container: Any) -> None:
        self._container = container
        known = container.format.name in _LENGTH_OF_FILE and container.duration
        self._promised = container.duration / 1e6 if known else 0.0
        self._end = 0.0

    def packets(self, stream: Any) -> Iterator[Any]:
        """Yield the packets of a track; read the others too if they show how far the file goes."""
        tracks = () if self._promised else (stream,)
        for packet in self._container.demux(*tracks):
            time = packet.dts if packet.pts is None else packet.pts
            if self._promised and packet.size and time is not None:
                self._end = max(self._end, float((time + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                yield packet

    def require_end(self) -> None:
        """Raise `InputError` if packets are missing at the end of the file."""
        require(
            self._end >= 0.95 * self._promised - 0.1,
            f"the file is cut short: {self._end:.2f} of {self._promised:.2f} seconds are there",
        )


def cropping(av: Any, container: Any, stream: Any) -> tuple[int, int, int, int]:
    """Return how many rows or columns the container cuts off a video: at the top, bottom, left and right.

    PyAV does not give it, but FFmpeg writes it, as left/right/top/bottom, into its description of a file.
    """
    with _DUMPING:  # the level is one for all threads
        level = av.logging.get_level()
        try:
            av.logging.set_level(av.logging.INFO)
            text = container.dumps_format()
        finally:
            av.logging.set_level(level)
    for part in re.split(r"^ +Stream #0:", text, flags=re.MULTILINE)[1:]:
        found = _CROPPING.search(part)
        if found and int(re.match(r"\d*", part)[0] or -1) == stream.index:  # type: ignore[index]
            left, right, top, bottom = (int(number) for number in found.groups())
            return top, bottom, left, right
    return 0, 0, 0, 0

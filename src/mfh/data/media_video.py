"""Pictures of a clip: frames evenly spaced in time, as players show them, cut and resized; or in one grid."""

import io
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mfh._checks import InputError, listing, require
from mfh.data.containers import Reach, cropping, need, opened, track
from mfh.data.riff import Source, empty_chunks, require_whole

Crop = tuple[int, int, int, int]
_WIDEST = 16  # times as wide as high, or as high as wide, a pixel may be; beyond that the file is wrong


def layout(frames: int, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the grid of `frames` tiles in a picture that makes them most nearly square.

    Raises:
        InputError: no grid of `frames` tiles divides the picture evenly; the text lists numbers that do.

    Example:
        >>> layout(8, 256, 512), layout(2, 256, 512), layout(1, 256, 512)
        ((2, 4), (1, 2), (1, 1))
    """
    sizes = {"frames": frames, "height": height, "width": width}
    wrong = [f"`{name}` must be 1 or more. Got {value}." for name, value in sizes.items() if value < 1]
    require(not wrong, " ".join(wrong))

    def grids(count: int) -> list[tuple[int, int]]:
        pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
        return [(rows, columns) for rows, columns in pairs if height % rows == 0 and width % columns == 0]

    found = grids(frames)
    if not found:
        fitting = [count for count in range(1, 2 * frames) if grids(count)]
        raise InputError(
            f"`frames` must divide a picture of {height} x {width} into equal tiles. Got {frames}: "
            f"{listing(fitting, limit=40)} would."
        )
    return min(found, key=lambda grid: abs(math.log((height / grid[0]) / (width / grid[1]))))


def decode_picture(
    source: Source, *, frames: int = 8, height: int = 256, width: int = 512
) -> UInt8[np.ndarray, "height width 3"]:
    """Decode evenly spaced frames of the default video track into one RGB picture.

    The frames are those of `decode_frames`, each with the shape of a tile. They fill the grid of `layout` row
    by row, from left to right: by default eight tiles of 128 x 128 in two rows of four.

    Raises:
        InputError: there is no video, it has fewer frames than asked for, or it is cut short or damaged.
    """
    rows, columns = layout(frames, height, width)
    tile = (height // rows, width // columns)
    taken = decode_frames(source, frames=frames, height=tile[0], width=tile[1])
    grid = taken.reshape(rows, columns, *tile, 3)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(height, width, 3))


def decode_frames(
    source: Source,
    *,
    frames: int,
    height: int,
    width: int,
    crop: Crop | None = None,
    repeat: bool = False,
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Decode evenly spaced frames of the default video track, as RGB.

    The frames are those that a viewer sees at (i + 1/2) / `frames` of the track's length. Of n frames at an
    even rate they are those at floor((i + 1/2) n / `frames`). Each is taken as players show it: turned and
    mirrored by the display matrix, with square pixels, and without what the container crops. Then it is cut
    to its centre with the shape wanted, and resized (bicubic, antialiased).

    Args:
        source: path or content of the clip.
        frames: number of frames.
        height: of the result, in pixels.
        width: of the result, in pixels.
        crop: top, bottom, left and right of the part to take, in pixels of the picture as players show it; by
            default all of it. Bottom and right are the first row and column that are left out. Where the size
            of the frames changes midway, the pixels are those of the first one.
        repeat: whether a track of fewer frames gives some of them several times.

    Raises:
        InputError: there is no video, it has fewer frames than asked for (without `repeat`), `crop` reaches
            beyond the picture, or the track is cut short or damaged.
    """
    times, end, promised, name = _timeline(source)
    least = 1 if repeat else frames
    require(promised >= least, f"the {name} has {promised} frames, {least} are needed")
    require(len(times) > 0, f"{name} cut short: 0 of {promised} frames decode")
    with opened(source) as (av, container):
        stream, _ = track(container, "video")
        stream.thread_type = "NONE"  # clips are decoded side by side
        view = _view(stream, cropping(av, container, stream))
        wanted = _seen_at(times, end, frames)
        taken: list[np.ndarray] = []
        decoded, first = 0, (0.0, 0.0)
        for number, frame in _numbered(container.decode(stream), times):
            first = first if decoded else view.size(frame)
            decoded, last = decoded + 1, frame
            if len(taken) < frames and number >= wanted[len(taken)]:
                require(not frame.is_corrupt, f"the {name} is damaged at frame {number}")
                picture = _part(view, frame, crop, first, height, width)
                taken += [picture] * bisect_right(wanted[len(taken) :], number)
        # containers promise a frame or two that their edit lists drop
        whole = decoded > 0 and promised - decoded <= max(2, 0.02 * promised)
        require(whole, f"{name} cut short: {decoded} of {promised} frames decode")
        if len(taken) < frames:
            taken += [_part(view, last, crop, first, height, width)] * (frames - len(taken))
    return np.stack(taken)


def _timeline(source: Source) -> tuple[list[int], int, int, str]:
    """Return when each frame is shown, when the last one ends, and how many frames there must be.

    The times ascend. Without time stamps the time of a frame is its number. Nothing is decoded, and the file
    is opened for this alone: going back to the start loses frames in MPEG-1.

    Returns:
        Times, end, number of frames, and the name of the track for messages.
    """
    require_whole(source)
    empty = 0  # packets that show the frame before them longer
    with opened(source) as (_, container):
        stream, name = track(container, "video")
        if container.format.name == "avi":
            empty = len(empty_chunks(source, stream.index))
        reach = Reach(container)
        packets = []
        for packet in reach.packets(stream):
            if not packet.is_discard:
                packets += [packet] if packet.size else []
                empty += not packet.size and packet.dts is not None
        reach.require_end()
        promised = max(stream.frames - empty, len(packets))
    times = sorted(p.pts for p in packets if p.pts is not None)
    if not times or len(set(times)) < len(packets):
        return list(range(len(packets))), len(packets), promised, name
    last = max(packets, key=lambda packet: packet.pts)
    gaps = sorted(later - time for time, later in pairwise(times)) or [1]
    return times, times[-1] + (last.duration or gaps[len(gaps) // 2]), promised, name


def _seen_at(times: Sequence[int], end: int, count: int) -> list[int]:
    """Return the numbers of the frames that are shown in the middle of `count` equal parts of the time."""
    length = end - times[0]
    return [bisect_right(times, times[0] + (2 * i + 1) * length // (2 * count)) - 1 for i in range(count)]


def _numbered(frames: Iterable[Any], times: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield decoded frames with their numbers: by their time stamp, or counted where it is unknown."""
    place = {time: number for number, time in enumerate(times)}
    for counted, frame in enumerate(frames):
        yield place.get(frame.pts, counted), frame


@dataclass(frozen=True)
class _View:
    """How players show the frames of a track.

    Attributes:
        aspect: width of a stored pixel divided by its height.
        cropping: rows and columns to cut off at the top, bottom, left and right.
        stored: height and width of the frames to which `cropping` applies.
    """

    aspect: float
    cropping: Crop
    stored: tuple[int, int]

    def stretch(self, frame: Any) -> tuple[float, float]:
        """Return by how much the rows and the columns of `pixels` are stretched."""
        return (self.aspect, 1.0) if _is_turned(_matrix(frame)) else (1.0, self.aspect)

    def pixels(self, frame: Any) -> UInt8[np.ndarray, "row column 3"]:
        """Return the pixels of a frame, cropped, turned and mirrored, but not stretched."""
        pixels = frame.to_ndarray(format="rgb24")
        top, bottom, left, right = self._cropping(frame)
        pixels = pixels[top : len(pixels) - bottom, left : pixels.shape[1] - right]
        matrix = _matrix(frame)
        if _is_turned(matrix):
            pixels = pixels.swapaxes(0, 1)
        # x' = a x + c y and y' = b x + d y
        (a, b), (c, d) = matrix
        columns, rows = (c, b) if _is_turned(matrix) else (a, d)
        return pixels[:: -1 if rows < 0 else 1, :: -1 if columns < 0 else 1]

    def size(self, frame: Any) -> tuple[float, float]:
        """Return height and width of a frame as players show it, in square pixels."""
        top, bottom, left, right = self._cropping(frame)
        rows, columns = frame.height - top - bottom, frame.width - left - right
        if _is_turned(_matrix(frame)):
            rows, columns = columns, rows
        stretch = self.stretch(frame)
        return rows * stretch[0], columns * stretch[1]

    def _cropping(self, frame: Any) -> Crop:
        top, bottom, left, right = self.cropping
        fits = top + bottom < frame.height and left + right < frame.width
        return self.cropping if fits and (frame.height, frame.width) == self.stored else (0, 0, 0, 0)


def _view(stream: Any, cropped: Crop) -> _View:
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    aspect = aspect if 1 / _WIDEST <= aspect <= _WIDEST else 1.0
    return _View(aspect, cropped, (stream.codec_context.height, stream.codec_context.width))


def _matrix(frame: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the display matrix of a frame, ((a, b), (c, d)), without the shift that it has besides."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (1, 0), (0, 1)
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(data)[:36], np.int32))
    return (a, b), (c, d)


def _is_turned(matrix: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Whether rows become columns."""
    (a, b), (c, d) = matrix
    return abs(b) + abs(c) > abs(a) + abs(d)


def _part(
    view: _View, frame: Any, crop: Crop | None, first: tuple[float, float], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a frame as players show it, cut and resized; `first` is the size of the first frame shown."""
    pixels, (rows, columns) = view.pixels(frame), view.stretch(frame)
    if crop is not None:
        top, bottom, left, right = crop
        require(
            bottom <= round(first[0]) and right <= round(first[1]),
            f"`crop` {crop} reaches beyond its frames of {first[0]:.0f} x {first[1]:.0f}",
        )
        rows, columns = first[0] / pixels.shape[0], first[1] / pixels.shape[1]
        top, left = math.floor(top / rows), math.floor(left / columns)
        pixels = pixels[top : math.ceil(bottom / rows), left : math.ceil(right / columns)]
    shown = pixels.shape[0] * rows, pixels.shape[1] * columns
    scale = min(shown[1] / width, shown[0] / height)
    left, top = (shown[1] - width * scale) / 2, (shown[0] - height * scale) / 2
    box = (left / columns, top / rows, (left + width * scale) / columns, (top + height * scale) / rows)
    image = need("PIL.Image")
    picture = image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), image.Resampling.BICUBIC, box=box))


def encode_jpg(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Return a picture as a JPEG of quality 95, with colour at full resolution."""
    content = io.BytesIO()
    need("PIL.Image").fromarray(picture).save(content, "JPEG", quality=95, subsampling=0)
    return content.getvalue()

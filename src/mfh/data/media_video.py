"""Pictures of a clip: frames evenly spaced in time, upright, cut out, resized; or laid out in one picture."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mfh._checks import InputError, listing, require
from mfh.data.media import Source, need, opened

Crop = tuple[int, int, int, int]


def layout(frames: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid that lays `frames` out in a picture, its tiles as square as can be.

    Raises:
        InputError: no grid of so many tiles divides the picture evenly; the text lists what would.

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
    """Decode evenly spaced frames of the first video track into one RGB picture.

    The frames are those of `decode_frames`, each with the shape of a tile, set row by row, left to right,
    into the grid of `layout`: by default eight tiles of 128 x 128 in two rows of four.

    Raises:
        InputError: there is no video, fewer frames than asked for, or it is cut short or damaged.
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
    """Decode evenly spaced frames of the first video track, as RGB.

    Taken are the frames that are seen at (i + 1/2) / frames of the track's length: of n frames at an even
    rate those at floor((i + 1/2) n / frames), and at an uneven one those that a viewer sees then. Each is
    turned upright where the file says so, cut to its centre with the shape wanted, and resized (bicubic,
    antialiased).

    Args:
        source: path or content of the clip.
        frames: how many.
        height: of the result, in pixels.
        width: likewise.
        crop: top, bottom, left and right, in pixels of the upright frame, of the part to take; by default all
            of it. Bottom and right are the first row and column that are left out.
        repeat: whether a track of fewer frames gives some of them several times.

    Raises:
        InputError: there is no video, fewer frames than asked for (without `repeat`), `crop` reaches beyond
            them, or the track is cut short or damaged.
    """
    times, end, promised = _timeline(source)
    least = 1 if repeat else frames
    require(promised >= least, f"the video has {promised} frames, {least} are needed")
    require(len(times) > 0, f"video cut short: 0 of {promised} frames decode")
    with opened(source) as (_, container):
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # clips are decoded side by side
        wanted = _seen_at(times, end, frames)
        taken: list[np.ndarray] = []
        decoded = 0
        for number, frame in _numbered(container.decode(stream), times):
            decoded, last = decoded + 1, frame
            if len(taken) < frames and number >= wanted[len(taken)]:
                require(not frame.is_corrupt, f"the video is damaged at frame {number}")
                taken += [_part(frame, crop, height, width)] * bisect_right(wanted[len(taken) :], number)
    # containers promise a frame or two that their edit lists drop
    whole = decoded > 0 and promised - decoded <= max(2, 0.02 * promised)
    require(whole, f"video cut short: {decoded} of {promised} frames decode")
    if len(taken) < frames:
        taken += [_part(last, crop, height, width)] * (frames - len(taken))
    return np.stack(taken)


def _timeline(source: Source) -> tuple[list[int], int, int]:
    """When each frame is shown, ascending, when the last one ends, and how many the file promises.

    Where no times are noted, a frame's is its number. Nothing is decoded, and the file is opened for this
    alone: going back to the start loses frames in MPEG-1.
    """
    with opened(source) as (_, container):
        require(len(container.streams.video) > 0, "no video track")
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        promised = max(stream.frames, len(packets))
    times = sorted(p.pts for p in packets if p.pts is not None)
    if not times or len(set(times)) < len(packets):
        return list(range(len(packets))), len(packets), promised
    last = max(packets, key=lambda packet: packet.pts)
    gaps = sorted(later - time for time, later in pairwise(times)) or [1]
    return times, times[-1] + (last.duration or gaps[len(gaps) // 2]), promised


def _seen_at(times: Sequence[int], end: int, count: int) -> list[int]:
    """Numbers of the frames that are shown in the middle of each of `count` equal parts of the time."""
    length = end - times[0]
    return [bisect_right(times, times[0] + (2 * i + 1) * length // (2 * count)) - 1 for i in range(count)]


def _numbered(frames: Iterable[Any], times: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their numbers, by the time they bear, else by counting."""
    place = {time: number for number, time in enumerate(times)}
    for counted, frame in enumerate(frames):
        yield place.get(frame.pts, counted), frame


def _part(frame: Any, crop: Crop | None, height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """A frame upright, cut and resized."""
    pixels = frame.to_ndarray(format="rgb24")
    pixels = np.rot90(pixels, round(frame.rotation / 90))  # both count against the clock
    if crop is not None:
        top, bottom, left, right = crop
        require(
            bottom <= pixels.shape[0] and right <= pixels.shape[1],
            f"`crop` {crop} reaches beyond its frames of {pixels.shape[0]} x {pixels.shape[1]}",
        )
        pixels = pixels[top:bottom, left:right]
    rows, columns = pixels.shape[:2]
    scale = min(columns / width, rows / height)
    left, top = (columns - width * scale) / 2, (rows - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    image = need("PIL.Image")
    picture = image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), image.Resampling.BICUBIC, box=box))

"""Sound and pictures of a clip: decoding with FFmpeg (PyAV), MFCCs (librosa), frames laid out in one picture.

The packages come with the extra `av` and are imported on first use. Damaged input raises `InputError` whose
text is short enough to stand as the reason in a list of skipped clips.
"""

import importlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mfh._checks import InputError, listing, require

SAMPLE_RATE = 22050
NUM_MFCC = 40
AUDIO_FRAMES = 256
WINDOW_SECONDS = 3.5
SILENCE_DB = 30
MAX_SECONDS = 600
_FFT = 2048

Source = Path | bytes


def need(name: str) -> Any:
    """Import a package of the extra `av`.

    Raises:
        InputError: it is not installed; the text says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"`{name.partition('.')[0]}` is needed here and cannot be imported: pip install 'mfh[av]'."
        ) from error


def decode_audio(source: Source, rate: int = SAMPLE_RATE) -> Float32[np.ndarray, " sample"]:
    """Decode the first audio track, resampled to `rate` Hz; the channels are averaged.

    Averaged and not mixed by FFmpeg, which would make a recording with two equal channels 3 dB louder than
    the same recording with one.

    Raises:
        InputError: there is no sound, it is all zeros, longer than 10 minutes, cut short or damaged.
    """
    _require_whole_riff(source)
    pieces = []
    with _opened(source) as (av, container):
        require(len(container.streams.audio) > 0, "no audio track")
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", rate=rate)
        heard = 0.0
        for frame in container.decode(stream):
            heard += frame.samples / frame.sample_rate
            require(heard <= MAX_SECONDS, f"the audio is longer than {MAX_SECONDS} seconds")
            pieces += [piece.to_ndarray() for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray() for piece in resampler.resample(None)] if pieces else []
        promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
    waveform = np.concatenate(pieces, axis=1).mean(axis=0) if pieces else np.zeros(0, np.float32)
    require(len(waveform) > 0, "the audio has length zero")
    seconds = len(waveform) / rate
    require(
        seconds > 0.95 * promised - 0.1, f"audio cut short: {seconds:.2f} of {promised:.2f} seconds decode"
    )
    require(bool(waveform.any()), "the audio is silent: every sample is 0")
    return waveform


def mfcc(
    waveform: Float32[np.ndarray, " sample"],
    rate: int = SAMPLE_RATE,
    *,
    frames: int = AUDIO_FRAMES,
    seconds: float = WINDOW_SECONDS,
    coefficients: int = NUM_MFCC,
) -> Float32[np.ndarray, "coefficient frame"]:
    """Mel-frequency cepstral coefficients of an utterance, with a fixed number of frames.

    A window of `seconds` around the middle of the utterance is taken (what is more than 30 dB under the peak
    at either end does not count as utterance), with zeros where the clip is shorter, so that the tempo of
    speech is kept. The hop is round(seconds x rate / frames) samples: 301 by default, 13.7 ms. Otherwise
    librosa's defaults hold: Fourier windows of 2048 samples, 128 mel bands, power in dB with 80 dB of range,
    DCT-II, neither scaled nor liftered.

    Args:
        waveform: samples in about [-1, 1].
        rate: of the waveform, in Hz.
        frames: number of frames T of the result.
        seconds: length of the window; the last frame is centred on its end.
        coefficients: number of coefficients, from the 0th on.

    Raises:
        InputError: the window is shorter than one Fourier window.
    """
    hop = hop_length(frames, seconds, rate)
    window = _around_utterance(waveform, hop * (frames - 1))
    result = need("librosa.feature").mfcc(y=window, sr=rate, n_mfcc=coefficients, hop_length=hop, n_fft=_FFT)
    return np.ascontiguousarray(result, dtype=np.float32)


def hop_length(frames: int, seconds: float, rate: int = SAMPLE_RATE) -> int:
    """Samples between two of `frames` audio frames that span `seconds`.

    Raises:
        InputError: together they are shorter than one Fourier window of 2048 samples.

    Example:
        >>> hop_length(256, 3.5)
        301
    """
    require(frames >= 2, f"`audio_frames` must be 2 or more. Got {frames}.")
    hop = round(seconds * rate / frames)
    require(
        hop * (frames - 1) >= _FFT,
        f"`seconds` must be longer than {_FFT / rate:.2f} at {rate} Hz, a Fourier window. Got {seconds}.",
    )
    return hop


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

    Of n frames those at floor((i + 1/2) n / frames) are taken, each cut to its centre with the shape of a
    tile, resized (bicubic, antialiased) and set row by row, left to right, into the grid of `layout`: by
    default eight tiles of 128 x 128 in two rows of four.

    Raises:
        InputError: there is no video, fewer frames than asked for, or it is cut short or damaged.
    """
    rows, columns = layout(frames, height, width)
    tile = (height // rows, width // columns)
    taken = []
    with _opened(source) as (_, container):
        require(len(container.streams.video) > 0, "no video track")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # clips are decoded side by side
        promised = stream.frames or _count_packets(container, stream)
        require(promised >= frames, f"the video has {promised} frames, {frames} are needed")
        wanted = {int((i + 0.5) * promised / frames) for i in range(frames)}
        decoded = 0
        for frame in container.decode(stream):
            if decoded in wanted:
                require(not frame.is_corrupt, f"the video is damaged at frame {decoded}")
                taken.append(_centred(frame.to_ndarray(format="rgb24"), *tile))
            decoded += 1
    # containers promise a frame or two that their edit lists drop
    require(
        len(taken) == frames and promised - decoded <= max(2, 0.02 * promised),
        f"video cut short: {decoded} of {promised} frames decode",
    )
    grid = np.stack(taken).reshape(rows, columns, *tile, 3)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape(height, width, 3))


@contextmanager
def _opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """PyAV and an open container; every failure of FFmpeg inside becomes an InputError."""
    av = need("av")
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    require(size > 0, "the file is empty")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        with av.open(file, metadata_errors="replace") as container:
            yield av, container
    except InputError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"FFmpeg cannot decode it: {reason}") from error


def _require_whole_riff(source: Source) -> None:
    """A wav that was cut off still decodes without complaint; only its header tells."""
    if isinstance(source, bytes):
        head, size = source[:8], len(source)
    else:
        with source.open("rb") as file:
            head, size = file.read(8), source.stat().st_size
    if head[:4] == b"RIFF":
        promised = int.from_bytes(head[4:8], "little")
        # streaming writers leave all ones or nothing there
        require(
            promised in (0, 0xFFFFFFFF) or promised + 8 <= size,
            f"wav cut short: {size} of {promised + 8} bytes are there",
        )


def _around_utterance(
    waveform: Float32[np.ndarray, " sample"], length: int
) -> Float32[np.ndarray, " length"]:
    start, end = need("librosa.effects").trim(waveform, top_db=SILENCE_DB)[1]
    first = int(start + end) // 2 - length // 2
    low, high = max(first, 0), min(first + length, len(waveform))
    window = np.zeros(length, np.float32)
    window[low - first : high - first] = waveform[low:high]
    return window


def _count_packets(container: Any, stream: Any) -> int:
    count = sum(1 for packet in container.demux(stream) if packet.size)
    container.seek(0)
    return count


def _centred(
    pixels: UInt8[np.ndarray, "rows columns 3"], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
    rows, columns = pixels.shape[:2]
    scale = min(columns / width, rows / height)
    left, top = (columns - width * scale) / 2, (rows - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    image = need("PIL.Image")
    return np.asarray(image.fromarray(pixels).resize((width, height), image.Resampling.BICUBIC, box=box))

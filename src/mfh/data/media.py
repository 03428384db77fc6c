"""Sound of a clip: decoding with FFmpeg (PyAV), MFCCs (librosa). For its pictures see `media_video`.

The packages come with the extra `av` and are imported on first use. Damaged input raises `InputError` whose
text is short enough to stand as the reason in a list of skipped clips.
"""

import importlib
import io
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mfh._checks import InputError, require

SAMPLE_RATE = 22050
NUM_MFCC = 40
AUDIO_FRAMES = 256
WINDOW_SECONDS = 3.5
SILENCE_DB = 30
MAX_SECONDS = 600
MAX_PIXELS = 2**26
# Not those of play lists, which name other files and addresses for FFmpeg to open.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav", "mpeg", "mpegts", "mpegvideo", "flv", "asf",
    "ogg", "flac", "mp3", "aac", "aiff", "w64", "h264", "hevc", "m4v", "ivf", "nut",
)  # fmt: skip
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
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
    with opened(source) as (av, container):
        require(len(container.streams.audio) > 0, "no audio track")
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", rate=rate)
        heard = 0.0
        for frame in container.decode(stream):
            heard += frame.samples / frame.sample_rate
            require(heard <= MAX_SECONDS, f"the audio is longer than {MAX_SECONDS} seconds")
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(None)] if pieces else []
        promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
    waveform = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
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


def encode_wav(waveform: Float32[np.ndarray, " sample"], *, rate: int) -> bytes:
    """A wav, mono, 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(waveform.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return content.getvalue()


@contextmanager
def opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """PyAV and an open container; every failure of FFmpeg inside becomes an InputError."""
    av = need("av")
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    require(size > 0, "the file is empty")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
        with av.open(file, metadata_errors="replace", container_options=OPTIONS) as container:
            for stream in container.streams.video:
                if stream.codec_context is not None:  # else FFmpeg has no decoder for it
                    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
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

"""Sound of a clip: decoding with FFmpeg (PyAV), MFCCs (librosa). For its pictures see `media_video`.

Damaged input raises `InputError` with a text short enough to be the reason in a list of skipped clips.
"""

import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

from mfh._checks import require
from mfh.data.containers import (
    TIMELESS,
    Reach,
    opened,
    promised_seconds,
    track,
)
from mfh.data.containers import need as need
from mfh.data.riff import Source, empty_chunks, require_whole

SAMPLE_RATE = 22050
NUM_MFCC = 40
AUDIO_FRAMES = 256
WINDOW_SECONDS = 3.5
SILENCE_DB = 30
MAX_SECONDS = 600
LARGEST = 1e15
"""Samples beyond this size are damage: the power of a Fourier window of them exceeds 32-bit floats."""
PAUSE = 0.05
"""Seconds without sound, by the time stamps, from which on they are filled with silence."""
_JITTER = 0.01  # seconds: smaller jumps of the time stamps are rounding, or a clock that runs fast or slow
_RESET = 0.5  # seconds: a larger jump back is a new clock, as where two files were joined
_FFT = 2048


def decode_audio(source: Source, rate: int = SAMPLE_RATE) -> Float32[np.ndarray, " sample"]:
    """Decode the default audio track, resampled to `rate` Hz; the channels are averaged.

    They are averaged here and not mixed by FFmpeg, which would make a recording with two equal channels 3 dB
    louder than the same recording with one. Where the channels cancel each other (their mean has less than a
    tenth of the power that unrelated channels would leave), the loudest channel is taken in their place.

    The sample rate, the channels and the sample format may change midway. A pause without packets becomes
    silence of the same length. The default track is the first that is marked so, or the first of all.

    Args:
        source: path or content of the clip.
        rate: sample rate of the result, in Hz.

    Raises:
        InputError: there is no sound, it is all zeros, not finite, longer than 10 minutes, cut short or
            damaged. Where there are several tracks, the text names the one that was taken.
    """
    waveform, cancelled = _decoded(source, rate, {})
    return _decoded(source, rate, cancelled)[0] if cancelled else waveform


def _decoded(
    source: Source, rate: int, channels: Mapping[int, int]
) -> tuple[Float32[np.ndarray, " sample"], dict[int, int]]:
    """Decode a track once.

    Args:
        source: see `decode_audio`.
        rate: see `decode_audio`.
        channels: number of a stretch -> the one channel to take of it; of others the mean is taken.

    Returns:
        The waveform, and the loudest channel of every stretch whose channels cancel each other.
    """
    require_whole(source)
    with opened(source) as (av, container):
        stream, name = track(container, "audio")
        sound = _Sound(av, rate, channels, has_times=container.format.name not in TIMELESS)
        reach = Reach(container)
        absent = empty_chunks(source, stream.index) if container.format.name == "avi" else []
        for packet in reach.packets(stream):
            if _is_tag(packet):
                continue
            while absent and packet.pos is not None and absent[0] < packet.pos:
                sound.silence(float(stream.time_base))
                del absent[0]
            for frame in packet.decode():
                sound.add(frame)
                require(
                    sound.seconds <= MAX_SECONDS,
                    f"the {name}, with its pauses, is longer than {MAX_SECONDS} seconds",
                )
        sound.close()
        promised = promised_seconds(source, container, stream)
    waveform = np.concatenate(sound.pieces) if sound.pieces else np.zeros(0, np.float32)
    require(len(waveform) > 0, f"the {name} has length zero")
    seconds = len(waveform) / rate
    require(
        seconds > 0.95 * promised - 0.1,
        f"{name} cut short: {seconds:.2f} of {promised:.2f} seconds decode",
    )
    reach.require_end()
    usable = np.abs(waveform) <= LARGEST  # false for NaN
    require(
        bool(usable.all()),
        f"the {name} is not finite: it has NaN, infinity or a value beyond {LARGEST:g} at "
        f"{usable.argmin() / rate:.2f} seconds",
    )
    cancelled = {} if channels else sound.cancelled()
    require(bool(cancelled) or bool(waveform.any()), f"the {name} is silent: every sample is 0")
    return waveform, cancelled


def _is_tag(packet: Any) -> bool:
    """Whether a packet is an ID3 tag, as where two mp3 files were joined."""
    return packet.size > 3 and bytes(memoryview(packet)[:3]) == b"ID3"


@dataclass
class _Stretch:
    """Consecutive frames of one rate, one layout and one sample format.

    Attributes:
        resampler: PyAV's, for them.
        channel: the one to take; None takes the mean.
        energy: sum of squares of every channel.
        mean_energy: sum of squares of the mean of the channels.
    """

    resampler: Any
    channel: int | None
    energy: Any = 0.0
    mean_energy: float = 0.0

    def add(self, frame: Any) -> list[Float32[np.ndarray, " sample"]]:
        """Resample a frame, or with None the rest that the resampler keeps, to one channel."""
        pieces = []
        for resampled in self.resampler.resample(frame):
            if resampled is None:  # nothing is kept where nothing had to be resampled
                continue
            values = resampled.to_ndarray()
            mean = values.mean(axis=0)
            self.energy = self.energy + np.square(values, dtype=np.float64).sum(axis=1)
            self.mean_energy += float(np.square(mean, dtype=np.float64).sum())
            pieces.append(mean if self.channel is None else values[self.channel])
        return pieces

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other when they are averaged."""
        count = np.size(self.energy)
        return count > 1 and 10 * count * self.mean_energy < float(np.mean(self.energy))


@dataclass
class _Sound:
    """The sound of a track while it is decoded: one channel, one rate, silence in its pauses.

    Attributes:
        av: PyAV.
        rate: of the result, in Hz.
        channels: see `_decoded`.
        has_times: whether the file has time stamps, which show its pauses.
        seconds: length so far, pauses among it.
        pieces: the waveform so far.
        stretches: see `_Stretch`.
    """

    av: Any
    rate: int
    channels: Mapping[int, int]
    has_times: bool
    seconds: float = 0.0
    pieces: list[np.ndarray] = field(default_factory=list)
    stretches: list[_Stretch] = field(default_factory=list)
    _kind: tuple[object, ...] = ()
    _end: float | None = None
    _missing: float = 0.0

    def add(self, frame: Any) -> None:
        """Append a frame, and before it the pause that its time stamp leaves."""
        length = frame.samples / frame.sample_rate
        self.silence(self._pause(frame.time, length))
        self.seconds += length
        kind = (frame.sample_rate, frame.layout.name, frame.layout.nb_channels, frame.format.name)
        if kind != self._kind:
            self.close()
            resampler = self.av.AudioResampler(format="fltp", rate=self.rate)
            self.stretches.append(_Stretch(resampler, self.channels.get(len(self.stretches))))
            self._kind = kind
        frame.pts = None  # `_pause` has dealt with jumps of the time stamps
        self.pieces += self.stretches[-1].add(frame)

    def silence(self, seconds: float) -> None:
        """Append silence."""
        if seconds == 0:
            return
        self.close()
        self.seconds += seconds
        if self.seconds <= MAX_SECONDS:
            self.pieces.append(np.zeros(round(seconds * self.rate), np.float32))

    def close(self) -> None:
        """Append what the last resampler keeps, and let the next frame begin a stretch."""
        if self._kind:
            self.pieces += self.stretches[-1].add(None)
        self._kind = ()

    def cancelled(self) -> dict[int, int]:
        """Return the loudest channel of every stretch whose channels cancel each other."""
        return {
            number: int(np.argmax(stretch.energy))
            for number, stretch in enumerate(self.stretches)
            if stretch.cancels
        }

    def _pause(self, time: float | None, length: float) -> float:
        """Return the seconds of silence that belong before a frame.

        Jumps of the time stamps, forward and back, are summed up, so that packets which come irregularly but
        lose nothing leave no pause.
        """
        if time is None or not self.has_times:
            self._end = None if self._end is None else self._end + length
            return 0.0
        jump = 0.0 if self._end is None else time - self._end
        self._end = time + length
        if jump < -_RESET:
            self._missing = 0.0
        elif abs(jump) > _JITTER:
            self._missing += jump
        pause = self._missing if self._missing > PAUSE else 0.0
        self._missing -= pause
        return pause


def mfcc(
    waveform: Float32[np.ndarray, " sample"],
    rate: int = SAMPLE_RATE,
    *,
    frames: int = AUDIO_FRAMES,
    seconds: float = WINDOW_SECONDS,
    coefficients: int = NUM_MFCC,
) -> Float32[np.ndarray, "coefficient frame"]:
    """Return mel-frequency cepstral coefficients of an utterance, with a fixed number of frames.

    They are those of a window of `seconds` around the middle of the utterance; sound at either end that is
    more than 30 dB below the peak does not belong to the utterance. A clip that is shorter than the window is
    padded with zeros, so that the tempo of speech stays the same. The hop is round(seconds x rate / frames)
    samples: 301 by default, 13.7 ms. All else is librosa's default: Fourier windows of 2048 samples, 128 mel
    bands, power in dB with a range of 80 dB, and DCT-II, neither scaled nor liftered.

    Args:
        waveform: samples in about [-1, 1].
        rate: of the waveform, in Hz.
        frames: number of frames T of the result.
        seconds: length of the window; the last frame is centred on its end.
        coefficients: number of coefficients, from the 0th on.

    Raises:
        InputError: the window is shorter than one Fourier window, or the result is not finite.
    """
    hop = hop_length(frames, seconds, rate)
    window = _around_utterance(waveform, hop * (frames - 1))
    result = need("librosa.feature").mfcc(y=window, sr=rate, n_mfcc=coefficients, hop_length=hop, n_fft=_FFT)
    require(bool(np.isfinite(result).all()), "its MFCCs are not finite")
    return np.ascontiguousarray(result, dtype=np.float32)


def hop_length(frames: int, seconds: float, rate: int = SAMPLE_RATE) -> int:
    """Return the number of samples between two of `frames` audio frames that span `seconds`.

    Raises:
        InputError: the frames together are shorter than one Fourier window of 2048 samples.

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
    """Return a waveform in [-1, 1] as a mono wav of 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(waveform.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return content.getvalue()


def _around_utterance(
    waveform: Float32[np.ndarray, " sample"], length: int
) -> Float32[np.ndarray, " length"]:
    start, end = need("librosa.effects").trim(waveform, top_db=SILENCE_DB)[1]
    first = int(start + end) // 2 - length // 2
    low, high = max(first, 0), min(first + length, len(waveform))
    window = np.zeros(length, np.float32)
    window[low - first : high - first] = waveform[low:high]
    return window

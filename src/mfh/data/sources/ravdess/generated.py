"""Generated clips with RAVDESS names, in which tone and picture show known parts of the label.

The teacher's share is therefore known. The label 0-7 has three bits. Tone and picture both show the `shared`
bits, only the tone shows the `audio_only` bits, and only the picture shows the rest. A teacher that hears the
tone decides by shared + audio_only bits, and a student that sees the picture can learn the shared ones: the
teacher's share is shared / (shared + audio_only), and the paper's gamma is shared / 3.
"""

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mfh._checks import require
from mfh._system.files import writable_folder
from mfh.data import media
from mfh.data.preparation import write_bytes
from mfh.data.sources.ravdess.clips import EMOTIONS, ClipName

NUM_BITS = 3
RATE = 24000
_TONES = ((320.0, 480.0), (960.0, 1440.0), (2880.0, 4320.0))
_SIDE = 64
_FPS = 12


@dataclass(frozen=True)
class GeneratedClips:
    """Result of `generate_clips`.

    Attributes:
        folder: folder of the clips, with one folder per actor.
        clips: number of recordings; each is an mp4 with sound and a wav.
        teacher_share: shared / (shared + audio_only), in [0, 1]: the modality-general part of what an audio
            teacher can use.
        gamma: shared / 3, the paper's share over both modalities.
        best_audio: the accuracy of one who knows all bits of the tone, in percent.
        best_image: the accuracy of one who knows all bits of the picture, in percent.
    """

    folder: Path
    clips: int
    teacher_share: float
    gamma: float
    best_audio: float
    best_image: float


def generate_clips(
    folder: Path | str,
    *,
    shared: int = 1,
    audio_only: int = 1,
    actors: int = 15,
    statements: int = 2,
    repetitions: int = 2,
    seconds: float = 1.5,
    noise: float = 0.3,
    generator: np.random.Generator,
) -> GeneratedClips:
    """Encode clips (H.264 with AAC, 16-bit wav) with the names of RAVDESS speech, normal intensity.

    In the tone each bit is one of two frequencies in a band of its own (320 or 480 Hz, 960 or 1440 Hz, 2880
    or 4320 Hz), over white noise, and the loudness rises and falls. In the picture each bit is a bright disc
    on the left or the right, one bit above the other, over noise. Actors differ by up to 3% in pitch and in
    the grey of the background, which is independent of the label.

    Args:
        folder: folder for `Actor_01` and so on.
        shared: number of label bits that tone and picture show, 0-3.
        audio_only: number of label bits that only the tone shows; together with `shared` 1-3. The picture
            shows the rest.
        actors: 1-24; every actor speaks all eight emotions.
        statements: 1 or 2 per emotion.
        repetitions: 1 or 2 of each statement. The defaults give 15 x 8 x 2 x 2 = 480 clips.
        seconds: length of a clip.
        noise: standard deviation of the noise relative to a tone's amplitude and to a disc's brightness.
        generator: fixes everything random.

    Raises:
        InputError: a number is out of range, or the folder cannot be written.
    """
    ranges = {
        "shared": (shared, 0, NUM_BITS),
        "audio_only": (audio_only, 0, NUM_BITS),
        "shared + audio_only": (shared + audio_only, 1, NUM_BITS),
        "actors": (actors, 1, 24),
        "statements": (statements, 1, 2),
        "repetitions": (repetitions, 1, 2),
        "seconds": (seconds, 0.5, 10),
        "noise": (noise, 0, 10),
    }
    for setting, (value, low, high) in ranges.items():
        require(low <= value <= high, f"`{setting}` must lie in {low} ... {high}. Got {value}.")
    folder = writable_folder(folder, "folder")
    image_bits = [*range(shared), *range(shared + audio_only, NUM_BITS)]
    count = 0
    for actor in range(1, actors + 1):
        pitch, grey = 1 + generator.uniform(-0.03, 0.03), generator.uniform(60, 100)
        for name in _names(actor, statements, repetitions):
            bits = [(name.label >> place) & 1 for place in range(NUM_BITS)]
            heard = {bit: bits[bit] for bit in range(shared + audio_only)}
            waveform = _tone(heard, pitch, seconds, noise, generator)
            frames = _frames({bit: bits[bit] for bit in image_bits}, grey, seconds, noise, generator)
            place = folder / f"Actor_{actor:02d}"
            write_bytes(place / f"01-{name.recording}.mp4", encode_mp4(frames, waveform))
            write_bytes(place / f"03-{name.recording}.wav", media.encode_wav(waveform, rate=RATE))
            count += 1
    return GeneratedClips(
        folder=folder,
        clips=count,
        teacher_share=float(Fraction(shared, shared + audio_only)),
        gamma=shared / NUM_BITS,
        best_audio=100 * 2.0 ** (shared + audio_only - NUM_BITS),
        best_image=100 * 2.0 ** (len(image_bits) - NUM_BITS),
    )


def encode_mp4(
    frames: UInt8[np.ndarray, "frame height width 3"],
    waveform: Float32[np.ndarray, " sample"] | None,
    *,
    fps: int = _FPS,
    rate: int = RATE,
) -> bytes:
    """Return an mp4 (H.264, and AAC for a waveform) with its index at the front, as in distributed clips."""
    av = media.need("av")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"})
            video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
            video.codec_context.thread_count = 1
            audio = None if waveform is None else container.add_stream("aac", rate=rate, layout="mono")
            for frame in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(video.encode())
            if waveform is not None and audio is not None:
                sound = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
                sound.sample_rate = rate
                container.mux(audio.encode(sound))
                container.mux(audio.encode())
        return path.read_bytes()


def _names(actor: int, statements: int, repetitions: int) -> list[ClipName]:
    return [
        ClipName(1, 1, emotion, 1, statement, repetition, actor)
        for emotion in range(1, len(EMOTIONS) + 1)
        for statement in range(1, statements + 1)
        for repetition in range(1, repetitions + 1)
    ]


def _tone(
    bits: dict[int, int], pitch: float, seconds: float, noise: float, generator: np.random.Generator
) -> Float32[np.ndarray, " sample"]:
    amplitude = 0.1
    time = np.arange(round(seconds * RATE)) / RATE
    waveform = noise * generator.standard_normal(len(time))
    for bit, value in bits.items():
        phase = generator.uniform(0, 2 * np.pi)
        loudness = generator.uniform(0.7, 1.3)
        waveform += loudness * np.sin(2 * np.pi * _TONES[bit][value] * pitch * time + phase)
    envelope = np.sin(np.pi * time / seconds)
    return (amplitude * envelope * waveform).astype(np.float32)


def _frames(
    bits: dict[int, int], grey: float, seconds: float, noise: float, generator: np.random.Generator
) -> UInt8[np.ndarray, "frame height width 3"]:
    brightness = 100.0
    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    still = np.full((_SIDE, _SIDE), grey)
    for bit, value in bits.items():
        jitter_x, jitter_y = generator.uniform(-0.04, 0.04, 2)
        centre_x, centre_y = (0.7 if value else 0.3) + jitter_x, (bit + 0.5) / NUM_BITS + jitter_y
        still[(x - centre_x) ** 2 + (y - centre_y) ** 2 < 0.12**2] += brightness
    count = max(round(seconds * _FPS), 8)
    moving = still + noise * brightness * generator.standard_normal((count, _SIDE, _SIDE))
    grey_frames = moving.clip(0, 255).astype(np.uint8)
    return np.repeat(grey_frames[..., None], 3, axis=-1)

"""AV-MNIST: an image and a recording of the same digit, both made hard to read.

MNIST images lose the principal components with 75% of the energy; recordings of the Free Spoken Digit Dataset
(six speakers, CC BY-SA 4.0) become log-mel spectrograms with noise. The two sources share only the digit.
(Vielzeuf and others, CentralNet, 2018, arXiv 1808.07275, who took other recordings.)
"""

import hashlib
import io
import logging
import re
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, UInt8

from mfh._checks import InputError, require
from mfh._system.files import read_arrays, writable_folder, write_npz
from mfh.data import media
from mfh.data.archives import stored_files
from mfh.data.download import fetch
from mfh.data.riff import require_whole

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
FSDD_URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip"
FSDD_CONTENT = "45a9b976ba3397a2fd5c70a9f2e43c34f442a3a6be47392ecfc41174b678f37e"
"""SHA-256 of the names and bytes of the 3,000 recordings, in order of their names, in any archive."""
RATE = 8000
SECONDS = 1.0
MELS, FRAMES = 24, 16
IMAGE_SHAPE, AUDIO_SHAPE = (28, 28), (MELS, FRAMES)
_NAME = re.compile(r"(\d)_(\w+)_(\d{1,9})\.wav", re.ASCII)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One spoken digit: its waveform in [-1, 1] at 8 kHz."""

    digit: int
    speaker: str
    take: int
    waveform: Float32[np.ndarray, " value"]


def prepare(
    out: Path | str,
    *,
    mnist: Path | str | None = None,
    fsdd: Path | str | None = None,
    energy: float = 0.75,
    snr: float = 20.0,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write `avmnist.npz`: `image` (sample, 784), `audio` (sample, 384), `both`, `label`, `speaker`, `id`.

    Every recording is used once, each with another image, so splits that share no speaker share no image.
    The principal components are those of MNIST's test images, none of which becomes a sample.

    Args:
        out: the npz to write.
        mnist: npz with `x_train`, `y_train`, `x_test`; by default downloaded beside `out` and verified.
        fsdd: folder or zip of the wavs, such as the zip at `FSDD_URL`. It is not downloaded: GitHub sometimes
            packs it again, so no checksum can verify it before it is opened.
        energy: share of the images' variance in the components that are removed, in [0, 1).
        snr: signal-to-noise ratio of the sound in decibels, with white noise; infinity adds none.
        seed: seed of pairing and noise.
        progress: whether to show downloads on stderr.

    Raises:
        InputError: `fsdd` is not given; a file is absent, damaged or of another kind; a value is out of its
            range.
    """
    out = Path(out)
    require(out.suffix == ".npz", f"`out` must name an .npz file. Got `{out}` instead.")
    require(
        0 <= energy < 1, f"`energy` must lie in [0, 1). Got {energy} instead: no component would be left."
    )
    require(not np.isnan(snr) and snr > -100, f"`snr` must be a number of decibels above -100. Got {snr}.")
    rng = np.random.default_rng(seed)
    require(
        fsdd is not None,
        f"`fsdd` must name a folder or a zip of recordings. Download {FSDD_URL} and name that: no checksum "
        "can verify it before it is opened, so it is not downloaded for you.",
    )
    recordings = _recordings(Path(str(fsdd)))
    arrays = _mnist(mnist, out, progress)
    label = np.array([recording.digit for recording in recordings])
    images = arrays["x_train"][pair_images(arrays["y_train"], label, rng)]
    image = degrade(images, arrays["x_test"], energy)
    audio = np.stack([log_mel(add_noise(fit_length(r.waveform), snr, rng)) for r in recordings])
    flat = {"image": image.reshape(len(label), -1), "audio": audio.reshape(len(label), -1)}
    return write_npz(
        out,
        {
            **flat,
            "both": np.hstack([flat["image"], flat["audio"]]),
            "label": label,
            "speaker": np.array([recording.speaker for recording in recordings]),
            "id": np.array([f"{r.digit}_{r.speaker}_{r.take}" for r in recordings]),
        },
    )


def pair_images(
    labels: Int[np.ndarray, " image"], wanted: Int[np.ndarray, " sample"], generator: np.random.Generator
) -> Int[np.ndarray, " sample"]:
    """Return for each wanted digit another image of it.

    Raises:
        InputError: there are fewer images of a digit than wanted.
    """
    chosen = np.empty(len(wanted), dtype=np.int64)
    for digit in np.unique(wanted):
        images, places = np.flatnonzero(labels == digit), np.flatnonzero(wanted == digit)
        require(
            len(images) >= len(places),
            f"MNIST must have {len(places)} images of the digit {digit}, one a recording. Got {len(images)}.",
        )
        chosen[places] = generator.permutation(images)[: len(places)]
    return chosen


def degrade(
    images: UInt8[np.ndarray, "sample row column"],
    reference: UInt8[np.ndarray, "other row column"],
    energy: float,
) -> Float32[np.ndarray, "sample row column"]:
    """Remove the first principal components of `reference` that have a share of its variance.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> images = rng.integers(256, size=(50, 4, 4), dtype=np.uint8)
        >>> left = degrade(images, images, 0.75).var(axis=0).sum() / (images / 255).var(axis=0).sum()
        >>> bool(0.15 < left <= 0.25)
        True
    """
    values = reference.reshape(len(reference), -1) / 255.0
    mean = values.mean(axis=0)
    size, axes = np.linalg.eigh(np.cov(values.T, bias=True))
    size, axes = size[::-1].clip(0), axes[:, ::-1]
    # the fewest components with the share, so that at most the rest of the variance is left
    count = int(np.searchsorted(np.cumsum(size) / size.sum(), energy - 1e-12) + 1) if energy > 0 else 0
    flat = images.reshape(len(images), -1) / 255.0 - mean
    left = flat - flat @ axes[:, :count] @ axes[:, :count].T
    return left.reshape(images.shape).astype(np.float32)


def fit_length(waveform: Float32[np.ndarray, " value"]) -> Float32[np.ndarray, " fixed"]:
    """Pad with zeros at the end, or cut, to one second."""
    count = int(RATE * SECONDS)
    return np.pad(waveform[:count], (0, max(0, count - len(waveform))))


def add_noise(
    waveform: Float32[np.ndarray, " value"], snr: float, generator: np.random.Generator
) -> Float32[np.ndarray, " value"]:
    """Add white noise `snr` decibels below the sound."""
    power = float((waveform.astype(np.float64) ** 2).mean())
    noise = generator.standard_normal(len(waveform)) * np.sqrt(power / 10 ** (snr / 10))
    return (waveform + noise).astype(np.float32)


def log_mel(waveform: Float32[np.ndarray, " value"]) -> Float32[np.ndarray, "mel frame"]:
    """24 mel bands of 16 frames of one second, in decibels below the loudest, 80 at most."""
    librosa = media.need("librosa")
    hop = len(waveform) // FRAMES
    power = librosa.feature.melspectrogram(y=waveform, sr=RATE, n_fft=1024, hop_length=hop, n_mels=MELS)
    return librosa.power_to_db(power[:, :FRAMES], ref=np.max, top_db=80.0).astype(np.float32)


def read_wav(source: Path | bytes) -> Float32[np.ndarray, " value"]:
    """Read a mono wav of 16 bits at 8 kHz, in [-1, 1].

    Raises:
        InputError: it is another kind of file, cut short or damaged.
    """
    try:
        require_whole(source)
    except InputError as error:
        raise InputError(f"is damaged: {error}") from error
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            kind = file.getnchannels(), file.getsampwidth(), file.getframerate()
            require(kind == (1, 2, RATE), f"must be mono, 16 bits, {RATE} Hz. Got {kind} instead")
            frames = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    except InputError:
        raise
    except (wave.Error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"is no wav: {str(error) or 'it ends early'}") from error
    return frames.astype(np.float32) / 32768


def _mnist(path: Path | str | None, out: Path, progress: bool) -> dict[str, np.ndarray]:
    if path is None:
        folder = writable_folder(out.parent)
        known = f"sha256:{MNIST_SHA256}"
        path = fetch(MNIST_URL, folder / "mnist.npz", known_hash=known, progress=progress)
    arrays = read_arrays(path)
    missing = [name for name in ("x_train", "y_train", "x_test") if name not in arrays]
    require(not missing, f"`mnist` {path} must have x_train, y_train and x_test. It lacks {missing}.")
    shape, kind = arrays["x_train"].shape[1:], arrays["x_train"].dtype
    require(
        shape == IMAGE_SHAPE and kind == np.uint8,
        f"`mnist` {path} must have images of 28 x 28 bytes. Got {shape} of {kind}.",
    )
    return arrays


def _recordings(source: Path) -> list[Recording]:
    found = [(file, _NAME.fullmatch(file.name)) for file in stored_files(source, (".wav",), argument="fsdd")]
    files = sorted(((file, match) for file, match in found if match), key=lambda pair: pair[0].name)
    require(
        len(files) > 0,
        f"`fsdd` must have recordings named digit_speaker_take.wav. There are none in `{source}`.",
    )
    contents = [s if isinstance(s := file.source(), bytes) else s.read_bytes() for file, _ in files]
    names = (file.name for file, _ in files)
    if content_digest(zip(names, contents, strict=True)) != FSDD_CONTENT:
        logger.info("The recordings in `%s` are not the 3,000 of the documented results.", source)
    made = []
    for (file, match), content in zip(files, contents, strict=True):
        try:
            waveform = read_wav(content)
        except InputError as error:
            raise InputError(f"`{file}` {error}.") from error
        made.append(Recording(int(match[1]), match[2], int(match[3]), waveform))
    return made


def content_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 of names and contents, one after another."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(name.encode())
        digest.update(content)
    return digest.hexdigest()

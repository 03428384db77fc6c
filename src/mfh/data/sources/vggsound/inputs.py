"""Inputs of the VGGSound networks: magnitude spectrograms and normalised frames, made on the device."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from mfh.data import imagenet

FFT, HOP = 1024, 512
HEADROOM = 1.1


@dataclass(frozen=True)
class Spectrogram:
    """Magnitude of the short-time Fourier transform of a waveform divided by 1.1 times its largest value.

    The windows have 1024 samples (Hann, periodic), hop 512, and are centred, with zeros beyond both ends, as
    by librosa's default. A clip of L samples has 1 + L // 512 frames; if this is not `frames`, it is resized
    bilinearly.

    Attributes:
        frames: number of frames T; 313 for 10 seconds at 16 kHz.
        log: whether to take log(1 + magnitude). The released networks get the magnitude.
    """

    frames: int = 313
    log: bool = False

    def __call__(
        self, waveforms: Float32[Tensor, "sample 1 time"]
    ) -> Float32[Tensor, "sample 1 513 {self.frames}"]:
        """Transform a batch; a waveform that is shorter than the others ends with NaN."""
        lengths = (~waveforms.isnan()).sum(dim=-1).flatten()
        result = waveforms.new_empty(len(waveforms), 1, FFT // 2 + 1, self.frames)
        for length in lengths.unique().tolist():
            chosen = lengths == length
            result[chosen] = self._resized(magnitude(waveforms[chosen, 0, :length]))
        return result.log1p() if self.log else result

    def _resized(
        self, magnitudes: Float32[Tensor, "sample 513 frame"]
    ) -> Float32[Tensor, "sample 1 513 {self.frames}"]:
        values = magnitudes[:, None]
        if values.shape[-1] == self.frames:
            return values
        return interpolate(values, (values.shape[-2], self.frames), mode="bilinear", align_corners=False)


def magnitude(waveforms: Float[Tensor, "sample time"]) -> Float[Tensor, "sample 513 frame"]:
    """Return |STFT| of waveforms of one length, each divided by 1.1 times its largest absolute value."""
    peaks = waveforms.abs().amax(dim=-1, keepdim=True)
    peaks = peaks.where(peaks > 0, 1)  # silence stays silence
    window = torch.hann_window(FFT, dtype=waveforms.dtype, device=waveforms.device)
    scaled = waveforms / (HEADROOM * peaks)
    return torch.stft(
        scaled, FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    ).abs()


@dataclass(frozen=True)
class NormalizeVideo:
    """Frames as a batch of (3, frames, height, width), by ImageNet's mean and standard deviation.

    Attributes:
        size: height and width to which they are resized (bilinear, antialiased); None keeps their size.
    """

    size: tuple[int, int] | None = None

    def __call__(
        self, values: UInt8[Tensor, "sample frame rows columns 3"]
    ) -> Float32[Tensor, "sample 3 frame height width"]:
        """Normalise a batch."""
        planes = values.movedim(-1, 1)
        if self.size is None or self.size == tuple(planes.shape[-2:]):
            return imagenet.normalize(planes)
        # colours and frames are channels here; resizing first usually leaves less to normalise
        flat = planes.contiguous().flatten(1, 2).float()
        resized = interpolate(flat, self.size, mode="bilinear", antialias=True, align_corners=False)
        return imagenet.normalize(resized.unflatten(1, (3, -1)))

"""VGGSound event classification (section 5 of the MFH paper): a teacher that hears, a student that sees.

mfh vggsound study --data DIR --out DIR --ratio 0.25 0.5 0.75
"""

from dataclasses import replace
from pathlib import Path

from torch import nn

import mfh
from mfh._checks import require
from mfh.config import StudyConfig
from mfh.data.augment import Augment, SpectrogramAugment, VideoAugment
from mfh.data.paired import PairedDataset
from mfh.data.vggsound import load
from mfh.experiments.vggsound_config import InputConfig, NetworkConfig
from mfh.models.vggsound import LAYER, audio_network, video_network
from mfh.results import StudyResult


def open_data(folder: Path | str, inputs: InputConfig | None = None) -> PairedDataset:
    """Read a prepared folder as `inputs` says, with its augmentation.

    Args:
        folder: what `mfh vggsound prepare` wrote.
        inputs: see `InputConfig`.

    Raises:
        InputError: as `mfh.data.vggsound.load`.
    """
    told = inputs or InputConfig()
    size = None if told.size is None else (told.size[0], told.size[-1])
    data = load(
        folder, frames=told.frames, span=(float(told.span[0]), float(told.span[1])), size=size,
        audio_frames=told.audio_frames, log=told.log, cache=told.cache, workers=told.workers,
    )  # fmt: skip
    changes: dict[str, Augment] = {}
    if told.time_shift or told.time_mask or told.frequency_mask:
        changes["audio"] = SpectrogramAugment(
            shift=told.time_shift, time_mask=told.time_mask, frequency_mask=told.frequency_mask
        )
    if told.pixel_shift or told.frame_shift or told.contrast or told.flip:
        changes["video"] = VideoAugment(
            shift=told.pixel_shift, frames=told.frame_shift, contrast=told.contrast, flip=told.flip
        )
    return data.with_augment(changes)


def network(modality: str, config: NetworkConfig, num_classes: int) -> nn.Module:
    """A new network that hears (`audio`) or sees (`video`)."""
    if modality == "audio":
        return audio_network(num_classes, name=config.teacher_network, width=config.width)
    return video_network(num_classes, name=config.student_network, width=config.width)


def study(
    data: PairedDataset,
    out: Path | str | None = None,
    *,
    config: StudyConfig | None = None,
    networks: NetworkConfig | None = None,
    progress: bool = False,
) -> StudyResult:
    """`mfh.study` with the VGGSound networks: every arm and control, on the split that the data bring.

    Args:
        data: as `open_data` reads it.
        out: folder for results; see `mfh.study`.
        config: see `StudyConfig`. Its teacher hears, its student sees, and its `layer` is the pooled features
            unless it names another.
        networks: see `NetworkConfig`.
        progress: whether to show progress on stderr.
    """
    config, built = config or StudyConfig(), networks or NetworkConfig()
    sides = {config.teacher or "audio": "audio", config.student or "video": "video"}
    require(
        all(name == given for given, name in sides.items()),
        f"`teacher` must be `audio` and `student` `video`. Got {config.teacher!r} and {config.student!r}.",
    )
    config = replace(config, teacher="audio", student="video", layer=config.layer or LAYER)
    return mfh.study(
        data,
        lambda: network("audio", built, data.num_classes),
        lambda: network("video", built, data.num_classes),
        config=config,
        out=out,
        progress=progress,
    )

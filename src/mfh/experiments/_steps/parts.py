"""How many samples a processor takes at a time, so that what it computes stays in its cache."""

from dataclasses import replace
from math import prod
from typing import TypeVar

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.training.device import make_accelerator

CACHED_VALUES = 2**20
Config = TypeVar("Config", bound=TrainConfig)


def cached_samples(data: PairedDataset, *modalities: str) -> int:
    """Samples that stay in a processor's cache while a network computes: 2 pictures of 256 x 512."""
    return max(1, CACHED_VALUES // max(prod(data.shape(modality)) for modality in modalities))


def in_parts(config: Config, data: PairedDataset, *modalities: str) -> Config:
    """The config, on a CPU with batches in parts of that size unless it names another.

    For networks in which nothing looks at other samples of a batch (no batch normalisation): the results are
    the same but for rounding.
    """
    if config.micro_batch is not None:
        return config
    if make_accelerator(replace(config, tracker=())).device.type != "cpu":
        return config
    return replace(config, micro_batch=cached_samples(data, *modalities))

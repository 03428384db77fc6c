"""How many samples a CPU computes at a time, so that intermediate values stay in its cache."""

from dataclasses import replace
from math import prod
from typing import TypeVar

from mfh.config import TrainConfig
from mfh.data.paired import PairedDataset
from mfh.training.device import make_accelerator

CACHED_VALUES = 2**20
"""Input values that stay in the cache of a CPU together with what a network computes from them."""
Config = TypeVar("Config", bound=TrainConfig)


def cached_samples(data: PairedDataset, *modalities: str) -> int:
    """Return the number of samples that stay in a CPU's cache: 2 for RGB pictures of 256 x 512."""
    return max(1, CACHED_VALUES // max(prod(data.shape(modality)) for modality in modalities))


def in_parts(config: Config, data: PairedDataset, *modalities: str) -> Config:
    """Return the config with `micro_batch` set for the cache of a CPU, unless it is set already.

    Only for networks whose output for a sample does not depend on the rest of the batch (no batch
    normalisation): for these the results are the same but for rounding.
    """
    if config.micro_batch is not None:
        return config
    if make_accelerator(replace(config, tracker=())).device.type != "cpu":
        return config
    return replace(config, micro_batch=cached_samples(data, *modalities))

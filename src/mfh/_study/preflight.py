"""Checks made before training: networks that do not fit their data, a layer that cannot be split at."""

import numpy as np
import torch
from torch import nn

from mfh._checks import InputError, listing, require
from mfh._focus import channel_split
from mfh._saliency.heads import evaluating, logits_of
from mfh._saliency.plain import require_sized
from mfh._study.ranking import last_hidden
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.models.both import Named


def require_networks(
    data: PairedDataset, config: StudyConfig, teacher: nn.Module, student: nn.Module
) -> None:
    """Run new networks on two samples, and split the teacher at its layer.

    Raises:
        InputError: a network does not take its modality or gives other outputs than the task needs; the
            teacher cannot be split at the layer, or its channels are not known.
    """
    for side, network in (("teacher", teacher), ("student", student)):
        require_sized(network, side)
        modality = str(getattr(config, side))
        rows = torch.from_numpy(np.flatnonzero(data.present(modality))[:2])
        example = data.inputs_of(modality, rows)
        with evaluating(network):
            try:
                answer = logits_of(network(*example))
            except InputError:
                raise
            except Exception as error:
                shapes = " and ".join(str(tuple(x.shape[1:])) for x in example)
                raise InputError(
                    f"The {side}'s network must take samples of `{modality}`, here {len(rows)} of shape "
                    f"{shapes}{_how(network, example)}. {type(error).__name__}: {error}"
                ) from error
        require(
            tuple(answer.shape) == (len(rows), *data.output_shape),
            f"The {side}'s network must give {data.outputs_wanted}. Got shape {tuple(answer.shape)} for "
            f"{len(rows)} samples.",
        )
        if side == "teacher" and config.teacher_logits is None:
            channel_split(network, config.layer or last_hidden(network, example), example, config.channel_dim)


def _how(network: nn.Module, example: tuple[torch.Tensor, ...]) -> str:
    """Return how a network of several modalities gets them, as words."""
    if len(example) == 1:
        return ""
    if not isinstance(network, Named):
        return ", as positional arguments"
    return f", as {'one dict' if network.in_dict else 'keyword arguments'} of {listing(network.names)}"

"""Streaming of prepared VGGSound tar files, for training loops other than ours.

`mfh.data.sources.vggsound.reader.load` reads samples by row instead, so that their order does not depend on
the number of processes. Streaming reads each tar file from its start to its end, which is cheaper for remote
storage, and divides tar files among nodes and workers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from mfh._checks import InputError, choice, parse_json, require
from mfh.config import SPLITS
from mfh.data import media
from mfh.data.sources.vggsound.index import joined
from mfh.data.sources.vggsound.read import fitted, frames_of, spread, waveform_of
from mfh.data.sources.vggsound.reader import find, row_length
from mfh.data.tar_files import open_file


@dataclass
class ClipStream(IterableDataset):
    """The clips of one split; all nodes and workers together yield each clip once per epoch.

    The number of a node comes from `RANK` and `WORLD_SIZE` or torch's process group, that of a worker from
    `DataLoader`. The tar files are shuffled by seed and epoch and distributed in turn, so nodes get unequal
    numbers of clips, and a node without a file gets none. Use at least nodes times workers files.

    A sample is a dict: `id`, `label` (-1 if it has none), `audio` (float32, (1, samples), NaN after its end)
    and `video` (uint8, (frames, height, width, 3)), as in `load` before its transforms.

    Attributes:
        archives: paths or URLs of the tar files.
        stored: number of frames in a picture.
        frames: number of frames to take of them.
        samples: length of a waveform's row.
        seed: seed of the order.
        epoch: changes the order; set it before each epoch.
        buffer: number of clips from which the next one is drawn; 1 keeps the order within a file.
    """

    archives: tuple[str, ...]
    stored: int
    frames: int
    samples: int
    seed: int = 0
    epoch: int = 0
    buffer: int = 256

    def __iter__(self) -> Iterator[dict[str, Any]]:
        wds = media.need("webdataset")
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.archives))
        pipeline = wds.DataPipeline(
            wds.SimpleShardList([self.archives[i] for i in order]),
            wds.split_by_node,
            wds.split_by_worker,
            _opened,
            wds.tariterators.tar_file_expander,
            partial(wds.tariterators.group_by_keys, keys=_name_and_kind),
            wds.shuffle(self.buffer, initial=self.buffer, seed=hash((self.seed, self.epoch))),
        )
        return map(self._decoded, pipeline)

    def _decoded(self, sample: dict[str, Any]) -> dict[str, Any]:
        name = sample["__key__"]
        try:
            label = int(parse_json(sample["json"])["label"])
            audio, video = sample["flac"], sample["jpg"]
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f"`mfh` did not pack the clip `{name}`, or its files are not beside each other in the tar "
                f"file: {error!r}."
            ) from error
        return {
            "id": name,
            "label": label,
            "audio": fitted(waveform_of(audio, name), self.samples),
            "video": frames_of(video, self.stored, name)[spread(self.stored, self.frames)],
        }


def _name_and_kind(member: str) -> tuple[str, str]:
    """Return the name of a clip, which may have dots, and the kind of its file, after the last dot."""
    name, _, kind = member.rpartition(".")
    return name, kind


def _opened(sources: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for source in sources:
        with open_file(source["url"]) as file:
            yield {**source, "stream": file}


def stream(
    source: Path | str,
    split: str = "train",
    *,
    frames: int | None = None,
    seed: int = 0,
    buffer: int = 256,
) -> ClipStream:
    """Stream the tar files that `mfh vggsound prepare --shards` wrote.

    Args:
        source: the folder or its URL, or tar files; see `mfh.data.sources.vggsound.reader.load`.
        split: `train`, `validation` or `test`.
        frames: number of the stored frames to take, evenly spaced; by default all.
        seed: seed of the order.
        buffer: see `ClipStream`.

    Raises:
        InputError: there are no such tar files, or no clips of the split.
    """
    choice("split", split, SPLITS)
    found = find(source)
    places = sorted({clip.place for clip in found.clips if clip.split == split})
    packed = all(place.endswith(".tar") for place in places)
    require(bool(places) and packed, f"`{source}` has no tar files of the {split} split.")
    return ClipStream(
        tuple(joined(found.root, place) for place in places),
        found.stored,
        found.stored if frames is None else frames,
        row_length(found.clips)[0],
        seed=seed,
        buffer=buffer,
    )

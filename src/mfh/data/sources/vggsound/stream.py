"""Prepared VGGSound tar files read from front to back, for loops other than ours.

`mfh.data.sources.vggsound.reader.load` reads samples by row instead, which keeps their order for any number
of processes. Reading from front to back is the cheaper way where storage is far, and deals whole tar files to
nodes and workers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
    """The clips of one split, each once an epoch over all nodes and workers together.

    Nodes are told apart by `RANK` and `WORLD_SIZE` or torch's process group, workers by `DataLoader`. The tar
    files are shuffled by seed and epoch and dealt in turn, so nodes get unequal numbers of clips, and one
    that gets no file gets none. Use as many files as nodes times workers, or more.

    A sample is a dict: `id`, `label`, `audio` (float32, (1, samples), NaN behind its end) and `video` (uint8,
    (frames, height, width, 3)), as `load` has them raw.

    Attributes:
        archives: paths or URLs of the tar files.
        stored: frames in a picture.
        frames: frames wanted of them.
        samples: length of a waveform's row.
        seed: of the order.
        epoch: likewise; set it before each epoch.
        buffer: clips among which the next one is drawn; 1 keeps the order within a file.
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
            wds.tariterators.group_by_keys,
            wds.shuffle(self.buffer, initial=self.buffer, seed=hash((self.seed, self.epoch))),
        )
        return map(self._decoded, pipeline)

    def _decoded(self, sample: dict[str, Any]) -> dict[str, Any]:
        name = sample["__key__"]
        try:
            label = int(parse_json(sample["json"])["label"])
            audio, video = sample["flac"], sample["jpg"]
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(f"The clip `{name}` is not one that `mfh` packed: {error!r}.") from error
        return {
            "id": name,
            "label": label,
            "audio": fitted(waveform_of(audio, name), self.samples),
            "video": frames_of(video, self.stored, name)[spread(self.stored, self.frames)],
        }


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
    """Stream what `mfh vggsound prepare --shards` wrote.

    Args:
        source: the folder or its URL, or tar files; see `mfh.data.sources.vggsound.reader.load`.
        split: `train`, `validation` or `test`.
        frames: how many of the stored frames, evenly spaced; by default all.
        seed: of the order.
        buffer: see `ClipStream`.

    Raises:
        InputError: there are no such tar files, or no clips of the split.
    """
    choice("split", split, SPLITS)
    found = find(source)
    places = sorted({clip.place for clip in found.clips if clip.split == split})
    packed = all(place.endswith(".tar") for place in places)
    require(bool(places) and packed, f"`{source}` holds no tar files of the {split} split.")
    return ClipStream(
        tuple(joined(found.root, place) for place in places),
        found.stored,
        found.stored if frames is None else frames,
        row_length(found.clips)[0],
        seed=seed,
        buffer=buffer,
    )

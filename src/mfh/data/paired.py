"""The one data type: samples that several modalities show, with a label, an id, a group and a split."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import InputError, listing, require
from mfh.config import SPLITS as SPLITS
from mfh.data.augment import Augment
from mfh.data.decoded import DecodedRows, Index, Values, read_rows
from mfh.data.labels import as_given, codes_of, read_labels
from mfh.data.map_style import read_samples
from mfh.data.standardize import require_resolved
from mfh.results import read_arrays
from mfh.tasks import TASKS, Task

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PairedDataset:
    """Paired samples of two or more modalities. Make one with `from_arrays`, `from_npz` or `from_torch`.

    Attributes:
        modalities: name -> values of shape (sample, *shape): a tensor, a memory-mapped array, or rows that
            are decoded when they are asked for (`mfh.data.decoded`). Rows of all modalities belong together:
            row i of each shows sample i.
        label: class of each sample, 0 ... K - 1, int64, shape (sample,). For other tasks 0 and 1,
            float (sample, label), numbers, float (sample, target), or classes, int64 (sample, *position).
        id: distinct names of the samples; whatever is cached about a sample is kept under its id.
        group: code 0 ... G - 1 of the actor, speaker or patient behind each sample; None without groups.
        split: `train`, `validation` or `test` for each sample where the data bring a split; else None.
        class_names: K names, in the order of the codes in `label`; of labels or targets for other tasks: one
            per output of a network.
        group_names: G names, in the order of the codes in `group`.
        transforms: modality -> function from a batch of raw values to the network's input. Without one a
            network is given floats; `torch.Tensor.long` leaves token ids the integers they are.
        augment: modality -> random changes of the network's input in training; see `mfh.data.augment`.
        task: what is predicted: single-label, multi-label, regression or dense; see `mfh.tasks`.
        sources: modality -> text that stands for its values in the fingerprint, as for arrays that were
            decoded from files; see `SampleSource.identity`.
    """

    modalities: Mapping[str, Values]
    label: Tensor
    id: np.ndarray
    group: np.ndarray | None = None
    split: np.ndarray | None = None
    fold: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    augment: Mapping[str, Augment] = field(default_factory=dict)
    task: str = "single-label"
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        modalities: Mapping[str, Any],
        *,
        label: Any,
        id: Any = None,
        group: Any = None,
        split: Any = None,
        class_names: Sequence[str] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        task: str | None = None,
    ) -> "PairedDataset":
        """Make a data set of arrays or tensors that lie in memory, are memory-mapped or decoded on demand.

        Args:
            modalities: name -> array (sample, *shape) of numbers. float64 and float16 become float32;
                memory-mapped arrays, `DecodedRows` and integers stay as they are.
            label: for single-label one integer or name per sample, of two classes or more; for multi-label
                0 and 1, (sample, label); for regression numbers, (sample,) or (sample, target); for dense
                classes 0, 1, ..., (sample, *position).
            id: one name per sample, all different; by default the row numbers.
            group: one integer or name per sample.
            split: one of `train`, `validation`, `test` per sample; `validation` may be absent.
            class_names: names of the classes 0 ... K - 1 when `label` holds these integers; of labels or
                targets for other tasks.
            transforms: see the class.
            task: `single-label`, `multi-label`, `regression` or `dense`; by default as `mfh.tasks.infer_task`
                tells from shape and type of `label`.

        Raises:
            InputError: lengths differ, a value is NaN or infinite (its place is named), text stands where
                numbers belong, fewer than two classes or modalities.

        Example:
            >>> data = PairedDataset.from_arrays(
            ...     {"audio": np.zeros((4, 3)), "image": np.ones((4, 2))}, label=["cat", "dog", "cat", "dog"]
            ... )
            >>> len(data), data.class_names, data.shape("audio")
            (4, ('cat', 'dog'), (3,))
        """
        require(len(modalities) >= 2, f"`modalities` must hold two or more. Got {listing(modalities)}.")
        codes, names, task = read_labels(label, class_names, task)
        count = len(codes)
        values = {name: _values(name, array, count) for name, array in modalities.items()}
        ids = np.asarray([str(i) for i in (range(count) if id is None else id)])
        _same_length("id", ids, count)
        unique, counts = np.unique(ids, return_counts=True)
        require(
            len(unique) == count, f"`id` must differ between samples. `{unique[counts.argmax()]}` repeats."
        )
        group_codes, group_names = (None, ()) if group is None else codes_of("group", group)
        if group_codes is not None:
            _same_length("group", group_codes, count)
        return cls(
            modalities=values,
            label=codes,
            id=ids,
            group=group_codes,
            split=None if split is None else _splits(split, count),
            class_names=names,
            group_names=group_names,
            transforms=dict(transforms or {}),
            task=task,
        )

    @classmethod
    def from_npz(
        cls,
        path: Path | str,
        *,
        modalities: Sequence[str] | None = None,
        label: str = "label",
        group: str | None = None,
        split: str | None = None,
        id: str | None = None,
        task: str | None = None,
    ) -> "PairedDataset":
        """Read an npz with one array per modality and one value per sample for label, group, split and id.

        Args:
            path: the file. It is read without pickle: arrays of objects are refused.
            modalities: arrays to take; by default every numeric array of two or more dimensions.
            label: array of labels.
            group: array of groups; by default `group` where there is one. `none` ignores it.
            split: array of splits; by default `split` where there is one. `none` ignores it.
            id: array of ids; by default `id` where there is one.
            task: see `from_arrays`.

        Raises:
            InputError: as `from_arrays`; or no such file or array (those present are listed).
        """
        arrays = read_arrays(path)
        arrays = {name: array for name, array in arrays.items() if array.dtype != object}
        optional = {"group": group, "split": split, "id": id}
        chosen = {
            role: None if name == "none" else (name or (role if role in arrays else None))
            for role, name in optional.items()
        }
        taken = {label, *filter(None, chosen.values())}
        if modalities is None:
            modalities = [
                n for n, a in arrays.items() if a.ndim >= 2 and a.dtype.kind in "fiub" and n not in taken
            ]
        for role, names in (
            ("modality", modalities),
            ("label", [label]),
            *((r, [n]) for r, n in chosen.items()),
        ):
            for name in names:
                require(
                    name is None or name in arrays,
                    f"`{path}` holds no {role} `{name}`. It holds {_described(arrays)}: name one of these.",
                )
        columns: dict[str, Any] = {role: np.atleast_1d(arrays[n]) for role, n in chosen.items() if n}
        return cls.from_arrays({n: arrays[n] for n in modalities}, label=arrays[label], task=task, **columns)

    @classmethod
    def from_torch(
        cls,
        dataset: Any,
        *,
        modalities: Sequence[str] | None = None,
        label: Any = "label",
        group: Any = None,
        split: Any = None,
        id: Any = None,
        class_names: Sequence[str] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        in_memory: bool | None = None,
        workers: int = 4,
        task: str | None = None,
    ) -> "PairedDataset":
        """Take a map-style PyTorch dataset whose samples show all modalities.

        The dataset is read once from end to end. Samples are kept in memory up to 1 GiB, and else decoded
        again whenever they are needed. Integers other than uint8 are taken for token ids and given to the
        network as int64; pictures in uint8 become floats 0 ... 255.

        Args:
            dataset: anything with `__len__` and `__getitem__`. A sample is a dict, {"audio": ..., "image":
                ..., "label": ...}; a tuple, (audio, image, label); or (dict of modalities, label). A
                modality is an array or tensor of one shape for all samples, the same at every reading.
            modalities: names of what is taken of a dict, by default every array in it; of a tuple the
                names of its values in their order, and required.
            label: name of the labels in a sample (in a tuple they follow the modalities), or the labels
                themselves, one per sample.
            group: likewise, where there are groups.
            split: likewise, where the data bring one.
            id: likewise; by default the row numbers.
            class_names: names of the classes 0 ... K - 1.
            transforms: see the class.
            in_memory: whether to keep the samples; by default as they fit in 1 GiB.
            workers: threads that decode a batch of samples that are not kept.
            task: see `from_arrays`.

        Raises:
            InputError: as `from_arrays`; samples differ in shape or from one reading to the next.

        Example:
            >>> class Pairs(torch.utils.data.Dataset):
            ...     def __len__(self):
            ...         return 4
            ...     def __getitem__(self, row):
            ...         return {"audio": torch.full((3,), row), "image": torch.zeros(2), "label": row % 2}
            >>> data = PairedDataset.from_torch(Pairs())
            >>> list(data.modalities), data.label.tolist()
            (['audio', 'image'], [0, 1, 0, 1])
        """
        columns = {"label": label, "group": group, "split": split, "id": id}
        columns = {role: where for role, where in columns.items() if where is not None}
        values, found = read_samples(dataset, modalities, columns, in_memory=in_memory, workers=workers)
        tokens = {n: Tensor.long for n, v in values.items() if v.dtype.kind in "iu" and v.dtype.itemsize > 1}
        return cls.from_arrays(
            values, **found, class_names=class_names, task=task, transforms={**tokens, **(transforms or {})}
        )

    def __len__(self) -> int:
        return len(self.label)

    @property
    def kind(self) -> Task:
        """What is predicted, with its losses and metrics."""
        return TASKS[self.task]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of what a network gives for one sample: (output,), or (output, *position) for dense."""
        return (self.num_classes, *(self.label.shape[1:] if self.task == "dense" else ()))

    @property
    def outputs_wanted(self) -> str:
        """What a network must give, in words."""
        each = f"one {self.kind.output} for each of {self.num_classes} {self.kind.names}"
        return each + (f" at every position, shape {self.output_shape}" if self.task == "dense" else "")

    def with_task(self, task: str) -> "PairedDataset":
        """The same samples, with the labels read for another task; `auto` leaves them as they are.

        Raises:
            InputError: the labels do not fit it.

        Example:
            >>> stars = {"a": np.zeros((3, 2)), "b": np.ones((3, 2))}
            >>> data = PairedDataset.from_arrays(stars, label=[1, 5, 2])
            >>> data.task, data.with_task("regression").label.flatten().tolist()
            ('single-label', [1.0, 5.0, 2.0])
        """
        if task in ("auto", self.task):
            return self
        label, given = as_given(self.label, self.class_names, self.task)
        values, names, task = read_labels(label, given, task)
        return replace(self, label=values, class_names=names, task=task)

    @property
    def num_classes(self) -> int:
        """Number of classes K; of outputs of a network for any task."""
        return len(self.class_names)

    def shape(self, modality: str) -> tuple[int, ...]:
        """Shape of one raw sample of a modality.

        Raises:
            InputError: there is no such modality; those present are listed.
        """
        self.require_modality(modality)
        return tuple(self.modalities[modality].shape[1:])

    def require_modality(self, name: str) -> None:
        """Raise InputError, listing the modalities there are, unless `name` is one of them."""
        require(
            name in self.modalities,
            f"The data hold no modality `{name}`. They hold {listing(self.modalities)}: name one of these.",
        )

    def read(self, modalities: Sequence[str], index: Index) -> dict[str, Tensor]:
        """Raw rows `index` of some modalities, on the CPU; what is decoded together is decoded once."""
        return read_rows(self.modalities, modalities, index)

    def inputs(self, modality: str, index: Tensor | slice, *, device: torch.device | str = "cpu") -> Tensor:
        """What a network is fed: rows `index` of a modality, on `device`, transformed to float."""
        batch = self.read([modality], index)[modality]
        batch = batch.to(device)
        transform = self.transforms.get(modality)
        if transform:
            return transform(batch)
        return batch if batch.is_floating_point() else batch.float()

    def with_transforms(self, transforms: Mapping[str, Transform]) -> "PairedDataset":
        """The same samples with other transforms for the modalities named."""
        return replace(self, transforms={**self.transforms, **transforms})

    def with_augment(self, augment: Mapping[str, Augment]) -> "PairedDataset":
        """The same samples, changed at random in training, each modality named as its function says."""
        for name in augment:
            self.require_modality(name)
        return replace(self, augment={**self.augment, **augment})

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any value, label, id, group or split, not with transforms.

        What is decoded on demand is not decoded for this: its `identity` stands for it.
        """
        digest = hashlib.blake2b(digest_size=8)
        parts: dict[str, Any] = {**self.modalities, "label": self.label, "id": self.id}
        parts |= {"group": self.group, "split": self.split, "classes": np.asarray(self.class_names)}
        for name, part in parts.items():
            if part is None:
                continue
            array = part.numpy() if isinstance(part, Tensor) else part
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            source = array.identity if isinstance(array, DecodedRows) else self.sources.get(name)
            if source is not None:
                digest.update(source.encode())
                continue
            step = max(1, 2**26 // max(1, array[:1].nbytes))
            for start in range(0, len(array), step):
                digest.update(np.ascontiguousarray(array[start : start + step]).tobytes())
        return digest.hexdigest()


def _values(name: str, array: Any, count: int) -> Values:
    # checked where they are written or decoded, not on every start
    if isinstance(array, (np.memmap, DecodedRows)):
        _same_length(name, array, count)
        return array
    values = array if isinstance(array, Tensor) else np.asarray(array)
    if isinstance(values, np.ndarray):
        require(
            values.dtype.kind in "fiub",
            f"Modality `{name}` must hold numbers. Got "
            f"{'text' if values.dtype.kind in 'US' else values.dtype} instead.",
        )
        kind = np.dtype("f8") if values.dtype.itemsize > 8 else values.dtype.newbyteorder("=")
        values = torch.from_numpy(np.ascontiguousarray(values, kind))
    require(values.ndim >= 2, f"Modality `{name}` must have shape (sample, ...). Got {tuple(values.shape)}.")
    _same_length(name, values, count)
    if values.is_floating_point():
        bad = (~torch.isfinite(values)).flatten(1)
        if bad.any():
            row, column = (int(i) for i in bad.nonzero()[0])
            value = values[row].flatten()[column].item()
            raise InputError(
                f"Modality `{name}` must be finite. Got {value} at sample {row}, value {column} "
                f"({int(bad.sum())} in all): remove these samples or fill the values in."
            )
        if values.dtype == torch.float64:
            require_resolved(name, values)
        values = values.float()
        require(
            bool(torch.isfinite(values).all()),
            f"Modality `{name}` must fit into 32-bit floats. Its largest value is beyond 3.4e38: rescale it.",
        )
    return values.contiguous()


def _same_length(name: str, values: Any, count: int) -> None:
    require(
        len(values) == count,
        f"`{name}` has {len(values)} samples, `label` has {count}: each row must show the same sample.",
    )


def _splits(split: Any, count: int) -> np.ndarray:
    values = np.asarray(split).astype(str)
    _same_length("split", values, count)
    unknown = sorted(set(values) - set(SPLITS))
    require(not unknown, f"`split` must hold {listing(SPLITS)}. Got {listing(unknown)} instead.")
    missing = sorted({"train", "test"} - set(values))
    require(not missing, f"`split` must hold train and test samples. No sample is in {listing(missing)}.")
    return values


def _described(arrays: Mapping[str, np.ndarray]) -> str:
    return (
        ", ".join(f"`{name}` {array.dtype}{list(array.shape)}" for name, array in arrays.items()) or "nothing"
    )

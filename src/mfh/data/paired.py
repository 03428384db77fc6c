"""The one data type: samples of several modalities, each with a label, an id, a group and a split."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mfh._checks import listing, require
from mfh.config import SPLITS as SPLITS
from mfh.data.augment import Augment
from mfh.data.codes import codes_of
from mfh.data.decoded import Index, Values, present_rows, read_rows, take_rows
from mfh.data.features import Features
from mfh.data.fingerprint import fingerprint
from mfh.data.held_out import read_folds, read_splits, split_by_time
from mfh.data.labels import labels_before, output_names, read_labels
from mfh.data.overview import overview
from mfh.data.parts import join_names, split_name
from mfh.data.readers import Readers
from mfh.data.values import as_column, modality_values, read_weights
from mfh.tasks import TASKS, UNLABELLED, Task, is_labelled

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class PairedDataset(Readers):
    """Paired samples of two or more modalities.

    Make one with `from_arrays`, `from_npz`, `from_frame` or `from_torch`.

    Attributes:
        modalities: name -> values of shape (sample, *shape): a tensor, a memory-mapped array, or rows that
            are decoded when they are read (`mfh.data.decoded`). Row i of every modality shows sample i.
        label: class of each sample, 0 ... K - 1, int64, shape (sample,). For the task multi-label 0 and 1,
            float (sample, label); for regression numbers, float (sample, target); for dense classes, int64
            (sample, *position). A sample without a label has -1, or NaN where labels are floats.
        id: names of the samples, all different; whatever is cached about a sample has its id as key.
        group: code 0 ... G - 1 of each sample's group, such as its actor, speaker or patient; None without
            groups.
        split: `train`, `validation` or `test` for each sample; None if the data have no split of their own.
        fold: code 0 ... K - 1 of the fold of each sample; None if the data have no folds of their own.
        weight: how much each sample counts in training and in metrics, 0 or more, float64 (sample,); None if
            all count alike.
        class_weight: how much each class counts in training, in the order of `class_names`; None if all count
            alike. It is set where networks are trained; see `mfh.training.weights`.
        class_names: K names, in the order of the codes in `label`; for other tasks the names of the labels or
            targets. There is one for each output of a network.
        group_names: G names, in the order of the codes in `group`.
        transforms: modality -> function from a batch of raw values to the network's input. Without one the
            network gets floats; `torch.Tensor.long` keeps token ids as integers.
        augment: modality -> random changes of the network's input in training; see `mfh.data.augment`.
        task: what is predicted: single-label, multi-label, regression or dense; see `mfh.tasks`.
        sources: modality -> text that replaces its values in the fingerprint, as for arrays that were decoded
            from files; see `SampleSource.identity`.
        features: modality -> names of its values, for those of a table; see `Features`. Missing numbers are
            NaN where they are to be filled in.
        label_name: the column of a table that has the labels, if it is one column; a regression's target is
            called so.
    """

    modalities: Mapping[str, Values]
    label: Tensor
    id: np.ndarray
    group: np.ndarray | None = None
    split: np.ndarray | None = None
    fold: np.ndarray | None = None
    weight: Tensor | None = None
    class_weight: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    augment: Mapping[str, Augment] = field(default_factory=dict)
    task: str = "single-label"
    sources: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, Features] = field(default_factory=dict)
    label_name: str | None = None

    @classmethod
    def from_arrays(
        cls,
        modalities: Mapping[str, Any],
        *,
        label: Any,
        id: Any = None,
        group: Any = None,
        split: Any = None,
        fold: Any = None,
        time: Any = None,
        weight: Any = None,
        class_names: Sequence[str] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        task: str | None = None,
        ignore_index: int | None = None,
    ) -> "PairedDataset":
        """Make a data set of arrays in memory, memory-mapped arrays, or rows that are decoded on demand.

        Arrays may also be tensors, columns of data frames or lists. Tensors are detached from their gradients
        and copied to the CPU; sparse arrays up to 1 GiB become dense. Text may be bytes in UTF-8. Where one
        value per sample is wanted, a column of shape (sample, 1) is taken too.

        Args:
            modalities: name -> array (sample, *shape) of numbers. Floats become float32; memory-mapped
                arrays, `DecodedRows` and integers stay as they are.
            label: for single-label one integer or name per sample, of two classes or more, or rows with
                exactly one 1; for multi-label 0 and 1, (sample, label); for regression numbers, (sample,) or
                (sample, target); for dense classes 0, 1, ..., (sample, *position). A sample without a label
                has None, NaN, an empty text or a masked value, in all of its row; -1 among classes or in all
                of a row of 0 and 1; the value of `ignore_index` at all positions of a dense label. The
                values -1 and 1 alone are two classes.
            id: one name per sample, all different; by default the row numbers.
            group: one integer or name per sample.
            split: one of `train`, `validation`, `test` per sample; `validation` may be absent.
            fold: one integer or name per sample: folds of your own for cross-validation, two or more.
            time: one number or date per sample, from which a split is made: the first 60% of the samples are
                for training, the next 20% for validation, and the last 20% for testing. Samples of the same
                time stay together.
            weight: one number per sample, 0 or more: how much it counts in training and in metrics. A sample
                of weight 2 counts as two samples. Only the proportions of the weights matter.
            class_names: names of the classes 0 ... K - 1 if `label` has these integers, or of its columns;
                for other tasks names of the labels or targets.
            transforms: see the class.
            task: `single-label`, `multi-label`, `regression` or `dense`; by default it is inferred from shape
                and type of `label` (`mfh.tasks.explain_task`). The log tells the task and the reason, and
                how many samples have no label.
            ignore_index: value of the positions of dense labels that have no class; by default 255, unless
                `class_names` names more than 255 classes.

        Raises:
            InputError: lengths differ; a value that is no label is NaN, infinite, masked or missing (the text
                names its sample); no sample has a label; a modality has text or no values; there are fewer
                than two classes or modalities.

        Example:
            >>> data = PairedDataset.from_arrays(
            ...     {"audio": np.zeros((4, 3)), "image": np.ones((4, 2))}, label=["cat", "dog", "cat", "dog"]
            ... )
            >>> len(data), data.class_names, data.shape("audio")
            (4, ('cat', 'dog'), (3,))
        """
        require(len(modalities) >= 2, f"`modalities` must have two or more. Got {listing(modalities)}.")
        codes, names, task = read_labels(label, class_names, task, ignore_index=ignore_index)
        count = len(codes)
        values = {name: modality_values(name, array, count) for name, array in modalities.items()}
        ids = np.asarray([str(i) for i in (range(count) if id is None else as_column("id", id, count))])
        unique, counts = np.unique(ids, return_counts=True)
        require(
            len(unique) == count, f"`id` must differ between samples. `{unique[counts.argmax()]}` repeats."
        )
        group_codes, group_names = (None, ()) if group is None else codes_of("group", group, count)
        require(
            sum(given is not None for given in (split, fold, time)) <= 1,
            "`split`, `fold` and `time` must not be given together: each says which samples are for testing.",
        )
        if time is not None:
            split = split_by_time(as_column("time", time, count))
        return cls(
            modalities=values,
            label=codes,
            id=ids,
            group=group_codes,
            split=None if split is None else read_splits(split, count),
            weight=None if weight is None else read_weights(weight, count),
            fold=None if fold is None else read_folds(fold, group_codes, count),
            class_names=names,
            group_names=group_names,
            transforms=dict(transforms or {}),
            task=task,
        )

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return "\n  ".join(overview(self))

    @property
    def kind(self) -> Task:
        """What is predicted, with its losses and metrics."""
        return TASKS[self.task]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of a network's output for one sample: (output,), or (output, *position) for dense."""
        return (self.num_classes, *(self.label.shape[1:] if self.task == "dense" else ()))

    @property
    def outputs_wanted(self) -> str:
        """Description of the outputs that a network must have, for messages."""
        each = f"one {self.kind.output} for each of {self.num_classes} {self.kind.names}"
        return each + (f" at every position, shape {self.output_shape}" if self.task == "dense" else "")

    def with_task(self, task: str) -> "PairedDataset":
        """Return the same samples with the labels read for another task; `auto` leaves them as they are.

        Raises:
            InputError: the labels do not fit the task.

        Example:
            >>> stars = {"a": np.zeros((3, 2)), "b": np.ones((3, 2))}
            >>> data = PairedDataset.from_arrays(stars, label=[1, 5, 2])
            >>> data.task, data.with_task("regression").label.flatten().tolist()
            ('single-label', [1.0, 5.0, 2.0])
        """
        if task in ("auto", self.task):
            return self
        label, names = labels_before(self.label, self.class_names, self.task)
        if self.task == "single-label" and task == "multi-label":
            label = np.where(self.labelled[:, None], np.eye(self.num_classes)[self.label], np.nan)
            names = self.class_names
        values, names, task = read_labels(label, names, task)
        return replace(self, label=values, class_names=output_names(names, task, self.label_name), task=task)

    @cached_property
    def labelled(self) -> np.ndarray:
        """Whether each sample has a label, bool, shape (sample,)."""
        return is_labelled(self.label).numpy()

    def present(self, modality: str) -> np.ndarray:
        """Return whether each sample has a modality, or several such as `a+b`, bool, shape (sample,).

        Without it, the sample is NaN throughout.

        Example:
            >>> values = np.array([[1.0, 2.0], [np.nan, np.nan]])
            >>> data = PairedDataset.from_arrays({"a": values, "b": np.eye(2)}, label=[0, 1])
            >>> data.present("a").tolist()
            [True, False]
        """
        if modality not in self._present:
            masks = [present_rows(self.modalities[part]) for part in self.parts(modality)]
            self._present[modality] = np.logical_and.reduce(masks)
        return self._present[modality]

    @cached_property
    def _present(self) -> dict[str, np.ndarray]:
        """What `present` has found."""
        return {}

    def weight_of(self, rows: Tensor) -> Tensor | None:
        """Return the weights of some samples, by row number; None if all count alike."""
        return None if self.weight is None else self.weight[rows]

    def without_labels(self, rows: np.ndarray) -> "PairedDataset":
        """Return the same samples, those of some rows without their labels.

        Args:
            rows: row numbers, int.
        """
        label = self.label.clone()
        label[torch.from_numpy(rows)] = torch.nan if label.is_floating_point() else UNLABELLED
        return replace(self, label=label)

    def rows(self, chosen: np.ndarray) -> "PairedDataset":
        """Return some of the samples, in the order of their row numbers `chosen`.

        Names of classes and groups stay, also those that no sample has any more. Rows that are decoded when
        they are read stay so; rows of memory-mapped arrays are read into memory.

        Example:
            >>> values = np.arange(8.0).reshape(4, 2)
            >>> data = PairedDataset.from_arrays({"a": values, "b": values}, label=[0, 1, 1, 0])
            >>> data.rows(np.array([3, 1])).label.tolist()
            [0, 1]
        """
        chosen = np.ascontiguousarray(chosen)
        return replace(
            self,
            modalities=take_rows(self.modalities, chosen),
            label=self.label[torch.from_numpy(chosen)],
            id=self.id[chosen],
            group=None if self.group is None else self.group[chosen],
            split=None if self.split is None else self.split[chosen],
            fold=None if self.fold is None else self.fold[chosen],
            weight=self.weight_of(torch.from_numpy(chosen)),
            sources={},
        )

    @property
    def num_classes(self) -> int:
        """Number of classes K; of outputs of a network for any task."""
        return len(self.class_names)

    def shape(self, modality: str) -> tuple[int, ...]:
        """Shape of one raw sample of a modality.

        Raises:
            InputError: there is no such modality; the text lists the modalities.
        """
        self.require_modality(modality)
        return tuple(self.modalities[modality].shape[1:])

    def require_modality(self, name: str) -> None:
        """Raise `InputError`, with a list of the modalities, unless `name` is one of them."""
        require(
            name in self.modalities,
            f"The data hold no modality `{name}`. They hold {listing(self.modalities)}: name one of these.",
        )

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the modalities that a name stands for: one, or several such as those of `lidar+camera`.

        Raises:
            InputError: see `mfh.data.parts.split_name`.
        """
        return split_name(name, self.modalities)

    def named(self, modalities: str | Sequence[str] | None) -> str | None:
        """Return the one name of modalities that are seen together; None for none.

        Raises:
            InputError: there is no such modality, or several are named in a way that can be read otherwise.
        """
        if modalities is None or isinstance(modalities, str):
            return modalities and join_names(self.parts(modalities))
        for part in modalities:
            self.require_modality(part)
        name = join_names(modalities)
        require(
            self.parts(name) == tuple(modalities),
            f"`{name}` is a modality of the data, so {listing(modalities)} together cannot have this name: "
            "rename it.",
        )
        return name

    def num_values(self, name: str) -> int:
        """Return how many raw values a sample has, in one modality or in several together."""
        return sum(math.prod(self.shape(part)) for part in self.parts(name))

    def read(self, modalities: Sequence[str], index: Index) -> dict[str, Tensor]:
        """Return raw rows `index` of some modalities, on the CPU; each sample is decoded once for all."""
        return read_rows(self.modalities, modalities, index)

    def inputs(self, modality: str, index: Tensor | slice, *, device: torch.device | str = "cpu") -> Tensor:
        """Return a network's input: rows `index` of a modality, on `device`, transformed to float."""
        return self._input(modality, self.read([modality], index)[modality].to(device))

    def inputs_of(
        self, name: str, index: Tensor | slice, *, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Return all inputs of a network: one for each modality that `name` stands for; see `parts`."""
        parts = self.parts(name)
        raw = self.read(parts, index)
        return tuple(self._input(part, raw[part].to(device)) for part in parts)

    def _input(self, modality: str, batch: Tensor) -> Tensor:
        """Return raw values as a network takes them."""
        transform = self.transforms.get(modality)
        if transform:
            return transform(batch)
        return batch if batch.is_floating_point() else batch.float()

    def with_transforms(self, transforms: Mapping[str, Transform]) -> "PairedDataset":
        """Return the same samples with other transforms for the modalities that are named."""
        return replace(self, transforms={**self.transforms, **transforms})

    def with_augment(self, augment: Mapping[str, Augment]) -> "PairedDataset":
        """Return the same samples with random changes in training for the modalities that are named."""
        for name in augment:
            self.require_modality(name)
        return replace(self, augment={**self.augment, **augment})

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any value, label, id, group, split, fold or weight.

        Transforms do not change it.

        Samples that are decoded on demand are not decoded for this: their `identity` is used.
        """
        columns = {"label": self.label, "id": self.id}
        columns |= {"group": self.group, "split": self.split, "fold": self.fold, "weight": self.weight}
        if self.class_weight is not None:
            columns["class weight"] = np.asarray(self.class_weight)
        columns |= {"classes": np.asarray(self.class_names)}
        columns |= {f"values of {name}": np.asarray(found.names) for name, found in self.features.items()}
        return fingerprint(self.modalities, columns, self.sources)

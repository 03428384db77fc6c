"""How a data set is made of files, data frames and map-style datasets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from mfh.data.frames import read_frame
from mfh.data.labels import output_names
from mfh.data.map_style import read_samples
from mfh.data.npz import read_npz
from mfh.data.tables import Columns

if TYPE_CHECKING:
    import pandas as pd

    from mfh.data.paired import PairedDataset

Transform = Callable[[Tensor], Tensor]


class Readers:
    """The readers of `PairedDataset`: each turns its input into arrays for `from_arrays`."""

    from_arrays: ClassVar[Callable[..., Any]]

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
        fold: str | None = None,
        time: str | None = None,
        weight: str | None = None,
        task: str | None = None,
        ignore_index: int | None = None,
    ) -> "PairedDataset":
        """Read an npz with one array per modality and one value per sample for label, group, split and id.

        Args:
            path: the file. It is read without pickle, so it cannot have arrays of objects.
            modalities: names of the arrays to take; by default every numeric array of two or more dimensions.
            label: name of the array of labels.
            group: name of the array of groups; by default `group` if there is one. `none` ignores it.
            split: name of the array of splits; by default `split` if there is one. `none` ignores it.
            id: name of the array of ids; by default `id` if there is one.
            fold: name of the array of folds; see `from_arrays`.
            time: name of the array of times; see `from_arrays`.
            weight: name of the array of weights of samples; by default `weight` if there is one, with one
                number per sample. `none` ignores it.
            task: see `from_arrays`.
            ignore_index: see `from_arrays`.

        Raises:
            InputError: as `from_arrays`; or there is no such file or array (the text lists the arrays).
        """
        taken = read_npz(
            path,
            modalities,
            label=label,
            optional={"group": group, "split": split, "id": id, "weight": weight},
            named={"fold": fold, "time": time},
        )
        return cls.from_arrays(taken.modalities, task=task, ignore_index=ignore_index, **taken.columns)

    @classmethod
    def from_frame(
        cls,
        table: "pd.DataFrame",
        modalities: Mapping[str, Columns],
        *,
        label: Columns,
        group: str | None = None,
        id: str | None = None,
        split: str | None = None,
        fold: str | None = None,
        time: str | None = None,
        weight: str | None = None,
        class_names: Sequence[str] | None = None,
        task: str | None = None,
        impute: str | None = None,
    ) -> "PairedDataset":
        """Read a data frame whose rows are samples and whose columns are grouped into modalities.

        Numbers and truth values are taken as they are. Columns of pandas' type category, and text with at
        most 50 different values, most of which repeat, become one value for each category: 1 for the
        sample's category, else 0. A category that no training sample has is 0 for all samples.

        Args:
            table: the data frame. Its index is ignored.
            modalities: name -> names of columns, or a pattern such as `vital_*`; or several of them, in a
                list or separated by commas.
            label: name of the column of labels; for several labels or targets their names or a pattern.
                Labels may be missing; see `from_arrays`.
            group: name of the column of groups.
            id: name of the column of ids; by default the row numbers.
            split: name of the column of splits.
            fold: name of the column of folds.
            time: name of the column of times.
            weight: name of the column of weights of samples; see `from_arrays`.
            class_names: see `from_arrays`. By default targets are called as their columns.
            task: see `from_arrays`.
            impute: `median` replaces a missing number by the median of the training samples, whenever
                networks are trained, and adds a value that is 1 where a column is missing. By default missing
                values are refused.

        Raises:
            InputError: as `from_arrays`; a column does not exist, has dates, free text or mixed types, or has
                missing values; a modality contains the label.

        Example:
            >>> import pandas
            >>> from mfh import PairedDataset
            >>> table = pandas.DataFrame(
            ...     {"crp": [1.0, 9, 2], "sex": list("fmf"), "pulse": [70, 95, 64], "ill": ["n", "y", None]}
            ... )
            >>> data = PairedDataset.from_frame(table, {"lab": "crp,sex", "vitals": ["pulse"]}, label="ill")
            >>> data.features["lab"].names, data.label.tolist()
            (('crp', 'sex=f', 'sex=m'), [0, 1, -1])
        """
        roles = {
            "group": group, "id": id, "split": split, "fold": fold, "time": time, "weight": weight
        }  # fmt: skip
        found = read_frame(table, modalities, label=label, roles=roles, impute=impute)
        one = found.labels[0] if len(found.labels) == 1 else None
        names = class_names or (None if one else found.labels)
        data = cls.from_arrays(found.filled(), **found.columns, task=task, class_names=names)
        values = {**data.modalities, **found.with_gaps()}
        outputs = data.class_names if class_names else output_names(data.class_names, data.task, one)
        return replace(data, modalities=values, features=found.features, class_names=outputs, label_name=one)

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
        weight: Any = None,
        class_names: Sequence[str] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        in_memory: bool | None = None,
        workers: int = 4,
        task: str | None = None,
        ignore_index: int | None = None,
    ) -> "PairedDataset":
        """Read a map-style PyTorch dataset whose samples have several modalities.

        Every sample is read once. The samples stay in memory if they take at most 1 GiB; otherwise they are
        decoded again whenever they are needed. Integers other than uint8 count as token ids, which the
        network gets as int64; pictures in uint8 become floats 0 ... 255.

        Args:
            dataset: anything with `__len__` and `__getitem__`. A sample is a dict, {"audio": ..., "image":
                ..., "label": ...}; a tuple, (audio, image, label); or (dict of modalities, label). A
                modality is an array or tensor of one shape for all samples, the same at every reading. A
                sample that lacks it has NaN throughout, None, or (but for the first sample) no such value.
            modalities: names of the modalities in a dict, by default every array of the first sample; for
                tuples the names of their values in order, which are required.
            label: name of the labels in a sample (in a tuple they follow the modalities), or the labels
                themselves, one per sample.
            group: name of the groups in a sample, or the groups themselves; None without groups.
            split: name of the splits in a sample, or the splits themselves; None if there are none.
            id: name of the ids in a sample, or the ids themselves; by default the row numbers.
            weight: name of the weights in a sample, or the weights themselves; by default all count alike.
            class_names: see `from_arrays`.
            transforms: see the class.
            in_memory: whether to keep the samples in memory; by default if they take at most 1 GiB.
            workers: number of threads that decode a batch of samples that are not kept.
            task: see `from_arrays`.
            ignore_index: see `from_arrays`.

        Raises:
            InputError: as `from_arrays`; samples differ in shape, or differ when they are read again.

        Example:
            >>> import torch
            >>> from mfh import PairedDataset
            >>> class Pairs(torch.utils.data.Dataset):
            ...     def __len__(self):
            ...         return 4
            ...     def __getitem__(self, row):
            ...         return {"audio": torch.full((3,), row), "image": torch.zeros(2), "label": row % 2}
            >>> data = PairedDataset.from_torch(Pairs())
            >>> list(data.modalities), data.label.tolist()
            (['audio', 'image'], [0, 1, 0, 1])
        """
        columns = {"label": label, "group": group, "split": split, "id": id, "weight": weight}
        columns = {role: where for role, where in columns.items() if where is not None}
        values, found = read_samples(dataset, modalities, columns, in_memory=in_memory, workers=workers)
        tokens = {n: Tensor.long for n, v in values.items() if v.dtype.kind in "iu" and v.dtype.itemsize > 1}
        return cls.from_arrays(
            values,
            **found,
            class_names=class_names,
            task=task,
            ignore_index=ignore_index,
            transforms={**tokens, **(transforms or {})},
        )

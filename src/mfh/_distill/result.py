"""The result of `mfh.distill`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
from torch import nn

from mfh._checks import InputError, one_line, require
from mfh._system.files import npz_bytes
from mfh.results import SCHEMA_VERSION, RunResult, TeacherRecord, read_arrays, read_results
from mfh.training.fitting import Epoch

WEIGHTS, PREDICTIONS = "student.safetensors", "predictions.npz"


@dataclass(frozen=True, eq=False, repr=False)
class DistillResult(RunResult):
    """One student: the network, its metrics, and a description of its teacher.

    Attributes:
        student: the trained network with the weights of its best epoch, in evaluation mode, on the device
            it was trained on.
        teachers: the teacher, described as in a study; empty without a teacher.
        history: one entry per epoch: training `loss` and `validation` metric.
        predictions: arrays `id`, `label`, `split` and `logits` of every sample, the content of
            `predictions.npz`.

    Example:
        >>> x = np.linspace(-1, 1, 60)[:, None]
        >>> from mfh import DistillConfig, PairedDataset, distill
        >>> data = PairedDataset.from_arrays({"a": x, "b": x}, label=(x[:, 0] > 0).astype(int))
        >>> result = distill(None, nn.Linear(1, 2), data, DistillConfig(epochs=20, device="cpu"))
        >>> result.frame()[["arm", "metric", "best_epoch"]].values.tolist()[0][:2]
        ['no-kd', 'accuracy']
        >>> sorted(result.predictions)
        ['id', 'label', 'logits', 'split']
    """

    kind: ClassVar[str] = "distill"

    student: nn.Module = field(default_factory=nn.Identity)
    teachers: Sequence[TeacherRecord] = ()
    history: Sequence[Epoch] = ()
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def _tables(cls) -> dict[str, type]:
        return super()._tables() | {"teachers": TeacherRecord, "history": Epoch}

    @property
    def test(self) -> float:
        """The metric of `config.metric` on the test split, in its unit."""
        return self.records[0].test

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, except the network and the predictions, which have own files."""
        beside = ("student", "predictions")
        values = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name not in beside}
        tables = {name: [asdict(row) for row in values[name]] for name in self._tables()}
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind} | values | tables

    def _beside(self) -> dict[str, bytes]:
        # copies, because the format refuses tensors that share memory, such as tied weights
        state = {n: v.detach().cpu().contiguous().clone() for n, v in self.student.state_dict().items()}
        return {WEIGHTS: safetensors.torch.save(state), PREDICTIONS: npz_bytes(self.predictions)}

    @classmethod
    def load(cls, folder: Path | str, student: nn.Module) -> "DistillResult":
        """Read what `save` wrote, and load the weights into `student`, which is not copied.

        Raises:
            InputError: files are missing or damaged, or the weights do not fit.
        """
        folder = Path(folder)
        try:
            values = read_results(folder / "results.json")
            require(
                values["kind"] == cls.kind and values["schema_version"] == SCHEMA_VERSION,
                f"`{folder}` contains no result of `distill` that this version can read. Use "
                "mfh.load_results for results of other kinds.",
            )
            student.load_state_dict(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
        except InputError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            reason = one_line(error)
            raise InputError(f"`{folder}` cannot be read into `student`: {reason}") from error
        arrays = read_arrays(folder / PREDICTIONS)
        return cls.from_dict({**values, "student": student.eval(), "predictions": arrays})

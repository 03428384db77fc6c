"""The result of `mfh.distill`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mfh._checks import InputError, one_line, require
from mfh._study.kept import Kept
from mfh._study.outputs import StudentKey
from mfh._system.files import npz_bytes
from mfh.arms import ARMS, BASELINE, ShownArm
from mfh.models.copies import copied
from mfh.models.weights import read_state
from mfh.results import (
    SCHEMA_VERSION,
    MetricInfo,
    RunResult,
    StudyResult,
    TeacherRecord,
    read_arrays,
    read_results,
)
from mfh.training.calibration import PROBABILITIES, fit_temperature
from mfh.training.fitting import Epoch

WEIGHTS, PREDICTIONS, INPUTS = "student.safetensors", "predictions.npz", "inputs.safetensors"
TAUGHT = ShownArm(name="distilled", teacher="teacher", words="the outputs of a given teacher")


@dataclass(frozen=True, eq=False, repr=False)
class DistillResult(RunResult):
    """One student: the network, its metrics, and a description of its teacher.

    Attributes:
        student: the trained network with the weights of its best epoch, in evaluation mode, on the device
            it was trained on.
        teachers: the teacher, described as in a study; empty without a teacher.
        history: one entry per epoch: training `loss` and `validation` metric.
        metrics: the metric that chose the epoch, and the others.
        data: sizes, classes, groups, modalities and fingerprint of the data.
        predictions: arrays `id`, `label`, `split` and `logits` of every sample, and `group` and `weight` if
            the data have them: the content of `predictions.npz`.
        inputs: what `export` needs besides the network, the content of `inputs.safetensors`; see
            `mfh._study.kept.keep`.

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
    metrics: Sequence[MetricInfo] = (MetricInfo("accuracy"),)
    data: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def _tables(cls) -> dict[str, type]:
        return super()._tables() | {
            "teachers": TeacherRecord,
            "history": Epoch,
            "metrics": MetricInfo,
        }

    @property
    def test(self) -> float:
        """The metric of `config.metric` on the test split, in its unit."""
        return self.records[0].test

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, except those that have files of their own."""
        beside = ("student", "predictions", "inputs", "kept")
        values = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name not in beside}
        tables = {name: [asdict(row) for row in values[name]] for name in self._tables()}
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind} | values | tables

    def _beside(self) -> dict[str, bytes]:
        # copies, because the format refuses tensors that share memory, such as tied weights
        inputs = {name: value.contiguous().clone() for name, value in self.inputs.items()}
        return {
            WEIGHTS: safetensors.torch.save(self._state()),
            PREDICTIONS: npz_bytes(self.predictions),
            INPUTS: safetensors.torch.save(inputs),
        }

    def _state(self) -> dict[str, Tensor]:
        """Return the weights, from the folder if it was read without a network."""
        if type(self.student) is nn.Identity and isinstance(self.kept, Path):
            return read_state(self.kept / WEIGHTS)
        return {n: v.detach().cpu().contiguous().clone() for n, v in self.student.state_dict().items()}

    @property
    def build(self) -> Callable[[], nn.Module] | None:
        """What makes a network like the student; None if it was read without one."""
        return None if type(self.student) is nn.Identity else lambda: copied(self.student).cpu()

    def as_study(self) -> StudyResult:
        """Return the student as the only one of a study, as an export takes it.

        Raises:
            InputError: an earlier version of mfh wrote the folder.
        """
        require(
            bool(self.inputs),
            "`run` has no description of its inputs: an earlier version of mfh wrote it. Repeat the run.",
        )
        (record,), arrays = self.records, self.predictions
        require(
            {"label", "split", "logits"} <= arrays.keys(),
            f"`{PREDICTIONS}` of the run is damaged. Repeat the run.",
        )
        rows = {name: np.flatnonzero(arrays["split"] == name) for name in ("validation", "test")}
        if self.data["task"] in PROBABILITIES:
            names = [name for name in ("logits", "label", "weight") if name in arrays]
            seen = [torch.from_numpy(arrays[name][rows["validation"]]) for name in names]
            record = replace(record, temperature=fit_temperature(*seen))
        prefix = f"students/{StudentKey(record.arm, loss=record.loss).name}"
        tensors = {f"{prefix}/{name}": value for name, value in self._state().items()} | dict(self.inputs)
        return StudyResult(
            config=self.config,
            environment=self.environment,
            records=(record,),
            arms=(ARMS[BASELINE] if record.arm == BASELINE else TAUGHT,),
            metrics=self.metrics,
            data=self.data,
            predictions={name: arrays[name] for name in ("id", "label", "group", "weight") if name in arrays}
            | {
                f"rows/{record.seed}": rows["test"],
                f"outputs/{record.seed}": arrays["logits"][None, rows["test"]],
            },
            kept=Kept(self.kept if isinstance(self.kept, Path) else None, tensors={record.seed: tensors}),
        )

    @classmethod
    def load(cls, folder: Path | str, student: nn.Module | None = None) -> "DistillResult":
        """Read what `save` wrote, and load the weights into `student`, which is not copied.

        Args:
            folder: the folder.
            student: a network like the one that was trained; without one `export` can still write the student
                if its network has an import path.

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
            state = safetensors.torch.load((folder / WEIGHTS).read_bytes())
            if student is not None:
                student.load_state_dict(state)
            inputs = read_state(folder / INPUTS) if (folder / INPUTS).exists() else {}
        except InputError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            reason = one_line(error)
            raise InputError(f"`{folder}` cannot be read into `student`: {reason}") from error
        arrays = read_arrays(folder / PREDICTIONS)
        network = nn.Identity() if student is None else student.eval()
        found = cls.from_dict({**values, "student": network, "predictions": arrays, "inputs": inputs})
        return replace(found, kept=folder)

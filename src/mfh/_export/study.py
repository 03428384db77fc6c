"""From a finished study to the networks that are exported, and the proof that the files hold them."""

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from mfh._checks import InputError, listing, require
from mfh._export.files import (
    DESCRIPTION,
    PROGRAM,
    STUDENT,
    TEACHER,
    WEIGHTS,
    network_of,
    read_program,
    save_weights,
    write_program,
)
from mfh._focus import FocusedTeacher, channel_means, channel_split, select
from mfh._saliency.heads import logits_of
from mfh._study.networks import Networks, learnt_labels
from mfh._study.resume import written_weights
from mfh._system.files import file_checksum, require_files, write_json
from mfh._system.import_paths import ClassSpec
from mfh._system.lock import holds
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.splits import draw_split
from mfh.data.standardize import Standardize
from mfh.metrics import Metric, find_metric
from mfh.results import Record, StudyResult, load_results
from mfh.training.scores import make_teacher_record

ARMS = ("general", "specific", "important")
NUM_CHECKED = 32
_log = logging.getLogger("mfh")


@holds("to")
def export_study(
    folder: Path | str,
    data: PairedDataset,
    to: Path | str,
    *,
    teacher: ClassSpec | None = None,
    student: ClassSpec | None = None,
    seed: int | None = None,
    arm: str = "general",
    ratio: float | None = None,
) -> Path:
    """Write the focused teacher and the chosen student of one seed of a study, and prove the files.

    Networks that the study standardised inputs for are exported with that step, so they take raw values;
    transforms of the data are not part of a network. What is written is read back: the teacher has to give
    the same outputs to the last bit and the score that the study recorded, the student's program the same
    outputs but for rounding.

    Args:
        folder: of the study, as its `out`.
        data: the study's data.
        to: folder for the files.
        teacher: what makes the teacher's network; None for the study's default.
        student: the same for the student.
        seed: of the study; by default its first.
        arm: ranking whose channels are removed: `general`, `specific` or `important`.
        ratio: share of removed channels; by default what validation chose for `general` (0 where it chose
            to remove nothing).

    Returns:
        Path of `export.json`.

    Raises:
        InputError: the folder holds no finished study, of these data; there is no such seed or arm; a network
            cannot be exported, or does not come back as it was.
    """
    run = _Run(Path(folder), data, teacher, student, seed, arm, ratio)
    to = Path(to)
    focused, removed = run.teacher()
    example = run.data.inputs(run.modality("teacher"), torch.arange(min(NUM_CHECKED, len(data))))
    with torch.no_grad():
        focused(example)  # finds which dimension is channels
    focused.save(to / TEACHER)
    again = FocusedTeacher.load(to / TEACHER, run.network("teacher"))
    _require_equal(focused, again.eval(), example, "teacher", exactly=True)
    run.require_score(focused)
    chosen = run.chosen_student()
    seen = run.data.inputs(run.modality("student"), torch.arange(min(NUM_CHECKED, len(data))))
    save_weights(chosen, to / STUDENT / WEIGHTS)
    write_program(chosen, seen, to / STUDENT / PROGRAM)
    _require_equal(chosen, read_program(to / STUDENT / PROGRAM), seen, "student", exactly=False)
    names = ("teacher/focus.json", f"{TEACHER}/{WEIGHTS}", f"{STUDENT}/{WEIGHTS}", f"{STUDENT}/{PROGRAM}")
    files = {name: file_checksum(to / name) for name in names}
    description = run.description(focused, removed, chosen) | {"files": files}
    return write_json(to / DESCRIPTION, description, sealed=True)


class _Run:
    """A finished study, and what one of its seeds left."""

    def __init__(
        self,
        folder: Path,
        data: PairedDataset,
        teacher: ClassSpec | None,
        student: ClassSpec | None,
        seed: int | None,
        arm: str,
        ratio: float | None,
    ) -> None:
        result = load_results(folder)
        require(
            result.kind == "study",
            f"`out` {folder} must be the folder of a study. It holds a run of kind `{result.kind}`.",
        )
        require(
            "seed" in getattr(result, "channels", {}),
            f"`out` {folder} holds a study that ranks no channels, so there is no focused teacher to export.",
        )
        assert isinstance(result, StudyResult)  # noqa: S101 - what was just required
        self.folder, self.result = folder, result
        known = {spec.name for spec in fields(StudyConfig)}
        self.config = StudyConfig(**{k: v for k, v in result.config.items() if k in known})
        data = data.with_task(self.config.task)
        require(
            result.data.get("fingerprint") == data.fingerprint,
            f"`data` must be those of the study in {folder}. Their values, labels, ids or splits differ.",
        )
        seeds = [int(s) for s in result.channels["seed"]]
        self.seed = seeds[0] if seed is None else seed
        require(self.seed in seeds, f"`seed` must be one of the study's, {listing(seeds)}. Got {seed}.")
        require(arm in ARMS, f"`arm` must be one of {listing(ARMS)}. Got {arm!r}.")
        self.row, self.arm = seeds.index(self.seed), arm
        self.chosen = self._chosen()
        self.ratio = (self.chosen.ratio or 0.0) if ratio is None else ratio
        self.specs = {TEACHER: teacher, STUDENT: student}
        self.split = draw_split(data, self.config.seed if self.config.fix_split else self.seed)
        self.train = torch.from_numpy(self.split.train)
        built = Networks(data, self.config, teacher, student)
        self.data = replace(data, label=learnt_labels(data, self.train))
        self.targets = Standardize.fit(data.label[self.train]) if data.task == "regression" else None
        self.fits = {name: Standardize.fit(data.inputs(name, self.train)) for name in built.standardized}

    def _chosen(self) -> Record:
        """The student of `general` or `joint` by the declared loss with the best validation metric."""
        losses = (None, self.config.loss)
        mine = [r for r in self.result.records if r.seed == self.seed and r.loss in losses]
        kept = [r for r in mine if r.arm in ("general", "joint")]
        require(
            bool(kept),
            f"`seed` {self.seed} has no student to export: those of `general` and `joint` by the loss "
            f"{self.config.loss} diverged. Take another seed.",
        )
        return max(kept, key=lambda r: (r.validation or 0.0, -(r.ratio or 0.0)))

    @property
    def metric(self) -> Metric:
        """The metric of the study."""
        return find_metric(self.config.metric, self.data.task)

    def modality(self, side: str) -> str:
        """What a side sees."""
        return str(getattr(self.config, side))

    def network(self, side: str) -> nn.Module:
        """A new network of a side, with the standardisation that the study put before it."""
        return network_of(self.made_of(side))

    def made_of(self, side: str) -> dict[str, Any]:
        """What makes a network of that side, as plain values."""
        spec, modality = self.specs[side], self.modality(side)
        if spec is not None:
            return spec.to_dict()
        shape = list(self.data.shape(modality))
        return {"mlp": shape, "outputs": self.data.num_classes, "hidden": list(self.config.hidden)}

    def weights(self, side: str, name: str) -> dict[str, Tensor]:
        """A checkpoint of this seed, under the names of `network`."""
        path = self.folder / "checkpoints" / f"seed-{self.seed:04d}" / f"{name}.safetensors"
        try:
            known = written_weights(self.folder, self.seed)
            require_files(
                self.folder,
                {n: known[n] for n in known if n.endswith(f"/{path.name}")},
                f"seed-{self.seed:04d}.json",
            )
            state = safetensors.torch.load(path.read_bytes())
        except (OSError, InputError, safetensors.SafetensorError) as error:
            raise InputError(f"`{path}` cannot be read: {error}. Repeat the study.") from error
        fit = self.fits.get(self.modality(side))
        if self.specs[side] is not None or fit is None:
            return state
        named = {f"network.{key}": value for key, value in state.items()}
        return {"standardize.mean": fit.mean, "standardize.sd": fit.sd} | named

    def filled(self, side: str, name: str) -> nn.Module:
        """A network with the weights of a checkpoint."""
        network = self.network(side)
        try:
            network.load_state_dict(self.weights(side, name))
        except RuntimeError as error:
            raise InputError(
                f"The {side}'s network does not take the weights of the study: {error}"
            ) from error
        return network.eval()

    def teacher(self) -> tuple[FocusedTeacher, list[int]]:
        """The focused teacher, and the channels it lost."""
        model = self.filled(TEACHER, f"teacher-{self.config.teacher_source}")
        layer = str(self.result.config["layer"])
        layer = f"network.{layer}" if self.specs[TEACHER] is None else layer
        example = self.data.inputs(self.modality(TEACHER), self.train[:2])
        trunk, _ = channel_split(model, layer, example, self.config.channel_dim)
        batches = (self.data.inputs(self.modality(TEACHER), rows) for rows in self.train.split(256))
        fill = channel_means(batches, trunk)
        score = "importance" if self.arm == "important" else self.config.score
        values = self.result.channels[f"{score}_{self.config.saliency_split}"][self.row]
        removed = select(torch.from_numpy(values), self.ratio, self.arm)
        return FocusedTeacher(
            model, layer, removed, fill, channel_dim=self.config.channel_dim
        ).eval(), removed.tolist()

    def chosen_student(self) -> nn.Module:
        """The student that learned from the chosen teacher."""
        return self.filled(STUDENT, "student-general")

    def scores(self, network: nn.Module, side: str) -> Tensor:
        """Logits of a network for every sample."""
        batches = torch.arange(len(self.data)).split(256)
        with torch.no_grad():
            parts = [logits_of(network(self.data.inputs(self.modality(side), rows))) for rows in batches]
        return torch.cat(parts)

    def require_score(self, focused: nn.Module) -> None:
        """Refuse a teacher that does not score as the study recorded."""
        name = f"{self.arm}@{self.ratio:g}" if self.ratio else self.config.teacher_source
        records = [t for t in self.result.teachers if t.seed == self.seed and t.teacher == name]
        logits = self.scores(focused, TEACHER)
        now = make_teacher_record(
            name,
            find_metric(self.config.metric, self.data.task),
            logits,
            self.data.label,
            self.split,
            seed=self.seed,
            temperature=1.0,
            task=self.data.task,
        )
        for record in records:
            require(
                abs(record.test - now.test) <= 1.0,
                f"The exported teacher must score as in the study, {record.test:.2f}. It scores "
                f"{now.test:.2f}: are data, transforms and networks those of the study?",
            )

    def description(self, focused: FocusedTeacher, removed: list[int], student: nn.Module) -> dict[str, Any]:
        """Content of `export.json`."""
        held = torch.from_numpy(self.split.test)
        test = self.metric(self.scores(student, STUDENT)[held], self.data.label[held])
        return {
            "schema_version": 1,
            "study": str(self.folder),
            "fingerprint": self.result.data["fingerprint"],
            "seed": self.seed,
            "task": self.data.task,
            **({"targets": _scale(self.targets)} if self.targets else {}),
            "class_names": list(self.data.class_names),
            TEACHER: {
                "network": self.made_of(TEACHER),
                "modality": self.modality(TEACHER),
                "shape": list(self.data.shape(self.modality(TEACHER))),
                "arm": self.arm,
                "ratio": self.ratio,
                "layer": focused.layer,
                "num_removed": len(removed),
            },
            STUDENT: {
                "network": self.made_of(STUDENT),
                "modality": self.modality(STUDENT),
                "shape": list(self.data.shape(self.modality(STUDENT))),
                "arm": self.chosen.arm,
                "ratio": self.chosen.ratio,
                "test": test,
                "recorded": self.chosen.test,
            },
        }


def _scale(fit: Standardize) -> dict[str, list[float]]:
    """What gives targets in their unit: an output x `sd` + `mean`."""
    return {"mean": fit.mean.flatten().tolist(), "sd": fit.sd.flatten().tolist()}


def _require_equal(
    network: nn.Module, again: nn.Module, example: Tensor, what: str, *, exactly: bool
) -> None:
    """Compare what two networks answer, on all and on one sample."""
    for inputs in (example, example[:1]):
        with torch.no_grad():
            one, two = logits_of(network(inputs)), logits_of(again(inputs))
        same = torch.equal(one, two) if exactly else torch.allclose(one, two, rtol=1e-4, atol=1e-5)
        require(
            same, f"The {what} that was written does not answer as the one in memory. Nothing to rely on."
        )
    _log.info("The %s was read back: equal on %d samples.", what, len(example))

"""One seed of a finished study: its networks with their weights, and which channels an arm removes."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from mfh._checks import InputError, listing, require
from mfh._export.files import STUDENT, TEACHER, network_of
from mfh._focus import FocusedTeacher, channel_means, channel_split, select
from mfh._saliency.heads import logits_of
from mfh._study.design import Design
from mfh._study.networks import Networks, learnt_labels
from mfh._study.resume import written_weights
from mfh._system.files import require_files
from mfh._system.import_paths import ClassSpec
from mfh.arms import HEADLINE, Arm
from mfh.comparing import source_arm
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.standardize import Standardize
from mfh.metrics import find_metric
from mfh.results import Record, StudyResult, load_results


class FinishedSeed:
    """One seed of a finished study.

    Args:
        folder: folder of the study.
        data: the study's data.
        teacher: what makes the teacher's network; None for the study's default.
        student: the same for the student.
        seed: the seed; None takes the study's first.
        arm: name of the arm whose ranking decides which channels the teacher loses.
        ratio: share of channels to remove; None takes what validation chose for `general`.

    Raises:
        InputError: the folder contains no finished study of these data, or there is no such seed or arm.
    """

    def __init__(
        self,
        folder: Path,
        data: PairedDataset,
        teacher: ClassSpec | None,
        student: ClassSpec | None,
        *,
        seed: int | None,
        arm: str,
        ratio: float | None,
    ) -> None:
        self.folder, self.result = folder, _load_study(folder)
        known = {spec.name for spec in fields(StudyConfig)} - {"arms"}  # results keep the arms themselves
        self.config = StudyConfig(**{k: v for k, v in self.result.config.items() if k in known})
        data = data.with_task(self.config.task)
        self.metric = find_metric(self.config.metric, data.task)
        require(
            self.result.data.get("fingerprint") == data.fingerprint,
            f"`data` must be those of the study in {folder}. Their values, labels, ids or splits differ.",
        )
        seeds = [int(s) for s in self.result.channels["seed"]]
        self.seed = seeds[0] if seed is None else seed
        require(self.seed in seeds, f"`seed` must be one of the study's, {listing(seeds)}. Got {seed}.")
        self.row = seeds.index(self.seed)
        self.arm = self._find_arm(arm)
        self.chosen = self._chosen()
        self.ratio = (self.chosen.ratio or 0.0) if ratio is None else ratio
        self.specs = {TEACHER: teacher, STUDENT: student}
        self.split = Design.of(data, self.config).draw(data, self.config, self.seed)
        self.train = torch.from_numpy(self.split.train)
        built = Networks(data, self.config, teacher, student)
        self.data = replace(data, label=learnt_labels(data, self.train))
        self.targets = Standardize.fit(data.label[self.train]) if data.task == "regression" else None
        self.fits = {name: Standardize.fit(data.inputs(name, self.train)) for name in built.standardized}

    def _find_arm(self, name: str) -> Arm:
        """Return the arm of this name, if the study stored the values that it ranks channels by."""
        arms = {arm.name: arm for arm in self.result.arms if self._array(arm) in self.result.channels}
        require(
            name in arms,
            f"`arm` must be one of the study's arms whose ranking is stored, {listing(arms)}. Got {name!r}.",
        )
        return arms[name]

    def _array(self, arm: Arm) -> str:
        """Return the name of the array that an arm's channels are ranked by; empty if none is stored."""
        if arm.ranking is None or arm.is_drawn:
            return ""
        values = {"saliency": self.config.score, "importance": "importance"}
        ranking = arm.name if arm.is_own else values[str(arm.ranking)]
        return f"{ranking}_{self.config.saliency_split}"

    def _chosen(self) -> Record:
        """Return the student by the declared loss that validation chose.

        It is the best student of `general`, at any ratio, and of its source teacher with nothing removed.
        """
        plain = source_arm(self.result.arms, self.config.teacher_source)
        names = [HEADLINE, *([plain.name] if plain else [])]
        mine = [r for r in self.result.records if r.seed == self.seed and r.loss == self.config.loss]
        kept = [r for r in mine if r.arm in names]
        require(
            bool(kept),
            f"`seed` {self.seed} has no student to export: those of {listing(names)} by the loss "
            f"{self.config.loss} were not trained, or diverged. Take another seed.",
        )
        return max(kept, key=lambda r: (self.metric.merit(r.validation or 0.0), -(r.ratio or 0.0)))

    def modality(self, side: str) -> str:
        """Return the modality that the teacher or the student sees."""
        return str(getattr(self.config, side))

    def network(self, side: str) -> nn.Module:
        """Make a new network of a side, which begins with the standardisation that the study applied."""
        return network_of(self.made_of(side))

    def made_of(self, side: str) -> dict[str, Any]:
        """Return what makes a network of a side, as plain values."""
        spec, modality = self.specs[side], self.modality(side)
        if spec is not None:
            return spec.to_dict()
        shape = list(self.data.shape(modality))
        return {"mlp": shape, "outputs": self.data.num_classes, "hidden": list(self.config.hidden)}

    def weights(self, side: str, name: str) -> dict[str, Tensor]:
        """Read a checkpoint of this seed; the names of the weights are those of `network`."""
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

    def trained(self, side: str, name: str) -> nn.Module:
        """Make a network of a side and load a checkpoint of this seed into it."""
        network = self.network(side)
        try:
            network.load_state_dict(self.weights(side, name))
        except RuntimeError as error:
            raise InputError(f"The weights of the study do not fit the {side}'s network: {error}") from error
        return network.eval()

    def teacher(self) -> tuple[FocusedTeacher, list[int]]:
        """Return the focused teacher, and the channels that it lost."""
        model = self.trained(TEACHER, f"teacher-{self.config.teacher_source}")
        layer = str(self.result.config["layer"])
        layer = f"network.{layer}" if self.specs[TEACHER] is None else layer
        example = self.data.inputs(self.modality(TEACHER), self.train[:2])
        trunk, _ = channel_split(model, layer, example, self.config.channel_dim)
        batches = (self.data.inputs(self.modality(TEACHER), rows) for rows in self.train.split(256))
        fill = channel_means(batches, trunk)
        values = torch.from_numpy(self.result.channels[self._array(self.arm)][self.row])
        removed = select(values, self.ratio, "general" if self.arm.remove == "lowest" else "specific")
        focused = FocusedTeacher(model, layer, removed, fill, channel_dim=self.config.channel_dim)
        return focused.eval(), removed.tolist()

    def student(self) -> nn.Module:
        """Return the student that validation chose."""
        return self.trained(STUDENT, f"student-{HEADLINE}")

    def logits(self, network: nn.Module, side: str) -> Tensor:
        """Return the logits of a network for every sample."""
        batches = torch.arange(len(self.data)).split(256)
        with torch.no_grad():
            parts = [logits_of(network(self.data.inputs(self.modality(side), rows))) for rows in batches]
        return torch.cat(parts)


def _load_study(folder: Path) -> StudyResult:
    result = load_results(folder)
    require(
        result.kind == "study",
        f"`out` {folder} must be the folder of a study. It contains a run of kind `{result.kind}`.",
    )
    require(
        "seed" in getattr(result, "channels", {}),
        f"`out` {folder} contains a study that ranks no channels, so there is no focused teacher to export.",
    )
    assert isinstance(result, StudyResult)  # noqa: S101 - was just required
    return result

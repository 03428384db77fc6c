"""The focused teacher of a finished fit: its weights, and the channels that it loses."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from mfh._checks import InputError, listing, require
from mfh._export.deployed import network_of
from mfh._focus import FocusedTeacher, channel_means, channel_split, select
from mfh._saliency.heads import logits_of
from mfh._study.design import Design
from mfh._study.kept import describe_build
from mfh._study.networks import Networks, learnt_labels
from mfh._study.resume import written_weights
from mfh._system.files import require_files
from mfh._system.import_paths import ClassSpec
from mfh.arms import HEADLINE, Arm
from mfh.config import StudyConfig
from mfh.data.paired import PairedDataset
from mfh.data.prepared import fit_inputs
from mfh.data.selection import usable_only
from mfh.data.splits import draw_pairs
from mfh.metrics import find_metric
from mfh.results import StudyResult

TEACHER = "teacher"
NUM_CHECKED = 32
"""Samples on which the teacher read back is compared with the one in memory."""
SCORE_TOLERANCE = 1.0
"""By how many points the exported teacher's test metric may differ from the recorded one."""


def write_teacher(
    folder: Path,
    result: StudyResult,
    data: PairedDataset,
    to: Path,
    *,
    spec: ClassSpec | None,
    seed: int,
    arm: str,
    ratio: float | None,
) -> dict[str, Any]:
    """Write the focused teacher of a fit, and check the files: the outputs must be equal to the last bit.

    Args:
        folder: folder of the study.
        result: its result.
        data: its data.
        to: folder for the files, `model.safetensors` and `focus.json`.
        spec: what makes the teacher's network; None for the default network of the study.
        seed: the fit.
        arm: the arm whose ranking decides which channels are removed.
        ratio: share of channels to remove; None removes nothing.

    Returns:
        What `export.json` says of it.

    Raises:
        InputError: the data are not those of the study; the arm ranks no channels, or its ranking is not
            stored; the network cannot be made, or gives other outputs when it is read back.
    """
    source = FinishedTeacher(folder, result, data, spec, seed=seed, arm=arm, ratio=ratio or 0.0)
    focused, removed = source.focused()
    example = source.data.inputs_of(source.modality, source.rows[:NUM_CHECKED])
    with torch.no_grad():
        focused(*example)  # finds which dimension is channels
    focused.save(to)
    again = FocusedTeacher.load(to, source.network()).eval()
    for inputs in (example, tuple(x[:1] for x in example)):
        with torch.no_grad():
            same = torch.equal(logits_of(focused(*inputs)), logits_of(again(*inputs)))
        require(same, "The exported teacher gives other outputs than the trained one: delete the export.")
    source.require_score(focused)
    parts = source.data.parts(source.modality)
    shapes = [list(source.data.shape(part)) for part in parts]
    return {
        "network": source.made_of,
        "modality": source.modality,
        "shape": shapes if len(parts) > 1 else shapes[0],
        "arm": arm,
        "ratio": source.ratio,
        "layer": focused.layer,
        "num_removed": len(removed),
    }


class FinishedTeacher:
    """The source teacher of a finished fit; see `write_teacher` for the arguments."""

    def __init__(
        self,
        folder: Path,
        result: StudyResult,
        data: PairedDataset,
        spec: ClassSpec | None,
        *,
        seed: int,
        arm: str,
        ratio: float,
    ) -> None:
        self.folder, self.result, self.spec = folder, result, spec
        self.seed, self.ratio = seed, ratio
        known = {field.name for field in fields(StudyConfig)} - {"arms"}  # results keep the arms themselves
        self.config = StudyConfig(**{k: v for k, v in result.config.items() if k in known})
        sides = (str(self.config.teacher), str(self.config.student))
        data = usable_only(data.with_task(self.config.task), *sides, "a study")
        self.metric = find_metric(self.config.metric, data.task)
        require(
            result.data.get("fingerprint") == data.fingerprint,
            f"`data` must be those of the study in {folder}. Their values, labels, ids or splits differ.",
        )
        require(
            "seed" in result.channels,
            f"`run` {folder} is a study that ranks no channels, so there is no focused teacher to export.",
        )
        self.row = [int(s) for s in result.channels["seed"]].index(seed)
        self.arm = self._find_arm(arm)
        self.modality = str(self.config.teacher)
        sides_of = result.config.get("networks", {}).get("student", {}).get("network") or {}
        # a student's own network takes its modality as it is, and so does a teacher that sees it too
        networks = Networks(data, self.config, spec, None if "mlp" in sides_of else nn.Identity)
        if data.labelled.all() or result.labels:
            drawn = Design.of(data, self.config).draw(data, self.config, seed)
        else:  # the steps of an experiment validate, also where labels are missing
            drawn = draw_pairs(data, self.config.seed)
        self.split = drawn.only(networks.present["teacher"])
        self.train = torch.from_numpy(self.split.train)
        self.rows = networks.having(torch.arange(len(data)), "teacher")
        self.data = replace(data, label=learnt_labels(data, torch.from_numpy(drawn.train)))
        self.fits = fit_inputs(data, self.train, networks.standardized)
        self.made_of: Mapping[str, Any] = (
            describe_build(
                spec, data, self.modality, hidden=self.config.hidden, standardized=networks.standardized
            )
            or {}
        )

    def _find_arm(self, name: str) -> Arm:
        """Return the arm of this name, if the study stored the values that it ranks channels by."""
        arms = {arm.name: arm for arm in self.result.arms if self._array(arm) in self.result.channels}
        if not self.ratio and name not in arms and HEADLINE in arms:
            return arms[HEADLINE]  # nothing is removed
        require(
            name in arms,
            "`arm` of an exported teacher must be one of the study's arms whose ranking is stored, "
            f"{listing(arms)}. Got {name!r}.",
        )
        return arms[name]

    def _array(self, arm: Arm) -> str:
        """Return the name of the array that an arm's channels are ranked by; empty if none is stored."""
        if arm.ranking is None or arm.is_drawn:
            return ""
        values = {"saliency": self.config.score, "importance": "importance"}
        ranking = arm.name if arm.is_own else values[str(arm.ranking)]
        return f"{ranking}_{self.config.saliency_split}"

    def network(self) -> nn.Module:
        """Make a new network, which begins with the standardisation that the study applied."""
        return network_of(self.made_of)

    @property
    def _begins(self) -> bool:
        """Whether the exported network begins with standardisation, before a module `network`."""
        return self.modality in self.fits or len(self.data.parts(self.modality)) > 1

    def _weights(self) -> dict[str, Tensor]:
        """Read the checkpoint of the teacher; the names of the weights are those of `network`."""
        name = f"teacher-{self.config.teacher_source}.safetensors"
        path = self.folder / "checkpoints" / f"seed-{self.seed:04d}" / name
        try:
            known = written_weights(self.folder, self.seed)
            require_files(
                self.folder,
                {n: known[n] for n in known if n.endswith(f"/{name}")},
                f"seed-{self.seed:04d}.json",
            )
            state = safetensors.torch.load(path.read_bytes())
        except (OSError, InputError, safetensors.SafetensorError) as error:
            raise InputError(f"`{path}` cannot be read: {error}. Repeat the study.") from error
        if not self._begins:
            return state
        parts = self.data.parts(self.modality)
        named = {f"network.{key}": value for key, value in state.items()}
        for place, part in enumerate(parts):
            prefix = "standardize" if len(parts) == 1 else f"standardize.{place}"
            fit = self.fits.get(part)
            named |= {} if fit is None else {f"{prefix}.{key}": value for key, value in fit.tensors.items()}
        return named

    def focused(self) -> tuple[FocusedTeacher, list[int]]:
        """Return the focused teacher, and the channels that it lost."""
        model = self.network()
        try:
            model.load_state_dict(self._weights())
        except RuntimeError as error:
            raise InputError(f"The weights of the study do not fit the teacher's network: {error}") from error
        layer = str(self.result.config["layer"])
        layer = f"network.{layer}" if self._begins else layer
        example = self.data.inputs_of(self.modality, self.train[:2])
        trunk, _ = channel_split(model.eval(), layer, example, self.config.channel_dim)
        batches = (self.data.inputs_of(self.modality, rows) for rows in self.train.split(256))
        fill = channel_means(batches, trunk)
        values = torch.from_numpy(self.result.channels[self._array(self.arm)][self.row])
        removed = select(values, self.ratio, "general" if self.arm.remove == "lowest" else "specific")
        focused = FocusedTeacher(model, layer, removed, fill, channel_dim=self.config.channel_dim)
        return focused.eval(), removed.tolist()

    def require_score(self, focused: FocusedTeacher) -> None:
        """Compare the teacher's test metric with the one that the study recorded."""
        name = f"{self.arm.name}@{self.ratio:g}" if self.ratio else self.config.teacher_source
        records = [t for t in self.result.teachers if t.seed == self.seed and t.teacher == name]
        test = torch.from_numpy(self.split.test)
        with torch.no_grad():
            batches = test.split(256)
            parts = [logits_of(focused(*self.data.inputs_of(self.modality, rows))) for rows in batches]
        now = self.metric(torch.cat(parts), self.data.label[test], self.data.weight_of(test))
        for record in records:
            require(
                abs(record.test - now) <= SCORE_TOLERANCE,
                f"The exported teacher must have the test {record.metric} that the study recorded, "
                f"{record.test:.2f}. It has {now:.2f}: are data, transforms and networks those of the "
                "study?",
            )

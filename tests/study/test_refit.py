"""Training a student once more on all samples: what it sees, how long, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import make_paired

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh._study import refit as module
from mfh._study.networks import Networks
from mfh._study.refit import Winner, refit
from mfh._study.task import SeedTask
from mfh.training.students import StudentFit

CONFIG = StudyConfig(
    teacher="audio", student="image", repeats=1, folds=2, epochs=6, ratio=(0.25, 0.5), random_draws=2,
    smoothing=(0.1, 0.2), hidden=(8,), device="cpu", batch_size=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> PairedDataset:
    return make_paired()


@pytest.mark.parametrize(
    "winner",
    [Winner(arm="no-kd", epochs=3), Winner(arm="no-kd-smoothed", smoothing=0.2, epochs=2),
     Winner(arm="general", ratio=0.5, loss="kl", epochs=3, teacher_epochs=2),
     Winner(arm="softened", ratio=0.25, loss="kl", epochs=1), Winner(arm="random", ratio=0.5, loss="kl")],
    ids=lambda winner: winner.arm,
)  # fmt: skip
def test_a_student_of_any_arm_is_trained_on_all_samples_for_the_steps_that_are_asked(
    data: PairedDataset, winner: Winner
) -> None:
    networks = Networks(data, CONFIG)
    done = refit(networks, winner, seed=3)
    assert (done.samples, done.steps) == (240, winner.epochs * 8)
    expected = torch.as_tensor(data.modalities["image"]).mean(dim=0)
    torch.testing.assert_close(done.tensors["standardize/mean"][0], expected, rtol=1e-5, atol=1e-5)
    again = refit(networks, winner, seed=3)
    assert all(torch.equal(value, again.state[name]) for name, value in done.state.items())


def test_teacher_and_student_are_trained_for_different_numbers_of_steps(
    data: PairedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[str, int | None] = {}
    original = SeedTask.train_side_by_side

    def watched(self: SeedTask, jobs: dict[str, object], stage: str, **rest: object) -> list[StudentFit]:
        for job in jobs.values():
            assert len(job.train) == 240  # type: ignore[attr-defined]
        steps[stage] = self.training.steps
        return original(self, jobs, stage, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SeedTask, "train_side_by_side", watched)
    refit(Networks(data, CONFIG), Winner(arm="regular", loss="kl", epochs=5, teacher_epochs=2))
    assert steps == {"teachers": 16, "students": 40}


def test_hidden_labels_stay_hidden(data: PairedDataset) -> None:
    config = replace(CONFIG, arms=("no-kd", "stack"), labelled=("0.2",), steps=20, smoothing=(0.1,))
    known = np.arange(0, 240, 8)
    wrong = replace(
        data, label=torch.where(torch.isin(torch.arange(240), torch.from_numpy(known)), data.label, 0)
    )
    winner = Winner(arm="stack", loss="kl")
    one, two = (refit(Networks(d, config), winner, labelled=known) for d in (data, wrong))
    assert (one.labelled, one.samples) == (30, 240)
    assert all(torch.equal(value, two.state[name]) for name, value in one.state.items())
    assert refit(Networks(data, config), winner).labelled == 240


def test_what_cannot_be_trained_is_refused(data: PairedDataset) -> None:
    with pytest.raises(InputError, match="`arm` must be one of the arms of the study"):
        refit(Networks(data, CONFIG), Winner(arm="nearly"))
    with pytest.raises(InputError, match="the schedule step counts epochs"):
        refit(Networks(data, replace(CONFIG, schedule="step")), Winner(arm="no-kd"))


def test_an_export_takes_what_the_fits_chose_most_often(
    data: PairedDataset, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    result = mfh.study(data, config=replace(CONFIG, folds=3, arms=("no-kd", "joint", "general")))
    seen: list[Winner] = []

    def stop(_: Networks, winner: Winner, **__: object) -> None:
        seen.append(winner)
        raise KeyboardInterrupt

    monkeypatch.setattr("mfh._export.winner.refit", stop)
    with pytest.raises(KeyboardInterrupt):
        result.export(tmp_path, arm="no-kd", refit=True)
    best = [record.best_epoch for record in result.records if record.arm == "no-kd"]
    assert seen == [Winner(arm="no-kd", epochs=sorted(best)[1])]
    assert module.Winner is Winner

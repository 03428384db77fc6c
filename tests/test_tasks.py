"""Tasks: losses and metrics against independent formulas, labels, splits, saliency, studies."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, r2_score
from torch import Tensor, nn

import mfh
from mfh import InputError, PairedDataset, StudyConfig
from mfh.cli import main
from mfh.config import TrainConfig
from mfh.data.splits import draw_split
from mfh.losses import kl_divergence
from mfh.metrics import metric_names
from mfh.tasks import TASKS, infer_task

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, TEACHER = torch.randn(2, 40, 3, generator=GENERATOR, dtype=torch.float64) * 2
SETS = (torch.rand(40, 3, generator=GENERATOR) < 0.4).float()
NUMBERS = torch.randn(40, 3, generator=GENERATOR)
MAPS, TEACHER_MAPS = torch.randn(2, 6, 4, 3, 5, generator=GENERATOR, dtype=torch.float64)
PIXELS = torch.randint(4, (6, 3, 5), generator=GENERATOR)
QUICK = StudyConfig(
    resampling="splits",
    seeds=2,
    epochs=4,
    ratio=(0.5,),
    random_draws=1,
    hidden=(16, 8),
    smoothing=(0.1,),
    label_weight=1.0,
)


def test_multi_label_by_hand() -> None:
    task = TASKS["multi-label"]
    p, q, y = (expit(x.numpy()) for x in (TEACHER / 2, LOGITS / 2, 99 * (SETS - 0.5)))
    kl = 4 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean()
    assert task.soft_loss(LOGITS, TEACHER, temperature=2.0).item() == pytest.approx(kl)
    target, q = 0.9 * y.round() + 0.05, expit(LOGITS.numpy())
    bce = -(target * np.log(q) + (1 - target) * np.log(1 - q)).mean()
    assert task.label_loss(LOGITS, SETS, smoothing=0.1).item() == pytest.approx(bce)
    scores = task.scores(LOGITS, SETS)
    truth, told = SETS.numpy(), LOGITS.numpy()
    assert scores["mAP"] == pytest.approx(100 * average_precision_score(truth, told, average="macro"))
    assert scores["macro-f1"] == pytest.approx(100 * f1_score(truth, told > 0, average="macro"))
    entropy, sure = task.softness(torch.zeros(2, 3), 1.0)
    assert (entropy, sure) == (pytest.approx(np.log(2)), 0.0)


def test_regression_by_hand() -> None:
    task = TASKS["regression"]
    assert task.soft_loss(LOGITS, TEACHER).item() == pytest.approx(((LOGITS - TEACHER) ** 2).mean().item())
    assert task.label_loss(LOGITS, NUMBERS).item() == pytest.approx(((LOGITS - NUMBERS) ** 2).mean().item())
    right = 100 * r2_score(NUMBERS.numpy(), LOGITS.numpy())
    assert task.scores(LOGITS, NUMBERS) == {"R2": pytest.approx(right)}
    assert task.scores(NUMBERS, NUMBERS)[task.metric] == 100.0


def test_dense_by_hand() -> None:
    task = TASKS["dense"]
    rows = [maps.permute(0, 2, 3, 1).reshape(-1, 4) for maps in (MAPS, TEACHER_MAPS)]
    assert task.soft_loss(MAPS, TEACHER_MAPS, temperature=3.0).item() == pytest.approx(
        kl_divergence(*rows, temperature=3.0).item()
    )
    truth, told = PIXELS.flatten().numpy(), rows[0].argmax(dim=1).numpy()
    union = jaccard_score(truth, told, average="macro")
    assert task.scores(MAPS, PIXELS)["mIoU"] == pytest.approx(100 * union)
    assert task.right(MAPS, PIXELS).mean().item() == pytest.approx((truth == told).mean())


def test_ignored_positions_count_in_no_loss_of_labels_no_metric_and_no_stratum() -> None:
    task = TASKS["dense"]
    ignored = torch.rand(PIXELS.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    ignored[-1] = True  # a sample without any class
    label, kept = PIXELS.masked_fill(ignored, -1), ~ignored
    logits, truth = MAPS.movedim(1, -1)[kept], PIXELS[kept]
    for smoothing in (0.0, 0.2):
        expected = nn.functional.cross_entropy(logits, truth, label_smoothing=smoothing)
        torch.testing.assert_close(task.label_loss(MAPS, label, smoothing=smoothing), expected)
    told = logits.argmax(dim=1)
    scores = task.scores(MAPS, label)
    assert scores["mIoU"] == pytest.approx(100 * jaccard_score(truth, told, average="macro"))
    assert scores["accuracy"] == pytest.approx(100 * float((told == truth).float().mean()))
    right = task.right(MAPS, label)
    assert float(right[0]) == pytest.approx(float((MAPS.argmax(dim=1) == PIXELS)[0][kept[0]].float().mean()))
    assert right[-1].isnan()
    counts = [np.bincount(PIXELS[i][kept[i]], minlength=4).argmax() for i in range(len(PIXELS) - 1)]
    assert task.strata(label).tolist() == [*counts, -1]


@pytest.mark.parametrize(
    ("name", "logits", "label"),
    [("multi-label", LOGITS, SETS), ("regression", LOGITS, NUMBERS), ("dense", MAPS, PIXELS)],
)
def test_equals_lose_nothing_and_gradients_are_right(name: str, logits: Tensor, label: Tensor) -> None:
    task = TASKS[name]
    assert task.soft_loss(logits, logits).item() == pytest.approx(0, abs=1e-12)
    student = (logits / 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: task.soft_loss(z, logits), student)
    assert torch.autograd.gradcheck(lambda z: task.label_loss(z, label), student)


@pytest.mark.parametrize(
    ("label", "task", "shape"),
    [
        (np.array(["a", "b", "a"]), "single-label", (3,)),
        (np.array([0.5, 1.0, 2.0]), "regression", (3, 1)),
        (np.array([[0, 1], [1, 0], [1, 1]]), "multi-label", (3, 2)),
        (np.array([[0.1, 1], [1, 0], [1, 1]]), "regression", (3, 2)),
        (np.array([[[0, 1]], [[1, 0]], [[2, 1]]]), "dense", (3, 1, 2)),
    ],
)
def test_the_task_follows_from_the_labels(label: np.ndarray, task: str, shape: tuple[int, ...]) -> None:
    assert infer_task(label) == task
    data = PairedDataset.from_arrays({"a": np.zeros((3, 2)), "b": np.zeros((3, 2))}, label=label)
    assert (data.task, tuple(data.label.shape)) == (task, shape)


@pytest.mark.parametrize(
    ("label", "task", "text"),
    [
        ([[0, 1], [0, 2]], "multi-label", r"hold 0 and 1 for the task multi-label. Got shape \(2, 2\) with"),
        ([[0, 1], [0, 0]], "multi-label", "Label `0` is the same for all: leave it out"),
        ([0.5, float("inf")], "regression", "`label` must be finite. It is not at sample 1"),
        ([0, 1], "dense", r"must be of shape \(sample, \*position\)"),
        ([0, 1], "ranking", "`task` must be one of `single-label`, `multi-label`, `regression`, `dense`"),
        (["a", "b"], "regression", "`label` must hold numbers for the task regression"),
    ],
)
def test_labels_that_do_not_fit_are_refused(label: list, task: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        PairedDataset.from_arrays({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, label=label, task=task)


def test_splits_are_stratified() -> None:
    data = shared_channels("regression")
    fifths = data.kind.strata(data.label)
    assert np.bincount(fifths).min() >= len(data) // 5 - 1
    split = draw_split(data, 0)
    assert np.bincount(fifths[split.test]).tolist() == pytest.approx([len(split.test) / 5] * 5, abs=1)


def shared_channels(task: str, count: int = 300) -> PairedDataset:
    """Labels that follow six directions; both modalities show the first three, the teacher's all six."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(count, 6))
    scores = hidden[:, :3] + hidden[:, 3:]
    label = {"regression": scores, "multi-label": (scores > 0).astype(int)}[task]
    noise = rng.normal(size=(count, 3))
    return PairedDataset.from_arrays({"a": hidden, "b": np.hstack([hidden[:, :3], noise])}, label=label)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_saliency_finds_the_shared_channels(task: str) -> None:
    data = shared_channels(task)
    inputs = data.modalities["a"]
    head = nn.Linear(6, 3)
    with torch.no_grad():
        head.weight.copy_(torch.cat([torch.eye(3), torch.eye(3)], dim=1))
        student = data.modalities["b"][:, :3]
    ranked = mfh.saliency(inputs, head, student, score="followed", warn=False)
    assert set(mfh.select(ranked.values, 0.5, "general").tolist()) == {3, 4, 5}


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_a_study_runs_and_general_beats_specific(task: str) -> None:
    data = shared_channels(task, count=160)

    def teacher() -> nn.Module:
        return nn.Sequential(nn.Identity(), nn.Linear(6, 3))

    config = replace(
        QUICK, teacher="a", student="b", epochs=4, lr=0.2, batch_size=12, layer="0", label_weight=0.0,
        seeds=1 if task == "multi-label" else 2,  # its metric is slow
    )  # fmt: skip
    result = mfh.study(data, teacher, lambda: nn.Linear(6, 3), config=config)
    frame = result.frame()
    assert set(frame.metric) == {data.kind.metric}
    means = frame.groupby("arm").test.mean()
    assert means["general"] > means["specific"] + 10
    assert means["no-kd"] > 20
    softened = {"softened", "softened-regular", "no-kd-smoothed"}
    assert softened.isdisjoint(means.index) == (task == "regression")
    assert result.verdict is not None
    told = any("no `softened` arm: these outputs are numbers" in reason for reason in result.verdict.reasons)
    assert told == (task == "regression")
    if task == "multi-label":
        assert set(result.frame("summary").metric) == set(metric_names("multi-label"))


def test_mismatched_outputs_come_from_alike_samples() -> None:
    data = shared_channels("multi-label")
    codes = data.kind.strata(data.label)
    same = np.unique(codes, return_counts=True)[1]
    assert same.max() > 1
    sets = {code: data.label[codes == code] for code in np.unique(codes)}
    assert all(len(rows.unique(dim=0)) == 1 or len(rows.sum(dim=1).unique()) == 1 for rows in sets.values())


def test_exact_dense_saliency_is_the_mean_over_permutations() -> None:
    head = nn.Conv2d(4, 3, 1).double()
    features, student = MAPS[:4], torch.randn(4, 3, 3, 5, generator=GENERATOR, dtype=torch.float64)
    exact = mfh.saliency(features, head, student, warn=False)
    with torch.no_grad():
        base = ((head(features) - student) ** 2).mean()
        for channel in range(4):
            total = []
            for order in torch.cartesian_prod(*[torch.arange(4)] * 4):
                if len(set(order.tolist())) < 4:
                    continue
                changed = features.clone()
                changed[:, channel] = features[order, channel]
                total.append(((head(changed) - student) ** 2).mean() - base)
            assert exact.increase[channel] == pytest.approx(torch.stack(total).mean().item())
    many = mfh.saliency(features, head, student, num_permutations=4000, warn=False)
    assert many.increase == pytest.approx(exact.increase, abs=0.05)


def test_dense_heads_that_look_around_are_sampled() -> None:
    head = nn.Conv2d(4, 3, 3, padding=1).double()
    student = torch.randn(6, 3, 3, 5, generator=GENERATOR, dtype=torch.float64)
    with pytest.raises(InputError, match="unless `head` is a 1 x 1 convolution"):
        mfh.saliency(MAPS, head, student)
    ranked = mfh.saliency(MAPS, head, student, num_permutations=20, warn=False)
    assert np.isfinite(ranked.increase).all()


def dense_data(count: int = 60) -> PairedDataset:
    """Two channels of a picture say where the foreground is; the student's picture shows the first."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, count, 1, 6, 6))
    label = ((first + second)[:, 0] > 0).astype(int)
    noise = rng.normal(size=(2, count, 1, 6, 6))
    both = np.concatenate([first, second, noise[0]], axis=1)
    return PairedDataset.from_arrays(
        {"depth": both, "picture": np.concatenate([first, noise[1]], axis=1)}, label=label
    )


def test_a_dense_study() -> None:
    data = dense_data()

    def teacher() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def student() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    config = replace(QUICK, teacher="depth", student="picture", epochs=4, lr=0.2, batch_size=6, seeds=1)
    result = mfh.study(data, teacher, student, config=config)
    frame = result.frame()
    assert set(frame.metric) == {"mIoU"}
    assert frame.groupby("arm").test.mean()["no-kd"] > 45
    assert result.saliency["layer"] == "1"
    with pytest.raises(InputError, match="`teacher` and `student` must be given for the task dense"):
        mfh.study(data, config=config)


def test_losses_of_classes_are_refused_for_other_tasks() -> None:
    config = replace(QUICK, teacher="a", student="b", losses=("kl", "dkd"))
    with pytest.raises(InputError, match="`losses` must not contain `dkd` for the task regression"):
        mfh.study(shared_channels("regression"), config=config)


def test_distil_a_regression() -> None:
    data = shared_channels("regression")
    teacher = nn.Linear(6, 3)
    with torch.no_grad():
        teacher.weight.copy_(torch.cat([torch.eye(3), torch.eye(3)], dim=1))
        teacher.bias.zero_()
    config = mfh.DistillConfig(**TrainConfig(epochs=20, lr=0.05, device="cpu").to_dict())
    done = mfh.distill(teacher, nn.Linear(6, 3), data, config)
    assert done.records[0].metric == "R2"
    assert done.test > 30


def test_the_task_of_a_config_reads_the_labels_again(tmp_path: Path) -> None:
    seen = {"a": np.zeros((4, 2)), "b": np.zeros((4, 2))}
    stars = PairedDataset.from_arrays(seen, label=np.array([1.0, 5.0, 2.0, 5.0]))
    assert (stars.task, stars.class_names) == ("single-label", ("1", "2", "5"))
    numbers = stars.with_task("regression")
    assert numbers.label.flatten().tolist() == [1, 5, 2, 5]
    assert numbers.with_task("single-label").class_names == stars.class_names
    assert stars.with_task("auto") is stars
    with pytest.raises(InputError, match="`label` must hold numbers for the task regression"):
        PairedDataset.from_arrays(seen, label=list("abca")).with_task("regression")
    with pytest.raises(InputError, match="one class per sample for the task single-label"):
        shared_channels("regression").with_task("single-label")
    np.savez(tmp_path / "stars.npz", **seen, label=np.array([1.0, 5.0, 2.0, 5.0]))
    assert PairedDataset.from_npz(tmp_path / "stars.npz", task="regression").task == "regression"
    with pytest.raises(InputError, match="`task` must be one of `single-label`"):
        stars.with_task("ranking")


def test_networks_must_give_what_the_task_asks_for() -> None:
    config = replace(QUICK, teacher="a", student="b")
    with pytest.raises(InputError, match=r"student's network must give one number for each of 3 targets"):
        mfh.study(shared_channels("regression"), None, lambda: nn.Linear(6, 2), config=config)
    config = replace(QUICK, teacher="depth", student="picture")
    with pytest.raises(InputError, match=r"one logit for each of 2 classes at every position, shape \(2, 6"):
        mfh.study(
            dense_data(),
            lambda: nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1)),
            lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten()),
            config=config,
        )


QUICKLY = [
    "--resampling",
    "splits",
    "--seeds",
    "2",
    "--epochs",
    "2",
    "--ratio",
    "0.5",
    "--hidden",
    "4",
    "--task",
    "regression",
]


def write_numbers(folder: Path) -> Path:
    """An npz whose labels are whole numbers in one column."""
    data = shared_channels("regression", count=100)
    arrays = {name: values.numpy() for name, values in data.modalities.items()}
    np.savez(folder / "data.npz", **arrays, label=np.round(data.label[:, 0].numpy()))
    return folder / "data.npz"


@pytest.mark.slow
def test_the_command_its_page_and_its_export_say_the_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["study", "--data", str(write_numbers(tmp_path)), "--teacher", "a", "--student", "b", "--quiet"]
    out = tmp_path / "out"
    assert main([*told, *QUICKLY, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "R2" in printed
    assert "Points are hundredths of R^2" in printed
    page = (out / "report.html").read_text()
    assert "test 100 \N{MULTIPLICATION SIGN} R\N{SUPERSCRIPT TWO}" in page
    assert "samples from the same fifth of the targets" in page
    assert "of the same class" not in page

    assert main(["export", "--out", str(out), "--to", str(tmp_path / "export"), "--quiet"]) == 0
    described = json.loads((tmp_path / "export" / "export.json").read_text())
    assert described["student"]["metric"] == "R2"
    assert "in the unit of the targets" in (tmp_path / "export" / "README.md").read_text()

"""Names, parameters and traits of distillation losses, and losses of one's own."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from mfh import DistillConfig, InputError, StudyConfig
from mfh.config import LOSSES
from mfh.losses import DistillLoss, Outputs, build_loss, dkd, kl_divergence, register_loss
from mfh.losses.plugins import _BUILT_IN

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.5, 1.0, -1.0]])
LABEL = torch.tensor([0, 1])


def mine(student: Outputs, teacher: Outputs, label: Tensor) -> Tensor:
    return (student.logits - teacher.logits).abs().mean()


def test_the_config_knows_the_names_that_can_be_built() -> None:
    assert set(_BUILT_IN) <= set(LOSSES)
    for name in _BUILT_IN:
        assert build_loss(name, DistillConfig()).name == name


def test_parameters_come_from_the_config() -> None:
    loss = build_loss("dkd", DistillConfig(dkd_alpha=2.0, dkd_beta=3.0, temperature=4.0))
    student, teacher = Outputs(LOGITS), Outputs(-LOGITS)
    expected = dkd(LOGITS, -LOGITS, LABEL, alpha=2.0, beta=3.0, temperature=4.0)
    assert loss(student, teacher, LABEL) == expected
    kl = build_loss("kl", DistillConfig(temperature=2.0))
    assert kl(student, teacher, LABEL) == kl_divergence(LOGITS, -LOGITS, temperature=2.0)


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("kl", (False, False, False, False)),
        ("dist", (True, False, False, False)),
        ("hints", (False, True, True, True)),
        ("rkd", (True, True, False, True)),
        ("crd", (True, True, True, True)),
        ("c2kd", (False, False, False, True)),
    ],
)
def test_traits(name: str, traits: tuple[bool, ...]) -> None:
    loss = build_loss(name, DistillConfig())
    assert (loss.batchwise, loss.features, loss.regressor, loss.needs_labels) == traits


def test_traits_follow_the_parameters() -> None:
    assert not build_loss("dist", DistillConfig(dist_intra=0.0)).batchwise
    assert build_loss("dkd", DistillConfig(dkd_alpha=0.0)).needs_labels
    crd = build_loss("crd", DistillConfig(crd_memory=True))
    assert crd.memory
    assert crd.features
    assert crd.regressor
    assert not crd.batchwise


def test_a_function_of_ones_own() -> None:
    register_loss("mine", mine)
    try:
        config = StudyConfig(losses=["kl", "mine"])
        loss = build_loss("mine", config)
        assert loss.batchwise
        assert loss(Outputs(LOGITS), Outputs(LOGITS + 1), LABEL).item() == pytest.approx(1.0)
        register_loss("mine", DistillLoss("mine", mine, batchwise=False))
        assert not build_loss("mine", config).batchwise
    finally:
        del LOSSES["mine"]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (torch.nn.functional.mse_loss, "`loss` mine fails on a batch: .* It must be a function of"),
        (lambda student, teacher: 0.0, r"`loss` mine fails on a batch: .*2 positional arguments"),
        (lambda *_: 0.0, "`loss` mine must return a tensor of one number. Got float"),
        (lambda student, *_: student.logits, r"tensor of one number. Got shape \(\d+, \d+\)"),
    ],
)
def test_what_is_no_loss_is_said_in_one_line(function: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        DistillLoss("mine", function)(Outputs(LOGITS), Outputs(LOGITS), LABEL)  # type: ignore[arg-type]


def test_an_import_path() -> None:
    for path in ("torch.nn.functional:mse_loss", "torch.nn.functional.mse_loss"):
        assert build_loss(path, DistillConfig(loss=path)).function is torch.nn.functional.mse_loss


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"loss": "dk"},
            "`loss` must be one of `kl`, `dkd`, .*, or the import path of your own. Got",
        ),
        ({"losses": ["kl", "dk"]}, "`losses` must be one of `kl`"),
        ({"dkd_alpha": -1.0}, "`dkd_alpha` must be 0 or more. Got -1.0"),
        ({"dkd_alpha": 0.0, "dkd_beta": 0.0}, "`dkd_alpha` and `dkd_beta` must not both be 0"),
        ({"crd_temperature": 0.0}, "`crd_temperature` must be above 0"),
        ({"c2kd_threshold": 1.0}, r"`c2kd_threshold` must lie in \[-1, 1\)"),
    ],
)
def test_wrong_values_are_named(values: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        StudyConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nowhere.losses:mine", "`loss` nowhere.losses:mine cannot be imported: No module named 'nowhere'"),
        ("torch.nn.functional:no", "cannot be imported: .*no.*Losses that come with mfh are `kl`"),
        ("math:pi", "`loss` math:pi must be a function of .student, teacher, label.. Got float"),
    ],
)
def test_a_wrong_import_path_is_told(path: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        build_loss(path, DistillConfig(loss=path))


def test_the_names_of_mfh_stay_its_own() -> None:
    with pytest.raises(InputError, match=r"`name` must not be that of a loss of mfh\. Got 'kl'"):
        register_loss("kl", mine)


def test_losses_of_a_study() -> None:
    assert StudyConfig().losses == ("kl",)
    assert StudyConfig(loss="dkd").losses == ("dkd",)
    config = StudyConfig(losses=["dist", "kl", "dist"])
    assert (config.losses, config.loss) == (("dist", "kl"), "dist")


def test_the_config_alone_does_not_load_torch() -> None:
    code = "import sys, mfh.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Names, parameters and traits of distillation losses, and losses of one's own."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from mfh import DistillConfig, InputError, StudyConfig
from mfh._checks import BrokenRulesError
from mfh.loss_options import BUILT_IN, LOSSES, broken_rules, moved
from mfh.losses import DistillLoss, Outputs, build_loss, dkd, kl_divergence, register_loss

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.5, 1.0, -1.0]])
LABEL = torch.tensor([0, 1])


def options(**losses: object) -> dict[str, object]:
    return {"loss_options": losses}


def mine(student: Outputs, teacher: Outputs, label: Tensor) -> Tensor:
    return (student.logits - teacher.logits).abs().mean()


def test_the_config_knows_the_names_that_can_be_built() -> None:
    assert set(BUILT_IN) <= set(LOSSES)
    for name in BUILT_IN:
        assert build_loss(name, DistillConfig()).name == name


def test_parameters_come_from_the_config() -> None:
    loss = build_loss(
        "dkd", DistillConfig(loss_options={"dkd": {"alpha": 2.0, "beta": 3.0}}, temperature=4.0)
    )
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
    assert not build_loss("dist", DistillConfig(loss_options={"dist": {"intra": 0.0}})).batchwise
    assert build_loss("dkd", DistillConfig(loss_options={"dkd": {"alpha": 0.0}})).needs_labels
    crd = build_loss("crd", DistillConfig(loss_options={"crd": {"memory": True}}))
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
        (options(dkd={"alpha": -1.0}), r"`loss_options.dkd.alpha` must be 0 or more. Got -1.0 instead\."),
        (
            options(dkd={"alpha": 0, "beta": 0}),
            "options.dkd.alpha` and `loss_options.dkd.beta` must not both be 0",
        ),
        (options(crd={"temperature": 0.0}), "`loss_options.crd.temperature` must be above 0. Got 0.0"),
        (options(c2kd={"threshold": 1.0}), r"`loss_options.c2kd.threshold` must lie in \[-1, 1\). Got 1.0"),
        (options(hints={"weight": float("nan")}), "`loss_options.hints.weight` must be above 0. Got nan"),
        (options(hints={"weight": True}), "`loss_options.hints.weight` must be a number. Got True"),
        (options(crd={"memory": 1}), "`loss_options.crd.memory` must be true or false. Got 1"),
        (
            options(dkd={"gamma": 1}),
            "`loss_options.dkd` must name options of dkd: `alpha`, `beta`. Got 'gamma'",
        ),
        (options(kl={"beta": 1}), "`loss_options.kl` must name options of kl: none. Got 'beta'"),
        (options(dk={"beta": 1}), "`loss_options` must name losses: `kl`, `dkd`, .* Got 'dk'"),
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
    with pytest.raises(InputError, match=r"`name` must not be the name of a loss of mfh\. Got 'kl'"):
        register_loss("kl", mine)


def test_losses_of_a_study() -> None:
    assert StudyConfig().losses == ("kl",)
    assert StudyConfig(loss="dkd").losses == ("dkd",)
    config = StudyConfig(losses=["dist", "kl", "dist"])
    assert (config.losses, config.loss) == (("dist", "kl"), "dist")


def test_the_config_alone_does_not_load_torch() -> None:
    code = "import sys, mfh.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_all_broken_rules_of_options_are_told_at_once() -> None:
    wrong = {"dkd": {"alpha": -1, "gamma": 2}, "rkd": {"angle": -3}}
    with pytest.raises(BrokenRulesError) as broken:
        DistillConfig(temperature=0.0, loss_options=wrong)
    assert [name for name, _ in broken.value.problems] == ["loss_options"] * 3 + ["temperature"]


def weighted(student: Outputs, teacher: Outputs, label: Tensor, *, weight: float = 1.0) -> Tensor:
    return weight * (student.logits - teacher.logits).abs().mean()


@pytest.mark.parametrize("given", [weighted, DistillLoss("weighted", weighted, batchwise=False)])
def test_a_loss_of_ones_own_takes_options(given: object) -> None:
    register_loss("weighted", given)  # type: ignore[arg-type]
    try:
        config = DistillConfig(loss="weighted", loss_options={"weighted": {"weight": 3}})
        loss = build_loss("weighted", config)
        assert loss(Outputs(LOGITS), Outputs(LOGITS + 1), LABEL).item() == pytest.approx(3.0)
        assert loss.batchwise == (given is weighted)
        plain = build_loss("weighted", DistillConfig(loss="weighted"))
        assert plain(Outputs(LOGITS), Outputs(LOGITS + 1), LABEL).item() == pytest.approx(1.0)
        wrong = DistillConfig(loss="weighted", loss_options={"weighted": {"label": 3}})
        with pytest.raises(
            InputError, match=r"must name options of weighted, which has `weight`\. Got `label`"
        ):
            build_loss("weighted", wrong)
    finally:
        del LOSSES["weighted"]


def test_options_belong_to_a_config_that_can_be_compared_and_hashed() -> None:
    given = {"dkd": {"beta": 4.0}}
    config = DistillConfig(loss_options=given)
    given["dkd"]["beta"] = 5.0
    assert config.to_dict()["loss_options"] == {"dkd": {"beta": 4.0}}
    assert hash(config) == hash(DistillConfig(loss_options={"dkd": {"beta": 4.0}}))
    assert config != DistillConfig()


def test_options_are_checked_without_torch() -> None:
    code = (
        "import sys, mfh\n"
        "try: mfh.StudyConfig(loss_options={'dkd': {'beta': -1}})\n"
        "except ValueError as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "`loss_options.dkd.beta` must be 0 or more. Got -1 instead.\nFalse\n"


def test_spellings_of_earlier_versions() -> None:
    assert moved("dkd_beta") == moved("dkd-beta") == "loss_options: {dkd: {beta: ...}}"
    assert moved("crd_memory") == "loss_options: {crd: {memory: ...}}"
    assert moved("dkd_gamma") is moved("seeds") is None


@pytest.mark.parametrize(
    ("given", "place", "rule"),
    [
        ([1], "loss_options", "map names of losses to their options, such as {dkd: {beta: 4}}"),
        ({"dkd": 4}, "loss_options.dkd", "map options to values, such as {beta: 4}"),
        ({"hints": {"weight": "2"}}, "loss_options.hints.weight", "be a number"),
    ],
)
def test_values_of_other_types(given: object, place: str, rule: str) -> None:
    ((found, text, _),) = broken_rules(given)
    assert (found, text) == (place, rule)

"""Arms of the user's own, and few arms: trained, compared, drawn, exported, resumed."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import make_paired

import mfh
from mfh import Arm, InputError, StudyConfig
from mfh._export import export_run
from mfh._study.live import units_per_seed
from mfh._study.networks import Networks
from mfh.arms import ARMS, find_arms
from mfh.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_arm.py"


def quick(**changes: object) -> StudyConfig:
    config = StudyConfig(
        resampling="splits",
        teacher="audio", student="image", seeds=2, epochs=3, ratio=(0.25, 0.5), random_draws=1,
        hidden=(16, 12), arms=("no-kd", "joint", "general", "important", "backwards"),
    )  # fmt: skip
    return replace(config, **changes)  # type: ignore[arg-type]


def backwards(features, head, student_logits, *, saliency):
    assert features.shape == (len(student_logits), 12)
    assert head(features).shape == student_logits.shape
    return -saliency.increase


@pytest.fixture(autouse=True)
def _registered():
    mfh.register_arm(Arm(name="backwards", teacher="source"), ranking=backwards)
    yield
    ARMS.pop("backwards", None)
    ARMS.pop("gradient", None)


def test_it_is_trained_compared_drawn_exported_and_resumed(tmp_path: Path) -> None:
    data = make_paired()
    result = mfh.study(data, config=quick(), out=tmp_path / "out")
    frame = result.frame()
    assert frame[frame.arm == "backwards"].groupby("seed").ratio.apply(list).tolist() == [[0.25, 0.5]] * 2
    pairs = {(row.a, row.b, row.ratio, row.question is not None) for row in result.comparisons}
    assert {("backwards", name, 0.5, False) for name in ("no-kd", "joint", "important")} <= pairs
    assert ("backwards (chosen)", "important (chosen)", None, False) in pairs
    assert {choice.arm for choice in result.chosen} == {"general", "important", "backwards"}
    assert np.array_equal(result.channels["backwards_train"], -result.channels["increase_train"])
    assert mfh.load_results(tmp_path / "out").arms == result.arms  # type: ignore[attr-defined]
    page = mfh.report(result, tmp_path).read_text()
    assert "without the channels that backwards ranks lowest" in page
    exported = export_run(
        tmp_path / "out", tmp_path / "to", arm="backwards", seed=0, data=data, with_teacher=True, ratio=0.5
    )
    teacher = mfh.load_export(exported.parent).teacher
    lowest = set(np.argsort(result.channels["increase_train"][0])[6:].tolist())
    assert set(teacher.removed.tolist()) == lowest
    (tmp_path / "out" / "results.json").unlink()
    again = mfh.study(data, config=quick(), out=tmp_path / "out")
    assert again.records == result.records


def test_both_engines_agree() -> None:
    loop, many = (mfh.study(make_paired(), config=quick(engine=name)) for name in ("loop", "many"))
    assert (loop.frame().test - many.frame().test).abs().max() <= 100 / 48 + 1e-9


@pytest.mark.parametrize(
    ("ranking", "text"),
    [
        (lambda *_, saliency: saliency.values[:-1], r"each of the 12 channels\. Got shape \(11,\)"),
        (lambda *_, saliency: saliency.values * np.nan, "must return finite numbers"),
        (lambda *_, saliency: 1 / 0, "fails: ZeroDivisionError: division by zero"),
        (lambda features: 0, "fails: TypeError: .*unexpected keyword argument"),
        (lambda *_, saliency: "abc", "fails: ValueError"),
    ],
)
def test_a_wrong_ranking_is_one_line_before_any_student(
    ranking: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfh._study.seed.train_and_evaluate", None)  # no student is trained
    mfh.register_arm(Arm(name="backwards", teacher="source"), ranking=ranking)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"^`ranking` of the arm backwards .*{text}") as caught:
        mfh.study(make_paired(), config=quick(retries=0))
    assert "\n" not in str(caught.value)


def test_few_arms_save_their_work(tmp_path: Path) -> None:
    config = quick(arms=("no-kd", "joint", "self"))
    result = mfh.study(make_paired(), config=config, out=tmp_path)
    assert len(result.records) == 3 * 2
    assert {row.teacher for row in result.teachers} == {"joint", "unimodal"}
    assert result.saliency == {}
    assert result.channels == {}
    assert result.verdict.focusing is None
    assert result.summary[0].arm == "no-kd"
    units = units_per_seed(Networks(make_paired(), config))
    assert units["students"] == 3 * config.epochs
    assert mfh.report(result, tmp_path).exists()
    with pytest.raises(InputError, match="`arm`"):
        export_run(tmp_path, tmp_path / "to", arm="general")


def test_labels_alone_have_no_verdict() -> None:
    result = mfh.study(make_paired(), config=quick(arms=("no-kd",)))
    assert result.verdict.sentence == "No verdict: neither the arm `general` nor `joint` was trained."
    without = mfh.study(make_paired(), config=quick(arms=("joint", "regular")))
    assert "`no-kd`, which gains are measured against, was not trained" in without.verdict.sentence


def test_wrong_names_are_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"`arms` must hold names of arms, `no-kd`, .* Got 'generl'"):
        StudyConfig(arms=["generl"])
    with pytest.raises(InputError, match="The arm `unimodal` is called `self` now"):
        StudyConfig(arms=["unimodal"])
    with pytest.raises(InputError, match="`arms` must name one arm or more"):
        StudyConfig(arms=[])
    with pytest.raises(InputError, match=r"no\.such cannot be imported"):
        find_arms(["no.such"])
    with pytest.raises(InputError, match=r"math:pi must be an mfh\.Arm\. Got float"):
        find_arms(["math:pi"])
    with pytest.raises(InputError, match="must hold general if they hold softened"):
        find_arms(["no-kd", "softened"])
    mfh.register_arm(Arm(name="both", teacher="fused"))
    with pytest.raises(InputError, match="`teacher` of the arm both must be one of"):
        find_arms(["no-kd", "both"])
    assert [arm.name for arm in find_arms(["no-kd", "both"], few_labels=True)] == ["no-kd", "both"]
    del ARMS["both"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "My Arm"}, "lower-case letters, digits and hyphens. Got 'My Arm'"),
        ({"name": "x", "teacher": "none"}, "`teacher` of the arm x must be one of"),
        ({"name": "x", "teacher": "joint", "ranking": "saliency"}, "`teacher` of the arm x must be 'source'"),
        ({"name": "x", "teacher": "source", "ranking": "size"}, "`ranking` of the arm x must be one of"),
        ({"name": "x", "teacher": "joint", "output": "softened"}, "`like` of the arm x must name an arm"),
    ],
)
def test_an_arm_checks_itself(fields: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        Arm(**fields)


def test_names_of_built_in_arms_are_taken() -> None:
    with pytest.raises(InputError, match=r"must not be that of an arm that comes with mfh\. Got 'joint'"):
        mfh.register_arm(Arm(name="joint", teacher="joint"))


def test_the_example_runs_in_python_and_by_its_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = runpy.run_path(str(EXAMPLE))["main"]()
    assert {"gradient", "gradient (chosen)"} <= {row.arm for row in result.summary}
    text = EXAMPLE.read_text()
    own = text[text.index("def by_gradient") : text.index("def main")]
    assert len([line for line in own.splitlines() if line.strip()]) <= 15
    ARMS.pop("gradient", None)
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    monkeypatch.delitem(sys.modules, "own_arm", raising=False)
    data = make_paired()
    np.savez(
        tmp_path / "data.npz", audio=data.modalities["audio"], image=data.modalities["image"],
        label=data.label,
    )  # fmt: skip
    arguments = ["study", "--data", str(tmp_path / "data.npz"), "--teacher", "audio", "--student", "image"]
    arguments += ["--arms", "no-kd", "joint", "general", "important", "own_arm:GRADIENT", "--seeds", "2"]
    arguments += ["--epochs", "2", "--ratio", "0.5", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*arguments, "--no-imports"]) == 2
    assert "own_arm:GRADIENT" in capsys.readouterr().err
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "gradient" in shown

"""A user's own classes in a YAML file: study, layers, export; every mistake at once, with its line."""

import json
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml

import mfh
from mfh.cli import build_parser, main, read_configs

MODULE = '''
import torch
from torch import nn
from torch.utils.data import Dataset


class Teacher(nn.Module):
    """A recurrent network.

    Args:
        width: units of the layer.
        activation: what follows it.
    """

    def __init__(self, width: int, activation: nn.Module | None = None):
        super().__init__()
        self.rnn = nn.GRU(4, width, batch_first=True)
        self.act = activation or nn.ReLU()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(self.act(self.rnn(x)[0]).mean(1))


def student(width: int = 8):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 3))


class Pairs(Dataset):
    def __init__(self, count: int = 90):
        generator = torch.Generator().manual_seed(0)
        self.label = torch.arange(count) % 3
        self.sound = torch.randn(count, 6, 4, generator=generator) + self.label[:, None, None]
        self.picture = torch.randn(count, 3, 4, generator=generator) + self.label[:, None, None]

    def __len__(self):
        return len(self.label)

    def __getitem__(self, row):
        return {"sound": self.sound[row], "picture": self.picture[row], "label": self.label[row]}


def fails():
    raise RuntimeError("no such disk")


number = 3
'''
GOOD = """
data:
  class_path: {module}.Pairs
  init_args: {{count: 90}}
teacher: sound
student: picture
teacher_network:
  class_path: {module}.Teacher
  init_args:
    width: 6
    activation: {{class_path: torch.nn.Tanh}}
student_network: {module}.student
out: out
resampling: splits
seeds: 1
epochs: 2
ratio: 0.5
random_draws: 1
smoothing: [0.1]
lr: 1e-2
device: cpu
engine: loop
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = "users_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "my.yaml").write_text(GOOD.format(module=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def test_study_layers_and_export_from_one_file(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["layers", "--config", "my.yaml"]) == 0
    table = capsys.readouterr().out
    assert "teacher (sound): Teacher" in table
    assert [line.split() for line in table.splitlines()][3] == ["act", "Tanh", "Nx6x6", "6", "-1", "1"]
    assert "ranked unless --layer names another: act" in table
    assert main(["study", "--config", "my.yaml", "--quiet"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["config"]["layer"] == "act"
    assert results["config"]["lr"] == 0.01
    assert results["config"]["sources"]["teacher_network"]["init_args"]["width"] == 6
    words = ["--to", "exported", "--arm", "general", "--with-teacher", "--export-ratio", "0.5"]
    assert main(["export", "--config", "my.yaml", *words]) == 0
    exported = mfh.load_export("exported", imports=True)
    assert exported.info["teacher"]["num_removed"] == 3
    sound, picture = torch.randn(5, 6, 4), torch.randn(5, 3, 4)
    with torch.no_grad():
        program = torch.export.load("exported/model.pt2").module()
        torch.testing.assert_close(program(picture), exported.student(picture))
        whole = exported.teacher.model(sound)  # type: ignore[union-attr,operator]
        assert not torch.equal(exported.teacher(sound), whole)
    assert main(["export", "--out", "out", "--to", "again", "--export-seed", "4"]) == 2
    assert "`seed` must be one of" in capsys.readouterr().err


def test_a_flag_wins_over_the_file(module: str) -> None:
    parser, words = build_parser(), ["study", "--ratio", "0.25", "0.75", "--config", "my.yaml", "--seeds=3"]
    assert read_configs(parser, words) is None
    chosen = parser.parse_args(words).study
    assert (chosen.ratio, chosen.seeds) == ([0.25, 0.75], 3)
    assert (chosen.epochs, chosen.smoothing, chosen.lr) == (2, [0.1], 0.01)


def test_every_mistake_at_once_with_its_line(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text(
        textwrap.dedent(f"""\
        data:
          class_path: {module}.Pairs
          init_args: {{count: many}}
        teacher: sound
        student: sound
        teacher_network:
          class_path: {module}.Techer
        student_network:
          class_path: {module}.student
          init_args: {{widht: 3}}
        seeds: two
        ratio: [0.5, half]
        momentum: 2
        epochs: 1
        epochs: 2
        learning_rate: 0.1
        engine: fast
        """)
    )
    assert main(["study", "--config", "bad.yaml"]) == 2
    head, *lines = capsys.readouterr().err.splitlines()
    assert head == f"mfh: {len(lines)} errors"
    assert [line.strip() for line in lines[:-1]] == [
        "bad.yaml: `out` must be given, here or as --out.",
        f"bad.yaml, line 3: `count` of `{module}.Pairs` must be int. Got 'many' instead.",
        "bad.yaml, line 5: `student` must differ from `teacher`. Got 'sound' instead.",
        f"bad.yaml, line 7: `{module}` has no `Techer`. Did you mean `Teacher`?",
        f"bad.yaml, line 10: `{module}.student` has no argument `widht`. Did you mean `width`?",
        "bad.yaml, line 11: `seeds` must be int. Got 'two' instead.",
        "bad.yaml, line 12: `ratio` must be float. Got 'half' instead.",
        "bad.yaml, line 13: `momentum` must lie in [0, 1). Got 2.0 instead.",
        "bad.yaml, line 15: `epochs` is given twice, first in line 14.",
        "bad.yaml, line 16: `learning_rate` is no option. There are " + lines[-2].partition("There are ")[2],
    ]
    assert "line 17: `engine` must be one of `auto`, `loop`, `many`. Got 'fast' instead." in lines[-1]
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("width: 6", "depth: 6", "must be given `width`"),
        ("width: 6", "width: [6]", r"line 10: `width` of `{module}.Teacher` must be int. Got [6] instead."),
        ("torch.nn.Tanh", "torch.nn.Linear", "`activation` of `{module}.Teacher` cannot be made of"),
        ("{module}.Teacher", "{module}.Pairs", "`{module}.Pairs` must be a torch.nn.Module"),
        ("{module}.student", "{module}.number", "must be a class or a function. It is a int"),
        ("{module}.student", "nowhere.student", "line 12: There is no module `nowhere`. Run in the folder"),
        ("{module}.student", "student", "must be an import path with a module, such as mine.student"),
        ("{module}.student", "3", "line 12: `student_network` must be an import path, or a mapping"),
        ("class_path: {module}.Pairs", "class: {module}.Pairs", "`class` is not known here"),
        ("class_path: {module}.Pairs\n  init_args: {{count: 90}}", "class_path: {module}.fails",
         "`{module}.fails` cannot be made. RuntimeError: no such disk ("),
        ("student_network: {module}.student", "student_network: {module}.Teacher", "must be given `width`"),
        ("{module}.student", "torch.nn.Flatten", "student's network must give one logit for each of 3 cl"),
        ("teacher_network:\n  class_path: {module}.Teacher\n  init_args:\n    width: 6\n    "
         "activation: {{class_path: torch.nn.Tanh}}", "teacher_network: {module}.student",
         "The teacher's network must take samples of `sound`, here 2 of shape (6, 4). RuntimeError"),
        ("seeds: 1", "layer: conv9", "`layer` of `split` must name a submodule. Got 'conv9'"),
        ("seeds: 1", "seeds: [1", "this is no YAML"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(
    module: str, old: str, new: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in GOOD
    Path("bad.yaml").write_text(GOOD.replace(old, new).format(module=module))
    assert main(["study", "--config", "bad.yaml", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert text.format(module=module) in error
    assert "Traceback" not in error


def test_print_config_explains_every_option_and_can_be_used(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "--config", "my.yaml", "--print-config"]) == 0
    printed = capsys.readouterr().out
    values = yaml.safe_load(printed)
    assert {"temperature", "ratio", "layer", "seeds", "out"} <= set(values)
    assert values["teacher_network"]["init_args"]["width"] == 6
    lines = printed.splitlines()
    assert lines[lines.index("    width: 6") - 1] == "    # units of the layer. (required)"
    top = [number for number, line in enumerate(lines) if line and line[0] not in "# "]
    assert all(lines[number - 1].startswith("#") for number in top)
    Path("all.yaml").write_text(printed)
    assert main(["layers", "--config", "all.yaml"]) == 0
    capsys.readouterr()
    assert main(["study", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"] is None


def test_export_of_the_default_networks_takes_raw_values(
    tmp_path: Path, paired: mfh.PairedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    from mfh._export import export_run

    config = mfh.StudyConfig(
        resampling="splits",
        seeds=1,
        epochs=3,
        ratio=(0.5,),
        random_draws=1,
        smoothing=(0.1,),
        hidden=(8,),
        device="cpu",
        engine="loop",
    )
    result = mfh.study(paired, config=config, out=tmp_path / "out")
    out, focused = tmp_path / "out", {"arm": "general", "with_teacher": True, "ratio": 0.5}
    export_run(out, tmp_path / "to", data=paired, **focused)
    exported = mfh.load_export(tmp_path / "to")
    recorded = next(t for t in result.teachers if t.teacher == "general@0.5")
    rows = torch.from_numpy(mfh_split(paired))
    with torch.no_grad():
        right = exported.teacher(paired.inputs("audio", rows)).argmax(1) == paired.label[rows]
    assert 100 * float(right.double().mean()) == pytest.approx(recorded.test)
    assert main(["export", str(out), "--to", str(tmp_path / "x"), "--quiet"]) == 0
    other = mfh.PairedDataset.from_arrays({**paired.modalities}, label=1 - paired.label.clamp(max=1))
    with pytest.raises(mfh.InputError, match="`data` must be those of the study"):
        export_run(out, tmp_path / "to", data=other, **focused)


def mfh_split(data: mfh.PairedDataset):
    from mfh.data.splits import draw_split

    return draw_split(data, 0).test


def test_a_class_on_the_command_line_replaces_that_of_the_file(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def weights(*words: str) -> str:
        assert main(["layers", "--config", "my.yaml", *words]) == 0
        return capsys.readouterr().out.split("teacher")[1].split("weights")[0]

    usual = weights()
    inline = f"{{class_path: {module}.Teacher, init_args: {{width: 9}}}}"
    other = weights("--teacher-network", inline)
    wider = weights("--teacher-network.width", "9")
    assert other == wider == weights("--teacher-network.init_args.width", "9") != usual


def test_print_config_has_the_flags_too(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--seeds", "7", "--arms", "joint", "self", "--teacher-network.width", "9", "--out", "o"]
    assert main(["study", "--config", "my.yaml", *words, "--print-config"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert (values["seeds"], values["arms"], values["out"]) == (7, ["joint", "self"], "o")
    assert int(values["teacher_network"]["init_args"]["width"]) == 9
    assert main(["study", "--seeds", "seven", "--print-config"]) == 2
    assert "`--seeds` must be a whole number" in capsys.readouterr().err


def test_a_second_document_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.yaml").write_text("seeds: 2\n---\nepochs: 3\n")
    assert main(["study", "--config", str(tmp_path / "two.yaml")]) == 2
    assert "two.yaml, line 2: `config` must contain one YAML document" in capsys.readouterr().err


def test_a_flag_for_one_value_of_a_mapping_keeps_the_others(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("my.yaml").read_text() + "losses: [dkd]\nloss_options: {dkd: {alpha: 2, beta: 4}}\n"
    Path("my.yaml").write_text(text)
    assert main(["study", "--config", "my.yaml", "--loss-options.dkd.beta", "3", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["loss_options"] == {"dkd": {"alpha": 2, "beta": 3}}

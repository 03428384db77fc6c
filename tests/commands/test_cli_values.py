"""Values of configs and flags: names that look like numbers, paths with ~ and variables, encodings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mfh.cli import build_parser, main, read_configs
from mfh.commands._options import PATHS

UNCLEAR = "which programs read in different ways. Put it in quotes"
FACTORY = """
from pathlib import Path
from torch import nn


def plain(width=4, num_classes=2):
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, num_classes))


def create(model_name: str, pretrained: bool = False, **kwargs):
    return {"plain": plain, "010": plain}[model_name](**kwargs)


def show(text: str, several: list[str] | None = None, number: int = 1, path: Path | str = "", untyped=None):
    raise RuntimeError(f"{text!r} {several!r} {number!r} {str(path)!r} {untyped!r}")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng, label = np.random.default_rng(0), np.arange(60) % 3
    arrays = {name: rng.normal(size=(60, 4)) for name in ("a", "b", "010", "yes")}
    np.savez(tmp_path / "d.npz", label=label, **arrays)
    (tmp_path / "factories.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def chosen(line: str, *words: str, command: str = "study") -> Any:
    """The options of a command whose config has a line besides those that it needs."""
    Path("c.yaml").write_text(f"data: d.npz\nout: o\n{line}\n")
    parser, typed = build_parser(), [command, "--config", "c.yaml", *words]
    read_configs(parser, typed)
    return parser.parse_args(typed)[command]


NAMES = ["010", "2.10", "1e3", "yes", "on", "No", "1_000", "0x10", "1:30", "2024-01-31", "2024-13-45"]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_stays_as_it_is_written(text: str, folder: Path) -> None:
    assert chosen(f"label: {text}").label == text
    assert chosen(f"teacher: {text}").teacher == text
    assert chosen(f"modalities: [{text}, b]").modalities == [text, "b"]
    assert chosen("", "--label", text, "--modalities", text, "b").modalities == [text, "b"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("seed: 010", 10),
        ("lr: 1e-3", 0.001),
        ("lr: 1", 1.0),
        ("ratio: [010e-2, .5]", [0.1, 0.5]),
        ("channels_last: yes", True),
        ("channels_last: off", False),
        ("precision: no", "no"),
        ("losses: kl", ["kl"]),
        ("seed: '010'", 10),
        ("lr: '1e-3'", 0.001),
        ("ratio: ['0.5']", [0.5]),
        ("channels_last: 'yes'", True),
    ],
)
def test_an_option_gets_the_kind_of_value_that_it_takes(line: str, value: object, folder: Path) -> None:
    assert chosen(line)[line.partition(":")[0]] == value


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("seed: 1:30", f"line 3: `seed` is written as 1:30, {UNCLEAR}"),
        ("seed: 0x10", f"line 3: `seed` is written as 0x10, {UNCLEAR}"),
        ("seed: 1_000", f"line 3: `seed` is written as 1_000, {UNCLEAR}"),
        ("seed: 0o17", "line 3: `seed` must be int. Got '0o17' instead."),
        ("seed: '1_000'", "line 3: `seed` must be int. Got '1_000' instead."),
        ("class_weight: {x: 1:30}", f"line 3: `x` is written as 1:30, {UNCLEAR}"),
        ("seed: yes", "line 3: `seed` must be int. Got 'yes' instead."),
        ("seed: 2024-01-31", "line 3: `seed` must be int. Got '2024-01-31' instead."),
        ("channels_last: 010", f"line 3: `channels_last` is written as 010, {UNCLEAR}"),
        ("seed: '1:30'", "line 3: `seed` must be int. Got '1:30' instead."),
        ("channels_last: 'maybe'", "line 3: `channels_last` must be bool. Got 'maybe' instead."),
        ("on: 3", "line 3: `on` is no option."),
        ("out: p", "line 3: `out` is given twice, first in line 2."),
    ],
)
def test_what_is_no_such_value_is_refused(
    line: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.yaml").write_text(f"data: d.npz\nout: o\n{line}\n")
    assert main(["study", "--config", "c.yaml"]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("number", ["1:30", "0x10", "1_000", "0b11", "1:30.5"])
@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("study --seeds {}", "--seeds"),
        ("study --lr {}", "--lr"),
        ("fit --ratio 0.5 {}", "--ratio"),
        ("study --class-weight {{yes:{}}}", "--class-weight"),
        ("study --loss-options.dkd.beta {}", "--loss-options.dkd.beta"),
        ("plan --effect={}", "--effect"),
        ("export o --export-ratio {}", "--export-ratio"),
        ("gaussian fig2 --runs {}", "--runs"),
    ],
)
def test_numbers_of_flags_are_plain_digits(
    words: str, flag: str, number: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [word.replace("yes:", "yes: ") for word in words.format(number).split()]
    assert main(typed) == 2
    error = capsys.readouterr().err
    assert error == f"mfh: `{flag}` must be written in plain digits, such as 90 or 1.5. Got {number}.\n"


@pytest.mark.parametrize("number", ["0o17", "5,000", "1e3"])
def test_other_spellings_of_whole_numbers_are_refused(
    number: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "--seeds", number]) == 2
    error = capsys.readouterr().err
    assert f"`--seeds` must be a whole number. Got {number} instead: write numbers in plain digits" in error


def test_words_in_flags_stay_as_they_are_written(folder: Path) -> None:
    words = ["--class-weight", "{yes: 2, no: 010}", "--seeds", "010", "--out", "1_0/0x10", "--label", "1:30"]
    options = chosen("", *words)
    assert options.class_weight == {"yes": 2.0, "no": 10.0}
    assert (options.seeds, options.out, options.label) == (10, "1_0/0x10", "1:30")


def test_modalities_with_such_names_can_be_studied(folder: Path) -> None:
    quick = "seeds: 1\nepochs: 1\nratio: [0.5]\nrandom_draws: 1\nsmoothing: [0.1]\nhidden: [4]\n"
    (folder / "c.yaml").write_text(f"data: d.npz\nout: o\nteacher: 010\nstudent: yes\n{quick}")
    assert main(["study", "--config", "c.yaml", "--quiet"]) == 0
    config = json.loads((folder / "o" / "results.json").read_text())["config"]
    assert (config["teacher"], config["student"]) == ("010", "yes")


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ("text: 010, several: [yes, 1e3], number: 010, path: 1_0", "'010' ['yes', '1e3'] 10 '1_0' None"),
        ("text: '010', untyped: '010'", "'010' None 1 '' '010'"),
        ("text: a, untyped: 2.50", "'a' None 1 '' 2.5"),
    ],
)
def test_arguments_of_a_function_by_their_types(
    arguments: str, made: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.yaml").write_text(
        f"data:\n  class_path: factories.show\n  init_args: {{{arguments}}}\nout: o\n"
    )
    assert main(["study", "--config", "c.yaml"]) == 2
    assert f"RuntimeError: {made} (" in capsys.readouterr().err


def test_an_argument_without_a_type_must_be_clear(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "student_network: {class_path: factories.create, init_args: {model_name: 010, width: 010}}"
    (folder / "c.yaml").write_text(f"data: d.npz\nout: o\n{line}\n")
    assert main(["layers", "--config", "c.yaml"]) == 2
    assert f"`width` is written as 010, {UNCLEAR}" in capsys.readouterr().err


def test_a_function_of_keywords_takes_any_argument(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "student_network: {class_path: factories.create, init_args: {model_name: plain, num_classes: 3}}"
    (folder / "c.yaml").write_text(f"data: d.npz\nteacher: a\nstudent: b\n{spec}\n")
    assert main(["layers", "--config", "c.yaml"]) == 0
    assert "student (b): Sequential, 67 weights" in capsys.readouterr().out
    (folder / "c.yaml").write_text((folder / "c.yaml").read_text().replace("num_classes", "num_clases"))
    assert main(["layers", "--config", "c.yaml"]) == 2
    assert "unexpected keyword argument 'num_clases'" in capsys.readouterr().err
    assert main(["study", "--config", "c.yaml", "--out", "o", "--print-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["student_network"]["init_args"]["num_clases"] == 3


def test_every_path_may_begin_at_home_or_with_a_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("RUNS", str(folder / "runs"))
    (folder / "d.npz").rename(home / "d.npz")
    (home / "c.yaml").write_text(
        "data: ~/d.npz\nout: ${RUNS}/x\nteacher: a\nstudent: b\nseeds: 1\nepochs: 1\nratio: [0.5]\n"
        "random_draws: 1\nsmoothing: [0.1]\nhidden: [4]\n"
    )
    assert main(["study", "--config=~/c.yaml", "--quiet"]) == 0
    assert main(["export", "--out", "$RUNS/x", "--to=~/exported", "--quiet"]) == 0
    assert main(["report", "$RUNS/x", "--tables=~/tables", "--quiet"]) == 0
    assert capsys.readouterr().out.count(str(home / "tables")) == len(list((home / "tables").iterdir()))
    assert (home / "exported" / "export.json").exists()
    assert not (folder / "~").exists()
    assert main(["study", "--config=~/c.yaml", "--out=$NO_SUCH/x"]) == 2
    assert "the variable `NO_SUCH` is not set" in capsys.readouterr().err
    assert main(["study", "--config=~/c.yaml", "--out=~nobody_here/x"]) == 2
    assert "there is no user `nobody_here`" in capsys.readouterr().err
    (home / "c.yaml").write_text("data: ~/d.npz\nout: $NO_SUCH/x\n")
    assert main(["study", "--config=~/c.yaml"]) == 2
    assert "c.yaml, line 2: `out` must be a path." in capsys.readouterr().err


def test_arguments_that_are_annotated_as_paths_are_expanded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    (folder / "c.yaml").write_text(
        "data:\n  class_path: factories.show\n  init_args: {text: ~/a, path: ~/b}\nout: o\n"
    )
    assert main(["study", "--config", "c.yaml"]) == 2
    assert f"RuntimeError: '~/a' None 1 '{folder}/b' None" in capsys.readouterr().err


PATH_NAMES = {"out", "data", "to", "config", "source", "raw", "csv", "clips", "figures", "tables", "head"}
PATH_NAMES |= {"features", "student_logits", "folder", "fsdd", "mnist", "audio_checkpoint", "joint_teacher"}


def test_every_option_for_a_file_or_a_folder_is_known_as_a_path() -> None:
    parsers = [build_parser()]
    for parser in parsers:
        steps = getattr(parser, "_subcommands_action", None)
        parsers += [] if steps is None else steps.choices.values()
        for action in parser._actions:
            if action.dest in PATH_NAMES:
                assert action.metavar in PATHS, action.dest


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "must be UTF-8. It is UTF-16. Save it as UTF-8."),
        ("utf-32", "must be UTF-8. It is UTF-32."),
        ("utf-16-le", "must be UTF-8. It seems to be UTF-16."),
        ("latin-1", "c.yaml, line 3: `config` must be UTF-8. Byte 0xE4 is none of it: in Latin-1 "
         "(Windows-1252) it is `\u00e4`. Save it as UTF-8."),
    ],
)  # fmt: skip
def test_another_encoding_is_named(
    encoding: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.yaml").write_bytes("data: d.npz\nout: o\nlabel: \u00e4\n".encode(encoding))
    assert main(["study", "--config", "c.yaml"]) == 2
    assert text in capsys.readouterr().err


def test_a_mark_of_utf8_is_passed_over(folder: Path) -> None:
    (folder / "c.yaml").write_bytes("data: d.npz\nout: o\nlabel: \u00e4\n".encode("utf-8-sig"))
    parser, words = build_parser(), ["study", "--config", "c.yaml"]
    read_configs(parser, words)
    assert parser.parse_args(words).study.label == "\u00e4"

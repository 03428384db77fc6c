"""`--help` and `--help-all`: groups, defaults, rare options; words that were probably meant."""

import re
from dataclasses import fields
from typing import Any

import pytest

from mfh.cli import build_parser, main
from mfh.commands._help import GROUPS, RARE
from mfh.config import DiagnoseConfig, StudyConfig


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    assert done.value.code == 0
    return capsys.readouterr().out


def groups(text: str) -> dict[str, list[str]]:
    """Return the flags below each title."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.rstrip(":") in GROUPS and line.endswith(":"):
            flags = found.setdefault(line.rstrip(":"), [])
        elif flag := re.match(r"  (--[\w-]+)", line):
            flags.append(flag[1])
    return found


def parsers(parser: Any) -> list[Any]:
    steps = getattr(parser, "_subcommands_action", None)
    return [parser, *(one for sub in (steps.choices if steps else {}).values() for one in parsers(sub))]


def test_options_of_a_study_are_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    found = groups(shown(capsys, "study", "--help"))
    assert list(found) == ["data", "design", "training", "losses", "where it runs", "help"]
    assert {"--data", "--teacher", "--student", "--label", "--teacher-network"} <= set(found["data"])
    assert {"--arms", "--folds", "--seeds", "--ratio", "--metric"} <= set(found["design"])
    assert {"--optimizer", "--lr", "--epochs"} <= set(found["training"])
    assert {"--losses", "--temperature"} <= set(found["losses"])
    assert {"--device", "--jobs", "--out"} <= set(found["where it runs"])


def test_rare_options_are_in_help_all_alone(capsys: pytest.CaptureFixture[str]) -> None:
    few, every = shown(capsys, "study", "--help"), shown(capsys, "study", "--help-all")
    hidden = {flag for flags in groups(every).values() for flag in flags} - {
        flag for flags in groups(few).values() for flag in flags
    }
    assert {"--backend", "--saliency-precision", "--step-epochs", "--no-imports"} <= hidden
    assert f"{len(hidden)} rare options are not shown: mfh study --help-all" in few
    assert "rare options are not shown" not in every
    assert "--help-all" not in shown(capsys, "report", "--help")


def test_defaults_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys, "study", "--help-all").split())
    for words in ("(default: 5)", "(default: 0.25 0.5 0.75)", "(default: 128 64)", "(default: kfold)"):
        assert words in text
    assert text.count("--help-all") == 0 or "(default: ==SUPPRESS==)" not in text


def test_the_usage_names_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "study", "--help").startswith("usage: mfh study --data FILE --out DIR [options]\n")
    assert shown(capsys, "report", "--help").startswith("usage: mfh report DIR [DIR ...] [options]\n")
    assert shown(capsys, "--help").startswith("usage: mfh COMMAND ...\n")
    assert "rank the channels" in shown(capsys, "--help")


def test_rare_options_exist() -> None:
    study = next(parser for parser in parsers(build_parser()) if str(parser.prog).endswith("study"))
    names = {action.dest for action in study._actions} | {"modalities"}
    assert set(RARE) <= names
    assert not {spec.name for spec in fields(StudyConfig)} - {spec.name for spec in fields(DiagnoseConfig)}


def test_flags_are_written_with_hyphens() -> None:
    for parser in parsers(build_parser()):
        for action in parser._actions:
            assert not [flag for flag in action.option_strings if "_" in flag], parser.prog


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("stduy", "`mfh` has no command stduy: did you mean study? See `mfh --help`."),
        ("qqq", "`mfh` has no command qqq. There are study, fit, diagnose, "),
        ("ravdess trian", "`mfh ravdess` has no step trian: did you mean train?"),
        ("study --dta d.npz", "`mfh study` has no option --dta: did you mean --data?"),
        (
            "study --data d --out o --fold_column f",
            "has no option --fold_column: did you mean --fold-column?",
        ),
        ("study --data d --out o --qqq", "`mfh study` has no option --qqq. See"),
        ("data mfat --out x", "`mfh data` has no step mfat: did you mean mfeat?"),
    ],
)
def test_the_word_that_was_meant_is_named(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split()) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_both_spellings_of_print_config_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--print-config"]) == main(["study", "--seeds", "3", "--print_config"]) == 0
    first, second = capsys.readouterr().out.split("# npz with")[1:]
    assert "seeds: null" in first
    assert "seeds: 3" in second

"""How a run was made."""

import pytest

from mfh._report.pages import summarize
from mfh._system.environment import command_line


def test_the_command_is_shown_as_typed(make_study):
    assert summarize(make_study(seeds=2))["command"] == "mfh study --data 'my data.npz' --teacher pix"


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        (["/usr/lib/mfh/__main__.py", "study"], "python -m mfh study"),
        (["examples/own.py", "--out", "x"], "examples/own.py --out x"),
        ("mfh study", "mfh study"),
        ([], ""),
    ],
)
def test_commands_of_all_kinds(argv, typed):
    assert command_line(argv) == typed

"""What README and docs say, against what the code does."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from mfh.cli import build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = re.compile(r"[-+]?\d+\.\d+")


def commands(page: Path) -> list[str]:
    """Every `mfh ...` in code, with its continuation lines and without comments."""
    text = page.read_text().replace("\\\n", " ")
    code = re.findall(r"`(mfh [^`\n]+)`", text) + re.findall(
        r"^(?: {4}|\$ )?(mfh [a-z][^\n`|]*)$", text, re.M
    )
    lines = (re.sub(r"\s+#.*", "", line).strip() for line in code)
    return sorted({line for line in lines if " --" in line and "..." not in line and "{" not in line})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_accepted(page: Path) -> None:
    parser = build_parser()
    for line in commands(page):
        for word in shlex.split(line)[1:]:
            assert "[" not in word, f"{page.name}: {line} is a pattern, not a command"
        parser.parse_args([w for w in shlex.split(line)[1:] if w != "--config" and not w.endswith(".yaml")])


def test_there_are_commands_to_check() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 8


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_example_prints_what_the_readme_shows() -> None:
    text = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)
    shown = re.search(r"```text\n(.*?)```", text, re.S)
    assert code is not None
    assert shown is not None
    assert len(code[1].splitlines()) <= 20
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code[1], "README.md", "exec"), {})
    expected, got = (" ".join(NUMBER.sub("#", t).split()) for t in (shown[1], printed.getvalue()))
    assert got == expected
    # rounding differs between machines, and a training run magnifies it
    pairs = zip(NUMBER.findall(shown[1]), NUMBER.findall(printed.getvalue()), strict=True)
    assert max(abs(float(a) - float(b)) for a, b in pairs) < 5.0

"""Find the fenced code blocks of a page of Markdown, and the comments that say how they are run."""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- (?:not run: (?P<reason>[^>]+?)|file: (?P<file>[\w.]+)) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page, line: the page and the line of its fence.
        language: the word after the fence.
        code: its content.
        reason: why it is not run; None if it is run.
        file: the file that its content is written to instead of being run; None if there is none.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str | None = None
    file: str | None = None

    @property
    def commands(self) -> list[str]:
        """Return the commands of a console block, with continuation lines joined."""
        code = self.code.replace("\\\n", " ")
        return [line[2:].strip() for line in code.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    """Return all fenced blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start("language")) + 1, **m.groupdict())
        for m in _BLOCK.finditer(text)
    ]

"""The fenced code blocks of a page of Markdown, and which of them are not run, and why."""

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
        page, line: where it stands.
        language: the word after the fence.
        code: what it holds.
        reason: why it is not run, where it is not.
        file: the file that it shows, where it does; it is written, not run.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str | None = None
    file: str | None = None

    @property
    def commands(self) -> list[str]:
        """What a console block types after its prompt, continuation lines joined."""
        code = self.code.replace("\\\n", " ")
        return [line[2:].strip() for line in code.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start("language")) + 1, **m.groupdict())
        for m in _BLOCK.finditer(text)
    ]

"""The fenced code blocks of a page of Markdown, and which of them are not run, and why."""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block; `reason` says why it is not run, where it is not."""

    page: Path
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """What a console block types after its prompt, continuation lines joined."""
        code = self.code.replace("\\\n", " ")
        return [line[2:].strip() for line in code.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start("language")) + 1, m["language"], m["code"], m["reason"])
        for m in _BLOCK.finditer(text)
    ]

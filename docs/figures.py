"""Write measured numbers into the pages of the documentation: python docs/figures.py.

A page marks each number that comes from `benchmarks/results.json` or `benchmarks/studies.json`, with the path
to the number and a format:

    takes <!-- measured: saliency_exact.ours .2f -->0.33<!-- end --> s

A mark must not begin a line: there, a comment would end the paragraph. A test fails if a page shows another
number than the recorded one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDS = tuple(ROOT / "benchmarks" / name for name in ("results.json", "studies.json"))
_NUMBER = re.compile(r"(<!-- measured: (?P<path>[^>]+) (?P<format>\S+) -->)[^<]*(<!-- end -->)")


def pages() -> Iterator[Path]:
    """Return the pages that may show measured numbers."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def recorded() -> dict[str, Any]:
    """Return all recorded numbers."""
    found: dict[str, Any] = {}
    for path in RECORDS:
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def fill_in(text: str, record: Mapping[str, Any]) -> str:
    """Replace each marked number by the recorded one.

    Args:
        text: a page of Markdown.
        record: the recorded numbers; see `recorded`.

    Raises:
        KeyError: a path leads to no number.

    Example:
        >>> fill_in("<!-- measured: study.ours .1f -->?<!-- end --> s", {"study": {"ours": 39.17}})
        '<!-- measured: study.ours .1f -->39.2<!-- end --> s'
    """

    def number(match: re.Match[str]) -> str:
        value: Any = record
        for name in match["path"].split("."):
            value = value[name]
        return f"{match[1]}{value:{match['format']}}{match[4]}"

    return _NUMBER.sub(number, text)


def main() -> None:
    """Rewrite the pages whose numbers differ from the recorded ones."""
    record = recorded()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        filled = fill_in(text, record)
        if filled != text:
            page.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()

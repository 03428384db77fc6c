"""Make the reference pages from the code when the site is built: commands, configs, the API, results.

A line `<!-- generated: NAME -->` of a page is replaced by the text that `PARTS[NAME]` returns.
"""

import re
from collections.abc import Callable
from pathlib import Path

import api_reference
import command_reference
import config_reference
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

PARTS: dict[str, Callable[[], str]] = {
    "commands": command_reference.write,
    "configs": config_reference.write,
    "api": api_reference.write,
    "results": api_reference.write_results,
}
_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.M)


def fill_in(text: str) -> str:
    """Replace every mark in the text of a page.

    Raises:
        ExtensionError: a mark has an unknown name.
    """

    def part(match: re.Match[str]) -> str:
        if match[1] not in PARTS:
            raise ExtensionError(f"`generated` must name one of {', '.join(PARTS)}. Got {match[1]}.")
        return PARTS[match[1]]()

    return _MARK.sub(part, text)


def _read(_app: Sphinx, _name: str, content: list[str]) -> None:
    content[0] = fill_in(content[0])


def _outdated(
    _app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    """Return the pages with marks: they are always read again, since the code may have changed."""
    return [name for name in env.found_docs if _MARK.search(Path(env.doc2path(name)).read_text())]


def setup(app: Sphinx) -> dict[str, bool]:
    """Replace the marks of a page when it is read."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

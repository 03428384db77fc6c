"""Escape the mathematics in docstrings, such as *position and |x|, so that Sphinx reads no markup."""

import re

from sphinx.application import Sphinx
from sphinx.domains.python._object import PyObject

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_MARKUP = re.compile(r"([*|]|(?<=\w)_(?!\w))")
_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*)$")


def escape(lines: list[str]) -> list[str]:
    r"""Escape the characters that start emphasis, substitutions or references, except in code and examples.

    >>> escape(["the (sample, *position) of `a_`", ">>> a * b"])
    ['the (sample, \\*position) of `a_`', '>>> a * b']
    """
    result, example = [], False
    for line in lines:
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        parts = [line] if example else _CODE.split(line)
        result.append(
            line
            if example
            else "".join(part if i % 2 else _MARKUP.sub(r"\\\1", part) for i, part in enumerate(parts))
        )
    return result


def separate(lines: list[str]) -> list[str]:
    """Turn a field list entry of several names into one entry for each: `a, b: text` becomes two entries.

    >>> separate(["    low, high: ends,", "        or None.", "    p: value."])
    ['    low: ends,', '        or None.', '    high: ends,', '        or None.', '    p: value.']
    """
    result: list[str] = []
    i = 0
    while i < len(lines):
        shared = _SHARED.match(lines[i])
        end = i + 1
        if shared is None:
            result.append(lines[i])
        else:
            deeper = shared[1] + " "
            while end < len(lines) and lines[end].startswith(deeper):
                end += 1
            for name in shared[2].split(", "):
                result += [f"{shared[1]}{name}: {shared[3]}", *lines[i + 1 : end]]
        i = end
    return result


def _process(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    lines[:] = escape(separate(lines))


def _signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    _obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Write the default of a factory as an ellipsis, so that the signature is valid Python."""
    return (signature.replace("<factory>", "...") if signature else signature), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Escape docstrings before napoleon turns their sections into fields."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Fields"
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

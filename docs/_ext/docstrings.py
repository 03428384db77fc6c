"""Docstrings speak of *positions and |numbers| as mathematics does; keep that from being read as markup."""

import re

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_MARKUP = re.compile(r"([*|]|(?<=\w)_(?!\w))")


def escape(lines: list[str]) -> list[str]:
    r"""Escape what would start emphasis, a substitution or a reference, outside code and examples.

    >>> escape(["the (sample, *position) of `a_`", ">>> a * b"])
    ['the (sample, \\\\*position) of `a_`', '>>> a * b']
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


def _process(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    lines[:] = escape(lines)


def _signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    _obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Write the default of a factory as an ellipsis: otherwise the signature is no Python."""
    return (signature.replace("<factory>", "...") if signature else signature), returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Escape before napoleon turns the sections into fields."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Paths as people write them: `~`, variables, and whether a path stays inside a folder."""

import os
import re
from pathlib import Path

from mfh._checks import InputError

_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")


def expanded(path: str, name: str) -> str:
    """Replace a leading `~` and `$VARIABLES` of a path as a shell does.

    An address (with `://`) and the name of an existing file that contains `$` stay as they are.

    Args:
        path: as it was written.
        name: of the argument, for messages.

    Raises:
        InputError: there is no such user or variable.

    Example:
        >>> expanded("data/pairs.npz", "data")
        'data/pairs.npz'
        >>> expanded("$NO_SUCH_FOLDER/pairs.npz", "data")
        Traceback (most recent call last):
        mfh._checks.InputError: `data` must be a path. `$NO_SUCH_FOLDER/pairs.npz`: the variable
        `NO_SUCH_FOLDER` is not set. Set it, or write the path without it.
    """
    if "://" in path:
        return path
    home = os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - keeps ./ and //
    if home.startswith("~"):
        user = home.partition("/")[0]
        raise InputError(
            f"`{name}` must be a path. `{path}`: there is no user `{user[1:]}`. A file of this name is "
            f"written ./{path}."
        )
    if os.path.lexists(home):
        return home
    for found in _VARIABLE.finditer(home):
        variable = found[1] or found[2]
        if variable not in os.environ:
            raise InputError(
                f"`{name}` must be a path. `{path}`: the variable `{variable}` is not set. Set it, or write "
                "the path without it."
            )
    return _VARIABLE.sub(lambda found: os.environ[found[1] or found[2]], home)


def is_inside(path: str, folder: Path) -> bool:
    """Return whether a path, with links followed, lies in a folder; an address never does.

    >>> is_inside("a/../../b", Path()), is_inside("https://host/b", Path()), is_inside("a/b", Path())
    (False, False, True)
    """
    if "://" in path or "::" in path or path.startswith("pipe:"):
        return False
    try:
        return Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a loop of links, a name with a NUL
        return False


def label_folder(out: Path | str, count: str) -> Path:
    """Return the folder, inside that of a study of several numbers of labels, of one of these numbers.

    Args:
        out: folder of the study.
        count: the number of labels, as it was asked for.

    Example:
        >>> label_folder("out", "20/class").as_posix()
        'out/labels/20-per-class'
    """
    return Path(out) / "labels" / count.replace("/", "-per-")

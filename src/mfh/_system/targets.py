"""Import a class or function by its path, and refuse the code of others if imports are off."""

import contextlib
import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from mfh._checks import InputError, fail, listing

OWN_CLASSES = ("torch.nn.", "mfh.models.")
OWN_FUNCTIONS = (
    "mfh.data.sources.ravdess.reader.load",
    "mfh.data.sources.vggsound.reader.load",
    "mfh.experiments.avmnist.load",
)
"""Functions that read data."""
OWN_PARTS = (
    "mfh.models.vggsound.audio_network",
    "mfh.models.vggsound.video_network",
    "mfh.data.sources.ravdess.reader.NormalizeAudio",
    "mfh.data.sources.ravdess.reader.NormalizeImage",
    "mfh.data.sources.vggsound.inputs.Spectrogram",
    "mfh.data.sources.vggsound.inputs.NormalizeVideo",
)
"""What makes the networks and transforms of RAVDESS and VGGSound from numbers and names alone."""
NO_IMPORTS_VARIABLE = "MFH_NO_IMPORTS"
_own_only: ContextVar[bool] = ContextVar("own_only", default=False)


@contextlib.contextmanager
def own_classes_only(on: bool = True) -> Iterator[None]:
    """Within the block, refuse all import paths but networks of `OWN_CLASSES`, our functions and parts."""
    before = _own_only.set(on)
    try:
        yield
    finally:
        _own_only.reset(before)


def is_own_only() -> bool:
    """Return whether imports are off: in `own_classes_only`, or because MFH_NO_IMPORTS is set."""
    return _own_only.get() or bool(os.environ.get(NO_IMPORTS_VARIABLE))


def require_own(path: str) -> None:
    """Raise InputError, before anything is imported, if imports are off and the path is not one of ours."""
    own = path.startswith(OWN_CLASSES) or path in (*OWN_FUNCTIONS, *OWN_PARTS)
    if is_own_only() and not own:
        raise _refused(path)


def search_folder_of(sources: Any) -> None:
    """Let `find_target` find modules of the folder in which a run was made, unless imports are off.

    Modules of the current folder and installed ones come first.

    Args:
        sources: `config.sources` of the run; without the absolute path of a folder nothing changes.
    """
    folder = sources.get("folder") if isinstance(sources, Mapping) else None
    if is_own_only() or not isinstance(folder, str) or folder in sys.path:
        return
    if Path(folder).is_absolute() and Path(folder).is_dir():
        sys.path.append(folder)


def _refused(path: str) -> InputError:
    return InputError(
        f"`{path}` is refused: importing it runs its code. Allowed here (--no-imports, imports=False) are "
        f"networks of {listing(name.rstrip('.') for name in OWN_CLASSES)}, {listing(OWN_FUNCTIONS)}, and the "
        "networks and transforms of RAVDESS and VGGSound."
    )


def find_target(path: str) -> Callable[..., Any]:
    """Import a class, a function or a class method; modules of the current folder can be named.

    Raises:
        InputError: there is none of that name, its module fails, or it is refused (`own_classes_only`).
    """
    module_path, _, name = path.replace(":", ".").rpartition(".")
    if not module_path:
        fail(f"`{path}` must be an import path with a module, such as mine.{path or 'Teacher'}.")
    require_own(path)
    here = os.getcwd()  # noqa: PTH109 - an entry of sys.path is text
    if here not in sys.path and not is_own_only() and not path.startswith(("torch.", "mfh.")):
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise InputError(f"`{module_path}` cannot be imported. {with_place(error)}") from error
        if (owner := _imported_class(module_path)) is not None:
            return _class_method(owner, module_path, name)
        raise InputError(
            f"There is no module `{error.name}`. Run in the folder that contains it (this is {here}), or "
            "install it."
        ) from None
    except Exception as error:
        raise InputError(f"`{module_path}` cannot be imported. {with_place(error)}") from error
    target = getattr(module, name, None)
    if target is None:
        own = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        near = difflib.get_close_matches(name, own, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"It has {listing(own)}."
        raise InputError(f"`{module_path}` has no `{name}`. {hint}")
    if not callable(target):
        fail(f"`{path}` must be a class or a function. It is a {type(target).__name__}.")
    if is_own_only() and path not in (*OWN_FUNCTIONS, *OWN_PARTS) and not _is_own_network(target):
        raise _refused(path)
    return target


def _imported_class(path: str) -> type | None:
    """Return the class of a path; None if it is none, or if imports are off: none of ours has such methods.

    An import of `package.Class`, which failed, has imported `package`.
    """
    module_path, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module_path), name, None)
    return found if isinstance(found, type) and not is_own_only() else None


def _class_method(owner: type, path: str, name: str) -> Callable[..., Any]:
    """Return a method that is called without an object, such as `from_config` of `transformers.AutoModel`.

    Raises:
        InputError: the class has no such method.
    """
    kinds = (classmethod, staticmethod)
    if not isinstance(inspect.getattr_static(owner, name, None), kinds):
        own = [n for n in dir(owner) if n[0] != "_" and isinstance(inspect.getattr_static(owner, n), kinds)]
        near = difflib.get_close_matches(name, own, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"It has {listing(own)}." if own else ""
        raise InputError(f"The class `{path}` has no class method `{name}`. {hint}".rstrip())
    return getattr(owner, name)


def _is_own_network(target: Any) -> bool:
    return (
        isinstance(target, type) and target.__module__.startswith(OWN_CLASSES) and hasattr(target, "forward")
    )


def with_place(error: BaseException) -> str:
    """Write an error of a user's code in one line, with the file and line that raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"

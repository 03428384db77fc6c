"""Users' own classes and functions by import path: found, checked argument by argument, called.

A spec is `{class_path: mine.Teacher, init_args: {width: 64}}`, or just the path. Free of torch until a
class that needs it is imported.
"""

import contextlib
import difflib
import importlib
import inspect
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from mfh._checks import InputError, fail, listing

Problem = tuple[tuple[str, ...], str]
"""Where in a spec, as keys from its top, and what is wrong there."""

OWN_CLASSES = ("torch.nn.", "mfh.models.")
OWN_FUNCTIONS = (
    "mfh.data.sources.ravdess.reader.load",
    "mfh.data.sources.vggsound.reader.load",
    "mfh.experiments.avmnist.load",
)
NO_IMPORTS_VARIABLE = "MFH_NO_IMPORTS"
_RUNS = "which runs its code (--no-imports, imports=False)"
# What YAML would not read as this very text, but as values, a quoted text or one with a comment.
_VALUES_IN_TEXT = re.compile(
    r"""^[\s\ufeff]*([{\["'!&*|>%@`#?]|-(?!\d)|\.\.\.)|[\n\r\x85\u2028\u2029]|:(\s|$)|\s#"""
)
_IMPORTABLE = re.compile(r"(?![\d.]+$)[^/]*\w\.\w[^/]*|[^\W\d]\w*([.:][^\W\d]\w*)+")
_own_only: ContextVar[bool] = ContextVar("own_only", default=False)


@contextlib.contextmanager
def own_classes_only(on: bool = True) -> Iterator[None]:
    """Refuse, while it lasts, every import path but classes of `OWN_CLASSES` and the `OWN_FUNCTIONS`."""
    before = _own_only.set(on)
    try:
        yield
    finally:
        _own_only.reset(before)


def is_own_only() -> bool:
    """Whether that holds, here or, by the environment variable MFH_NO_IMPORTS, everywhere."""
    return _own_only.get() or bool(os.environ.get(NO_IMPORTS_VARIABLE))


def require_own(path: str) -> None:
    """Raise InputError, before anything is imported, if a path is refused; see `own_classes_only`."""
    own = path.startswith(OWN_CLASSES) or path in OWN_FUNCTIONS
    if is_own_only() and not own:
        raise _refused(path)


def _refused(path: str) -> InputError:
    return InputError(
        f"`{path}` is refused: importing it runs its code. Allowed here (--no-imports, imports=False) are "
        f"networks of {listing(name.rstrip('.') for name in OWN_CLASSES)}, and {listing(OWN_FUNCTIONS)}."
    )


def _nested_problems(value: Any, place: tuple[str, ...]) -> Iterator[Problem]:
    """Texts among arguments that could be imported, where that is refused."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _nested_problems(item, (*place, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _nested_problems(item, (*place, str(number)))
    elif isinstance(value, str) and _VALUES_IN_TEXT.search(value):
        yield place, f"{value!r} is refused: it could hold an import path, {_RUNS}. Write its values as YAML."
    elif isinstance(value, str) and _IMPORTABLE.fullmatch(value.strip()):
        try:
            find_target(value.strip())
        except InputError:
            way_out = f"If it is a file, write ./{value}."
            yield place, f"`{value}` is refused: it could be imported, {_RUNS}. {way_out}"


@dataclass(frozen=True)
class ClassSpec:
    """A class or function by its import path, with arguments; calling it makes a new object.

    Attributes:
        class_path: `package.module.Name`; modules of the current folder can be named.
        init_args: its arguments by name. An argument that is itself an object is written as a spec.

    Example:
        >>> ClassSpec("fractions.Fraction", {"numerator": 1, "denominator": 2})()
        Fraction(1, 2)
        >>> for where, text in ClassSpec("fractions.Fractoin").problems():
        ...     print(where, text)
        ('class_path',) `fractions` has no `Fractoin`. Did you mean `Fraction`?
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Any) -> "ClassSpec":
        """Read a spec as YAML or a flag gives it.

        Raises:
            InputError: it is neither a path nor a mapping with `class_path` and perhaps `init_args`.
        """
        found = shape_problems(value)
        if found:
            raise InputError(found[0][1])
        if isinstance(value, str):
            return cls(value)
        return cls(value["class_path"], dict(value.get("init_args") or {}))

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values."""
        return {"class_path": self.class_path, "init_args": dict(self.init_args)}

    def problems(self, base: str | None = None) -> list[Problem]:
        """Everything that is wrong: the path, unknown and missing arguments, types.

        Args:
            base: import path of a class that a class has to be derived from.
        """
        try:
            target = find_target(self.class_path)
            parent = None if base is None else find_target(base)
        except InputError as error:
            return [(("class_path",), str(error))]
        refused = list(_nested_problems(self.init_args, ("init_args",))) if is_own_only() else []
        if refused:
            return refused
        if isinstance(parent, type) and isinstance(target, type) and not issubclass(target, parent):
            return [(("class_path",), f"`{self.class_path}` must be a {base}. It is not derived from it.")]
        return _argument_problems(target, self.class_path, self.init_args)

    def __call__(self) -> Any:
        """Make the object.

        Raises:
            InputError: a rule of `problems` is broken, or the user's code fails (the text says where).
        """
        found = self.problems()
        if found:
            raise InputError(" ".join(text for _, text in found))
        target = find_target(self.class_path)
        parser = ArgumentParser(exit_on_error=False)
        _add_arguments(parser, target)
        try:
            with _quiet():
                instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # older ones
                made = instantiate(parser.parse_object({"x": dict(self.init_args)}))
            value = made.get("x")
            return value if isinstance(target, type) else target(**(value.as_dict() if value else {}))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"`{self.class_path}` cannot be made. {_told(error)}") from error


def shape_problems(value: Any) -> list[Problem]:
    """What is wrong with the form of a spec."""
    if isinstance(value, str):
        return []
    if not isinstance(value, Mapping):
        return [
            ((), f"must be an import path, or a mapping with `class_path` and `init_args`. Got {value!r}.")
        ]
    found: list[Problem] = [
        ((str(key),), f"`{key}` is not known here: a class has `class_path` and `init_args`.")
        for key in value
        if key not in ("class_path", "init_args")
    ]
    if not isinstance(value.get("class_path"), str):
        found.append((("class_path",), "`class_path` must be given: the import path, such as mine.Teacher."))
    if not isinstance(value.get("init_args") or {}, Mapping):
        found.append((("init_args",), "`init_args` must be a mapping of arguments by name."))
    return found


def find_target(path: str) -> Callable[..., Any]:
    """Import a class or function.

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
            raise InputError(f"`{module_path}` cannot be imported. {_told(error)}") from error
        raise InputError(
            f"There is no module `{error.name}`. Run in the folder that holds it (this is {here}), or "
            "install it."
        ) from None
    except Exception as error:
        raise InputError(f"`{module_path}` cannot be imported. {_told(error)}") from error
    target = getattr(module, name, None)
    if target is None:
        own = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        near = difflib.get_close_matches(name, own, n=1)
        hint = f"Did you mean `{near[0]}`?" if near else f"It has {listing(own)}."
        raise InputError(f"`{module_path}` has no `{name}`. {hint}")
    if not callable(target):
        fail(f"`{path}` must be a class or a function. It is a {type(target).__name__}.")
    if is_own_only() and path not in OWN_FUNCTIONS and not _is_own_class(target):
        raise _refused(path)
    return target


def _is_own_class(target: Any) -> bool:
    return (
        isinstance(target, type) and target.__module__.startswith(OWN_CLASSES) and hasattr(target, "forward")
    )


def arguments_of(path: str) -> dict[str, tuple[str, Any, bool]]:
    """Arguments of a class or function: name -> its documentation, its default, whether it is required."""
    parser = ArgumentParser(exit_on_error=False)
    names = _add_arguments(parser, find_target(path))
    actions = {action.dest.removeprefix("x."): action for action in parser._actions}
    return {
        n: (actions[n].help or "", actions[n].default, actions[n].required) for n in names if n in actions
    }


def _argument_problems(target: Callable[..., Any], path: str, given: Mapping[str, Any]) -> list[Problem]:
    found: list[Problem] = []
    whole = ArgumentParser(exit_on_error=False)
    try:
        names = _add_arguments(whole, target)
    except Exception as error:  # noqa: BLE001 - whatever a signature makes of the parser is told
        return [(("class_path",), f"The arguments of `{path}` cannot be read. {_told(error)}")]
    for name, value in given.items():
        where = ("init_args", str(name))
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"It has {listing(names)}."
            found.append((where, f"`{path}` has no argument `{name}`. {hint}"))
            continue
        one = ArgumentParser(exit_on_error=False)
        _add_arguments(one, target, skip=set(names) - {name})
        try:
            with _quiet():
                one.parse_object({"x": {name: value}})
        except (ArgumentError, TypeError, KeyError, ValueError) as error:
            found.append((where, f"`{name}` of `{path}` {tidy(str(error), value)}"))
    required = {action.dest.removeprefix("x.") for action in whole._actions if action.required}
    absent = [name for name in names if name in required and name not in given]
    return found + [(("init_args",), f"`{path}` must be given `{name}`.") for name in absent]


def _add_arguments(
    parser: ArgumentParser, target: Callable[..., Any], skip: set[str] | None = None
) -> list[str]:
    add = parser.add_class_arguments if isinstance(target, type) else parser.add_function_arguments
    skipped: set[str | int] = set(skip or ())
    with _quiet():
        return [n.removeprefix("x.") for n in add(target, "x", fail_untyped=False, skip=skipped)]


def tidy(message: str, value: Any) -> str:
    """What a type error of jsonargparse says, in a sentence that goes on from the argument's name.

    >>> tidy("Expected a <class 'int'>. Got value: wide", "wide")
    "must be int. Got 'wide' instead."
    """
    kinds = re.findall(
        r"Expected (?:an? )?(<class '[^']+'>|typing\.[^\n]+?|[A-Za-z_][^\n]*?)(?:\. Got|\s*$)", message, re.M
    )
    shown = [_kind(kind) for kind in kinds]
    inner = re.search(r"Problem with given class_path[^\n]*\n\s*([^\n]+)", message)
    if inner is not None:
        return f"cannot be made of {value!r}: {inner[1].strip()}."
    if not shown:
        return f"does not take {value!r}: {' '.join(message.split()).rstrip('.')}."
    return f"must be {' or '.join(dict.fromkeys(shown))}. Got {value!r} instead."


def _kind(text: str) -> str:
    text = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", text)
    if literal is not None:
        return "one of " + ", ".join(f"`{part.strip().strip(chr(39))}`" for part in literal[1].split(","))
    return {"NoneType": "null"}.get(text, text)


def _told(error: BaseException) -> str:
    """An error of the user's code in one line, with the place where it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def signature_doc(path: str) -> str:
    """The first line of what a class or function says of itself."""
    return inspect.cleandoc(find_target(path).__doc__ or "").partition("\n")[0]

"""Users' own classes and functions by import path: check their arguments one by one, and call them.

A spec is `{class_path: mine.Teacher, init_args: {width: 64}}`, or just the path. Free of torch until a
class that needs it is imported.
"""

import contextlib
import difflib
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from jsonargparse import ArgumentError, ArgumentParser

from mfh._checks import InputError, listing
from mfh._system.paths import expanded
from mfh._system.targets import NO_IMPORTS_VARIABLE as NO_IMPORTS_VARIABLE
from mfh._system.targets import find_target as find_target
from mfh._system.targets import is_own_only as is_own_only
from mfh._system.targets import own_classes_only as own_classes_only
from mfh._system.targets import require_own as require_own
from mfh._system.targets import search_folder_of as search_folder_of
from mfh._system.targets import with_place

Problem = tuple[tuple[str, ...], str]
"""A place in a spec, as keys from its top, and what is wrong there."""

_RUNS = "which runs its code (--no-imports, imports=False)"
# Text that YAML would read as something else: as values, a quoted text or one with a comment.
_VALUES_IN_TEXT = re.compile(
    r"""^[\s\ufeff]*([{\["'!&*|>%@`#?]|-(?!\d)|\.\.\.)|[\n\r\x85\u2028\u2029]|:(\s|$)|\s#"""
)
_IMPORTABLE = re.compile(r"(?![\d.]+$)[^/]*\w\.\w[^/]*|[^\W\d]\w*([.:][^\W\d]\w*)+")


def _importable_texts(value: Any, place: tuple[str, ...]) -> Iterator[Problem]:
    """Yield the texts among arguments that could be imported; each is refused if imports are off."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _importable_texts(item, (*place, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _importable_texts(item, (*place, str(number)))
    elif isinstance(value, str) and _VALUES_IN_TEXT.search(value):
        yield (
            place,
            f"{value!r} is refused: it could contain an import path, {_RUNS}. Write its values as YAML.",
        )
    elif isinstance(value, str) and _IMPORTABLE.fullmatch(value.strip()):
        try:
            find_target(value.strip())
        except InputError:
            way_out = f"If it is a file, write ./{value}."
            yield place, f"`{value}` is refused: it could be imported, {_RUNS}. {way_out}"


@dataclass(frozen=True)
class ClassSpec:
    """Name a class or function by its import path, with arguments; a call makes a new object.

    Attributes:
        class_path: `package.module.Name`; modules of the current folder can be named.
        init_args: its arguments by name. An argument that is itself an object is written as a spec. A leading
            `~` and `$VARIABLES` are replaced in arguments that are annotated as `Path`, and in no others.

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
        """Return the spec as plain values."""
        return {"class_path": self.class_path, "init_args": dict(self.init_args)}

    def problems(self, base: str | None = None) -> list[Problem]:
        """Return everything that is wrong: the path, unknown and missing arguments, types.

        Args:
            base: import path of a class; a class must be derived from it.
        """
        try:
            target = find_target(self.class_path)
            parent = None if base is None else find_target(base)
        except InputError as error:
            return [(("class_path",), str(error))]
        refused = list(_importable_texts(self.init_args, ("init_args",))) if is_own_only() else []
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
        try:
            return target(**self._arguments(target))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"`{self.class_path}` cannot be made. {with_place(error)}") from error

    def _arguments(self, target: Callable[..., Any]) -> dict[str, Any]:
        """Return the arguments as their types want them: paths expanded, objects made."""
        hints = _types(target)
        given = dict(self.init_args)
        for name, value in given.items():
            if isinstance(value, str) and _allows_paths(hints.get(name)):
                given[name] = expanded(value, name)
        as_given = {n: v for n, v in given.items() if _is_taken_as_given(v, n, hints)}
        parser = ArgumentParser(exit_on_error=False)
        _add_arguments(parser, target, skip=hints.keys() - (given.keys() - as_given.keys()))
        with _quiet():
            instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # older ones
            parsed = parser.parse_object({"x": {n: v for n, v in given.items() if n not in as_given}})
            made = instantiate(parsed).get("x") or {}
        objects = {n: ClassSpec.parse(v)() if _is_spec(v) else v for n, v in as_given.items()}
        return {name: objects[name] if name in objects else made[name] for name in given}


def shape_problems(value: Any) -> list[Problem]:
    """Return what is wrong with the form of a spec."""
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


def arguments_of(path: str) -> dict[str, tuple[str, Any, bool]]:
    """Return for each argument of a class or function its text, its default, and whether it is required."""
    parser = ArgumentParser(exit_on_error=False)
    names = _add_arguments(parser, find_target(path))
    actions = {action.dest.removeprefix("x."): action for action in parser._actions}
    return {
        n: (actions[n].help or "", actions[n].default, actions[n].required) for n in names if n in actions
    }


def types_of(path: str) -> dict[str, Any]:
    """Return the types of the arguments of a class or function, Any for those without.

    Raises:
        InputError: see `find_target`.
    """
    target = find_target(path)
    try:
        return _types(target)
    except Exception:  # noqa: BLE001 - any error of the parser over a signature; `problems` reports it
        return {}


def path_arguments(path: str) -> set[str]:
    """Return the arguments of a class or function that are annotated as paths; see `types_of`."""
    return {name for name, hint in types_of(path).items() if _allows_paths(hint)}


def _types(target: Callable[..., Any]) -> dict[str, Any]:
    parser = ArgumentParser(exit_on_error=False)
    names = _add_arguments(parser, target)
    found = {a.dest.removeprefix("x."): getattr(a, "_typehint", None) for a in parser._actions}
    return {name: Any if _is_untyped(found.get(name)) else found[name] for name in names}


def _is_untyped(hint: Any) -> bool:
    """Return whether a type allows anything; jsonargparse writes `Untyped` for arguments without one."""
    return hint is None or any(part is Any or repr(part) == "Untyped" for part in (hint, *get_args(hint)))


def _allows_paths(hint: Any) -> bool:
    return any(isinstance(part, type) and hasattr(part, "__fspath__") for part in (hint, *get_args(hint)))


def _is_spec(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_path" in value and not shape_problems(value)


def _is_taken_as_given(value: Any, name: str, hints: Mapping[str, Any]) -> bool:
    """Return whether an argument needs no conversion by its type.

    It has no type, or is text and may be text (jsonargparse would read 'yes' as True and '010' as 10), or
    names what takes `**kwargs` (jsonargparse would refuse arguments that it cannot see).
    """
    hint = hints.get(name, Any)
    text = isinstance(value, str) and str in (hint, *get_args(hint))
    return hint is Any or text or (_is_spec(value) and _takes_any_of(value["class_path"]))


def _argument_problems(target: Callable[..., Any], path: str, given: Mapping[str, Any]) -> list[Problem]:
    found: list[Problem] = []
    every = ArgumentParser(exit_on_error=False)
    try:
        names = _add_arguments(every, target)
        hints = _types(target)
    except Exception as error:  # noqa: BLE001 - any error of the parser over a signature
        return [(("class_path",), f"The arguments of `{path}` cannot be read. {with_place(error)}")]
    for name, value in given.items():
        where = ("init_args", str(name))
        if name not in names and not _takes_any(target):
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"It has {listing(names)}."
            found.append((where, f"`{path}` has no argument `{name}`. {hint}"))
        elif not _is_taken_as_given(value, name, hints):
            one = ArgumentParser(exit_on_error=False)
            _add_arguments(one, target, skip=set(names) - {name})
            try:
                with _quiet():
                    one.parse_object({"x": {name: value}})
            except (ArgumentError, TypeError, KeyError, ValueError) as error:
                found.append((where, f"`{name}` of `{path}` {tidy(str(error), value)}"))
        elif _is_spec(value):
            found += [((*where, *place), text) for place, text in ClassSpec.parse(value).problems()]
    required = {action.dest.removeprefix("x.") for action in every._actions if action.required}
    absent = [name for name in names if name in required and name not in given]
    return found + [(("init_args",), f"`{path}` must be given `{name}`.") for name in absent]


def _takes_any_of(path: str) -> bool:
    """Return `_takes_any` of a class or function; False if it cannot be imported (`problems` says so)."""
    try:
        return _takes_any(find_target(path))
    except InputError:
        return False


def _takes_any(target: Callable[..., Any]) -> bool:
    """Return whether a function takes `**kwargs`, which it may hand on to anything.

    A decorator that takes them counts too: it may take more arguments than the function that it decorates.
    """
    try:
        parameters = inspect.signature(target, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):  # a builtin
        return False
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _add_arguments(
    parser: ArgumentParser, target: Callable[..., Any], skip: set[str] | None = None
) -> list[str]:
    """Add the arguments of a class or function to a parser as `x.name`, and return their names."""
    skipped: set[str | int] = set(skip or ())
    with _quiet():
        if isinstance(target, type):
            added = parser.add_class_arguments(
                target, "x", fail_untyped=False, skip=skipped, instantiate=False
            )
        else:
            added = parser.add_function_arguments(target, "x", fail_untyped=False, skip=skipped)
    return [name.removeprefix("x.") for name in added]


def tidy(message: str, value: Any) -> str:
    """Turn a type error of jsonargparse into a sentence that continues after the argument's name.

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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def signature_doc(path: str) -> str:
    """Return the first line of the docstring of a class or function."""
    return inspect.cleandoc(find_target(path).__doc__ or "").partition("\n")[0]

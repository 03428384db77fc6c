"""Write the reference of the configs and their fields, from the dataclasses."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from command_reference import plain

import mfh
from mfh.commands._options import field_texts


def configs() -> Iterator[type]:
    """Yield the config classes of `mfh.config`, then those of the experiments."""
    names = ["mfh.config"]
    names += [
        info.name
        for info in pkgutil.walk_packages(mfh.__path__, "mfh.")
        if info.name.startswith("mfh.experiments.") and info.name.endswith("config")
    ]
    for name in names:
        for _, cls in inspect.getmembers(importlib.import_module(name), dataclasses.is_dataclass):
            if (cls.__module__ + ".").startswith(name + ".") and cls.__name__.endswith("Config"):
                yield cls


def write() -> str:
    """Return Markdown of all configs: what each is for, its bases and its own fields. Bases come first."""
    ordered = sorted(configs(), key=lambda cls: (_home(cls) not in ("mfh", "mfh.config"), len(cls.__mro__)))
    return "\n".join(_section(cls, set(ordered)) for cls in ordered)


def _section(cls: type, known: set[type]) -> str:
    bases = [base for base in cls.__mro__[1:] if base in known]
    own = inspect.get_annotations(cls)
    hints, texts = get_type_hints(cls), field_texts(cls)
    parts = [
        f"(config-{cls.__name__})=\n## {cls.__name__}\n",
        plain((inspect.getdoc(cls) or "").split("\n\n")[0]),
        f"\nImport it as `from {_home(cls)} import {cls.__name__}`.",
    ]
    if bases:
        links = ", ".join(f"[{b.__name__}](#config-{b.__name__})" for b in bases)
        parts.append(f"It has all fields of {links} as well.")
    parts.append("")
    for spec in dataclasses.fields(cls):  # type: ignore[arg-type]
        inherited = spec.name not in own
        changed = inherited and all(_default(spec) != _default(_field(b, spec.name)) for b in bases)
        if not inherited or changed:
            kind = _type(hints[spec.name])
            head = f"`{spec.name}`: {kind}, default `{_default(spec)}`"
            parts.append(f"{head}\n: {plain(texts.get(spec.name, '')).rstrip('.')}.\n")
    return "\n".join(parts)


def _field(cls: type, name: str) -> Any:
    return next((spec for spec in dataclasses.fields(cls) if spec.name == name), None)  # type: ignore[arg-type]


def _default(spec: Any) -> Any:
    if spec is None:
        return None
    if spec.default is not dataclasses.MISSING:
        return repr(list(spec.default) if isinstance(spec.default, tuple) else spec.default)
    return repr(spec.default_factory()) if spec.default_factory is not dataclasses.MISSING else "required"


def _home(cls: type) -> str:
    if cls.__name__ in mfh.__all__:
        return "mfh"
    return "mfh.config" if cls.__module__.startswith("mfh.config.") else cls.__module__


def _type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(f"`{value!r}`" for value in get_args(hint))
    plain = [arg for arg in get_args(hint) if arg is not type(None)]
    if len(plain) < len(get_args(hint)):
        return " or ".join(_type(arg) for arg in plain) + " or `None`"
    if get_args(hint):
        outer = getattr(get_origin(hint), "__name__", str(hint)).lower()
        return f"{outer} of {', '.join(_type(arg) for arg in plain)}"
    return f"`{getattr(hint, '__name__', hint)}`"

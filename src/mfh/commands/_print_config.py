"""Write all options of a command as YAML, each with what it means, ready to be edited."""

from collections.abc import Mapping
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from mfh._system.import_paths import ClassSpec, arguments_of, signature_doc
from mfh.commands._config import options


def dump(parser: ArgumentParser) -> str:
    """Return every option as YAML, with its meaning and its present default."""
    blocks = []
    for name, action in options(parser).items():
        if action.dest == "quiet":
            continue
        words = " ".join((action.help or "").split())
        choices = getattr(getattr(action, "_typehint", None), "__args__", None)
        if choices and all(isinstance(choice, str) for choice in choices):
            words += f" ({', '.join(choices)})"
        words += " (required)" if action.required else ""
        value = action.default
        if isinstance(value, str) and getattr(parser, "class_options", {}).get(name):
            value = ClassSpec(value).to_dict()
        blocks.append("\n".join([*_comment(words), *_entry(name, value)]))
    return "\n\n".join(blocks) + "\n"


def _entry(name: str, value: Any, indent: str = "") -> list[str]:
    if isinstance(value, Mapping) and "class_path" in value:
        return [f"{indent}{name}:", *_spec_lines(value, indent + "  ")]
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump([value], default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return [f"{indent}{name}: {text[1:-1]}"]


def _spec_lines(value: Mapping[str, Any], indent: str) -> list[str]:
    """Write a class with all its arguments, given or by default, and what they mean."""
    beside = {name: value[name] for name in value if name not in ("class_path", "init_args")}
    spec = ClassSpec.parse({name: part for name, part in value.items() if name not in beside})
    lines = [*_comment(signature_doc(spec.class_path), indent), f"{indent}class_path: {spec.class_path}"]
    arguments = arguments_of(spec.class_path)
    others = {name: ("", value, False) for name, value in spec.init_args.items() if name not in arguments}
    lines += [f"{indent}init_args:"] if arguments or others else []
    for name, (words, default, required) in (arguments | others).items():
        lines += _comment(" ".join(words.split()) + (" (required)" if required else ""), indent + "  ")
        shown = spec.init_args.get(name, default)
        plain = isinstance(shown, (str, int, float, bool, list, dict, type(None)))
        lines += _entry(name, shown if plain else str(shown), indent + "  ")
    return lines + [line for name, part in beside.items() for line in _entry(name, part, indent)]


def _comment(words: str, indent: str = "") -> list[str]:
    lines, line = [], ""
    for word in words.split():
        if len(line) + len(word) > 90:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return [f"{indent}# {text}" for text in (*lines, line) if text]

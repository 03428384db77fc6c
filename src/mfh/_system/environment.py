"""Describe the machine and the versions of a run."""

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import PurePath
from typing import Any

from mfh._version import __version__


def environment(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Return versions and machine for the results of a run; `command` is by default the running one."""
    packages = ("torch", "numpy", "scipy", "accelerate", "numba", "safetensors")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "mfh": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "system": platform.platform(terse=True),
        "machine": platform.machine(),
        "command": list(command if command is not None else sys.argv),
    }


def command_line(argv: object) -> str:
    """Return a command line as it is typed."""
    if isinstance(argv, str):
        return argv
    if not isinstance(argv, Sequence) or not argv:
        return ""
    program = PurePath(str(argv[0]))
    words = [str(word) for word in argv[1:]]
    if program.name == "__main__.py":
        return shlex.join(["python", "-m", program.parent.name, *words])
    return shlex.join([program.name if program.name == "mfh" else str(program), *words])

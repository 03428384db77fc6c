"""Describe the machine and the versions of a run."""

import platform
import sys
from collections.abc import Sequence
from importlib import metadata
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

"""Compiling numerical Python."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(*fastmath: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call, to code that threads may run side by side.

    The machine code is kept on disk where a folder can be written.

    Args:
        fastmath: liberties with floating-point arithmetic, as LLVM names them: `contract`, `reassoc`, ...
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(fastmath), "error_model": "numpy"}

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return njit(**options)(function)

    return decorate

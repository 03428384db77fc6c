"""Compile numerical Python."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(*fastmath: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call, to code that several threads can run at once.

    The machine code is stored on disk if a folder can be written.

    Args:
        fastmath: changes of floating-point arithmetic that are allowed, by LLVM's names: `contract`,
            `reassoc`, ...
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": set(fastmath), "error_model": "numpy"}

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return njit(**options)(function)

    return decorate

"""The statistics of SciPy, which an extra brings: imported where they are needed, and not before."""

from __future__ import annotations

import functools
import importlib
from typing import Any

INSTALL = "pip install 'otel-progress[compare]'"


class MissingLibraryError(ImportError):
    """SciPy is not installed."""

    def __init__(self) -> None:
        super().__init__(f"comparing needs SciPy: {INSTALL}")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingLibraryError from None


@functools.cache
def numpy() -> Any:
    """The module `numpy`.

    Raises:
        MissingLibraryError: it is not installed.
    """
    return _imported("numpy")


@functools.cache
def stats() -> Any:
    """The module `scipy.stats`.

    Raises:
        MissingLibraryError: it is not installed.
    """
    return _imported("scipy.stats")


@functools.cache
def _special() -> Any:
    return _imported("scipy.special")


def chance_above(z: Any) -> Any:
    """How likely a normal variable is above `z`."""
    return _special().ndtr(-z)


def bound_of(chance: Any) -> Any:
    """The value above which a normal variable is as likely as `chance`."""
    return -_special().ndtri(chance)

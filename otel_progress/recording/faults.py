"""A fault of the instrumentation is said once and never reaches the workflow."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Generic, TypeVar

from ..names import SCOPE

T = TypeVar("T")

logger = logging.getLogger(SCOPE)

_MOST = 1000  # A fault whose text never repeats must not grow memory without end.
_said: set[str] = set()


def report(message: str, error: BaseException | None = None) -> None:
    """Log `message` as a warning, with the traceback of `error`, unless it was logged before."""
    try:
        key = message if error is None else f"{message} {type(error).__name__}"
        if key in _said or len(_said) >= _MOST:
            return
        _said.add(key)
        logger.warning("%s", message, exc_info=error)
    except Exception:  # A broken logging set-up or a full stack must not harm the workflow either.
        return


def forget() -> None:
    """Let every fault be said again (for tests)."""
    _said.clear()


class Harmless(Generic[T]):
    """A context manager around code of the workflow whose own faults stay away from that code.

    Subclasses write `enter` and `leave`. What `enter` raises is reported, the code runs without it, `leave` is not
    called; exceptions of the code itself pass through untouched.
    """

    __slots__ = ("_entered",)

    def enter(self) -> T:
        """Begin; what it returns is what `with ... as` gives."""
        raise NotImplementedError

    def leave(self, error: BaseException | None) -> None:
        """End, left by `error` if it is not None."""
        raise NotImplementedError

    def instead(self) -> T:
        """What `with ... as` gives where `enter` failed."""
        raise NotImplementedError

    def got(self, value: object) -> None:
        """Note what the code returned."""

    def returned(self, value: object) -> None:
        """Note what the code returned; a fault of that is reported."""
        try:
            self.got(value)
        except Exception as error:
            report(f"{type(self).__name__} could not note what was returned", error)

    def __enter__(self) -> T:
        self._entered = False
        try:
            value = self.enter()
        except Exception as error:
            report(f"{type(self).__name__} could not begin; the workflow goes on unrecorded", error)
            return self.instead()
        self._entered = True
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._entered:
            return
        try:
            self.leave(error)
        except Exception as fault:
            report(f"{type(self).__name__} could not end; the workflow goes on", fault)

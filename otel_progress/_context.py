"""Making a context current while code of the workflow runs."""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach

from ._faults import Harmless


def detach(token: Token[Any]) -> None:
    """Undo `attach`.

    Where the code was left in another context (a generator closed from elsewhere) there is nothing to undo, and
    opentelemetry's own `detach` would log an error.
    """
    try:
        token.var.reset(token)
    except ValueError:
        return


class Attached(Harmless[None]):
    """Makes `context` current; None changes nothing."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context | None) -> None:
        self._context = context
        self._token: Token[Any] | None = None

    def enter(self) -> None:
        """Attach."""
        if self._context is not None:
            self._token = attach(self._context)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Detach."""
        if self._token is not None:
            detach(self._token)

    def instead(self) -> None:
        """Nothing."""

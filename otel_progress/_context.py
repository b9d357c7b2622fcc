"""Making a context current while code of the workflow runs."""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current, set_value

from ._faults import Harmless
from ._recorder import RECORDED


def detach(token: Token[Any], ours: Context) -> None:
    """Undo `attach(ours)`, and nothing else.

    What the code attached and left (baggage, for one) stays, but for our span. Where the code was left in another
    context (a generator closed from elsewhere) there is nothing to undo, and opentelemetry's own `detach` would log an
    error.
    """
    left = get_current()
    try:
        token.var.reset(token)
    except ValueError:
        return
    if left is ours:
        return
    before = get_current()
    span = trace.get_current_span(left)
    left = set_value(RECORDED, before.get(RECORDED), left)
    if span is trace.get_current_span(ours):
        left = trace.set_span_in_context(trace.get_current_span(before), left)
    attach(left)


class Attached(Harmless[None]):
    """Makes `context` current for one step of a generator, or around a flow."""

    __slots__ = ("_token", "context")

    def __init__(self, context: Context | None) -> None:
        self.context = context
        """What the step leaves current is to be current in the next one; None changes nothing."""
        self._token: Token[Any] | None = None

    def enter(self) -> None:
        """Attach."""
        if self.context is not None:
            self._token = attach(self.context)

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """Detach."""
        if self._token is not None:
            self.context = left = get_current()
            detach(self._token, left)

    def instead(self) -> None:
        """Nothing."""

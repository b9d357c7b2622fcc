"""Making a context current while code of the workflow runs."""

from __future__ import annotations

import gc
from contextvars import Token
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current

from .collecting import DISTURBED, collector
from .faults import Harmless, from_handler
from .live import Recorded
from .place import RECORDED, current_context, is_over, make_current, recorded_in


def attach(context: Context) -> Token[Any] | None:
    """Make `context` current.

    While the garbage collector runs in this thread (see `DISTURBED`) nothing is changed, and None comes back.
    """
    if collector.runs and collector.here.runs:
        return None
    if not DISTURBED or not gc.isenabled():  # From Python 3.12 on, or where nothing is collected unasked.
        return make_current(context)
    try:
        gc.disable()
        return make_current(context)
    finally:
        gc.enable()


def detach(token: Token[Any], ours: Context) -> None:
    """Undo `attach(ours)`, and nothing else.

    What the code attached and left (baggage, for one) stays, but for a stage that was left open. Where the code was
    left in another context (a generator closed from elsewhere) there is nothing to undo, and opentelemetry's own
    `detach` would log an error.
    """
    if collector.runs and collector.here.runs:  # As in `attach`.
        return
    left = current_context()
    try:
        if not DISTURBED or not gc.isenabled():  # From Python 3.12 on, or where nothing is collected unasked.
            token.var.reset(token)
        else:
            try:
                gc.disable()
                token.var.reset(token)
            finally:
                gc.enable()
    except (ValueError, RuntimeError) as error:  # Left in another context, or undone before.
        if from_handler(error):
            raise
        if left is ours and isinstance(token.old_value, Context):
            attach(token.old_value)  # A copy, in which it was still current.
        return
    if left is ours:
        return
    before = get_current()
    if (outer := recorded_in(before)) is not None and is_over(outer):
        attach(left)  # Left out of order: what was around it has been left before, and others have said what is now.
        return
    span, recorded = trace.get_current_span(left), left.get(RECORDED)
    of_ours = span is trace.get_current_span(ours) or (isinstance(recorded, Recorded) and span is recorded.span)
    kept = {
        key: value
        for key, value in left.items()
        if value is not before.get(key) and key != RECORDED and not (of_ours and value is span)
    }
    if kept:
        attach(Context({**before, **kept}))


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
            self._token = None

    def instead(self) -> None:
        """Nothing."""

"""Where code runs: what its context says that it is inside of, as far as that is still open."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import Token

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, detach, get_current
from opentelemetry.environment_variables import OTEL_PYTHON_CONTEXT

from .. import names
from .live import Recorded
from .visits import Part, Visit

_USUAL = "contextvars_context"  # By which the API keeps contexts in a context variable, unless it is told otherwise.
RECORDED = create_key("otel-progress-recorded")
"""Key of the innermost run, visit or part in a context."""
(SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
"""Key of the current span: to make a context with both at once saves half of the copies."""


def _direct() -> tuple[Callable[[], Context], Callable[[Context], Token[Context]]]:
    token = attach(get_current())
    detach(token)
    is_usual = type(token) is Token and (os.environ.get(OTEL_PYTHON_CONTEXT) or _USUAL) == _USUAL
    return (token.var.get, token.var.set) if is_usual else (get_current, attach)


current_context, make_current = _direct()
"""`get_current` and `attach` without the two calls inside of each: every visit needs them twice and once."""


def recorded_in(context: Context) -> Recorded | None:
    """The innermost run, visit or part that was made current in `context`, and may have ended since."""
    recorded = context.get(RECORDED)
    return recorded if isinstance(recorded, Recorded) else None


def within(visit: Visit) -> Context:
    """The context inside of a visit that has no span of its own."""
    return Context({**visit.parent_context, RECORDED: visit})


def is_over(recorded: Recorded) -> bool:
    """Whether it has ended, or what it is a part of."""
    return recorded.ended is not None or (isinstance(recorded, Part) and recorded.owner.ended is not None)


def open_around(recorded: Recorded) -> Recorded:
    """The innermost that is open of it and what it is in; its run where that has ended too."""
    while is_over(recorded) and recorded.parent is not None:
        recorded = recorded.parent
    return recorded


def place_in(context: Context) -> dict[str, str]:
    """Workflow, run id and stage of what is open in `context`, as attributes; nothing outside a run."""
    recorded = recorded_in(context)
    return {} if recorded is None else place_of(open_around(recorded))


def place_of(recorded: Recorded) -> dict[str, str]:
    """The same for a run, a visit, or a part of either."""
    owner = recorded.owner if isinstance(recorded, Part) else recorded
    place = {names.WORKFLOW_NAME: owner.run.workflow, names.RUN_ID: owner.run.id}
    if isinstance(owner, Visit):
        place[names.STAGE_NAME] = owner.stage
    return place


def outside(recorded: Recorded, context: Context) -> tuple[Recorded, Context]:
    """What is open around something that ended and was left current in `context`, and the context as it is there."""
    around, ended = open_around(recorded), [recorded.span]
    while recorded is not around and recorded.parent is not None:
        recorded = recorded.parent
        if recorded is not around or is_over(around):
            ended.append(recorded.span)
    current = trace.get_current_span(context)
    if [span for span in ended if span is current]:
        context = trace.set_span_in_context(_span_around(around), context)
    return around, context


def span_only(context: Context) -> Context:
    """Nothing of `context` but its span: what is left current when a run has ended still finds the span around that."""
    return trace.set_span_in_context(trace.get_current_span(context), Context())


def _span_around(recorded: Recorded) -> trace.Span:
    """The span of what is open; the one around a run that is not."""
    if is_over(recorded):
        return trace.get_current_span(recorded.parent_context)
    while recorded.span is trace.INVALID_SPAN and recorded.parent is not None:
        recorded = recorded.parent
    return recorded.span

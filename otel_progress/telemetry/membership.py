"""Spans that other instrumentation makes inside a stage say which workflow, run and stage they belong to."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import Span, SpanProcessor

from .. import names
from ..recording.place import open_around, recorded_in
from ..recording.visits import Part, Visit

_marked: WeakSet[Any] = WeakSet()


def mark_spans_inside(provider: Any) -> None:
    """Give a tracer provider of the SDK a `MembershipProcessor`, once: nothing can be taken from it again."""
    if hasattr(provider, "add_span_processor") and provider not in _marked:
        _marked.add(provider)
        provider.add_span_processor(MembershipProcessor())


class MembershipProcessor(SpanProcessor):
    """Adds workflow, run id and stage to every span that starts inside a run. `configure` installs one."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Add them."""
        scope = span.instrumentation_scope
        if scope is not None and scope.name == names.SCOPE:
            return
        recorded = recorded_in(get_current() if parent_context is None else parent_context)
        if recorded is None:
            return
        recorded = open_around(recorded)
        span.set_attribute(names.WORKFLOW_NAME, recorded.run.workflow)
        span.set_attribute(names.RUN_ID, recorded.run.id)
        visit = recorded.owner if isinstance(recorded, Part) else recorded
        if isinstance(visit, Visit):
            span.set_attribute(names.STAGE_NAME, visit.stage)

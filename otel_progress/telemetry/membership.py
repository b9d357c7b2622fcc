"""Spans and log records that others make inside a stage say which workflow, run and stage they belong to."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, cast
from weakref import WeakSet

from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import Span, SpanProcessor

from .. import names
from ..recording.place import place_in

_marked: WeakSet[Any] = WeakSet()


def mark_spans_inside(provider: Any) -> None:
    """Give a tracer provider of the SDK a `MembershipProcessor`, once: nothing can be taken from it again."""
    if hasattr(provider, "add_span_processor") and provider not in _marked:
        _marked.add(provider)
        provider.add_span_processor(MembershipProcessor())


def mark_logs_inside(provider: Any) -> None:
    """The same for a logger provider."""
    if hasattr(provider, "add_log_record_processor") and provider not in _marked:
        _marked.add(provider)
        provider.add_log_record_processor(LogMembershipProcessor())


class MembershipProcessor(SpanProcessor):
    """Adds workflow, run id and stage to every span that starts inside a run. `configure` installs one."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Add them."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE:
            for name, value in place_in(get_current() if parent_context is None else parent_context).items():
                span.set_attribute(name, value)


class LogMembershipProcessor(LogRecordProcessor):
    """Adds the same to every log record that is made inside a run."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Add what the record does not say itself."""
        record = log_record.log_record
        said = cast("MutableMapping[str, Any]", record.attributes)
        if names.RUN_ID not in said:
            said.update(place_in(record.context or get_current()))

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - as it is called
        """Nothing waits."""
        return True

"""Spans that a program starts before the SDK is set up: as late as its first run, which may be inside them.

Without us they would record nothing, and so they do where the program sets up the SDK itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

_MOST_SAID = 256  # What is said of a span before it is made.


class _Early:
    """Whether spans that were started too early are made after all."""

    made = False


_early = _Early()


def watch_early_spans() -> None:
    """Keep what a program says of spans that it starts before anything is set up."""
    get_tracer = trace.ProxyTracerProvider.get_tracer

    def watched(self: trace.ProxyTracerProvider, *args: Any, **kwargs: Any) -> trace.Tracer:
        tracer = get_tracer(self, *args, **kwargs)
        return EarlyTracer(tracer) if isinstance(tracer, trace.ProxyTracer) else tracer

    trace.ProxyTracerProvider.get_tracer = watched


def make_early_spans() -> None:
    """Make those that are still open, each as soon as anybody asks for it."""
    _early.made = True


class EarlyTracer(trace.NoOpTracer):
    """A tracer of the time before the SDK is set up. Its `start_as_current_span` is the base's, by way of this."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(  # noqa: PLR0917 - the signature of the API
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """A span, or one that may be made later."""
        how = (record_exception, set_status_on_exception)
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return self._tracer.start_span(name, context, kind, attributes, links, start_time, *how)
        context, started = context or get_current(), start_time or time.time_ns()
        attributes, links = dict(attributes or {}), list(links or ())
        return EarlySpan(lambda: self._tracer.start_span(name, context, kind, attributes, links, started, *how))


class EarlySpan(trace.Span):
    """A span that was started too early. What is said of it is kept until it can be made, or ends."""

    def __init__(self, make: Callable[[], trace.Span]) -> None:
        self._make = make
        self._making = threading.RLock()
        self._span: trace.Span | None = None
        self._said: list[Callable[[trace.Span], object]] = []
        self._has_ended = False

    def _made(self) -> trace.Span | None:
        if self._span is None and _early.made and not self._has_ended:
            with self._making:
                if self._span is None:
                    span = self._make()
                    for tell in self._said:
                        tell(span)
                    self._span, self._said = span, []
        return self._span

    def _tell(self, tell: Callable[[trace.Span], object]) -> None:
        span = self._made()
        if span is not None:
            tell(span)
        elif len(self._said) < _MOST_SAID:
            self._said.append(tell)

    def __getattr__(self, name: str) -> Any:
        """What only spans of the SDK have."""
        span = None if name.startswith("_") else self._made()
        if span is None:
            raise AttributeError(name)
        return getattr(span, name)

    def get_span_context(self) -> SpanContext:
        """Its identity, as soon as it has one: whoever starts a span inside asks for it."""
        span = self._made()
        return trace.INVALID_SPAN_CONTEXT if span is None else span.get_span_context()

    def is_recording(self) -> bool:
        """Whether what is said of it is kept."""
        span = self._made()
        return not self._has_ended if span is None else span.is_recording()

    def end(self, end_time: int | None = None) -> None:
        """End it; one that was not made by now never is."""
        span = self._made()
        self._has_ended, self._said = True, []
        if span is not None:
            span.end(end_time)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """As on every span, and so are those below."""
        kept = dict(attributes)
        self._tell(lambda span: span.set_attributes(kept))

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set one."""
        self._tell(lambda span: span.set_attribute(key, value))

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event, at the time when it was told."""
        at, kept = timestamp or time.time_ns(), dict(attributes or {})
        self._tell(lambda span: span.add_event(name, kept, at))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link."""
        self._tell(lambda span: span.add_link(context, attributes))

    def update_name(self, name: str) -> None:
        """Rename it."""
        self._tell(lambda span: span.update_name(name))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set its status."""
        self._tell(lambda span: span.set_status(status, description))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception, at the time when it was told."""
        at = timestamp or time.time_ns()
        self._tell(lambda span: span.record_exception(exception, attributes, at, escaped))

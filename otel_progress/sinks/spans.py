"""The spans: `run` > `stage` > `attempt`, and `prep`, `exec`, `post`, `item` where `detail` asks for them."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.semconv.attributes import exception_attributes
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from .. import names
from .._version import SCHEMA_URL, __version__
from ..recording.live import Attempt, Part, Recorded, Run, Visit, mark_described
from ..recording.recorder import Recorder, Sink
from ..recording.store import MOST_NAMES, printable
from .bound import NameBound

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

Attributes = dict[str, AttributeValue]


class SpanSink(Sink):
    """Makes a span of every run and visit, with the times that the recorder took."""

    def __init__(self, recorder: Recorder, tracer_provider: TracerProvider | None = None) -> None:
        self._recorder = recorder
        self._tracer = trace.get_tracer(names.SCOPE, __version__, tracer_provider, SCHEMA_URL)
        self._bound = NameBound(recorder)

    def run_started(self, run: Run) -> None:
        """Start the run's span."""
        if run.owned:
            name = f"{names.SPAN_RUN} {self._bound.workflow(run.workflow)}"
            self._start(run, name, {names.WORKFLOW_NAME: run.workflow, names.RUN_ID: run.id})
        else:
            run.context = trace.set_span_in_context(run.span, run.context)

    def run_ended(self, run: Run) -> None:
        """End it."""
        if run.owned:
            self._end(run, {names.RESULT: run.result or "success"})

    def visit_started(self, visit: Visit) -> None:
        """Start the visit's span, with a link to the visit that it repeats."""
        attributes = _place(visit)
        links = [Link(visit.previous)] if visit.previous is not None and visit.previous.is_valid else None
        self._start(visit, f"{names.SPAN_STAGE} {self._bound.stage(visit.stage)}", attributes, links)
        context = visit.span.get_span_context()
        if context.is_valid:
            visit.run.stages[visit.stage].trace_id = trace.format_trace_id(context.trace_id)

    def visit_ended(self, visit: Visit) -> None:
        """End it."""
        if not visit.span.is_recording():
            visit.span.end(visit.ended)
            return
        for version in visit.versions:
            event: Attributes = {names.VERSION_ID: version.id}
            if version.action is not None:
                event[names.VERSION_ACTION] = version.action
            visit.span.add_event(names.EVENT_VERSION, event, visit.ended)
        self._end(visit, _outcome(visit))

    def part_started(self, part: Part) -> None:
        """Start the span of a phase or an item."""
        attributes = _place(part.owner)
        if part.platform is not None:
            attributes[names.ITEM_PLATFORM] = part.platform
        self._start(part, part.name, attributes)

    def part_ended(self, part: Part) -> None:
        """End it."""
        self._end(part, {})

    def attempt_failed(self, visit: Visit, attempt: Attempt) -> None:
        """Make the span of a failed attempt, afterwards: most attempts succeed and need none."""
        attributes = {**_place(visit), names.STAGE_ATTEMPTS: attempt.number}
        span = self._tracer.start_span(
            names.SPAN_ATTEMPT, attempt.context, SpanKind.INTERNAL, attributes, start_time=attempt.started
        )
        self._fail(span, attempt.error, attempt.ended, visit.run)
        span.end(attempt.ended)

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:
        """Say it on the span of the flow, as an event."""
        event = {names.STAGE_NAME: stage} if action is None else {names.STAGE_NAME: stage, names.STAGE_ACTION: action}
        owner.span.add_event(names.EVENT_DEAD_END, event)

    def _start(
        self, recorded: Recorded, name: str, attributes: Attributes, links: Sequence[Link] | None = None
    ) -> None:
        recorded.span = self._tracer.start_span(
            name,
            recorded.parent_context,
            SpanKind.INTERNAL,
            attributes,
            links,
            start_time=recorded.started,
            record_exception=False,
            set_status_on_exception=False,
        )
        recorded.context = trace.set_span_in_context(recorded.span, recorded.context)

    def _end(self, recorded: Recorded, attributes: Attributes) -> None:
        span, error = recorded.span, recorded.exception
        try:
            if not span.is_recording():
                return
            span.set_attributes(attributes)
            if error is not None and recorded.result in ("failure", "cancelled"):
                self._fail(span, error, recorded.ended, recorded.run)
            elif recorded.result in ("failure", "cancelled", "abandoned"):
                span.set_status(Status(StatusCode.ERROR, recorded.result))
                span.set_attribute(names.ERROR_TYPE, recorded.error_type or recorded.result)
        finally:
            span.end(recorded.ended)

    def _fail(self, span: trace.Span, error: BaseException, at: int | None, run: Run) -> None:
        """Say on `span` that `error` ended it; in full unless a span inside has done so."""
        kind = type(error)
        message = _message(error) if self._recorder.settings.capture_messages else ""
        span.set_attribute(names.ERROR_TYPE, kind.__name__)
        span.set_status(Status(StatusCode.ERROR, f"{kind.__name__}: {message}" if message else kind.__name__))
        if not mark_described(error, run):
            return
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
        event: Attributes = {exception_attributes.EXCEPTION_TYPE: f"{module}{kind.__qualname__}"}
        if message:
            event[exception_attributes.EXCEPTION_MESSAGE] = message
            lines.append(f"{module}{kind.__qualname__}: {message}\n")
        event[exception_attributes.EXCEPTION_STACKTRACE] = printable("".join(lines))
        span.add_event(names.EVENT_EXCEPTION, event, at)


def _message(error: BaseException) -> str:
    try:
        return printable(str(error))
    except Exception:  # It is the workflow's own method.
        return ""


def _place(owner: Visit | Run) -> Attributes:
    place: Attributes = {names.WORKFLOW_NAME: owner.run.workflow, names.RUN_ID: owner.run.id}
    if isinstance(owner, Visit):
        place[names.STAGE_NAME] = owner.stage
    return place


def _outcome(visit: Visit) -> Attributes:
    """The attributes that are known when a visit has ended."""
    attributes: Attributes = {
        names.STAGE_VISIT: visit.number,
        names.STAGE_RESULT: visit.result or "success",
        names.STAGE_ATTEMPTS: visit.attempts,
        names.STAGE_PLATFORM_COUNT: len(visit.own_platforms) or visit.platforms.count,
    }
    platforms = tuple(visit.own_platforms)[:MOST_NAMES] or visit.platforms.names
    optional: dict[str, AttributeValue | None] = {
        names.STAGE_PLATFORMS: platforms or None,
        names.ITEM_PLATFORM: visit.item_platform,
        names.STAGE_REVISION: visit.revision,
        names.STAGE_ACTION: visit.action,
        names.STAGE_WAIT: visit.wait or None,
        names.STAGE_BUDGET: visit.budget,
        names.CODE_FUNCTION_NAME: visit.function,
        names.STAGE_ITEMS_TOTAL: visit.items_total,
    }
    attributes.update({name: value for name, value in optional.items() if value is not None})
    if visit.items_total is not None or visit.items_done or visit.items_failed:
        attributes[names.STAGE_ITEMS_DONE] = visit.items_done
        attributes[names.STAGE_ITEMS_FAILED] = visit.items_failed
    return attributes

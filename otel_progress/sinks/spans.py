"""The spans: `run` > `stage` > `attempt`, `wait`; and `prep`, `exec`, `post`, `item` where `detail` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes import exception_attributes
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from .. import names
from .._version import SCHEMA_URL, __version__
from ..recording.collecting import aside
from ..recording.faults import passes
from ..recording.live import Recorded, Run, Tracking
from ..recording.place import RECORDED, SPAN, place_of, recorded_in, within
from ..recording.raised import own_of, trace_of
from ..recording.recorder import Recorder
from ..recording.sink import Sink
from ..recording.store import MOST_NAMES, type_name
from ..recording.visits import Attempt, Part, Visit
from ..recording.waiting import Waiting
from .bound import NameBound
from .exceptions import Send, message_of, stacktrace, whole_name

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

Attributes = dict[str, AttributeValue]
_Described = dict[object, tuple[object, bool]]
"""What tells an exception from others: something of it, and whether it was an attempt alone that it has ended."""
T = TypeVar("T", bound=Recorded)
_NOTHING: _Described = {}
_REPEATS, _FOLLOWS = {names.LINK: names.LINK_REPEATS}, {names.LINK: names.LINK_FOLLOWS}
_INTERNAL = SpanKind.INTERNAL
_NO_SPAN = trace.INVALID_SPAN_CONTEXT
_MILLISECOND = 1_000_000
_MOST_DESCRIBED = 16  # Exceptions that a workflow catches, over and over, in one long run.


class SpanSink(Sink):
    """Makes a span of every run and visit, with the times that the recorder took."""

    send_exception: Send | None = None
    """Given where exceptions are to be log events, as logs are another layer's."""

    def __init__(self, recorder: Recorder, bound: NameBound, tracer_provider: TracerProvider | None = None) -> None:
        self._recorder = recorder
        if isinstance(tracer_provider, trace.ProxyTracerProvider):  # It stands for what is set up later.
            tracer_provider = None
        self._given_provider = tracer_provider
        self._asked = 0
        """When it was found last that there is no SDK, by the clock that nobody sets."""
        self._use(tracer_provider or trace.get_tracer_provider())
        self._bound = bound
        self._names: dict[str, str] = {}
        """Of the spans of stages, which are asked for again and again."""
        self._pending: dict[Recorded, trace.SpanContext] = {}
        """The spans that said that a run or visit began."""
        self._described: dict[Recorded, _Described] = {}
        """Which exceptions the spans inside a run or visit describe, so that those around need not."""

    def _use(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = trace.get_tracer(names.SCOPE, __version__, provider, SCHEMA_URL)
        self._is_api = type(provider).__module__.startswith(trace.__name__)
        """Whether it is one of those that come with the API, and makes no spans."""

    def run_started(self, run: Run) -> None:
        """Start the run's span."""
        provider = self._given_provider or trace.get_tracer_provider()
        if provider is not self._provider:  # Set meanwhile. The tracer from before it hands every call on to that.
            self._use(provider)
        if not run.owned:
            _make_current(run)
            return
        name = f"{names.SPAN_RUN} {self._bound.workflow(run.workflow)}"
        attributes: Attributes = {names.WORKFLOW_NAME: run.workflow, names.RUN_ID: run.id}
        self._start(run, name, attributes)
        _make_current(run)
        if self._recorder.settings.pending:
            self._say_that_it_began(run, name, attributes)

    def run_ended(self, run: Run) -> None:
        """End it."""
        if run.owned:
            self._end(run, lambda run: run.span.set_attribute(names.RESULT, run.result or "success"))

    def visit_started(self, visit: Visit) -> None:
        """Start the visit's span, linked to those that it follows, and to what it repeats if that is none of them."""
        if self._is_api and self._is_unheard(visit):
            visit.context = within(visit)
            return
        record = visit.record
        links: list[Link] = []
        repeated = record.last_spans.get(visit.item)  # `item`: mostly None.
        for _, followed in visit.follows:
            if followed is not _NO_SPAN:
                links.append(Link(followed, _FOLLOWS))
                if followed is repeated:
                    repeated = None  # One link to it is enough: that it is a repeat, its number says.
        if repeated is not None:
            links.append(Link(repeated, _REPEATS))
        name, attributes = self._names.get(visit.stage) or self._name_for(visit.stage), _known(visit)
        try:
            self._start(visit, name, attributes, links)
        except BaseException:  # A sampler's, or a handler's.
            visit.context = within(visit)
            raise
        span = visit.span
        if span is trace.INVALID_SPAN:
            visit.context = within(visit)
            return
        visit.context = Context({**visit.parent_context, RECORDED: visit, SPAN: span})
        span_context = span.get_span_context()
        if span_context.is_valid:
            visit.span_context = record.last_spans[visit.item] = span_context
            if (trace_id := span_context.trace_id) != record.trace:
                record.trace, record.shown["trace_id"] = trace_id, trace.format_trace_id(trace_id)
        if self._recorder.settings.pending:
            self._say_that_it_began(visit, name, attributes)

    def _is_unheard(self, visit: Visit) -> bool:
        """Whether there is no SDK, and no span around the visit either that would be handed on."""
        if not 0 <= visit.clock - self._asked < _MILLISECOND:  # To ask costs; who sets an SDK up takes longer.
            provider = self._given_provider or trace.get_tracer_provider()
            if provider is not self._provider:
                self._use(provider)
                return False
            self._asked = visit.clock
        return visit.parent_context.get(SPAN, trace.INVALID_SPAN) is trace.INVALID_SPAN

    def _name_for(self, stage: str) -> str:
        bound = self._bound.stage(stage)
        return self._names.get(bound) or self._names.setdefault(bound, f"{names.SPAN_STAGE} {bound}")

    def _start(
        self, recorded: Recorded, name: str, attributes: Attributes, links: Sequence[Link] | None = None
    ) -> None:
        recorded.span = self._tracer.start_span(
            name,
            recorded.parent_context,
            _INTERNAL,
            attributes,
            links,
            recorded.started,
            record_exception=False,
            set_status_on_exception=False,
        )

    def stage_changed(self, visit: Visit) -> None:
        """The code that takes a visit over says for which item it is."""
        if visit.tracking is Tracking.TAKEN_OVER and visit.item is not None:
            visit.record.last_spans[visit.item] = visit.span_context

    def visit_ended(self, visit: Visit) -> None:
        """End it."""
        self._end(visit, _say_outcome)

    def part_started(self, part: Part) -> None:
        """Start the span of a phase or an item."""
        attributes: Attributes = {**place_of(part.owner)}
        if part.platform is not None:
            attributes[names.ITEM_PLATFORM] = part.platform
        self._start(part, part.name, attributes)
        _make_current(part)

    def part_ended(self, part: Part) -> None:
        """End it."""
        self._end(part, lambda _: None)

    def attempt_failed(self, visit: Visit, attempt: Attempt) -> None:
        """Make the span of a failed attempt, afterwards: most attempts succeed and need none."""
        attributes: Attributes = {**place_of(visit), names.STAGE_ATTEMPTS: attempt.number}
        name = f"{names.SPAN_ATTEMPT} {names.ATTEMPTS[min(attempt.number, len(names.ATTEMPTS)) - 1]}"
        if attempt.platform is not None:
            attributes[names.ITEM_PLATFORM] = attempt.platform
            name += f" {self._bound.platform(attempt.platform)}"
        span = self._tracer.start_span(name, attempt.context, _INTERNAL, attributes, start_time=attempt.started)
        around = recorded_in(attempt.context) or visit
        self._fail(span, visit, attempt.error, attempt.ended, self._described.get(around, {}), severity=names.WARN)
        self._pass_on(attempt.error, around, of_attempt=True)
        aside(span.end, attempt.ended)

    def wait_ended(self, visit: Visit, waiting: Waiting) -> None:
        """Make the span of a wait, afterwards."""
        attributes = {**place_of(visit), names.WAIT_REASON: waiting.reason}
        span = self._tracer.start_span(
            names.SPAN_WAIT, waiting.context, _INTERNAL, attributes, start_time=waiting.started
        )
        aside(span.end, waiting.ended)

    def dead_end(self, owner: Visit | Run, stage: str, action: str | None) -> None:
        """Say it on the span of the flow, as an event."""
        event = {names.STAGE_NAME: stage} if action is None else {names.STAGE_NAME: stage, names.STAGE_ACTION: action}
        owner.span.add_event(names.EVENT_DEAD_END, event)

    def _say_that_it_began(self, recorded: Recorded, name: str, attributes: Attributes) -> None:
        """Export a span of no length at once, inside that of what is around it. The real one comes at the end."""
        if not recorded.span.is_recording():
            return
        around = recorded.parent
        while isinstance(around, Part):
            around = around.owner
        context, parent = recorded.parent_context, self._pending.get(around) if around is not None else None
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
        elif not trace.get_current_span(context).get_span_context().is_valid:  # It would be a trace of its own.
            context = trace.set_span_in_context(recorded.span, context)
        span = self._tracer.start_span(
            name, context, _INTERNAL, {**attributes, names.PENDING: True}, start_time=recorded.started
        )
        span.end(recorded.started)
        self._pending[recorded] = span.get_span_context()

    def _end(self, recorded: T, say_outcome: Callable[[T], None]) -> None:
        span, error, result = recorded.span, recorded.exception, recorded.result
        inside = self._described.pop(recorded, _NOTHING) if self._described else _NOTHING
        if self._pending:
            self._pending.pop(recorded, None)
        if not span.is_recording() and (error is None or not self._recorder.settings.exception_logs):
            return  # Nothing is made of it, nor of its end.
        try:
            say_outcome(recorded)
            if result != "success":
                self._say_failure(recorded, inside)
        except BaseException as fault:
            if passes(fault, theirs=True):  # Once more now: when the recorder tells again, the span has ended.
                say_outcome(recorded)
                if result != "success" and not _told(span, names.EVENT_EXCEPTION, recorded.ended):
                    self._say_failure(recorded, inside)
            raise
        finally:
            aside(span.end, recorded.ended)  # Ends it; a processor may change the current context.

    def _say_failure(self, recorded: Recorded, inside: _Described) -> None:
        error, result = recorded.exception, recorded.result
        if error is not None and result in ("failure", "cancelled"):
            severity = names.ERROR if result == "failure" else names.WARN
            self._fail(recorded.span, recorded, error, recorded.ended, inside, severity=severity)
            self._pass_on(error, recorded.parent)
        elif result in ("failure", "cancelled", "abandoned"):
            recorded.span.set_status(Status(StatusCode.ERROR))
            recorded.span.set_attribute(names.ERROR_TYPE, recorded.error_type or result)

    def _pass_on(self, error: BaseException, around: Recorded | None, *, of_attempt: bool = False) -> None:
        """Say to what is around a span that this span describes `error`."""
        while isinstance(around, Part) and around.span is trace.INVALID_SPAN:
            around = around.owner
        if around is None or around.ended is not None:
            return
        described = self._described.setdefault(around, {})
        key, held = _identity(error)
        described[key] = held, of_attempt
        for each in list(described)[:-_MOST_DESCRIBED] if len(described) > _MOST_DESCRIBED else ():
            described.pop(each, None)
        if around.ended is not None:  # By now, in another thread.
            self._described.pop(around, None)

    def _fail(
        self,
        span: trace.Span,
        recorded: Recorded,
        error: BaseException,
        at: int | None,
        inside: _Described,
        *,
        severity: int,
    ) -> None:
        """Say on `span` that `error` ended it; in full unless a span inside has done so."""
        settings = self._recorder.settings
        message = message_of(error) if settings.capture_messages else ""
        span.set_attribute(names.ERROR_TYPE, type_name(error))
        span.set_status(Status(StatusCode.ERROR, message or None))
        key, held = _identity(error)
        described, of_attempt = inside.get(key, (_NOTHING, False))
        is_new = described is not held
        # Of an attempt it was said below the severity of an error, as it could be made good.
        send = self.send_exception if settings.exception_logs and (is_new or of_attempt) else None
        if send is None and not is_new:
            return
        event: Attributes = {exception_attributes.EXCEPTION_TYPE: whole_name(error)}
        if message:
            event[exception_attributes.EXCEPTION_MESSAGE] = message
        event[exception_attributes.EXCEPTION_STACKTRACE] = stacktrace(error, messages=settings.capture_messages)
        if is_new and settings.exception_events:
            span.add_event(names.EVENT_EXCEPTION, event, at)
        if send is not None:
            send(span.get_span_context(), at, severity, {**place_of(recorded), **event})


def _identity(error: BaseException) -> tuple[object, object]:
    """What tells an exception from every other: a key, and something of it to hold, so that the key is not used again.

    To hold the exception would hold its frames, and a mark on it would be seen. Its `__dict__` is its own and mostly
    empty; where it is not, what is in it shall not be held: then the place where it was raised has to do.
    """
    own = own_of(error)
    if not own:
        return id(own), own
    raised = trace_of(error)
    while raised is not None and raised.tb_next is not None:
        raised = raised.tb_next
    return (id(error), None) if raised is None else ((id(error), raised.tb_frame.f_code, raised.tb_lasti), None)


def _make_current(recorded: Run | Part) -> None:
    """Have its span be the current one where it is."""
    if recorded.span is not trace.INVALID_SPAN:
        recorded.context = trace.set_span_in_context(recorded.span, recorded.context)


def _known(visit: Visit) -> Attributes:
    """What is known of a visit as it starts, and said again where its own code takes it over.

    Samplers see what is given at the start, and it costs less there.
    """
    run, code = visit.run, visit.code
    attributes: Attributes = {
        names.WORKFLOW_NAME: run.workflow,
        names.RUN_ID: run.id,
        names.STAGE_NAME: visit.stage,
        names.STAGE_VISIT: visit.number,
        names.STAGE_PLATFORM_COUNT: visit.platforms.count,
    }
    if visit.attempts:  # A node's are counted as they come, and said at its end.
        attributes[names.STAGE_ATTEMPTS] = visit.attempts
    if code.function is not None:
        attributes[names.CODE_FUNCTION_NAME] = code.function
    if code.budget is not None:
        attributes[names.STAGE_BUDGET] = code.budget
    if visit.platforms.names:
        attributes[names.STAGE_PLATFORMS] = visit.platforms.names
    if visit.revision is not None:
        attributes[names.STAGE_REVISION] = visit.revision
    if visit.eventful and visit.own_platforms:
        attributes.update(_platforms(visit))
    return attributes


def _platforms(visit: Visit) -> Attributes:
    own, seen = visit.own_platforms, visit.platforms
    named = tuple(own)[:MOST_NAMES] or seen.names
    count: Attributes = {names.STAGE_PLATFORM_COUNT: len(own) or seen.count}
    return {**count, names.STAGE_PLATFORMS: named} if named else count


def _say_outcome(visit: Visit) -> None:
    """Say on the span how a visit ended, and what has changed since it started."""
    result = visit.result or "success"
    if (
        not visit.eventful
        and visit.revision is visit.revision_before
        and visit.platforms is visit.platforms_before
        and visit.attempts  # Else it is a node's, as in `_known`.
    ):
        visit.span.set_attribute(names.STAGE_RESULT, result)  # Mostly.
        return
    said: Attributes = {names.STAGE_RESULT: result}
    if visit.tracking is Tracking.TAKEN_OVER:
        said.update(_known(visit))
    elif visit.revision is not visit.revision_before:
        said[names.STAGE_REVISION] = visit.revision or 0
    if visit.own_platforms or visit.platforms is not visit.platforms_before:
        said.update(_platforms(visit))
    _add_happened(said, visit)
    visit.span.set_attributes(said)
    if visit.versions:
        for version in visit.versions[_told(visit.span, names.EVENT_VERSION, visit.ended) :]:
            event: Attributes = {names.VERSION_ID: version.id}
            if version.action is not None:
                event[names.VERSION_ACTION] = version.action
            visit.span.add_event(names.EVENT_VERSION, event, visit.ended)


def _told(span: trace.Span, name: str, at: int | None) -> int:
    """How many events of its end a span was told of, where that is said once more."""
    return len([each for each in getattr(span, "events", ()) if each.name == name and each.timestamp == at])


def _add_happened(said: Attributes, visit: Visit) -> None:
    """Add what has happened in a visit to what is said of it."""
    if visit.attempts != visit.code.attempts or not visit.attempts:
        said[names.STAGE_ATTEMPTS] = visit.attempts
    if visit.item_platform is not None:
        said[names.ITEM_PLATFORM] = visit.item_platform
    if visit.action is not None:
        said[names.STAGE_ACTION] = visit.action
    if visit.retries or visit.wait:  # Readers take a wait for one between attempts, where nothing is said of these.
        said[names.STAGE_RETRY_COUNT] = visit.retries
    if visit.wait:
        said[names.STAGE_WAIT] = visit.wait
    if visit.items_total is not None or visit.items_done or visit.items_failed:
        if visit.items_total is not None:
            said[names.STAGE_ITEMS_TOTAL] = visit.items_total
        said[names.STAGE_ITEMS_DONE] = visit.items_done
        said[names.STAGE_ITEMS_FAILED] = visit.items_failed

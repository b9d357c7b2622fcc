"""What the lines of events are made of: OTLP JSON, into which `%` puts what is a visit's.

They are built by hand, from texts that the visits of a stage share: that takes a tenth of what the SDK's logs do. The
tests hold them against the official parser. The order of what is in a line is such that what changes stands together.
"""

from __future__ import annotations

import functools
import json

from opentelemetry import trace

from .. import names
from ..recording.call import Code
from ..recording.live import Run
from ..recording.order import Followed
from ..recording.seen import NO_PLATFORMS, Platforms
from ..recording.stages import StageRecord
from ..recording.store import MOST_NAMES, printable
from ..recording.visits import Visit

_FINE = ("success", "fallback")
_TRACE, _SPAN = b',"flags":%d,"traceId":"%032x"', b',"spanId":"%016x"'
_TAIL = b"}]}]}]}\n"
# What stands before the values of a visit.
_VISIT_ID = f',{{"key":"{names.STAGE_VISIT_ID}","value":{{"stringValue":"'
_VISIT = f'"}}}},{{"key":"{names.STAGE_VISIT}","value":{{"intValue":"'
_RESULT = f',{{"key":"{names.STAGE_RESULT}","value":{{"stringValue":"'
_ATTEMPTS = f'"}}}},{{"key":"{names.STAGE_ATTEMPTS}","value":{{"intValue":"'
_DURATION = f'"}}}},{{"key":"{names.DURATION}","value":{{"doubleValue":'
_FOLLOWS = f',{{"key":"{names.STAGE_FOLLOWS}","value":{{"arrayValue":{{"values":[{{"stringValue":"'
_FOLLOWED = '"}]}}}'


class RunTexts:
    """What stands in the lines of a run."""

    __slots__ = ("_base", "stages")

    def __init__(self, run: Run) -> None:
        self._base = f"{text_of(names.RUN_ID, run.id)[1:]}{text_of(names.WORKFLOW_NAME, run.workflow)}"
        self.stages: dict[StageRecord, StageTexts] = {}

    def start(self, lead: str, run: Run) -> bytes:
        """The line of its start."""
        around = trace.get_current_span(run.parent_context).get_span_context() if run.owned else None
        more = parent_span_of(around.span_id) if around is not None and around.is_valid else ""
        return self._line(lead, run, run.started, _event(names.EVENT_RUN_STARTED), more)

    def end(self, lead: str, run: Run) -> bytes:
        """The line of its end."""
        event = _event(names.EVENT_RUN_ENDED, 9 if run.result in _FINE else 13)
        more = text_of(names.RESULT, run.result or "success") + _number(names.DURATION, run.seconds)
        if run.error_type is not None:
            more += text_of(names.ERROR_TYPE, run.error_type)
        return self._line(lead, run, run.ended or 0, event, more)

    def _line(self, lead: str, run: Run, at: int, event: str, more: str) -> bytes:
        if not run.owned:
            more = f',{{"key":"{names.RUN_JOINED}","value":{{"boolValue":true}}}}{more}'
        context = run.span.get_span_context()
        ids = context.trace_flags, context.trace_id, context.span_id
        end = (_TRACE + _SPAN) % ids if context.is_valid else b""
        return f"{lead}{at}{event}{self._base}{more}]".encode() + end + _TAIL

    def texts_of(self, visit: Visit, context: trace.SpanContext, lead: str, process: str) -> StageTexts:
        """The texts of a visit's stage; kept, unless it is one of those that share a record."""
        base = f"{self._base}{text_of(names.STAGE_NAME, visit.stage)}"
        texts = StageTexts(lead, base, process, visit.code, context)
        if not visit.record.of_others:
            self.stages[visit.record] = texts
        return texts


class StageTexts:
    """What the lines of a stage's visits are made of: `%` puts in what is a visit's."""

    __slots__ = (
        "_base",
        "_lead",
        "_state",
        "code",
        "ended",
        "flags",
        "followed",
        "own",
        "own_elsewhere",
        "own_spanless",
        "started",
        "trace_id",
    )

    def __init__(self, lead: str, base: str, process: str, code: Code, context: trace.SpanContext) -> None:
        self._lead, self._base, self.code = lead, base, code
        known = "" if code.function is None else text_of(names.CODE_FUNCTION_NAME, code.function)
        if code.budget is not None:
            known += _number(names.STAGE_BUDGET, code.budget)
        event = _event(names.EVENT_STAGE_STARTED)
        self.started = self._line(event, known)
        """Of a start: time, and what is the visit's own with what else there is to say."""
        self.followed = self._line(event, f"{known}{_FOLLOWS}{process}.", b"%d" + _FOLLOWED.encode())
        """Of the start of one that follows one other: time, serial number of that, and as above."""
        self.ended = self.ended_by("success", 1)
        """Of an end: time, nanoseconds, and as above."""
        visit = _template(f"{_VISIT_ID}{process}.") + b"%d" + _template(_VISIT) + b'%d"}}]'
        self.trace_id, self.flags = context.trace_id, context.trace_flags
        self.own = visit + _TRACE % (self.flags, self.trace_id) + _SPAN + _TAIL
        """What is a visit's own, in all its lines, where its trace and flags are these: serial number, number, span."""
        self.own_elsewhere = visit + _TRACE + _SPAN + _TAIL
        """The same of one that has others: serial number, number, flags, trace, span."""
        self.own_spanless = visit + _TAIL
        """The same of one that has no span: serial number, number."""
        self._state: tuple[Platforms, int | None, bytes] = NO_PLATFORMS, None, b""
        """The last platforms and revision that were told, and how: mostly the next are the same."""

    def are_of(self, code: Code) -> bool:
        """Whether they say what is to be said of `code` too: each `with stage(...)` has one of its own."""
        own = self.code
        return code.name == own.name and code.function == own.function and code.budget == own.budget

    @property
    def progress(self) -> bytes:
        """Of progress: as of a start."""
        return self._line(_event(names.EVENT_STAGE_PROGRESS))

    def ended_by(self, result: str | None, attempts: int) -> bytes:
        """Of an end that is not the usual one."""
        event = _event(names.EVENT_STAGE_ENDED, 9 if result in _FINE else 13)
        return self._line(event, f"{_RESULT}{result}{_ATTEMPTS}{attempts}{_DURATION}", b"%de-9}}")

    def plain_state_of(self, visit: Visit) -> bytes:
        """The platforms and revision of one to which nothing else has happened."""
        platforms, revision, state = self._state
        if visit.platforms is not platforms or visit.revision != revision:
            state = state_of(visit).encode()
            self._state = visit.platforms, visit.revision, state
        return state

    def _line(self, event: str, known: str = "", value: bytes = b"") -> bytes:
        return _template(self._lead) + b"%d" + _template(f"{event}{self._base}{known}") + value + b"%b"


Told = tuple[StageTexts, bytes]
"""What is the same in all lines of a visit: the texts of its stage, and what is its own."""


def _template(text: str) -> bytes:
    """What `%` leaves as it is."""
    return text.encode().replace(b"%", b"%%")


def head_of(resource: dict[str, str]) -> str:
    """What every line of a process begins with, up to its one log record: what describes the process, and the scope."""
    described = "".join(text_of(name, value) for name, value in resource.items())[1:]
    return (
        f'{{"resourceLogs":[{{"resource":{{"attributes":[{described}]}},'
        f'"scopeLogs":[{{"scope":{{"name":"{names.SCOPE}"}},"logRecords":['
    )


def lead_of(head: str) -> str:
    """The same, up to its time."""
    return f'{head}{{"timeUnixNano":"'


def _event(name: str, severity: int = 9) -> str:
    return f'","severityNumber":{severity},"eventName":"{name}","attributes":['


@functools.lru_cache(2048)
def _string(value: str) -> str:
    return json.dumps(printable(value))


def text_of(name: str, value: str) -> str:
    """One more attribute: a text."""
    return f',{{"key":"{name}","value":{{"stringValue":{_string(value)}}}}}'


def _whole(name: str, value: int) -> str:
    return f',{{"key":"{name}","value":{{"intValue":"{value}"}}}}'


def _number(name: str, value: float) -> str:
    return f',{{"key":"{name}","value":{{"doubleValue":{float(value)!r}}}}}'


@functools.lru_cache(256)
def _texts(name: str, values: tuple[str, ...]) -> str:
    inside = ",".join(f'{{"stringValue":{_string(value)}}}' for value in values)
    return f',{{"key":"{name}","value":{{"arrayValue":{{"values":[{inside}]}}}}}}'


def parent_span_of(span_id: int) -> str:
    """One more attribute: the span around it."""
    return text_of(names.PARENT_SPAN_ID, f"{span_id:016x}")


def state_of(visit: Visit) -> str:
    """What of a visit may be known at its start and change until its end."""
    if visit.revision is None and not visit.platforms.count and not visit.eventful:
        return ""  # Mostly.
    text, own, platforms = "", visit.own_platforms, visit.platforms
    if own or platforms.count:
        if some := tuple(own)[:MOST_NAMES] or platforms.names:
            text = _texts(names.STAGE_PLATFORMS, tuple(some))
        text += _whole(names.STAGE_PLATFORM_COUNT, len(own) or platforms.count)
    if visit.item_platform is not None:
        text += text_of(names.ITEM_PLATFORM, visit.item_platform)
    if visit.revision is not None:
        text += _whole(names.STAGE_REVISION, visit.revision)
    return text


def follows_of(follows: tuple[Followed, ...], process: str) -> bytes:
    """One more attribute: the visits that one follows, if any."""
    if not follows:
        return b""
    ids = [f"{process}.{serial}" for serial, _ in follows]
    return (_FOLLOWS + '"},{"stringValue":"'.join(ids) + _FOLLOWED).encode()


def _items(visit: Visit) -> str:
    total = visit.items_total
    if total is None and not visit.items_done and not visit.items_failed:
        return ""
    text = "" if total is None else _whole(names.STAGE_ITEMS_TOTAL, total)
    text += _whole(names.STAGE_ITEMS_DONE, visit.items_done)
    return text + _whole(names.STAGE_ITEMS_FAILED, visit.items_failed)


def progress_of(visit: Visit) -> str:
    """What of a visit changes while it goes on."""
    text = state_of(visit) + _whole(names.STAGE_ATTEMPTS, visit.attempts) + _items(visit)
    if visit.waits and (reason := visit.waiting_for) is not None:
        text += text_of(names.WAIT_REASON, reason)
    return text


def outcome_of(visit: Visit) -> str:
    """What of an end is rare, and its state."""
    text = "" if visit.error_type is None else text_of(names.ERROR_TYPE, visit.error_type)
    if visit.eventful:
        if visit.action is not None:
            text += text_of(names.STAGE_ACTION, visit.action)
        if visit.retries or visit.wait:
            text += _whole(names.STAGE_RETRY_COUNT, visit.retries)
        if visit.wait:
            text += _number(names.STAGE_WAIT, visit.wait)
        text += _items(visit)
    return text + state_of(visit)

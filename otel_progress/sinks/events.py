"""The events: what starts, goes on and ends, each as one line of OTLP JSON that is written in the very moment.

So a process that is killed, by whatever it may be, has told what it was doing. The lines are built by hand, from texts
that the visits of a stage share: that takes a tenth of what the SDK's logs do. The tests hold them against the official
parser. The order of what is in a line is such that what changes stands together.
"""

from __future__ import annotations

import _thread
import functools
import json
from collections import deque
from time import sleep  # The program's tests may put another one into `time`.
from typing import Protocol

from opentelemetry import trace

from .. import names
from ..recording.call import Code
from ..recording.faults import report
from ..recording.live import Recorded, Run
from ..recording.order import Followed
from ..recording.recorder import Recorder
from ..recording.sink import Sink
from ..recording.stages import StageRecord
from ..recording.store import MOST_NAMES, printable
from ..recording.times import NANO
from ..recording.visits import Visit
from ..recording.waiting import Waiting
from .keeper import GATHER
from .spans import SpanSink

_LONGEST_BEGINNING = 1000  # Milliseconds.
_GATHER = int(GATHER * NANO)
_FINE = ("success", "fallback")
_TAIL = "}]}]}]}\n"
_TIME = '{"timeUnixNano":"'
# What stands before the values of a visit.
_VISIT_ID = f',{{"key":"{names.STAGE_VISIT_ID}","value":{{"stringValue":"'
_VISIT = f'"}}}},{{"key":"{names.STAGE_VISIT}","value":{{"intValue":"'
_RESULT = f',{{"key":"{names.STAGE_RESULT}","value":{{"stringValue":"'
_ATTEMPTS = f'"}}}},{{"key":"{names.STAGE_ATTEMPTS}","value":{{"intValue":"'
_DURATION = f'"}}}},{{"key":"{names.DURATION}","value":{{"doubleValue":'
_FOLLOWS = f',{{"key":"{names.STAGE_FOLLOWS}","value":{{"arrayValue":{{"values":[{{"stringValue":"'


class Out(Protocol):
    """Where the lines go."""

    process: str
    """What names this process; known from `begin` on."""
    head: str
    """What every line of this process begins with, up to its one log record."""

    def begin(self) -> bool:
        """The process is about to write its first line. False where it cannot."""
        ...

    def write(self, line: bytes, /) -> None:
        """Write a line, at once."""
        ...

    def soon(self) -> None:
        """Have `flush` of the sink called in `GATHER` seconds, by another thread."""
        ...


class EventSink(Sink):
    """Writes a line for every start and end, and for progress at most one in `GATHER` seconds and visit."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self.forget()

    def attach(self, recorder: Recorder) -> None:
        """Have the recorder tell it, right after the spans are made."""
        recorder.change(self._behind_spans)

    def _behind_spans(self, sinks: list[Sink]) -> list[Sink]:
        place = next((index + 1 for index, sink in enumerate(sinks) if isinstance(sink, SpanSink)), len(sinks))
        return [*sinks[:place], self, *sinks[place:]]

    def forget(self) -> None:
        """Begin anew: at first, and in a forked child, where what was open is the parent's."""
        self._may_write: bool | None = None
        self._beginner: dict[int, object] = {}
        """The threads that came before that was known: the first finds it out."""
        self._lead, self._follows = "", b""
        self._runs: dict[Run, _RunTexts] = {}
        self._open: dict[Visit, _Told] = {}
        self._progress: dict[Visit, _Progress] = {}
        """Of the open visits that have made some."""
        self._waiting: deque[_Progress] = deque()
        """Progress that has not been told."""

    # --- runs ---------------------------------------------------------------------------------------------------------

    def run_started(self, run: Run) -> None:
        """Tell it."""
        if self._may_write or self._begins():
            around = trace.get_current_span(run.parent_context).get_span_context() if run.owned else None
            more = _parent_span(around.span_id) if around is not None and around.is_valid else ""
            self._tell_run(run, run.started, _event(names.EVENT_RUN_STARTED), more)

    def run_ended(self, run: Run) -> None:
        """Tell it."""
        if self._may_write or self._begins():
            event = _event(names.EVENT_RUN_ENDED, 9 if run.result in _FINE else 13)
            more = _text(names.RESULT, run.result or "success") + _number(names.DURATION, run.seconds)
            if run.error_type is not None:
                more += _text(names.ERROR_TYPE, run.error_type)
            self._tell_run(run, run.ended or 0, event, more)
            self._runs.pop(run, None)

    def _tell_run(self, run: Run, at: int, event: str, more: str) -> None:
        base = self._of_run(run).base
        if not run.owned:
            more = f',{{"key":"{names.RUN_JOINED}","value":{{"boolValue":true}}}}{more}'
        self._out.write(f"{self._lead}{at}{event}{base}{more}]{_ids(run)}{_TAIL}".encode())

    # --- visits -------------------------------------------------------------------------------------------------------

    def visit_started(self, visit: Visit) -> None:
        """Tell it."""
        if not self._may_write and not self._begins():
            return
        texts, own = self._open[visit] = self._begin(visit)
        parent, more = visit.parent, b""
        if visit.eventful or visit.revision is not None or visit.platforms.count:
            more = _state(visit).encode()
        if parent is not visit.run and isinstance(parent, Visit) and parent in self._open:
            more += _text(names.PARENT_VISIT_ID, f"{self._out.process}.{parent.serial}").encode()
        if parent is not None and parent.context is not visit.parent_context:  # Then there may be a span between them.
            above = trace.get_current_span(visit.parent_context).get_span_context()
            if above != parent.span.get_span_context():
                more += _parent_span(above.span_id).encode()
        if follows := visit.follows:
            more += self._follows % (follows[0][0], self._follow(follows) if len(follows) > 1 else b"")
        self._out.write(texts.started % (visit.started, more, own))

    def visit_ended(self, visit: Visit) -> None:
        """Tell it."""
        if not self._may_write and not self._begins():
            return
        texts, own = self._open.get(visit) or self._begin(visit)
        ended, more = visit.ended or visit.started, b""
        if visit.eventful or visit.revision is not None or visit.platforms.count or visit.error_type is not None:
            more = _outcome(visit).encode()
        if self._progress and (progress := self._progress.get(visit)) is not None:
            progress.waits = False
        template = texts.ended if visit.result == "success" else texts.ended_by(visit.result)
        nanos = ended - visit.started
        self._out.write(template % (ended, visit.attempts, nanos // NANO, nanos % NANO, more, own))
        self._open.pop(visit, None)  # Not before it is told: the call is made again where a handler interrupts it.
        if self._progress:
            self._progress.pop(visit, None)

    def _begin(self, visit: Visit) -> _Told:
        of_run = self._runs.get(visit.run) or self._of_run(visit.run)
        texts = of_run.stages.get(visit.record)
        if texts is None or texts.code is not visit.code:
            texts = of_run.texts_of(visit, self._lead, self._out.process)
        context = visit.span_context
        if context is trace.INVALID_SPAN_CONTEXT:  # There is no SDK, or its span was made and not yet noted.
            context = visit.span.get_span_context()
        if context.trace_id != texts.trace_id:
            texts.be_in(context)
        return texts, texts.own % (visit.serial, visit.number, context.span_id)

    def _follow(self, follows: tuple[Followed, ...]) -> bytes:
        """All but the first of the visits that one follows."""
        return "".join(f',{{"stringValue":"{self._out.process}.{serial}"}}' for serial, _ in follows[1:]).encode()

    # --- progress -----------------------------------------------------------------------------------------------------

    def stage_changed(self, visit: Visit) -> None:
        """Tell it soon, or now where nothing was told for a while."""
        if visit not in self._open:
            return
        progress = self._progress_of(visit)
        if progress.waits:
            return
        now = visit.recorder.now(visit)
        if now - (progress.at or visit.started) >= _GATHER:
            self._tell_progress(progress, now)
        else:
            progress.waits = True
            self._waiting.append(progress)
            self._out.soon()

    def retried(self, visit: Visit, error_type: str, wait: float) -> None:  # noqa: ARG002 - as a sink is called
        """Note why. That something changed is told next."""
        if visit in self._open:
            self._progress_of(visit).error_type = error_type

    def wait_started(self, visit: Visit, waiting: Waiting) -> None:  # noqa: ARG002 - the visit says what for
        """Tell it now: it may wait for long."""
        if visit in self._open:
            progress = self._progress_of(visit)
            progress.waits = False
            self._tell_progress(progress, visit.recorder.now(visit))

    wait_ended = wait_started

    def flush(self) -> None:
        """Tell the progress that waits; called by another thread."""
        waiting = self._waiting
        while waiting:
            progress = waiting.popleft()
            if progress.waits:
                progress.waits = False
                try:
                    self._tell_progress(progress, progress.visit.recorder.now(progress.visit))
                except Exception as error:
                    report("progress could not be told", error)

    def _progress_of(self, visit: Visit) -> _Progress:
        progress = self._progress.get(visit) or self._progress.setdefault(visit, _Progress(visit))
        if visit not in self._open:  # It has ended meanwhile, in another thread.
            self._progress.pop(visit, None)
        return progress

    def _tell_progress(self, progress: _Progress, now: int) -> None:
        visit, progress.at = progress.visit, now
        texts, own = self._open.get(visit) or self._begin(visit)
        more = _state(visit) + _whole(names.STAGE_ATTEMPTS, visit.attempts)
        if visit.items_total is not None or visit.items_done or visit.items_failed:
            more += _items(visit)
        if visit.waits and (reason := visit.waiting_for) is not None:
            more += _text(names.WAIT_REASON, reason)
        if progress.error_type is not None:
            more += _text(names.ERROR_TYPE, progress.error_type)
            progress.error_type = None
        self._out.write(texts.progress % (now, more.encode(), own))

    # --- texts --------------------------------------------------------------------------------------------------------

    def _begins(self) -> bool:
        """Whether lines can be written; found out with the first."""
        if self._may_write is None:
            me, mine = _thread.get_ident(), object()
            if self._beginner.setdefault(me, mine) is not mine:
                return False  # The handler of a signal came while this thread finds it out.
            try:
                self._find_out(mine)
            finally:
                self._beginner.pop(me, None)
        return self._may_write is True

    def _find_out(self, mine: object) -> None:
        first, *_ = list(self._beginner.values())  # A list: others come and go meanwhile.
        if first is mine and self._may_write is None:
            may = self._out.begin()
            self._lead = f"{self._out.head}{_TIME}"
            self._follows = _template(f"{_FOLLOWS}{self._out.process}.") + b'%d"}%b]}}}'
            self._may_write = may
        for _ in range(_LONGEST_BEGINNING):
            if self._may_write is not None:
                return
            sleep(0.001)  # Another thread does.

    def _of_run(self, run: Run) -> _RunTexts:
        texts = self._runs.get(run)
        if texts is None:
            texts = _RunTexts(run)
            self._runs[run] = texts
            if run.ended is not None:  # By now: another thread may end it, and let go of them.
                self._runs.pop(run, None)
        return texts


class _RunTexts:
    """What stands in the lines of a run."""

    __slots__ = ("base", "stages")

    def __init__(self, run: Run) -> None:
        self.base = f"{_text(names.RUN_ID, run.id)[1:]}{_text(names.WORKFLOW_NAME, run.workflow)}"
        self.stages: dict[StageRecord, _StageTexts] = {}

    def texts_of(self, visit: Visit, lead: str, process: str) -> _StageTexts:
        """The texts of a visit's stage; kept, unless it is one of those that share a record."""
        texts = _StageTexts(lead, f"{self.base}{_text(names.STAGE_NAME, visit.stage)}", process, visit.code)
        if not visit.record.of_others:
            self.stages[visit.record] = texts
        return texts


class _StageTexts:
    """What the lines of a stage's visits are made of: `%` puts in what is a visit's."""

    __slots__ = ("_base", "_lead", "_process", "code", "ended", "own", "started", "trace_id")

    def __init__(self, lead: str, base: str, process: str, code: Code) -> None:
        self._lead, self._base, self._process, self.code = lead, base, process, code
        known = "" if code.function is None else _text(names.CODE_FUNCTION_NAME, code.function)
        if code.budget is not None:
            known += _number(names.STAGE_BUDGET, code.budget)
        self.started = self._line(_event(names.EVENT_STAGE_STARTED), known)
        """Of a start: time, what else there is to say, what is the visit's own."""
        self.ended = self.ended_by("success")
        """Of an end: time, attempts, seconds, and as above."""
        self.trace_id = -1
        self.own = b""
        """What is a visit's own, in all its lines: serial number, number, span."""

    @property
    def progress(self) -> bytes:
        """Of progress: as of a start."""
        return self._line(_event(names.EVENT_STAGE_PROGRESS))

    def ended_by(self, result: str | None) -> bytes:
        """Of an end that is not the usual one."""
        event = _event(names.EVENT_STAGE_ENDED, 9 if result in _FINE else 13)
        values = f"{_RESULT}{result}{_ATTEMPTS}".encode() + b"%d" + _DURATION.encode() + b"%d.%09d}}"
        return self._line(event, "", values)

    def _line(self, event: str, known: str = "", values: bytes = b"") -> bytes:
        return _template(self._lead) + b"%d" + _template(f"{event}{self._base}{known}") + values + b"%b%b"

    def be_in(self, context: trace.SpanContext) -> None:
        """The visits are in this trace; mostly all those of a run are in one."""
        ids = _template(f"]{_trace(context)}") + b'%016x"' if context.trace_id else b"]%.0a"
        visit_id = _template(f"{_VISIT_ID}{self._process}.") + b"%d" + _template(_VISIT) + b'%d"}}'
        self.own, self.trace_id = visit_id + ids + _TAIL.encode(), context.trace_id


_Told = tuple[_StageTexts, bytes]
"""What is the same in all lines of a visit: the texts of its stage, and what is its own."""


class _Progress:
    """What has been told of the progress of an open visit."""

    at = 0
    """When, if anything."""
    waits = False
    """Whether there is some that has not been told."""
    error_type: str | None = None
    """Why it was tried again, until that is told."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit


def _template(text: str) -> bytes:
    """What `%` leaves as it is."""
    return text.encode().replace(b"%", b"%%")


def _event(name: str, severity: int = 9) -> str:
    return f'","severityNumber":{severity},"eventName":"{name}","attributes":['


@functools.lru_cache(2048)
def _string(value: str) -> str:
    return json.dumps(printable(value))


def _text(name: str, value: str) -> str:
    return f',{{"key":"{name}","value":{{"stringValue":{_string(value)}}}}}'


def _whole(name: str, value: int) -> str:
    return f',{{"key":"{name}","value":{{"intValue":"{value}"}}}}'


def _number(name: str, value: float) -> str:
    return f',{{"key":"{name}","value":{{"doubleValue":{float(value)!r}}}}}'


@functools.lru_cache(256)
def _texts(name: str, values: tuple[str, ...]) -> str:
    inside = ",".join(f'{{"stringValue":{_string(value)}}}' for value in values)
    return f',{{"key":"{name}","value":{{"arrayValue":{{"values":[{inside}]}}}}}}'


def _parent_span(span_id: int) -> str:
    return _text(names.PARENT_SPAN_ID, f"{span_id:016x}")


def _ids(recorded: Recorded) -> str:
    """The ids of its span, where it has one."""
    context = recorded.span.get_span_context()
    if not context.is_valid:
        return ""
    return f'{_trace(context)}{context.span_id:016x}"'


def _trace(context: trace.SpanContext) -> str:
    return f',"flags":{int(context.trace_flags)},"traceId":"{context.trace_id:032x}","spanId":"'


def _state(visit: Visit) -> str:
    """What of a visit may be known at its start and change until its end."""
    if visit.revision is None and not visit.platforms.count and not visit.eventful:
        return ""  # Mostly.
    text, own, platforms = "", visit.own_platforms, visit.platforms
    if own or platforms.count:
        if some := tuple(own)[:MOST_NAMES] or platforms.names:
            text = _texts(names.STAGE_PLATFORMS, tuple(some))
        text += _whole(names.STAGE_PLATFORM_COUNT, len(own) or platforms.count)
    if visit.item_platform is not None:
        text += _text(names.ITEM_PLATFORM, visit.item_platform)
    if visit.revision is not None:
        text += _whole(names.STAGE_REVISION, visit.revision)
    return text


def _items(visit: Visit) -> str:
    total = visit.items_total
    text = "" if total is None else _whole(names.STAGE_ITEMS_TOTAL, total)
    text += _whole(names.STAGE_ITEMS_DONE, visit.items_done)
    return text + _whole(names.STAGE_ITEMS_FAILED, visit.items_failed)


def _outcome(visit: Visit) -> str:
    """What of an end is rare, and its state."""
    text = "" if visit.error_type is None else _text(names.ERROR_TYPE, visit.error_type)
    if visit.eventful:
        if visit.action is not None:
            text += _text(names.STAGE_ACTION, visit.action)
        if visit.retries or visit.wait:
            text += _whole(names.STAGE_RETRY_COUNT, visit.retries)
        if visit.wait:
            text += _number(names.STAGE_WAIT, visit.wait)
        if visit.items_total is not None or visit.items_done or visit.items_failed:
            text += _items(visit)
    return text + _state(visit)

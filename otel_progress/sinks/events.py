"""The events: what starts, goes on and ends, each as one line of OTLP JSON that is written in the very moment.

So a process that is killed, by whatever it may be, has told what it was doing. The lines are built by hand, from texts
that the visits of a stage share: that takes a tenth of what the SDK's logs do. The tests hold them against the official
parser. The order of what is in a line is such that what changes stands together.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections import deque
from typing import Protocol

from opentelemetry import trace

from .. import names
from ..recording.faults import report
from ..recording.live import Recorded, Run
from ..recording.recorder import Recorder
from ..recording.sink import Sink
from ..recording.store import MOST_NAMES, printable
from ..recording.times import NANO
from ..recording.visits import Visit
from .keeper import GATHER
from .spans import SpanSink

_MOST_TEXTS = 1000  # For each run.
_GATHER = int(GATHER * NANO)
_FINE = ("success", "fallback")
_TAIL = "}]}]}]}\n"


class Out(Protocol):
    """Where the lines go."""

    process: str
    """What names this process; known from `begin` on."""
    head: str
    """What every line of this process begins with, up to its one log record."""

    def begin(self) -> bool:
        """The process is about to write its first line. False where it cannot."""
        ...

    def write(self, line: bytes) -> None:
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
        sinks = recorder.sinks
        place = next((index + 1 for index, sink in enumerate(sinks) if isinstance(sink, SpanSink)), len(sinks))
        recorder.sinks = [*sinks[:place], self, *sinks[place:]]

    def forget(self) -> None:
        """Begin anew: at first, and in a forked child, where what was open is the parent's."""
        self._may_write: bool | None = None
        self._lead = ""
        self._numbers = itertools.count(1)
        self._runs: dict[Run, _RunTexts] = {}
        self._open: dict[Visit, _Told] = {}
        self._waiting: deque[_Told] = deque()
        """Visits whose last progress has not been told."""

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
        told = self._open[visit] = self._begin(visit)
        more, parent = _state(visit), visit.parent
        if parent is not visit.run and isinstance(parent, Visit) and (around := self._open.get(parent)) is not None:
            more += _text(names.PARENT_VISIT_ID, f"{self._out.process}.{around.number}")
        above = getattr(visit.span, "parent", None)  # Mostly the span of what it is in.
        if above is not None and parent is not None and above is not parent.span.get_span_context():
            more += _parent_span(above.span_id)
        self._out.write(f"{self._lead}{visit.started}{told.texts.started}{told.own}{more}]{told.ids}{_TAIL}".encode())

    def visit_ended(self, visit: Visit) -> None:
        """Tell it."""
        if not self._may_write and not self._begins():
            return
        told = self._open.get(visit) or self._begin(visit)
        if told.waits:
            told.waits = False
        self._end(visit, told)
        self._open.pop(visit, None)  # Not before it is told: the call is made again where a handler interrupts it.

    def _begin(self, visit: Visit) -> _Told:
        code, of_run = visit.code, self._of_run(visit.run)
        key = (visit.stage, code.function, code.budget)
        texts = of_run.stages.get(key) or of_run.add(key, self._out.process)
        context = visit.span.get_span_context()
        if context.trace_id != of_run.trace_id:
            of_run.trace_id, of_run.trace = context.trace_id, _trace(context)
        number = next(self._numbers)
        return _Told(
            visit,
            number,
            texts,
            f'{number}"}}}},{{"key":"{names.STAGE_VISIT}","value":{{"intValue":"{visit.number}"}}}}',
            f'{of_run.trace}{context.span_id:016x}"' if context.trace_id else "",
        )

    def _end(self, visit: Visit, told: _Told) -> None:
        ended, texts, result = visit.ended or 0, told.texts, visit.result
        self._out.write(
            f"{self._lead}{ended}{texts.ended if result in _FINE else texts.failed}{told.own},"
            f'{{"key":"{names.STAGE_RESULT}","value":{{"stringValue":"{result}"}}}},'
            f'{{"key":"{names.STAGE_ATTEMPTS}","value":{{"intValue":"{visit.attempts}"}}}},'
            f'{{"key":"{names.DURATION}","value":{{"doubleValue":{(ended - visit.started) / NANO!r}}}}}'
            f"{_outcome(visit, told)}{_state(visit)}]{told.ids}{_TAIL}".encode()
        )

    # --- progress -----------------------------------------------------------------------------------------------------

    def stage_changed(self, visit: Visit) -> None:
        """Tell it soon, or now where nothing was told for a while."""
        told = self._open.get(visit)
        if told is None or told.waits:
            return
        now = visit.recorder.now(visit)
        if now - (told.at or visit.started) >= _GATHER:
            self._progress(told, now)
        else:
            told.waits = True
            self._waiting.append(told)
            self._out.soon()

    def retried(self, visit: Visit, error_type: str, wait: float) -> None:  # noqa: ARG002 - as a sink is called
        """Note why. That something changed is told next."""
        if (told := self._open.get(visit)) is not None:
            told.retries += 1
            told.error_type = error_type

    def flush(self) -> None:
        """Tell the progress that waits; called by another thread."""
        waiting = self._waiting
        while waiting:
            told = waiting.popleft()
            if told.waits:
                told.waits = False
                try:
                    self._progress(told, told.visit.recorder.now(told.visit))
                except Exception as error:
                    report("progress could not be told", error)

    def _progress(self, told: _Told, now: int) -> None:
        visit, told.at = told.visit, now
        more = _state(visit) + _items(visit) + _whole(names.STAGE_ATTEMPTS, visit.attempts)
        if told.error_type is not None:
            more += _text(names.ERROR_TYPE, told.error_type)
            told.error_type = None
        self._out.write(f"{self._lead}{now}{told.texts.progress}{told.own}{more}]{told.ids}{_TAIL}".encode())

    # --- texts --------------------------------------------------------------------------------------------------------

    def _begins(self) -> bool:
        """Whether lines can be written; found out with the first."""
        if self._may_write is None:
            self._may_write = False  # While it is found out, which the handler of a signal may interrupt.
            self._may_write = self._out.begin()
            self._lead = f'{self._out.head}{{"timeUnixNano":"'
        return self._may_write

    def _of_run(self, run: Run) -> _RunTexts:
        texts = self._runs.get(run)
        if texts is None:
            texts = _RunTexts(run)
            if run.ended is None:
                self._runs[run] = texts
        return texts


class _RunTexts:
    """What stands in the lines of a run."""

    __slots__ = ("base", "stages", "trace", "trace_id")

    def __init__(self, run: Run) -> None:
        self.base = f"{_text(names.RUN_ID, run.id)[1:]}{_text(names.WORKFLOW_NAME, run.workflow)}"
        self.stages: dict[tuple[str, str | None, float | None], _StageTexts] = {}
        self.trace_id = 0
        self.trace = ""

    def add(self, key: tuple[str, str | None, float | None], process: str) -> _StageTexts:
        """The texts of one more stage."""
        stage, function, budget = key
        texts = _StageTexts(self.base + _text(names.STAGE_NAME, stage), process, function, budget)
        if len(self.stages) < _MOST_TEXTS:
            self.stages[key] = texts
        return texts


class _StageTexts:
    """What stands in the lines of a stage, from behind the time to the process in the id of a visit."""

    __slots__ = ("ended", "failed", "progress", "started")

    def __init__(self, base: str, process: str, function: str | None, budget: float | None) -> None:
        known = "" if function is None else _text(names.CODE_FUNCTION_NAME, function)
        if budget is not None:
            known += _number(names.STAGE_BUDGET, budget)
        visit = f',{{"key":"{names.STAGE_VISIT_ID}","value":{{"stringValue":"{process}.'
        self.started = f"{_event(names.EVENT_STAGE_STARTED)}{base}{known}{visit}"
        self.progress = f"{_event(names.EVENT_STAGE_PROGRESS)}{base}{visit}"
        self.ended = f"{_event(names.EVENT_STAGE_ENDED)}{base}{visit}"
        self.failed = f"{_event(names.EVENT_STAGE_ENDED, 13)}{base}{visit}"


class _Told:
    """What has been told of an open visit."""

    at = 0
    """When something was told last, if not at its start."""
    waits = False
    """Whether there is progress that has not been told."""
    retries = 0
    error_type: str | None = None
    """Why it was tried again, until that is told."""

    def __init__(self, visit: Visit, number: int, texts: _StageTexts, own: str, ids: str) -> None:
        self.visit = visit
        self.number = number
        self.texts = texts
        self.own = own
        """From the number in its id on."""
        self.ids = ids
        """Those of its span."""


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
    total, done, failed = visit.items_total, visit.items_done, visit.items_failed
    if total is None and not done and not failed:
        return ""
    text = "" if total is None else _whole(names.STAGE_ITEMS_TOTAL, total)
    return text + _whole(names.STAGE_ITEMS_DONE, done) + _whole(names.STAGE_ITEMS_FAILED, failed)


def _outcome(visit: Visit, told: _Told) -> str:
    """What of an end is rare."""
    text = "" if visit.error_type is None else _text(names.ERROR_TYPE, visit.error_type)
    if visit.action is not None:
        text += _text(names.STAGE_ACTION, visit.action)
    if told.retries:
        text += _whole(names.STAGE_RETRY_COUNT, told.retries)
    if visit.wait:
        text += _number(names.STAGE_WAIT, visit.wait)
    return text + _items(visit)

"""The events: what starts, goes on and ends, each as one line of OTLP JSON that is written in the very moment.

So a process that is killed, by whatever it may be, has told what it was doing.
"""

from __future__ import annotations

import _thread
from collections import deque
from time import sleep  # The program's tests may put another one into `time`.
from typing import Protocol

from opentelemetry import trace

from .. import names
from ..recording.faults import report
from ..recording.live import Run
from ..recording.recorder import Recorder
from ..recording.seen import NO_PLATFORMS
from ..recording.sink import Sink
from ..recording.times import NANO
from ..recording.visits import Visit
from ..recording.waiting import Waiting
from .keeper import GATHER
from .spans import SpanSink
from .texts import (
    RunTexts,
    Told,
    follows_of,
    lead_of,
    outcome_of,
    parent_span_of,
    progress_of,
    state_of,
    text_of,
)

_LONGEST_BEGINNING = 1000  # Milliseconds.
_GATHER = int(GATHER * NANO)


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
        self._lead = ""
        """What every line of this process begins with."""
        self._runs: dict[Run, RunTexts] = {}
        self._open: dict[Visit, Told] = {}
        self._progress: dict[Visit, _Progress] = {}
        """Of the open visits that have made some."""
        self._waiting: deque[_Progress] = deque()
        """Progress that has not been told."""

    # --- runs ---------------------------------------------------------------------------------------------------------

    def run_started(self, run: Run) -> None:
        """Tell it."""
        if self._may_write or self._begins():
            self._out.write(self._of_run(run).start(self._lead, run))

    def run_ended(self, run: Run) -> None:
        """Tell it."""
        if self._may_write or self._begins():
            self._out.write(self._of_run(run).end(self._lead, run))
            self._runs.pop(run, None)

    # --- visits -------------------------------------------------------------------------------------------------------

    def visit_started(self, visit: Visit) -> None:
        """Tell it."""
        if not self._may_write and not self._begins():
            return
        texts, own = self._open[visit] = self._begin(visit)
        follows = visit.follows
        if visit.eventful:
            own = state_of(visit).encode() + own
        elif visit.revision is not None or visit.platforms is not NO_PLATFORMS:
            own = texts.plain_state_of(visit) + own
        if visit.run.context is not visit.parent_context:
            own = self._place_of(visit) + own
        if len(follows) == 1:  # Mostly.
            self._out.write(texts.followed % (visit.started, follows[0][0], own))
        else:
            self._out.write(texts.started % (visit.started, follows_of(follows, self._out.process) + own))

    def visit_ended(self, visit: Visit) -> None:
        """Tell it."""
        if not self._may_write and not self._begins():
            return
        texts, own = self._open.get(visit) or self._begin(visit)
        template, ended = texts.ended, visit.ended or visit.started
        if visit.eventful or visit.result != "success" or visit.attempts != 1:
            own = outcome_of(visit).encode() + own
            if visit.result != "success" or visit.attempts != 1:
                template = texts.ended_by(visit.result, visit.attempts)
        elif visit.revision is not None or visit.platforms is not NO_PLATFORMS:
            own = texts.plain_state_of(visit) + own
        if self._progress and (progress := self._progress.get(visit)) is not None:
            progress.waits = False
        self._out.write(template % (ended, ended - visit.started, own))
        self._open.pop(visit, None)  # Not before it is told: the call is made again where a handler interrupts it.
        if self._progress:
            self._progress.pop(visit, None)

    def _begin(self, visit: Visit) -> Told:
        context = visit.span_context
        if context is trace.INVALID_SPAN_CONTEXT:  # There is no SDK, or its span was made and not yet noted.
            context = visit.span.get_span_context()
        of_run = self._runs.get(visit.run) or self._of_run(visit.run)
        texts = of_run.stages.get(visit.record)
        if texts is None or (texts.code is not visit.code and not texts.are_of(visit.code)):
            texts = of_run.texts_of(visit, context, self._lead, self._out.process)
        trace_id, flags = context.trace_id, context.trace_flags
        if trace_id == texts.trace_id and flags == texts.flags and trace_id:
            own = texts.own % (visit.serial, visit.number, context.span_id)
        elif context.is_valid:
            own = texts.own_elsewhere % (visit.serial, visit.number, flags, trace_id, context.span_id)
        else:
            own = texts.own_spanless % (visit.serial, visit.number)
        return texts, own

    def _place_of(self, visit: Visit) -> bytes:
        """In which visit one lies, and in which span between them, if any."""
        text, parent = "", visit.parent
        if isinstance(parent, Visit) and parent in self._open:
            text = text_of(names.PARENT_VISIT_ID, f"{self._out.process}.{parent.serial}")
        if parent is not None and parent.context is not visit.parent_context:
            above = trace.get_current_span(visit.parent_context).get_span_context()
            if above != parent.span.get_span_context():
                text += parent_span_of(above.span_id)
        return text.encode()

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
        more = progress_of(visit)
        if progress.error_type is not None:
            more += text_of(names.ERROR_TYPE, progress.error_type)
            progress.error_type = None
        self._out.write(texts.progress % (now, more.encode() + own))

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
            self._lead = lead_of(self._out.head)
            self._may_write = may
        for _ in range(_LONGEST_BEGINNING):
            if self._may_write is not None:
                return
            sleep(0.001)  # Another thread does.

    def _of_run(self, run: Run) -> RunTexts:
        texts = self._runs.get(run)
        if texts is None:
            texts = self._runs.setdefault(run, RunTexts(run))
            if run.ended is not None:  # By now: another thread may end it, and let go of them.
                self._runs.pop(run, None)
        return texts


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

"""What a stage costs, and what is kept in memory, after much has been."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Generator
from contextlib import nullcontext
from contextvars import Context, copy_context
from typing import Any, Literal

from by_hand import WORKFLOW
from cases import draft, draft_awaiting
from timing import MIB, Line, Times, drain, set_up, timed

from otel_progress import stage, workflow

PROBES = 500  # Few: they are earlier visits themselves.

State = Literal["distinct stages", "open visits", "earlier visits", "earlier runs"]
STATES: tuple[State, ...] = ("distinct stages", "open visits", "earlier visits", "earlier runs")


class Pause:
    """Awaited once, it gives way for ever."""

    def __await__(self) -> Generator[None]:
        """Give way."""
        yield


class Probe:
    """A workflow in which much has been, or goes on, and what one more visit costs then."""

    def __init__(self, state: State, count: int) -> None:
        self._shared: dict[str, Any] = {}
        self._context = Context()
        self._open: list[object] = []
        self._runs = state == "earlier runs"
        if self._runs:
            self._in_runs(count)
            return
        # Only what is visited later brings the store for the many stages: each new one in it costs a copy of them all.
        scope = workflow(WORKFLOW) if state == "distinct stages" else workflow(WORKFLOW, shared=self._shared)
        self._open.append(scope)
        self._context.run(scope.__enter__)
        if state == "distinct stages":
            self._context.run(self._stages, count)
        elif state == "open visits":
            for _ in range(count):
                self._leave_open()
        else:
            self._context.run(self._in_one, count)

    def seconds(self) -> Times:
        """What one call costs now."""
        if self._runs:
            return timed(lambda: self._in_runs(PROBES), PROBES)
        return timed(lambda: self._context.run(self._in_one, PROBES), PROBES)

    def _in_one(self, calls: int) -> None:
        for _ in range(calls):
            draft(self._shared)

    @staticmethod
    def _in_runs(calls: int) -> None:
        for _ in range(calls):
            shared: dict[str, Any] = {}
            with workflow(WORKFLOW, shared=shared):
                draft(shared)

    @staticmethod
    def _stages(count: int) -> None:
        for number in range(count):
            with stage(f"stage {number}"):
                pass

    def _leave_open(self) -> None:
        # As a task does, each in a context of its own.
        context = self._context.run(copy_context)
        opened = draft_awaiting(self._shared, Pause())
        context.run(opened.send, None)
        self._open.append((context, opened))


_probes: list[Probe] = []


def prepare(state: State, count: int) -> None:
    """Bring this process into a state."""
    set_up()
    logging.getLogger("otel_progress").setLevel(logging.ERROR)  # So many names are meant.
    _probes.append(Probe(state, count))


def probe() -> Times:
    """What a call costs in that state."""
    return _probes[0].seconds()


def kept(what: Literal["visits", "runs"], count: int) -> Line:
    """Memory that is kept, beside what may be."""
    set_up()
    shared: dict[str, Any] = {}

    def visit(calls: int) -> None:
        for _ in range(calls):
            draft(shared)

    def run(calls: int) -> None:
        for _ in range(calls):
            with workflow(WORKFLOW, shared={}):
                pass

    call = visit if what == "visits" else run
    with workflow(WORKFLOW, shared=shared) if what == "visits" else nullcontext():
        call(10)
        drain()
        gc.collect()
        tracemalloc.start()
        call(count)
        drain()
        gc.collect()
        size = max(tracemalloc.get_traced_memory()[0], 0)
    return Line(f"MiB kept after {count:,} {what}", Times(MIB, MIB), Times(size, size), 1.0, None)

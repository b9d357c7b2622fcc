"""Where the time of a recorded stage goes, and what no other code could save: each part beside a stage by hand.

    python benchmarks/parts.py [--calls 250] [--rounds 160]

The floor is what the SDK's public calls cost that a stage needs: a span with its attributes and link, made current and
ended, and one record of the histogram with the span's context. That of events is what takes the place of their sink: it
knows the two lines of this very stage but for what is the visit's own, and appends them so that a kill tears none. It
looks for nothing, says nothing that is rare, and does not notice a slow disk. The other lines leave sinks out; the
difference between two lines is a part.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from time import perf_counter, time_ns
from typing import Any

from by_hand import STAGE_SPAN, ByHand
from cases import visits, visits_by_hand
from opentelemetry import context, metrics, trace
from opentelemetry.trace import Link, SpanContext, SpanKind
from timing import Case, Times, depths, set_up, timed

from otel_progress import names
from otel_progress.recording import default
from otel_progress.recording.sink import Sink
from otel_progress.recording.visits import Visit
from otel_progress.runs.writer import EVENTS, Writer
from otel_progress.sinks.events import EventSink

Attributes = dict[str, Any]
PAGE = 4096


def floor(hand: ByHand, calls: int) -> Case:
    """The SDK's calls and nothing else: attributes, labels and context are there already."""
    tracer, follows = trace.get_tracer("floor"), {names.LINK: names.LINK_FOLLOWS}
    record = (
        metrics.get_meter("floor")
        .create_histogram("floor.duration", "s", explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS)
        .record
    )
    known: Attributes = {
        names.WORKFLOW_NAME: "w",
        names.RUN_ID: "0" * 32,
        names.STAGE_NAME: "draft",
        names.STAGE_VISIT: 2,
        names.CODE_FUNCTION_NAME: "cases.draft",
    }
    outcome: Attributes = {names.STAGE_RESULT: "success", names.STAGE_ATTEMPTS: 1, names.STAGE_PLATFORM_COUNT: 0}
    labels = {
        names.WORKFLOW_NAME: "w",
        names.STAGE_NAME: "draft",
        names.RESULT: "success",
        names.VISIT: "repeat",
        names.REVISION: names.REVISION_UNKNOWN,
    }

    def case() -> None:
        before: SpanContext | None = None
        with hand.run_around():
            for _ in range(calls):
                started = perf_counter()
                links = None if before is None else [Link(before, follows)]
                span = tracer.start_span(STAGE_SPAN, None, SpanKind.INTERNAL, known, links, time_ns())
                around = trace.set_span_in_context(span)
                token = context.attach(around)
                context.detach(token)
                span.set_attributes(outcome)
                span.end(time_ns())
                record(perf_counter() - started, labels, around)
                before = span.get_span_context()

    return case


class Least(Sink):
    """The least that tells a start and an end as they happen, in the lines that a record has of this stage."""

    def __init__(self, record: Path) -> None:
        start, end = (record / EVENTS).read_bytes().splitlines(keepends=True)[3:5]  # Of one that follows another.
        self._start, self._end = made_of(start.lstrip()), made_of(end.lstrip())
        self._file = os.open(record / "least.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._lock, self._left = RLock(), 0

    def visit_started(self, visit: Visit) -> None:
        """Tell it."""
        own = visit.span_context
        self._append(self._start % (visit.started, visit.serial, visit.number, own.trace_id, own.span_id))

    def visit_ended(self, visit: Visit) -> None:
        """Tell it."""
        own = visit.span_context
        self._append(self._end % (visit.ended, visit.serial, visit.number, own.trace_id, own.span_id))

    def _append(self, line: bytes) -> None:
        with self._lock:
            left = self._left
            if left < len(line):  # It would go over the end of a page, where a kill tears it.
                line, left = b" " * left + line, left + PAGE
            os.write(self._file, line)
            self._left = left - len(line)


def made_of(line: bytes) -> bytes:
    """A line with `%` where something changes."""
    for before, value, put in (
        (rb'"timeUnixNano":"', rb"\d+", b"%d"),
        (rb'visit_id","value":{"stringValue":"[^.]+\.', rb"\d+", b"%d"),
        (rb'stage\.visit","value":{"intValue":"', rb"\d+", b"%d"),
        (rb'"traceId":"', rb"\w+", b"%032x"),
        (rb'"spanId":"', rb"\w+", b"%016x"),
    ):
        line, changed = re.subn(rb"(%b)%b" % (before, value), rb"\g<1>" + put, line)
        assert changed == 1, before
    return line


class Nowhere:
    """Where lines go that are built and not written."""

    process, head = "p", '{"resourceLogs":[{"scopeLogs":[{"logRecords":['

    def begin(self) -> bool:
        """It can always write."""
        return True

    def write(self, line: bytes) -> None:
        """Drop a line."""

    def soon(self) -> None:
        """Nothing waits."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=250, help="calls in a round (default: 250)")
    parser.add_argument("--rounds", type=int, default=160, help="rounds, of which the fastest counts (default: 160)")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        report(given.calls, given.rounds, Path(folder) / "record")


def report(calls: int, rounds: int, record: Path) -> None:
    """Measure each part, in rounds by turns, and print it."""
    set_up()
    hand, recorder, writer = ByHand(), default.recorder, Writer(record, lambda: "benchmark")
    spans, measured, mirror = recorder.sinks
    stage = visits(calls)
    recorder.sinks = [spans, writer.sink]
    visits(2)()
    recorder.sinks = [spans, measured, mirror]
    cases: dict[str, tuple[Case, list[Sink]]] = {
        "by hand": (visits_by_hand(hand, calls), []),
        "floor: the SDK's calls alone": (floor(hand, calls), []),
        "core, no sink": (stage, []),
        "core and mirror": (stage, [mirror]),
        "core and metrics": (stage, [measured]),
        "core and spans": (stage, [spans]),
        "core, spans, metrics": (stage, [spans, measured]),
        "all": (stage, [spans, measured, mirror]),
        "all, with lines not written": (stage, [spans, EventSink(Nowhere()), measured, mirror]),
        "all, with events": (stage, [spans, writer.sink, measured, mirror]),
        "floor: all, with the least of events": (stage, [spans, Least(record), measured, mirror]),
    }
    best = dict.fromkeys(cases, Times())
    for depth in depths(rounds):
        for name, (case, sinks) in cases.items():
            recorder.sinks = sinks
            best[name] = best[name].or_less(timed(case, calls, depth))
            recorder.sinks = [spans, measured, mirror]
    by_hand = best["by hand"]
    print(f"{'':36} {'us':>6} {'of by hand':>11} {'cpu':>6}")
    for name, each in best.items():
        print(f"{name:36} {each.wall * 1e6:6.1f} {each.wall / by_hand.wall:11.2f} {each.cpu / by_hand.cpu:6.2f}")


if __name__ == "__main__":
    main()

"""How the benchmark measures: a case beside the same by hand, in turn, in one process."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from otel_progress.recording import default
from otel_progress.sinks.metrics import MetricSink

Case = Callable[[], None]
MIB = 1024 * 1024
_DEEPER, _DEEPEST = 23, 100


class Times(NamedTuple):
    """Seconds by the clock and of processor time."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def or_less(self, other: Times) -> Times:
        """The lesser of both, each by itself."""
        return Times(min(self.wall, other.wall), min(self.cpu, other.cpu))

    def less(self, other: Times) -> Times:
        """What is more than `other`."""
        return Times(self.wall - other.wall, self.cpu - other.cpu)


@dataclass(frozen=True)
class Row:
    """A line of the table, to be measured."""

    name: str
    target: float
    before: float | None
    by_hand: Case
    ours: Case
    calls: int
    bare: Case | None = None
    """The same unrecorded, where what recording adds to it is compared."""
    around_ours: Callable[[], AbstractContextManager[object]] = nullcontext
    """What makes ours recorded; not measured."""


@dataclass(frozen=True)
class Line:
    """A line of the table: seconds for one call, or bytes."""

    name: str
    by_hand: Times
    ours: Times
    target: float
    before: float | None

    @property
    def ratios(self) -> tuple[float, float]:
        """Ours / by hand."""
        return self.ours.wall / self.by_hand.wall, self.ours.cpu / self.by_hand.cpu

    @property
    def missed(self) -> bool:
        """Whether it costs more than it may."""
        return max(self.ratios) > self.target


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    calls: int
    rounds: int
    state: int


def drain() -> None:
    """Wait for the measurements that another thread records."""
    for sink in default.recorder.sinks:
        wait = getattr(sink, "drain", None)
        if isinstance(sink, MetricSink) and callable(wait) and wait(10.0) is False:
            raise RuntimeError("measurements are still waiting after 10 seconds")


def timed(case: Case, calls: int, depth: int = 0) -> Times:
    """How long one call takes, `depth` calls deep."""
    if depth:
        return timed(case, calls, depth - 1)
    gc.collect()  # What the cases before have left is not this one's.
    cpu, wall = time.process_time(), time.perf_counter()
    case()
    drain()
    return Times((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)


def depths(rounds: int) -> Iterator[int]:
    """How deep each round is called.

    Python (since 3.11) keeps its frames in chunks of 16 KiB and gets one anew for every call across the end of a chunk.
    Where the code that is measured stands beside such an end it takes twice as long, by hand as ours, and that says
    nothing about it. So the rounds are called at different depths.
    """
    return (number * _DEEPER % _DEEPEST for number in range(rounds))


def measure(rows: list[Row], rounds: int) -> list[Line]:
    """Measure all cases in turn; the fastest round of each counts."""
    by_hand, ours, bare = ([Times()] * len(rows) for _ in range(3))
    for depth in depths(rounds):
        for index, row in enumerate(rows):
            by_hand[index] = by_hand[index].or_less(timed(row.by_hand, row.calls, depth))
            if row.bare is not None:
                bare[index] = bare[index].or_less(timed(row.bare, row.calls, depth))
            with row.around_ours():
                ours[index] = ours[index].or_less(timed(row.ours, row.calls, depth))
    lines: list[Line] = []
    for index, row in enumerate(rows):
        without = Times(0.0, 0.0) if row.bare is None else bare[index]
        lines.append(Line(row.name, by_hand[index].less(without), ours[index].less(without), row.target, row.before))
    return lines


def set_up(sampler: Sampler = ALWAYS_ON) -> None:
    """The SDK as a program has it, but for the exporters: they are not what is measured.

    Nor is what other programs have left to be written to the disk: with much of that, what events are written to gets
    each new page twice as slowly.
    """
    os.sync()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SpanProcessor())
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))

"""What the tests share: a recorder with a clock and ids of the test's own, and memory instead of exporters."""

from __future__ import annotations

import atexit
import gc
import itertools
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanContext

from otel_progress import PocketFlowInstrumentor
from otel_progress.recording import default
from otel_progress.recording.faults import forget
from otel_progress.recording.recorder import Clock, Recorder
from otel_progress.recording.settings import Settings
from otel_progress.sinks.usual import usual_sinks
from otel_progress.telemetry.membership import mark_spans_inside

from . import otlp
from .otlp import is_of_telemetry

# No test reaches a collector that happens to run on this machine. The default endpoint is `localhost`: for what a test
# or a child of it exports, over HTTP as over gRPC, that name leads to a proxy that refuses every connection. What a
# test itself listens on is `127.0.0.1`. And what the developer has exported is no setting of a test.
_refusing = socket.socket()
atexit.register(_refusing.close)
_refusing.bind(("127.0.0.1", 0))
for _name in filter(is_of_telemetry, [*os.environ]):
    del os.environ[_name]
for _name in ("http_proxy", "grpc_proxy"):
    os.environ[_name] = f"http://127.0.0.1:{_refusing.getsockname()[1]}"
for _name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
    os.environ[_name] = "127.0.0.1"

# Nor is what whoever started the tests ignores: a shell's `&` and `nohup` ignore signals, for all that they start.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)

START = 1_756_377_900_000_000_000  # 2025-08-28T10:45:00Z
SECOND = 1_000_000_000


class ManualTime:
    """A clock that a test moves by hand; wall and monotonic time can be moved apart."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 500 * SECOND

    def passes(self, seconds: float) -> None:
        """Let time go by."""
        self.wall += round(seconds * SECOND)
        self.monotonic += round(seconds * SECOND)


class CountingIds(IdGenerator):
    """Trace and span ids 1, 2, 3, ..."""

    def __init__(self) -> None:
        self._trace = itertools.count(1)
        self._span = itertools.count(1)

    def generate_trace_id(self) -> int:
        return next(self._trace)

    def generate_span_id(self) -> int:
        return next(self._span)

    def is_trace_id_random(self) -> bool:
        return False


def linked(span: ReadableSpan, kind: str) -> list[SpanContext]:
    """What a span links to as what it `repeats`, or `follows`."""
    return [link.context for link in span.links if (link.attributes or {})["otel_progress.link"] == kind]


def told(telemetry: Telemetry) -> list[tuple[str, list[str]]]:
    """The stages in the order in which they started, and what each is said to follow."""
    spans = {span.context.span_id: span for span in telemetry.spans("stage") if span.context}
    return [(named(span), [named(spans[each.span_id]) for each in linked(span, "follows")]) for span in spans.values()]


def named(span: ReadableSpan) -> str:
    """The stage of a span."""
    return span.name.removeprefix("stage ")


class OwnMapping(MutableMapping[str, Any]):
    """A store that is no dict: its methods are the workflow's."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


@dataclass
class Tree:
    """A span with its children, without ids and times: what a test compares."""

    name: str
    children: list[Tree] = field(default_factory=list["Tree"])

    def __repr__(self) -> str:
        return self.name if not self.children else f"{self.name}{self.children!r}"


@dataclass
class Telemetry:
    """Everything that was recorded."""

    recorder: Recorder
    time: ManualTime
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    tracer_provider: TracerProvider

    def spans(self, prefix: str = "") -> list[ReadableSpan]:
        """The spans that have ended, in the order in which they were made."""
        found = [span for span in self.exporter.get_finished_spans() if span.name.startswith(prefix)]
        return sorted(found, key=lambda span: span.context.span_id if span.context else 0)

    def span(self, name: str) -> ReadableSpan:
        """The one span with this name."""
        (span,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return span

    def trees(self) -> list[Tree]:
        """The spans as trees."""
        nodes = {span.context.span_id: Tree(span.name) for span in self.spans() if span.context}
        roots: list[Tree] = []
        for span in self.spans():
            assert span.context is not None
            node = nodes[span.context.span_id]
            parent = nodes.get(span.parent.span_id) if span.parent else None
            (parent.children if parent else roots).append(node)
        return roots

    def points(self, metric: str) -> list[tuple[dict[str, Any], Any]]:
        """The data points of a metric: attributes without their prefix, and the value (of a histogram: its sum and
        count)."""
        data = self.reader.get_metrics_data()
        found: list[tuple[dict[str, Any], Any]] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for each in scope.metrics:
                    if each.name != metric:
                        continue
                    for point in each.data.data_points:
                        attributes = {
                            key.removeprefix("otel_progress."): value for key, value in (point.attributes or {}).items()
                        }
                        if isinstance(point, HistogramDataPoint):
                            found.append((attributes, (point.sum, point.count)))
                        elif isinstance(point, NumberDataPoint):
                            found.append((attributes, point.value))
        return sorted(found, key=lambda each: sorted((key, str(value)) for key, value in each[0].items()))


def make_telemetry(settings: Settings | None = None, time: ManualTime | None = None, **real: Any) -> Telemetry:
    """A recorder with its sinks, all in memory."""
    time = time or ManualTime()
    exporter = InMemorySpanExporter()
    reader = InMemoryMetricReader()
    resource = Resource({"service.name": "tests"})
    tracer_provider = TracerProvider(resource=resource, id_generator=CountingIds(), shutdown_on_exit=False)
    mark_spans_inside(tracer_provider)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    meter_provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    numbers = itertools.count(1)  # No generator: several threads may ask at once.
    recorder = Recorder(
        settings=settings,
        clock=Clock(wall=lambda: time.wall, monotonic=lambda: time.monotonic),
        new_run_id=lambda: f"run-{next(numbers)}",
    )
    recorder.workflow = "tests"
    recorder.sinks = usual_sinks(recorder, tracer_provider, meter_provider)
    return Telemetry(recorder, time, exporter, reader, tracer_provider)


@pytest.fixture(autouse=True)
def _nothing_current() -> None:  # pyright: ignore[reportUnusedFunction]
    """What a test that fails leaves current is not around the next one."""
    context.attach(Context())


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    """A fresh recorder in the place of the process's own."""
    yield from using(make_telemetry())


@pytest.fixture
def telemetry_with() -> Generator[Callable[[Settings], Telemetry]]:
    """The same with settings of the test's own."""
    previous = default.recorder
    forget()

    def make(settings: Settings) -> Telemetry:
        made = make_telemetry(settings)
        default.use(made.recorder)
        return made

    yield make
    default.use(previous)


@pytest.fixture(scope="module")
def recorder() -> Generator[Recorder]:
    """A recorder without sinks, in the place of the process's own until the module that asks for it ends."""
    made = Recorder()
    previous = default.use(made)
    yield made
    default.use(previous)


@pytest.fixture
def instrumented(telemetry: Telemetry) -> Generator[Telemetry]:
    """The same, with PocketFlow recorded."""
    PocketFlowInstrumentor().instrument()
    yield telemetry
    PocketFlowInstrumentor().uninstrument()


@pytest.fixture
def receiver() -> Generator[otlp.Receiver]:
    """A collector that takes what programs export."""
    with otlp.receiver() as received:
        yield received


def using(telemetry: Telemetry) -> Iterator[Telemetry]:
    """Put a recorder in the place of the process's own for a while."""
    forget()
    previous = default.use(telemetry.recorder)
    try:
        yield telemetry
    finally:
        default.use(previous)


@pytest.fixture
def faults(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Gives what the package has reported so far."""
    gc.collect()  # Classes of earlier tests, which cannot be recorded either.
    forget()
    caplog.set_level("WARNING", logger="otel_progress")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "otel_progress"]

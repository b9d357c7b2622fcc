"""`configure`: the OpenTelemetry SDK for a program that has no providers of its own."""

from __future__ import annotations

import atexit
import functools
import multiprocessing.util
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from types import FrameType, TracebackType
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED,
    OTEL_SDK_DISABLED,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from ..recording import default
from ..recording.faults import logger, report
from ..recording.settings import DETAILS, Detail
from ..recording.sources import program_name
from .membership import MembershipProcessor

QUEUE_SIZE = 65_536
"""Spans that may wait for export, about 3 KB each. The SDK's own 2,048 lose spans in a burst of stages."""

_MOST_EXIT_TIMEOUTS = 10  # For a collector that takes batch after batch: so many times `exit_timeout`.
_FORK_TIMEOUT = 1.0

_Signal = Literal["traces", "metrics", "logs"]
_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_OTLP_DEFAULTS = {"otlp_proto_grpc": "http://localhost:4317", "otlp_proto_http": "http://localhost:4318"}


@dataclass
class _Process:
    """What has been set up in this process."""

    telemetry: Telemetry | None = None
    companions: list[Callable[[], SpanProcessor]] = field(default_factory=list[Callable[[], SpanProcessor]])
    """What makes the span processors that `otel-progress run` adds to whatever the program sets up."""
    terminated: bool = False
    """Whether SIGTERM has come and was turned into a SystemExit."""


process = _Process()


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    resource_attributes: Mapping[str, str | int | float | bool] | None = None,
    mirror: bool | None = None,
    detail: Detail | None = None,
    capture_messages: bool | None = None,
    exit_timeout: float = 2.0,
    flush_on_sigterm: bool = False,
) -> Telemetry:
    """Set up traces and metrics for this process, exported by OTLP, from arguments and the `OTEL_*` variables.

    An application that has providers of its own does not call it; otel_progress uses the global ones. A logger provider
    is set up where `OTEL_LOGS_EXPORTER` asks for one. Called a second time it warns and changes nothing.

    Args:
        service_name: `service.name`; if left out, what `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say, else the
            program's name.
        endpoint: where the collector is, for all signals; if left out, `OTEL_EXPORTER_OTLP_ENDPOINT`, else
            `http://localhost:4318` (`http/protobuf`, the default protocol) or `http://localhost:4317` (`grpc`).
        resource_attributes: further attributes of the resource.
        mirror: whether `progress_metrics` is written into the workflow's store; see `OTEL_PROGRESS_MIRROR`.
        detail: `"none"`, `"phases"`, `"items"` or `"all"`; see `OTEL_PROGRESS_DETAIL`.
        capture_messages: whether messages of exceptions are exported; see `OTEL_PROGRESS_CAPTURE_MESSAGES`.
        exit_timeout: seconds that the end of the process waits for a collector that takes nothing. One that goes on
            taking batch after batch is given up to ten times as long.
        flush_on_sigterm: turn SIGTERM into a SystemExit with code 143, so that open stages end and everything is
            exported. Only in the main thread and only where the program handles SIGTERM in no way of its own.

    Returns:
        A handle with `flush()` and `shutdown()`, also a context manager that shuts down at its end.

    Raises:
        ValueError: an argument or an `OTEL_*` variable names something unknown.
    """
    if detail is not None and detail not in DETAILS:
        raise ValueError(f"detail must be one of {', '.join(DETAILS)}, not {detail!r}")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ValueError(f"endpoint must begin with http:// or https://, as in http://localhost:4318; not {endpoint!r}")
    given = {"mirror": mirror, "detail": detail, "capture_messages": capture_messages}
    telemetry = start(
        service_name,
        endpoint=endpoint,
        resource_attributes=resource_attributes,
        changes={name: value for name, value in given.items() if value is not None},
        exit_timeout=exit_timeout,
    )
    if flush_on_sigterm and not exit_on_sigterm():
        logger.warning("SIGTERM is handled by the program, or this is not its main thread: flush_on_sigterm is ignored")
    return telemetry


def start(
    service_name: str | None,
    *,
    endpoint: str | None = None,
    resource_attributes: Mapping[str, str | int | float | bool] | None = None,
    changes: Mapping[str, Any] | None = None,
    exit_timeout: float = 2.0,
    default_exporter: str = "otlp",
    at_exit: bool = True,
) -> Telemetry:
    """`configure`, and what the command line needs beside it."""
    before = process.telemetry
    if before is not None:
        logger.warning("configure() was called before, for service %r: this call changes nothing", before.service_name)
        return before
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        logger.warning("the application has a tracer provider already: configure() leaves it alone and exports nothing")
        return Telemetry("", exit_timeout)
    # Exporters first: a wrong setting shall raise before anything is set up.
    disabled = os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"
    made = None if disabled else exporters(endpoint, default_exporter)
    attributes = {**(resource_attributes or {}), **({SERVICE_NAME: service_name} if service_name else {})}
    resource = Resource.create(attributes)
    service_name = str(resource.attributes[SERVICE_NAME])
    if service_name.startswith("unknown_service"):
        service_name = program_name()
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    telemetry = process.telemetry = Telemetry(service_name, exit_timeout)
    if made is not None:
        telemetry.set_up(resource, made, at_exit=at_exit)
    recorder = default.get()
    recorder.settings = replace(recorder.settings, **(changes or {}))
    recorder.workflow = recorder.workflow or service_name
    return telemetry


def exporters(endpoint: str | None, default: str) -> dict[_Signal, list[Callable[[], Any]]]:
    """What makes the exporters that the `OTEL_*_EXPORTER` variables name, for each signal.

    Raises:
        ValueError: a variable names an exporter or a protocol that there is not.
    """
    defaults: dict[_Signal, str] = {"traces": default, "metrics": default, "logs": "none"}
    return {kind: list(_named(kind, endpoint, names)) for kind, names in defaults.items()}


def _named(kind: _Signal, endpoint: str | None, default: str) -> Sequence[Callable[[], Any]]:
    variable = f"OTEL_{kind.upper()}_EXPORTER"
    found: list[Callable[[], Any]] = []
    for name in (part.strip() for part in (os.environ.get(variable) or default).split(",")):
        if name in ("", "none"):
            continue
        entry = _OTLP[_protocol(kind)] if name == "otlp" else name
        exporter = _exporter_class(kind, entry)
        if exporter is None:
            raise ValueError(f"{variable} names {name!r}, and no installed package has such an exporter")
        if endpoint is not None and entry in _OTLP_DEFAULTS:
            path = f"/v1/{kind}" if entry == _OTLP["http/protobuf"] else ""
            exporter = functools.partial(exporter, endpoint=endpoint.rstrip("/") + path)
        found.append(exporter)
    return found


def _protocol(kind: _Signal) -> str:
    for variable in (f"OTEL_EXPORTER_OTLP_{kind.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if value := os.environ.get(variable, "").strip():
            if value not in _OTLP:
                raise ValueError(f"{variable} is {value!r}; the protocols are {' and '.join(_OTLP)}")
            return value
    return "http/protobuf"


@functools.cache
def _exporter_class(kind: _Signal, entry: str) -> Callable[..., Any] | None:
    points = list(entry_points(group=f"opentelemetry_{kind}_exporter", name=entry))
    return points[0].load() if points else None


class Telemetry:
    """The telemetry of this process: what `configure` set up."""

    def __init__(self, service_name: str, exit_timeout: float) -> None:
        self.service_name = service_name
        self._exit_timeout = exit_timeout
        self.exporters: list[Exporter] = []
        """Those of the spans."""
        self._meter_provider: MeterProvider | None = None
        self._push: list[Callable[[], Any]] = []
        """What makes the exporters of the metrics."""
        self._parts: list[Any] = []
        """What is flushed and shut down. The metric readers come last."""
        self._workers: list[_Worker] = []
        self._done = False
        self.complete = True
        """Whether everything could be exported, as far as that is known after `shutdown`."""

    def set_up(self, resource: Resource, made: Mapping[_Signal, Sequence[Callable[[], Any]]], *, at_exit: bool) -> None:
        """Make the providers and set them as the global ones."""
        readers: list[MetricReader] = []
        for make in made["metrics"]:
            exporter = make()
            if isinstance(exporter, MetricReader):  # One that is asked, as Prometheus does.
                readers.insert(0, exporter)
            else:
                readers.append(_Reader(exporter))
                self._push.append(make)
        self._meter_provider = MeterProvider(readers, resource, shutdown_on_exit=False)
        tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False, meter_provider=self._meter_provider)
        queue_size = None if os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) else QUEUE_SIZE
        with _self_metrics():
            self.exporters = [Exporter(make) for make in made["traces"]]
            for processor in (
                MembershipProcessor(),
                *(make() for make in process.companions),
                *(BatchSpanProcessor(each, queue_size, meter_provider=self._meter_provider) for each in self.exporters),
            ):
                tracer_provider.add_span_processor(processor)
        self._parts = [tracer_provider]
        metrics.set_meter_provider(self._meter_provider)
        trace.set_tracer_provider(tracer_provider)
        if made["logs"]:
            logger_provider = LoggerProvider(resource, shutdown_on_exit=False)
            for make in made["logs"]:
                exporter = cast("LogRecordExporter", Exporter(make))
                logger_provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
            set_logger_provider(logger_provider)
            self._parts.append(logger_provider)
        self._parts += readers
        self._workers = [_Worker(type(part).__name__) for part in self._parts]
        if at_exit:
            atexit.register(self.shutdown)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
            # A child that multiprocessing has forked ends without exit handlers.
            multiprocessing.util.register_after_fork(self, Telemetry._shutdown_with_child)
            if multiprocessing.parent_process() is not None:
                self._shutdown_with_child()

    def flush(self, timeout: float = 10.0) -> bool:
        """Export what is waiting; stages that are open stay open. False where it took longer than `timeout` seconds."""
        return self._done or self._each("force_flush", timeout, timeout)

    def shutdown(self) -> None:
        """End what is open, export everything and stop, within `exit_timeout` seconds. Later calls do nothing."""
        if self._done or not self._parts:
            return
        default.get().close()
        self._done = True
        atexit.unregister(self.shutdown)
        self.complete = False  # Until it is known: the wait may be interrupted.
        self.complete = self._each("shutdown", self._exit_timeout, self._exit_timeout * _MOST_EXIT_TIMEOUTS)
        if not self.complete:
            logger.warning(
                "the collector did not take everything within %g s: the last telemetry is lost", self._exit_timeout
            )
        if lost := sum(exporter.failed for exporter in self.exporters):
            logger.warning("%d spans were lost: the collector did not take them", lost)

    def _each(self, method: str, timeout: float, longest: float) -> bool:
        """Call `method` of every part. False where nothing was exported for `timeout` seconds, or after `longest`."""
        begun = time.monotonic()
        calls = [(worker, getattr(part, method)) for part, worker in zip(self._parts, self._workers, strict=True)]
        readers = len(self._push)
        jobs = [worker.submit(call) for worker, call in calls[: len(calls) - readers]]
        # Then those that push metrics, so that these tell how the others fared; or soon, where the others take long.
        for job in jobs:
            job.wait(max(0.0, begun + timeout / 2 - time.monotonic()))
        jobs += [worker.submit(call) for worker, call in calls[len(calls) - readers :]]
        for job in jobs:
            while not job.is_set():
                last = max([begun, *(exporter.exported_at for exporter in self.exporters)])
                left = min(last + timeout, begun + longest) - time.monotonic()
                if left <= 0:
                    return False
                job.wait(left)
        return True

    def _forked(self) -> None:
        """Go on in a forked child: with threads of its own, and with metrics that start at zero.

        What the parent has counted is the parent's to export.
        """
        for worker in self._workers:
            worker.start()
        if self._push and not self._done:
            # Not in this thread: a lock of the SDK that another thread of the parent held would never be free.
            self._workers[0].submit(self._renew_readers).wait(_FORK_TIMEOUT)

    def _renew_readers(self) -> None:
        readers = [_Reader(make()) for make in self._push]
        for reader in readers:
            if self._meter_provider is not None:
                self._meter_provider.add_metric_reader(reader)
        self._parts[-len(readers) :] = readers

    def _shutdown_with_child(self) -> None:
        multiprocessing.util.Finalize(None, self.shutdown, exitpriority=-100)

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


@contextmanager
def _self_metrics() -> Generator[None]:
    """Let what is made here count what it exports and loses (`otel.sdk.*`), unless the user has decided.

    Not the tracer provider, which would count every span in the workflow's own time.
    """
    if OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED in os.environ:
        yield
        return
    os.environ[OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED] = "true"
    try:
        yield
    finally:
        os.environ.pop(OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED, None)  # The program may have been faster.


class Exporter(SpanExporter):
    """An exporter of any kind that a forked child makes anew, and that knows how it fares.

    Parent and child must neither write to one connection nor wait for a lock that was held at the fork.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made = {os.getpid(): make()}  # The parent's stays here, so that the child does not close it.
        self.exported = 0
        self.failed = 0
        self.exported_at = 0.0
        """When it last succeeded, on the monotonic clock."""

    def _own(self) -> Any:
        pid = os.getpid()
        if pid not in self._made:
            with _self_metrics():
                self._made[pid] = self._make()
            self.exported = self.failed = 0
        return self._made[pid]

    @property
    def endpoint(self) -> str | None:
        """Where it exports to, if that is a collector; without a password."""
        endpoint = getattr(self._own(), "_endpoint", None)
        return None if endpoint is None else re.sub("//[^/@]*@", "//", str(endpoint))

    def export(self, spans: Sequence[Any]) -> Any:
        """Export a batch."""
        result = self._own().export(spans)
        if result.name == "SUCCESS":
            self.exported += len(spans)
            self.exported_at = time.monotonic()
        else:
            self.failed += len(spans)
            where = self.endpoint or type(self._own()).__name__
            report(f"{where} does not take what is exported: it is lost; how much is said at the end")
        return result

    def shutdown(self) -> None:
        """Shut down."""
        self._own().shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what the exporter itself holds back."""
        return bool(self._own().force_flush(timeout_millis))


class _Reader(PeriodicExportingMetricReader):
    """Exports in the process that made it only; a forked child has one of its own."""

    def __init__(self, exporter: Any) -> None:
        self._process = os.getpid()
        super().__init__(exporter)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if os.getpid() == self._process:
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)  # pyright: ignore[reportUnknownMemberType] - its kwargs


class _Worker:
    """A thread that waits for jobs, so that one that never ends can be left behind.

    Started beforehand: since Python 3.12 no thread can be started when the interpreter is on its way out.
    """

    def __init__(self, name: str) -> None:
        self._name = f"otel-progress-{name}"
        self.start()

    def start(self) -> None:
        """Start the thread: at first, and again in a forked child."""
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True).start()

    def submit(self, call: Callable[[], object]) -> threading.Event:
        """Run `call`; the event is set when it has returned or raised."""
        done = threading.Event()
        self._jobs.put((call, done))
        return done

    @staticmethod
    def _work(jobs: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]]) -> None:
        while True:
            call, done = jobs.get()
            try:
                call()
            except Exception as error:
                logger.warning("%s failed: %s", getattr(call, "__qualname__", call), error)
            finally:
                done.set()


def exit_on_sigterm() -> bool:
    """Turn SIGTERM into a SystemExit with code 143. False where that cannot be or where the program handles it."""
    present = signal.getsignal(signal.SIGTERM)
    if present is not _leave:
        if threading.current_thread() is not threading.main_thread() or present != signal.SIG_DFL:
            return False
        signal.signal(signal.SIGTERM, _leave)
    return True


def die_of_sigterm_in_children() -> None:
    """Let forked children die of SIGTERM as if `exit_on_sigterm` had not been called."""

    def restore() -> None:
        if signal.getsignal(signal.SIGTERM) is _leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=restore)


def _leave(number: int, _frame: FrameType | None) -> None:
    process.terminated = True
    sys.exit(128 + number)

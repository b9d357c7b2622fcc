"""`configure`: the OpenTelemetry SDK for a program that has no providers of its own."""

from __future__ import annotations

import atexit
import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from types import FrameType, TracebackType
from typing import Any, Literal

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE, OTEL_SERVICE_NAME
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from . import _default
from ._faults import logger
from ._processor import MembershipProcessor
from ._recorder import program_name
from ._settings import DETAILS, Detail

QUEUE_SIZE = 65_536
"""Spans that may wait for export, about 3 KB each. The SDK's own 2,048 lose spans in a burst of stages."""

_Signal = Literal["traces", "metrics", "logs"]
_ENTRY_POINTS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}

_active: Telemetry | None = None


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

    An application that has providers of its own does not call it; otel_progress uses the global ones. Logs are set up
    where `OTEL_LOGS_EXPORTER` asks for them. Called a second time it warns and changes nothing.

    Args:
        service_name: `service.name`; if left out, `OTEL_SERVICE_NAME`, else the program's name.
        endpoint: where the collector is, for all signals; if left out, `OTEL_EXPORTER_OTLP_ENDPOINT`, else
            `http://localhost:4318` (`http/protobuf`, the default protocol) or `http://localhost:4317` (`grpc`).
        resource_attributes: further attributes of the resource.
        mirror: whether `progress_metrics` is written into the workflow's store; see `OTEL_PROGRESS_MIRROR`.
        detail: `"none"`, `"phases"`, `"items"` or `"all"`; see `OTEL_PROGRESS_DETAIL`.
        capture_messages: whether messages of exceptions are exported; see `OTEL_PROGRESS_CAPTURE_MESSAGES`.
        exit_timeout: seconds that the end of the process may wait for the collector.
        flush_on_sigterm: turn SIGTERM into a SystemExit with code 143, so that open stages end and everything is
            exported. Only in the main thread and only where the program handles SIGTERM in no way of its own.

    Returns:
        A handle with `flush()` and `shutdown()`, also a context manager that shuts down at its end.

    Raises:
        ValueError: an argument or an `OTEL_*` variable names something unknown.
    """
    if detail is not None and detail not in DETAILS:
        raise ValueError(f"detail must be one of {', '.join(DETAILS)}, not {detail!r}")
    given = {"mirror": mirror, "detail": detail, "capture_messages": capture_messages}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return start(
        service_name,
        endpoint=endpoint,
        resource_attributes=resource_attributes,
        changes=changes,
        exit_timeout=exit_timeout,
        flush_on_sigterm=flush_on_sigterm,
    )


def start(
    service_name: str | None,
    *,
    endpoint: str | None = None,
    resource_attributes: Mapping[str, str | int | float | bool] | None = None,
    changes: Mapping[str, Any] | None = None,
    exit_timeout: float = 2.0,
    flush_on_sigterm: bool = False,
    default_exporter: str = "otlp",
    span_processors: Sequence[SpanProcessor] = (),
) -> Telemetry:
    """`configure`, and what the command line needs beside it."""
    global _active
    if _active is not None:
        logger.warning("configure() was called before, for service %r: this call changes nothing", _active.service_name)
        return _active
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        logger.warning("the application has a tracer provider already: configure() leaves it alone and exports nothing")
        return Telemetry("", (), exit_timeout)
    recorder = _default.get()
    service_name = service_name or os.environ.get(OTEL_SERVICE_NAME) or program_name()
    resource = Resource.create({**(resource_attributes or {}), SERVICE_NAME: service_name})
    # Exporters first: a wrong setting shall raise before anything is set up.
    defaults: dict[_Signal, str] = {"traces": default_exporter, "metrics": default_exporter, "logs": "none"}
    exporters = {signal: _exporters(signal, endpoint, default) for signal, default in defaults.items()}
    readers = [
        each if isinstance(each, MetricReader) else PeriodicExportingMetricReader(each) for each in exporters["metrics"]
    ]
    meter_provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False, meter_provider=meter_provider)
    queue_size = None if os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) else QUEUE_SIZE
    tracer_provider.add_span_processor(MembershipProcessor())
    for processor in span_processors:
        tracer_provider.add_span_processor(processor)
    for exporter in exporters["traces"]:
        processor = BatchSpanProcessor(exporter, max_queue_size=queue_size, meter_provider=meter_provider)
        tracer_provider.add_span_processor(processor)
    metrics.set_meter_provider(meter_provider)
    trace.set_tracer_provider(tracer_provider)
    providers: list[Any] = [tracer_provider, meter_provider]
    if exporters["logs"]:
        logger_provider = LoggerProvider(resource, shutdown_on_exit=False)
        for exporter in exporters["logs"]:
            logger_provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        set_logger_provider(logger_provider)
        providers.append(logger_provider)
    recorder.settings = replace(recorder.settings, **(changes or {}))
    recorder.workflow = recorder.workflow or service_name
    _active = Telemetry(service_name, providers, exit_timeout)
    if flush_on_sigterm:
        exit_on_sigterm()
    return _active


def _exporters(signal: _Signal, endpoint: str | None, default: str) -> list[Any]:
    """The exporters that `OTEL_<SIGNAL>_EXPORTER` names."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    found: list[Any] = []
    for name in (part.strip() for part in (os.environ.get(variable) or default).split(",")):
        if name in ("", "none"):
            continue
        arguments: dict[str, Any] = {}
        entry = name
        if name == "otlp":
            protocol = (
                os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
                or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
                or "http/protobuf"
            ).strip()
            if protocol not in _ENTRY_POINTS:
                raise ValueError(f"OTLP protocol {protocol!r} is none of {', '.join(_ENTRY_POINTS)}")
            entry = _ENTRY_POINTS[protocol]
            if endpoint is not None:
                path = f"/v1/{signal}" if protocol == "http/protobuf" else ""
                arguments["endpoint"] = endpoint.rstrip("/") + path
        points = list(entry_points(group=f"opentelemetry_{signal}_exporter", name=entry))
        if not points:
            raise ValueError(f"{variable} names {name!r}, and no installed package has such an exporter")
        found.append(points[0].load()(**arguments))
    return found


class Telemetry:
    """The telemetry of this process: what `configure` set up."""

    def __init__(self, service_name: str, providers: Sequence[Any], exit_timeout: float) -> None:
        self.service_name = service_name
        self._exit_timeout = exit_timeout
        self._workers = [(provider, _Worker(type(provider).__name__)) for provider in providers]
        self._done = False
        if providers:
            atexit.register(self.shutdown)

    def flush(self, timeout: float = 10.0) -> bool:
        """Export what is waiting; stages that are open stay open. False where it took longer than `timeout` seconds."""
        return self._each("force_flush", timeout)

    def shutdown(self) -> None:
        """End what is open, export everything and stop, within `exit_timeout` seconds. Later calls do nothing."""
        if self._done or not self._workers:
            return
        self._done = True
        atexit.unregister(self.shutdown)
        _default.get().close()
        if not self._each("shutdown", self._exit_timeout):
            logger.warning(
                "the collector did not take everything within %g s: the last telemetry is lost", self._exit_timeout
            )

    def _each(self, method: str, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        jobs = [worker.submit(getattr(provider, method)) for provider, worker in self._workers]
        for job in jobs:
            job.wait(max(0.0, deadline - time.monotonic()))
        return all(job.is_set() for job in jobs)

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


class _Worker:
    """A thread that waits for jobs, so that one that never ends can be left behind.

    Started beforehand: since Python 3.12 no thread can be started when the interpreter is on its way out.
    """

    def __init__(self, name: str) -> None:
        self._name = f"otel-progress-{name}"
        self._start()
        if hasattr(os, "register_at_fork"):
            restart = weakref.WeakMethod(self._start)
            os.register_at_fork(after_in_child=lambda: (method := restart()) and method())

    def _start(self) -> None:
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
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        logger.warning("SIGTERM is handled by the program, or this is not its main thread: flush_on_sigterm is ignored")
        return False

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    return True

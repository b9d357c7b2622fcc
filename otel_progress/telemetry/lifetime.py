"""The telemetry of a process from its set-up to its end, through forks."""

from __future__ import annotations

import atexit
import math
import multiprocessing.util
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from .. import names
from ..recording import default
from ..recording.faults import logger
from ..recording.undisturbed import undisturbed
from . import limits
from .ended import EndedSpans
from .exporters import Exporter, Reader, Signal, self_metrics
from .ids import Ids
from .logging_setup import Asked, adopt_logs, set_up_logs
from .membership import mark_spans_inside

EXIT_TIMEOUT = 2.0
"""Seconds that the end of a process waits for a collector that takes nothing, where nothing else is said."""

_MOST_EXIT_TIMEOUTS = 10  # For a collector that takes batch after batch: so many times `exit_timeout`.
_FORK_TIMEOUT = 1.0
_LOOK_AGAIN = 0.1  # At `flush_by`, which a signal sets.


@dataclass
class _Process:
    """What has been set up in this process."""

    telemetry: Telemetry | None = None
    companions: list[Callable[[], SpanProcessor]] = field(default_factory=list[Callable[[], SpanProcessor]])
    """What makes the span processors that `otel-progress run` adds to whatever the program sets up."""
    log_companions: list[Callable[[], LogRecordProcessor]] = field(
        default_factory=list[Callable[[], LogRecordProcessor]]
    )
    """The same for log records."""
    terminated: bool = False
    """Whether SIGTERM has come, and the process is to die of it when everything is exported."""
    flush_by: float = math.inf
    """When that has to be done, on the monotonic clock."""

    @property
    def exit_timeout(self) -> float:
        """Seconds that the end may take."""
        return EXIT_TIMEOUT if self.telemetry is None else self.telemetry.exit_timeout


process = _Process()


class Telemetry:
    """The telemetry of this process: what `configure` set up."""

    def __init__(self, service_name: str, exit_timeout: float) -> None:
        self.service_name = service_name
        self.exit_timeout = exit_timeout
        self.exporters: list[Exporter] = []
        """Those of the spans."""
        self.processors: list[SpanProcessor] = []
        """What hands the spans to them."""
        self._meter_provider: MeterProvider | None = None
        self._push: list[Callable[[], Any]] = []
        """What makes the exporters of the metrics."""
        self._parts: list[Any] = []
        """What is flushed and shut down. The metric readers come last."""
        self._workers: list[Worker] = []
        self._done = False

    def set_up(
        self,
        resource: Resource,
        made: Mapping[Signal, Sequence[Callable[[], Any]]],
        *,
        at_exit: bool,
        logs: Asked,
    ) -> None:
        """Make the providers and set them as the global ones; `logs` says which log records are asked for."""
        # What may refuse its settings comes first: nothing runs yet then, and nothing has to be taken back.
        with self_metrics():
            self.exporters = [Exporter(make) for make in made["traces"]]
        log_exporters = [Exporter(make) for make in made["logs"]]
        MeterProvider((), resource, shutdown_on_exit=False)
        TracerProvider(resource=resource, shutdown_on_exit=False)
        readers = self._make_readers(made["metrics"])
        self._meter_provider = MeterProvider(readers, resource, shutdown_on_exit=False)
        tracer_provider = TracerProvider(
            resource=resource, shutdown_on_exit=False, id_generator=Ids(), meter_provider=self._meter_provider
        )
        mark_spans_inside(tracer_provider)
        with self_metrics():
            self.processors = [
                EndedSpans(each, **limits.for_spans(), meter_provider=self._meter_provider) for each in self.exporters
            ]
            for processor in (*(make() for make in process.companions), *self.processors):
                tracer_provider.add_span_processor(processor)
        self._parts = [tracer_provider]
        metrics.set_meter_provider(self._meter_provider)
        trace.set_tracer_provider(tracer_provider)
        self._parts += set_up_logs(logs, resource, log_exporters, process.log_companions)
        self._parts += readers
        self._begin(at_exit=at_exit)

    def adopt(self, resource: Resource, *, at_exit: bool, logs: Asked) -> None:
        """Look after the global providers, which a file has declared, and add what is ours to them.

        Where it declares no tracer provider, a record needs one all the same, made with `resource`.
        """
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) and process.companions:
            trace.set_tracer_provider(TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=Ids()))
        tracer_provider, meter_provider = trace.get_tracer_provider(), metrics.get_meter_provider()
        if isinstance(tracer_provider, TracerProvider):
            self.service_name = str(tracer_provider.resource.attributes.get(SERVICE_NAME, self.service_name))
            mark_spans_inside(tracer_provider)
            for make in process.companions:
                tracer_provider.add_span_processor(make())
            self._parts.append(tracer_provider)
        self._parts += adopt_logs(logs, resource, process.log_companions)
        if isinstance(meter_provider, MeterProvider):
            self._parts.append(meter_provider)
        for each in (tracer_provider, meter_provider, get_logger_provider()):
            if (shutdown := getattr(each, "shutdown", None)) is not None:
                atexit.unregister(shutdown)  # It would wait longer for the collector than `exit_timeout`.
        self._begin(at_exit=at_exit)

    def _begin(self, *, at_exit: bool) -> None:
        """Look after the parts from now on, in forked children too."""
        self._workers = [Worker(type(part).__name__) for part in self._parts]
        if at_exit:
            atexit.register(self.shutdown)
        self._end_with_celery()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
            # A child that multiprocessing has forked ends without exit handlers.
            multiprocessing.util.register_after_fork(self, Telemetry._shutdown_with_child)
            if multiprocessing.parent_process() is not None:
                self._shutdown_with_child()

    def _make_readers(self, made: Sequence[Callable[[], Any]]) -> list[MetricReader]:
        """The readers of the metrics: those that are asked, as Prometheus does, before those that push."""
        exporters = [(make, make()) for make in made]
        pushed = [(make, exporter) for make, exporter in exporters if not isinstance(exporter, MetricReader)]
        self._push = [make for make, _ in pushed]
        asked = [exporter for _, exporter in exporters if isinstance(exporter, MetricReader)]
        return [*asked, *(Reader(exporter) for _, exporter in pushed)]

    def flush(self, timeout: float = 10.0) -> bool:
        """Export what is waiting; stages that are open stay open. False where it took longer than `timeout` seconds."""
        return self._done or self._each("force_flush", timeout, timeout)

    def shutdown(self) -> None:
        """End what is open, export everything and stop, within `exit_timeout` seconds. Later calls do nothing."""
        if self._done or not self._parts:
            return
        default.recorder.close()
        self._done = True
        atexit.unregister(self.shutdown)
        if not self._each("shutdown", self.exit_timeout, self.exit_timeout * _MOST_EXIT_TIMEOUTS):
            logger.warning(
                "the collector did not take everything within %g s: the last telemetry is lost", self.exit_timeout
            )
        if lost := sum(exporter.failed for exporter in self.exporters):
            logger.warning("%d spans were lost: the collector did not take them", lost)

    def _each(self, method: str, timeout: float, longest: float) -> bool:
        """Call `method` of every part. False where nothing was exported for `timeout` seconds, or after `longest`."""
        begun = time.monotonic()
        timeout = min(timeout, max(0.0, process.flush_by - begun))
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
                left = min(last + timeout, begun + longest, process.flush_by) - time.monotonic()
                if left <= 0:
                    return False
                job.wait(min(left, _LOOK_AGAIN))
        return True

    def _forked(self) -> None:
        """Go on in a forked child: with threads of its own, and with metrics that start at zero.

        What the parent has counted is the parent's to export.
        """
        for worker in self._workers:
            worker.start()
        self._end_with_celery()
        if self._push and not self._done:
            # Not in this thread: a lock of the SDK that another thread of the parent held would never be free.
            self._workers[0].submit(self._renew_readers).wait(_FORK_TIMEOUT)

    def _renew_readers(self) -> None:
        readers = [Reader(make()) for make in self._push]
        for reader in readers:
            if self._meter_provider is not None:
                self._meter_provider.add_metric_reader(reader)
        self._parts[-len(readers) :] = readers

    def _end_with_celery(self) -> None:
        """A Celery worker's children end by `os._exit`, without exit handlers, and tell only by a signal of its own."""
        if (celery := sys.modules.get("celery.signals")) is not None:
            receiver = self._shutdown_with_celery
            celery.worker_process_shutdown.connect(receiver, weak=False, dispatch_uid=names.SCOPE)

    def _shutdown_with_celery(self, **_: object) -> None:
        self.shutdown()

    def _shutdown_with_child(self) -> None:
        multiprocessing.util.Finalize(None, self.shutdown, exitpriority=-100)

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


class Worker:
    """A thread that waits for jobs, so that one that never ends can be left behind.

    Started beforehand: since Python 3.12 no thread can be started when the interpreter is on its way out.
    """

    def __init__(self, name: str) -> None:
        self._name = f"otel-progress-{name}"
        self.start()

    def start(self) -> None:
        """Start the thread: at first, and again in a forked child."""
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]] = queue.SimpleQueue()
        undisturbed(threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True).start)

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

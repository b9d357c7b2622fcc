"""What `otel-progress run` records of a program, and what it says of it at its end."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
)
from opentelemetry.sdk.resources import SERVICE_NAME
from rich.console import Console

from ..names import SCOPE
from ..recording import default
from ..recording.faults import report
from ..recording.live import Run
from ..recording.sink import Sink
from ..recording.sources import program_name
from ..report import table
from ..report.totals import WorkflowTotals
from ..runs.record import Record
from ..telemetry.configure import start
from ..telemetry.exporters import exporters
from ..telemetry.lifetime import Telemetry, process
from ..telemetry.signals import die_of_sigterm, exit_on_sigterm, watch

_ENDPOINTS = (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT)


class Recording(Sink):
    """What is recorded of a program, from before it starts until the table after its end.

    The end is an exit handler, registered before the program can register any: so it comes after the program's threads
    and handlers, and the exit code stays Python's business. Providers are set up as late as can be, when the first run
    starts: so a program that has providers of its own, or calls `configure`, is first.
    """

    def __init__(self, service_name: str | None, keep: int, days: int) -> None:
        self._service_name = service_name
        self._keep = keep, days
        self._pid = os.getpid()
        self._workflows: dict[str, WorkflowTotals] = {}
        self._is_set_up = False
        self._was_broken_off = False
        self._known = {"exit_code": 0}
        """How the process ends, as far as that is known before it does."""
        self._setting_up = threading.RLock()
        self._endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
        self._exporter = "otlp" if self._endpoint else "none"
        # What is wrong is said before the program starts, and what takes long is not done in the first run's time.
        exporters(None, self._exporter)
        if self._endpoint:
            with contextlib.suppress(ImportError):
                importlib.import_module("requests")

    def begin(self) -> None:
        """Take part in the process that the program is about to run in."""
        if not exit_on_sigterm(self._finish, at_once=False):
            atexit.register(self._finish)
        self._record = Record(Path(sys.argv[0]).stem)
        if self._record.path is not None:
            process.companions.append(self._record.processor)
            self._record.writer(self._service).attach(default.get())
        default.get().sinks.insert(0, self)
        _instrument()

    def run_started(self, run: Run) -> None:  # noqa: ARG002 - as a sink is called
        """Set up what the program has not set up by itself."""
        self.set_up()

    def run_ended(self, run: Run) -> None:
        """Add the run to the table."""
        self._workflows.setdefault(run.workflow, WorkflowTotals(run.workflow)).add(run)

    def broken_off(self, error: BaseException) -> None:
        """Note what the program has ended with, if it was not its end: then it may not have come to its stages."""
        self._was_broken_off = not (isinstance(error, SystemExit) and error.code in (None, 0))
        if isinstance(error, KeyboardInterrupt):
            self._known = {"signal": signal.SIGINT}
        elif isinstance(error, SystemExit):
            code = error.code
            self._known = {"exit_code": code & 0xFF if isinstance(code, int) else int(code is not None)}
        else:
            self._known = {"exit_code": 1}

    def set_up(self) -> None:
        """Have the record written, whoever has set up the providers."""
        if self._is_set_up:
            return
        with self._setting_up:
            if not self._is_set_up:
                try:
                    watch()
                    self._set_up()
                except Exception as error:
                    report("the telemetry cannot be set up: spans and metrics are not recorded", error)
                self._is_set_up = True

    def _set_up(self) -> None:
        if process.telemetry is not None:
            return
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            start(self._service_name, default_exporter=self._exporter, at_exit=False)
        elif add := getattr(provider, "add_span_processor", None):
            for make in process.companions:
                add(make())

    def _service(self) -> str:
        """`service.name`, when it is known who has set up the providers."""
        if process.telemetry is not None:
            return process.telemetry.service_name
        resource: Any = getattr(trace.get_tracer_provider(), "resource", None)
        return str(resource.attributes.get(SERVICE_NAME)) if resource else self._service_name or program_name()

    def _finish(self) -> None:
        try:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the wait for the collector.
                if process.telemetry is not None:
                    process.telemetry.shutdown()
                default.get().close()
            if os.getpid() == self._pid:
                self._print()
        finally:
            if process.terminated:  # Die of the signal, as the program would have without us.
                for flush in (sys.stdout.flush, sys.stderr.flush, logging.shutdown):
                    flush()
                die_of_sigterm()

    def _print(self) -> None:
        known = {"signal": signal.SIGTERM} if process.terminated else self._known
        kept = self._record.finish(*self._keep, **known)
        if sys.__stderr__ is None:  # Closed. Rich would take standard output, which is the program's.
            return
        console = Console(file=sys.__stderr__, markup=False, highlight=False, soft_wrap=True)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = 120  # A log has no margin.
        if self._workflows:
            table.show(console, self._workflows.values())
        elif not kept and not self._was_broken_off:
            console.print("otel-progress: no stage was recorded. Does the program use @stage, workflow() or a tracker?")
        if kept and self._record.fault is None:
            console.print(f"Record: {self._record.path}", style="dim")
        elif kept:
            console.print(f"Record: {self._record.path}, incomplete: {self._record.fault}", style="red")
        elif self._workflows:
            console.print(f"Record: none, {self._why_there_is_none()}", style="dim")
        if process.telemetry is not None:
            self._print_exported(console, process.telemetry)

    @staticmethod
    def _print_exported(console: Console, telemetry: Telemetry) -> None:
        for exporter in telemetry.exporters:
            if exporter.endpoint is None:
                continue
            if telemetry.complete and not exporter.failed:
                console.print(f"Exported: {exporter.exported} spans to {exporter.endpoint}", style="dim")
            else:
                what = f"Exported: {exporter.exported} spans to {exporter.endpoint}, which did not take the rest"
                console.print(what, style="red")

    def _why_there_is_none(self) -> str:
        if self._record.path is None:
            return "no folder can be written"
        if self._record.fault is not None:
            return self._record.fault
        return "it is not there any more"


def _instrument() -> None:
    """Record the frameworks that otel_progress knows, as `opentelemetry-instrument` does."""
    for point in entry_points(group="opentelemetry_instrumentor"):
        if point.value.partition(".")[0] == SCOPE:
            try:
                instrumentor = point.load()()
                if get_dependency_conflicts(instrumentor.instrumentation_dependencies()) is not None:
                    continue
                instrumentor.instrument(skip_dep_check=True)
            except Exception:  # noqa: S112 - the framework is not there, or not in a version that is known
                continue
            _give_way(instrumentor)


def _give_way(instrumentor: Any) -> None:
    """Let the program's own `instrument()`, with the arguments that it gives, take the place of ours."""
    cls = cast("Any", type(instrumentor))
    instrument = cls.instrument

    def instead(self: Any, **kwargs: Any) -> Any:
        cls.instrument = instrument
        self.uninstrument()
        return instrument(self, **kwargs)

    cls.instrument = instead

"""Which log records are asked for, and the logger providers that take them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

from ..recording.faults import report
from ..recording.settings import Settings
from . import limits, logs, stdlib
from .events import EventLogs
from .exporters import Exporter
from .membership import mark_logs_inside

Companions = Sequence[Callable[[], LogRecordProcessor]]

_EXPORTER = "OTEL_LOGS_EXPORTER"
_AUTOMATIC = "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"


@dataclass(frozen=True)
class Asked:
    """Which log records are asked for."""

    events: bool = False
    """The events of runs and stages."""
    exceptions: bool = False
    """Exceptions, in the place of span events or beside them."""
    program: bool = False
    """What the program makes itself."""
    stdlib: bool = False
    """What it logs with `logging` is among that."""

    @classmethod
    def of(cls, settings: Settings) -> Asked:
        """What the settings, and the variables of OpenTelemetry, ask for."""
        named = {part.strip() for part in os.environ.get(_EXPORTER, "").split(",")} - {"", "none"}
        automatic = os.environ.get(_AUTOMATIC, "").strip().lower()
        program = bool(named) or automatic == "true"
        return cls(settings.events, settings.exception_logs, program, program and automatic != "false")

    @property
    def exported(self) -> bool:
        """Whether any are, so that they are exported where no variable says otherwise."""
        return self.events or self.exceptions or self.program


class Logs:
    """A logger provider, and what waits before it: a part of `Telemetry`."""

    def __init__(self, provider: LoggerProvider | EventLogs) -> None:
        self._provider = provider

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Send what waits."""
        drained = _drain()
        return bool(self._provider.force_flush(timeout_millis)) and drained

    def shutdown(self) -> None:
        """Send what waits, and nothing more."""
        _drain()
        self._provider.shutdown()


def set_up_logs(asked: Asked, resource: Resource, exporters: Sequence[Exporter], companions: Companions) -> list[Logs]:
    """Logger providers for what is asked for. `companions` are what a record takes log records by.

    What the program logs goes into a record with its events, too, but is exported only where that is asked for.
    """
    found: list[Logs] = []
    mark_logs_inside(get_logger_provider())  # The program may have one already.
    if asked.program or exporters or (asked.exceptions and companions):
        provider = _provider(resource, companions if asked.program or asked.exceptions else ())
        for each in exporters:
            exporter = cast("LogRecordExporter", each)
            batches = BatchLogRecordProcessor(exporter, **limits.for_logs())
            provider.add_log_record_processor(batches)
        found.append(Logs(EventLogs(provider) if asked.events and exporters else provider))
        logs.exceptions.provider = provider
        if asked.program and not isinstance(get_logger_provider(), LoggerProvider):
            set_logger_provider(provider)
        if asked.stdlib:
            _connect(provider)
    if asked.events and not asked.program and companions:
        found.append(Logs(_connect(_provider(resource, companions))))
    return found


def adopt_logs(asked: Asked, resource: Resource, companions: Companions) -> list[Logs]:
    """Use the global logger provider, which a file has declared: what is asked for goes there, and what is logged."""
    provider = get_logger_provider()
    if isinstance(provider, LoggerProvider):
        mark_logs_inside(provider)
        for make in companions:
            provider.add_log_record_processor(make())
        return [Logs(EventLogs(_connect(provider)) if asked.events else _connect(provider))]
    if asked.events or asked.exceptions:
        what = "events" if asked.events else "exceptions"
        report(f"OTEL_CONFIG_FILE declares no logger_provider: {what} are not sent as log records")
    if companions and (asked.events or asked.exceptions):
        logs.exceptions.provider = provider = _provider(resource, companions)
        return [Logs(_connect(provider) if asked.events else provider)]
    return []


def join_logs(asked: Asked, resource: Resource, companions: Companions) -> None:
    """Have log records written to a record, where the SDK has been set up without it."""
    mark_logs_inside(get_logger_provider())
    if asked.program or asked.exceptions:
        for provider in {get_logger_provider(), logs.exceptions.provider, stdlib.outlet.provider}:
            if isinstance(provider, LoggerProvider):
                for make in companions:
                    provider.add_log_record_processor(make())
    if companions and stdlib.outlet.provider is None and (asked.stdlib or (asked.events and not asked.program)):
        _connect(_provider(resource, companions))


def _provider(resource: Resource, companions: Companions) -> LoggerProvider:
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    mark_logs_inside(provider)
    for make in companions:
        provider.add_log_record_processor(make())
    return provider


def _connect(provider: LoggerProvider) -> LoggerProvider:
    """Have the provider take what the program logs with `logging`."""
    stdlib.outlet.provider = provider
    stdlib.connect()
    return provider


def _drain() -> bool:
    return all([logs.exceptions.drain(), stdlib.outlet.drain()])

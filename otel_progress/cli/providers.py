"""Providers for a program that has none: they fill the record, and export where the variables name a collector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from ..recording import default
from ..recording.sources import program_name
from ..runs.appending import Appending
from ..runs.logs import LOGS, log_processor
from ..runs.record import SPANS, span_processor
from ..telemetry.configure import start
from ..telemetry.early import make_early_spans
from ..telemetry.lifetime import process
from ..telemetry.logging_setup import Asked, join_logs
from .completing import note_what_children_export


def set_up(service_name: str | None, *, at_exit: bool = False) -> None:
    """Set up what the program has not set up by itself."""
    if process.telemetry is not None:
        return
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        start(service_name, only_named=True, at_exit=at_exit)
        make_early_spans()
    else:
        _add_companions()


def join(folder: Path, service_name: str | None, *, is_child: bool) -> None:
    """Have the spans of this process written to a record that another has made.

    A child of `multiprocessing` exports as its parent does; another program only if it has set that up.
    """
    note_what_children_export(folder)
    file = Appending(folder / SPANS)
    is_late = process.telemetry is not None
    process.companions.append(lambda: span_processor(file))
    process.log_companions.append(lambda: log_processor(Appending(folder / LOGS)))
    if is_late:
        _add_companions()
    elif is_child:
        set_up(service_name, at_exit=True)


def _add_companions() -> None:
    provider: Any = trace.get_tracer_provider()
    if add := getattr(provider, "add_span_processor", None):
        for make in process.companions:
            add(make())
    resource = getattr(provider, "resource", None) or Resource({})
    join_logs(Asked.of(default.recorder.settings), resource, process.log_companions)


def service(given: str | None) -> str:
    """`service.name`, when it is known who has set up the providers."""
    if process.telemetry is not None:
        return process.telemetry.service_name
    resource: Any = getattr(trace.get_tracer_provider(), "resource", None)
    return str(resource.attributes.get(SERVICE_NAME)) if resource else given or program_name()

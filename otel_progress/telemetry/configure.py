"""`configure`: the OpenTelemetry SDK for a program that has no providers of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_CONFIG_FILE, OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from ..recording import default
from ..recording.faults import logger
from ..recording.settings import DETAILS, Detail
from ..recording.sources import program_name
from ..recording.visible import printable
from .declared import apply, config_file, load
from .environment import read_environment
from .exporters import exporters
from .lifetime import EXIT_TIMEOUT, Telemetry, process
from .logging_setup import Asked
from .secrets import without_secrets
from .signals import exit_on_sigterm

_SIGNAL_PATH = re.compile(r"/*(v1/(traces|metrics|logs))?/*$")


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    resource_attributes: Mapping[str, str | int | float | bool] | None = None,
    mirror: bool | None = None,
    detail: Detail | None = None,
    capture_messages: bool | None = None,
    events: bool | None = None,
    pending: bool | None = None,
    live: bool | None = None,
    exit_timeout: float = EXIT_TIMEOUT,
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
        events: whether starts, progress and ends are sent as log records too, as they happen; see
            `OTEL_PROGRESS_EVENTS`.
        pending: whether a span of no length says at once that a run or a visit has begun; see `OTEL_PROGRESS_PENDING`.
        live: whether the progress of this process is shown while it goes on; see `OTEL_PROGRESS_LIVE`.
        exit_timeout: seconds that the end of the process waits for a collector that takes nothing. One that goes on
            taking batch after batch is given up to ten times as long.
        flush_on_sigterm: turn SIGTERM into a SystemExit with code 143, so that open stages end and everything is
            exported. A program that has not ended after `exit_timeout` dies of the signal; a second one kills at once.
            Only in the main thread, not in workers of multiprocessing, and only where the program handles SIGTERM in
            no way of its own.

    Returns:
        A handle with `flush()` and `shutdown()`, also a context manager that shuts down at its end.

    Raises:
        ValueError: an argument or an `OTEL_*` variable names something unknown.
    """
    if detail is not None and detail not in DETAILS:
        raise ValueError(f"detail must be one of {', '.join(DETAILS)}, not {detail!r}")
    if endpoint is not None:
        endpoint = _collector(endpoint)
    given = {
        "mirror": mirror,
        "detail": detail,
        "capture_messages": capture_messages,
        "events": events,
        "pending": pending,
        "live": live,
    }
    telemetry = start(
        service_name,
        endpoint=endpoint,
        resource_attributes=resource_attributes,
        changes={name: value for name, value in given.items() if value is not None},
        exit_timeout=exit_timeout,
    )
    if live is not None:
        default.show(live)
    if flush_on_sigterm and not exit_on_sigterm(telemetry.shutdown):
        logger.warning("SIGTERM is handled by the program, or this is not its main thread: flush_on_sigterm is ignored")
    return telemetry


def start(
    service_name: str | None,
    *,
    endpoint: str | None = None,
    resource_attributes: Mapping[str, str | int | float | bool] | None = None,
    changes: Mapping[str, Any] | None = None,
    exit_timeout: float = EXIT_TIMEOUT,
    only_named: bool = False,
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
    recorder = default.recorder
    settings = replace(recorder.settings, **(changes or {}))
    logs, path = Asked.of(settings), config_file()
    made = None
    if path is None and not sdk_is_disabled():
        made = exporters(endpoint, only_named=only_named, logs=logs.exported)
    attributes = {**(resource_attributes or {}), **({SERVICE_NAME: service_name} if service_name else {})}
    given, resource = service_name, _printable(Resource.create(attributes))
    service_name = str(resource.attributes[SERVICE_NAME])
    if service_name.startswith("unknown_service"):
        service_name = program_name()
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    telemetry = Telemetry(service_name, exit_timeout)
    if made is not None:
        telemetry.set_up(resource, made, at_exit=at_exit, logs=logs)
    elif path is not None and not sdk_is_disabled():
        _say_what_is_ignored(service_name=given, endpoint=endpoint, resource_attributes=resource_attributes)
        config = load(path)
        if config is None:
            telemetry.set_up(resource, {"traces": (), "metrics": (), "logs": ()}, at_exit=at_exit, logs=logs)
        elif not config.disabled:
            apply(config, path)
            telemetry.adopt(resource, at_exit=at_exit, logs=logs)
    process.telemetry = telemetry
    read_environment()
    recorder.settings = settings
    recorder.workflow = recorder.workflow or service_name
    return telemetry


def _say_what_is_ignored(**arguments: object) -> None:
    if ignored := ", ".join(name for name, value in arguments.items() if value):
        logger.warning(
            "%s is set, and the file says what the SDK is made of: not used is %s", OTEL_CONFIG_FILE, ignored
        )


def _collector(endpoint: str) -> str:
    """The address of a collector, as people write it, without the path of one signal."""
    scheme, separator, rest = endpoint.strip().partition("://")
    if not separator or scheme.lower() not in ("http", "https") or not urlsplit(f"http://{rest}").netloc:
        given = without_secrets(endpoint)
        raise ValueError(f"endpoint must begin with http:// or https://, as in http://localhost:4318; not {given!r}")
    return f"{scheme.lower()}://{_SIGNAL_PATH.sub('', rest)}"


def _printable(resource: Resource) -> Resource:
    """`resource` without lone surrogates: one would have every batch refused."""
    attributes = {
        printable(name): printable(value) if isinstance(value, str) else value
        for name, value in resource.attributes.items()
    }
    return Resource(attributes, resource.schema_url)


def sdk_is_disabled() -> bool:
    """Whether `OTEL_SDK_DISABLED` says so."""
    return os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"

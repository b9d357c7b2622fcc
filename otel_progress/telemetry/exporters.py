"""Exporters: those that the `OTEL_*_EXPORTER` variables name, and what stands between them and the SDK."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import entry_points
from typing import Any, Literal
from urllib.parse import urlsplit
from weakref import WeakSet

from opentelemetry.sdk.environment_variables import OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED
from opentelemetry.sdk.metrics.export import MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import SpanExporter

from ..recording.faults import report
from .batches import MOST_POINTS, in_parts
from .limits import metrics_interval
from .secrets import without_secrets

Signal = Literal["traces", "metrics", "logs"]
_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_OTLP_DEFAULTS = {"otlp_proto_grpc": "http://localhost:4317", "otlp_proto_http": "http://localhost:4318"}


def exporters(
    endpoint: str | None, *, only_named: bool = False, logs: bool = False
) -> dict[Signal, list[Callable[[], Any]]]:
    """What makes the exporters that the `OTEL_*_EXPORTER` variables name, for each signal; where none is named, OTLP.

    With `only_named` a signal of which no variable says where to, or with what, is not exported.

    Raises:
        ValueError: a variable names an exporter or a protocol that there is not.
    """
    wanted: dict[Signal, bool] = {"traces": True, "metrics": True, "logs": logs}
    return {
        kind: list(_named(kind, endpoint, "otlp" if is_wanted and not (only_named and not _given(kind)) else "none"))
        for kind, is_wanted in wanted.items()
    }


def _named(kind: Signal, endpoint: str | None, default: str) -> Sequence[Callable[[], Any]]:
    variable = f"OTEL_{kind.upper()}_EXPORTER"
    found: list[Callable[[], Any]] = []
    for name in (part.strip() for part in (os.environ.get(variable) or default).split(",")):
        if name in ("", "none"):
            continue
        entry = _OTLP[_protocol(kind)] if name == "otlp" else name
        exporter = exporter_class(kind, entry)
        if exporter is None:
            raise ValueError(f"{variable} names {name!r}, and no installed package has such an exporter")
        if kind == "metrics" and entry in _OTLP_DEFAULTS:
            exporter = functools.partial(exporter, max_export_batch_size=MOST_POINTS)
        address = endpoint
        if entry in _OTLP_DEFAULTS:
            given = endpoint or _given(kind)
            if entry == _OTLP["grpc"] and set("@?").intersection(given):
                address = _host_alone(given)
        if address is not None and entry in _OTLP_DEFAULTS:
            path = f"/v1/{kind}" if entry == _OTLP["http/protobuf"] else ""
            exporter = functools.partial(exporter, endpoint=address.rstrip("/") + path)
        found.append(_over_http(exporter, kind) if entry == _OTLP["http/protobuf"] else exporter)
    return found


_read: WeakSet[Callable[[], Any]] = WeakSet()
"""What makes exporters whose answers are read."""


def _over_http(exporter: Callable[..., Any], kind: Signal) -> Callable[[], Any]:
    """`exporter`, with a session that reads the answers, unless the user has one with credentials."""
    variables = ("", f"{kind.upper()}_")
    if any(os.environ.get(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{part}CREDENTIAL_PROVIDER") for part in variables):
        return exporter

    def make() -> Any:
        from .answers import Session  # noqa: PLC0415 - `requests` takes long, and gRPC needs none

        return exporter(session=Session(kind))

    _read.add(make)
    return make


def _given(kind: Signal) -> str:
    """The address that the variables say."""
    for variable in (f"OTEL_EXPORTER_OTLP_{kind.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if address := os.environ.get(variable):
            try:
                urlsplit(address).port  # noqa: B018 - it is read, and may be none
            except ValueError:  # Its text may be a part of a password.
                raise ValueError(f"{variable} is no address; in a password / ? # and @ are to be escaped") from None
            return address
    return ""


def _host_alone(address: str) -> str:
    """`address` without user, password and query: gRPC has no use for them, and its exporter logs them."""
    scheme, separator, rest = address.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0]


def _protocol(kind: Signal) -> str:
    for variable in (f"OTEL_EXPORTER_OTLP_{kind.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if value := os.environ.get(variable, "").strip():
            if value not in _OTLP:
                raise ValueError(f"{variable} is {value!r}; the protocols are {' and '.join(_OTLP)}")
            return value
    return "http/protobuf"


@functools.cache
def exporter_class(kind: Signal, entry: str) -> Callable[..., Any] | None:
    """What makes the exporters that an installed package gives this name; None where there is none."""
    points = list(entry_points(group=f"opentelemetry_{kind}_exporter", name=entry))
    return points[0].load() if points else None


@contextmanager
def self_metrics() -> Generator[None]:
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


def _refused(count: int) -> int:
    """How many of the `count` spans that this thread has just exported the collector has refused."""
    answers = sys.modules.get(f"{__package__}.answers")
    return min(count, answers.rejected()) if answers else 0


class Exporter(SpanExporter):
    """An exporter of any kind that a forked child makes anew, and that knows how it fares.

    Parent and child must neither write to one connection nor wait for a lock that was held at the fork.
    """

    note: Callable[[Sequence[Any], bool], object] | None = None
    """Told, of all of them, which spans go to a collector, and, with False, which of these it did not take.

    The first before it can know of them, where that can be told: a process may be killed before the answer is there.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.reads_answers = make in _read
        """Whether it is known what the collector takes of what is sent: over gRPC the SDK's exporter does not tell."""
        self._made = {os.getpid(): make()}  # The parent's stays here, so that the child does not close it.
        self.exported = 0
        self.failed = 0
        self.exported_at = 0.0
        """When it last succeeded, on the monotonic clock."""
        self.ended = False
        """Whether it was shut down, which comes behind the last export: nothing waits for it any more."""

    def _own(self) -> Any:
        pid = os.getpid()
        if pid not in self._made:
            with self_metrics():
                self._made[pid] = self._make()
            self.exported = self.failed = 0
        return self._made[pid]

    @property
    def endpoint(self) -> str | None:
        """Where it exports to, if that is a collector; without a password or a key."""
        endpoint = getattr(self._own(), "_endpoint", None)
        return None if endpoint is None else without_secrets(str(endpoint))

    def export(self, spans: Sequence[Any]) -> Any:
        """Export a batch, in parts that a collector takes."""
        results = [self._export(part) for part in in_parts(spans)]
        return next((result for result in results if result.name != "SUCCESS"), results[0])

    def _export(self, spans: Sequence[Any]) -> Any:
        own = self._own()
        note = None if Exporter.note is None or self.endpoint is None else functools.partial(Exporter.note, spans)
        answers = sys.modules.get(f"{__package__}.answers") if self.reads_answers else None
        with answers.telling(note) if answers and note else nullcontext():
            result = own.export(spans)
        refused = _refused(len(spans)) if result.name == "SUCCESS" else len(spans)
        self.exported += len(spans) - refused
        self.failed += refused
        if refused < len(spans):
            self.exported_at = time.monotonic()
        if note is not None and (answers is None or refused == len(spans)):
            note(refused < len(spans))
        if refused:
            where = self.endpoint or type(self._own()).__name__
            report(f"{where} does not take what is exported: it is lost; how much is said at the end")
        return result

    def shutdown(self) -> None:
        """Shut down."""
        self.ended = True
        self._own().shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what the exporter itself holds back."""
        return bool(self._own().force_flush(timeout_millis))


class Reader(PeriodicExportingMetricReader):
    """Exports in the process that made it only; a forked child has one of its own."""

    def __init__(self, exporter: Any) -> None:
        self._process = os.getpid()
        super().__init__(exporter, export_interval_millis=metrics_interval())

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if os.getpid() == self._process:
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)  # pyright: ignore[reportUnknownMemberType] - its kwargs

"""A real OTLP receiver in the test process, and programs that export to it.

OpenTelemetry's providers can be set once per process, so `configure` and the command line are tested from outside: a
small program runs in a process of its own, and what it exports arrives here over HTTP or gRPC and is decoded.
"""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc  # pyright: ignore[reportMissingTypeStubs] - it has none
from opentelemetry.proto.collector.logs.v1 import (  # pyright: ignore[reportMissingTypeStubs] - the package has no own
    logs_service_pb2,
    logs_service_pb2_grpc,
)
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

TIMEOUT = 60.0
"""Seconds after which a wait has failed. Never a measure: what is waited for comes much sooner."""


@dataclass(frozen=True)
class Span:
    """A span as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str
    events: tuple[str, ...]
    message: str
    """Of its status."""


@dataclass(frozen=True)
class Point:
    """A data point of a metric; the value of a histogram is its count."""

    metric: str
    value: float
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass(frozen=True)
class Log:
    """A log record."""

    body: Any
    resource: dict[str, Any]
    event: str = ""
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    span_id: str = ""
    scope: str = ""
    severity: int = 0


class Receiver:
    """What has arrived so far; to be read after `wait_until`, or when the program has ended."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.points: list[Point] = []
        self.logs: list[Log] = []
        self.requests: list[str] = []
        """For each request that came: protocol, signal and, over HTTP, encoding."""
        self.begun: list[str] = []
        """The same, also of those that wait."""
        self.answers = True
        """False: requests are accepted, and nothing is ever answered."""
        self.delay = 0.0
        """Seconds that every answer takes."""
        self.closing = threading.Event()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self.http = ""
        self.grpc = ""
        self._changed = threading.Condition()

    def names(self) -> list[str]:
        """Names of the spans, sorted."""
        return sorted(span.name for span in self.spans)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, looked at whenever something has arrived."""
        with self._changed:
            assert self._changed.wait_for(condition, TIMEOUT), f"did not happen; arrived: {self.names()}"

    def pause(self) -> None:
        """Let requests wait."""
        self._goes_on.clear()

    def resume(self) -> None:
        """Take those in that wait, and all others."""
        self._goes_on.set()

    def receive(self, protocol: str, request: Any) -> bool:
        """Take a request in; False where it is not to be answered."""
        with self._changed:
            self.begun.append(protocol)
            self._changed.notify_all()
        if not self.answers:
            with self._changed:
                self.requests.append(protocol)
                self._changed.notify_all()
            self.closing.wait()
            return False
        self._goes_on.wait()
        self.closing.wait(self.delay)
        with self._changed:
            self.requests.append(protocol)
            for resource_spans in getattr(request, "resource_spans", ()):
                self.spans += _spans(resource_spans)
            for resource_metrics in getattr(request, "resource_metrics", ()):
                self.points += _points(resource_metrics)
            for resource_logs in getattr(request, "resource_logs", ()):
                resource = _attributes(resource_logs.resource.attributes)
                for scope in resource_logs.scope_logs:
                    self.logs += [
                        Log(
                            _value(record.body),
                            resource,
                            record.event_name,
                            _attributes(record.attributes),
                            record.span_id.hex(),
                            scope.scope.name,
                            record.severity_number,
                        )
                        for record in scope.log_records
                    ]
            self._changed.notify_all()
        return True


def _spans(resource_spans: Any) -> Iterable[Span]:
    resource = _attributes(resource_spans.resource.attributes)
    for scope in resource_spans.scope_spans:
        for span in scope.spans:
            yield Span(
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _attributes(span.attributes),
                resource,
                scope.scope.name,
                tuple(event.name for event in span.events),
                span.status.message,
            )


def _points(resource_metrics: Any) -> Iterable[Point]:
    resource = _attributes(resource_metrics.resource.attributes)
    for scope in resource_metrics.scope_metrics:
        for metric in scope.metrics:
            data = getattr(metric, metric.WhichOneof("data"))
            for point in data.data_points:
                value = point.count if hasattr(point, "count") else getattr(point, point.WhichOneof("value"))
                yield Point(metric.name, value, _attributes(point.attributes), resource)


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


_SERVICES: dict[str, tuple[str, Any, Any]] = {
    "traces": ("Trace", trace_service_pb2, trace_service_pb2_grpc),
    "metrics": ("Metrics", metrics_service_pb2, metrics_service_pb2_grpc),
    "logs": ("Logs", logs_service_pb2, logs_service_pb2_grpc),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding == "gzip":
            body = gzip.decompress(body)
        signal = self.path.removeprefix("/v1/")
        if signal not in _SERVICES or self.headers["Content-Type"] != "application/x-protobuf":
            self.send_error(404)
            return
        name, messages, _ = _SERVICES[signal]
        request = getattr(messages, f"Export{name}ServiceRequest").FromString(body)
        if self.receiver.receive(f"http {signal} {encoding}", request):
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a program that ended in the midst of a request."""


class _Service:
    """A gRPC servicer, for any signal."""

    def __init__(self, receiver: Receiver, signal: str) -> None:
        name, messages, _ = _SERVICES[signal]
        self._response = getattr(messages, f"Export{name}ServiceResponse")
        self._receiver, self._signal = receiver, signal

    def Export(self, request: Any, context: Any) -> Any:
        self._receiver.receive(f"grpc {self._signal}", request)
        return self._response()


@contextmanager
def receiver() -> Generator[Receiver]:
    """A receiver that listens on two free ports of the loopback interface, for OTLP over HTTP and over gRPC."""
    received = Receiver()
    web = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": received}))
    received.http = f"http://127.0.0.1:{web.server_port}"
    serving = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    any_grpc: Any = grpc
    server: Any = any_grpc.server(ThreadPoolExecutor(8))
    for signal, (name, _, stubs) in _SERVICES.items():
        getattr(stubs, f"add_{name}ServiceServicer_to_server")(_Service(received, signal), server)
    received.grpc = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield received
    finally:
        received.closing.set()
        web.shutdown()
        web.server_close()
        serving.join()
        server.stop(0).wait()


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Generator[str]:
    """Address of what answers every request in the same way. Header names are written with `_` for `-`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content_Length": str(len(body))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    web = _Server(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{web.server_port}"
    finally:
        web.shutdown()
        web.server_close()
        serving.join()


@contextmanager
def refusing() -> Generator[str]:
    """Address of a collector that refuses every connection: a port that is bound and not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def is_of_telemetry(variable: str) -> bool:
    """Whether an environment variable is OpenTelemetry's: a setting, or what a trace around the tests says."""
    return variable.startswith("OTEL_") or variable in {"TRACEPARENT", "TRACESTATE", "BAGGAGE"}


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without its OpenTelemetry settings, and `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not is_of_telemetry(name)}
    return {**inherited, **variables}


def write(folder: Path, code: str, name: str = "program.py") -> Path:
    """Write a program."""
    path = folder / name
    path.write_text(textwrap.dedent(code), encoding="utf-8")
    return path


class Started(subprocess.Popen[str]):
    """A program that does not outlive the `with` block that a test which fails leaves: it may wait for that test."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


def start(folder: Path, command: Sequence[str], **variables: str) -> subprocess.Popen[str]:
    """Start Python with the arguments `command` in `folder`."""
    return Started(
        [sys.executable, *command],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(folder: Path, command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the arguments `command` in `folder`, to its end."""
    return ended(start(folder, command, **variables))


def ended(process: subprocess.Popen[str], typed: str | None = None) -> subprocess.CompletedProcess[str]:
    """What `process` has printed when it has ended; `typed` is its standard input."""
    with process:
        try:
            out, err = process.communicate(typed, TIMEOUT)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_code(folder: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its successful end."""
    ended = run(folder, [str(write(folder, code))], **variables)
    assert ended.returncode == 0, ended.stderr
    return ended


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        threading.Event().wait(0.02)

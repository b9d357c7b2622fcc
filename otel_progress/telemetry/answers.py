"""What a collector answers over HTTP: only what it says that it has taken counts as exported.

The SDK takes any answer below 400 for a success: a redirect, the page of a proxy, and one that refuses a part.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Generator
from typing import Any

import requests
from google.protobuf import json_format, message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # pyright: ignore[reportMissingTypeStubs] - has none
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from .secrets import without_secrets

_ANSWERS: dict[str, tuple[type[Any], str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}
_last = threading.local()


class NotACollectorError(requests.RequestException):
    """What answered is no OTLP collector."""


def rejected() -> int:
    """How much of what this thread exported since the last call was refused by a collector that took the rest."""
    count = getattr(_last, "rejected", 0)
    _last.rejected = 0
    return count


@contextlib.contextmanager
def telling(sent: Callable[[bool], object]) -> Generator[None]:
    """Have what this thread exports told of: True when it is about to be sent, False when it was not taken."""
    _last.sent = sent
    try:
        yield
    finally:
        _last.sent = None


def _hide(record: logging.LogRecord) -> bool:
    """Take secrets out of what urllib3 logs of a request of ours: at its level DEBUG that has the whole address."""
    if getattr(_last, "asks", False):
        record.msg, record.args = without_secrets(record.getMessage()), None
    return True


logging.getLogger("urllib3.connectionpool").addFilter(_hide)


class _Body(io.BytesIO):
    """The body of a request, read when there is a connection: before that, nobody can have taken it."""

    def __init__(self, data: bytes, sent: Callable[[bool], object]) -> None:
        super().__init__(data)
        self._sent = sent

    def read(self, _size: int | None = -1, /) -> bytes:
        """All of it, so that it is sent at once."""
        if data := super().read():
            self._sent(True)
        return data


class Session(requests.Session):
    """A session for the exporter of one signal."""

    def __init__(self, signal: str) -> None:
        super().__init__()
        self._answer, self._rejected = _ANSWERS[signal]

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Send a request, and read what is answered.

        Raises:
            NotACollectorError: it is not what OTLP says that it is.
        """
        sent: Callable[[bool], object] | None = getattr(_last, "sent", None)
        if sent is None:
            return self._request(*args, **kwargs)
        kwargs["data"] = _Body(kwargs["data"], sent)
        taken = False
        try:
            response = self._request(*args, **kwargs)
            taken = response.status_code < 300
        finally:
            if not taken:
                sent(False)
        return response

    def _request(self, *args: Any, **kwargs: Any) -> requests.Response:
        _last.asks = True
        try:
            response = super().request(*args, **kwargs)
        except requests.RequestException as error:  # The SDK logs it, and the address is in it.
            said = without_secrets(str(error))
            raise type(error)(said, request=error.request, response=error.response) from None
        finally:
            _last.asks = False
        if response.status_code < 300:
            _last.rejected = self._refused_part(response)
        elif response.status_code < 400:
            raise NotACollectorError(
                f"redirected to {without_secrets(response.headers.get('Location', 'nowhere'))!r}", response=response
            )
        return response

    def _refused_part(self, response: requests.Response) -> int:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        answer = self._answer()
        try:
            if kind == "application/json":
                json_format.Parse(response.content, answer, ignore_unknown_fields=True)
            elif kind in ("application/x-protobuf", "application/octet-stream", "") or not response.content:
                answer.ParseFromString(response.content)
            else:
                raise NotACollectorError(f"the answer is {kind!r}, not OTLP", response=response)
        except (message.DecodeError, json_format.ParseError) as error:
            raise NotACollectorError(f"the answer is not OTLP: {error}", response=response) from error
        return int(getattr(answer.partial_success, self._rejected))

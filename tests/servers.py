"""The real servers in tests: built by `otel-progress stack build`, on free ports of loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from otel_progress.stack import build
from otel_progress.stack.run import HOST, PORTS, Stack

from . import otlp
from .otlp import TIMEOUT

REQUIRED = "REQUIRE_SERVERS"
"""Set where the servers have to be there, as in the CI run: then a test that lacks one fails."""

T = TypeVar("T")


def binary(name: str) -> Path:
    """The server or tool `name`; skips the test where it is not built."""
    path = build.program(name)
    if not path.exists():
        reason = f"{name} is not built here: `otel-progress stack build` does it"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def free_ports() -> dict[str, int]:
    """A free port for each server."""
    sockets = [socket.socket() for _ in PORTS]
    for each in sockets:
        each.bind((HOST, 0))
    ports = {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}
    for each in sockets:
        each.close()
    return ports


def new_stack(folder: Path, **arguments: Any) -> Stack:
    """A stack that is not up yet."""
    all_built()
    return Stack(folder, free_ports(), **arguments)


def get(url: str, **parameters: Any) -> Any:
    """The JSON that `url` answers with."""
    query = f"?{urllib.parse.urlencode(parameters, doseq=True)}" if parameters else ""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url + query, timeout=TIMEOUT) as response:
        return json.load(response)


def until(get_value: Callable[[], T], holds: Callable[[T], bool] = bool, timeout: float = TIMEOUT) -> T:
    """What `get_value` gives as soon as it `holds`; servers tell nobody when they are done, so they are asked."""
    deadline = time.monotonic() + timeout
    while not holds(value := get_value()):
        if time.monotonic() > deadline:
            pytest.fail(f"not so within {timeout:g} s; at last: {str(value)[:2000]}")
        time.sleep(0.2)
    return value


Labels = dict[str, str]


def samples(stack: Stack, query: str, at: float | None = None) -> list[tuple[Labels, float]]:
    """The instant vector that Prometheus answers with."""
    moment = {} if at is None else {"time": at}
    answer = get(f"{stack.url('prometheus')}/api/v1/query", query=query, **moment)
    return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]


def total(stack: Stack, query: str, at: float | None = None) -> float:
    """The sum of an instant vector; 0 where it is empty."""
    return sum(value for _, value in samples(stack, query, at))


def trace_of(stack: Stack, trace_id: str) -> list[dict[str, Any]]:
    """The spans of a trace, as Jaeger tells them."""
    try:
        answer = get(f"{stack.url('jaeger')}/api/traces/{trace_id}")
    except urllib.error.HTTPError as error:
        error.close()
        return []
    return answer["data"][0]["spans"] if answer["data"] else []


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`otel-progress stack` with the data in `folder`."""
    words = [arguments[0], "--data", str(folder), *arguments[1:]]
    return otlp.run(folder.parent, ["-m", "otel_progress", "stack", *words], **variables)


def all_built() -> None:
    """Skips the test where one is not built."""
    for name in build.PROGRAMS:
        binary(name)

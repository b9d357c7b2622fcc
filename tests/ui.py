"""A server of pages that runs, as `otel-progress ui` starts it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import otlp
from .records import campaign, record
from .said import until

UI = ["-m", "otel_progress", "ui", "--no-browser"]
RUNS = {"a" * 32: "success", "b" * 32: "failure", "c" * 32: "success"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    address: str
    """As it was printed."""

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)/", self.address)
        assert found is not None
        return int(found[1])

    def ask(self, path: str = "/", method: str = "GET", host: str | None = None, **headers: str) -> Answer:
        """Ask it something; of the names of headers `_` is a hyphen."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=otlp.TIMEOUT)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read().decode())

    def data(self, path: str) -> Any:
        answer = self.ask(path)
        assert answer.status == 200, answer.text
        return answer.json

    def ids(self, query: str = "") -> str:
        """The first letters of the ids of the runs that are listed."""
        return "".join(run["id"][0] for run in self.data(f"/data/list{query}")["runs"])

    @contextlib.contextmanager
    def events(self, path: str) -> Generator[Callable[[], str]]:
        """A stream of events that is open; called it gives the next one, without heartbeats."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=otlp.TIMEOUT)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()

            def following() -> str:
                beats = 0  # Of which there is one in fifteen seconds where nothing happens.
                while line := answer.readline().decode():
                    beats += line.startswith(":")
                    assert beats < 4, "nothing was told"
                    if line.startswith("data: "):
                        return line.removeprefix("data: ").strip()
                return "the end"

            yield following
            answer.close()


@contextlib.contextmanager
def serving(folder: Path, *options: str, **variables: str) -> Generator[Served]:
    """A server of what is recorded in a folder."""
    process = otlp.start(folder, [*UI, "--port", "0", *options], **variables)
    try:
        assert process.stdout is not None
        yield Served(process, until(process.stdout, "\n").strip())
    finally:
        process.kill()
        otlp.ended(process)


def recorded(folder: Path) -> Path:
    for number, (run, result) in enumerate(RUNS.items()):
        name = f"20250828T1045{number:02}Z-app-{number:06x}"
        record(folder / ".otel-progress", name, spans=campaign(run, at=number * 100.0, result=result))
    return folder


PROGRAM = """
import sys
from otel_progress import stage, workflow
with workflow("nightly"):
    with stage("extract"): sys.stdin.readline()
    with stage("load"): sys.stdin.readline()
"""


@contextlib.contextmanager
def going_on(folder: Path) -> Generator[subprocess.Popen[str]]:
    """A program of its own that is recorded, and waits in its first stage."""
    program = otlp.start(folder, ["-m", "otel_progress", "run", "-q", str(otlp.write(folder, PROGRAM))])
    try:
        otlp.wait_until(lambda: any("extract" in file.read_text("utf-8") for file in folder.rglob("events.jsonl")))
        yield program
    finally:
        program.kill()
        otlp.ended(program)


def type_in(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()

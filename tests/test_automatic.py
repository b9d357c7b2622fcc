"""Programs that do not know of otel_progress, from outside; and spans of real other instrumentation."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.instrumentation.urllib import URLLibInstrumentor
from pocketflow import Flow, Node

from otel_progress import PocketFlowInstrumentor

from .conftest import Telemetry
from .otlp import Receiver, receiver

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = len(list(EXAMPLES.glob("*.py")))

TREE = [
    ("run Archive", ""),
    ("stage Compress", "stage EachLevel"),
    ("stage Compress", "stage EachLevel"),
    ("stage EachLevel", "run Archive"),
    ("stage ReadFolder", "run Archive"),
    ("stage Report", "run Archive"),
    ("attempt 1", "stage Report"),
]


@pytest.fixture
def collector() -> Generator[Receiver]:
    """A collector."""
    with receiver() as received:
        yield received


def edges(received: Receiver) -> list[tuple[str, str]]:
    """Each span with its parent."""
    by_id = {span.span_id: span.name for span in received.spans}
    return sorted((span.name, by_id.get(span.parent_id, "")) for span in received.spans)


def program(*command: str, collector: Receiver, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that exports to `collector`."""
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            **environment,
        },
    )


def check(received: Receiver, done: subprocess.CompletedProcess[str]) -> None:
    assert done.stdout.startswith("small: ")
    assert edges(received) == sorted(TREE)
    assert len({span.trace_id for span in received.spans}) == 1
    platforms = [span.attributes["otel_progress.item.platform"] for span in received.spans if "Compress" in span.name]
    assert sorted(platforms) == ["fast", "small"]
    counts = {
        (point.attributes["otel_progress.item.platform"]): point.value
        for point in received.points
        if point.metric == "otel_progress.stage.items" and point.attributes["otel_progress.stage.name"] == "Compress"
    }
    assert counts == {"fast": FILES, "small": FILES}


def test_opentelemetry_instrument_exports_the_whole_tree(collector: Receiver, tmp_path: Path) -> None:
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    done = program(instrument, sys.executable, str(EXAMPLES / "plain_flow.py"), collector=collector, cwd=tmp_path)
    check(collector, done)


def test_log_records_of_the_automatic_path_say_where_they_belong(collector: Receiver, tmp_path: Path) -> None:
    code = (
        "import logging\nfrom pocketflow import Flow, Node\n"
        "class Draft(Node):\n    def exec(self, prep_res): logging.getLogger('app').warning('hello')\n"
        "Flow(start=Draft()).run({})\n"
    )
    (tmp_path / "flow.py").write_text(code)
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    asked = {"OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true", "PYTHONWARNINGS": "ignore"}
    program(instrument, sys.executable, "flow.py", collector=collector, cwd=tmp_path, **asked)
    (log,) = [log for log in collector.logs if log.body == "hello"]
    assert log.attributes["otel_progress.stage.name"] == "Draft"


@pytest.mark.parametrize("sets_up", [(), ("a distro's",)])
def test_where_nothing_sets_up_the_sdk_that_is_said(
    sets_up: tuple[str, ...], telemetry: Telemetry, faults: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = "opentelemetry.instrumentation.auto_instrumentation._load"  # As `opentelemetry-instrument` has it.
    monkeypatch.setitem(sys.modules, loaded, ModuleType(loaded))
    monkeypatch.setattr("otel_progress.instrumentor.entry_points", lambda group: sets_up)
    PocketFlowInstrumentor().instrument(skip_dep_check=True)
    PocketFlowInstrumentor().uninstrument()
    assert [fault for fault in faults() if "pip install opentelemetry-distro" in fault] == faults()
    assert bool(faults()) == (not sets_up)


def test_the_command_line_exports_the_whole_tree(collector: Receiver, tmp_path: Path) -> None:
    done = program(
        *(sys.executable, "-m", "otel_progress", "run", str(EXAMPLES / "plain_flow.py")),
        collector=collector,
        cwd=tmp_path,
    )
    check(collector, done)
    assert "EachLevel" in done.stderr


def test_the_automatic_path_reads_its_settings_from_the_environment(collector: Receiver, tmp_path: Path) -> None:
    program(
        *(sys.executable, "-m", "otel_progress", "run", str(EXAMPLES / "plain_flow.py")),
        collector=collector,
        cwd=tmp_path,
        OTEL_PROGRESS_EXCLUDE="Comp*, ReadFolder",
        OTEL_PROGRESS_DETAIL="items",
    )
    assert {name for name, _ in edges(collector)} == {
        "run Archive",
        "stage EachLevel",
        "stage Report",
        "item",
        "attempt 1",
    }


def test_a_request_inside_a_stage_says_where_it_belongs(telemetry: Telemetry) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.handle_request)
    thread.start()

    class Fetch(Node):
        def exec(self, prep_res: Any) -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/brief", timeout=30) as answer:
                return answer.status

    URLLibInstrumentor().instrument(tracer_provider=telemetry.tracer_provider)
    PocketFlowInstrumentor().instrument()
    try:
        Flow(Fetch()).run({})
    finally:
        PocketFlowInstrumentor().uninstrument()
        URLLibInstrumentor().uninstrument()
        thread.join(30)
        server.server_close()
    assert repr(telemetry.trees()) == "[run tests[stage Fetch[GET]]]"
    attributes = telemetry.span("GET").attributes or {}
    assert {name: value for name, value in attributes.items() if name.startswith("otel_progress")} == {
        "otel_progress.workflow.name": "tests",
        "otel_progress.run.id": "run-1",
        "otel_progress.stage.name": "Fetch",
    }

"""Jaeger as a source, by a server that answers as it does, and as it should not. The real one: `test_stack_runs`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_progress.runs import Filter, SourceError, read
from otel_progress.runs.reading import open_source

from .records import RUN, SECOND, START, campaign, everything

Answer = tuple[int, bytes]
TRACES = json.dumps(
    {"result": {"resourceSpans": [json.loads(line)["resourceSpans"][0] for line in campaign()]}}
).encode()
NONE = 404, b'{"error":{"httpCode":404,"message":"No traces found"}}\n'


@dataclass
class Jaeger:
    """What is asked, and how it is answered."""

    address: str = ""
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list[Any])
    authorization: str | None = None
    answer: Callable[[str, dict[str, list[str]]], Answer] = lambda path, query: NONE


@pytest.fixture
def jaeger() -> Generator[Jaeger]:
    told = Jaeger()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            query = parse_qs(split.query)
            told.asked.append((split.path, query))
            told.authorization = self.headers["Authorization"]
            code, body = told.answer(split.path, query)
            self.send_response(code)
            if code == 302:
                self.send_header("Location", body.decode())
                body = b""
            self.send_header("Content-Length", str(len(body) + (10 if body.endswith(b"cut") else 0)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any, **__: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def answers(services: Any, traces: Answer) -> Callable[[str, dict[str, list[str]]], Answer]:
    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        return (200, json.dumps(services).encode()) if path.endswith("/services") else traces

    return answer


def test_every_service_is_asked_and_a_run_is_there_once(jaeger: Jaeger) -> None:
    """Also where a trace has spans of two services, and so is in two answers."""
    jaeger.answer = answers({"services": ["studio", "other"]}, (200, TRACES))
    runs, problems = everything(jaeger.address)
    assert problems == []
    assert [(run.id, run.visit_count, run.state, run.source) for run in runs] == [(RUN, 2, "done", jaeger.address)]
    paths = [path for path, _ in jaeger.asked]
    assert paths == ["/api/v3/services", "/api/v3/traces", "/api/v3/traces"]
    assert [query["query.service_name"] for _, query in jaeger.asked[1:]] == [["studio"], ["other"]]


def test_a_service_and_times_that_are_asked_for(jaeger: Jaeger) -> None:
    jaeger.answer = answers(None, NONE)
    open_source(f"{jaeger.address}/jaeger/?service=a%20b", Filter(since=START, until=START + 90 * SECOND + 5))
    ((path, query),) = jaeger.asked
    assert path == "/jaeger/api/v3/traces"
    assert query == {
        "query.service_name": ["a b"],
        "query.start_time_min": ["2025-08-28T10:45:00.000000000Z"],
        "query.start_time_max": ["2025-08-28T10:46:30.000000005Z"],
    }


def test_nothing_found_is_no_run(jaeger: Jaeger) -> None:
    jaeger.answer = answers({"services": ["studio"]}, NONE)
    assert everything(jaeger.address) == ([], [])
    jaeger.answer = answers({"services": []}, NONE)
    assert everything(jaeger.address) == ([], [])


def test_an_answer_that_is_too_long_is_asked_for_in_parts(jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_progress.runs.jaeger.MOST_BYTES", len(TRACES))

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        times = [query[f"query.start_time_{end}"][0] for end in ("min", "max")]
        return (200, TRACES) if times[0] > "2025-08-28T10:50" else (200, TRACES + b" ")

    jaeger.answer = answer
    wanted = Filter(since=START, until=START + 600 * SECOND)
    with pytest.raises(SourceError, match="MiB of traces within a second"):
        open_source(f"{jaeger.address}?service=x", wanted)
    assert len(jaeger.asked) < 20
    jaeger.answer = lambda path, query: (200, TRACES + b" ") if len(jaeger.asked) < 3 else (200, TRACES)
    jaeger.asked.clear()
    open_source(f"{jaeger.address}?service=x", wanted)
    asked = [[query[f"query.start_time_{end}"][0][14:19] for end in ("min", "max")] for _, query in jaeger.asked]
    assert asked == [["45:00", "55:00"], ["45:00", "50:00"], ["45:00", "47:30"], ["47:30", "50:00"], ["50:00", "55:00"]]


def test_a_password_is_sent_and_not_shown(jaeger: Jaeger) -> None:
    jaeger.answer = answers({"services": ["studio"]}, (200, TRACES))
    address = jaeger.address.replace("//", "//me:s%20cret@")
    (run,) = read(address)
    assert run.source == jaeger.address
    assert jaeger.authorization == "Basic bWU6cyBjcmV0"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>"), "/api/v3/services: its answer: not JSON: "),
        ((200, b"[]"), "/api/v3/services: its answer: a JSON object is expected, not an array"),
        ((200, b"{}"), ": not Jaeger: its /api/v3/services names no services"),
        ((200, b'{"services": 5}'), ": not Jaeger: its /api/v3/services names no services"),
        ((404, b"no"), "/api/v3/services: it answers 404 Not Found"),
        ((500, b"no"), "/api/v3/services: it answers 500 Internal Server Error"),
        ((302, b"/api/v3/services"), "/api/v3/services: it answers 302"),
        ((302, b"file:///etc/passwd"), "/api/v3/services: it answers 302"),
        ((200, b'{"services": ["a"]} cut'), "/api/v3/services: "),
    ],
)
def test_an_answer_that_is_none(answer: Answer, said: str, jaeger: Jaeger) -> None:
    jaeger.answer = lambda path, query: answer
    with pytest.raises(SourceError) as raised:
        read(jaeger.address)
    assert str(raised.value).startswith(jaeger.address + said)


def test_an_answer_that_is_streamed(jaeger: Jaeger) -> None:
    """As a gateway of gRPC does: a document a line, in the place of one."""
    parts = [json.dumps({"result": {"resourceSpans": json.loads(line)["resourceSpans"]}}) for line in campaign()]
    jaeger.answer = answers({"services": ["studio"]}, (200, "\n\n".join([*parts, ""]).encode()))
    (run,), problems = everything(jaeger.address)
    assert (run.visit_count, run.result, problems) == (2, "success", [])
    jaeger.answer = answers({"services": ["studio"]}, (200, "\n".join([*parts, "<html>"]).encode()))
    with pytest.raises(SourceError, match="its answer: not JSON: Extra data"):
        read(jaeger.address)
    jaeger.answer = answers({"services": ["studio"]}, (200, b""))
    with pytest.raises(SourceError, match="its answer: not JSON"):
        read(jaeger.address)


def test_half_characters_in_an_address_or_an_answer(jaeger: Jaeger) -> None:
    jaeger.answer = answers({"services": ["\ud800"]}, (200, TRACES))
    (run,) = read(jaeger.address.replace("http://", "HTTP://me\udcff:\udcfe@"))
    assert (run.id, jaeger.authorization) == (RUN, "Basic bWX/Ov4=")
    (run,) = read(f"{jaeger.address}?service=\udcff")
    assert run.id == RUN


def test_no_room_for_what_jaeger_answers(jaeger: Jaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    jaeger.answer = answers({"services": ["studio"]}, (200, TRACES))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "w+b", buffering=0))  # noqa: PTH123, SIM115
    with pytest.raises(SourceError) as raised:
        read(jaeger.address)
    why = "it cannot be kept in the folder for temporary files (No space left on device)"
    assert str(raised.value) == f"{jaeger.address}: {why}"


def test_traces_that_are_none(jaeger: Jaeger) -> None:
    jaeger.answer = answers({"services": ["studio"]}, (200, b"<html>"))
    with pytest.raises(SourceError, match="its answer: not JSON"):
        read(jaeger.address)
    jaeger.answer = answers({"services": ["studio"]}, (200, b'{"error": {"message": "no"}}'))
    runs, problems = everything(jaeger.address)
    assert runs == []
    assert problems[0].startswith(f"{jaeger.address}:1: an error in the place of an answer")

"""docs/preview: what it is built from, and the lists of runs as Grafana's own libraries show them in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_progress import names

from .panels import ROOT, RUN, Json

PREVIEW = ROOT / "docs" / "preview"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
RESULTS = ("success", "success", "failure", "fallback", "cancelled", "abandoned", None)
"""What the runs come to, by turns; the last of them go on."""
COLOURS = {
    "success": "rgb(115, 191, 105)",
    "fallback": "rgb(250, 222, 42)",
    "failure": "rgb(242, 73, 92)",
    "cancelled": "rgb(184, 119, 217)",
    "abandoned": "rgb(255, 152, 48)",
}
"""What the names of the colours are in Grafana's dark theme."""
BEGAN = 1_790_000_000_000_000


def run(number: int) -> Json:
    """A trace with one run, as Jaeger's API writes it: a later one is shorter. Some IDs have digits only."""
    result = RESULTS[number % len(RESULTS)]
    span = {
        "spanID": f"{number:016x}",
        "operationName": "run campaign",
        "references": [],
        "startTime": BEGAN + number * 1_000_000,
        "duration": (1000 - number) * 1000,
        "processID": "p1",
        "tags": [{"key": names.RESULT, "type": "string", "value": result}] if result else [],
    }
    return {"traceID": f"{number:032x}", "spans": [span], "processes": {"p1": {"serviceName": "studio"}}}


RUNS = [run(number) for number in range(260)]


class Servers(BaseHTTPRequestHandler):
    """Prometheus with a job and a workflow and no samples; Jaeger with the runs."""

    def do_GET(self) -> None:
        path, asked = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/api/traces":
            tags = json.loads(asked.get("tags", ["{}"])[0])
            found = [each for each in RUNS if self.has(each, tags)][-int(asked["limit"][0]) :]
            self.answer({"data": found[::-1]})
        else:
            self.answer({"status": "success", "data": ["studio" if path.endswith("/job/values") else "campaign"]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        exemplars = urlsplit(self.path).path.endswith("/query_exemplars")
        self.answer({"status": "success", "data": [] if exemplars else {"result": []}})

    @staticmethod
    def has(trace: Json, tags: dict[str, str]) -> bool:
        """Whether the run has all these tags."""
        return tags.items() <= {tag["key"]: tag["value"] for tag in trace["spans"][0]["tags"]}.items()

    def answer(self, body: Json) -> None:
        """Send it as JSON."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_packages_are_locked_as_the_public_registry_has_them() -> None:
    wanted = json.loads((PREVIEW / "package.json").read_text("utf-8"))
    own, *packages = json.loads((PREVIEW / "package-lock.json").read_text("utf-8"))["packages"].values()
    assert own["dependencies"] == wanted["dependencies"]
    for each in packages:
        assert each["resolved"].startswith("https://registry.npmjs.org/")
        assert each["integrity"].startswith("sha512-")


@pytest.fixture(scope="module")
def tables() -> Iterator[dict[str, list[list[Json]]]]:
    if not ((PREVIEW / "node_modules").is_dir() and shutil.which("npm") and shutil.which(CHROMIUM)):
        pytest.skip("needs `npm ci` in docs/preview, and a Chromium")
    with ThreadingHTTPServer(("127.0.0.1", 0), Servers) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment = {**os.environ, "JAEGER_URL": address, "PROMETHEUS_URL": address}
        try:
            for command in (["npm", "run", "--silent", "build"], ["node", "draw.mjs", "--tables", RUN]):
                done = subprocess.run(
                    command, cwd=PREVIEW, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stderr + done.stdout
            yield json.loads(done.stdout)
        finally:
            server.shutdown()


def expected(runs: list[Json]) -> list[list[str]]:
    """The trace ID and the result of each."""
    return [[each["traceID"], *(tag["value"] for tag in each["spans"][0]["tags"])] for each in runs]


def shown(table: list[list[Json]]) -> list[list[str]]:
    """The same of the rows of a table; `–` is no result."""
    return [[row[0]["text"], *(cell["text"] for cell in row[3:] if cell["text"] != "–")] for row in table[1:]]


def test_the_last_runs_with_their_results_the_latest_first(tables: dict[str, list[list[Json]]]) -> None:
    assert [cell["text"] for cell in tables["Recent runs"][0]] == ["Trace ID", "Start", "Duration", "Result"]
    assert shown(tables["Recent runs"]) == expected(RUNS[:-51:-1])


def test_the_slowest_of_the_last_runs_with_their_results(tables: dict[str, list[list[Json]]]) -> None:
    assert shown(tables["Slowest runs"]) == expected(RUNS[-200:])


def test_the_failed_runs_need_no_result(tables: dict[str, list[list[Json]]]) -> None:
    assert [cell["text"] for cell in tables["Failed runs"][0]] == ["Trace ID", "Start", "Duration"]
    failed = [each for each in RUNS if Servers.has(each, {names.RESULT: "failure"})]
    assert shown(tables["Failed runs"]) == [[each["traceID"]] for each in reversed(failed)]


def test_a_result_has_its_colour(tables: dict[str, list[list[Json]]]) -> None:
    cells = [row[3] for title in ("Recent runs", "Slowest runs") for row in tables[title][1:]]
    assert {cell["text"]: cell["color"] for cell in cells if cell["text"] != "–"} == COLOURS


def test_a_trace_id_leads_to_its_run(tables: dict[str, list[list[Json]]]) -> None:
    for table in tables.values():
        for row in table[1:]:
            link = urlsplit(row[0]["link"])
            assert link.path == f"/d/{RUN}"
            asked = parse_qs(link.query)
            assert (asked["var-traceId"], asked["var-job"]) == ([row[0]["text"]], ["studio"])

"""A run read from the real Jaeger is the run that was recorded."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from otel_progress.insight import Report, RunFigures
from otel_progress.runs import Run, read
from otel_progress.stack.run import Stack

from . import otlp
from .servers import new_stack, until

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[1]


@pytest.fixture
def jaeger(tmp_path: Path) -> Generator[Stack]:
    """Jaeger alone, up."""
    stack = new_stack(tmp_path / "stack")
    stack.up("jaeger")
    yield stack
    stack.down()


def told(run: Run) -> Run:
    """A run without what only one of the two sources has."""
    visits = tuple(replace(visit, id="", process=None, parent=None, links=()) for visit in run.visits)
    return replace(run, source="", processes=(), visits=visits)


def figures(found: RunFigures) -> tuple[RunFigures, list[tuple[str | None, int, int]], list[tuple[str, bool]]]:
    """Those of a run, and its critical path without the ids of visits, which each of the sources has of its own."""
    path = found.path
    segments = [(each.stage, each.started, each.ended) for each in path.segments]
    steps = [(each.stage, each.inferred) for each in path.steps]
    return replace(found, source="", path=type(path)((), ())), segments, steps


def test_jaeger_tells_what_the_record_does(jaeger: Stack, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for _ in range(3):
        done = otlp.run(
            tmp_path,
            ["-m", "otel_progress", "run", "--service-name", "studio", "examples/pr_campaign.py"],
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=jaeger.url("jaeger_otlp"),
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
            OTEL_METRICS_EXPORTER="none",
        )
        assert done.returncode == 0, done.stderr
    recorded = [told(run) for run in read(tmp_path)]
    for address in (jaeger.url("jaeger"), f"{jaeger.url('jaeger')}/?service=studio"):
        shown = until(lambda address=address: [told(run) for run in read(address)], lambda runs: runs == recorded)
        assert [len(run.visits) for run in shown] == [10, 10, 10]
    assert list(read(f"{jaeger.url('jaeger')}/?service=nobody")) == []
    links = Counter(link.kind for run in read(jaeger.url("jaeger")) for visit in run.visits for link in visit.links)
    assert links == {"follows": 27, "repeats": 12}  # Though Jaeger keeps no attributes of links.
    of_record, of_jaeger = Report(), Report()
    for run in read(tmp_path):
        of_record.add(run)
    for run in read(jaeger.url("jaeger")):
        of_jaeger.add(run)
    (here,), (there,) = of_record.workflows(), of_jaeger.workflows()
    assert there.figures == here.figures
    assert there.insights == here.insights
    assert figures(there.last) == figures(here.last)


def test_what_jaegers_upload_box_makes_of_a_record(jaeger: Stack, tmp_path: Path) -> None:
    """Its page puts the lines of a file together and sends them to the server, which makes of them what it shows."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = otlp.run(tmp_path, ["-m", "otel_progress", "run", "examples/pr_campaign.py"])
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / ".otel-progress" / "runs").glob("*/spans.jsonl")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    together = {"resourceSpans": [each for line in lines for each in line["resourceSpans"]]}
    request = urllib.request.Request(
        f"{jaeger.url('jaeger')}/api/transform",
        json.dumps(together).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=otlp.TIMEOUT) as answer:
        (trace,) = json.load(answer)["data"]
    (run,) = read(tmp_path)
    shown = Counter(span["operationName"] for span in trace["spans"])
    assert shown == Counter(["run pr_campaign", "attempt 1", *(f"stage {visit.stage}" for visit in run.visits)])
    assert {process["serviceName"] for process in trace["processes"].values()} == {"pr_campaign"}
    assert trace["traceID"] == run.trace_id

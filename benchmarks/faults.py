"""Faults: each gives how often one did harm, and what there is to say."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from load import Setup
from opentelemetry import context
from pocketflow import Flow, Node

from otel_progress import PocketFlowInstrumentor, stage, workflow
from tests import otlp, test_attacks, test_hostile_exceptions

_PROGRAM = """
import time
from otel_progress import stage, workflow
shared = {}
print("begun", flush=True)
with workflow("campaign", shared=shared):
    while True:
        with stage("draft", shared=shared):
            time.sleep(0.0005)
"""
_FORKS = """
import os, signal, sys, threading
from otel_progress import configure, stage, workflow
telemetry = configure("forks")
stop = threading.Event()
def record():
    while not stop.is_set():
        with workflow("parent", shared={}), stage("draft") as visit:
            visit.advance(1)
threads = [threading.Thread(target=record) for _ in range(4)]
for thread in threads:
    thread.start()
failed = 0
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        shared = {}
        with workflow("child", shared=shared), stage("draft") as visit:
            visit.advance(1)
        os._exit(0 if shared["progress_metrics"]["draft"]["items_done"] == 1 else 1)
    failed += os.waitpid(child, 0)[1] != 0
stop.set()
for thread in threads:
    thread.join()
print(failed)
"""
_EXPORTS = """
from otel_progress import configure, stage, workflow
configure("exit")
with workflow("campaign", shared={}):
    for _ in range(600):
        with stage("draft"):
            pass
"""


class Limit(BaseException):
    """What the handler raises."""


def signals(count: int) -> tuple[int, str]:
    """Real signals, at random instants of what would not end without them."""
    setup, swallowed, left, chance, came = Setup(), 0, 0, random.Random(1), list[int]()

    def handler(number: int, frame: Any) -> None:
        came.append(number)
        raise Limit

    signal.signal(signal.SIGALRM, handler)
    PocketFlowInstrumentor().instrument()
    works = test_attacks.blocks, test_attacks.calls, test_attacks.flows
    for number in range(count):
        came.clear()
        with contextlib.suppress(Limit):
            signal.setitimer(signal.ITIMER_REAL, 0.0003 + chance.random() * 0.002, 5)
            works[number % 3]()
        signal.setitimer(signal.ITIMER_REAL, 0)
        swallowed += len(came) > 1  # The first one was: the next one came, after 5 seconds.
        registry = setup.recorder.registry
        left += bool(registry.visits() or context.get_current() or any(not run.implicit for run in registry.runs()))
        if number % 100 == 0:
            setup.recorder.close()
            setup.ended.all.clear()
            setup.measured()
    PocketFlowInstrumentor().uninstrument()
    return swallowed + left, f"{count:,} tried, {swallowed} swallowed, {left} left open"


def forks(count: int) -> tuple[int, str]:
    """Children that record."""
    with tempfile.TemporaryDirectory() as folder, otlp.receiver() as receiver:
        program = otlp.write(Path(folder), _FORKS)
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", str(program), str(count)],
            env=otlp.environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, PYTHONPATH=os.pathsep.join(sys.path)),
            capture_output=True,
            text=True,
            check=False,
        )
    failed = int(ended.stdout) if ended.stdout.strip().isdecimal() else count
    return failed, f"{count:,} children, {failed} hung or failed"


def kills(count: int) -> tuple[int, str]:
    """A third by SIGKILL, the others by SIGTERM; a line that is no JSON is torn."""
    torn = lines = 0
    chance = random.Random(2)
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            program = otlp.write(Path(folder), _PROGRAM)
            environment = otlp.environment(OTEL_METRICS_EXPORTER="none", PYTHONPATH=os.pathsep.join(sys.path))
            process = subprocess.Popen(
                [sys.executable, "-m", "otel_progress", "run", str(program)],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.random() * 0.3)
            process.send_signal(signal.SIGTERM if number % 3 else signal.SIGKILL)
            process.wait()
            process.stdout.close()
            for file in Path(folder).rglob("*.jsonl"):
                for line in file.read_text("utf-8").splitlines():
                    lines += 1
                    try:
                        json.loads(line)
                    except ValueError:
                        torn += 1
    return torn, f"{count:,} killed, {lines:,} lines, {torn} torn"


@contextlib.contextmanager
def _saying(what: bytes, close: bool) -> Generator[str]:
    """What takes every connection, says something and closes it, or not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one = server.accept()[0]
                    one.sendall(what)
                    held.append(one)
                    if close:
                        one.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for one in held:
            one.close()


def _broken() -> dict[str, Callable[[], contextlib.AbstractContextManager[str]]]:
    statuses = (301, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504)
    said = {
        "nothing": b"", "garbage": b"\xff" * 100, "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
        "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "an endless header": b"x" * 100_000,
        "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n", "no length": b"HTTP/1.1 200 OK\r\n\r\n",
    }  # fmt: skip
    return {
        "refuses": otlp.refusing,
        "name that is none": lambda: contextlib.nullcontext("http://no-such-collector.invalid:4318"),
        **{f"status {status}": lambda status=status: otlp.answering(status) for status in statuses},
        "retries later": lambda: otlp.answering(503, Retry_After="3600"),
        "is no protobuf": lambda: otlp.answering(200, b"\xff" * 50),
        **{f"says {name}": lambda what=what: _saying(what, close=True) for name, what in said.items()},
        **{f"says {name} and waits": lambda what=what: _saying(what, close=False) for name, what in said.items()},
    }


def collectors(count: int) -> tuple[int, str]:
    """The end of a program whose collector is broken: more than 5 s are wrong, of which 2 wait for it."""
    longest, slow, tried = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        program = otlp.write(Path(folder), f"{_EXPORTS}\nimport time, atexit\nprint(time.time(), flush=True)\n")
        for make in list(_broken().values())[:count]:
            with make() as endpoint:
                ended = subprocess.run(
                    [sys.executable, str(program)],
                    env=otlp.environment(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, PYTHONPATH=os.pathsep.join(sys.path)),
                    capture_output=True,
                    text=True,
                    check=False,
                )
                took = time.time() - float(ended.stdout)
            tried += 1
            longest = max(longest, took)
            slow += took > 5 or ended.returncode != 0
    return slow, f"{tried} kinds, the longest end took {longest:.1f} s"


def instrumenting(count: int) -> tuple[int, str]:
    """Flows in three threads."""
    Setup()
    died = list[BaseException]()

    class Step(Node):  # pyright: ignore[reportMissingTypeArgument] - generic in its stub only
        def exec(self, prep_res: Any) -> int:
            return 1

        def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> None:
            shared["done"] = exec_res

    def run() -> None:
        for _ in range(count // 3):
            shared: dict[str, Any] = {}
            try:
                Flow(Step()).run(shared)
                assert shared["done"] == 1
            except BaseException as error:
                died.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    cycles = 0
    while any(thread.is_alive() for thread in threads):
        PocketFlowInstrumentor().instrument()
        PocketFlowInstrumentor().uninstrument()
        cycles += 1
    return len(died), f"{count // 3 * 3:,} flows, {cycles:,} cycles, {len(died)} died"


def exceptions(count: int) -> tuple[int, str]:
    """The tests' own: each has to come out as it is, and to leave nothing open."""
    setup, wrong, tried = Setup(), 0, 0
    PocketFlowInstrumentor().instrument()
    places = [
        getattr(test_hostile_exceptions, f"in_a_{place}")
        for place in ("block", "function", "coroutine", "generator", "flow")
    ]
    for make in test_hostile_exceptions.HOSTILE.values():
        for place in places:
            if tried >= count:
                break
            error, same = make(), False
            try:
                place(error)
            except BaseException as raised:
                same = raised is error
            tried += 1
            wrong += not same or bool(setup.recorder.registry.visits())
    PocketFlowInstrumentor().uninstrument()
    kinds = len(test_hostile_exceptions.HOSTILE)
    return wrong, f"{kinds} kinds, {tried} tried, {wrong} left a run open or changed"


def stores(count: int) -> tuple[int, str]:
    """The tests' own odd values wherever one is read: what the store then says of the run has to be JSON."""
    Setup()
    wrong = tried = 0
    keys = "task_requirements", "quality_control", "workflow_state", "version_history", "progress_metrics"
    for value in test_attacks.ODD:
        for key in (*keys, "progress_run", "platforms", "revision_count"):
            if tried >= count:
                break
            shared: dict[str, Any] = {key: value} if key in (*keys, "progress_run") else {
                "task_requirements": {key: value}, "quality_control": {key: value},
            }  # fmt: skip
            tried += 1
            try:
                with workflow("w", shared=shared), stage("a", platforms=value, revision=value) as visit:
                    visit.expect(value)
                    visit.advance(value, total=value, failed=value)
                    visit.platform(value)
                json.dumps(shared["progress_metrics"]["a"], allow_nan=False)
            except Exception:
                wrong += 1
    return wrong, f"{tried} tried, {wrong} raised or were no JSON"

"""Recording again in the midst of recording, of a collection and of a flush: from a handler, a finalizer, a fork.

A lock that would be taken twice stops a process for ever. So each of these runs in one of its own, which prints where
it stood when it took too long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from otel_progress import stage

from . import otlp
from .conftest import Telemetry

PROVIDERS = """
import faulthandler, gc, os, signal, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_progress import stage, workflow
from otel_progress.recording import default
from otel_progress.recording.recorder import Recorder
from otel_progress.sinks.usual import usual_sinks
from otel_progress.telemetry.ended import EndedSpans

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
spans, metrics = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
spans.add_span_processor(EndedSpans(exporter, max_queue_size=65_536, max_export_batch_size=1))
recorder = Recorder()
recorder.sinks = usual_sinks(recorder, spans, metrics)
default.use(recorder)

def visit():
    with stage("usual", shared={}) as visit:
        visit.advance(1, failed=1)

def again():
    with workflow("again", shared={}), stage("inside") as visit:
        visit.advance(1, failed=1)

def collect():
    visit()
    reader.get_metrics_data()

def flush():
    visit()
    return spans.force_flush(5000) and metrics.force_flush(5000)
"""


def printed(tmp_path: Path, code: str) -> str:
    """What a program prints that has ended in time."""
    program = otlp.write(tmp_path, PROVIDERS + textwrap.dedent(code))
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)],
        cwd=Path(__file__).parents[1],
        env=otlp.environment(PYTHONPATH=str(Path(__file__).parents[1])),
        capture_output=True,
        text=True,
        timeout=otlp.TIMEOUT * 2,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.strip()


@pytest.mark.parametrize(("work", "step"), [("visit", 1), ("collect", 4), ("flush", 2)])
def test_a_handler_may_record_at_every_instant(tmp_path: Path, work: str, step: int) -> None:
    """As in `test_instants`, but also in the SDK and in the standard library; and the handler returns.

    Of a collection, which does the same for each instrument, every fourth instant is enough.
    """
    code = f"""
    INSIDE = ("otel_progress", "opentelemetry", "threading", "queue", "logging")

    def interrupt(work, at):
        count = 0
        def look(frame, event, _):
            nonlocal count
            if event in ("call", "c_return") and str(frame.f_globals.get("__name__")).startswith(INSIDE):
                count += 1
                if count == at:
                    sys.setprofile(None)
                    again()
        sys.setprofile(look)
        work()
        sys.setprofile(None)
        return count

    {work}()
    tried, at = 0, 1
    while interrupt({work}, at) >= at:
        tried, at = tried + 1, at + {step}
    spans.force_flush()
    names = [span.name for span in exporter.get_finished_spans()]
    print(tried > 200, names.count("stage inside") == tried, recorder.registry.visits())
    """
    assert printed(tmp_path, code) == "True True []"


def test_a_finalizer_may_record_whenever_the_garbage_collector_runs(tmp_path: Path) -> None:
    code = """
    class Session:
        def __del__(self):
            again()

    @stage("suspended")
    def suspended(shared):
        me = yield
        yield

    def leave_behind():
        session = Session()
        session.itself = session
        steps = suspended({})
        next(steps)
        steps.send([steps])

    gc.set_threshold(1, 1, 1)
    for _ in range(50):
        leave_behind()
        collect()
        leave_behind()
        flush()
    gc.set_threshold(0)
    gc.collect()
    spans.force_flush()
    names = [span.name for span in exporter.get_finished_spans()]
    print(names.count("stage inside"), names.count("stage suspended"), recorder.registry.visits())
    """
    assert printed(tmp_path, code) == "100 100 []"


def test_no_lock_is_waited_for_while_another_is_held(telemetry: Telemetry) -> None:
    """A finalizer may run where a run's lock is held, and begin another run, which takes the registry's."""
    shared: dict[str, object] = {}
    with stage("first", shared=shared) as visit:
        run = visit.run
    registry, rested = telemetry.recorder.registry, threading.Event()

    def rest() -> None:
        registry.rest(run, shared)
        rested.set()

    with run.lock:
        threading.Thread(target=rest, daemon=True).start()
        assert rested.wait(otlp.TIMEOUT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_records_whatever_its_parent_does_at_the_fork(tmp_path: Path) -> None:
    code = """
    stop = threading.Event()

    def on_and_on(work):
        while not stop.is_set():
            work()

    threads = [threading.Thread(target=on_and_on, args=(work,)) for work in (visit, again, collect, flush)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(40):
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # Kills.
            shared = {}
            with workflow("child", shared=shared), stage("in_child") as visit:
                visit.advance(1)
            os._exit(0 if shared["progress_metrics"]["in_child"]["items_done"] == 1 else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join()
    print(codes == [0] * 40)
    """
    assert printed(tmp_path, code) == "True"

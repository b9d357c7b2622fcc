"""Never harm the workflow: each promise of that kind, tried."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry import trace
from pocketflow import BatchFlow, BatchNode

from otel_progress import Sink, Visit, add_sink, current_stage, progress, stage, workflow
from otel_progress.recording.settings import Settings

from .conftest import Telemetry


class Raising(Sink):
    """A sink whose every method fails."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        raise RuntimeError(f"sink {name}")


def test_a_sink_that_raises_is_said_once_and_stops_nothing(
    telemetry: Telemetry, faults: Callable[[], list[str]]
) -> None:
    telemetry.recorder.sinks.insert(0, Raising())
    shared: dict[str, Any] = {}
    for _ in range(3):
        with workflow("w", shared=shared), stage("a") as visit:
            visit.advance()
    assert shared["progress_metrics"]["a"]["completed"] is True
    assert len(telemetry.spans()) == 6
    assert sorted(faults()) == sorted(
        f"Raising.{event} failed; the workflow goes on without it"
        for event in (
            "run_started",
            "run_shown",
            "visit_started",
            "items_ended",
            "stage_changed",
            "visit_ended",
            "run_ended",
        )
    )


def test_a_recorder_that_fails_leaves_the_workflow_alone(
    telemetry: Telemetry, faults: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no recorder")

    monkeypatch.setattr(telemetry.recorder, "start_visit", fail)
    monkeypatch.setattr(telemetry.recorder, "start_run", fail)

    @stage("a")
    def a() -> int:
        return 1

    assert a() == 1
    with stage("b") as visit:
        visit.platform("x")
        visit.advance(3, total=5)
        assert isinstance(visit, Visit)
    with workflow("w") as run:
        assert progress(run) == {}
    with pytest.raises(ValueError, match="own"), stage("c"):
        raise ValueError("own")
    assert faults() == ["Opening could not begin; the workflow goes on unrecorded"]


def test_a_recorder_that_fails_at_the_end_leaves_the_workflow_alone(
    telemetry: Telemetry, faults: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no end")

    monkeypatch.setattr(telemetry.recorder, "end", fail)
    with pytest.raises(ValueError, match="own"), stage("c"):
        raise ValueError("own")
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert faults() == ["Opening could not end; the workflow goes on"]


def told(visit: Visit) -> dict[str, Any]:
    """All that is known of a visit but what a sink makes of it."""
    by_sinks = {"span", "span_context", "context", "is_told"}
    return {name: getattr(visit, name) for name in {*Visit.__slots__, *vars(visit)} - by_sinks}


def test_a_visit_is_complete_before_any_sink_is_told_of_it(telemetry: Telemetry) -> None:
    at_first: dict[Visit, dict[str, Any]] = {}
    then: dict[Visit, dict[str, Any]] = {}

    class First(Sink):
        def visit_started(self, visit: Visit) -> None:
            at_first[visit] = told(visit)

    def look() -> None:
        visit = current_stage()
        assert visit is not None
        then[visit] = told(visit)

    @stage("plain", budget=1, platforms="x, y", revision=2)
    def plain(shared: dict[str, Any]) -> None:
        look()

    @stage("batch")
    class Batch(BatchNode):
        def prep(self, shared: dict[str, Any]) -> list[int]:
            look()
            return [1, 2]

    class Each(BatchFlow):
        def prep(self, shared: dict[str, Any]) -> list[dict[str, str]]:
            return [{"platform": "x"}, {"platform": "y"}]

    telemetry.recorder.change(lambda sinks: [First(), *sinks])
    shared: dict[str, Any] = {"task_requirements": {"platforms": ["x"]}, "version_history": [{"version_id": "1"}]}
    with workflow("w", shared=shared):
        for _ in range(2):
            plain(shared)
        Each(Batch()).run(shared)
    assert at_first == then
    assert [visit.stage for visit in then] == ["plain", "plain", "batch", "batch"]


def test_a_sink_that_is_added_comes_last_and_finds_the_span_and_the_mirror_made(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    found: list[tuple[bool, bool]] = []

    class Look(Sink):
        def visit_started(self, visit: Visit) -> None:
            span = trace.get_current_span(visit.context)
            found.append((span.is_recording(), "a" in shared.get("progress_metrics", ())))

    telemetry.recorder.change(lambda sinks: [Look(), *sinks])
    add_sink(Look())
    with workflow("w", shared=shared), stage("a"):
        pass
    assert found == [(False, False), (True, True)]


@pytest.mark.parametrize("awaits", [1, 2, 3])
def test_cancellation_at_each_await_passes_through(telemetry: Telemetry, awaits: int) -> None:
    reached: list[int] = []

    @stage("slow")
    async def slow() -> None:
        for number in range(1, 4):
            reached.append(number)
            gates[number].set()
            await asyncio.Event().wait() if number == awaits else await asyncio.sleep(0)

    gates = {number: asyncio.Event() for number in range(1, 4)}

    async def use() -> None:
        task = asyncio.create_task(slow())
        await gates[awaits].wait()
        task.cancel("enough")
        # Python 3.10 does not hand the message on to who awaits the task.
        with pytest.raises(asyncio.CancelledError, match="enough" if sys.version_info >= (3, 11) else None):
            await task
        assert task.cancelled()

    asyncio.run(use())
    assert reached[-1] == awaits
    span = telemetry.span("stage slow")
    assert (span.attributes or {})["otel_progress.stage.result"] == "cancelled"
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert telemetry.recorder.registry.visits() == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
def test_asyncio_timeout_around_a_decorated_coroutine_works_as_ever(telemetry: Telemetry) -> None:
    timeout = cast("Any", asyncio).timeout

    @stage("slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    async def use() -> str:
        try:
            async with timeout(0):
                await slow()
        except TimeoutError:
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            return f"timeout {cast('Any', task).cancelling()}"
        return "none"

    assert asyncio.run(use()) == "timeout 0"
    assert (telemetry.span("stage slow").attributes or {})["otel_progress.stage.result"] == "cancelled"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2), GeneratorExit(), ValueError("x")])
def test_the_very_exception_passes_with_its_traceback(telemetry: Telemetry, error: BaseException) -> None:
    @stage("a")
    def a() -> None:
        raise error

    with pytest.raises(type(error)) as caught, workflow("w"):
        a()
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert getattr(error, "__notes__", []) == []
    assert vars(error) == {}
    assert traceback.extract_tb(error.__traceback__)[-1].name == "a"
    results = {span.name: (span.attributes or {}).get("error.type") for span in telemetry.spans()}
    assert results == {"run w": type(error).__name__, "stage a": type(error).__name__}


@pytest.mark.parametrize("code", [0, None])
def test_an_orderly_exit_is_a_success(telemetry: Telemetry, code: int | None) -> None:
    with pytest.raises(SystemExit), workflow("w"), stage("a"):
        sys.exit(code)
    assert (telemetry.span("stage a").attributes or {})["otel_progress.stage.result"] == "success"
    assert telemetry.span("stage a").status.is_unset


def test_recursion_deep_and_too_deep(telemetry: Telemetry) -> None:
    @stage("down")
    def down(number: int) -> int:
        return 0 if number == 0 else 1 + down(number - 1)

    assert down(30) == 30
    assert len(telemetry.spans("stage down")) == 31
    gc.disable()  # Before Python 3.12 the collector would call us where there is no stack left, and say so.
    try:
        with pytest.raises(RecursionError):
            down(1_000_000)
    finally:
        gc.enable()
    assert telemetry.recorder.registry.visits() == []
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_stage_name_of_a_megabyte_is_cut(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with stage("x" * 1_000_000, shared=shared):
        pass
    (name,) = shared["progress_metrics"]
    assert (len(name), name[-1]) == (200, "…")
    assert (telemetry.spans("stage")[0].attributes or {})["otel_progress.stage.name"] == name


class Unprintable:
    """An object without a string form."""

    def __str__(self) -> str:
        raise RuntimeError("no string")


@pytest.mark.parametrize(
    ("name", "shown"), [(7, "7"), (None, "stage"), ("", "stage"), ("  a ", "a"), (Unprintable(), "Unprintable")]
)
def test_a_stage_name_that_is_no_string(telemetry: Telemetry, name: object, shown: str) -> None:
    with stage(name):
        pass
    assert [span.name for span in telemetry.spans("stage")] == [f"stage {shown}"]


def test_ten_thousand_names_become_other_with_one_warning(
    telemetry: Telemetry, faults: Callable[[], list[str]]
) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        for number in range(10_000):
            with stage(f"user {number}"):
                pass
    assert len(shared["progress_metrics"]) == 1001
    assert shared["progress_metrics"]["other"]["visits"] == 9000
    said_on_spans = [dict(span.attributes or {}) for span in telemetry.spans("stage")]
    assert len({str(each["otel_progress.stage.name"]) for each in said_on_spans}) == 10_000
    assert {str(each["otel_progress.stage.visit"]) for each in said_on_spans} == {"1"}
    durations = telemetry.points("otel_progress.stage.duration")
    assert len(durations) == 201
    assert [count for attributes, (_, count) in durations if attributes["stage.name"] == "other"] == [9_800]
    assert len({span.name for span in telemetry.spans("stage")}) == 201
    assert len(telemetry.points("otel_progress.stage.active")) == 201
    (said,) = faults()
    assert said.startswith("more than 200 distinct stage names: further ones are counted as 'other'")


def test_a_wall_clock_that_goes_backwards_changes_no_duration(telemetry: Telemetry) -> None:
    with workflow("w"):
        with stage("a"):
            telemetry.time.passes(2)
            telemetry.time.wall -= 3_600_000_000_000
        with stage("b"):
            telemetry.time.passes(1)
    a, b = telemetry.spans("stage")
    assert (a.start_time or 0) < (a.end_time or 0) <= (b.start_time or 0) < (b.end_time or 0)
    assert [attributes["stage.name"] for attributes, _ in telemetry.points("otel_progress.stage.duration")] == [
        "a",
        "b",
    ]
    assert [total for _, (total, _) in telemetry.points("otel_progress.stage.duration")] == [2.0, 1.0]


def test_a_monotonic_clock_that_goes_backwards_gives_no_negative_duration(telemetry: Telemetry) -> None:
    with workflow("w"), stage("a"):
        telemetry.time.monotonic -= 5_000_000_000
    span = telemetry.span("stage a")
    assert (span.start_time or 0) <= (span.end_time or 0)
    assert telemetry.points("otel_progress.stage.duration")[0][1] == (0.0, 1)


def test_what_a_run_leaves_open_is_abandoned(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    release, opened = threading.Event(), threading.Event()

    def work() -> None:
        with stage("stuck", shared=shared):
            opened.set()
            release.wait(10)

    thread = threading.Thread(target=work)
    with workflow("w", shared=shared):
        thread.start()
        opened.wait(10)
    assert shared["progress_metrics"]["stuck"]["result"] == "abandoned"
    release.set()
    thread.join()
    assert len(telemetry.spans("stage stuck")) == 1
    assert (telemetry.span("stage stuck").attributes or {})["error.type"] == "abandoned"


def test_a_failed_gather_leaves_the_others_running_and_every_span_ended(telemetry: Telemetry) -> None:
    @stage("item")
    async def item(number: int, gate: asyncio.Event) -> int:
        if number == 0:
            raise ValueError(number)
        await gate.wait()
        return number

    async def use() -> None:
        gate = asyncio.Event()
        tasks = [asyncio.create_task(item(number, gate)) for number in range(3)]
        with pytest.raises(ValueError, match="0"):
            async with workflow("w"):
                await asyncio.gather(*(_in_run(number, gate) for number in range(3)))
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_run(number: int, gate: asyncio.Event) -> int:
        return await item(number, gate)

    asyncio.run(use())
    results = sorted(
        str((span.attributes or {})["otel_progress.stage.result"])
        for span in telemetry.spans("stage item")
        if (span.attributes or {})["otel_progress.workflow.name"] == "w"
    )
    assert results == ["abandoned", "abandoned", "failure"]
    assert telemetry.recorder.registry.visits() == []


def test_messages_stay_inside_where_they_shall(telemetry_with: Any) -> None:
    telemetry: Telemetry = telemetry_with(Settings(capture_messages=False))
    with pytest.raises(ValueError, match="secret"), workflow("w"), stage("a"):
        raise ValueError("secret")
    said = "".join(span.to_json() for span in telemetry.spans())
    assert 'secret"' not in said.replace('raise ValueError(\\"secret\\")', "")
    assert '"exception.type": "ValueError"' in said
    assert telemetry.span("stage a").status.description is None


def test_nothing_of_the_store_or_of_arguments_is_told(telemetry: Telemetry) -> None:
    shared = {"secret": "s3cret", "version_history": [], "workflow_state": {"draft": "s3cret"}}

    @stage("a")
    def a(argument: str, shared: dict[str, Any]) -> str:
        shared["version_history"].append({"version_id": "v1", "action": "made", "content_pieces": "s3cret"})
        return "s3cret"

    a("s3cret", shared)
    telemetry.recorder.close()
    assert "s3cret" not in "".join(span.to_json() for span in telemetry.spans())
    (event,) = telemetry.span("stage a").events
    assert (event.name, dict(event.attributes or {})) == (
        "version",
        {"otel_progress.version.id": "v1", "otel_progress.version.action": "made"},
    )


WORKFLOW = """
import asyncio, json, sys
{prelude}

class Odd:
    def __eq__(self, other): raise RuntimeError("compared")
    __hash__ = None

{stage1}
def one(shared, odd):
    shared["one"] = [odd is shared["odd"]]
    return 1

{stage2}
async def two(shared):
    await asyncio.sleep(0)
    shared.pop("one")
    shared["two"] = sorted(key for key in shared if not key.startswith("progress"))
    raise LookupError("as planned")

shared = {{"odd": Odd()}}
said = [one(shared, shared["odd"])]
try:
    asyncio.run(two(shared))
except LookupError as error:
    said.append([type(error).__name__, error.args, vars(error), error.__context__])
print(json.dumps([said, shared["two"]]))
"""


@pytest.mark.parametrize("disabled", ["", "true"])
def test_a_program_says_the_same_with_and_without(tmp_path: Path, disabled: str) -> None:
    def run(**parts: str) -> str:
        script = tmp_path / "script.py"
        script.write_text(WORKFLOW.format(**parts), encoding="utf-8")
        environment = {**os.environ, "OTEL_SDK_DISABLED": disabled}
        return subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment
        ).stdout

    plain = run(prelude="", stage1="", stage2="")
    prelude = "from otel_progress import stage"
    assert run(prelude=prelude, stage1='@stage("one")', stage2='@stage("two", budget="1s")') == plain


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_after_a_fork_the_child_joins_and_the_parent_ends_what_it_began(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, sys
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_progress import stage, workflow

        memory = InMemorySpanExporter()
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(memory))

        def said(who):
            for span in memory.get_finished_spans():
                print(who, span.name, span.attributes["otel_progress.run.id"] == run.id,
                      span.parent.span_id == root if span.parent else None, flush=True)

        shared = {}
        with workflow("w", shared=shared) as run:
            root = run.span.get_span_context().span_id
            with stage("around"):
                child = os.fork()
                with stage("both"):
                    pass
        if child == 0:
            said("child")
            os._exit(0)
        os.waitpid(child, 0)
        said("parent")
        """)
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "ignore", str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "child stage both True True",
        "parent stage both True False",
        "parent stage around True True",
        "parent run w True None",
    ]

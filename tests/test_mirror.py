"""`shared["progress_metrics"]` and `shared["progress_run"]` in stores of every kind."""

from __future__ import annotations

import asyncio
import collections
import copy
import dataclasses
import json
import multiprocessing
import pickle
import threading
import types
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_progress import progress, stage, workflow
from otel_progress.recording import default
from otel_progress.recording.settings import Settings
from otel_progress.recording.store import write
from otel_progress.recording.times import timestamp
from otel_progress.sinks import mirror

from .conftest import OwnMapping, Telemetry, make_telemetry


def draft(shared: Any) -> None:
    with stage("draft", shared=shared):
        pass


def review(shared: Any) -> None:
    with stage("review", shared=shared):
        pass


@dataclasses.dataclass
class Declared:
    """A dataclass that declares the field."""

    topic: str = "x"
    progress_metrics: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])


class Plain:
    """Any object."""


@dataclasses.dataclass(frozen=True)
class Frozen:
    """An object that refuses writes."""

    topic: str = "x"


class Refusing(OwnMapping):
    """A mapping that refuses writes."""

    def __setitem__(self, key: str, value: Any) -> None:
        raise PermissionError(key)


class Broken(dict[str, Any]):
    """A dict whose every method fails."""

    def get(self, *args: Any) -> Any:
        raise RuntimeError("get")

    def __setitem__(self, key: str, value: Any) -> None:
        raise RuntimeError("set")


def metrics_of(store: Any) -> Any:
    return store["progress_metrics"] if hasattr(store, "__getitem__") else store.progress_metrics


@pytest.mark.parametrize(
    "make", [dict, OwnMapping, collections.OrderedDict, collections.UserDict, collections.ChainMap, Declared, Plain]
)
def test_every_store_that_takes_writes_shows_the_progress(telemetry: Telemetry, make: Callable[[], Any]) -> None:
    store = make()
    draft(store)
    review(store)
    assert list(metrics_of(store)) == ["draft", "review"]
    assert len(telemetry.recorder.registry.runs()) == 1


@pytest.mark.parametrize("make", [dict, collections.OrderedDict, Declared])
def test_an_argument_named_shared_is_a_store_where_it_can_be_no_other(
    telemetry: Telemetry, make: Callable[[], Any]
) -> None:
    @stage("found")
    def found(shared: Any) -> None: ...

    store = make()
    found(store)
    found(shared=store)
    assert metrics_of(store)["found"]["visits"] == 2


@pytest.mark.parametrize("make", [OwnMapping, collections.UserDict, collections.ChainMap, Plain])
def test_any_other_argument_of_that_name_is_left_alone(telemetry: Telemetry, make: Callable[[], Any]) -> None:
    @stage("found")
    def found(shared: Any) -> None: ...

    store = make()
    before = dict(vars(store))
    found(store)
    assert vars(store) == before
    assert len(telemetry.spans("stage found")) == 1


@pytest.mark.parametrize("make", [Frozen, Refusing, Broken, lambda: None, lambda: types.MappingProxyType({}), tuple])
def test_a_store_that_takes_no_writes_leaves_the_record_in_the_run(
    telemetry: Telemetry, faults: Callable[[], list[str]], make: Callable[[], Any]
) -> None:
    store = make()
    with workflow("w", shared=store) as run:
        draft(store)
        review(store)
    assert list(progress(run)) == ["draft", "review"]
    assert faults() == []


@pytest.mark.parametrize("make", [Frozen, lambda: types.MappingProxyType({})])
def test_stages_join_by_a_store_that_takes_no_writes(telemetry: Telemetry, make: Callable[[], Any]) -> None:
    store = make()
    draft(store)
    review(store)
    telemetry.recorder.close()
    assert repr(telemetry.trees()) == "[run tests[stage draft, stage review]]"


def test_a_store_of_another_process_is_written_whole(telemetry: Telemetry) -> None:
    with multiprocessing.get_context("spawn").Manager() as manager:
        store = manager.dict()
        draft(store)
        review(store)
        assert {name: entry["completed"] for name, entry in store["progress_metrics"].items()} == {
            "draft": True,
            "review": True,
        }


def test_the_mirror_holds_json_values_only(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"version_history": []}
    with workflow("w", shared=shared), stage("a", shared=shared, budget="1s") as visit:
        visit.platform("twitter")
        shared["version_history"].append({"version_id": 7, "action": "made", "content": object()})
    del shared["version_history"]
    assert json.loads(json.dumps(shared)) == shared
    assert pickle.loads(pickle.dumps(shared)) == copy.deepcopy(shared) == shared
    assert shared["progress_metrics"]["a"]["versions"] == ["7"]


def test_progress_run_is_four_strings(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        pass
    assert shared["progress_run"] == {
        "run_id": "run-1",
        "workflow": "w",
        "traceparent": f"00-{1:032x}-{1:016x}-01",
        "started": "2025-08-28T10:45:00+00:00",
    }


def test_the_fields_and_their_order(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    draft(shared)
    assert list(shared["progress_metrics"]["draft"]) == [
        "start_time",
        "end_time",
        "platforms",
        "revisions",
        "completed",
        "visits",
        "seconds",
        "result",
        "results",
        "retries",
        "items_done",
        "items_total",
        "versions",
        "error",
        "trace_id",
        "waiting",
    ]


def test_end_time_is_absent_while_any_visit_is_open(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), stage("a"):
        with stage("a"):
            telemetry.time.passes(1)
        entry = shared["progress_metrics"]["a"]
        assert "end_time" not in entry
        assert (entry["completed"], entry["result"], entry["visits"], entry["seconds"]) == (False, None, 2, 1.0)
        telemetry.time.passes(1)
    entry = shared["progress_metrics"]["a"]
    assert (entry["end_time"], entry["completed"]) == ("2025-08-28T10:45:02+00:00", True)
    with stage("a", shared=shared):
        entry = shared["progress_metrics"]["a"]
        assert "end_time" not in entry
        assert (entry["completed"], entry["result"]) == (False, None)


def test_what_is_done_to_an_entry_changes_no_later_one(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"version_history": []}
    with workflow("w", shared=shared) as run:
        for number in range(2):
            with stage("a"):
                shared["version_history"].append({"version_id": f"v{number}"})
            for entry in (shared["progress_metrics"]["a"], progress(run)["a"]):
                entry["results"].clear()
                entry["versions"].clear()
                entry["seconds"] = -1
        with stage("a"):
            entry = shared["progress_metrics"]["a"]
            assert (entry["results"], entry["versions"], entry["seconds"]) == ({"success": 2}, ["v0", "v1"], 0.0)
        assert progress(run)["a"] == shared["progress_metrics"]["a"]


@pytest.mark.parametrize(
    "spoil",
    [
        dict.clear,
        lambda shared: shared.update(progress_metrics={}),
        lambda shared: shared.update(progress_metrics=None),
        lambda shared: shared.update(progress_metrics=[1, 2]),
        lambda shared: shared.pop("progress_metrics"),
        lambda shared: shared.update(progress_run="mine"),
        lambda shared: shared.update(progress_run={"run_id": 5}),
    ],
)
def test_a_store_that_is_cleared_or_replaced_in_mid_run_goes_on(
    telemetry: Telemetry, faults: Callable[[], list[str]], spoil: Callable[[dict[str, Any]], Any]
) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        draft(shared)
        with stage("edit"):
            spoil(shared)
        review(shared)
    assert list(shared["progress_metrics"]) == ["draft", "edit", "review"]
    assert all(entry["completed"] for entry in shared["progress_metrics"].values())
    assert repr(telemetry.trees()) == "[run w[stage draft, stage edit, stage review]]"
    assert faults() == []


def test_what_a_user_prepared_stays(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"progress_metrics": {"mine": 1}}
    draft(shared)
    assert list(shared["progress_metrics"]) == ["mine", "draft"]


def test_a_reader_that_iterates_is_never_disturbed(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        draft(shared)
        for name in shared["progress_metrics"]:
            for key in shared["progress_metrics"][name]:
                assert key
                for number in range(3):
                    with stage(f"more {number}"):
                        pass
                draft(shared)


def test_mirror_off_writes_nothing_and_stages_still_join(telemetry_with: Any) -> None:
    telemetry: Telemetry = telemetry_with(Settings(mirror=False))
    shared: dict[str, Any] = {}
    draft(shared)
    review(shared)
    other: dict[str, Any] = {}
    draft(other)
    telemetry.recorder.close()
    assert shared == other == {}
    assert repr(telemetry.trees()) == "[run tests[stage draft, stage review], run tests[stage draft]]"


def test_two_hundred_threads_on_one_store_lose_nothing(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    ready = threading.Barrier(200)

    def work(number: int) -> None:
        ready.wait()
        with stage(f"stage {number % 20}", shared=shared) as visit:
            visit.advance(1, total=1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    metrics = shared["progress_metrics"]
    assert len(metrics) == 20
    assert {entry["visits"] for entry in metrics.values()} == {10}
    assert {entry["items_done"] for entry in metrics.values()} == {10}
    assert {entry["completed"] for entry in metrics.values()} == {True}
    assert len({str((span.attributes or {})["otel_progress.run.id"]) for span in telemetry.spans("stage")}) == 1
    assert sum(count for _, (_, count) in telemetry.points("otel_progress.stage.duration")) == 200


def test_a_thousand_tasks_on_one_store_lose_nothing(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}

    @stage("work")
    async def work(shared: dict[str, Any], number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def use() -> list[int]:
        return await asyncio.gather(*(work(shared, number) for number in range(1000)))

    assert asyncio.run(use()) == list(range(1000))
    entry = shared["progress_metrics"]["work"]
    assert (entry["visits"], entry["completed"]) == (1000, True)
    telemetry.recorder.close()
    assert len(telemetry.spans("run")) == 1


def test_an_update_is_not_lost_to_one_that_was_made_before_it(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: dict[str, Any] = {}
    paused, ended = threading.Event(), threading.Event()

    def slow_write(holder: Any, key: str, value: Any) -> bool:
        if key == "progress_metrics" and "new" in value and not paused.is_set():
            paused.set()  # The new dict is made, with "old" still open, and not written yet.
            ended.wait(0.2)  # In vain where writers wait for each other.
        return write(holder, key, value)

    def begin() -> None:
        with stage("new", shared=shared):
            pass

    monkeypatch.setattr("otel_progress.sinks.mirror.write", slow_write)
    with workflow("w", shared=shared):
        thread = threading.Thread(target=begin)
        with stage("old"):
            thread.start()
            paused.wait(10)
        ended.set()
        thread.join(10)
        assert {name: entry["completed"] for name, entry in shared["progress_metrics"].items()} == {
            "old": True,
            "new": True,
        }


def test_a_store_with_a_lock_of_its_own_cannot_deadlock(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Locked(OwnMapping):
        lock = threading.RLock()

        def __setitem__(self, key: str, value: Any) -> None:
            with self.lock:
                super().__setitem__(key, value)

    store = Locked()
    inside, entered = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(5)
        entered.set()
        review(store)

    with workflow("w", shared=store), store.lock:  # This thread holds the store while the other writes the mirror.
        thread = threading.Thread(target=other)
        thread.start()
        inside.set()
        entered.wait(5)
        for _ in range(50):
            draft(store)
    thread.join(10)
    assert not thread.is_alive()
    assert set(store["progress_metrics"]) == {"draft", "review"}


@pytest.mark.parametrize("zone", ["", "+00:00", "Z"])
def test_a_saved_entry_may_have_naive_or_aware_times(telemetry: Telemetry, zone: str) -> None:
    shared: dict[str, Any] = {
        "progress_run": {"run_id": "before", "workflow": "w", "traceparent": "", "started": ""},
        "progress_metrics": {
            "draft": {"start_time": f"2025-08-28T09:00:00{zone}", "visits": 2, "seconds": 5.5, "completed": True},
            "odd": {"start_time": "yesterday"},
            "odder": 5,
        },
    }
    draft(shared)
    entry = shared["progress_metrics"]["draft"]
    assert (entry["start_time"], entry["visits"], entry["seconds"]) == ("2025-08-28T09:00:00+00:00", 3, 5.5)
    assert shared["progress_metrics"]["odder"] == 5
    assert shared["progress_run"]["run_id"] == "before"


@pytest.mark.parametrize("vendors", ["", "vendor=one", "vendor=one,other=" + "t" * 200])
def test_what_vendors_add_to_the_trace_goes_with_the_run(telemetry: Telemetry, vendors: str) -> None:
    carrier = {"traceparent": f"00-{7:032x}-{8:016x}-01", "tracestate": vendors}
    token = attach(TraceContextTextMapPropagator().extract(carrier))
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), stage("a"):
        pass
    detach(token)
    assert shared["progress_run"].get("tracestate", "") == vendors
    for way in (stage("joins", shared=(saved := json.loads(json.dumps(shared)))), workflow("w", shared=saved)):
        elsewhere = make_telemetry()
        default.use(elsewhere.recorder)
        saved.update(json.loads(json.dumps(shared)))
        with way:
            pass
        elsewhere.recorder.close()
        (span,) = elsewhere.spans()
        assert span.context is not None
        assert (span.context.trace_id, span.context.trace_state.to_header()) == (7, vendors)
        assert saved["progress_run"] == shared["progress_run"]


@pytest.mark.parametrize("value", ["x" * 3_000_000, "vendor=one\x1b", 7, None])
def test_a_saved_tracestate_that_is_none(telemetry: Telemetry, value: Any) -> None:
    parent = f"00-{7:032x}-{8:016x}-01"
    saved = {"run_id": "before", "workflow": "w", "traceparent": parent, "started": "", "tracestate": value}
    with stage("joins", shared={"progress_run": saved}):
        pass
    (span,) = telemetry.spans("stage")
    assert span.context is not None
    assert (span.context.trace_id, span.context.trace_state.to_header()) == (7, "")


def test_a_cleared_store_is_empty_or_whole(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    writes = mirror._write_all

    def looked_at(mirrored: Any, shared: Any, metrics: Any) -> None:
        seen.append(shared.get("progress_metrics", "none"))
        writes(mirrored, shared, metrics)

    monkeypatch.setattr(mirror, "_write_all", looked_at)
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared):
        shared.clear()
        with stage("a", shared=shared):
            assert list(shared["progress_metrics"]) == ["a"]
    assert seen[-1] == "none"


@pytest.mark.parametrize("micros", [0, 1, 99_999, 100_000, 999_999, 1_000_000, 1_000_001, 1_795_790_588_849_103, 2**52])
def test_times_are_written_as_python_writes_them(micros: int) -> None:
    told = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)
    assert timestamp(micros * 1000 + 999) == told.isoformat()

"""Waiting, told from work: by the visit itself, in the store, the metrics, the spans and the record."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from otel_progress import stage, workflow
from otel_progress.names import MIRROR_FIELDS
from otel_progress.runs import Wait, read

from . import otlp
from .conftest import SECOND, START, Telemetry
from .records import event, only, span, visit_event, write

APPROVAL = {"workflow.name": "w", "stage.name": "publish", "wait.reason": "approval"}


def test_its_time_is_no_work(telemetry: Telemetry) -> None:
    with workflow("w"), stage("publish") as visit:
        telemetry.time.passes(1)
        with visit.waiting("approval"):
            telemetry.time.passes(20)
        telemetry.time.passes(2)
        with visit.waiting("approval"):
            telemetry.time.passes(3)
    assert (visit.seconds, visit.wait) == (26.0, 23.0)
    span = telemetry.span("stage publish")
    assert (span.attributes or {})["otel_progress.stage.wait"] == 23.0
    assert telemetry.points("otel_progress.stage.wait") == [(APPROVAL, 23.0)]
    waits = telemetry.spans("wait")
    assert [(each.start_time, each.end_time) for each in waits] == [
        (START + SECOND, START + 21 * SECOND),
        (START + 23 * SECOND, START + 26 * SECOND),
    ]
    assert [each.parent and each.parent.span_id for each in waits] == [span.context.span_id if span.context else 0] * 2
    assert [(each.attributes or {})["otel_progress.wait.reason"] for each in waits] == ["approval"] * 2


def test_what_is_seen_meanwhile(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}

    def seen() -> tuple[Any, Any]:
        return shared["progress_metrics"]["publish"]["waiting"], telemetry.points("otel_progress.stage.waiting")

    with workflow("w", shared=shared), stage("publish") as visit:
        assert seen() == (None, [])
        with visit.waiting("approval"):
            assert seen() == ("approval", [(APPROVAL, 1)])
            with visit.waiting("quota"):
                assert seen() == ("quota", [(APPROVAL, 0), ({**APPROVAL, "wait.reason": "quota"}, 1)])
            assert seen()[0] == "approval"
        assert seen() == (None, [(APPROVAL, 0), ({**APPROVAL, "wait.reason": "quota"}, 0)])
    assert tuple(shared["progress_metrics"]["publish"]) == MIRROR_FIELDS


def test_one_that_is_entered_once_more_is_shown_as_before(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), stage("publish") as visit:
        one, two = visit.waiting("one"), visit.waiting("two")
        for each in (one, two, one):
            each.__enter__()
        assert visit.waiting_for == shared["progress_metrics"]["publish"]["waiting"] == "two"


def test_in_tasks(telemetry: Telemetry) -> None:
    async def wait(visit: Any, reason: str) -> None:
        async with visit.waiting(reason):
            await asyncio.sleep(0)
            telemetry.time.passes(1)

    async def main() -> None:
        with workflow("w"), stage("publish") as visit:
            await asyncio.gather(wait(visit, "a"), wait(visit, "b"))
        assert visit.wait == 3.0  # One of them until the other was over, too.

    asyncio.run(main())


def test_an_exception_ends_it_and_passes(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="no"), workflow("w"), stage("publish") as visit, visit.waiting("approval"):
        telemetry.time.passes(1)
        raise ValueError("no")
    assert (visit.wait, visit.result) == (1.0, "failure")


def test_a_visit_that_ends_while_it_waits(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        with stage("publish") as visit:
            waiting = visit.waiting("approval")
            waiting.__enter__()
            telemetry.time.passes(2)
        telemetry.time.passes(5)
        waiting.__exit__(None, None, None)
        with visit.waiting("more"):  # After its end it does nothing.
            telemetry.time.passes(5)
    assert (visit.wait, len(telemetry.spans("wait")), run.open) == (2.0, 1, {})


def test_a_forked_child_ends_no_wait_of_its_parent(telemetry: Telemetry) -> None:
    with workflow("w"), stage("publish") as visit:
        waiting = visit.waiting("approval")
        with waiting:
            if (child := os.fork()) == 0:
                waiting.__exit__(None, None, None)
                os._exit(len(telemetry.spans("wait")))
            assert os.waitpid(child, 0)[1] == 0
    assert len(telemetry.spans("wait")) == 1


def test_the_same_again(telemetry: Telemetry) -> None:
    with workflow("w"), stage("publish") as visit:
        waiting = visit.waiting("approval")
        for _ in range(2):
            with waiting:
                telemetry.time.passes(1)
                assert visit.waiting_for == "approval"
            assert visit.waiting_for is None
    assert (visit.wait, len(telemetry.spans("wait"))) == (2.0, 2)


def test_reasons_are_bounded(telemetry: Telemetry) -> None:
    with workflow("w"), stage("publish") as visit:
        for number in range(250):
            with visit.waiting(f"ticket {number}"):
                telemetry.time.passes(1)
    reasons = [labels["wait.reason"] for labels, _ in telemetry.points("otel_progress.stage.wait")]
    assert len(reasons) == 200
    assert "other" in reasons


@pytest.mark.parametrize(("reason", "told"), [("", "waiting"), (None, "None"), (7, "7"), ("x" * 300, "x" * 199 + "…")])
def test_odd_reasons(telemetry: Telemetry, reason: Any, told: str) -> None:
    with workflow("w"), stage("publish") as visit, visit.waiting(reason):
        assert visit.waiting_for == told


def test_a_retry_is_a_reason_too(telemetry: Telemetry) -> None:
    with workflow("w"), stage("publish") as visit:
        telemetry.recorder.tell("retried", visit, "OSError", 0.5)
    assert telemetry.points("otel_progress.stage.wait") == [({**APPROVAL, "wait.reason": "retry"}, 0.5)]


# --- in the record ----------------------------------------------------------------------------------------------------

PROGRAM = """
from otel_progress import stage, workflow

with workflow("campaign"), stage("publish") as outer, stage("ask") as visit:
    with visit.waiting("approval"):
        input()
    print("goes on", flush=True)
    input()
"""


def test_whoever_looks_sees_what_it_waits_for(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    with otlp.start(tmp_path, ["-m", "otel_progress", "run", str(program)]) as process:
        assert process.stdin is not None

        def states() -> list[tuple[str, str]]:
            return [(each.state, each.note) for run in read(tmp_path) for each in (run, *run.visits)]

        otlp.wait_until(lambda: ("waiting", "for approval") in states())
        # What is around the visit that waits goes on; the run, in which nothing else does, waits too.
        assert states() == [("waiting", "for approval"), ("running", ""), ("waiting", "for approval")]
        listed = otlp.run(tmp_path, ["-m", "otel_progress", "runs", "--state", "waiting", "--json"])
        assert [run["state"] for run in json.loads(listed.stdout)] == ["waiting"]
        process.stdin.write("\n")
        process.stdin.flush()
        otlp.wait_until(lambda: states() == [("running", "")] * 3)
        otlp.ended(process, "\n")
    (run,) = read(tmp_path)
    outer, ask = run.visits
    (wait,) = ask.waits
    assert (wait.reason, outer.waits, run.state) == ("approval", (), "done")
    assert wait.ended is not None
    assert ask.wait == pytest.approx((wait.ended - wait.started) / SECOND, abs=0.01)


def test_one_that_was_killed_while_it_waited(tmp_path: Path) -> None:
    program = otlp.write(tmp_path, PROGRAM)
    with otlp.start(tmp_path, ["-m", "otel_progress", "run", str(program)]) as process:
        otlp.wait_until(lambda: [run.state for run in read(tmp_path)] == ["waiting"])
        process.kill()
        process.wait()
    (run,) = read(tmp_path)
    assert (run.state, [visit.state for visit in run.visits]) == ("crashed", ["crashed"] * 2)
    assert [(wait.reason, wait.ended) for wait in run.visits[1].waits] == [("approval", None)]


def test_by_spans_alone(tmp_path: Path) -> None:
    lines = [
        span("wait", "w1", "e1", at=2.0, takes=3.0, wait__reason="approval"),
        span("exec", "e1", "s1", at=1.0, takes=5.0),
        span("stage publish", "s1", "r1", takes=7.0, stage__wait=3.0),
        span("run campaign", "r1", takes=8.0),
    ]
    (visit,) = only(write(tmp_path / "t.jsonl", lines)).visits
    assert visit.waits == (Wait("approval", START + 2 * SECOND, START + 5 * SECOND),)


def test_by_events_alone(tmp_path: Path) -> None:
    lines = [
        event("run.started"),
        visit_event("started", "publish", "7-abcdef.1"),
        *(
            visit_event("progress", "publish", "7-abcdef.1", at=at, **reason)
            for at, reason in ((1.0, {"wait__reason": "a"}), (2.0, {"wait__reason": "b"}), (4.0, {}))
        ),
        visit_event("progress", "publish", "7-abcdef.1", at=5.0, wait__reason="c"),
        visit_event("ended", "publish", "7-abcdef.1", at=9.0, stage__wait=7.0),
    ]
    (visit,) = only(write(tmp_path / "e.jsonl", lines)).visits
    assert [(wait.reason, wait.started, wait.ended) for wait in visit.waits] == [
        (reason, START + start * SECOND, START + end * SECOND)
        for reason, start, end in (("a", 1, 2), ("b", 2, 4), ("c", 5, 9))
    ]


def test_one_that_has_waited_very_often_is_still_seen_to_wait(tmp_path: Path) -> None:
    lines = [event("run.started"), visit_event("started", "publish", "7-abcdef.1")]
    for number in range(150):
        lines += [visit_event("progress", "publish", "7-abcdef.1", at=number + 1.0, wait__reason=f"ticket {number}")]
    (visit,) = only(write(tmp_path / "e.jsonl", lines)).visits
    assert (len(visit.waits), visit.waits[0].reason, visit.waits[-1].reason) == (100, "ticket 0", "ticket 149")

"""What a stage costs where there is much of something, beside what it costs where there is little of it.

    python benchmarks/growth.py [--many 16000] [--check]

Both are measured in one process, by processor time; the fastest round of each counts. A ratio near 1 says that the
cost does not grow. With `--check` the exit code is 1 where one does.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from itertools import count as counting
from typing import TYPE_CHECKING, Any

from pocketflow import Node
from timing import drain, set_up

from otel_progress import ProgressTrackerNode, stage, workflow
from otel_progress.recording import default

if TYPE_CHECKING:
    AnyNode = Node[Any, Any, Any]
else:
    AnyNode = Node

FEW = 16
PROBES = 50
ROUNDS = 10
TARGET = 2.0
NOISE = 50e-6  # Seconds that a ratio leaves out of account: a cache of the processor is missed more often.

Probe = Callable[[], object]
Case = Callable[[int], Probe]
numbers = counting()


@stage("draft")
def draft(shared: dict[str, Any]) -> None:
    """Do nothing."""


@stage("post")
class Post(AnyNode):
    """A node of a batch flow."""


def stage_names(many: int) -> Probe:
    """Stages of different names in one run."""
    shared: dict[str, Any] = {}
    context = Context()
    context.run(workflow("w", shared=shared).__enter__)

    def one() -> None:
        with stage(f"stage {next(numbers)}", shared=shared):
            pass

    for _ in range(many):
        context.run(one)
    return lambda: context.run(one)


def platforms_named(many: int) -> Probe:
    """Platforms that one visit names one by one."""
    visit = Context().run(stage("publish", shared={}).__enter__)

    def one() -> None:
        visit.platform(f"platform {next(numbers)}")

    for _ in range(many):
        one()
    return one


def platforms_of_visits(many: int) -> Probe:
    """Visits of one run that each name a platform of their own."""
    shared: dict[str, Any] = {}

    def one() -> None:
        with stage("publish", shared=shared) as visit:
            visit.platform(f"platform {next(numbers)}")

    for _ in range(many):
        one()
    return one


def tasks(many: int) -> Probe:
    """One stage object that many tasks have entered."""
    scope = stage("fetch", shared={})
    for _ in range(many):
        Context().run(scope.__enter__)

    def one() -> None:
        with scope:
            pass

    return lambda: Context().run(one)


def in_store(value_of: Callable[[int], Any]) -> Case:
    """Something large in the store."""

    def case(many: int) -> Probe:
        shared = {**value_of(many)}
        with workflow("w", shared=shared):
            pass
        return lambda: draft(shared)

    return case


def versions(many: int) -> Probe:
    """Versions that visits of one stage have added."""
    history = [{"version_id": f"v{number}"} for number in range(many)]
    shared: dict[str, Any] = {"version_history": []}

    def one() -> None:
        with stage("style", shared=shared):
            shared["version_history"].append({"version_id": "v"})

    with stage("style", shared=shared):
        shared["version_history"].extend(history)
    return one


def items(many: int) -> Probe:
    """Items of one batch flow."""
    node, shared = Post(), dict[str, Any]()

    def one() -> None:
        node.set_params({"item": next(numbers)})
        node.run(shared)

    for _ in range(many):
        one()
    return one


def parameters(many: int) -> Probe:
    """Parameters of one item of a batch flow."""
    node, shared = Post(), dict[str, Any]()
    node.set_params({f"key {number}": {"text": "t" * 100, "parts": [[number] * 100] * 100} for number in range(many)})
    return lambda: node.run(shared)


def idle_runs(many: int) -> Probe:
    """Runs that nothing has ended."""

    def one() -> None:
        draft({})

    for _ in range(many):
        one()
    return one


def tracked_runs(many: int) -> Probe:
    """The same, with a stage in each that a tracker has opened."""
    tracker = ProgressTrackerNode()

    def one() -> None:
        tracker.run({"workflow_state": {"current_stage": "draft"}})

    for _ in range(many):
        one()
    return one


def workflow_names(many: int) -> Probe:
    """Workflows of different names."""

    def one() -> None:
        with workflow(f"workflow {next(numbers)}", shared={}), stage("draft"):
            pass

    for _ in range(many):
        one()
    return one


def failing(error_of: Callable[[int], Exception]) -> Case:
    """Stages that fail."""

    def case(many: int) -> Probe:
        error = error_of(many)

        def one() -> None:
            with suppress(Exception), stage("check", shared={}):
                raise error.with_traceback(None)

        return one

    return case


def error_types(many: int) -> Probe:
    """Exceptions of different types."""

    def one() -> None:
        with suppress(Exception), stage("check", shared={}):
            raise type(f"Error{next(numbers)}", (Exception,), {})

    for _ in range(many):
        one()
    return one


CASES: dict[str, Case] = {
    "stage names in one run": stage_names,
    "platforms named in one visit": platforms_named,
    "platforms named in one run": platforms_of_visits,
    "tasks in one stage object": tasks,
    "platforms in the store: a list": in_store(lambda many: _platforms([f"p{number}" for number in range(many)])),
    "platforms in the store: a text": in_store(lambda many: _platforms(", ".join(["twitter", "blog"] * many))),
    "platforms in the store: a set": in_store(lambda many: _platforms({f"p{number}" for number in range(many)})),
    "platforms in the store: a dict": in_store(lambda many: _platforms(dict.fromkeys(map(str, range(many))))),
    "platforms in the store: long names": in_store(lambda many: _platforms([" p" * many * 10] * FEW)),
    "versions in the store": in_store(lambda many: {"version_history": [{"version_id": "v"}] * many}),
    "a long revision": in_store(lambda many: {"quality_control": {"revision_count": " 1" * many * 10}}),
    "a deep store": in_store(lambda many: {"task_requirements": _deep(many), "quality_control": _deep(many)}),
    "versions of one stage": versions,
    "items of a batch flow": items,
    "parameters of an item": parameters,
    "runs that are idle": idle_runs,
    "runs with a tracked stage": tracked_runs,
    "workflow names": workflow_names,
    "characters of a message, in hundreds": failing(lambda many: ValueError("m" * many * 100)),
    "types of exceptions": error_types,
}


def _platforms(value: Any) -> dict[str, Any]:
    return {"task_requirements": {"platforms": value}}


def _deep(many: int) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for _ in range(many):
        deep = {"platforms": deep, "revision_count": deep}
    return deep


def seconds(probe: Probe) -> float:
    """Processor time of one call, of its own thread: another program disturbs that less."""
    gc.collect()
    gc.disable()
    begun = time.thread_time()
    for _ in range(PROBES):
        probe()
    passed = time.thread_time() - begun
    gc.enable()
    drain()
    return passed / PROBES


def lines(many: int) -> Iterator[tuple[str, float, float]]:
    """The seconds of each case with few and with many."""
    for name, case in CASES.items():
        best: list[float] = []
        for count in (FEW, many):
            default.recorder.close()
            probe = case(count)
            best.append(min(seconds(probe) for _ in range(ROUNDS)))
        yield name, best[0], best[1]


def main() -> int:
    """Measure, print and, if asked for, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=16_000, help="how many are many (default: 16000)")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    given = parser.parse_args()
    set_up()
    logging.getLogger("otel_progress").setLevel(logging.ERROR)  # So many names are meant.
    missed: list[str] = []
    print(f"{'':40} {FEW:>7} us {given.many:>7} us  ratio")
    for name, few, many in lines(given.many):
        grows = many > TARGET * few + NOISE
        missed += [name] if grows else []
        end = "  grows" if grows else ""
        print(f"{name:40} {few * 1e6:10.1f} {many * 1e6:10.1f} {many / few:6.2f}{end}", flush=True)
    return 1 if missed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())

"""Random workflows, with and without instrumentation: the same course, and spans that say what the nodes say.

Hypothesis draws a plan: flows in flows to a depth of three, batches and parallel batches, loops, retries, fallbacks,
nodes that run a flow of their own, exceptions and cancellations anywhere. The nodes that follow the plan keep a log of
their own, with nothing from the package. asyncio is deterministic and recording adds no await, so that the log of a
recorded run has to be that of a plain one, and each visit in it exactly one span.
"""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import pocketflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from pocketflow import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    BaseNode,
    BatchFlow,
    BatchNode,
    Flow,
    Node,
)

from otel_progress import PocketFlowInstrumentor
from otel_progress.recording.settings import Settings

from .conftest import Telemetry, linked, make_telemetry, using

Shared = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore:Flow ends:UserWarning")

ERRORS: dict[str, type[BaseException]] = {
    "ValueError": ValueError,
    "LookupError": LookupError,
    "CancelledError": asyncio.CancelledError,
    "KeyboardInterrupt": KeyboardInterrupt,
}


# --- the plan ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """What exec does with one item: how its tries end (those after the last: well) and how often each gives way."""

    tries: tuple[str, ...] = ()
    pauses: int = 0


@dataclass(frozen=True)
class Turn:
    """What one visit of a node does."""

    action: Any = "end"
    items: tuple[Item, ...] | None = ()
    """Of a node. A batch flow has as many items, whatever they are."""
    lazy: bool = False
    """Whether prep of a batch returns a generator."""
    breaks: tuple[tuple[str, str], ...] = ()
    """Which of prep, post and exec_fallback raises what."""
    pauses: int = 0

    def error(self, step: str) -> str:
        """What `step` raises; an empty string if nothing."""
        return dict(self.breaks).get(step, "")


LAST = Turn()
"""What every further visit does: no edge takes its action, so that every loop ends."""


@dataclass(frozen=True)
class Plan:
    """A node or a flow. Its name is its own in the whole workflow."""

    name: str
    kind: str
    turns: tuple[Turn, ...]
    retries: int = 1
    falls_back: bool = False
    inner: Plan | None = None
    """A flow that exec runs."""
    nodes: tuple[Plan, ...] = ()
    edges: tuple[tuple[int, Any, int], ...] = ()


@dataclass(frozen=True)
class Course:
    """A workflow and what is done to it from outside."""

    plan: Plan
    cancelled_after: int | None = None
    lingers: bool = False
    """Whether the event loop goes on until the last task has ended, as a server's does."""

    @property
    def awaits(self) -> bool:
        """Whether it is an async flow."""
        return issubclass(KINDS[self.plan.kind], AsyncNode)


class Drawing:
    """Makes a plan up, of at most about `size` nodes."""

    def __init__(self, random: Random, *, prefix: str, size: int, errors: tuple[str, ...], calm: int) -> None:
        self._random = random
        self._prefix = prefix
        self._size = size
        self._errors = errors
        self._calm = calm
        """One in how many of the places where something may fail does."""
        self._made = 0

    def _name(self) -> str:
        self._made += 1
        return f"{self._prefix}{self._made}"

    def _upto(self, most: int) -> int:
        return self._random.randint(0, most)

    def _one_in(self, number: int) -> bool:
        return self._upto(number - 1) == 0

    def _of(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _item(self, retries: int) -> Item:
        most = 2 if self._one_in(8) else max(0, retries - 1)
        tries = ["ValueError"] * self._upto(most)
        if self._one_in(self._calm):
            tries.append(self._of(*self._errors))
        return Item(tuple(tries), self._upto(3))

    def _turn(self, kind: str, retries: int) -> Turn:
        size = self._of(1, 2, 2, 3, 3, 3, 0) if "Batch" in kind else 1
        items: tuple[Item, ...] | None = tuple(self._item(retries) for _ in range(size))
        if kind == "BatchNode" and self._one_in(12):
            items = None
        steps = ("prep", "post") if "Flow" in kind else ("prep", "post", "exec_fallback")
        breaks = ((self._of(*steps), self._of(*self._errors)),) if self._one_in(self._calm) else ()
        lazy = kind in {"BatchNode", "BatchFlow", "AsyncBatchFlow"} and self._one_in(6)
        return Turn(self._of(None, None, None, None, "default", "a", "b", 7), items, lazy, breaks, self._upto(2))

    def _turns(self, kind: str, retries: int = 1) -> tuple[Turn, ...]:
        return tuple(self._turn(kind, retries) for _ in range(self._of(1, 2, 3, 3)))

    def _node(self, depth: int, *, awaits: bool) -> Plan:
        name = self._name()
        kind = self._of(*(ASYNC_NODES * 2 if awaits else ()), "Node", "BaseNode", "BatchNode")
        retries = 1 if kind == "BaseNode" else self._of(1, 2, 3, 0)
        inner = None
        if depth > 0 and self._made < self._size and self._one_in(8):
            inner = self.flow(depth - 1, awaits=kind in ASYNC_NODES and not self._one_in(3))
        return Plan(name, kind, self._turns(kind, retries), retries, self._one_in(2), inner)

    def flow(self, depth: int, *, awaits: bool, kind: str = "") -> Plan:
        """A flow that holds flows down to `depth`."""
        name = self._name()
        kind = kind or self._of(*(ASYNC_FLOWS if awaits else SYNC_FLOWS))
        nodes: list[Plan] = []
        for _ in range(min(self._of(1, 2, 3, 3, 4), self._size)):
            if depth > 0 and self._made < self._size and self._one_in(3):
                nodes.append(self.flow(depth - 1, awaits=awaits and not self._one_in(3)))
            else:
                nodes.append(self._node(depth, awaits=awaits))
        last = len(nodes) - 1
        edges: dict[tuple[int, Any], int] = {(index, "default"): index + 1 for index in range(last)}
        for _ in range(self._upto(4)):
            edges[self._upto(last), self._of("a", "b", "default", 7)] = self._upto(last)
        found = tuple((source, action, target) for (source, action), target in edges.items())
        return Plan(name, kind, self._turns(kind), nodes=tuple(nodes), edges=found)


@st.composite
def courses(
    draw: st.DrawFn, *, prefix: str = "s", awaits: bool | None = None, errors: tuple[str, ...] = tuple(ERRORS)
) -> Course:
    """A workflow; of either kind if `awaits` is None.

    Hypothesis chooses its size, its depth and its seed: drawn choice by choice, most workflows would be tiny.
    """
    awaits = draw(st.booleans()) if awaits is None else awaits
    size, depth = draw(st.sampled_from([12, 8, 4, 1])), draw(st.sampled_from([2, 1, 0]))
    random = Random(draw(st.integers(0, 9999)))
    # Where many things fail, and beside each other: tasks that outlive their flow.
    stormy = awaits and draw(st.booleans())
    drawing = Drawing(random, prefix=prefix, size=size, errors=errors, calm=10 if stormy else 40)
    plan = drawing.flow(depth, awaits=awaits, kind="AsyncParallelBatchFlow" if stormy else "")
    cancelled_after = random.choice([None] * 8 + [2, 5, 13, 34]) if awaits else None
    return Course(plan, cancelled_after, awaits and draw(st.booleans()))


# --- the log ----------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """One visit, as its own node saw it, up to its end or to that of the outermost flow."""

    name: str
    kind: str
    parent: int | None
    params: Shared
    late: bool
    """Begun after the outermost flow had ended: a task that nobody waited for."""
    turn: Turn
    flow: int | None = None
    """The visit of the flow that runs it. It may have ended: a task that runs on after its batch has failed."""
    closed: bool = False
    result: str = ""
    error: str | None = None
    action: str | None = None
    steps: list[str] = field(default_factory=list[str])
    attempts: int = 0
    retries: int = 0
    failed_attempts: int = 0
    fell_back: bool = False
    total: int | None = None
    open_items: dict[int, bool] = field(default_factory=dict[int, bool])
    """Those of a node's items that have not ended, and whether exec or exec_fallback is working on them."""
    items: Counter[str] = field(default_factory=Counter[str])
    """How many items of a batch ended with which result."""
    items_begun: int = 0
    tries: Counter[int] = field(default_factory=Counter[int])
    """How often each item was tried, also after the end of the visit: parallel items run on."""
    dead_ends: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def is_flow(self) -> bool:
        return "Flow" in self.kind

    @property
    def is_batch(self) -> bool:
        return "Batch" in self.kind

    def end_item(self, index: int, result: str) -> None:
        if not self.closed:
            self.open_items.pop(index, None)
            if self.is_batch:
                self.items[result] += 1

    def close(self, result: str, error: str | None) -> None:
        self.closed = True
        self.result = "fallback" if result == "success" and self.fell_back else result
        self.error = error
        for running in self.open_items.values() if self.is_batch else ():
            self.items["abandoned" if running else "failure"] += 1
        self.open_items.clear()


def result_of(error: BaseException | None) -> str:
    return "success" if error is None else "failure" if isinstance(error, Exception) else "cancelled"


class Log:
    """What happened in one run of a workflow, in order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.over = False

    def begin(self, node: Any) -> int:
        number = sum(entry.name == node.name for entry in self.entries)
        turn = node.turns[number] if number < len(node.turns) else LAST
        outer = here.get()
        parent = flow = None if outer is None else outer[1]
        while parent and self.entries[parent].closed:
            parent = self.entries[parent].parent
        self.entries.append(Entry(node.name, node.kind, parent, dict(node.params), self.over, turn, flow))
        return len(self.entries) - 1

    def end(self, serial: int, node: Any, error: BaseException | None, action: Any = None) -> None:
        entry = self.entries[serial]
        if error is None and entry.flow is not None:
            self._note_dead_end(entry.flow, node, action)
        if not entry.closed:
            entry.action = None if error is not None else "default" if action is None else str(action)
            entry.close(result_of(error), None if error is None else type(error).__name__)
        if entry.parent is None:
            self.over = True
            for each in self.entries:
                if not each.closed:
                    each.close("abandoned", "abandoned")

    def _note_dead_end(self, flow: int, node: Any, action: Any) -> None:
        if node.successors and (action or "default") not in node.successors and not self.entries[flow].closed:
            self.entries[flow].dead_ends.append((node.name, str(action or "default")))


logs: dict[str, Log] = {}
"""The log of each workflow that runs, by the workflow's name: a log on a node would be copied with it."""
here: ContextVar[tuple[Log, int] | None] = ContextVar("here", default=None)
"""The log and the visit whose code this is."""


def at_hand() -> Entry:
    found = here.get()
    assert found is not None
    log, serial = found
    return log.entries[serial]


@contextmanager
def visited(node: Any) -> Generator[Callable[[Any], None]]:
    """Log a visit."""
    log = logs[node.log]
    serial = log.begin(node)
    token = here.set((log, serial))
    returned: list[Any] = []
    try:
        yield returned.append
    except BaseException as error:
        log.end(serial, node, error)
        raise
    else:
        log.end(serial, node, None, returned[0])
    finally:
        here.reset(token)


class Seen:
    """Logs visits. No node itself, so that nothing wraps its methods."""

    def _run(self, shared: Shared) -> Any:
        with visited(self) as returned:
            action = cast("Any", super())._run(shared)
            returned(action)
            return action


class SeenAsync:
    async def _run_async(self, shared: Shared) -> Any:
        with visited(self) as returned:
            action = await cast("Any", super())._run_async(shared)
            returned(action)
            return action


@contextmanager
def item_of_flow() -> Generator[None]:
    """Log an item of a batch flow."""
    entry = at_hand()
    entry.items_begun += not entry.closed
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        entry.end_item(-1, result_of(error))


class SeenItems:
    def _orch(self, shared: Shared, params: Any = None) -> Any:
        with item_of_flow():
            return cast("Any", super())._orch(shared, params)


class SeenItemsAsync:
    async def _orch_async(self, shared: Shared, params: Any = None) -> Any:
        with item_of_flow():
            return await cast("Any", super())._orch_async(shared, params)


# --- nodes that follow the plan ---------------------------------------------------------------------------------------


def step(node: Any, name: str, shared: Shared) -> Turn:
    """What prep and post have in common."""
    entry = at_hand()
    if not entry.closed:
        entry.steps.append(name)
    shared["course"].append((node.name, name))
    if kind := entry.turn.error(name):
        raise ERRORS[kind](node.name, name)
    return entry.turn


def after_prep(node: Any, shared: Shared) -> Any:
    """What prep of a node returns: what exec needs for each item."""
    entry = at_hand()
    items = entry.turn.items
    if items is None:
        return None
    work = [(index, item, shared) for index, item in enumerate(items)]
    if not entry.is_batch:
        return work[0] if work else (0, Item(), shared)
    if entry.turn.lazy:
        return (each for each in work)
    if not entry.closed:
        entry.total = len(work)
    return work


def items_of_flow(node: Any) -> Any:
    """What prep of a batch flow returns."""
    entry = at_hand()
    if not entry.is_batch:
        return None
    number = len(entry.turn.items or ())
    items = ({f"item of {node.name}": index, "platform": f"{node.name}.{index}"} for index in range(number))
    if entry.turn.lazy:
        return items
    if not entry.closed:
        entry.total = number
    return list(items)


@contextmanager
def tried(node: Any, work: tuple[int, Item, Shared]) -> Generator[None]:
    """Log one call of exec, and end it as the plan says."""
    entry = at_hand()
    index, item, shared = work
    number = entry.tries[index]
    entry.tries[index] += 1
    in_time = not entry.closed
    if in_time:
        entry.items_begun += number == 0
        entry.open_items[index] = True
        entry.attempts += 1
        entry.retries += number > 0
    try:
        yield
        shared["course"].append((node.name, index, number))
        if number < len(item.tries):
            raise ERRORS[item.tries[number]](node.name, index, number)
    except Exception:
        entry.failed_attempts += in_time
        if not entry.closed:
            entry.open_items[index] = False
        raise
    except BaseException as error:
        entry.end_item(index, result_of(error))
        raise
    entry.end_item(index, "success")


def fallen_back(node: Any, work: tuple[int, Item, Shared], error: Exception) -> str:
    """Log one call of exec_fallback, and end it as the plan says."""
    entry = at_hand()
    index, _, shared = work
    if not entry.closed:
        entry.open_items[index] = True
    shared["course"].append((node.name, "exec_fallback", index))
    try:
        if kind := entry.turn.error("exec_fallback"):
            raise ERRORS[kind](node.name, "exec_fallback")
        if not node.falls_back:
            raise error
    except BaseException as raised:
        entry.end_item(index, result_of(raised))
        raise
    entry.fell_back = entry.fell_back or not entry.closed
    entry.end_item(index, "fallback")
    return "instead"


async def give_way(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


class Planned:
    """What a plan sets on each node."""

    name: str
    kind: str
    log: str
    turns: tuple[Turn, ...]
    falls_back: bool
    inner: Any


class ABase(Seen, BaseNode, Planned):
    def prep(self, shared: Shared) -> Any:
        step(self, "prep", shared)
        return after_prep(self, shared)

    def exec(self, prep_res: Any) -> str:
        with tried(self, prep_res):
            if self.inner is not None:
                self.inner.run(prep_res[2])
        return "done"

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        shared[self.name] = exec_res
        return step(self, "post", shared).action


class ANode(Seen, Node, Planned):
    def prep(self, shared: Shared) -> Any:
        step(self, "prep", shared)
        return after_prep(self, shared)

    def exec(self, prep_res: Any) -> str:
        with tried(self, prep_res):
            if self.inner is not None:
                self.inner.run(prep_res[2])
        return "done"

    def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
        return fallen_back(self, prep_res, exc)

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        shared[self.name] = exec_res
        return step(self, "post", shared).action


class ABatch(ANode, BatchNode):
    """Overrides, as the other batch classes do, so that wrapped methods call wrapped ones."""

    def _run(self, shared: Shared) -> Any:
        return super()._run(shared)

    def _exec(self, prep_res: Any) -> Any:
        return super()._exec(prep_res)

    def exec(self, prep_res: Any) -> str:
        return super().exec(prep_res)


class AnAsync(SeenAsync, AsyncNode, Planned):
    async def prep_async(self, shared: Shared) -> Any:
        turn = step(self, "prep", shared)
        await give_way(turn.pauses)
        return after_prep(self, shared)

    async def exec_async(self, prep_res: Any) -> str:
        with tried(self, prep_res):
            await give_way(prep_res[1].pauses)
            if isinstance(self.inner, AsyncNode):
                await self.inner.run_async(prep_res[2])
            elif self.inner is not None:
                self.inner.run(prep_res[2])
        return "done"

    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> str:
        return fallen_back(self, prep_res, exc)

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        shared[self.name] = exec_res
        turn = step(self, "post", shared)
        await give_way(turn.pauses)
        return turn.action


class AnAsyncBatch(AnAsync, AsyncBatchNode):
    pass


class AParallelBatch(AnAsync, AsyncParallelBatchNode):
    async def _run_async(self, shared: Shared) -> Any:
        return await super()._run_async(shared)

    async def exec_async(self, prep_res: Any) -> str:
        return await super().exec_async(prep_res)

    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> str:
        return await super().exec_fallback_async(prep_res, exc)


class AFlow(Seen, Flow, Planned):
    def prep(self, shared: Shared) -> Any:
        step(self, "prep", shared)
        return items_of_flow(self)

    def post(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        action = step(self, "post", shared).action
        return exec_res if action is None else action


class ABatchFlow(SeenItems, AFlow, BatchFlow):
    def _run(self, shared: Shared) -> Any:
        return super()._run(shared)

    def _orch(self, shared: Shared, params: Any = None) -> Any:
        return super()._orch(shared, params)


class AnAsyncFlow(SeenAsync, AsyncFlow, Planned):
    async def prep_async(self, shared: Shared) -> Any:
        turn = step(self, "prep", shared)
        await give_way(turn.pauses)
        return items_of_flow(self)

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        action = step(self, "post", shared).action
        return exec_res if action is None else action


class AnAsyncBatchFlow(SeenItemsAsync, AnAsyncFlow, AsyncBatchFlow):
    pass


class AParallelBatchFlow(SeenItemsAsync, AnAsyncFlow, AsyncParallelBatchFlow):
    async def _run_async(self, shared: Shared) -> Any:
        return await super()._run_async(shared)

    async def _orch_async(self, shared: Shared, params: Any = None) -> Any:
        return await super()._orch_async(shared, params)

    async def post_async(self, shared: Shared, prep_res: Any, exec_res: Any) -> Any:
        return await super().post_async(shared, prep_res, exec_res)


KINDS: dict[str, type[Any]] = {
    "BaseNode": ABase,
    "Node": ANode,
    "BatchNode": ABatch,
    "AsyncNode": AnAsync,
    "AsyncBatchNode": AnAsyncBatch,
    "AsyncParallelBatchNode": AParallelBatch,
    "Flow": AFlow,
    "BatchFlow": ABatchFlow,
    "AsyncFlow": AnAsyncFlow,
    "AsyncBatchFlow": AnAsyncBatchFlow,
    "AsyncParallelBatchFlow": AParallelBatchFlow,
}
ASYNC_NODES = ("AsyncNode", "AsyncBatchNode", "AsyncParallelBatchNode")
ASYNC_FLOWS = ("AsyncFlow", "AsyncParallelBatchFlow", "AsyncBatchFlow")
SYNC_FLOWS = ("Flow", "BatchFlow")


def build(plan: Plan, log: str) -> Any:
    """The nodes of a plan, joined."""
    made = KINDS[plan.kind]() if "Flow" in plan.kind or plan.kind == "BaseNode" else KINDS[plan.kind](plan.retries)
    made.name, made.kind, made.log = plan.name, plan.kind, log
    made.turns, made.falls_back = plan.turns, plan.falls_back
    made.inner = None if plan.inner is None else build(plan.inner, log)
    nodes = [build(node, log) for node in plan.nodes]
    for source, action, target in plan.edges:
        nodes[source].next(nodes[target], action)
    if nodes:
        made.start(nodes[0])
    return made


# --- a run, and what is to be the same --------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a workflow did."""

    value: Any
    errors: list[tuple[type[BaseException], tuple[Any, ...]]]
    """What it raised, and what that was raised in the course of."""
    shared: Shared
    entries: list[Entry]
    warned: list[str] = field(default_factory=list[str])


async def in_loop(flow: Any, course: Course, shared: Shared) -> Any:
    """Run an async flow as a task that may be cancelled."""
    others = asyncio.all_tasks()
    task = asyncio.create_task(flow.run_async(shared))
    try:
        if course.cancelled_after is not None:
            await give_way(course.cancelled_after)
            task.cancel()
        return await task
    finally:
        if course.lingers and (left := asyncio.all_tasks() - others):
            await asyncio.wait(left)


def in_new_loop(main: Coroutine[Any, Any, Any]) -> Any:
    """As asyncio.run, but it survives a KeyboardInterrupt in mid-cleaning, and cancels the tasks in their order."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # Of tasks that nobody awaits.
    try:
        return loop.run_until_complete(main)
    finally:
        while left := sorted(asyncio.all_tasks(loop), key=lambda task: int(task.get_name().removeprefix("Task-"))):
            for task in left:
                task.cancel()
            with suppress(BaseException):
                loop.run_until_complete(give_way(20))
        loop.close()


def outcome(course: Course, value: Any, error: BaseException | None, shared: Shared) -> Outcome:
    errors: list[tuple[type[BaseException], tuple[Any, ...]]] = []
    while error is not None:
        errors.append((type(error), error.args))
        error = error.__context__
    return Outcome(value, errors, shared, logs[course.plan.name].entries)


def play(flow: Any, course: Course) -> Outcome:
    """Run a workflow from the beginning to the end, whatever that is."""
    logs[course.plan.name] = Log()
    shared: Shared = {"course": []}
    value, error = None, None
    try:
        value = in_new_loop(in_loop(flow, course, shared)) if course.awaits else flow.run(shared)
    except BaseException as raised:
        error = raised
    assert trace.get_current_span() is trace.INVALID_SPAN
    return outcome(course, value, error, shared)


def play_heard(flow: Any, course: Course) -> Outcome:
    """Keep the warnings as well."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        played = play(flow, course)
    played.warned = [str(warning.message) for warning in heard]
    return played


def same(recorded: Outcome, plain: Outcome) -> None:
    """A recorded run is a plain one, but for the mirror's keys."""
    assert recorded.value == plain.value
    assert recorded.errors == plain.errors
    kept = {key: value for key, value in recorded.shared.items() if key not in {"progress_metrics", "progress_run"}}
    assert kept == plain.shared
    assert recorded.entries == plain.entries
    assert recorded.warned == plain.warned


# --- what was recorded ------------------------------------------------------------------------------------------------

PREFIX = "otel_progress."


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return {key.removeprefix(PREFIX): value for key, value in (span.attributes or {}).items()}


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


class Recording:
    """The spans of one workflow, each visit's found by its place in the order of all visits."""

    def __init__(self, telemetry: Telemetry, log: Log, root: str, detail: str) -> None:
        self.log = log
        self.detail = detail
        prefix = root.rstrip("0123456789")
        spans = telemetry.spans()
        by_id = {span_id(span): span for span in spans}
        self.visits = [
            span
            for span in spans
            if span.name.startswith((f"run {prefix}", f"stage {prefix}"))
            and span.name.split(" ", 1)[1].removeprefix(prefix).isdigit()
        ]
        self._serial = {span_id(span): serial for serial, span in enumerate(self.visits)}
        self.parts: dict[int, list[str]] = {serial: [] for serial in range(len(self.visits))}
        self.parents: dict[int, int | None] = {}
        for span in spans:
            above = span
            while above.parent is not None:
                above = by_id[above.parent.span_id]  # Fails where a span was made and never ended.
                if span_id(above) in self._serial:
                    break
            serial = self._serial.get(span_id(above))
            if span_id(span) in self._serial:
                self.parents[self._serial[span_id(span)]] = serial if above is not span else None
            elif serial is not None:
                kind, _, rest = span.name.partition(" ")
                self.parts[serial].append(kind)
                own = span.attributes or {}
                told = own.get("otel_progress.stage.attempts"), own.get("otel_progress.item.platform")
                number = "5+" if isinstance(told[0], int) and told[0] > 4 else told[0]
                assert rest == ("" if kind != "attempt" else str(number) if told[1] is None else f"{number} {told[1]}")
        assert len({span.context.trace_id for span in self.visits if span.context}) == 1

    def check(self) -> None:
        """Hold every span against the log."""
        assert [span.name.split(" ", 1)[1] for span in self.visits] == [entry.name for entry in self.log.entries]
        assert self.visits[0].name.startswith("run ")
        numbers: Counter[tuple[str, str]] = Counter()
        for serial, entry in enumerate(self.log.entries):
            item = (entry.name, repr(sorted(entry.params.items())))
            numbers[item] += 1
            self._check_visit(serial, entry, numbers[item])
            self._check_parts(serial, entry)

    def _check_visit(self, serial: int, entry: Entry, number: int) -> None:
        span = self.visits[serial]
        assert span.start_time is not None
        assert span.end_time is not None
        found = attributes_of(span)
        failed = entry.result in {"failure", "cancelled", "abandoned"}
        if entry.late:
            # Where it belongs is not said anywhere. It has one span, that ended, in the trace of its run.
            assert self.parents[serial] is not None
            return
        assert self.parents[serial] == entry.parent
        assert span.status.is_unset is not failed
        assert found.get("error.type") == (entry.error if failed else None)
        ends = [event for event in span.events if event.name == "dead_end"]
        told = [(str((each.attributes or {})[f"{PREFIX}stage.name"]), action_of(each)) for each in ends]
        assert told == entry.dead_ends
        if entry.parent is None:
            assert found["result"] == entry.result
            return
        assert span.name.startswith("stage ")
        assert found["stage.result"] == entry.result
        assert found.get("stage.action") == entry.action
        assert found.get("item.platform") == entry.params.get("platform")
        assert found["stage.visit"] == number
        assert (len(linked(span, "repeats")) + len(linked(span, "follows"))) >= (number > 1)
        if not entry.is_flow:
            assert found["stage.attempts"] == entry.attempts
        done = entry.items["success"] + entry.items["fallback"]
        failed_items = entry.items.total() - done
        expected: dict[str, Any] = {} if entry.total is None else {"stage.items.total": entry.total}
        if expected or done or failed_items:
            expected.update({"stage.items.done": done, "stage.items.failed": failed_items})
        assert {key: value for key, value in found.items() if key.startswith("stage.items.")} == expected

    def _check_parts(self, serial: int, entry: Entry) -> None:
        parts = Counter(self.parts[serial])
        assert parts["attempt"] == entry.failed_attempts
        if self.detail == "none":
            assert set(parts) <= {"attempt"}
        elif not entry.late:
            assert parts["item"] == (entry.items_begun if entry.is_batch else 0)
            if entry.parent is not None:
                assert parts["prep"] == entry.steps.count("prep")
                assert parts["post"] == entry.steps.count("post")


def action_of(event: Any) -> str:
    return str((event.attributes or {})[f"{PREFIX}stage.action"])


def check_totals(telemetry: Telemetry, log: Log, shared: Shared) -> None:
    """Metrics and mirror say what the log says. Not where tasks outlived the run: they join it, or begin another."""
    json.dumps(shared["progress_metrics"])
    if any(entry.late for entry in log.entries):
        return
    visits = log.entries[1:]
    durations = Counter[tuple[str, str]]()
    for attributes, (_, count) in telemetry.points(f"{PREFIX}stage.duration"):
        durations[attributes["stage.name"], attributes["result"]] += count
    assert durations == Counter((entry.name, entry.result) for entry in visits)
    assert counted(telemetry, "stage.retries", "stage.name") == summed(((e.name,), e.retries) for e in visits)
    dead_ends = Counter((name,) for entry in log.entries for name, _ in entry.dead_ends)
    assert counted(telemetry, "flow.dead_ends", "stage.name") == dead_ends
    items = summed(((e.name, result), count) for e in visits for result, count in e.items.items())
    assert counted(telemetry, "stage.items", "stage.name", "result") == items
    (run,) = telemetry.points(f"{PREFIX}run.duration")
    assert (run[0]["result"], run[1][1]) == (log.entries[0].result, 1)
    mirror = shared["progress_metrics"]
    assert list(mirror) == list(dict.fromkeys(entry.name for entry in visits))
    for name, told in mirror.items():
        ours = [entry for entry in visits if entry.name == name]
        assert told["visits"] == len(ours)
        assert told["retries"] == sum(entry.retries for entry in ours)
        assert told["items_done"] == sum(entry.items["success"] + entry.items["fallback"] for entry in ours)
        totals = [entry.total for entry in ours if entry.total is not None]
        assert told["items_total"] == (sum(totals) if totals else None)
        assert told["result"] in {entry.result for entry in ours}
        assert "end_time" in told


def counted(telemetry: Telemetry, metric: str, *by: str) -> dict[Any, int]:
    return summed(
        (tuple(attributes[key] for key in by), value) for attributes, value in telemetry.points(f"{PREFIX}{metric}")
    )


def summed(counts: Any) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for key, count in counts:
        found[key] = found.get(key, 0) + count
    return {key: count for key, count in found.items() if count}


CLASSES: list[type] = [
    *(value for value in vars(pocketflow).values() if isinstance(value, type)),
    *KINDS.values(),
    *(Seen, SeenAsync, SeenItems, SeenItemsAsync, Planned),
]


def members() -> dict[tuple[type, str], Any]:
    return {(cls, name): value for cls in CLASSES for name, value in vars(cls).items() if not name.startswith("__weak")}


@contextmanager
def instrumented(detail: str = "none") -> Generator[Telemetry]:
    """Instrument for a while; everything is as before after that, and nothing is left open."""
    before = members()
    for telemetry in using(make_telemetry(Settings(detail=cast("Any", detail)))):
        instrumentor = PocketFlowInstrumentor()
        instrumentor.instrument()
        try:
            assert members() != before
            yield telemetry
        finally:
            instrumentor.uninstrument()
        assert telemetry.recorder.registry.visits() == []
        telemetry.recorder.close()
        assert telemetry.recorder.registry.runs() == []
    after = members()
    assert after.keys() == before.keys()
    assert [key for key, value in before.items() if after[key] is not value] == []
    assert trace.get_current_span() is trace.INVALID_SPAN


def examples(number: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


# --- the properties ---------------------------------------------------------------------------------------------------

details = st.sampled_from(["none", "all"])


@examples(400)
@given(course=courses(), detail=details)
def test_a_recorded_workflow_is_the_same_and_every_visit_one_span(course: Course, detail: str) -> None:
    flow = build(course.plan, course.plan.name)
    plain = play_heard(flow, course)
    kept = pickle.dumps(flow)
    with instrumented(detail) as telemetry:
        recorded = play_heard(flow, course)
    same(recorded, plain)
    assert pickle.dumps(flow) == kept
    log = logs[course.plan.name]
    Recording(telemetry, log, course.plan.name, detail).check()
    check_totals(telemetry, log, recorded.shared)


@examples(100)
@given(course=courses(), treat=st.sampled_from([lambda flow: pickle.loads(pickle.dumps(flow)), copy.deepcopy]))
def test_the_same_for_a_workflow_that_was_pickled_or_copied(course: Course, treat: Callable[[Any], Any]) -> None:
    flow = build(course.plan, course.plan.name)
    plain = play_heard(flow, course)
    with instrumented() as telemetry:
        recorded = play_heard(treat(flow), course)
    same(recorded, plain)
    log = logs[course.plan.name]
    Recording(telemetry, log, course.plan.name, "none").check()
    check_totals(telemetry, log, recorded.shared)


@examples(60)
@given(first=courses(prefix="s"), second=courses(prefix="t"))
def test_two_workflows_in_two_threads_do_not_mix(first: Course, second: Course) -> None:
    pairs = [(course, build(course.plan, course.plan.name)) for course in (first, second)]
    plain = [play(flow, course) for course, flow in pairs]
    both = threading.Barrier(2)
    recorded: dict[str, Outcome] = {}

    def go(course: Course, flow: Any) -> None:
        both.wait()
        recorded[course.plan.name] = play(flow, course)

    with instrumented() as telemetry:
        threads = [threading.Thread(target=go, args=(course, flow)) for course, flow in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for (course, _), expected in zip(pairs, plain, strict=True):
        same(recorded[course.plan.name], expected)
        Recording(telemetry, logs[course.plan.name], course.plan.name, "none").check()


QUIET = ("ValueError", "LookupError", "CancelledError")
"""A KeyboardInterrupt ends the event loop, and with it the other workflow."""


@examples(60)
@given(first=courses(prefix="s", awaits=True, errors=QUIET), second=courses(prefix="t", awaits=True, errors=QUIET))
def test_two_workflows_in_two_tasks_do_not_mix(first: Course, second: Course) -> None:
    pairs = [(course, build(course.plan, course.plan.name)) for course in (first, second)]

    async def both() -> list[Outcome]:
        tasks: list[Any] = []
        stores: list[Shared] = []
        for course, flow in pairs:
            logs[course.plan.name] = Log()
            stores.append({"course": []})
            tasks.append(asyncio.create_task(in_loop(flow, Course(course.plan, course.cancelled_after), stores[-1])))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert trace.get_current_span() is trace.INVALID_SPAN
        return [
            outcome(course, None, end, shared) if isinstance(end, BaseException) else outcome(course, end, None, shared)
            for (course, _), end, shared in zip(pairs, ended, stores, strict=True)
        ]

    plain = in_new_loop(both())
    with instrumented() as telemetry:
        recorded = in_new_loop(both())
    for (course, _), ours, expected in zip(pairs, recorded, plain, strict=True):
        same(ours, expected)
        Recording(telemetry, logs[course.plan.name], course.plan.name, "none").check()

"""One plain model of a run: what every reader builds, and what display, analysis and pages work on.

Everything is frozen. Times are nanoseconds since the Unix epoch, durations are seconds, None is what nobody told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Literal, cast

from ..recording.times import NANO, timestamp

State = Literal["running", "waiting", "stalled", "crashed", "done", "unknown"]
"""What a run or a visit does now. `waiting`: it says so itself; a run: all that is open in it. `done`: its end was
recorded. `crashed`: it was not, and its process is gone. `unknown`: the input tells no end, and nothing of the process
either."""

_TIMES = ("started", "ended")


@dataclass(frozen=True, slots=True)
class Link:
    """What a visit points to."""

    kind: str
    """`repeats`: the visit before it of the same stage for the same item. `follows`: one that it is known to follow."""
    trace_id: str | None = None
    span_id: str | None = None
    """Those of its span, where it has one."""
    visit: str | None = None
    """The id of that visit, where it is in the same run."""


@dataclass(frozen=True)
class Version:
    """An entry that was added to `version_history` during a visit."""

    id: str
    action: str | None = None


@dataclass(frozen=True)
class Attempt:
    """A failed try of exec."""

    number: int
    started: int
    ended: int
    error: str | None = None
    """Type name of the exception."""
    message: str | None = None


@dataclass(frozen=True)
class Item:
    """An item of a batch; only where the program recorded its spans (`detail`)."""

    started: int
    ended: int
    platform: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Wait:
    """A time in which a visit waited, as its code said."""

    reason: str
    started: int
    ended: int | None = None
    """None while it goes on, or where its end was not told."""


@dataclass(frozen=True, slots=True)  # There are many, of more fields than Python keeps in little room otherwise.
class Visit:
    """One execution of a stage."""

    id: str
    """Unique in its run."""
    stage: str
    number: int = 1
    """1 for the first visit of the stage for its item, 2 for the first repeat."""
    started: int = 0
    ended: int | None = None
    state: State = "unknown"
    note: str = ""
    """Why it is in this state, where that needs words."""
    result: str | None = None
    """One of `names.Result`, or what a later version says."""
    error: str | None = None
    action: str | None = None
    revision: int | None = None
    platforms: tuple[str, ...] = ()
    platform_count: int = 0
    item_platform: str | None = None
    attempts: int = 1
    retries: int = 0
    wait: float = 0.0
    """Seconds that it waited: between attempts, and in `waits` that have ended."""
    budget: float | None = None
    function: str | None = None
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None
    process: int | None = None
    parent: str | None = None
    """The id of the visit around it; None: directly in its run, or not told."""
    span_id: str | None = None
    failed: tuple[Attempt, ...] = ()
    waits: tuple[Wait, ...] = ()
    items: tuple[Item, ...] = ()
    versions: tuple[Version, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it goes on."""
        return None if self.ended is None else (self.ended - self.started) / NANO


@dataclass(frozen=True)
class Stage:
    """One stage of a run, over all its visits: the totals are whole, also where not all visits are kept."""

    name: str
    started: int | None = None
    """Start of the first visit."""
    ended: int | None = None
    """End of the last visit; None while one is open."""
    visits: int = 0
    open: int = 0
    seconds: float = 0.0
    """Sum over the visits that have ended."""
    results: Mapping[str, int] = field(default_factory=dict[str, int])
    """Visits by how they ended."""
    result: str | None = None
    """How the visit ended that ended last."""
    error: str | None = None
    retries: int = 0
    wait: float = 0.0
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None
    platforms: int = 0
    revision: int | None = None
    """The highest revision count that a visit saw."""
    dead_ends: int = 0
    """How often it gave an action that no edge takes."""
    dead_end_actions: Mapping[str, int] = field(default_factory=dict[str, int])
    """The same by the actions; one without a text was not told."""


@dataclass(frozen=True)
class Run:
    """One execution of a workflow."""

    id: str
    workflow: str
    source: str
    """Where it was read: the name of its record, a file, an address."""
    service: str | None = None
    trace_id: str | None = None
    started: int | None = None
    ended: int | None = None
    state: State = "unknown"
    note: str = ""
    result: str | None = None
    error: str | None = None
    stages: tuple[Stage, ...] = ()
    """In the order in which they first started."""
    visits: tuple[Visit, ...] = ()
    """By their start. What is open is always here, the others as far as they were asked for."""
    visits_left_out: int = 0
    processes: tuple[int, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it goes on, or where nobody told."""
        return None if self.ended is None or self.started is None else (self.ended - self.started) / NANO

    @property
    def visit_count(self) -> int:
        """Visits of all stages."""
        return sum(stage.visits for stage in self.stages)

    @property
    def retries(self) -> int:
        """Attempts after the first, of all stages."""
        return sum(stage.retries for stage in self.stages)

    @property
    def revision(self) -> int | None:
        """The highest revision count of all stages; None where the workflow keeps none."""
        return max((stage.revision for stage in self.stages if stage.revision is not None), default=None)

    @property
    def open_visits(self) -> tuple[Visit, ...]:
        """The visits whose end was not recorded."""
        return tuple(visit for visit in self.visits if visit.state != "done")


def to_json(value: Any) -> Any:
    """`value` (of this module) as JSON values: times in ISO 8601, and durations beside them."""
    if not is_dataclass(value) or isinstance(value, type):
        return list(map(to_json, cast("tuple[Any, ...]", value))) if isinstance(value, tuple) else value
    found: dict[str, Any] = {name: to_json(getattr(value, name)) for name in value.__dataclass_fields__}
    for name in _TIMES:
        if found.get(name) is not None:
            found[name] = timestamp(found[name])
    if isinstance(value, Run):
        found |= {"seconds": value.seconds, "retries": value.retries, "revision": value.revision}
    elif isinstance(value, Visit):
        found["seconds"] = value.seconds
    return found

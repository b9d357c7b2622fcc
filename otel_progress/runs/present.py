"""What goes on in the runs of a record, and what they came to: as it is now, after all that happened.

It is what a display draws. It is bounded: what has ended is counted, and of what is open at most so many visits are
told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .. import names
from ..recording.store import MOST_TOLD_APART
from .assemble import liveliest
from .collect import part_of
from .happenings import Happening
from .model import State
from .otlp import text
from .states import Processes

MOST_OPEN = 10_000
"""Visits, and runs, that are open at once and told apart. Of others only the end is told."""
_DEEPEST = 10


@dataclass(slots=True)
class StageNow:
    """A stage of a run, over the visits that have ended."""

    name: str
    around: str | None = None
    """The stage that its first visit lies in, if that is known."""
    visits: int = 0
    failed: int = 0
    """Visits that failed, or were left open."""
    cancelled: int = 0
    open: int = 0
    seconds: float = 0.0
    last: Happening | None = None
    """The end that was told last."""
    retries: int = 0
    revision: int | None = None
    platforms: int = 0
    """The most that a visit knew of."""
    items_done: int = 0
    items_failed: int = 0
    items_total: int | None = None


@dataclass(slots=True)
class VisitNow:
    """A visit that is open."""

    began: Happening
    parent: str | None
    """The visit around it."""
    progress: Happening | None = None
    """The latest that was told."""
    holds_others: bool = False
    """Whether visits lie, or lay, inside."""

    @property
    def waits_for(self) -> str | None:
        """What it waits for, as it says."""
        return None if self.progress is None else text(self.progress.attributes.get(names.WAIT_REASON))


@dataclass(slots=True)
class RunNow:
    """A run that is open, or has just ended."""

    id: str
    workflow: str
    began: Happening
    """The first that was told of it: mostly its start."""
    ended: Happening | None = None
    state: State = "running"
    """As of its processes: `running`, `stalled`, `crashed` or `unknown`."""
    open: dict[str, VisitNow] = field(default_factory=dict[str, VisitNow])
    stages: dict[str, StageNow] = field(default_factory=dict[str, StageNow])
    """In the order in which they first started."""
    parts: dict[str, tuple[str | None, bool]] = field(default_factory=dict[str, tuple[str | None, bool]])
    """What goes on of it: the process that does it, and whether that only joins it."""
    owned: bool = False
    """Whether the run itself was told of, and not only what joins it."""

    inside: dict[str, int] = field(default_factory=dict[str, int])
    """How many open visits lie right inside an open one, where there are any."""

    def state_of(self, processes: Processes) -> tuple[State, str]:
        """What its processes say of it. Nobody else can write the end of the run itself."""
        own = [process for process, only_joins in self.parts.values() if not only_joins]
        others = [process for process, _ in self.parts.values()]
        asked = own or [*others, *(visit.began.process for visit in self.open.values())]
        found = [processes.state_of_open(process) for process in dict.fromkeys(asked)]
        return liveliest(found) if found else ("unknown", "")

    def depth(self, visit: VisitNow) -> int:
        """How many open visits lie around it, up to a bound."""
        depth = 0
        while (above := self.open.get(visit.parent or "")) is not None and depth < _DEEPEST:
            visit, depth = above, depth + 1
        return depth

    def stage(self, name: str) -> StageNow:
        """The stage of this name; of very many, all others are one."""
        found = self.stages.get(name)
        if found is None:
            known = name if len(self.stages) < MOST_TOLD_APART else names.OTHER
            found = self.stages.get(known) or self.stages.setdefault(known, StageNow(known))
        return found

    def total(self, of: str) -> int:
        """The sum over its stages of one of their counts."""
        return sum(getattr(stage, of) for stage in self.stages.values())


@dataclass(frozen=True, slots=True)
class Change:
    """A run, or a visit in it, came into another state without telling it."""

    run: RunNow
    visit: VisitNow | None
    depth: int
    """How many open visits lay around it."""
    state: State
    note: str


class Present:
    """Enters what happens, one after the other."""

    def __init__(self) -> None:
        self.runs: dict[str, RunNow] = {}
        """Those that are open, in the order in which they were first told of."""
        self.visits = 0
        """How many are open in all of them, of those that are told apart."""

    def enter(self, happening: Happening) -> tuple[RunNow, VisitNow | None]:
        """Enter it. Gives its run, and the visit that it tells of, if one that is open or has ended by it."""
        run = self.runs.get(happening.run)
        if run is None:
            run = RunNow(happening.run, happening.workflow, happening)
            if len(self.runs) < MOST_OPEN:
                self.runs[happening.run] = run
        if happening.stage is None:
            self._of_run(run, happening)
            return run, None
        visit = None
        if happening.name == names.EVENT_STAGE_STARTED:
            stage = run.stage(happening.stage)
            visit = VisitNow(happening, happening.parent)
            if not (stage.visits or stage.open) and (around := run.open.get(visit.parent or "")) is not None:
                stage.around = around.began.stage
            stage.open += 1
            if self.visits < MOST_OPEN:
                self._open(run, visit)
        elif happening.name == names.EVENT_STAGE_PROGRESS:
            visit = run.open.get(happening.visit)
            if visit is not None:
                visit.progress = happening
        else:
            visit = self._close(run, happening.visit)
            self._ended(run.stage(happening.stage), happening, visit)
        return run, visit

    def look(self, processes: Processes) -> list[Change]:
        """What came into another state without a word, as its process is gone, or silent, or back.

        What has crashed is open no more. Whatever the processes told has to be entered before.
        """
        changes: list[Change] = []
        for run in list(self.runs.values()):
            begun = dict.fromkeys(visit.began.process for visit in run.open.values())
            states = {process: processes.state_of_open(process) for process in begun}
            if any(state == "crashed" for state, _ in states.values()):
                for key, visit in list(run.open.items()):
                    state, note = states[visit.began.process]
                    if state == "crashed":
                        changes.append(Change(run, visit, run.depth(visit), state, note))
                        self._crashed(run, key)
            state, note = run.state_of(processes)
            if state not in {run.state, "unknown"}:
                run.state = state
                changes.append(Change(run, None, 0, state, note))
                if state == "crashed":
                    self.forget(run)
        return changes

    def forget(self, run: RunNow) -> None:
        """Keep a run no more: it has ended, or never will."""
        if self.runs.pop(run.id, None) is not None:
            self.visits -= len(run.open)

    def _crashed(self, run: RunNow, key: str) -> None:
        visit = self._close(run, key)
        if visit is not None:
            stage = run.stage(visit.began.stage or "")
            stage.open, stage.failed = max(0, stage.open - 1), stage.failed + 1

    def _open(self, run: RunNow, visit: VisitNow) -> None:
        if visit.began.visit not in run.open:
            self.visits += 1
            if visit.parent is not None:
                run.inside[visit.parent] = run.inside.get(visit.parent, 0) + 1
                if (around := run.open.get(visit.parent)) is not None:
                    around.holds_others = True
        run.open[visit.began.visit] = visit

    def _close(self, run: RunNow, key: str) -> VisitNow | None:
        visit = run.open.pop(key, None)
        if visit is not None:
            self.visits -= 1
            if visit.parent is not None:
                left = run.inside.pop(visit.parent, 1) - 1
                if left:
                    run.inside[visit.parent] = left
        return visit

    def _of_run(self, run: RunNow, happening: Happening) -> None:
        joined = happening.attributes.get(names.RUN_JOINED) is True
        part = part_of(happening.fact, joined)
        run.owned = run.owned or not joined
        if happening.name == names.EVENT_RUN_STARTED:
            run.parts[part] = (happening.process, joined)
            return
        run.parts.pop(part, None)
        own = [process for process, only_joins in run.parts.values() if not only_joins]
        if not (own or joined) or not (run.owned or run.parts):
            run.ended = happening
            self.forget(run)

    @staticmethod
    def _ended(stage: StageNow, happening: Happening, visit: VisitNow | None) -> None:
        stage.visits += 1
        stage.open = max(0, stage.open - 1)
        if not happening.fine:
            stage.failed += happening.went == "failed"
            stage.cancelled += happening.went == "cancelled"
        stage.last = happening
        if visit is not None:
            stage.seconds += max(0, happening.at - visit.began.at) / 1e9
        told = happening.counts
        if told:
            stage.retries += told.get("retries", 0)
            stage.items_done += told.get("items.done", 0)
            stage.items_failed += told.get("items.failed", 0)
            if "items.total" in told:
                stage.items_total = (stage.items_total or 0) + told["items.total"]
            if "revision" in told:
                stage.revision = max(stage.revision or 0, told["revision"])
            if "platform_count" in told:
                stage.platforms = max(stage.platforms, told["platform_count"])

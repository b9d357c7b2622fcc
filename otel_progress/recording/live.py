"""Runs while they go on, and what they have in common with visits.

These objects are live and belong to the recorder. What a workflow may keep is `progress(run)`: plain JSON values.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context

from ..names import OTHER, Result
from .call import NO_CODE, Code, Origin
from .faults import from_handler, report
from .seen import NO_PLATFORMS, Platforms
from .spelling import spellings
from .stages import StageRecord
from .store import MOST_TOLD_APART, name_of
from .times import NANO

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from .order import Ends
    from .recorder import Recorder
    from .sink import Sink
    from .visits import Visit


F = TypeVar("F", bound="Callable[..., Any]")
NOWHERE = Context()
"""Where something is that has not begun, or has ended: its own context would hold it in a cycle."""


class Recorded:
    """Something with a start, an end and a place in the trace: a run, a visit, or a part of either."""

    recorder: Recorder
    run: Run
    parent: Recorded | None = None
    code: Code = NO_CODE
    """Of which code it is a call."""
    node: object | None = None
    """The node whose call this is, so that calls of its methods find it."""
    span: trace.Span = trace.INVALID_SPAN
    context_before: Context
    """What was current where the code began it, to be current again after it."""
    worker: object = None
    """The task or thread that began it."""
    ends: Ends | None = None
    """What has ended inside it, once something has."""
    part_of: Recorded | None = None
    """The run or visit of which it is a phase or an item."""
    parent_context: Context
    """In which its span is started: mostly `context_before`, else that of its run, or of another process."""
    context: Context = NOWHERE
    """To be attached while the workflow's own code runs."""
    started: int
    """Nanoseconds since the Unix epoch, by the wall clock, and never before the parent's."""
    clock: int
    """The monotonic clock at the start: it alone tells how long something took."""
    ended: int | None = None
    """`started` and how long it took."""
    result: Result | None = None
    exception: BaseException | None = None
    """What ended it, only while the sinks are told of the end."""
    error_type: str | None = None
    untold: Iterator[Sink] | None = None
    """An iterator through the sinks that are yet to be told of the end, set as it ends, until all that follows the end
    is done: who goes on after an interruption tells none twice."""

    @property
    def seconds(self) -> float:
        """How long it took; 0.0 while it goes on."""
        return 0.0 if self.ended is None else (self.ended - self.started) / NANO


class Beginning(Enum):
    """How a run began, and so who ends it, and what `Run` says of that.

                  ended by                      implicit   fresh   owned
    WORKFLOW      its `workflow`                no         yes     yes
    CARRIED_ON    its `workflow`                no         no      yes
    STAGE         nobody: it goes idle          yes        yes     yes
    JOINED        nobody: it goes idle          yes        no      no

    One that goes idle and has no store, so that no later stage finds it, ends with its `outermost` visit instead.
    """

    WORKFLOW = "workflow"
    """With a `workflow`, which ends it."""
    CARRIED_ON = "carried on"
    """The same, with a store that says the run of another process."""
    STAGE = "stage"
    """With a stage that had no run around it: idle, not ended, when no visit is open."""
    JOINED = "joined"
    """Elsewhere: in another process, before a fork, or here before its end. Idle as the one before."""


class Tracking(Enum):
    """What trackers have to do with a visit."""

    NOT = "nothing"
    """The stage's own code began it."""
    OPEN = "open"
    """A tracker began it, and will complete it unless the stage's own code takes it over."""
    PASSED = "passed"
    """The same, and a tracker is about to complete it: it is too late for that code."""
    TAKEN_OVER = "taken over"
    """A tracker began it, and the stage's own code goes on with it and ends it."""


class Run(Recorded):
    """One execution of a workflow."""

    # What every run has from the first, and every visit asks for. Of more than thirty others Python makes a dict.
    __slots__ = (
        "begin_lock",
        "beginning",
        "beyond",
        "ended",
        "ending",
        "failing",
        "id",
        "idle",
        "implicit",
        "last_activity",
        "lock",
        "noted",
        "open",
        "open_here",
        "origin",
        "outermost",
        "platform_names",
        "recorder",
        "run",
        "shared",
        "spellings",
        "stages",
        "tracked",
        "workflow",
    )

    open_here: bool
    """Whether this process may add to it: until its end, and not in a forked child."""
    idle: bool
    """Whether it is one that nothing ends, between its stages."""
    shown = False
    """Whether its store has been told of it, so that others find it there when it is let go of."""
    outermost: Visit | None
    """The visit with which a run ends that nothing else can join."""
    last_activity: int
    rework = 0.0
    """Seconds of rework, each counted once: a visit inside one that is rework is not added."""
    platform_count = 0
    revision: int | None = None
    """The highest count seen; None where the workflow keeps none."""
    failing: str | None
    """The exception type that ended the last visit, if it failed."""
    noted: Platforms
    """The platforms last added to the run's."""

    def __init__(
        self,
        recorder: Recorder,
        run_id: str,
        workflow: str,
        beginning: Beginning = Beginning.WORKFLOW,
        *,
        shared: Any = None,
        origin: Origin = "program",
    ) -> None:
        self.recorder = recorder
        self.run = self
        self.id = run_id
        self.workflow = workflow
        self.beginning = beginning
        self.implicit = beginning in (Beginning.STAGE, Beginning.JOINED)
        """Whether no `workflow` ends it: begun by a stage, here or elsewhere."""
        self.shared = shared
        """The workflow's store, held only while the run or a visit of it is open."""
        self.origin: Origin = origin
        self.lock = threading.RLock()
        """Guards the records below. Never held while code of the workflow runs; reentrant, because the garbage
        collector and signal handlers call what they like wherever they like."""
        self.begin_lock = threading.RLock()
        """Held until the run's span is made, so that no visit is begun before it."""
        self.stages: dict[str, StageRecord] = {}
        self.beyond: set[tuple[str, bool, bool]] = set()
        """Names beyond those that are told apart, as far as they were asked for: they are found at once again."""
        self.spellings: dict[str, str] = {}
        """The name of each stage by what its spellings have in common."""
        self.ended = self.outermost = self.failing = None
        self.open_here, self.idle, self.last_activity, self.noted = True, False, 0, NO_PLATFORMS
        self.open: dict[Visit, None] = {}
        self.ending: dict[Visit, None] = {}
        """Visits that have ended, while the sinks are told of it."""
        self.tracked: dict[str, Visit] = {}
        """The open visits that a tracker began, by stage."""
        self.platform_names: dict[str, None] = {}

    def wrap(self, function: F) -> F:
        """`function`, to be called in another thread: what it records there is inside of what is current here.

        A bare thread, an executor and `run_in_executor` do not carry the context of the code that starts them, so that
        what they do would be a run of its own.

            threading.Thread(target=run.wrap(publish), args=(shared,)).start()
        """
        from .carrying import wrapped  # noqa: PLC0415 - which imports this, as below

        return wrapped(self, function)

    def executor(self, executor: Executor) -> Executor:
        """An executor of threads that has all its calls wrapped so. What comes after its end follows them.

        with run.executor(ThreadPoolExecutor(4)) as pool:
            pool.map(publish, platforms)
        """
        from .carrying import Carrying  # noqa: PLC0415

        return Carrying(self, executor)

    @property
    def owned(self) -> bool:
        """Whether this process makes the run's span and counts the run. Not so for one that is only joined."""
        return self.beginning is not Beginning.JOINED

    @property
    def fresh(self) -> bool:
        """Whether what an earlier run left in the store is dropped."""
        return self.beginning in (Beginning.WORKFLOW, Beginning.STAGE)

    @property
    def unattended(self) -> bool:
        """Whether no visit is open but those of trackers, in a run that nothing ends."""
        return self.implicit and len(self.open) == len(self.tracked)

    def end_within(self, visit: Visit) -> int:
        """When a visit ended that the end of this run ends: the wall clock may have been set since either began."""
        ended = self.clock + (self.ended or 0) - self.started
        return visit.started + max(0, ended - visit.clock)

    def stage_name(self, stage: object, *, loose: bool, of_class: bool = False) -> str:
        """The name of a stage in this run.

        A tracker names a stage as the workflow does (`fact_check`), an instrumentor by its class (`FactCheck`,
        `FactCheckNode`): `loose` names that are spellings of one name are one stage, by the name that came first.
        """
        name = name_of(stage) or "stage"
        if name in self.stages or (not loose and len(self.spellings) >= MOST_TOLD_APART):
            return name
        keys = spellings(name, of_class=of_class)
        with self.lock:
            told = [self.spellings[key] for key in keys if key in self.spellings] if loose else []
            known = told[0] if told else name
            if len(self.spellings) < MOST_TOLD_APART:
                for key in keys:
                    self.spellings.setdefault(key, known)
        return known

    def stage(self, name: object, *, loose: bool, of_class: bool = False) -> StageRecord:
        """The record of a stage, made if need be; shown when its first visit has begun."""
        if isinstance(name, str) and (name, loose, of_class) in self.beyond:
            return self.stages[OTHER]
        known = self.stage_name(name, loose=loose, of_class=of_class)
        found = self.stages.get(known)
        if found is None and len(self.stages) >= MOST_TOLD_APART:
            found = self.stages.get(OTHER) or self.stages.setdefault(OTHER, StageRecord(self, OTHER))
            found.of_others = True
            if isinstance(name, str) and name == known:
                if len(self.beyond) >= MOST_TOLD_APART:  # Those that come now are asked for more than those before.
                    self.beyond.clear()
                self.beyond.add((known, loose, of_class))
        return found or self.stages.setdefault(known, StageRecord(self, known))

    def load(self, saved: Any) -> None:
        """Take over what a saved store says of the stages, as many as are told apart."""
        if not isinstance(saved, Mapping):
            return
        try:
            for name, entry in list(islice(cast("Mapping[Any, Any]", saved).items(), MOST_TOLD_APART)):
                stage = self.stage_name(name, loose=False)
                if (record := StageRecord.from_entry(self, stage, entry)) is not None:
                    self.stages[stage] = record
        except BaseException as error:  # Of methods that are the workflow's own.
            if from_handler(error):
                raise
            report("what a saved store says of its stages could not be read", error)

    def hand_over(self, stage: str) -> Visit | None:
        """The visit of a stage that a tracker began, if there is one, for the stage's own code to go on with."""
        with self.lock:
            visit = self.tracked.get(stage)
            if visit is None or visit.tracking is Tracking.PASSED or self.ended is not None:
                return None
            del self.tracked[stage]
            visit.eventful, visit.tracking = True, Tracking.TAKEN_OVER
            return visit

    def note(self, platforms: Platforms, revision: int | None) -> None:
        """Keep what a visit or the store says of the run's platforms and revision."""
        with self.lock:
            if platforms is not self.noted:
                self.noted = platforms
                self.platform_count = max(self.platform_count, platforms.count)
                for name in platforms.names:
                    self.name_platform(name)
            if revision is not None and revision > (self.revision or -1):
                self.revision = revision

    def name_platform(self, name: str) -> None:
        """Keep that the run works for a platform, in the number that is told apart."""
        with self.lock:
            if len(self.platform_names) < MOST_TOLD_APART:
                self.platform_names[name] = None
                self.platform_count = max(self.platform_count, len(self.platform_names))

    def entries(self) -> dict[str, dict[str, Any]]:
        """The record as `progress_metrics` shows it, fresh, in the order in which the stages first started."""
        with self.lock:
            # A list: others make records of stages meanwhile.
            stages = list(self.stages.values())
            return {stage.name: stage.entry() for stage in stages if stage.shown["visits"] or stage.started}

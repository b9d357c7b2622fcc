"""Histories of runs as workflows make them, by chance that a seed fixes; and how well the end of each was expected."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from otel_progress import names
from otel_progress.insight.expected import MOST_RUNS, Earlier
from otel_progress.insight.numbers import quantile
from otel_progress.insight.pasts import past_of
from otel_progress.recording.times import NANO
from otel_progress.runs.happenings import Happening
from otel_progress.runs.model import Run, Visit
from otel_progress.runs.present import RunNow, StageNow, VisitNow

START = 1_756_377_900 * NANO
WORKFLOW = "campaign"
_GAP = 0.02


class Course:
    """A run while it is made up: visits one after the other."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0.0
        self.visits: list[Visit] = []
        self.revision = 0
        self.platforms = 0
        self.factor = chance.lognormvariate(0, 0.15)

    def takes(self, usual: float, spread: float = 0.3) -> float:
        return usual * self.factor * self.chance.lognormvariate(0, spread)

    def visit(self, stage: str, seconds: float) -> None:
        """One visit, after the one before."""
        self._put(stage, self.now, self.now + seconds, None)
        self.now += seconds + _GAP

    def parallel(self, stage: str, *seconds: float) -> None:
        """Visits at the same time, inside one."""
        around, began = f"#{len(self.visits)}", self.now
        ends = [began + _GAP + each for each in seconds]
        self._put(stage, began, max(ends) + _GAP, None)
        for number, end in enumerate(ends):
            self._put(f"{stage}-{number}", began + _GAP, end, around)
        self.now = max(ends) + 2 * _GAP

    def _put(self, stage: str, began: float, ended: float, parent: str | None) -> None:
        key = f"#{len(self.visits)}"
        self.visits.append(
            Visit(
                key,
                stage,
                started=START + round(began * NANO),
                ended=START + round(ended * NANO),
                state="done",
                result="success",
                revision=self.revision,
                platform_count=self.platforms,
                parent=parent,
            )
        )

    def run(self, number: int) -> Run:
        """The run, at its end."""
        ended = START + round(self.now * NANO)
        visits = tuple(sorted(self.visits, key=lambda each: each.started))
        return Run(
            f"{number:032x}", WORKFLOW, "", started=START, ended=ended, state="done", result="success", visits=visits
        )


USUAL = {"load": 2.0, "outline": 5.0, "draft": 9.0, "check": 3.0, "render": 6.0, "publish": 4.0, "notify": 1.0}


def stationary(course: Course, number: int) -> None:
    """The same stages each time."""
    for stage, usual in USUAL.items():
        course.visit(stage, course.takes(usual))


def bimodal(course: Course, number: int) -> None:
    """A third of the runs find nothing in a cache: two stages take five times as long."""
    slower = 5.0 if course.chance.random() < 0.35 else 1.0
    for stage, usual in USUAL.items():
        course.visit(stage, course.takes(usual * (slower if stage in {"outline", "render"} else 1.0)))


def loops(course: Course, number: int) -> None:
    """One draft of eight is not taken, and is made again, with its check."""
    course.visit("load", course.takes(2.0))
    while True:
        course.visit("draft", course.takes(9.0))
        course.visit("check", course.takes(3.0))
        if course.chance.random() >= 0.12:
            break
        course.revision += 1
    course.visit("render", course.takes(6.0))
    course.visit("publish", course.takes(4.0))


def branching(course: Course, number: int) -> None:
    """What is loaded says which way it goes, and for how many platforms at once."""
    course.visit("load", course.takes(2.0))
    way = course.chance.choices(("short", "usual", "long"), (50, 35, 15))[0]
    course.platforms = course.chance.choice((2, 3, 4))
    if way == "short":
        course.visit("template", course.takes(4.0))
    elif way == "usual":
        course.visit("outline", course.takes(5.0))
        course.visit("draft", course.takes(12.0))
    else:
        for stage, usual in (("research", 25.0), ("outline", 5.0), ("draft", 20.0), ("proof", 8.0)):
            course.visit(stage, course.takes(usual))
    course.parallel("post", *(course.takes(5.0) for _ in range(course.platforms)))
    course.visit("notify", course.takes(1.0))


def drifting(course: Course, number: int) -> None:
    """It becomes slower, by a quarter over 200 runs, and each 250th run some stages change at once."""
    slower = 1.0 + 0.25 * (number % 400) / 200
    step = 1.6 if number // 250 % 2 else 1.0
    for stage, usual in USUAL.items():
        course.visit(stage, course.takes(usual * slower * (step if stage in {"draft", "render", "check"} else 1.0)))


def stepping(course: Course, number: int, step: float) -> None:
    """Some stages take another time at once: from the run of this number on."""
    for stage, usual in USUAL.items():
        changed = step if number >= BEFORE_STEP and stage in {"draft", "render", "check"} else 1.0
        course.visit(stage, course.takes(usual * changed))


BEFORE_STEP = 60
KINDS: dict[str, Callable[[Course, int], None]] = {
    "stationary": stationary,
    "bimodal": bimodal,
    "loops": loops,
    "branching": branching,
    "drifting": drifting,
}


def runs_of(kind: Callable[[Course, int], None], seed: int, count: int) -> Iterator[Run]:
    """Runs one after the other."""
    chance = random.Random(seed)
    for number in range(count):
        course = Course(chance)
        kind(course, number)
        yield course.run(number)


def as_of(run: Run, now: int) -> RunNow:
    """What is known of a run at a moment."""
    found = RunNow(run.id, run.workflow, _happened(names.EVENT_RUN_STARTED, run.started or 0, run, None))
    for visit in run.visits:
        if visit.started > now:
            continue
        stage = found.stages.setdefault(visit.stage, StageNow(visit.stage))
        if visit.ended is not None and visit.ended <= now:
            stage.visits += 1
            stage.revision = max(stage.revision or 0, visit.revision or 0)
            stage.platforms = max(stage.platforms, visit.platform_count)
            if stage.last is None or stage.last.at <= visit.ended:
                stage.last = _happened(names.EVENT_STAGE_ENDED, visit.ended, run, visit)
        else:
            stage.open += 1
            began = _happened(names.EVENT_STAGE_STARTED, visit.started, run, visit)
            found.open[visit.id] = VisitNow(began, visit.parent)
    for visit in found.open.values():
        if visit.parent is not None:
            found.inside[visit.parent] = found.inside.get(visit.parent, 0) + 1
    for visit in run.visits:
        if visit.started <= now and (around := found.open.get(visit.parent or "")) is not None:
            around.holds_others = True
    return found


def _happened(name: str, at: int, run: Run, visit: Visit | None) -> Happening:
    stage, key = (None, "") if visit is None else (visit.stage, visit.id)
    return Happening(name, at, run.id, run.workflow, stage, key, True, b"", None)


PARTS = (0.1, 0.5, 0.9)
"""Of the way of a run, where its end is expected."""


def _each(value: float = 0.0) -> dict[float, float]:
    return dict.fromkeys(PARTS, value)


@dataclass
class Held:
    """How well the end of runs was expected, at each part of their way."""

    runs: int = 0
    p90: dict[float, float] = field(default_factory=_each)
    """Runs that ended no later than that."""
    p50: dict[float, float] = field(default_factory=_each)
    width: dict[float, float] = field(default_factory=_each)
    """Seconds from the p50 to the p90, of all runs together."""
    plain: dict[float, float] = field(default_factory=_each)
    """The same of the quantiles of whole runs that took longer than had elapsed."""

    @property
    def ratio(self) -> float:
        """The mean width, as a part of that of the plain quantiles."""
        return sum(self.width.values()) / sum(self.plain.values())

    def holds(self) -> bool:
        """Whether of 1,000 runs the p90 held in 870 to 930, at each part of the way."""
        return all(0.87 * self.runs <= held <= 0.93 * self.runs for held in self.p90.values())

    def add(self, earlier: Earlier, seconds: list[float], run: Run) -> None:
        """Expect the end of a run at each part of its way; `seconds` are those of the earlier runs, in order."""
        whole = run.seconds or 0.0
        self.runs += 1
        for part in PARTS:
            now = START + round(whole * part * NANO)
            expected = earlier.expected(as_of(run, now), now)
            assert expected is not None
            left = whole - (now - START) / NANO
            self.p90[part] += left <= expected.p90_seconds
            self.p50[part] += left <= expected.p50_seconds
            self.width[part] += expected.p90_seconds - expected.p50_seconds
            longer = seconds[bisect_right(seconds, whole * part) :] or [whole * part]
            self.plain[part] += quantile(longer, 0.9) - quantile(longer, 0.5)


def replayed(kind: str, seed: int, runs: int, before: int = MOST_RUNS) -> Held:
    """How well the ends of runs of a kind are expected, each from those before it."""
    earlier, seconds, held = Earlier(), deque[float](maxlen=MOST_RUNS), Held()
    for number, run in enumerate(runs_of(KINDS[kind], seed, before + runs)):
        if number >= before:
            held.add(earlier, sorted(seconds), run)
        past = past_of(run)
        assert past is not None
        earlier.add(past)
        seconds.append(past.seconds)
    return held


def after_step(step: float, seed: int, histories: int, after: int = 10) -> Held:
    """The same of one run in each of many histories: the one that follows so many runs behind a change."""
    held = Held()
    for number in range(histories):

        def changing(course: Course, of_run: int) -> None:
            stepping(course, of_run, step)

        *runs, last = runs_of(changing, seed * 100_000 + number, BEFORE_STEP + after + 1)
        pasts = [past for run in runs if (past := past_of(run)) is not None]
        held.add(Earlier(pasts), sorted(past.seconds for past in pasts), last)
    return held

"""What happens as plain lines, for files, logs and pipes: what starts, what ends and how, and what still runs.

Nothing here knows a clock: what happens has its time, and whoever asks says what time it is.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime

from .. import names
from ..recording.times import NANO, duration
from ..recording.visible import visible
from ..runs.happenings import Happening
from ..runs.otlp import count, optional_count, seconds, text
from ..runs.present import Change, Present, RunNow, VisitNow
from ..runs.states import Processes
from ..runs.wording import for_what
from .flood import AMPLE, Flood
from .said import not_well

_STILL = (10, 30, 60, 120, 300, 600)
"""Seconds after which it is said that something still runs; after the last again and again."""
_LEAST = 0.00005
_ID = 8
"""Digits of a run's id."""
_MOST_STILL = 50_000
"""Of what waits to be said to run still, above which what has ended is taken out: more than can be open at once."""


class Lines:
    """Turns what happens into lines. `tell` gives them in the order in which it happened."""

    def __init__(self, ample: int = AMPLE) -> None:
        self.present = Present()
        self._flood = Flood(ample)
        self._still: list[tuple[int, int, RunNow, str | None]] = []
        """A heap: when to say that something still runs, and what; None is the run itself."""
        self._order = itertools.count()
        self._said: list[str] = []
        self._last: RunNow | None = None
        """The run that ended last, before anybody looked."""

    def tell(self, what: Iterable[Happening], now: int) -> list[str]:
        """The lines for what happened, and for what still runs `now`, in nanoseconds since the Unix epoch."""
        for happening in what:
            self._pass(min(happening.at, now))
            self._enter(happening)
        self._pass(now)
        return self._taken()

    def catch_up(self, what: Iterable[Happening]) -> None:
        """Enter what happened before anybody looked. It has no lines."""
        for happening in what:
            run, _ = self.present.enter(happening)
            if run.ended is happening:
                self._last = run

    def caught_up(self, processes: Processes, now: int) -> list[str]:
        """The lines for what goes on `now`, when all is entered that happened before; for nothing, the last end."""
        last, self._last = self._last, None
        if last is not None and last.ended is not None and not self.present.runs:
            self._run_ended(last, last.ended)
        changes = self.present.look(processes)  # First: what has crashed runs no more.
        going_on = list(self.present.runs.values())
        running = [said for run in going_on if (said := self._running(run, now))]
        starts = ((run, visit) for run in going_on for visit in run.open.values())
        for run, visit in sorted(starts, key=lambda each: each[1].began.at):
            self._started(run, visit, now)
        for said in running:
            self._say(now, said)
        for change in changes:
            self._changed(change, now)
        return self._taken()

    def _running(self, run: RunNow, now: int) -> str:
        self._wait_for(run, None, run.began.at, now)
        if not self._flood.takes(now, "whole"):
            self._flood.hidden.still += 1
            return ""
        visits = run.total("visits")
        so_far = _joined([f"{visits:,} visit{'' if visits == 1 else 's'} so far", *_failures(run)])
        since = rough(max(0, now - run.began.at) // NANO)
        return f"{_name(run)} running for {since}, run {visible(run.id[:_ID])}: {so_far}"

    def states(self, processes: Processes, now: int) -> list[str]:
        """The lines for what became of the processes, as far as that is news; after what they told."""
        self._pass(now)
        for change in self.present.look(processes):
            self._changed(change, now)
        return self._taken()

    def rest(self, now: int) -> list[str]:
        """The line for what was only counted so far."""
        self._say_hidden(now)
        return self._taken()

    def _taken(self) -> list[str]:
        said, self._said = self._said, []
        return said

    # --- what happens -------------------------------------------------------------------------------------------------

    def _enter(self, happening: Happening) -> None:
        run, visit = self.present.enter(happening)
        if happening.name == names.EVENT_STAGE_STARTED and visit is not None:
            self._started(run, visit, happening.at)
        elif happening.name == names.EVENT_STAGE_ENDED:
            self._ended(run, visit, happening)
        elif happening.name == names.EVENT_RUN_STARTED:
            self._run_started(run, happening)
        elif happening.name == names.EVENT_RUN_ENDED and run.ended is happening:
            self._run_ended(run, happening)

    def _run_started(self, run: RunNow, happening: Happening) -> None:
        if len(run.parts) > 1:  # Another process does a part of it.
            return
        self._wait_for(run, None, happening.at, happening.at)
        if self._flood.takes(happening.at, "whole"):
            joined = happening.attributes.get(names.RUN_JOINED) is True
            self._say(happening.at, f"{_name(run)} {'joined' if joined else 'started'}, run {visible(run.id[:_ID])}")

    def _run_ended(self, run: RunNow, happening: Happening) -> None:
        if not self._flood.takes(happening.at, "whole"):
            self._flood.hide_run(happening.went)
            return
        self._say_hidden(happening.at)
        visits, retries = run.total("visits"), run.total("retries")
        known = [stage.revision for stage in run.stages.values() if stage.revision is not None]
        how = [
            *_how(happening, names.RESULT),
            f"{visits:,} visit{'' if visits == 1 else 's'}",
            *_failures(run),
            _retries(retries),
            f"revision {max(known)}" if known and max(known) else "",
        ]
        self._say(
            happening.at,
            f"{_name(run)} ended in {how_long(happening, run.began)}: {_joined(how)}{self._of(run)}",
        )

    def _started(self, run: RunNow, visit: VisitNow, at: int) -> None:
        began = visit.began
        self._wait_for(run, began.visit, began.at, at)
        if self._flood.takes(at, "whole" if visit.holds_others else "start"):
            revision = count(began.attributes, names.STAGE_REVISION)
            more = f", revision {revision}" if revision else ""
            self._say(began.at, f"{self._stage(run, run.depth(visit), began)} started{more}")

    def _ended(self, run: RunNow, visit: VisitNow | None, happening: Happening) -> None:
        lasted = 0 if visit is None else happening.at - visit.began.at
        stage = happening.stage or ""
        if visit is not None and visit.holds_others:
            kind = "whole"
        else:
            kind = "failed" if not happening.fine else "long" if lasted >= self._flood.window else "other"
        if not self._flood.takes(happening.at, kind):
            self._flood.hide_visit(stage, happening.went, lambda: _error(happening))
            return
        found = happening.attributes
        revision = count(found, names.STAGE_REVISION)
        how = [
            *_how(happening, names.STAGE_RESULT),
            _items(happening),
            _retries(count(found, names.STAGE_RETRY_COUNT)),
            f"revision {revision}" if revision else "",
        ]
        depth = 0 if visit is None else run.depth(visit)
        took = how_long(happening, None if visit is None else visit.began)
        self._say(happening.at, f"{self._stage(run, depth, happening)} ended in {took}: {_joined(how)}")

    # --- time that passes ---------------------------------------------------------------------------------------------

    def _pass(self, now: int) -> None:
        while self._still and self._still[0][0] <= now:
            due, _, run, key = heapq.heappop(self._still)
            self._close(due)
            self._still_runs(run, key, due)
        self._close(now)

    def _close(self, now: int) -> None:
        while (closed := self._flood.closed(now)) is not None:
            if closed[1]:
                self._say(closed[0], closed[1])

    def _still_runs(self, run: RunNow, key: str | None, at: int) -> None:
        if not self._goes_on(run, key):
            return
        visit = None if key is None else run.open[key]
        began = (run.began if visit is None else visit.began).at
        self._wait_for(run, key, began, at)
        if run.open if key is None else key in run.inside:
            return  # What is inside says so.
        if not self._flood.takes(at, "long"):
            self._flood.hidden.still += 1
            return
        who = _name(run) if visit is None else self._stage(run, run.depth(visit), visit.began)
        how = [f"{rough((at - began) // NANO)}", *(("in no stage",) if visit is None else progress_of(visit))]
        if run.state == "stalled":
            how.append("its process is stalled")
        self._say(at, f"{who} still running for {_joined(how)}{self._of(run) if visit is None else ''}")

    def _wait_for(self, run: RunNow, key: str | None, began: int, now: int) -> None:
        """Say later than `now` that it still runs."""
        passed = (now - began) // NANO
        next_one = bisect_right(_STILL, passed)
        after = _STILL[next_one] if next_one < len(_STILL) else (passed // _STILL[-1] + 1) * _STILL[-1]
        if len(self._still) >= _MOST_STILL:  # In a flood, mostly of what has ended since.
            goes_on = {(each[2].id, each[3]): each for each in self._still if self._goes_on(each[2], each[3])}
            self._still = sorted(goes_on.values())
        heapq.heappush(self._still, (began + after * NANO, next(self._order), run, key))

    def _goes_on(self, run: RunNow, key: str | None) -> bool:
        """Whether a run, or a visit of it, is open still."""
        return self.present.runs.get(run.id) is run and (key is None or key in run.open)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _changed(self, change: Change, now: int) -> None:
        run, visit = change.run, change.visit
        said = "running again" if change.state == "running" else f"{change.state}: {visible(change.note)}"
        if visit is None and self._flood.takes(now, "whole"):
            self._say(now, f"{_name(run)} {said}{self._of(run)}")
        elif visit is None:
            self._flood.hide_run("failed" if change.state == "crashed" else "well")
        elif self._flood.takes(now, "failed"):
            self._say(now, f"{self._stage(run, change.depth, visit.began)} {said}")
        else:
            self._flood.hide_visit(visit.began.stage or "", "failed", lambda: change.state)

    def _say_hidden(self, at: int) -> None:
        if hidden := self._flood.rest():
            self._say(at, hidden)

    # --- texts --------------------------------------------------------------------------------------------------------

    def _say(self, at: int, said: str) -> None:
        self._said.append(f"{_clock(at)} {said}")

    def _stage(self, run: RunNow, depth: int, happening: Happening) -> str:
        """A visit by its name, set in by what it lies in, with its run where there are several."""
        found = happening.attributes
        number, item = count(found, names.STAGE_VISIT), text(found.get(names.ITEM_PLATFORM))
        name = visible(happening.stage or "") + (f" #{number}" if number > 1 else "")
        return f"{'  ' * (depth + 1)}{name}{f' ({visible(item)})' if item else ''}{self._of(run)}"

    def _of(self, run: RunNow) -> str:
        return f" [{visible(run.id[:_ID])}]" if len(self.present.runs) > (run.id in self.present.runs) else ""


def _name(run: RunNow) -> str:
    return visible(run.workflow) or "(no name)"


def _clock(at: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at // NANO).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(filter(None, parts))


def _how(happening: Happening, result: str) -> Iterator[str]:
    told, error = text(happening.attributes.get(result)) or "ended", _error(happening) or ""
    yield visible(told)
    if (not happening.fine or told == "fallback") and error != told:
        yield visible(error)


def _error(happening: Happening) -> str | None:
    return text(happening.attributes.get(names.ERROR_TYPE))


def _failures(run: RunNow) -> Iterator[str]:
    return not_well(run.total("failed"), run.total("cancelled"))


def _lasted(ended: Happening, began: Happening | None) -> int:
    told = seconds(ended.attributes, names.DURATION)
    if told or began is None:
        return round(told * NANO)
    return max(0, ended.at - began.at)


def how_long(ended: Happening, began: Happening | None) -> str:
    """How long something took, that has ended."""
    return seconds_text(_lasted(ended, began) / NANO)


def seconds_text(took: float) -> str:
    """Seconds for people; nothing takes no time at all."""
    return duration(took) if took >= _LEAST else "under 0.1 ms"


def _items(happening: Happening) -> str:
    found = happening.attributes
    done, failed = count(found, names.STAGE_ITEMS_DONE), count(found, names.STAGE_ITEMS_FAILED)
    total = optional_count(found, names.STAGE_ITEMS_TOTAL)
    if not (done or failed or total):
        return ""
    more = f", {failed:,} failed" if failed else ""
    return f"{done:,} item{'' if done == 1 else 's'}{more}" if total is None else f"{done:,}/{total:,} items{more}"


def _retries(number: int) -> str:
    return "" if not number else "1 retry" if number == 1 else f"{number:,} retries"


def progress_of(visit: VisitNow) -> Iterator[str]:
    """What an open visit has told of its progress."""
    told = visit.progress
    if told is None:
        return
    items, error = _items(told), text(told.attributes.get(names.ERROR_TYPE))
    attempt = count(told.attributes, names.STAGE_ATTEMPTS)
    yield items
    failed = f" failed with {visible(error)}" if error else ""
    if items:  # Attempts are those of all items: which of them it is for this one is not told.
        yield f"a try{failed}" if error else ""
    elif attempt > 1 or error:
        yield f"attempt {max(attempt, 1)}{failed}"
    if (reason := visit.waits_for) is not None:
        yield f"waits{for_what(visible(reason))}"


def rough(passed: int) -> str:
    """Whole seconds as people say them: `30 s`, `2 min`, `1 h 10 min`."""
    minutes, left = divmod(passed, 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return " ".join(
        filter(None, (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{left} s" if left else ""))
    )

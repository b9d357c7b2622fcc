"""`otel-progress watch`: a run that goes on, from another terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from .. import names
from ..recording.times import timestamp
from ..recording.visible import visible
from ..report import table
from ..report.lines import Lines
from ..report.recorded import totals_of
from ..runs import Problems, SourceError
from ..runs.collect import fields_of
from ..runs.following import Follower
from ..runs.happenings import Happening
from ..runs.index import Index
from ..runs.otlp import seconds, text
from ..runs.place import FOLDER
from ..runs.present import Change, Present
from ..runs.pruning import records_in
from ..runs.reading import folder_of_records, open_source
from ..runs.sources import is_record
from ..runs.states import Process, Processes, pid_of, processes_of
from ..runs.whole import whole_runs
from .output import put
from .said import not_one, say, show_command
from .watched import Watched, on_terminal

_LOOK = 0.2
"""Seconds between two looks."""
_GRACE = 1.0
"""Seconds that a program has to end behind the run that was asked for."""
_MOST_VISITS = 100_000
"""Of a run, in the table."""
_NOBODY_READS = 141
"""As of a program that is ended by SIGPIPE."""
_HELP = """\
Follow a run that goes on in another terminal, as lines: what starts, what ends
and how, what still runs and what it waits for; when its process stalls or
crashes; and at its end the table that `otel-progress run` prints. On a terminal
the display of `run` stands beneath the lines. It reads the record, and changes
nothing in the program.

RUN is the id of a run or how it begins: then this run is followed, to its end.
It may be a folder: a record, or one that holds records, of another user too if
it can be read; else it is the folder that --from names. There, the program is
followed that started last of those that run, with all its runs; or, where none
does, the next one to start.

The exit code is that of the program, if it is known: 128 and its number for a
signal. Where it is not, 0 says that the run ended with success or fallback, and
1 that it did not, or crashed. 2: there is nothing to follow. 130: Ctrl-C, which
ends the watching alone."""

_EXAMPLES = """\
examples:
  otel-progress watch                         what runs here, or is about to
  otel-progress watch 91a85411
  otel-progress watch /home/ada/studio        what runs in another's project
  otel-progress watch && notify-send "done"
  otel-progress watch --json | jq -c 'select(.result == "failure")'
"""


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    command.add_argument(
        "run", nargs="?", metavar="RUN", help="an id, or how it begins; or a folder (default: what runs)"
    )
    command.add_argument(
        "--from",
        dest="source",
        metavar="FOLDER",
        help="a folder of records, a project, or a record (default: .otel-progress)",
    )
    command.add_argument("--json", action="store_true", help="one object a line for what happens, from its beginning")
    command.set_defaults(do=watch)


class _NothingError(Exception):
    """There is nothing that could be followed, and why."""


def watch(options: argparse.Namespace) -> int:
    """Follow the run that the options of `watch` name; gives the exit code."""
    run: str | None = options.run
    place = Path(options.source or FOLDER)
    if run and options.source is None and (os.sep in run or os.path.isdir(run)):  # noqa: PTH112 - of a Path it raises, where it is too long for one
        run, place = None, Path(run)
    try:
        if run is not None:
            run, record = _named(place, run)
            is_new = False
        else:
            record, is_new = _going_on(place)
    except (_NothingError, SourceError, OSError) as error:
        reason = f"{place}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        say(f"otel-progress: {visible(reason)}")
        return 2
    return _Watch(record, run, json_lines=options.json, is_new=is_new).follow()


def _named(place: Path, prefix: str) -> tuple[str, Path]:
    """The run whose id begins so, and the record that told of it last."""
    if not place.is_dir():
        is_usual = place == FOLDER and not place.exists()
        why = (
            "no run is recorded here: `otel-progress run app.py` records one"
            if is_usual
            else f"{place}: no such folder"
        )
        raise _NothingError(why)
    source = open_source(place)
    with closing(Index(source.index)) as index:
        index.update(source.inputs, Problems())
        ids = index.ids(prefix) if prefix else []
        found = [prefix] if prefix in ids else ids
        if len(found) != 1:
            raise _NothingError(not_one(prefix, found))
        told = index.inputs_of(found[0])
    runs = folder_of_records(place)
    return found[0], place if runs is None else runs / max(told)


def _going_on(place: Path) -> tuple[Path, bool]:
    """The record of the program that started last of those that run, or of the next one; and whether it is the next."""
    if place.is_dir():
        next(place.iterdir(), None)  # Says why, where it cannot be read.
        if is_record(place):
            return place, False
    if place.exists() and not place.is_dir():
        raise _NothingError(f"{place}: only a folder can be watched")
    if not place.exists() and place != FOLDER:
        raise _NothingError(f"{place}: no such folder")
    before = _records(place)
    for record in reversed(before):
        if any(process.state in {"running", "stalled"} for process in processes_of(record, Problems())):
            return record, False
    if hidden := [record for record in before if not os.access(record, os.R_OK | os.X_OK)]:
        raise _NothingError(f"{hidden[-1]}: it may not be read, so nobody can say whether it goes on")
    say(f"otel-progress: nothing runs in {visible(str(place))}; waiting for the next to start")
    known = set(before)
    while not (found := [record for record in _records(place) if record not in known]):
        time.sleep(_LOOK)
    return found[0], True


def _records(place: Path) -> list[Path]:
    runs = folder_of_records(place)
    if runs is None:
        return []
    next(runs.iterdir(), None)  # Says why, where it cannot be read.
    return [record for record in records_in(runs) if record.is_dir()]


class _Watch:
    """Follows one record."""

    def __init__(self, record: Path, run: str | None, *, json_lines: bool, is_new: bool) -> None:
        self._follower = Follower(record)
        self._run = run
        self._is_new = is_new
        self._shown = _Json() if json_lines else _Plain(on_terminal(record))
        self._has_read = False
        self._last: Happening | None = None
        """The end of the run that was asked for, or of the one that ended last."""

    def follow(self) -> int:
        """Follow it to its end; gives the exit code."""
        try:
            return self._follow()
        finally:
            self._shown.close()

    def _follow(self) -> int:
        processes = self._follower.processes()
        if not self._is_new:
            while happened := self._read():
                if not self._shown.before(happened):
                    return _NOBODY_READS
            if not self._shown.now(processes, time.time_ns()):
                return _NOBODY_READS
        while True:
            while happened := self._read():
                if not self._shown.tell(happened, time.time_ns()):
                    return _NOBODY_READS
            if not self._shown.states(processes, time.time_ns()):
                return _NOBODY_READS
            if self._is_over(processes):
                return self._end()
            if not self._follower.folder.exists():
                return self._nothing("it is not there any more")
            self._shown.pause(_LOOK)
            processes = self._follower.processes()  # Before what they told is read: then it is all there.

    def _end(self) -> int:
        self._shown.end(time.time_ns())
        self._shown.close()
        if not self._has_read:
            return self._nothing("no event tells of a run there")
        code = self._exit_code()  # First, as a program writes the rest of its record while it ends.
        self._shown.totals(self._follower.folder, self._run)
        return code

    def _nothing(self, why: str) -> int:
        say(f"otel-progress: {visible(str(self._follower.folder))}: {why}")
        return 2

    def _read(self) -> list[Happening]:
        while happened := self._follower.read():
            wanted = happened if self._run is None else [each for each in happened if each.run == self._run]
            for each in wanted:
                if each.name == names.EVENT_RUN_ENDED:
                    self._last = each
            if wanted:
                self._has_read = True
                return wanted
        return []

    def _is_over(self, processes: Processes) -> bool:
        if self._run is not None:
            return self._run not in self._shown.present.runs or not any(process.lives for process in processes)
        return not any(process.lives for process in _programs(processes))

    def _exit_code(self) -> int:
        until = time.monotonic() + _GRACE
        while True:
            ended = [process for process in _programs(self._follower.processes()) if not process.lives]
            codes = [process.exit_code for process in ended if process.exit_code is not None]
            if codes:
                return max(codes)
            if any(process.state == "crashed" for process in ended):
                return 1
            if ended or time.monotonic() > until:
                break
            time.sleep(_LOOK)
        return int(self._last is None or not self._last.fine)


def _programs(processes: Processes) -> list[Process]:
    """The processes that no other one of the record has started: the program, mostly."""
    pids = {process.pid for process in processes}
    return [process for process in processes if process.parent not in pids]


class _Plain:
    """What happens, as lines; and on a terminal the display beneath them."""

    def __init__(self, watched: Watched | None) -> None:
        self._lines = Lines()
        self.present = self._lines.present
        self._watched = watched
        self._put = _put if watched is None else watched.put

    def before(self, happened: list[Happening]) -> bool:
        """Enter what happened before. False where nobody reads, as of all these."""
        self._lines.catch_up(happened)
        self._happened(happened)
        return True

    def now(self, processes: Processes, now: int) -> bool:
        """Say what goes on."""
        return self._put(self._lines.caught_up(processes, now))

    def tell(self, happened: list[Happening], now: int) -> bool:
        """Say what happens."""
        self._happened(happened)
        return self._put(self._lines.tell(happened, now))

    def states(self, processes: Processes, now: int) -> bool:
        """Say what became of the processes, and what still runs."""
        if self._watched is not None:
            self._watched.became(processes)
        return self._put([*self._lines.tell((), now), *self._lines.states(processes, now)])

    def end(self, now: int) -> None:
        """Say what is left."""
        self._put(self._lines.rest(now))

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        if self._watched is None:
            time.sleep(seconds)
        else:
            self._watched.pause(seconds)

    def close(self) -> None:
        """Leave nothing but lines."""
        if self._watched is not None:
            self._watched.close()

    def _happened(self, what: list[Happening]) -> None:
        if self._watched is not None:
            self._watched.happened(what)

    def totals(self, record: Path, run: str | None) -> None:
        """Show what the runs of a record came to, or this one."""
        try:
            source = open_source(record)
        except SourceError:  # It was removed at this moment.
            return
        problems = Problems()
        if run is None:
            runs = whole_runs(source, problems, visits=_MOST_VISITS)
        else:
            runs = [source.run(run, problems, visits=_MOST_VISITS)]
        console = table.console(sys.stdout)
        with console.capture() as shown:
            table.show(console, totals_of(runs), partial(show_command, record=record))
        _put(shown.get().splitlines())


class _Json:
    """The same, as JSON lines."""

    def __init__(self) -> None:
        self.present = Present()

    def before(self, happened: list[Happening]) -> bool:
        return self.tell(happened, 0)

    def now(self, processes: Processes, now: int) -> bool:
        del processes, now
        return True

    def tell(self, happened: list[Happening], now: int) -> bool:
        del now
        for each in happened:
            self.present.enter(each)
        return _put(json.dumps(_told(each)) for each in happened)

    def states(self, processes: Processes, now: int) -> bool:
        return _put(json.dumps(_changed(change, now)) for change in self.present.look(processes))

    def end(self, now: int) -> None:
        del now

    def totals(self, record: Path, run: str | None) -> None:
        del record, run

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        pass


def _put(lines: Iterable[str]) -> bool:
    return put((line, "") for line in lines)


def _told(happening: Happening) -> dict[str, Any]:
    """What happened, with the names that `show --json` has."""
    found, ended = happening.attributes, happening.name.endswith("ended")
    told: dict[str, Any] = {
        "event": happening.name.removeprefix(f"{names.SCOPE}."),
        "at": timestamp(happening.at),
        "run": happening.run,
        "workflow": happening.workflow,
        "process": pid_of(happening.process),
    }
    if happening.stage is None:
        told |= {"joined": found.get(names.RUN_JOINED) is True}
        if ended:
            told |= {"result": text(found.get(names.RESULT)), "error": text(found.get(names.ERROR_TYPE))}
    else:
        told |= {"visit": happening.visit, "parent": happening.parent, **fields_of(found, ended=ended)}
        told["waits_for"] = text(found.get(names.WAIT_REASON))
        told["error"] = text(found.get(names.ERROR_TYPE))
    if ended:
        told["seconds"] = seconds(found, names.DURATION)
    return {name: value for name, value in told.items() if value is not None}


def _changed(change: Change, now: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": "run.state" if change.visit is None else "stage.state",
        "at": timestamp(now),
        "run": change.run.id,
        "workflow": change.run.workflow,
    }
    if change.visit is not None:
        told |= {"visit": change.visit.began.visit, "stage": change.visit.began.stage}
    return {**told, "state": change.state, "note": change.note}

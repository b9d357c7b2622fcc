"""`otel-progress runs`: which runs there are."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from contextlib import closing
from typing import Any, get_args

from ..names import Result
from ..recording.times import timestamp
from ..recording.visible import visible
from ..report.listing import listing
from ..runs import Filter, Listed, Problems, SourceError, State, listed
from ..runs.index import Index
from ..runs.place import FOLDER
from ..runs.reading import Source, open_source
from .output import put, room, say_problems
from .said import say

_MOST = 50
_HELP = """\
List the runs of workflows, the newest first: those that `otel-progress run` has
recorded in this folder, or those of another source.

A run is `running`, `waiting`, `stalled` (its process is stopped or silent), `crashed` (its
process is gone, and no end was written), `done` with its result, or `unknown`
where the source does not tell."""

_EXAMPLES = """\
examples:
  otel-progress runs
  otel-progress runs --state failure --state crashed --since 7d
  otel-progress runs --workflow 'pr_*' --since 2026-11-01 --until 2026-11-15
  otel-progress runs --json | jq '.[] | select(.retries > 3)'
  otel-progress runs --from traces.jsonl         a collector's file exporter
  otel-progress runs --from http://localhost:16686?service=content-studio
  zcat traces.jsonl.gz | otel-progress runs --from -
"""
SOURCE_HELP = (
    "a folder of records, a record, a collector's file or folder of files, a saved `shared` as JSON, the address of a "
    "Jaeger, or - for standard input (default: .otel-progress)"
)


def add_choice_to(command: argparse.ArgumentParser) -> None:
    """Say of which runs, and where they are."""
    command.add_argument("--from", dest="source", metavar="SOURCE", help=SOURCE_HELP)
    command.add_argument("--workflow", metavar="NAME", help="only runs of this workflow; * and ? as in file names")
    command.add_argument(
        "--state",
        action="append",
        default=[],
        choices=[*get_args(State), *get_args(Result)],
        metavar="STATE",
        help=f"only runs in this state ({', '.join(get_args(State))}), or done with this result "
        f"({', '.join(get_args(Result))}); may be given several times",
    )
    when = "a time such as 2026-11-26 or 2026-11-26T14:30, or how long ago: 30m, 12h, 7d"
    command.add_argument("--since", type=moment, metavar="TIME", help=f"only runs that began then or later: {when}")
    command.add_argument("--until", type=moment, metavar="TIME", help="only runs that began before")


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    add_choice_to(command)
    command.add_argument(
        "--limit", type=count, metavar="N", help=f"at most so many (default: {_MOST}, with --json all; 0: all)"
    )
    command.add_argument("--json", action="store_true", help="an array of objects, with whole ids and times in UTC")
    command.set_defaults(do=runs)


def runs(options: argparse.Namespace) -> int:
    """List the runs that the options of `runs` ask for; gives the exit code."""
    wanted = Filter(options.workflow, options.state, options.since, options.until)
    try:
        source = source_of(options.source, wanted)
    except SourceError as error:
        say(f"otel-progress: {visible(str(error))}")
        return 2
    problems = Problems()
    limit = (None if options.json else _MOST) if options.limit is None else options.limit or None
    with closing(Index(None if source is None else source.index)) as index:
        index.update([] if source is None else source.inputs, problems)
        found = index.runs(wanted, None if limit is None else limit + 1)
        is_readable = bool(found or index.runs(Filter(), 1)) or not problems
    if options.json:
        put([(json.dumps([_json(run) for run in found[:limit]], indent=1), "")])
    elif found:
        put(listing(found[:limit], time.time_ns(), room()))
    say_problems(problems)
    if not found and not options.json and is_readable:
        say(f"otel-progress: no run {'is recorded' if options.source is None else 'is'} there" + _advice(options))
    if limit is not None and len(found) > limit:
        say("otel-progress: there are more of them; --limit 0 shows all")
    return 0 if is_readable else 2


def source_of(named: str | None, wanted: Filter) -> Source | None:
    """What is to be read; None where nothing is named and nothing was recorded here.

    Raises:
        SourceError: it cannot be read.
    """
    if named is None:
        with contextlib.suppress(OSError):  # It is said where it is opened.
            if not FOLDER.exists():
                return None
    return open_source(named or FOLDER, wanted)


def _advice(options: argparse.Namespace) -> str:
    if options.workflow is not None or options.state or options.since or options.until:
        return " that is asked for"
    return ": `otel-progress run app.py` records one" if options.source is None else ""


def _json(run: Listed) -> dict[str, Any]:
    return run.plain() | {
        "started": timestamp(run.started) if run.started else None,
        "ended": None if run.ended is None else timestamp(run.ended),
        "source": run.source,
    }


def moment(text: str) -> int:
    """Nanoseconds since the Unix epoch of what people write for a time: a date, a time, or how long ago."""
    try:
        return listed.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text: str) -> int:
    """A whole number."""
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)

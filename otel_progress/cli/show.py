"""`otel-progress show`: one run, with all that was recorded of it."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing

from ..recording.visible import visible
from ..report.tree import tree
from ..runs import Filter, Problems, SourceError, to_json
from ..runs.index import Index
from .output import put, room, say_problems
from .runs import SOURCE_HELP, count, source_of
from .said import if_path, not_one, nothing_here, say

_MOST = 200
_HELP = """\
Show one run: its visits in the order of their starts, each below what it lies
in, with its time, failed attempts, items, versions and links, and what is open.

RUN is the id of a run, as `otel-progress runs` shows it, or the beginning of
one; if it is left out, the run that began last."""

_EXAMPLES = """\
examples:
  otel-progress show                      what began last, also while it goes on
  otel-progress show 91a85411
  otel-progress show --json | jq '.visits[] | select(.state != "done")'
  otel-progress show --from shared.json   a store that the workflow has saved
"""


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    command.add_argument("run", nargs="?", metavar="RUN", help="an id, or how it begins (default: the newest run)")
    command.add_argument("--from", dest="source", metavar="SOURCE", help=SOURCE_HELP)
    command.add_argument(
        "--visits",
        type=count,
        default=_MOST,
        metavar="N",
        help="at most so many visits, and what is open (default: 200)",
    )
    command.add_argument("--json", action="store_true", help="one object, times in UTC")
    command.set_defaults(do=show)


def show(options: argparse.Namespace) -> int:
    """Show the run that the options of `show` name; gives the exit code."""
    try:
        source = source_of(options.source, Filter())
    except SourceError as error:
        say(f"otel-progress: {visible(str(error))}")
        return 2
    if source is None:
        say(f"otel-progress: {nothing_here(options.run or '')}")
        return 1
    problems = Problems()
    with closing(Index(source.index)) as index:
        index.update(source.inputs, problems)
        found = _found(index, options.run)
        names = index.inputs_of(found[0]) if found else set[str]()
    if len(found) != 1:
        say_problems(problems)
        return _not_one(options.run, found, problems)
    run = source.run(found[0], Problems(), visits=options.visits, names=names)
    if options.json:
        put([(json.dumps(to_json(run), indent=1), "")])
    else:
        put(tree(run, time.time_ns(), options.visits, room()))
    say_problems(problems)
    return 0


def _found(index: Index, prefix: str | None) -> list[str]:
    if prefix is None:
        return [run.id for run in index.runs(Filter(), 1)]
    ids = index.ids(prefix) if prefix else []
    return [prefix] if prefix in ids else ids


def _not_one(prefix: str | None, found: list[str], problems: Problems) -> int:
    if prefix is not None:
        say(f"otel-progress: {if_path(prefix) or not_one(prefix, found)}")
        return 2 if found or not prefix else 1
    if not problems:
        say("otel-progress: there is no run")
    return 2 if problems else 1

"""`otel-progress report`: where the time of runs went, and what would help most."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..insight import Report, RunFigures, WorkflowReport
from ..insight.exports import to_json
from ..pages import run_page
from ..recording.visible import visible
from ..report.bottlenecks import screen
from ..report.fitting import folded
from ..report.formats import Trace, comma_separated, markdown
from ..runs import Filter, Problems, Run, SourceError
from ..runs.details import details_of
from ..runs.index import Index
from ..runs.place import FOLDER
from ..runs.reading import Source
from ..runs.whole import is_wanted, whole_runs
from .compare import wrote
from .output import put, room, say_problems
from .runs import add_choice_to, source_of
from .said import if_path, not_one, nothing_here, say

FORMATS = ("text", "json", "markdown", "chrome", "csv")
_MOST_VISITS = 1_000_000
_MOST_WORKFLOWS = 3
_HELP = """\
Say where the time of runs went: what they waited for (the critical path), what
revisions, retries and waiting cost, and what would help most, in at most seven
sentences, the most valuable first.

RUN is the id of a run, as `otel-progress runs` shows it, or the beginning of
one. Without it the report is of all runs of the source, those of each workflow
together; a saving is predicted by replaying the last of them.

In the table of the stages, of one run, or of a run on average:
  time, p50, p90, p99   in its visits; over many runs the quantiles
  own                   as much of that as no stage inside was open
  path                  its share of the critical path
  often                 in how many runs it is on the critical path at all
  waits                 between attempts, and for what it said that it waits for
  rework                in repeats at a higher revision
  pass                  first visits that needed neither retry nor rework
  trend                 what it has grown by, where that is more than chance
Every figure is defined in docs/report.md."""

_EXAMPLES = """\
examples:
  otel-progress report                          all that is recorded here
  otel-progress report 91a85411                 one run
  otel-progress report --workflow 'pr_*' --since 7d
  otel-progress report --format markdown >> "$GITHUB_STEP_SUMMARY"
  otel-progress report 91a85411 --html run.html               a page to look at
  otel-progress report 91a85411 --format chrome > trace.json  ui.perfetto.dev
  otel-progress report --from http://localhost:16686?service=content-studio
  zcat traces.jsonl.gz | otel-progress report --from -
"""


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    command.add_argument("runs", nargs="*", metavar="RUN", help="ids, or how they begin (default: all runs)")
    add_choice_to(command)
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--html",
        metavar="FILE",
        type=Path,
        help="write a page to look at, which needs nothing else: of the run, or of the last one of several",
    )
    how.add_argument(
        "--format",
        choices=FORMATS,
        metavar="FORMAT",
        default="text",
        help="text: one screen (default); json: all figures; markdown: for a pull request; chrome: trace events, for "
        "Perfetto and speedscope; csv: a line for each stage of each run",
    )
    command.set_defaults(do=report)


def report(options: argparse.Namespace) -> int:
    """Report on the runs that the options of `report` name; gives the exit code."""
    gc.disable()  # What is read is kept until the end: to look through it again and again would take half the time.
    wanted = Filter(options.workflow, options.state, options.since, options.until)
    try:
        source = source_of(options.source, wanted)
    except SourceError as error:
        say(f"otel-progress: {visible(str(error))}")
        return 2
    if source is None:
        say(f"otel-progress: {nothing_here(*options.runs)}")
        return 1
    problems = Problems()
    ids: set[str] | None = None
    if options.runs:
        found = _ids(source, options.runs, problems)
        if isinstance(found, int):
            say_problems(problems)
            return found
        ids, source = found
        problems.clear()
    collected, lines, is_any_there = _made(options, source, wanted, problems, ids)
    if collected.runs and options.html is None:
        put(lines)
    say_problems(problems)
    if collected.runs:
        return 2 if options.html is not None and not _wrote(options.html, collected.workflows(), source) else 0
    if problems and not is_any_there:
        return 2
    say("otel-progress: no run is there" + (" that is asked for" if _asks(options) else ""))
    return 1


def _made(
    options: argparse.Namespace, source: Source, wanted: Filter, problems: Problems, ids: set[str] | None
) -> tuple[Report, Iterable[tuple[str, str]], bool]:
    """All that is wanted of what was read, the lines that show it, and whether there is any run at all."""
    collected, trace, figures, is_any_there = Report(), Trace(), list[RunFigures](), False
    with _Progress() as progress:
        for run in _runs(source, problems, ids, progress):
            is_any_there = True
            if not is_wanted(run, wanted):
                continue
            made = collected.add(run)
            progress.tell(f"{collected.runs} runs")
            if options.format == "chrome":
                trace.add(run, made)
            elif options.format == "csv":
                figures.append(made)
        if options.html is not None:
            return collected, (), is_any_there
        if options.format == "chrome":
            return collected, [(trace.dump(), "")], is_any_there
        if options.format == "csv":
            return collected, [(comma_separated(figures).rstrip("\n"), "")], is_any_there
        progress.tell("what would help")
        workflows = collected.workflows()
    if options.format == "json":
        said = json.dumps(to_json(workflows, options.source or FOLDER.name), indent=1)
        return collected, [(said, "")], is_any_there
    if options.format == "markdown":
        return collected, ((line, "") for line in markdown(workflows)), is_any_there
    return collected, _screens(workflows), is_any_there


def _wrote(file: Path, workflows: Sequence[WorkflowReport], source: Source) -> bool:
    """Write the page of the workflow with the most runs; False where the file cannot be written."""
    shown, *others = workflows
    if not wrote(file, run_page(shown, details_of(source.inputs, shown.run))):
        return False
    name = visible(shown.figures.workflow) or "(no name)"
    runs = "" if shown.figures.runs == 1 else f", the last of {shown.figures.runs}"
    say(f"otel-progress: {visible(str(file))} shows the run {visible(shown.run.id[:8])} of {name}{runs}")
    if others:
        names = ", ".join(visible(each.figures.workflow) or "(no name)" for each in others[:10])
        say(
            f"otel-progress: and of {len(others)} more workflow{'s' * (len(others) > 1)} none: --workflow shows {names}"
        )
    return True


def _screens(workflows: Any) -> Iterator[tuple[str, str]]:
    for number, each in enumerate(workflows[:_MOST_WORKFLOWS]):
        if number:
            yield "", ""
        yield from screen(each, room())
    if left := workflows[_MOST_WORKFLOWS:]:
        names = ", ".join(visible(each.figures.workflow) or "(no name)" for each in left[:10])
        yield "", ""
        more = f"and {len(left)} more workflow{'s' * (len(left) > 1)}; --workflow shows one of them: {names}"
        width = room()
        yield from ((part, "dim") for part in (folded(more, width) if width else (more,)))


def _asks(options: argparse.Namespace) -> bool:
    return bool(options.workflow is not None or options.state or options.since or options.until)


def _runs(source: Source, problems: Problems, ids: set[str] | None, progress: _Progress) -> Iterator[Run]:
    return whole_runs(
        source,
        problems,
        visits=_MOST_VISITS,
        runs=None if ids is None else ids.__contains__,
        tell=lambda facts: progress.tell(f"{facts} spans and events"),
        ahead=True,
    )


def _ids(source: Source, prefixes: list[str], problems: Problems) -> tuple[set[str], Source] | int:
    """The runs that are named, and what tells of them; the exit code where one is not there, or several begin so."""
    found: set[str] = set()
    with closing(Index(source.index)) as index:
        index.update(source.inputs, problems)
        for prefix in prefixes:
            ids = index.ids(prefix) if prefix else []
            ids = [prefix] if prefix in ids else ids
            if len(ids) != 1:
                say(f"otel-progress: {if_path(prefix) or not_one(prefix, ids)}")
                return 2 if ids or not prefix else 1
            found |= set(ids)
        inputs = {name for run in found for name in index.inputs_of(run)}
    return found, Source([each for each in source.inputs if each.name in inputs], source.index)


class _Progress:
    """A line on a terminal that says how far it is, from the first second on; it is gone at the end."""

    def __init__(self) -> None:
        out: Any = sys.stderr
        self._out = out if out is not None and out.isatty() else None
        self._next = time.monotonic() + 1.0
        self._shown = False

    def __enter__(self) -> _Progress:
        return self

    def tell(self, what: str) -> None:
        """Say it, some times a second."""
        if self._out is not None and time.monotonic() >= self._next:
            self._next, self._shown = time.monotonic() + 0.2, True
            self._out.write(f"\r\x1b[Kotel-progress: {what}")
            self._out.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown and self._out is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()

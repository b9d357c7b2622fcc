"""`otel-progress compare`: whether it got slower."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from ..compare import Comparison, MissingLibraryError, Sample, compare_samples
from ..compare.library import stats
from ..pages import comparison_document, page
from ..recording.visible import visible
from ..report.comparison import comparison_lines, markdown
from ..runs import Run, SourceError
from .output import put, room, say_problems
from .said import say
from .sets import SETS_HELP, Sets

_HELP = f"""\
Say whether NEW is slower than BASE: the run, its stages for each visit, and
their platforms.

  slower, faster   it is no chance, and 10% or more (--smallest)
  same             it is shown to be within 10%
  too few          neither can be said yet; about so many more runs would do

The run is tested first, its stages after that, and all of it together raises a
false alarm in at most 5% of comparisons of the same code. Changed counts of
visits, revisions, retries and failures, and stages that are new, gone or
renamed, are told apart from what is slower.

Runs of one machine resemble each other. `otel-progress bench` lets two versions
take turns, which is what to trust most; twelve runs of each are a good start.

{SETS_HELP}"""

_EXAMPLES = """\
examples:
  otel-progress compare since=14d,until=7d since=7d
  otel-progress compare service.version=1.3.0 service.version=1.4.0
  otel-progress compare --fail-above 10% --format markdown ci/base ci/new
  otel-progress compare 'ci/base-*' 'ci/new-*' --html changed.html
  otel-progress compare --format json base new | jq '.workflows[].rows'

It ends with 0; with 1 on a regression that --fail-above does not let pass; with
2 where an option is wrong, or there is nothing to compare. Needs SciPy:
pip install 'otel-progress[compare]'
"""
FORMATS = ("text", "markdown", "json")


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    command.add_argument("base", metavar="BASE", help="the runs to compare with")
    command.add_argument("new", metavar="NEW", help="the runs that may be slower")
    command.add_argument(
        "--from", dest="source", metavar="SOURCE", help="where runs are looked for by time, attribute or id"
    )
    command.add_argument("--workflow", metavar="NAME", help="only runs of this workflow; * and ? as in file names")
    add_gate_to(command)
    command.set_defaults(do=compare)


def add_gate_to(command: argparse.ArgumentParser) -> None:
    """The options that say what matters, and how it is told."""
    command.add_argument(
        "--smallest",
        type=part,
        metavar="P",
        help="the smallest change that matters (default: 10%%, or what --fail-above says)",
    )
    command.add_argument(
        "--fail-above",
        type=part,
        metavar="P",
        help="end with 1 where anything is slower by more than this, or more runs fail than chance explains",
    )
    command.add_argument(
        "--expect-same",
        action="store_true",
        help="both are the same code: say how noisy this machine is, and end with 1 where anything seems to differ",
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--html",
        metavar="FILE",
        type=Path,
        help="also write a page to look at, which needs nothing else: how the runs are spread, and one of each side",
    )
    how.add_argument("--format", choices=FORMATS, default="text", help="text, markdown for a comment, or json")


def compare(options: argparse.Namespace) -> int:
    """Compare the sets that the options of `compare` name; gives the exit code."""
    if not is_installed():
        return 2
    sets = Sets(options.source, options.workflow)
    try:
        base, new = sets.samples(options.base), sets.samples(options.new)
    except SourceError as error:
        say(f"otel-progress: {visible(str(error))}")
        return 2
    say_problems(sets.problems)
    if both := {each.id for each in base} & {each.id for each in new}:
        say(f"otel-progress: {len(both)} of the runs are in both sets: name sets that have none in common")
        return 2
    return show(base, new, options, sets.runs)


def is_installed() -> bool:
    """Whether SciPy is; if not, it is said."""
    try:
        stats()
    except MissingLibraryError as error:
        say(f"otel-progress: {error}")
        return False
    return True


def show(
    base: list[Sample],
    new: list[Sample],
    options: argparse.Namespace,
    runs: Callable[[set[str]], Mapping[str, Run]],
) -> int:
    """Compare two sets and print what is found; gives the exit code. `runs` gives those of some ids, to be drawn."""
    for name, side in (("BASE", base), ("NEW", new)):
        if not side:
            say(f"otel-progress: there is no run in {name}")
            return 2
    smallest = options.smallest or options.fail_above or 0.1
    comparison = compare_samples(base, new, smallest=smallest)
    if not comparison.workflows:
        names = (", ".join(dict.fromkeys(each.workflow for each in side)) for side in (base, new))
        told = " and NEW of ".join(visible(each) for each in names)
        say(f"otel-progress: BASE is of {told}: there is no workflow in both")
        return 2
    if options.format == "json":
        put([(json.dumps(comparison.to_json(), indent=1), "")])
    elif options.format == "markdown":
        put([(markdown(comparison, same_code=options.expect_same), "")])
    else:
        put(comparison_lines(comparison, room(), same_code=options.expect_same))
    if options.html is not None:
        document = comparison_document(comparison, base, new, runs, same_code=options.expect_same)
        title = "Comparison of " + ", ".join(each.workflow or "(no name)" for each in comparison.workflows[:3])
        if not wrote(options.html, page("comparison", document, title)):
            return 2
        say(f"otel-progress: {visible(str(options.html))} shows it")
    return _exit_code(comparison, options)


def wrote(file: Path, html: str) -> bool:
    """Write a page; False, and it is said why, where that cannot be."""
    try:
        file.write_text(html, "utf-8")
    except OSError as error:
        say(f"otel-progress: {visible(str(file))}: {error.strerror or error}")
        return False
    return True


def _exit_code(comparison: Comparison, options: argparse.Namespace) -> int:
    failures = [
        each for each in comparison.changes if each.kind == "failures" and each.certain and each.new > each.base
    ]
    failed = options.fail_above is not None and bool(failures or comparison.regressions(options.fail_above))
    if failed or (options.expect_same and comparison.alarms):
        return 1
    return 0 if comparison.rows else 2


def part(text: str) -> float:
    """A part of a whole, from what people write: `10%`, `10`."""
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage above 0, such as 10%")
    return found

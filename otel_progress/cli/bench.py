"""`otel-progress bench`: runs a program often, by turns with another version, and compares the two."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict

from ..compare.model import VERSION
from ..compare.samples import Sample
from ..compare.summary import summaries_of
from ..recording.visible import visible
from ..report.comparison import summary_lines, summary_markdown
from ..runs import Problems, Run, SourceError
from ..runs.place import FOLDER, writable
from ..runs.reading import open_source
from .compare import add_gate_to, is_installed, show
from .output import put, room, say_problems
from .said import say
from .sets import runs_of, samples_of
from .turns import BASE, NEW, Turns, Version, versions_of

_TIMES = 20
_HELP = """\
Run a program often, record each run as `otel-progress run` does, and compare.

With --against another version runs as often, and the two take turns, so that a
machine that gets slower meanwhile slows both alike. The program is NEW, the
other version is BASE:

  --against ../main                  the same program in another folder
  --against ../old/.venv/bin/python  the same program by another interpreter,
                                     in which otel_progress is installed too
  --against 'old.py --its option'    another program, or '-m module ...'

With --expect-same and no --against both are the program itself, and what is
told is how noisy this machine is. With neither the times of the one set are
shown.

What the programs print goes nowhere, and they read nothing. The records are in
.otel-progress/bench, in a folder that is named at the end, and can be compared
again. Ctrl-C ends it early, and what was run until then is compared."""

_EXAMPLES = """\
examples:
  otel-progress bench -- app.py
  otel-progress bench -n 20 --against ../main -- app.py --its-own option
  otel-progress bench --fail-above 10% --against 'old.py' -- new.py
  otel-progress bench --expect-same -- -m package.module

It ends as `otel-progress compare` does, and with 130 after Ctrl-C. All but a set
of its own needs SciPy: pip install 'otel-progress[compare]'
"""


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    command.usage = "otel-progress bench [options] -- (script.py | -m module) [argument ...]"
    command.add_argument(
        "-n", dest="times", type=_count, default=_TIMES, metavar="N", help=f"runs of each version (default: {_TIMES})"
    )
    command.add_argument(
        "--against", metavar="OTHER", help="the version to compare with: a folder, a Python, a program"
    )
    command.add_argument(
        "--warm-up", type=_count_or_none, default=1, metavar="N", help="runs of each before that (default: 1)"
    )
    add_gate_to(command)
    command.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    command.set_defaults(do=bench)


def bench(options: argparse.Namespace) -> int:
    """Run what the options of `bench` name, and compare it; gives the exit code."""
    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    alone = options.against is None and not options.expect_same
    if not alone and not is_installed():
        return 2
    if alone and options.html is not None:
        say("otel-progress: --html shows a comparison: it needs --against or --expect-same")
        return 2
    try:
        versions = versions_of(program, options.against, twice=options.expect_same)
    except ValueError as error:
        say(f"otel-progress: {visible(str(error))}")
        return 2
    if (place := writable(FOLDER)) is None:
        return 2
    turns = Turns(versions, place.parent / "bench")
    complete = turns.run(options.times, options.warm_up)
    say_problems_of(turns, versions)
    if turns.failed:
        say(f"otel-progress: {visible(turns.failed)}")
        return 2
    sets = {version.name: _samples(turns, version) for version in versions}

    def runs(ids: set[str]) -> dict[str, Run]:
        return runs_of([open_source(turns.folder / version.name) for version in versions], ids)

    code = _show_alone(sets[NEW], options) if alone else show(sets[BASE], sets[NEW], options, runs)
    can_be = not alone and all(sets.values())
    again = f", again: otel-progress compare {turns.folder / BASE} {turns.folder / NEW}" if can_be else ""
    say(f"Records: {turns.folder}{again}")
    return code if complete else 130


def say_problems_of(turns: Turns, versions: list[Version]) -> None:
    """Say how programs ended that did not end well, and where what they said is."""
    for version in versions:
        for how, times in turns.ended_badly(version).items():
            where = turns.folder / version.name / "stderr.txt"
            who = version.name.upper() if len(versions) > 1 else visible(shlex.join(version.program))
            say(f"otel-progress: {who} {how} in {times} of {turns.times(version)} runs; what it said: {where}")


def _samples(turns: Turns, version: Version) -> list[Sample]:
    problems = Problems()
    try:
        return samples_of(open_source(turns.folder / version.name), problems)
    except SourceError:  # Nothing was run.
        return []
    finally:
        say_problems(problems)


def _show_alone(samples: list[Sample], options: argparse.Namespace) -> int:
    found = summaries_of(samples)
    if not found:
        say("otel-progress: no run ended well")
        return 2
    if options.format == "json":
        put([(json.dumps({"version": VERSION, "summaries": [asdict(each) for each in found]}, indent=1), "")])
    elif options.format == "markdown":
        put([(summary_markdown(found), "")])
    else:
        put(summary_lines(found, room()))
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000")
    return int(text)


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)

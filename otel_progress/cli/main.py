"""The command `otel-progress`."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module

from .._version import __version__
from ..runs.place import KEEP, KEEP_DAYS

_HELP = """\
See where a staged workflow is, what it costs and what holds it up.

Stages are PocketFlow nodes, and whatever a program marks with otel_progress's
@stage, workflow() and ProgressTrackerNode."""

_EXAMPLES = """\
examples:
  otel-progress run app.py
  otel-progress run -m package.module --its-own option
  otel-progress runs --since 7d
  otel-progress show
  otel-progress watch
  otel-progress report
  otel-progress ui
  otel-progress compare since=14d,until=7d since=7d
  otel-progress bench -n 20 --against ../main -- app.py
  otel-progress run --help
  otel-progress stack up
"""

_RUN_HELP = """\
Run a Python program, unchanged, and record its staged workflows.

On a terminal a display shows meanwhile what goes on, beneath what the program
says. Elsewhere, in a file, a pipe or CI, lines say what starts, what ends and
how, and what still runs.

When the program has ended, a table says for every stage how often it was
visited, how long it took, its share of the time, and how it ended: the largest
share is what to look at first. The record itself is a folder in
.otel-progress/runs, which only you can read: in it, spans.jsonl is what a
Jaeger with a page shows (Search > Upload).

Nothing is sent until OTEL_EXPORTER_OTLP_ENDPOINT says where to: then traces and
metrics are exported there as well; that of a signal is for this signal alone.
OTEL_<SIGNAL>_EXPORTER (TRACES, METRICS, LOGS) asks for an exporter by its name,
OTEL_CONFIG_FILE for those of a file. A program that calls configure() or has
OpenTelemetry providers of its own goes on exporting as it always does.

The program keeps its arguments, its standard output, its exit code, Ctrl-C and
SIGTERM; otel-progress prints to standard error only. On a terminal it runs in a
child on a pseudo-terminal, elsewhere in this process.

What is seen:
  stages that the program marks, in its process and in every Python process that
  it starts and that imports otel_progress
  PocketFlow without a change, and copies of it that are modules of their own:
  in this process and in those that multiprocessing starts; a copy that is
  not recognised by its shape is named by --module
  tests: `otel-progress run -m pytest`; not in pytest-xdist's workers, but for
  what tests or stages that import otel_progress mark

What is not seen:
  a copy of PocketFlow inside the script itself: put it into a module
  PocketFlow without a change in other processes that the program starts, such
  as the kernel of a notebook, also by papermill or nbconvert: write
  `from otel_progress import PocketFlowInstrumentor` and
  `PocketFlowInstrumentor().instrument()` in the notebook
  processes that are there already: a Jupyter server, a worker of a queue"""

_RUN_EXAMPLES = """\
examples:
  otel-progress run app.py --its-own option
  otel-progress run -m package.module
  otel-progress run app.py 2>progress.txt | next-program
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 otel-progress run app.py
"""

_STACK_HELP = """\
Collector, Jaeger, Prometheus and Alertmanager on this machine: what shows the
traces and metrics that programs export.

  stack up        start the real servers on loopback, without containers, until
                  Ctrl-C; with -d until `stack down`. Builds them when that was
                  never done
  stack down      end those that `stack up` has started; the data stays
  stack status    what runs, since when, whether healthy, where its data is
  stack logs      what the servers say
  stack build     build them: once, by Go, into the user's cache
  stack init DIR  write DIR/deploy, DIR/grafana and the runbooks: the same
                  configuration for `docker compose up -d`, with Grafana"""

_STACK_EXAMPLES = """\
examples:
  otel-progress stack up -d
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 otel-progress run app.py
  otel-progress show --from http://localhost:16686
  otel-progress stack logs jaeger
  otel-progress stack down
  otel-progress stack up --data ~/traces --port-offset 1000
"""

_READING = {
    "runs": "list the runs that were recorded, and those that go on",
    "show": "show one run: its visits, attempts and links, and what is open",
    "watch": "follow a run that goes on, or the next to start, from another terminal",
    "report": "say where the time of runs went, and what would help most",
    "compare": "say whether one set of runs is slower than another",
    "ui": "show the runs in a browser, and what runs now",
    "bench": "run a program often, by turns with another version, and compare",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parser = _parser(arguments)  # Which imports the command: that may take its time, too.
        options, unknown = parser.parse_known_args(arguments)
        if unknown:  # Said by the command, whose usage tells what there is.
            options.of.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options.do(options)
    except KeyboardInterrupt:
        if arguments[:1] in (["run"], ["stack"]):  # The program's, or said already.
            raise
        return 130


# A command is imported when it is asked for: a list of runs needs nothing of the SDK, and a program that is run shall
# find no more modules than it has to.


def _run(options: argparse.Namespace) -> int:
    from .run import run  # noqa: PLC0415

    return run(options)


def _stack(options: argparse.Namespace) -> int:
    from .stack import stack  # noqa: PLC0415

    return stack(options)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Fits prose into a terminal that is narrower than the prose; what is set in, and examples, stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        del indent  # There is none.
        return "\n\n".join(
            part
            if "\n  " in part or max(map(len, part.splitlines())) <= width
            else textwrap.fill(part, width, break_on_hyphens=False)
            for part in text.split("\n\n")
        )


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-progress",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"otel-progress {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_run_options(
        commands.add_parser(
            "run",
            help="run a Python program and record its workflows",
            description=_RUN_HELP,
            epilog=_RUN_EXAMPLES,
            formatter_class=_Formatter,
            allow_abbrev=False,
            usage="otel-progress run [options] (script.py | -m module) [its arguments ...]",
        )
    )
    stack = commands.add_parser(
        "stack",
        help="start the servers that show traces and metrics, or write their configuration",
        description=_STACK_HELP,
        epilog=_STACK_EXAMPLES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    stack.set_defaults(do=_stack)
    if arguments[:1] == ["stack"]:
        import_module(".stack", __package__).add_to(stack)
    for name, what in _READING.items():
        command = commands.add_parser(name, help=what, formatter_class=_Formatter, allow_abbrev=False)
        if name in arguments[:1]:
            import_module(f".{name}", __package__).add_to(command)
    for command in commands.choices.values():
        command.set_defaults(of=command)
    return parser


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.set_defaults(do=_run)
    command.add_argument("-m", dest="module", action="store_true", help="run a module, as `python -m` does")
    command.add_argument(
        "--service-name",
        metavar="NAME",
        help="service.name of the telemetry (default: what OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say, else the "
        "program's name)",
    )
    command.add_argument(
        "--module",
        dest="copies",
        action="append",
        default=[],
        metavar="NAME",
        help="a module that holds a copy of PocketFlow, where it is not recognised; may be given several times",
    )
    command.add_argument(
        "--keep", type=_positive, default=KEEP, metavar="N", help=f"records to keep, the newest ones (default: {KEEP})"
    )
    command.add_argument(
        "--keep-days",
        type=_positive,
        default=KEEP_DAYS,
        metavar="N",
        help=f"days to keep them, from the last that was written (default: {KEEP_DAYS})",
    )
    shown = command.add_mutually_exclusive_group()
    shown.add_argument(
        "--live",
        action="store_true",
        default=None,
        help="on a terminal, show what goes on beneath what the program says: the default where there is one",
    )
    shown.add_argument(
        "--no-live",
        dest="live",
        action="store_false",
        help="on a terminal too, run the program in this process, and tell what goes on in plain lines",
    )
    shown.add_argument("-q", "--quiet", action="store_true", help="neither lines nor a table: only what is wrong")
    command.add_argument(
        "program",
        help="path of the script (or of a folder or zip file with a __main__), or name of the module after -m",
    )
    arguments = command.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments.required = False  # As it is; argparse would name it as missing where the program is.


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

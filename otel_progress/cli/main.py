"""The command `otel-progress`."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import importlib.machinery
import importlib.util
import logging
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
)
from rich.console import Console

from .._version import __version__
from ..names import SCOPE
from ..recording import default
from ..recording.faults import report
from ..recording.live import Run
from ..recording.sink import Sink
from ..report import table
from ..report.totals import WorkflowTotals
from ..runs.file import FOLDER, RunFile
from ..stack import build, run
from ..telemetry.configure import die_of_sigterm_in_children, exit_on_sigterm, exporters, process, start

_KEEP = 50
_ENDPOINTS = (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT)

_HELP = """\
See where a staged workflow is, what it costs and what holds it up.

Stages are PocketFlow nodes, and whatever a program marks with otel_progress's
@stage, workflow() and ProgressTrackerNode."""

_EXAMPLES = """\
examples:
  otel-progress run app.py
  otel-progress run -m package.module --its-own option
  otel-progress run --help
  otel-progress stack up
"""

_RUN_HELP = """\
Run a Python program, unchanged, and record its staged workflows.

When the program has ended, a table says for every stage how often it was
visited, how long it took, its share of the time, and how it ended: the longest
bar is what to look at first. The record itself is kept in .otel-progress/runs
as OTLP JSON Lines, which Jaeger shows (Search > Upload).

Nothing leaves this machine unless OTEL_EXPORTER_OTLP_ENDPOINT is set: then
traces and metrics are exported there as well. A program that calls configure()
or has OpenTelemetry providers of its own goes on exporting as it always does.

The program keeps its arguments, its standard output, its exit code, Ctrl-C and
SIGTERM; otel-progress prints to standard error only."""

_RUN_EXAMPLES = """\
examples:
  otel-progress run app.py --its-own option
  otel-progress run -m package.module
  otel-progress run app.py 2>table.txt | next-program
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 otel-progress run app.py
"""

_STACK_HELP = """\
Collector, Jaeger, Prometheus and Alertmanager on this machine: what shows the
traces and metrics that programs export.

  stack up        start the real servers on loopback, without containers, and
                  stop them with Ctrl-C; builds them when that was never done
  stack build     build them: once, by Go, into the user's cache
  stack init DIR  write DIR/deploy, DIR/grafana and the runbooks: the same
                  configuration for `docker compose up -d`, with Grafana"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="otel-progress",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"otel-progress {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a Python program and record its workflows",
        description=_RUN_HELP,
        epilog=_RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="otel-progress run [options] (script.py | -m module) [its arguments ...]",
    )
    run.add_argument("-m", dest="module", action="store_true", help="run a module, as `python -m` does")
    run.add_argument(
        "--service-name",
        metavar="NAME",
        help="service.name of the telemetry (default: OTEL_SERVICE_NAME, else the program's name)",
    )
    run.add_argument(
        "--keep", type=_positive, default=_KEEP, metavar="N", help="run files to keep, the newest ones (default: 50)"
    )
    run.add_argument("program", help="path of the script, or name of the module after -m")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    stack = commands.add_parser(
        "stack",
        help="start the servers that show traces and metrics, or write their configuration",
        description=_STACK_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = stack.add_subparsers(dest="action", metavar="(up | build | init)", required=True)
    up = actions.add_parser("up", help="start the servers without containers, until Ctrl-C", allow_abbrev=False)
    up.add_argument(
        "--data",
        type=Path,
        default=FOLDER / "stack",
        metavar="DIR",
        help="folder for their data and logs (default: %(default)s)",
    )
    actions.add_parser("build", help="build the servers into the user's cache", allow_abbrev=False)
    init = actions.add_parser("init", help="write the configuration files for containers", allow_abbrev=False)
    init.add_argument("folder", type=Path, metavar="DIR", help="where to write the folders deploy, grafana and docs")
    options = parser.parse_args(arguments)
    return _run(options) if options.command == "run" else _stack_command(options)


def _stack_command(options: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    try:
        if options.action == "init":
            written = run.write_files(options.folder)
            say(f"Written: {', '.join(map(str, written))}. Start it there:")
            print(f"cd {options.folder}/deploy && docker compose up -d")  # noqa: T201
            return 0
        build.build(say)
        if options.action == "up":
            run.run(options.data, say)
        else:
            print(build.program("collector").parent.parent)  # noqa: T201
    except KeyboardInterrupt:
        return 130
    except (build.StackError, OSError) as error:
        say(f"otel-progress: {error}")
        return 1
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    sys.argv = ["-m" if options.module else options.program, *options.arguments]  # As Python has it.
    try:
        code, module = (_load_module if options.module else _load_script)(options.program)
        sys.argv[0] = str(module.__file__ if options.module else options.program)
        recording = _Recording(options.service_name, options.keep)
    except SyntaxError as error:
        traceback.print_exception(type(error), error, None)
        return 1
    except (OSError, ImportError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        print(f"otel-progress: cannot run {options.program}: {reason}", file=sys.stderr)  # noqa: T201
        return 2
    sys.modules["__main__"] = module
    sys.modules["__mp_main__"] = module  # So multiprocessing calls it, which has been imported by now.
    recording.begin()
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's program is what this is for
    except BaseException:
        sys.excepthook = _without_our_frames(sys.excepthook, code)
        raise
    finally:
        recording.set_up()  # For stages in the program's threads and exit handlers: it is too late there.
    return 0


def _load_script(program: str) -> tuple[types.CodeType, types.ModuleType]:
    path = Path(program)
    if path.is_dir():
        raise ValueError("it is a folder; name the script in it")
    absolute = os.path.abspath(program)  # noqa: PTH100 - as Python does: symbolic links stay in the name
    loader = importlib.machinery.SourceFileLoader("__main__", absolute)
    code = loader.source_to_code(path.read_bytes(), absolute)
    module = types.ModuleType("__main__")
    module.__file__ = absolute
    module.__loader__ = loader
    _first_on_path(path.resolve().parent)
    return code, module


def _load_module(program: str) -> tuple[types.CodeType, types.ModuleType]:
    _first_on_path(Path.cwd())
    spec = importlib.util.find_spec(program)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{program}.__main__")
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise ImportError(f"no module {program} (or it is a package without __main__, or not written in Python)")
    code = spec.loader.get_code(spec.name)
    if code is None:
        raise ImportError(f"no code in module {program}")
    module = types.ModuleType("__main__")
    module.__file__ = spec.origin
    module.__spec__ = spec
    module.__package__ = spec.parent
    module.__loader__ = spec.loader
    return code, module


def _first_on_path(folder: Path) -> None:
    """Put the program's folder where ours is."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = str(folder)


_Hook = Callable[[type[BaseException], BaseException, "types.TracebackType | None"], object]


def _without_our_frames(hook: _Hook, code: types.CodeType) -> _Hook:
    """`hook`, shown tracebacks that begin with the program's own `code`."""

    def shown(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        own = trace
        while own is not None and own.tb_frame.f_code is not code:
            own = own.tb_next
        hook(kind, error.with_traceback(own or trace), own or trace)

    return shown


class _Recording(Sink):
    """What is recorded of a program, from before it starts until the table after its end.

    The end is an exit handler, registered before the program can register any: so it comes after the program's threads
    and handlers, and the exit code stays Python's business. Providers are set up as late as can be, when the first run
    starts: so a program that has providers of its own, or calls `configure`, is first.
    """

    def __init__(self, service_name: str | None, keep: int) -> None:
        self._service_name = service_name
        self._keep = keep
        self._pid = os.getpid()
        self._workflows: dict[str, WorkflowTotals] = {}
        self._is_set_up = False
        self._setting_up = threading.RLock()
        self._endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
        self._exporter = "otlp" if self._endpoint else "none"
        # What is wrong is said before the program starts, and what takes long is not done in the first run's time.
        exporters(None, self._exporter)
        if self._endpoint:
            with contextlib.suppress(ImportError):
                importlib.import_module("requests")

    def begin(self) -> None:
        """Take part in the process that the program is about to run in."""
        atexit.register(self._finish)
        if exit_on_sigterm():
            die_of_sigterm_in_children()
        self._file = RunFile(Path(sys.argv[0]).stem)
        if self._file.path is not None:
            process.companions.append(self._file.processor)
        default.get().sinks.insert(0, self)
        _instrument()

    def run_started(self, run: Run) -> None:  # noqa: ARG002 - as a sink is called
        """Set up what the program has not set up by itself."""
        self.set_up()

    def run_ended(self, run: Run) -> None:
        """Add the run to the table."""
        self._workflows.setdefault(run.workflow, WorkflowTotals(run.workflow)).add(run)

    def set_up(self) -> None:
        """Have the run file written, whoever has set up the providers."""
        if self._is_set_up:
            return
        with self._setting_up:
            if not self._is_set_up:
                try:
                    self._set_up()
                except Exception as error:
                    report("the run cannot be recorded", error)
                self._is_set_up = True

    def _set_up(self) -> None:
        if process.telemetry is not None:
            return
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            start(self._service_name, default_exporter=self._exporter, at_exit=False)
        elif add := getattr(provider, "add_span_processor", None):
            for make in process.companions:
                add(make())

    def _finish(self) -> None:
        try:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the wait for the collector.
                if process.telemetry is not None:
                    process.telemetry.shutdown()
                default.get().close()
            if os.getpid() == self._pid:
                self._print()
        finally:
            if process.terminated:  # Die of the signal, as the program would have without us.
                for flush in (sys.stdout.flush, sys.stderr.flush, logging.shutdown):
                    flush()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)

    def _print(self) -> None:
        kept = self._file.finish(self._keep)
        console = Console(file=sys.__stderr__, markup=False, highlight=False, soft_wrap=True)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = 120  # A log has no margin.
        if self._workflows:
            table.show(console, self._workflows.values())
        elif not kept:
            console.print("otel-progress: no stage was recorded. Does the program use @stage, workflow() or a tracker?")
        if kept:
            console.print(f"Record: {self._file.path}", style="dim")
        elif self._workflows:
            console.print("Record: none, no span was sampled", style="dim")
        telemetry = process.telemetry
        if telemetry is None:
            return
        for exporter in telemetry.exporters:
            if exporter.endpoint is None:
                continue
            if telemetry.complete and not exporter.failed:
                console.print(f"Exported: {exporter.exported} spans to {exporter.endpoint}", style="dim")
            else:
                what = f"Exported: {exporter.exported} spans to {exporter.endpoint}, which did not take the rest"
                console.print(what, style="red")


def _instrument() -> None:
    """Record the frameworks that otel_progress knows, as `opentelemetry-instrument` does."""
    for point in entry_points(group="opentelemetry_instrumentor"):
        if point.value.partition(".")[0] == SCOPE:
            try:
                instrumentor = point.load()()
                instrumentor.instrument(raise_exception_on_conflict=True)
            except Exception:  # noqa: S112 - the framework is not there, or not in a version that is known
                continue
            _give_way(instrumentor)


def _give_way(instrumentor: Any) -> None:
    """Let the program's own `instrument()`, with the arguments that it gives, take the place of ours."""
    cls = cast("Any", type(instrumentor))
    instrument = cls.instrument

    def instead(self: Any, **kwargs: Any) -> Any:
        cls.instrument = instrument
        self.uninstrument()
        return instrument(self, **kwargs)

    cls.instrument = instead


if __name__ == "__main__":
    sys.exit(main())

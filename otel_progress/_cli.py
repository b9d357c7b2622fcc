"""The command `otel-progress`."""

from __future__ import annotations

import argparse
import atexit
import importlib.machinery
import importlib.util
import os
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from . import _default, _report
from ._configure import Telemetry, exit_on_sigterm, start
from ._model import WorkflowTotals
from ._record import Run
from ._recorder import Sink
from ._runfile import RunFile
from ._version import __version__

_KEEP = 50

_RUN_HELP = """\
Run a Python program, unchanged, and record its staged workflows.

When the program has ended, one table says for every stage how often it was
visited, how long it took and how it ended. The record is kept in
.otel-progress/runs as OTLP JSON Lines, which Jaeger's upload box takes. Where
OTEL_EXPORTER_OTLP_ENDPOINT is set, traces and metrics are exported there too.

The program keeps its standard output, its exit code, Ctrl-C and SIGTERM;
otel-progress prints to standard error only."""

_RUN_EXAMPLES = """\
examples:
  otel-progress run app.py --its-own option
  otel-progress run -m package.module
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 otel-progress run app.py
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="otel-progress", description="See where a staged workflow is, what it costs and what holds it up."
    )
    parser.add_argument("--version", action="version", version=f"otel-progress {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a Python program and record its workflows",
        description=_RUN_HELP,
        epilog=_RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="otel-progress run [options] (script.py | -m module) [arguments of the program ...]",
    )
    run.add_argument("-m", dest="module", action="store_true", help="run a module, as `python -m` does")
    run.add_argument(
        "--service-name", help="service.name of the telemetry (default: OTEL_SERVICE_NAME, else the program's name)"
    )
    run.add_argument("--keep", type=_positive, default=_KEEP, metavar="N", help=f"run files to keep (default: {_KEEP})")
    run.add_argument("program", help="path of the script, or name of the module after -m")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        code, module = _load_module(options.program) if options.module else _load_script(options.program)
    except (OSError, ImportError, SyntaxError, ValueError) as error:
        print(f"otel-progress: cannot run {options.program}: {_reason(error)}", file=sys.stderr)  # noqa: T201
        return 2
    sys.argv = [str(module.__file__), *options.arguments]
    sys.modules["__main__"] = module
    _Recording(options.service_name, options.keep)
    sys.excepthook = _excepthook
    exec(code, module.__dict__)  # noqa: S102 - running the user's program is what this is for
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _load_script(program: str) -> tuple[types.CodeType, types.ModuleType]:
    path = Path(program)
    if path.is_dir():
        raise ValueError("it is a folder; name the script in it")
    loader = importlib.machinery.SourceFileLoader("__main__", str(path))
    code = loader.source_to_code(path.read_bytes(), str(path))
    module = types.ModuleType("__main__")
    module.__file__ = program
    module.__loader__ = loader
    sys.path[0] = str(path.resolve().parent)
    return code, module


def _load_module(program: str) -> tuple[types.CodeType, types.ModuleType]:
    sys.path[0] = str(Path.cwd())
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


def _excepthook(kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None) -> None:
    """Show an uncaught exception as Python would have shown it without us."""
    while traceback is not None and _is_ours(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


def _is_ours(filename: str) -> bool:
    return filename == __file__ or Path(filename).stem == Path(sys.argv[0]).stem == "otel-progress"


class _Recording(Sink):
    """Telemetry for a program, from before it starts until the table after its end.

    The end is an exit handler, registered before the program can register any: so it comes after the program's threads
    and handlers, and the exit code stays Python's business.
    """

    def __init__(self, service_name: str | None, keep: int) -> None:
        self._keep = keep
        self._workflows: dict[str, WorkflowTotals] = {}
        self._terminated = False
        atexit.register(self._finish)
        if exit_on_sigterm():
            leave = signal.getsignal(signal.SIGTERM)

            def note(number: int, frame: types.FrameType | None) -> None:
                self._terminated = True
                if callable(leave):
                    leave(number, frame)

            signal.signal(signal.SIGTERM, note)
        self._file = RunFile(Path(sys.argv[0]).stem)
        endpoints = [
            name for name in os.environ if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT")
        ]
        self._endpoint = os.environ[endpoints[0]] if endpoints else None
        self._telemetry: Telemetry = start(
            service_name,
            default_exporter="otlp" if endpoints else "none",
            span_processors=[self._file.processor],
        )
        _default.get().sinks.append(self)

    def run_ended(self, run: Run) -> None:
        """Add the run to the table."""
        self._workflows.setdefault(run.workflow, WorkflowTotals(run.workflow)).add(run)

    def _finish(self) -> None:
        self._telemetry.shutdown()
        kept = self._file.finish(self._keep)
        console = Console(stderr=True)
        if self._workflows:
            console.print()
            _report.show(console, self._workflows.values())
        else:
            console.print("otel-progress: no stage was recorded. Does the program use @stage, workflow() or a tracker?")
        if kept:
            console.print(f"Record: {self._file.path}", style="dim", soft_wrap=True, highlight=False)
        elif self._workflows:
            console.print("Record: none, no span was sampled", style="dim", highlight=False)
        if self._endpoint is not None:
            console.print(f"Exported to {self._endpoint}", style="dim", soft_wrap=True, highlight=False)
        if self._terminated:  # Die of the signal, as the program would have without us.
            sys.stdout.flush()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

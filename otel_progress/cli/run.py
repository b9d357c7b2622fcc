"""`otel-progress run`: runs a program as Python does, and records its staged workflows."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import TYPE_CHECKING

from ..live.known import known, size_of
from ..recording.visible import visible
from .instrumented import name_copies
from .program import load_module, load_script
from .recording import Recording
from .said import say
from .told import Told
from .tracebacks import in_threads_too, without_our_frames

try:
    from . import terminal
except ImportError:  # Not a POSIX system.
    terminal = None

if TYPE_CHECKING:
    from .beneath import Beneath


def run(options: argparse.Namespace) -> int:
    """Run the program that the options of `run` name; gives its exit code where no exception ends it."""
    if not options.program:
        say("otel-progress: no program is named")
        return 2
    takes = known(os.environ)
    wanted = options.live is not False and not options.quiet
    if wanted and takes.moves and terminal is not None and terminal.is_there():
        heard, told = os.pipe()

        def beneath(size: tuple[int, int]) -> Beneath:
            from .beneath import Beneath  # noqa: PLC0415 - the program shall not find it

            return Beneath(heard, size_of(size, os.environ), takes)

        code = terminal.run_in_child(beneath)
        os.close(heard if code is None else told)
        return _run_here(options, Told(told)) if code is None else code
    if options.live:
        say("otel-progress: --live: there is no terminal here, so what goes on is told in lines")
    return _run_here(options, lines=not options.quiet)


def _run_here(options: argparse.Namespace, tell: Told | None = None, *, lines: bool = False) -> int:
    """Run it in this process; whoever holds the terminal is told by `tell` where its record is."""
    sys.argv = ["-m" if options.module else options.program, *options.arguments]  # As Python has it.
    try:
        code, module = (load_module if options.module else load_script)(options.program)
        sys.argv[0] = str(module.__file__ if options.module else options.program)
        recording = Recording(options.service_name, options.keep, options.keep_days, lines=lines, quiet=options.quiet)
    except SyntaxError as error:
        traceback.print_exception(type(error), error, None)
        return 1
    except (OSError, ImportError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        say(f"otel-progress: cannot run {visible(options.program)}: {visible(str(reason))}")
        return 2
    sys.modules["__main__"] = module
    sys.modules["__mp_main__"] = module  # So multiprocessing calls it, which has been imported by now.
    name_copies(options.copies)
    recording.begin()
    if tell is not None:
        tell.folder(recording.folder)
        recording.table_comes = tell.table_comes
    in_threads_too()
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's program is what this is for
    except BaseException as error:
        recording.broken_off(error)
        sys.excepthook = without_our_frames(getattr(sys, "excepthook", sys.__excepthook__), code)
        raise
    finally:
        recording.set_up()  # For stages in the program's threads and exit handlers: it is too late there.
    return 0

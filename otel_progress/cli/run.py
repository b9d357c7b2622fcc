"""`otel-progress run`: runs a program as Python does, and records its staged workflows."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path

from ..recording.visible import visible
from ..runs.processes import mark_crashed
from .instrumented import name_copies
from .program import load_module, load_script
from .recording import Recording
from .said import say
from .tracebacks import in_threads_too, without_our_frames

try:
    from . import terminal
except ImportError:  # Not a POSIX system.
    terminal = None

_LONGEST = 4096  # Bytes of a path.


def run(options: argparse.Namespace) -> int:
    """Run the program that the options of `run` name; gives its exit code where no exception ends it."""
    if options.live is not False and not options.quiet and terminal is not None and terminal.is_there():
        heard, told = os.pipe()

        def ended(pid: int, status: int) -> None:
            os.close(told)
            _note_end(os.read(heard, _LONGEST), pid, os.waitstatus_to_exitcode(status))

        code = terminal.run_in_child(ended)
        if code is not None:
            return code
        os.close(heard)
        return _run_here(options, told)
    if options.live:
        say("otel-progress: --live: there is no terminal here, so what goes on is told in lines")
    return _run_here(options, lines=not options.quiet)


def _note_end(folder: bytes, pid: int, code: int) -> None:
    """Note how a process came to its end that did not live to say so itself; `folder` is its record, if it has one."""
    known = {"exit_code": code} if code >= 0 else {"signal": -code}
    for file in Path(os.fsdecode(folder)).glob(f"process-{pid}-*.json") if folder else ():
        mark_crashed(file, **known)


def _run_here(options: argparse.Namespace, tell: int | None = None, *, lines: bool = False) -> int:
    """Run it in this process; whoever reads from `tell` is told the folder of its record."""
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
        os.write(tell, os.fsencode(recording.folder or ""))
        os.close(tell)
    in_threads_too()
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's program is what this is for
    except BaseException as error:
        recording.broken_off(error)
        sys.excepthook = without_our_frames(sys.excepthook, code)
        raise
    finally:
        recording.set_up()  # For stages in the program's threads and exit handlers: it is too late there.
    return 0

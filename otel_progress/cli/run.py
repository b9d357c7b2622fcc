"""`otel-progress run`: runs a program as Python does, and records its staged workflows."""

from __future__ import annotations

import argparse
import sys
import traceback

from ..recording.visible import visible
from .program import load_module, load_script, without_our_frames
from .recording import Recording
from .said import say

try:
    from . import terminal
except ImportError:  # Not a POSIX system.
    terminal = None


def run(options: argparse.Namespace) -> int:
    """Run the program that the options of `run` name; gives its exit code where no exception ends it."""
    if options.live and terminal is not None and terminal.is_there():
        ended = terminal.run_in_child()
        if ended is not None:
            return ended
    return _run_here(options)


def _run_here(options: argparse.Namespace) -> int:
    sys.argv = ["-m" if options.module else options.program, *options.arguments]  # As Python has it.
    try:
        code, module = (load_module if options.module else load_script)(options.program)
        sys.argv[0] = str(module.__file__ if options.module else options.program)
        recording = Recording(options.service_name, options.keep, options.keep_days)
    except SyntaxError as error:
        traceback.print_exception(type(error), error, None)
        return 1
    except (OSError, ImportError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        say(f"otel-progress: cannot run {visible(options.program)}: {visible(str(reason))}")
        return 2
    sys.modules["__main__"] = module
    sys.modules["__mp_main__"] = module  # So multiprocessing calls it, which has been imported by now.
    recording.begin()
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's program is what this is for
    except BaseException as error:
        recording.broken_off(error)
        sys.excepthook = without_our_frames(sys.excepthook, code)
        raise
    finally:
        recording.set_up()  # For stages in the program's threads and exit handlers: it is too late there.
    return 0

"""What a program starts under `otel-progress run` finds in its environment where in the trace it was started.

The environment of this process stays as it is: it is one for all runs and threads. Each child has a copy of its own.
"""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..names import OTEL_PROGRESS_RECORD
from ..recording.faults import from_handler, report
from ..telemetry.environment import environment_here, put_into


class _Watched:
    """Whether what starts processes has been wrapped."""

    done = False


_listeners: list[Callable[[], object]] = []


def tell_of_children(listener: Callable[[], object]) -> None:
    """Have `listener` called whenever this process has started another one, as far as that can be known.

    It is called in the program's frame, in forked children that start others too, and must raise nothing.
    """
    _listeners.append(listener)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_parent=listener)


def child_starts() -> None:
    """This process starts another one."""
    for listener in _listeners:
        listener()


def watch_what_is_started() -> None:
    """Have `subprocess` (so `asyncio` and `os.popen` too) and `os.system` tell it from now on."""
    if _Watched.done:
        return
    _Watched.done = True
    initialize: Callable[..., None] = subprocess.Popen.__init__
    signature = inspect.signature(initialize)

    @functools.wraps(initialize)
    def told(*args: Any, **options: Any) -> None:
        initialize_with, more = _with_environment(signature, args, options)
        initialize(*initialize_with, **more)
        child_starts()

    cast("Any", subprocess.Popen).__init__ = told
    if os.name == "posix":
        shell: Any = os
        system: Callable[[Any], int] = shell.system

        @functools.wraps(system)
        def told_system(command: Any) -> int:
            return system(_with_exports(command))

        shell.system = told_system


def _with_environment(
    signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        if here := environment_here():
            bound = signature.bind(*args, **options)
            given: Mapping[Any, Any] | None = bound.arguments.get("env")
            if given is None or _is_of_ours(given, here):
                environ: dict[Any, Any] = {**(os.environ if given is None else given)}
                put_into(environ, here)
                bound.arguments["env"] = environ
                return bound.args, bound.kwargs
    except BaseException as error:  # Arguments that do not fit, or an `env` with methods of its own.
        if from_handler(error):
            raise
        if not isinstance(error, TypeError):
            report("what is started could not be told where in the trace it was started", error)
    return args, options


def _is_of_ours(given: Mapping[Any, Any], here: Mapping[str, str]) -> bool:
    """Whether an `env` is made of this process's environment, and tells of no other span than that does."""
    told = (name for name in here if name in given)
    return OTEL_PROGRESS_RECORD in given and all(given[name] == os.environ.get(name) for name in told)


def _with_exports(command: Any) -> Any:
    """A command for the shell with what it is to find in its environment, on the same line."""
    try:
        if here := environment_here():
            exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in here.items())
            return os.fsencode(exports) + os.fsencode(command)
    except BaseException as error:
        if from_handler(error):
            raise
    return command

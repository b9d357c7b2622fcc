"""What a program starts under `otel-progress run` finds in its environment where in the trace it was started.

The environment of this process stays as it is: it is one for all runs and threads. Each child has a copy of its own.
"""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..names import OTEL_PROGRESS_RECORD
from ..recording.faults import from_handler, report
from ..telemetry.environment import environment_here, put_into

_SPAWN = inspect.Signature(
    [
        *(inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("path", "argv", "env")),
        inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD),
    ]
)
"""Of `posix_spawn`, which does not say it."""


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
    """Have `subprocess` (so `asyncio` and `os.popen` too) tell it from now on, and the functions of `os`."""
    if _Watched.done:
        return
    _Watched.done = True
    initialize = subprocess.Popen.__init__
    cast("Any", subprocess.Popen).__init__ = functools.wraps(initialize)(
        _telling(initialize, inspect.signature(initialize), or_none=True)
    )
    if os.name == "posix":
        _replace("system", _telling_a_shell)
        # What `os.spawn*` and the other `os.exec*` call in the end.
        _replace("execv", _telling_by_putenv)
        _replace("execve", functools.partial(_telling, signature=inspect.signature(os.execve), or_none=False))
        for name in ("posix_spawn", "posix_spawnp"):
            if hasattr(os, name):  # Not on every system.
                or_none = sys.version_info >= (3, 13)
                _replace(name, functools.partial(_telling, signature=_SPAWN, or_none=or_none))


def _replace(name: str, made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what is `made` of a function in `os` into its place; pickled it is the same by its name."""
    function = getattr(os, name)
    wrapper = functools.wraps(function)(made(function))
    wrapper.__module__ = "os"
    setattr(os, name, wrapper)


def _telling(starts: Callable[..., Any], signature: inspect.Signature, *, or_none: bool) -> Callable[..., Any]:
    """For what is given an `env`, or (with `or_none`) that of this process where it is None."""

    def told(*args: Any, **options: Any) -> Any:
        given, more = _with_environment(signature, args, options, or_none=or_none)
        started = starts(*given, **more)
        child_starts()
        return started

    return told


def _telling_a_shell(system: Callable[..., int]) -> Callable[..., int]:
    def told(command: Any) -> int:
        return system(_with_exports(command))

    return told


def _telling_by_putenv(execute: Callable[..., Any]) -> Callable[..., Any]:
    """For what takes the environment of this process with it, as C has it: it is changed there, not in `os.environ`."""

    def told(*args: Any, **options: Any) -> Any:
        changed = _changed()
        try:
            for name, value in changed.items():
                _put(name, value)
            return execute(*args, **options)
        finally:  # It has failed: else there is nobody to come here.
            for name in changed:
                _put(name, os.environ.get(name))

    return told


def _changed() -> dict[str, str | None]:
    """What is to be another in the environment of what is started here; None: not there."""
    try:
        if here := environment_here():
            environ = dict(os.environ)
            put_into(environ, here)
            names = {*environ, *os.environ}
            return {name: environ.get(name) for name in names if environ.get(name) != os.environ.get(name)}
    except BaseException as error:
        if from_handler(error):
            raise
        report("what is started could not be told where in the trace it was started", error)
    return {}


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.unsetenv(name)
    else:
        os.putenv(name, value)


def _with_environment(
    signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any], *, or_none: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        if here := environment_here():
            bound = signature.bind(*args, **options)
            given: Mapping[Any, Any] | None = bound.arguments.get("env")
            if or_none if given is None else _is_of_ours(given, here):
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

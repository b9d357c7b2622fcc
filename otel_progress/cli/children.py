"""Child processes of a program that `otel-progress run` runs: they write to its record, and record what it records.

A forked child has everything of its parent. One that is started anew (spawn, forkserver) is told by what
`multiprocessing` hands from a process to its children, and any other Python program by a variable, once it imports
`otel_progress`. Nothing is imported, and nothing set up, before there is something to record.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..names import OTEL_PROGRESS_RECORD, SCOPE
from ..recording import default
from ..recording.faults import report
from ..runs.writer import Writer
from ..telemetry.environment import environment_here, put_into, read_environment
from .started import child_starts

_ROOT = str(Path(__file__).parents[2])
_JOIN = """
try:
    __import__("sys").path.append({root!r})
    try:
        __import__("importlib").import_module({module!r}).join_as_child({service!r}, {here!r})
    finally:
        __import__("sys").path.pop()
except Exception:
    pass
"""
_LOAD = "exec({code!r}) or getattr(__import__('sys').modules.get({module!r}), 'handed', None)"

_joined: _Joined | None = None
handed: _Handed | None = None
"""What this process hands on to its children."""


class _Handed:
    """What is handed on. To load it is to join; where `otel_progress` is not to be found, it becomes None."""

    def __init__(self, service_name: str | None) -> None:
        self.service_name = service_name

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        child_starts()
        code = _JOIN.format(root=_ROOT, module=__name__, service=self.service_name, here=environment_here())
        return eval, (_LOAD.format(code=code, module=__name__),)


def hand_on(folder: Path, service_name: str | None, writer: Writer) -> None:
    """Have the children of this process write to the record in `folder`, as it does by `writer`."""
    global handed
    os.environ[OTEL_PROGRESS_RECORD] = str(folder)
    handed = _Handed(service_name)
    # The one thing that a process of `multiprocessing` takes over from its parent, however it is started.
    config: dict[str, Any] = vars(multiprocessing.current_process()).get("_config", {})
    config[SCOPE] = handed
    _finish_with_children(writer)


def _finish_with_children(writer: Writer) -> None:
    """Note the end of children of `multiprocessing`, which have no exit handlers but its own."""
    multiprocessing.util.register_after_fork(writer, _finish_with_process)


def _finish_with_process(writer: Writer) -> None:
    multiprocessing.util.Finalize(None, writer.finish, exitpriority=-200)


def join(service_name: str | None = None) -> bool:
    """Write to the record that the variable names, if there is one, and none has been joined."""
    global _joined
    folder = os.environ.get(OTEL_PROGRESS_RECORD)
    if _joined is not None or not folder:
        return False
    place = Path(folder)
    with contextlib.suppress(OSError):  # As it is named now, wherever the program goes.
        place = place.absolute()
    _joined = _Joined(place, service_name)
    return True


def leave() -> None:
    """Write there no more: the process is about to make a record of its own."""
    global _joined
    if _joined is not None:
        _joined.leave()
        _joined = None


def join_as_child(service_name: str | None, here: dict[str, str] | None = None) -> None:
    """The same in a child of `multiprocessing`, which is to record what its parent does.

    `here` is what the environment is to say of where it was started: that of its own, which says something else where a
    server has started it.
    """
    global handed
    if here:
        put_into(os.environ, here)
    join(service_name)
    if _joined is not None:
        handed = _Handed(service_name)
        _finish_with_process(_joined.writer)  # Of a spawned one.
        _finish_with_children(_joined.writer)  # Of one that a server forks, and of its own.
        from .instrumented import instrument  # noqa: PLC0415 - it takes time, and other programs need it not

        instrument()


class _Joined:
    """A process in a record that it has not made."""

    def __init__(self, folder: Path, service_name: str | None) -> None:
        self._folder = folder
        self._given = service_name
        self._is_set_up = False
        self._setting_up = threading.RLock()
        self.writer = Writer(folder, self._service_name)
        recorder = default.recorder
        recorder.prepare = self.set_up
        self.writer.attach(recorder)

    def leave(self) -> None:
        """Be in it no more."""
        default.recorder.prepare = None
        default.remove_sink(self.writer.sink)

    def set_up(self) -> None:
        """Set up what exports spans and metrics, where the program has not."""
        if self._is_set_up:
            return
        with self._setting_up:  # Other threads begin runs only then.
            if not self._is_set_up:
                self._set_up()
                self._is_set_up = True

    def _set_up(self) -> None:
        try:
            from . import providers  # noqa: PLC0415 - the SDK is not needed before
            from .started import watch_what_is_started  # noqa: PLC0415
            from .unseen import hide_our_threads  # noqa: PLC0415

            providers.join(self._folder, self._given, is_child=multiprocessing.parent_process() is not None)
            read_environment()
            watch_what_is_started()
            hide_our_threads()
        except Exception as error:
            report("the telemetry cannot be set up: spans and metrics are not recorded", error)

    def _service_name(self) -> str:
        from . import providers  # noqa: PLC0415

        return providers.service(self._given)

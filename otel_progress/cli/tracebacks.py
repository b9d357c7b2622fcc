"""Tracebacks of what ends the program, as it would show them by itself: without our frames."""

from __future__ import annotations

import builtins
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from ..recording.raised import is_a, trace_of
from ..ways.signatures import MADE

_WRAPPERS = (str(Path(__file__).parents[1] / "ways" / "patches.py"), MADE)
"""What is put around the program's functions: never where an exception comes from."""
_OURS = (str(Path(__file__).parents[1]) + os.sep, MADE)
_SET: Any = BaseException.__dict__["__traceback__"].__set__
_CHAINED = [BaseException.__dict__[name].__get__ for name in ("__cause__", "__context__")]
_Group: Any = getattr(builtins, "BaseExceptionGroup", None)  # Since Python 3.11.
_MOST = 1000

Hook = Callable[[type[BaseException], BaseException, "TracebackType | None"], object]


def without_our_frames(hook: Hook, code: CodeType) -> Hook:
    """`hook`, shown tracebacks that begin with the program's own `code`."""

    def shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        own = trace
        while own is not None and own.tb_frame.f_code is not code:
            own = own.tb_next
        _SET(error, own or trace)
        _take_out(error)
        hook(kind, error, trace_of(error))

    return shown


def in_threads_too() -> None:
    """The same for what ends the program's threads: their hook is found when they begin."""
    hook = threading.excepthook

    def shown(args: Any) -> None:
        if args.exc_value is not None:
            _take_out(args.exc_value)
            args = threading.ExceptHookArgs((args.exc_type, args.exc_value, trace_of(args.exc_value), args.thread))
        hook(args)

    threading.excepthook = shown


def _take_out(error: BaseException) -> None:
    """Take our frames out of its traceback, and of those of what it came from or holds."""
    left, seen = [error], dict[int, BaseException]()
    while left and len(seen) < _MOST:
        each = left.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        _SET(each, _without(trace_of(each)))
        left += [found for get in _CHAINED if (found := get(each)) is not None]
        if _Group is not None and is_a(each, _Group):
            left += _Group.__dict__["exceptions"].__get__(each)


def _without(trace: TracebackType | None) -> TracebackType | None:
    frames: list[TracebackType] = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    kept = _theirs(frames)
    if len(kept) == len(frames):
        return frames[0] if frames else None
    made: TracebackType | None = None
    for each in reversed(kept):
        made = TracebackType(made, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return made


def _theirs(frames: Sequence[TracebackType]) -> list[TracebackType]:
    """The frames that are not ours, and the last ones that are where we have raised it ourselves."""
    files = [each.tb_frame.f_code.co_filename for each in frames]
    raised = len(frames)
    while raised and files[raised - 1].startswith(_OURS):
        raised -= 1
    return [
        each
        for number, (each, file) in enumerate(zip(frames, files, strict=True))
        if not file.startswith(_OURS) or (number >= raised and file not in _WRAPPERS)
    ]

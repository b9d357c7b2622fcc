"""What may not be done before Python 3.12 while the garbage collector runs: to change the current context."""

from __future__ import annotations

import contextvars
import functools
import gc
import operator
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DISTURBED = sys.version_info < (3, 12)
"""Before Python 3.12 the garbage collector may run in the middle of `ContextVar.set` and `.reset`, ours or anybody's. A
finalizer that then changes the same context (it closes a generator, or records a stage) crashes the interpreter. So the
collector waits while we change it, and while the collector runs we change nothing."""


class _Marked:
    """Has `runs` while the garbage collector does.

    `gc` calls `getattr(marked, "start" or "stop", ...)`, and the property of that name sets it. All of it is C: what
    the handler of a signal raises inside a callback that is written in Python is lost.
    """

    runs = False
    start = property(operator.methodcaller("__setattr__", "runs", True))
    stop = property(operator.methodcaller("__setattr__", "runs", False))


class _MarkedHere(_Marked, threading.local):
    """The same in the thread in which it runs."""


class Collector(_Marked):
    """The garbage collector: whether it `runs` in some thread, which is asked quickly, and whether it does `here`."""

    here = _MarkedHere()


collector = Collector()
if DISTURBED:
    gc.callbacks += [functools.partial(getattr, collector), functools.partial(getattr, collector.here)]


def aside(function: Callable[[T], object], argument: T) -> None:
    """Call what may change the current context; where the collector runs, in a copy of that context."""
    if collector.runs and collector.here.runs:
        contextvars.copy_context().run(function, argument)
    else:
        function(argument)

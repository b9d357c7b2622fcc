"""A fault of the instrumentation is said once and never reaches the workflow; what is no fault of ours passes.

Whatever runs between our own lines may raise there: the handler of a signal (the time limits of job queues), or another
thread by `PyThreadState_SetAsyncExc`. Such an exception belongs to the workflow and goes on to it.
"""

from __future__ import annotations

import functools
import logging
import signal
import sys
import traceback
from contextlib import AbstractContextManager
from inspect import getattr_static
from types import CodeType, FrameType, FunctionType, MethodType, TracebackType
from typing import Any, Generic, TypeVar, cast

from ..names import SCOPE
from .raised import is_a, module_of, trace_of, type_name
from .visible import LONGEST_TRACE, bounded, printable, visible

T = TypeVar("T")


class _Visible(logging.Filter):
    """What we log may hold text of the program or of a server: it shall not forge a line or command a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change what must be changed, and nothing else: handlers group by the message and its arguments."""
        message = record.getMessage()
        if (shown := visible(printable(message))) != message:
            record.msg, record.args = shown, ()
        if record.exc_info and record.exc_info[0] is not None:
            parts = traceback.format_exception(*record.exc_info)
            trace = bounded("".join(map(_indented, parts)), LONGEST_TRACE)
            shown = "\n".join(map(visible, trace.removesuffix("\n").split("\n")))
            if shown != "".join(parts).removesuffix("\n"):
                record.exc_text = shown  # Formatters take it for one that they have made before.
        return True


def _indented(part: str) -> str:
    """A part of a traceback; the further lines of a message do not look like lines of the log."""
    return part if part[:1] == " " else part.removesuffix("\n").replace("\n", "\n    ") + "\n"


logger = logging.getLogger(SCOPE)
logger.addFilter(_Visible())

_MOST = 1000  # A fault whose text never repeats must not grow memory without end.
_said: set[str] = set()

_SIGNALS = tuple(signal.valid_signals())
_OURS = frozenset({SCOPE, "opentelemetry"})
_OUR_KINDS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    StopIteration,
    SystemError,
    TypeError,
    ValueError,
)


def report(message: str, error: BaseException | None = None) -> None:
    """Log `message` as a warning, with the traceback of `error`, unless it was logged before."""
    try:
        key = message if error is None else f"{message} {type_name(error)}"
        if key in _said or len(_said) >= _MOST:
            return
        _said.add(key)
        logger.warning("%s", message, exc_info=error)
    except BaseException as fault:  # A broken logging set-up or a full stack must not harm the workflow either.
        if from_handler(fault):
            raise


def forget() -> None:
    """Let every fault be said again (for tests)."""
    _said.clear()


def from_handler(error: BaseException) -> bool:
    """Whether `error` was raised by the handler of a signal that came here, or is a KeyboardInterrupt.

    For places that call the workflow's own code (a store's methods, a `__str__`, a hook): all else that it raises ends
    here.
    """
    if is_a(error, KeyboardInterrupt):
        return True
    trace = trace_of(error)
    while trace is not None and (trace := trace.tb_next) is not None:
        if _is_handler(trace.tb_frame):
            return True
    return False


def _is_handler(frame: FrameType) -> bool:
    """Whether `frame` is that of a signal's handler: it is given the frame that it interrupts, which nothing else is.

    Which handlers are installed tells only of those that hold that frame no more (`del signum, frame`): many put
    another one back before they raise.
    """
    code, interrupted = frame.f_code, frame.f_back
    count = code.co_argcount + code.co_kwonlyargcount + 2  # And `*args`, `**kwargs`.
    given = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
    for value in [*given, *[each for some in given if type(some) is tuple for each in cast("Any", some)]]:
        if value is interrupted and interrupted is not None:
            return True
    return code in [_code_of(handler) for handler in map(signal.getsignal, _SIGNALS) if callable(handler)]


def _code_of(handler: Any) -> CodeType | None:
    while type(handler) is functools.partial:
        handler = cast("functools.partial[Any]", handler).func
    if type(handler) is not MethodType and type(handler) is not FunctionType:
        handler = getattr_static(cast("type[object]", type(handler)), "__call__", None)
    return getattr(handler, "__code__", None)  # A method has that of its function.


def passes(error: BaseException, *, theirs: bool = False) -> bool:
    """Whether `error` did not arise in our code, so that it has to go on to the workflow.

    For places that call our own code and the SDK's: these raise no exceptions but their own and the common ones. With
    `theirs` a sink or hook that others wrote may have raised it, whose exceptions of every kind end here.
    """
    if from_handler(error):
        return True
    kind = type(error)
    home = module_of(error).partition(".")[0]
    if home in _OURS or (home == "builtins" and issubclass(kind, _OUR_KINDS) and kind is not TimeoutError):
        return False
    trace = trace_of(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    return not theirs or where in _OURS or where in sys.stdlib_module_names


class Harmless(Generic[T]):
    """A context manager around code of the workflow whose own faults stay away from that code.

    Subclasses write `enter` and `leave`; `Opening`, which is entered for every call, `__enter__`, `__exit__` and `left`
    too. What begins and raises is reported, and the code runs without it; exceptions of the code itself pass through
    untouched. An exception that is no fault of ours passes too, and what had begun is left by it: so `leave` may come
    after half of an `enter`, and a second time.
    """

    __slots__ = ("_entered",)

    def enter(self) -> T:
        """Begin; what it returns is what `with ... as` gives."""
        raise NotImplementedError

    def leave(self, error: BaseException | None) -> None:
        """End, left by `error` if it is not None."""
        raise NotImplementedError

    def instead(self) -> T:
        """What `with ... as` gives where `enter` failed."""
        return cast("T", None)

    def got(self, value: object) -> None:
        """Note what the code returned."""

    def returned(self, value: object) -> None:
        """Note what the code returned; a fault of that is reported."""
        try:
            self.got(value)
        except BaseException as error:
            if passes(error):
                raise
            report(f"{type(self).__name__} could not note what was returned", error)

    def __enter__(self) -> T:
        self._entered = False
        try:
            value = self.enter()
            self._entered = True
            return value
        except BaseException as error:
            return self.not_begun(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._entered:
            return
        try:
            self._entered = False
            self.leave(error)
        except BaseException as fault:
            self.not_ended(error, fault)

    def left(self, error: BaseException) -> None:
        """To be called where `error` has left the `with` block: `__exit__` need not have run.

        Python delivers a signal at the first instruction of a function, so at that of `__exit__`, where nothing there
        can guard.
        """
        if getattr(self, "_entered", False):
            self.leave(error)

    def not_begun(self, fault: BaseException) -> T:
        """What `with ... as` gives after `fault`, unless that is none of ours."""
        if passes(fault):
            self.leave(fault)
            raise fault
        report(f"{type(self).__name__} could not begin; the workflow goes on unrecorded", fault)
        return self.instead()

    def not_ended(self, error: BaseException | None, fault: BaseException) -> None:
        """Report `fault`, unless it is none of ours."""
        if passes(fault):
            self.leave(error)
            raise fault
        report(f"{type(self).__name__} could not end; the workflow goes on", fault)


class AlsoAsync:
    """`async with` for what has `with`: it waits for nothing."""

    async def __aenter__(self: AbstractContextManager[T]) -> T:
        return self.__enter__()

    async def __aexit__(
        self: AbstractContextManager[Any],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

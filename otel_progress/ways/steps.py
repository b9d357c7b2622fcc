"""Recording what runs on after its call: generators of both kinds by their steps, and what a plain function makes."""

from __future__ import annotations

import inspect
import sys
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, cast

from ..names import Result
from ..recording.context import attach
from ..recording.faults import passes, report
from .opening import Opening
from .signatures import signed

GENERATOR = """
def call({declared}):
    with __begin__(__function__({given}), {shared}) as __steps__:
        while __steps__.take():
            try:
                __steps__.sent((yield __steps__.given.pop()))
            except BaseException as __error__:
                __steps__.thrown(__error__)
        return __steps__.value
"""
ASYNC_GENERATOR = """
async def call({declared}):
    with __begin__(__function__({given}), {shared}) as __steps__:
        while await __steps__.take():
            try:
                __steps__.sent((yield __steps__.given.pop()))
            except BaseException as __error__:
                __steps__.thrown(__error__)
"""
_Generator = Generator[Any, Any, Any]
_AsyncGenerator = AsyncGenerator[Any, Any]


class _Steps:
    """A generator of either kind on its way: what its wrapper asks for between two yields."""

    _step: Callable[[Any], Any]
    _send: Callable[[Any], Any]
    _throw: Callable[[Any], Any]

    def __init__(self, whole: Opening[Any]) -> None:
        self._whole = whole
        self._value: Any = None
        self.given: list[Any] = []
        """What the last step has given, to be taken out: it is the caller's."""
        self.value: Any = None
        """What the generator has returned."""

    def __enter__(self) -> _Steps:
        self._whole.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._whole.__exit__(*error)

    def skip(self) -> None:
        """The first step has been taken by others, and what it has given too."""
        self._step = _nothing

    def sent(self, value: Any) -> None:
        """The next step takes `value`."""
        self._step, self._value, self._whole.closed = self._send, value, False

    def thrown(self, error: BaseException) -> None:
        """The next step takes `error`.

        Also a GeneratorExit, which a `close` or a `throw` may have sent: what the inner generator makes of it is right
        for both, as Python itself objects to a `yield` in answer to a `close`.
        """
        self._step, self._value, self._whole.closed = self._throw, error, isinstance(error, GeneratorExit)


class Steps(_Steps):
    """A generator."""

    def __init__(self, whole: Opening[Any], inner: _Generator) -> None:
        super().__init__(whole)
        self._step = self._send = inner.send
        self._throw = inner.throw

    def take(self) -> bool:
        """Take the next step; False where there was none."""
        value, self._value = self._value, None
        with self._whole.step():
            try:
                self.given.append(self._step(value))
            except StopIteration as stop:
                self.value = stop.value
                return False
            finally:
                value = None  # It may be an exception, which holds this frame.
        return True


class AsyncSteps(_Steps):
    """An async generator."""

    def __init__(self, whole: Opening[Any], inner: _AsyncGenerator) -> None:
        super().__init__(whole)
        self._step, self._send, self._throw = _first_step(inner), inner.asend, inner.athrow

    async def take(self) -> bool:
        """Take the next step; False where there was none."""
        value, self._value = self._value, None
        with self._whole.step():
            try:
                self.given.append(await self._step(value))
            except StopAsyncIteration:
                return False
            finally:
                value = None  # As above.
        return True


def _nothing(_value: Any) -> None:
    """A step that is none."""


def _first_step(steps: _AsyncGenerator) -> Callable[[Any], Any]:
    """The first step of an inner async generator, kept from the event loop's list of generators to close.

    The outer one is on that list and closes the inner; the loop closing both at once would fail.
    """

    def asend(value: Any) -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            return steps.asend(value)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    return asend


# --- what a plain function makes --------------------------------------------------------------------------------------


class _Going(Opening[Any]):
    """What a call has opened and left open for what it has made."""

    __slots__ = ("_begun", "_inner")

    _begun: bool
    _inner: Any

    def __enter__(self) -> None:
        self._begun = True
        try:
            if not self._stepwise and self.recorded is not None:
                self._made_current = self.recorded.context
                self._token = attach(self._made_current)
        except BaseException as error:
            self.not_begun(error)

    def hold(self, inner: Any) -> _Going:
        """Last as long as `inner`, or until that is dropped if it is None."""
        self._begun, self._inner = False, inner
        return self

    def take(self) -> Any:
        """What it lasts as long as; it is held no longer."""
        inner, self._inner = self._inner, None
        return inner

    def done(self, future: Any) -> None:
        """The future is done."""
        self._begun = True
        try:
            if self.recorded is not None:
                self.recorded.recorder.end(self.recorded, *_outcome_of(future))
        except BaseException as fault:
            if passes(fault):
                raise
            report("what a function has returned could not be recorded", fault)

    def __del__(self) -> None:
        # What was made has been dropped before its first step, or before it was done.
        if self._begun:
            return
        self._begun = True
        if self._inner is not None:
            self._inner.close()  # That nobody has awaited it is said of the one around it.
        self.__exit__(GeneratorExit, GeneratorExit(), None)


def go_on(whole: Opening[Any], made: list[Any]) -> None:
    """Record what a plain function has made to its end where that runs on: it is replaced in `made`, or watched.

    What others hold as well, weakly too, is left alone: it is theirs to go on with, or to drop.
    """
    try:
        kind = cast("type[object]", type(made[0]))
        record = _RECORDED.get(kind) or (_future if issubclass(kind, _futures()) else None)
        if record is None or whole.recorded is None:
            return
        # Two are the list's and that of this very call.
        if record is _future or (sys.getrefcount(made[0]) == 2 and not weakref.getweakrefcount(made[0])):
            made[0] = record(whole, made[0])
    except BaseException as error:
        if passes(error):
            raise
        report("what a function has returned could not be recorded", error)


def _going(whole: Opening[Any], inner: Any, *, stepwise: bool = False) -> _Going:
    return whole.hand_on(_Going, stepwise).hold(inner)


def _named(outer: Any, inner: Any) -> Any:
    outer.__name__, outer.__qualname__ = inner.__name__, inner.__qualname__
    return outer


async def _awaited(going: _Going) -> Any:
    inner = going.take()
    with going:
        return await inner


def _coroutine(whole: Opening[Any], inner: types.CoroutineType[Any, Any, Any]) -> Any:
    if inspect.getcoroutinestate(inner) != inspect.CORO_CREATED:
        return inner
    return _named(_awaited(_going(whole, inner)), inner)


def _over(steps: _Steps) -> _Steps:
    return steps


def _as_it_is(steps: _Steps, _shared: None) -> _Steps:
    return steps


_over_generator = signed(GENERATOR, _over, __begin__=_as_it_is)
_over_async_generator = signed(ASYNC_GENERATOR, _over, __begin__=_as_it_is)
_over_awaitable = types.coroutine(signed(GENERATOR, _over, __begin__=_as_it_is))


def _generator(whole: Opening[Any], inner: types.GeneratorType[Any, Any, Any]) -> Any:
    state = inspect.getgeneratorstate(inner)
    if state not in (inspect.GEN_CREATED, inspect.GEN_SUSPENDED):
        return inner
    make = _over_awaitable if inner.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE else _over_generator
    steps = Steps(_going(whole, None, stepwise=True), inner)
    outer = _named(make(steps), inner)
    if state == inspect.GEN_SUSPENDED:
        steps.skip()
        next(outer)
    return outer


def _async_generator(whole: Opening[Any], inner: types.AsyncGeneratorType[Any, Any]) -> Any:
    return _named(_over_async_generator(AsyncSteps(_going(whole, None, stepwise=True), inner)), inner)


def _future(whole: Opening[Any], future: Any) -> Any:
    going = _going(whole, None)
    if future.done():
        going.done(future)
    else:
        future.add_done_callback(going.done)
    return future


_RECORDED: dict[type, Callable[[Opening[Any], Any], Any]] = {
    types.CoroutineType: _coroutine,
    types.GeneratorType: _generator,
    types.AsyncGeneratorType: _async_generator,
}


def _futures() -> tuple[type, ...]:
    """The kinds of futures; where nobody has imported them there are none."""
    modules = sys.modules.get("asyncio"), sys.modules.get("concurrent.futures")
    return tuple(kind for module in modules if isinstance(kind := getattr(module, "Future", None), type))


class CancelledError(BaseException):
    """That of asyncio by another name, for it need not be imported."""


def _outcome_of(future: Any) -> tuple[BaseException | None, Result | None]:
    if future.cancelled():
        return CancelledError(), "cancelled"
    # Where it can be helped, it is not asked by `exception()`: asyncio would take it that somebody has seen it.
    error: BaseException | None = getattr(future, "_exception", None)
    return future.exception() if error is None else error, None

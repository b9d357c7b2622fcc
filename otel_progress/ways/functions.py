"""Recording functions of every kind: plain ones, coroutine functions, generator and async generator functions."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, cast

from ..recording.call import Call
from ..recording.store import found_store, name_of, type_of
from .opening import Opening, Scope

_Opener = Callable[[tuple[Any, ...], dict[str, Any]], Opening[Any]]


def decorated(scope: Scope[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with every call recorded. Its kind is found once, here."""
    inner = _unwrap_partial(function)
    name = scope.name or name_of(getattr(inner, "__name__", type(inner).__name__))
    module, qualname = getattr(inner, "__module__", ""), getattr(inner, "__qualname__", name)
    code = scope.code._replace(name=name, function=name_of(f"{module}.{qualname}" if module else qualname))
    position, given = _position_of_shared(function), scope.shared

    def opening(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opening[Any]:
        shared = args[position] if 0 <= position < len(args) else kwargs.get("shared")
        if shared is not None and type_of(shared) is not dict:
            shared = found_store(shared)
        return Opening(scope, Call(code, given if shared is None else shared), stepwise)

    stepwise = False
    if inspect.iscoroutinefunction(function) or _is_awaited(function):
        wrapper = _coroutine(function, opening)
    elif inspect.isasyncgenfunction(function):
        wrapper, stepwise = _async_generator(function, opening), True
    elif inspect.isgeneratorfunction(function):
        wrapper, stepwise = _generator(function, opening), True
    else:
        wrapper = _plain(function, opening)
    return functools.wraps(function)(wrapper)


def _is_awaited(function: Any) -> bool:
    """Whether `function` is a coroutine function of a kind that `inspect` does not name."""
    code = getattr(function, "__code__", None)
    by_flag = code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return by_flag or inspect.iscoroutinefunction(getattr(cast("object", type(function)), "__call__", None))  # noqa: B004


def _unwrap_partial(function: Any) -> Any:
    return function.func if isinstance(function, functools.partial) else function


def _plain(function: Callable[..., Any], opening: _Opener) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        recording = opening(args, kwargs)
        try:
            with recording:
                return function(*args, **kwargs)
        except BaseException as error:
            recording.left(error)
            raise

    return call


def _coroutine(function: Callable[..., Any], opening: _Opener) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        recording = opening(args, kwargs)
        try:
            with recording:
                return await function(*args, **kwargs)
        except BaseException as error:
            recording.left(error)
            raise

    return call


def _generator(function: Callable[..., Any], opening: _Opener) -> Callable[..., Any]:
    def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = cast("Generator[Any, Any, Any]", function(*args, **kwargs))
        with (whole := opening(args, kwargs)):
            step: Callable[[Any], Any] = inner.send
            value: Any = None
            while True:
                with whole.step():
                    try:
                        given = [step(value)]
                    except StopIteration as stop:
                        return stop.value
                    finally:
                        value = None  # It may be an exception, which holds this frame.
                try:
                    value = yield given.pop()  # Not kept: it is the caller's.
                except BaseException as error:
                    # Also a GeneratorExit, which a `close` or a `throw` may have sent: what the inner generator makes
                    # of it is right for both, as Python itself objects to a `yield` in answer to a `close`.
                    step, value, whole.closed = inner.throw, error, isinstance(error, GeneratorExit)
                else:
                    step, whole.closed = inner.send, False

    return steps


def _async_generator(function: Callable[..., Any], opening: _Opener) -> Callable[..., Any]:
    async def steps(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = cast("AsyncGenerator[Any, Any]", function(*args, **kwargs))
        with (whole := opening(args, kwargs)):
            step: Callable[[Any], Any] = functools.partial(_first_step, inner)
            value: Any = None
            while True:
                with whole.step():
                    try:
                        given = [await step(value)]
                    except StopAsyncIteration:
                        return
                    finally:
                        value = None  # It may be an exception, which holds this frame.
                try:
                    value = yield given.pop()  # Not kept: it is the caller's.
                except BaseException as error:  # As in `_generator`.
                    step, value, whole.closed = inner.athrow, error, isinstance(error, GeneratorExit)
                else:
                    step, whole.closed = inner.asend, False

    return steps


def _first_step(steps: AsyncGenerator[Any, Any], value: Any) -> Any:
    """The first step of an inner async generator, kept from the event loop's list of generators to close.

    The outer one is on that list and closes the inner; the loop closing both at once would fail.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return steps.asend(value)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _position_of_shared(function: Callable[..., Any]) -> int:
    """Where the argument named `shared` is among those given by position; -1 where it is not."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    for index, parameter in enumerate(parameters):
        if parameter.name == "shared" and parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            return index
    return -1

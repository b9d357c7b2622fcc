"""Recording functions of every kind: plain ones, coroutine functions, generator and async generator functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from ..recording.call import Call
from ..recording.store import found_store, name_of, type_of
from .opener import Opener
from .opening import Opening
from .signatures import signed
from .steps import ASYNC_GENERATOR, GENERATOR, AsyncSteps, Steps, go_on

# Into these `signed` puts the parameters, how they are handed on, and the argument named `shared`, if any. `__whole__`
# is the `Opening` that `opening` below gives: `with` enters and ends it, and `left` ends it where a signal's handler
# raises before `__exit__` has begun. What is made is in a list, so that `go_on` can replace it.
_PLAIN = """
def call({declared}):
    __whole__ = __opening__({shared})
    try:
        with __whole__:
            __made__ = [__function__({given})]
            if type(__made__[0]) not in __data__:
                __go_on__(__whole__, __made__)
            return __made__[0]
    except BaseException as __error__:
        __whole__.left(__error__)
        raise
"""
_COROUTINE = """
async def call({declared}):
    __whole__ = __opening__({shared})
    try:
        with __whole__:
            return await __function__({given})
    except BaseException as __error__:
        __whole__.left(__error__)
        raise
"""
_DATA = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""What a function mostly returns, none of which runs on."""


def decorated(
    opener: Opener[Any], function: Callable[..., Any], *, name: str | None = None, node: object = None
) -> Callable[..., Any]:
    """`function` with every call recorded. Its kind is found once, here; what a plain one makes, at every call.

    `name` is for an opener that has none; `node` is the object whose method it is, if that is what is recorded.
    """
    inner = _unwrap_partial(function)
    name = opener.name or name_of(name or getattr(inner, "__name__", type(inner).__name__))
    module, qualname = getattr(inner, "__module__", ""), getattr(inner, "__qualname__", type(inner).__qualname__)
    is_awaited = inspect.iscoroutinefunction(function) or _is_awaited(function)
    stepwise = not is_awaited and (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function))
    function_name = name_of(f"{module}.{qualname}" if module else qualname)
    code = replace(opener.code, name=name, function=function_name, in_one_go=not is_awaited and not stepwise)
    given = opener.shared

    def opening(shared: Any) -> Opening[Any]:
        if shared is not None and type_of(shared) is not dict:  # Which gives back a dict as it is: mostly it is one.
            shared = found_store(shared)
        return Opening(opener, Call(code, given if shared is None else shared, node), stepwise)

    if is_awaited:
        wrapper = signed(_COROUTINE, function, __opening__=opening)
    elif not stepwise:
        wrapper = signed(_PLAIN, function, __opening__=opening, __data__=_DATA, __go_on__=go_on)
    else:
        template, kind = (GENERATOR, Steps) if inspect.isgeneratorfunction(function) else (ASYNC_GENERATOR, AsyncSteps)

        def steps(made: Any, shared: Any) -> Steps | AsyncSteps:
            return kind(opening(shared), made)

        wrapper = signed(template, function, __begin__=steps)
    # Of what has none of these, as a partial; else `wraps` puts in the function's own.
    wrapper.__name__, wrapper.__qualname__ = getattr(inner, "__name__", name), qualname
    return functools.wraps(function)(wrapper)


def _is_awaited(function: Any) -> bool:
    """Whether `function` is a coroutine function of a kind that `inspect` does not name."""
    code = getattr(function, "__code__", None)
    by_flag = code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return by_flag or inspect.iscoroutinefunction(getattr(cast("object", type(function)), "__call__", None))  # noqa: B004


def _unwrap_partial(function: Any) -> Any:
    return function.func if isinstance(function, functools.partial) else function

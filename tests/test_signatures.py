"""A decorated function has the parameters of what it wraps, and refuses what does not fit as that would."""

from __future__ import annotations

import functools
import gc
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pocketflow import AsyncNode, Node

from otel_progress import PocketFlowInstrumentor, stage

from .conftest import Telemetry
from .test_generators import awaited


def a_function(one: int, /, value: int, call: int = 3, *args: int, only: int, other: int = 6, **more: int) -> Any:
    return [one, value, call, args, only, other, more]


def a_generator(one: int, /, value: int, call: int = 3, *args: int, only: int, other: int = 6, **more: int) -> Any:
    yield [one, value, call, args, only, other, more]


async def an_async_generator(
    one: int, /, value: int, call: int = 3, *args: int, only: int, other: int = 6, **more: int
) -> AsyncGenerator[Any]:
    yield [one, value, call, args, only, other, more]


async def a_coroutine(
    one: int, /, value: int, call: int = 3, *args: int, only: int, other: int = 6, **more: int
) -> list[Any]:
    return [one, value, call, args, only, other, more]


class Methods:
    """The same as methods."""

    async def a_coroutine(self, value: int, *, only: int = 2) -> int:
        return value + only

    def a_generator(self, value: int, *, only: int = 2) -> Generator[int]:
        yield value + only


KINDS: list[Callable[..., Any]] = [a_function, a_generator, an_async_generator, a_coroutine]
ODD: list[Callable[..., Any]] = [
    Methods().a_coroutine,
    Methods().a_generator,
    *(functools.partial(kind, 1, only=2) for kind in KINDS),
    functools.partial(functools.partial(Methods().a_coroutine), only=1),
]


def finished(made: Any) -> Any:
    if inspect.isgenerator(made):
        return next(made)
    if isinstance(made, list):
        return made
    return awaited(anext(made) if inspect.isasyncgen(made) else made)


def outcome(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call raises, or what its first step gives."""
    try:
        made = function(*args, **kwargs)
    except TypeError as error:
        return error.args if inspect.isfunction(function) else TypeError
    return finished(made)


arguments = st.tuples(
    st.lists(st.integers(0, 9), max_size=5).map(tuple),
    st.dictionaries(st.sampled_from(["one", "value", "call", "only", "other", "shared", "extra"]), st.integers(0, 9)),
)


@pytest.mark.parametrize("function", [*KINDS, *ODD], ids=str)
@settings(max_examples=60, deadline=None)
@given(call=arguments)
def test_arguments_arrive_or_are_refused_at_the_call(
    function: Callable[..., Any], call: tuple[tuple[int, ...], dict[str, int]]
) -> None:
    decorated = outcome(stage("a")(function), *call)
    if isinstance(decorated, tuple) and not inspect.isfunction(function):
        decorated = TypeError  # In other words: it counts no `self`, for one.
    assert decorated == outcome(function, *call)


class Default:
    """Compared by identity."""


DEFAULT = Default()


def many_kinds() -> list[Callable[..., Any]]:
    def nothing() -> None: ...
    def positional_only(a: int, b: int = 1, /) -> None: ...
    def keyword_only(*, a: Any = DEFAULT, shared: Any = None) -> None: ...
    def any_positional(*shared: int) -> None: ...
    def any_keyword(**shared: int) -> None: ...
    def dunders(__call__: int, _a: int, __function__: int = 1) -> None: ...

    @functools.wraps(a_coroutine)
    def lies(*args: Any, **kwargs: Any) -> Any: ...

    def says() -> None: ...

    says.__signature__ = inspect.signature(a_function)  # type: ignore[attr-defined]

    class Mangled:
        async def method(self, *, __private: int, shared: Any = DEFAULT) -> None: ...

    return [nothing, positional_only, keyword_only, any_positional, any_keyword, dunders, lies, says, Mangled.method]


@pytest.mark.parametrize("function", [*KINDS, *many_kinds(), *ODD, Methods.a_coroutine, divmod], ids=str)
def test_whoever_asks_for_the_parameters_gets_the_true_ones(function: Any) -> None:
    decorated: Any = stage("a")(function)
    assert inspect.signature(decorated) == inspect.signature(function)
    assert decorated.__wrapped__ is function
    if isinstance(function, functools.partial) and inspect.isfunction(
        function.func
    ):  # A function has annotations of its own, or none.
        own = inspect.getfullargspec(function)._replace(annotations={})
        assert inspect.getfullargspec(decorated) == own
    if inspect.isfunction(function):
        assert inspect.getfullargspec(decorated) == inspect.getfullargspec(function)
    if inspect.isfunction(function) and function.__name__ != "dunders":  # Whose wrapper takes any arguments.
        assert decorated.__defaults__ == function.__defaults__
        assert decorated.__kwdefaults__ == function.__kwdefaults__
        assert inspect.signature(decorated, follow_wrapped=False) == inspect.signature(function, follow_wrapped=False)
        assert inspect.signature(decorated, eval_str=True) == inspect.signature(function, eval_str=True)


@pytest.mark.parametrize("function", KINDS)
def test_getcallargs_binds_as_undecorated(function: Callable[..., Any]) -> None:
    bind: Any = vars(inspect)["getcallargs"]  # Out of date, and asked for all the same.
    decorated = stage("a")(function)
    assert bind(decorated, 1, 2, 3, 4, only=5, more=6) == bind(function, 1, 2, 3, 4, only=5, more=6)


def test_names_that_the_wrapper_needs_itself() -> None:
    def function(__function__: int, __whole__: int) -> tuple[int, int]:
        return __function__, __whole__

    assert stage("a")(function)(1, __whole__=2) == (1, 2)


def test_names_that_only_a_program_can_give() -> None:
    def function(a: int, b: int) -> int:
        return a + b

    odd = types.FunctionType(function.__code__.replace(co_varnames=("not a name", "class")), {})
    assert stage("a")(odd)(1, 2) == 3


@pytest.mark.parametrize("kind", ["isgenerator", "isasyncgen", "iscoroutine"])
def test_calls_and_functions_stay_of_their_kind(telemetry: Telemetry, kind: str) -> None:
    function = dict(zip(["isgenerator", "isasyncgen", "iscoroutine"], KINDS[1:], strict=True))[kind]
    decorated: Any = stage("a")(function)
    assert getattr(inspect, f"{kind}function")(decorated)
    made = decorated(1, 2, only=5)
    assert getattr(inspect, kind)(made)
    if kind == "iscoroutine":
        made.close()
    assert telemetry.spans() == []


def test_a_coroutine_that_is_never_awaited_warns_once(telemetry: Telemetry) -> None:
    with pytest.warns(RuntimeWarning) as warned:
        made: Any = stage("a")(a_coroutine)(1, 2, only=5)
        del made
        gc.collect()
    assert [str(each.message) for each in warned] == ["coroutine 'a_coroutine' was never awaited"]


def found_by(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether the store that a call is given is found."""
    store: dict[str, Any] = {}
    finished(stage("a")(function)(*[store if each is ... else each for each in args], **kwargs) or [])
    if not args:
        return "progress_metrics" in kwargs.get("shared", {})
    return "progress_metrics" in store


def test_the_argument_named_shared_is_found_wherever_it_stands(telemetry: Telemetry) -> None:
    def by_position(one: int, shared: Any) -> None: ...
    def only_by_position(shared: Any, /) -> None: ...
    def by_name(*, shared: Any) -> None: ...
    def in_the_rest(**rest: Any) -> None: ...
    async def awaited_(one: int, shared: Any = None) -> None: ...
    def steps(one: int, shared: Any = None) -> Generator[int]:
        yield 1

    @functools.wraps(by_position)
    def handing_on(*args: Any, **kwargs: Any) -> None: ...
    @functools.wraps(by_position)
    def handing_the_rest_on(one: int, *rest: Any) -> None: ...
    def another_name(one: int, store: Any) -> None: ...

    assert found_by(by_position, 1, ...)
    assert found_by(only_by_position, ...)
    assert found_by(by_name, shared={})
    assert found_by(in_the_rest, shared={})
    assert found_by(awaited_, 1, ...)
    assert found_by(steps, 1, ...)
    assert found_by(handing_on, 1, ...)
    assert found_by(handing_the_rest_on, 1, ...)
    assert found_by(functools.partial(by_position, 1), ...)
    assert not found_by(another_name, 1, ...)


class Called:
    def __call__(self, one: int, *, two: int = 2) -> int:
        return one


class Awaited:
    async def __call__(self, one: int, *, two: int = 2) -> int:
        return one


class Plain(Node):
    def exec(self, prep_res: Any, more: int = 1) -> Any:
        return prep_res


class Waits(AsyncNode):
    async def exec_async(self, prep_res: Any, more: int = 1) -> Any:
        return prep_res


class Driven:
    def prep(self, shared: Any) -> Any: ...

    async def exec(self, prep_res: Any, more: int = 1) -> Any:
        return prep_res

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any: ...


def test_methods_of_nodes_and_objects_keep_theirs(telemetry: Telemetry) -> None:
    """Of coroutine functions too what does not fit is refused at the call, in Python's own words."""

    def told() -> list[Any]:
        asked = list[Any]()
        for method in methods():
            with pytest.raises(TypeError) as refused:
                method()
            bound = inspect.getcallargs(method, 1)  # pyright: ignore[reportDeprecated]
            asked.append((inspect.getfullargspec(method), bound, str(refused.value)))
            asked.append(inspect.iscoroutinefunction(method))
        return asked

    called, waiting, driven = Called(), Awaited(), Driven()
    plain, waits = Plain(), Waits()

    def methods() -> list[Any]:
        return [called.__call__, waiting.__call__, plain.exec, waits.exec_async, driven.exec]

    def without_selves(asked: list[Any]) -> list[Any]:
        return [each if isinstance(each, bool) else (each[0], {**each[1], "self": None}, each[2]) for each in asked]

    before = without_selves(told())
    called, waiting = stage("called")(called), stage("awaited")(waiting)
    stage("driven")(Driven)
    PocketFlowInstrumentor().instrument()
    try:
        assert without_selves(told()) == before
    finally:
        PocketFlowInstrumentor().uninstrument()

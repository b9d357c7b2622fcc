"""Objects that are called: they stay what they are, and every call is a visit."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from otel_progress import stage

from .conftest import Telemetry


class Add:
    """A callable object with state."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, other: int, *, shared: Any = None) -> int:
        return self.number + other


class Slotted:
    """One without a `__dict__`."""

    __slots__ = ("number",)

    def __call__(self) -> int:
        return 7


class Later:
    """One that is awaited."""

    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        return number + 1


class Runnable:
    """As those of LangChain: the one calls the other."""

    name = "run it"

    def invoke(self, state: int) -> int:
        return state + 1

    async def ainvoke(self, state: int) -> int:
        return self.invoke(state)


def names(telemetry: Telemetry) -> list[str]:
    return [span.name for span in telemetry.spans("stage")]


def test_a_callable_object_stays_itself(telemetry: Telemetry) -> None:
    add = Add(1)
    recorded = stage("add")(add)
    assert (recorded(2), recorded.number, isinstance(recorded, Add), type(recorded).__name__) == (3, 1, True, "Add")
    recorded.number = 7
    assert (add(2), Add(5)(1)) == (9, 6)  # What is not decorated is not recorded.
    assert names(telemetry) == ["stage add"]
    assert (telemetry.spans("stage")[0].attributes or {})["code.function.name"].endswith("Add.__call__")  # type: ignore[union-attr]


def test_whoever_asks_for_its_parameters_gets_the_true_ones(telemetry: Telemetry) -> None:
    assert inspect.signature(stage(Add(1))) == inspect.signature(Add(1))
    with pytest.raises(TypeError, match=r"Add.__call__\(\) missing 1 required positional argument: 'other'"):
        stage(Add(1))()  # type: ignore[call-arg]


def test_the_last_decorator_counts(telemetry: Telemetry) -> None:
    add = stage("second")(stage("first")(Add(1)))
    assert (add(2), names(telemetry), len(type(add).__mro__)) == (3, ["stage second"], 3)


def test_its_store_is_found(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    assert stage(Add(1))(2, shared=shared) == 3
    assert list(shared["progress_metrics"]) == ["Add"]


def test_one_with_slots_and_one_that_is_awaited(telemetry: Telemetry) -> None:
    assert stage(Slotted())() == 7
    assert asyncio.run(stage(Later())(1)) == 2
    assert names(telemetry) == ["stage Slotted", "stage Later"]


def test_a_runnable_is_one_visit_whichever_way_it_is_called(telemetry: Telemetry) -> None:
    runnable = stage(Runnable())
    assert (runnable.invoke(1), asyncio.run(runnable.ainvoke(1))) == (2, 2)
    assert names(telemetry) == ["stage run it", "stage run it"]


def test_a_copy_and_what_was_pickled_are_as_before(telemetry: Telemetry) -> None:
    add = stage("add")(Add(1))
    for other in (copy.copy(add), copy.deepcopy(add), pickle.loads(pickle.dumps(add))):
        assert (type(other), other.number, other(2)) == (Add, 1, 3)
    assert names(telemetry) == []


class OfAFramework:
    """What a decorator of a framework makes of a function: others call the function itself, or hand it on."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self) -> Any:
        return self.fn()


def test_above_the_decorator_of_a_framework_it_says_where_to_stand() -> None:
    with pytest.raises(TypeError, match=r'write @stage\("x"\) below what makes a OfAFramework'):

        @stage("x")
        @OfAFramework
        def work() -> None: ...

    with pytest.raises(TypeError, match=r"write @stage below what makes a OfAFramework"):

        @stage
        @OfAFramework
        def look() -> None: ...


def test_what_cannot_be_changed_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(TypeError, match=r"a itemgetter cannot be recorded itself .* write @stage"):
        stage(operator.itemgetter(1))
    with pytest.raises(TypeError, match="write @stage below what makes a _lru_cache_wrapper"):
        stage(functools.lru_cache(lambda: 1))


def test_a_call_that_belongs_to_the_class(telemetry: Telemetry) -> None:
    class Static:
        @staticmethod
        def __call__(number: int) -> int:
            return number + 1

    class OfClass:
        @classmethod
        def __call__(cls, number: int) -> tuple[str, int]:
            return cls.__name__, number

    assert (stage("s")(Static())(1), stage("c")(OfClass())(1)) == (2, ("OfClass", 1))
    assert len(telemetry.spans("stage")) == 2


def test_what_an_object_does_at_its_end_it_does_once_and_when_nobody_has_either(telemetry: Telemetry) -> None:
    class Client:
        def __init__(self) -> None:
            self.open, self.closed = True, []

        def __call__(self) -> bool:
            return self.open

        def __del__(self) -> None:
            self.open = False
            closed.append(self)

    closed: list[Client] = []
    client = stage("ask")(Client())
    gc.collect()
    assert (client(), closed) == (True, [])
    del client
    gc.collect()
    assert len(closed) == 1


def test_one_whose_copy_is_itself_is_left_alone() -> None:
    class Only:
        only: Only | None = None

        def __new__(cls) -> Only:
            cls.only = cls.only or super().__new__(cls)
            return cls.only

        def __call__(self) -> None: ...

    with pytest.raises(TypeError, match="its copy is itself"):
        stage("only")(Only())
    assert type(Only()) is Only

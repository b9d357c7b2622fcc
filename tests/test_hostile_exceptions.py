"""Exceptions whose own methods fail, lie or never end: each ends its run, and reaches the program as it is."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pocketflow import Flow, Node

from otel_progress import stage, workflow

from .conftest import Telemetry


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("refused")


def leave(*_: Any, **__: Any) -> Any:
    raise SystemExit("refused")


def text(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


class Metaclass(type):
    """One that answers nothing of itself, but for `__subclasscheck__`, which `raise` itself asks."""

    __module__: Any = property(refuse)  # type: ignore[assignment]

    def __instancecheck__(cls, instance: Any) -> bool:
        return refuse()

    def __eq__(cls, other: object) -> bool:
        return refuse()

    def __hash__(cls) -> int:
        return refuse()


class Nameless(type):
    """One whose classes have no proper name."""

    __name__: Any = property(refuse)  # type: ignore[assignment]


class Sly(type):
    """One whose classes are named by something else than a text."""

    __name__: Any = property(lambda _: 7)  # type: ignore[assignment]
    __module__: Any = property(lambda _: 7)  # type: ignore[assignment]


class Text(str):
    """A text of its own kind."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return refuse()

    def isascii(self) -> bool:
        return refuse()


METHODS = [
    "__str__", "__repr__", "__eq__", "__hash__", "__bool__", "__len__", "__getattribute__", "__setattr__", "__reduce__",
    "__format__", "__iter__", "__dir__", "with_traceback", "add_note", "__sizeof__", "__ne__",
]  # fmt: skip
PROPERTIES = [
    "__class__",
    "__dict__",
    "__traceback__",
    "__cause__",
    "__context__",
    "__notes__",
    "args",
    "code",
    "errno",
]


def made(name: str, base: Any = Exception, kind: Any = type, **members: Any) -> BaseException:
    """An exception of a class of its own."""
    error: BaseException = kind(name, (base,), members)()
    return error


def circular() -> BaseException:
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__, one.__context__ = two, one, two
    return one


def nested(depth: int = 3000) -> BaseException:
    error: BaseException = ValueError()
    for _ in range(depth):
        outer = ValueError()
        outer.__cause__, error = error, outer
    return error


def with_notes(notes: Any) -> BaseException:
    error = ValueError()
    error.__dict__["__notes__"] = notes
    return error


def group() -> BaseException:
    kind = getattr(builtins, "ExceptionGroup", lambda *_: ValueError())
    return kind("many", [ValueError(number) for number in range(3)])


HOSTILE: dict[str, Callable[[], BaseException]] = {
    **{name: lambda name=name: made(name, **{name: refuse}) for name in METHODS},
    **{f"{name} leaves": lambda name=name: made(name, **{name: leave}) for name in METHODS[:4]},
    **{f"property {name}": lambda name=name: made(name, **{name: property(refuse)}) for name in PROPERTIES},
    "text None": lambda: made("E", __str__=text(None)),
    "text surrogate": lambda: made("E", __str__=text("\ud800")),
    "text long": lambda: made("E", __str__=text("x" * 10_000_000)),
    "text of its own kind": lambda: made("E", __str__=text(Text("é"))),
    "metaclass": lambda: made("E", kind=Metaclass),
    "nameless": lambda: made("E", kind=Nameless),
    "sly": lambda: made("E", kind=Sly),
    "long name": lambda: made("E" * 100_000),
    "module": lambda: made("E", __module__=7),
    "slots": lambda: made("E", __slots__=()),
    "circular": circular,
    "nested": nested,
    "notes text": lambda: with_notes("no list"),
    "notes odd": lambda: with_notes([refuse, 1]),
    "group": group,
    "exit code odd": lambda: SystemExit(object()),
    "base": lambda: made("E", BaseException, __str__=refuse),
    "cancelled": lambda: made("E", asyncio.CancelledError, __str__=refuse),
    "interrupt": lambda: made("E", KeyboardInterrupt, __str__=refuse),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\udcff"),
    "equal to all": lambda: made("E", __eq__=text(True), __hash__=text(0)),
    "syntax": lambda: SyntaxError("x", ("f", -1, -1, None)),
}
"""What makes them."""


def in_a_block(error: BaseException) -> None:
    with workflow("w", shared={}), stage("a"):
        raise error


def in_a_function(error: BaseException) -> None:
    @stage("f")
    def fail(shared: dict[str, Any]) -> None:
        raise error

    fail({})


def in_a_coroutine(error: BaseException) -> None:
    @stage("c")
    async def fail(shared: dict[str, Any]) -> None:
        raise error

    fail({}).send(None)


def in_a_generator(error: BaseException) -> None:
    @stage("g")
    def fail(shared: dict[str, Any]) -> Iterator[int]:
        yield 1
        raise error

    list(fail({}))


def in_a_flow(error: BaseException) -> None:
    class Fails(Node):
        def exec(self, prep_res: Any) -> None:
            raise error

    Flow(Fails(max_retries=2)).run({})


@pytest.mark.parametrize("place", [in_a_block, in_a_function, in_a_coroutine, in_a_generator, in_a_flow])
@pytest.mark.parametrize("name", HOSTILE)
def test_it_ends_its_run_and_reaches_the_program(
    instrumented: Telemetry, name: str, place: Callable[[BaseException], None]
) -> None:
    error, caught = HOSTILE[name](), list[BaseException]()
    try:
        place(error)
    except BaseException as raised:
        caught.append(raised)
    assert len(caught) == 1
    assert caught[0] is error
    recorder = instrumented.recorder
    assert recorder.registry.visits() == []
    assert [run for run in recorder.registry.runs() if not run.implicit] == []
    recorder.close()
    assert recorder.registry.runs() == []
    spans = instrumented.spans()
    assert sum(span.name.startswith("stage") for span in spans) == 1
    assert sum(span.name.startswith("run") for span in spans) == 1
    with contextlib.suppress(Exception):
        instrumented.points("otel_progress.stage.duration")

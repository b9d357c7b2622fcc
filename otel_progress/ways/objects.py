"""Recording objects that are called: instances of a class with `__call__`, and runnables with `invoke`."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

from ..recording import default
from ..recording.faults import from_handler
from ..recording.live import Recorded
from .functions import decorated
from .opener import Opener
from .signatures import signed

_INVOKES = ("invoke", "ainvoke")
"""The methods by which a runnable is called; `stream` and `batch` of it do not come here."""
_FUNCTIONS = ("fn", "func", "__wrapped__")
"""Where the decorators of frameworks keep the function that their object stands for."""
_PLAIN = """
def call({declared}):
    return __call__({given})
"""
_ASYNC = """
async def call({declared}):
    return await __call__({given})
"""
_kinds: WeakKeyDictionary[type, type] = WeakKeyDictionary()
"""Of which class what is recorded was before."""
_set_class: Any = object.__dict__["__class__"].__set__


def is_called(thing: object) -> bool:
    """Whether it is an object that can be recorded by what is called of it."""
    return callable(thing) or all(callable(getattr(type(thing), name, None)) for name in _INVOKES)


def stands_for_function(thing: object) -> bool:
    """Whether it is what a decorator has made of a function, which others get at in other ways than by a call."""
    own = getattr(thing, "__dict__", None)
    return isinstance(own, dict) and any(inspect.isfunction(cast("Any", own).get(name)) for name in _FUNCTIONS)


def recorded_object(opener: Opener[Any], thing: Any) -> Any:
    """The same as `thing`, of a subclass of its class that has every call recorded; `thing` itself stays as it is.

    Both have their attributes in common: what changes in the one does in the other.

    Raises:
        TypeError: it stands for a function that others call too, or nothing can be of a subclass of its class.
    """
    its = cast("Any", type(thing))
    kind: Any = _kinds.get(its, its)  # Once more decorated it is recorded by the last.
    way = type(opener).__name__
    written = f"@{way}" if opener.name is None else f'@{way}("{opener.name}")'
    if stands_for_function(thing):
        raise TypeError(
            f"write {written} below what makes a {kind.__name__} of the function, and above its `def`: "
            f"a {kind.__name__} is not only called here"
        )
    try:
        same = copy.copy(thing)
        if same is thing:
            raise TypeError("its copy is itself")
        methods: dict[str, Any] = {name: _recorded(opener, same, _method(kind, name)) for name in _methods(kind)}
        if hasattr(kind, "__del__"):
            methods["__del__"] = _nothing  # What they have in common ends with `thing`, once.
        said = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
        made: Any = cast("Any", type(kind))(kind.__name__, (kind,), {"__slots__": (), **said, **methods})
        made.__reduce_ex__ = functools.partialmethod(_as_before, kind, made, thing)  # Which lives as long.
        _set_class(same, made)
        if hasattr(thing, "__dict__"):
            object.__setattr__(same, "__dict__", thing.__dict__)
        _kinds[made] = kind
    except Exception as error:
        if from_handler(error):
            raise
        wrapper = f"{written} above `def call(*args): return thing(*args)`"
        raise TypeError(f"a {kind.__name__} cannot be recorded itself ({error}): write {wrapper}") from error
    return same


def _nothing(_thing: object) -> None: ...


def _method(kind: type[Any], name: str) -> Callable[..., Any]:
    method = getattr(kind, name)
    if not isinstance(inspect.getattr_static(kind, name), (staticmethod, classmethod)):
        return method

    @functools.wraps(method)
    def of_the_class(_thing: object, *args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return of_the_class


def _methods(kind: type[Any]) -> tuple[str, ...]:
    return _INVOKES if all(callable(getattr(kind, name, None)) for name in _INVOKES) else ("__call__",)


def _recorded(opener: Opener[Any], thing: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    name = getattr(thing, "name", None)
    whole = decorated(opener, method, name=name if isinstance(name, str) and name else type(thing).__name__, node=thing)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (method if _is_inside(self) else whole)(self, *args, **kwargs)

    template = _ASYNC if inspect.iscoroutinefunction(method) else _PLAIN
    return functools.wraps(method)(signed(template, method, __call__=call))


def _as_before(thing: Any, kind: Any, made: object, original: object, protocol: Any) -> Any:  # noqa: ARG001
    """For pickle and copy, which look a class up by its name: those are of the class that it was of, unrecorded."""
    reduced: Any = kind.__reduce_ex__(thing, protocol)
    if not isinstance(reduced, tuple):
        return reduced
    function, given, *rest = cast("tuple[Any, ...]", reduced)
    # Pickle makes sure that those of Python itself are given the very class.
    function = {"__newobj__": _new, "__newobj_ex__": _new_ex}.get(getattr(function, "__name__", ""), function)
    function = kind if function is made else function
    return function, tuple(kind if each is made else each for each in given), *rest


def _new(kind: type[Any], *args: Any) -> Any:
    return kind.__new__(kind, *args)


def _new_ex(kind: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return kind.__new__(kind, *args, **kwargs)


def _is_inside(thing: object) -> bool:
    """Whether this is a call that a recorded one makes itself: `ainvoke` calls `invoke`, `super()` the same again."""
    at: Recorded | None = default.recorder.current()
    while at is not None and at.node is not thing:
        at = at.parent if at.parent is not None and at.parent.run is at.run else None
    return at is not None

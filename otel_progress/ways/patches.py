"""Putting recording methods in the place of a class's own, and taking them out again.

Classes are changed, never instances: a flow copies its nodes before every visit. Only plain functions are replaced;
a staticmethod, a partial or somebody else's object stays what it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, cast
from weakref import WeakSet

from ..recording.faults import Harmless, report

_WRAPPED = "__otel_progress_wrapped__"
_HOOK = "__init_subclass__"

Around = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], "Harmless[Any] | None"]
"""What a call of a method means, by node, name and arguments: a context manager for it, or None."""


class Patches:
    """The methods that one way in has wrapped. A method that is wrapped already, by whomever, is left alone."""

    def __init__(self, methods: Collection[str], around: Around) -> None:
        self._methods = methods
        self._around = around
        # Weakly, and without what was there before: that is kept in the wrapper, so that a class can be freed.
        self._classes: WeakSet[type] = WeakSet()

    def wrap(self, cls: type, *, inherited: bool) -> None:
        """Wrap what `cls` defines or has from a mixin (with `inherited`: all it has), and so for its subclasses."""
        try:
            for name in self._methods:
                self._wrap_method(cls, name, inherited)
        except Exception as error:
            report(f"{cls.__name__} cannot be recorded", error)
        for subclass in type.__subclasses__(cls):
            self.wrap(subclass, inherited=False)

    def watch(self, cls: type) -> None:
        """Wrap what later subclasses of `cls` define."""
        own = vars(cls).get(_HOOK)

        def init_subclass(subclass: type, **kwargs: Any) -> None:
            if own is None:
                owner = next(base for base in subclass.__mro__[1:] if vars(base).get(_HOOK) is hook)
                super(owner, subclass).__init_subclass__(**kwargs)
            else:
                own.__get__(None, subclass)(**kwargs)
            self.wrap(subclass, inherited=False)

        hook = cast("Any", classmethod(init_subclass))
        self._replace(cls, _HOOK, hook, init_subclass, own)

    def undo(self, keep: Callable[[type], bool]) -> None:
        """Put back what was there, but for the methods of classes that somebody else records by now."""
        for cls in list(self._classes):
            for name, method in list(vars(cls).items()):
                by, before = getattr(getattr(method, "__func__", method), _WRAPPED, (None, None))
                if by is not self or (name != _HOOK and keep(cls)):
                    continue
                if before is None:
                    delattr(cls, name)
                else:
                    setattr(cls, name, before)
        self._classes.clear()

    def _replace(self, cls: type, name: str, method: Any, function: Any, before: Any) -> None:
        setattr(function, _WRAPPED, (self, before))
        setattr(cls, name, method)
        self._classes.add(cls)

    def _wrap_method(self, cls: type, name: str, inherited: bool) -> None:
        found = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
        own = vars(cls).get(name)
        if not inspect.isfunction(found) or hasattr(own, _WRAPPED):
            return
        if own is None and not inherited and hasattr(found, _WRAPPED):
            return
        if inspect.iscoroutinefunction(found):
            make = _recording_async
        elif name.endswith("_async") or (name == "_exec" and is_async(cls)):
            make = _recording_awaitable
        else:
            make = _recording

        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            # Looked up at every call: another base may stand between the class and the method's owner, and a decorator
            # such as dataclass(slots=True) may have built the class anew.
            owner = next(base for base in type(self).__mro__ if vars(base).get(name) is wrapper)
            return getattr(cast("Any", super(owner, self)), name)(*args, **kwargs)

        wrapper = make(forward if own is None else found, name, self._around)
        functools.update_wrapper(wrapper, found)
        self._replace(cls, name, wrapper, wrapper, own)


def is_wrapped(cls: type, name: str) -> bool:
    """Whether calls of `cls`'s method `name` are seen."""
    return any(hasattr(vars(base).get(name), _WRAPPED) for base in cls.__mro__)


def is_async(cls: type) -> bool:
    """Whether `cls` is run by `_run_async`."""
    return any("_run_async" in vars(base) for base in cls.__mro__)


def _recording(method: Callable[..., Any], name: str, around: Around) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = around(self, name, args, kwargs)
        if recording is None:
            return method(self, *args, **kwargs)
        with recording:
            value = method(self, *args, **kwargs)
            recording.returned(value)
            return value

    return call


def _recording_async(method: Callable[..., Any], name: str, around: Around) -> Callable[..., Any]:
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = around(self, name, args, kwargs)
        if recording is None:
            return await method(self, *args, **kwargs)
        with recording:
            value = await method(self, *args, **kwargs)
            recording.returned(value)
            return value

    return call


def _recording_awaitable(method: Callable[..., Any], name: str, around: Around) -> Callable[..., Any]:
    """For a plain function where a coroutine function is usual: it is recorded if it gives something to await."""

    async def passed_on(_self: Any, awaitable: Any) -> Any:
        return await awaitable

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = method(self, *args, **kwargs)
        if not inspect.isawaitable(value):
            return value
        return _recording_async(passed_on, name, lambda node, name, _args, _kwargs: around(node, name, args, kwargs))(
            self, value
        )

    return call

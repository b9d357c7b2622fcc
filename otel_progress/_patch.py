"""Putting recording methods in the place of a class's own, and taking them out again.

Classes are changed, never instances: a flow copies its nodes before every visit.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, cast
from weakref import WeakKeyDictionary

from ._faults import Harmless, report

_WRAPPED = "__otel_progress_wrapped__"
_ABSENT = object()
_HOOK = "__init_subclass__"

Around = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], "Harmless[Any] | None"]
"""What a call of a method means, by node, name and arguments: a context manager for it, or None."""


class Patches:
    """The methods that one way in has wrapped. A method that is wrapped already, by whomever, is left alone."""

    def __init__(self, methods: Collection[str], around: Around) -> None:
        self._methods = methods
        self._around = around
        self._before: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()

    def wrap(self, cls: type, *, inherited: bool) -> None:
        """Wrap the methods that `cls` defines (with `inherited`: has), and those that its subclasses define."""
        for name in self._methods:
            if name in vars(cls) or (inherited and hasattr(cls, name)):
                self._wrap_method(cls, name)
        for subclass in cls.__subclasses__():
            self.wrap(subclass, inherited=False)

    def watch(self, cls: type) -> None:
        """Wrap what later subclasses of `cls` define."""
        own = vars(cls).get(_HOOK)
        patches = self

        def init_subclass(subclass: type, **kwargs: Any) -> None:
            if own is None:
                super(cls, subclass).__init_subclass__(**kwargs)  # type: ignore[misc]
            else:
                own.__get__(None, subclass)(**kwargs)
            try:
                patches.wrap(subclass, inherited=False)
            except Exception as error:
                report(f"{subclass.__name__} cannot be recorded", error)

        self._replace(cls, _HOOK, classmethod(init_subclass))

    def undo(self, keep: Callable[[type], bool]) -> None:
        """Put back what was there, but for the methods of classes that somebody else records by now."""
        for cls, before in list(self._before.items()):
            for name, method in before.items():
                if name != _HOOK and keep(cls):
                    continue
                if method is _ABSENT:
                    delattr(cls, name)
                else:
                    setattr(cls, name, method)
        self._before.clear()

    def _replace(self, cls: type, name: str, method: Any) -> None:
        self._before.setdefault(cls, {}).setdefault(name, vars(cls).get(name, _ABSENT))
        setattr(cls, name, method)

    def _wrap_method(self, cls: type, name: str) -> None:
        own = vars(cls).get(name)
        if getattr(own, _WRAPPED, False):
            return
        awaits = name.endswith("_async") or (name == "_exec" and hasattr(cls, "_run_async"))
        wrapper = (_recording_async if awaits else _recording)(_method(cls, name, own), name, self._around)
        functools.update_wrapper(wrapper, getattr(cls, name))
        setattr(wrapper, _WRAPPED, True)
        self._replace(cls, name, wrapper)


def _method(cls: type, name: str, own: Any) -> Callable[..., Any]:
    """What to call for the method `name` of `cls`; `own` is None where the class inherits it."""
    if inspect.isfunction(own):
        return own

    def bound(self: Any, *args: Any, **kwargs: Any) -> Any:  # A staticmethod, somebody else's wrapper.
        return own.__get__(self, cls)(*args, **kwargs)

    def inherited(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Looked up at every call: another base may stand between this class and the method's owner.
        return getattr(cast("Any", super(cls, self)), name)(*args, **kwargs)

    return inherited if own is None else bound


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

"""Putting recording methods in the place of a class's own, and taking them out again.

Classes are changed, never instances: a flow copies its nodes before every visit. Only plain functions are replaced;
a staticmethod, a partial or somebody else's object stays what it is.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Collection
from typing import Any, cast
from weakref import WeakSet

from ..recording.faults import Harmless, from_handler, report
from .classes import WRAPPED, forget_classes
from .signatures import say_signature, signed

_HOOK = "__init_subclass__"

Around = Callable[[object, Any, str, tuple[Any, ...], dict[str, Any]], "Harmless[Any] | None"]
"""What a call of a method means, by wrapper, node, name and arguments: a context manager for it, or None."""
Returned = Callable[[object, Any, object, tuple[Any, ...], dict[str, Any]], None]
"""What a method that is only listened to returned, by wrapper, node, value and arguments."""
_LISTENED = "get_next_node"


class Patches:
    """The methods that one way in has wrapped. A method that is wrapped already, by whomever, is left alone."""

    def __init__(self, methods: Collection[str], around: Around, returned: Returned) -> None:
        self._methods = methods
        self._around = around
        self._returned = returned
        # Weakly, and without what was there before: that is kept in the wrapper, so that a class can be freed.
        self._classes: WeakSet[type] = WeakSet()

    def __reduce__(self) -> Any:
        """As its owner is pickled."""
        return operator.attrgetter("patches"), (cast("Any", self._around).__self__,)

    def wrap(self, cls: type, *, inherited: bool) -> None:
        """Wrap what `cls` defines or has from a mixin (with `inherited`: all it has), and so for its subclasses."""
        try:
            for name in self._methods:
                self._wrap_method(cls, name, inherited)
        except BaseException as error:  # A metaclass that lets nothing be changed.
            if from_handler(error):
                raise
            report(f"{cls.__name__} cannot be recorded", error)
        forget_classes()
        for subclass in type.__subclasses__(cls):
            self.wrap(subclass, inherited=False)

    def watch(self, cls: type) -> None:
        """Wrap what later subclasses of `cls` define."""
        own = vars(cls).get(_HOOK)

        def init_subclass(subclass: type, **kwargs: Any) -> None:
            if own is None:
                owner = next((base for base in subclass.__mro__[1:] if vars(base).get(_HOOK) is hook), cls)
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
                by, before = getattr(getattr(method, "__func__", method), WRAPPED, (None, None))
                if by is not self or (name != _HOOK and keep(cls)):
                    continue
                if before is None:
                    delattr(cls, name)
                else:
                    setattr(cls, name, before)
        self._classes.clear()
        forget_classes()

    def _replace(self, cls: type, name: str, method: Any, function: Any, before: Any) -> None:
        setattr(function, WRAPPED, (self, before))
        setattr(cls, name, method)
        self._classes.add(cls)

    def _wrap_method(self, cls: type, name: str, inherited: bool) -> None:
        found = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
        own = vars(cls).get(name)
        if not inspect.isfunction(found) or hasattr(own, WRAPPED):
            return
        if own is None and not inherited and hasattr(found, WRAPPED):
            return
        if own is None and getattr(found, "__isabstractmethod__", False):
            return  # Put here it would hide from ABCMeta what another base has in its place.
        module, qualname = cls.__module__, cls.__qualname__

        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            # Looked up at every call: another base may stand between the class and the method's owner, and a decorator
            # such as dataclass(slots=True) may have built the class anew.
            for base in type(self).__mro__:
                if vars(base).get(name) is wrapper and (base.__module__, base.__qualname__) == (module, qualname):
                    return getattr(cast("Any", super(base, self)), name)(*args, **kwargs)
            return found(self, *args, **kwargs)  # Borrowed by another class, or taken out while it runs.

        method = forward if own is None else found
        if name == _LISTENED:
            wrapper = _listening(method, self._returned)
        elif inspect.iscoroutinefunction(found):
            wrapper = _recording_async(method, found, name, self._around)
        elif name.endswith("_async") or (name == "_exec" and is_async(cls)):
            wrapper = _recording_awaitable(method, name, self._around)
        else:
            wrapper = _recording(method, name, self._around)
        functools.update_wrapper(wrapper, found)
        say_signature(wrapper, found)
        self._replace(cls, name, wrapper, wrapper, own)


def is_async(cls: type) -> bool:
    """Whether `cls` is run by `_run_async`."""
    return any("_run_async" in vars(base) for base in cls.__mro__)


def _listening(method: Callable[..., Any], returned: Returned) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = method(self, *args, **kwargs)
        returned(call, self, value, args, kwargs)
        return value

    return call


def _recording(method: Callable[..., Any], name: str, around: Around) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = around(call, self, name, args, kwargs)
        if recording is None:
            return method(self, *args, **kwargs)
        try:
            with recording:
                value = method(self, *args, **kwargs)
                recording.returned(value)
                return value
        except BaseException as error:
            recording.left(error)
            raise

    return call


_ASYNC = """
async def call({declared}):
    __args__, __kwargs__ = __arguments__({given})
    __recording__ = __around__(__args__, __kwargs__)
    if __recording__ is None:
        return await __method__(*__args__, **__kwargs__)
    try:
        with __recording__:
            __value__ = await __method__(*__args__, **__kwargs__)
            __recording__.returned(__value__)
            return __value__
    except BaseException as __error__:
        __recording__.left(__error__)
        raise
"""
"""With the parameters of what it wraps: arguments that do not fit are refused at the call, not at the first step."""


def _arguments(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def _recording_async(
    method: Callable[..., Any], found: Callable[..., Any], name: str, around: Around
) -> Callable[..., Any]:
    def of_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Harmless[Any] | None:
        return around(call, args[0] if args else None, name, args[1:], kwargs)

    call = signed(_ASYNC, found, __arguments__=_arguments, __around__=of_call, __method__=method)
    return call


def _recording_awaitable(method: Callable[..., Any], name: str, around: Around) -> Callable[..., Any]:
    """For a plain function where a coroutine function is usual: it is recorded if it gives something to await."""

    async def recorded(self: Any, awaitable: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recording = around(call, self, name, args, kwargs)
        if recording is None:
            return await awaitable
        try:
            with recording:
                value = await awaitable
                recording.returned(value)
                return value
        except BaseException as error:
            recording.left(error)
            raise

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        value = method(self, *args, **kwargs)
        return recorded(self, value, args, kwargs) if inspect.isawaitable(value) else value

    return call

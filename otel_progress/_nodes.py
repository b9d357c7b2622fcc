"""Recording node classes: any class with `prep`, `exec` or `post` around one `shared`, called through `_run`.

Methods are wrapped on classes, never on instances, and nothing is kept on a node: a flow copies its nodes before every
visit. One visit stays one visit however many wrapped methods call each other through super(): the wrapper sees that the
visit at hand is of this very node.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sized
from typing import Any, cast

from . import _default
from ._attempts import Exec, Fallback, Phase, worker
from ._faults import report
from ._record import Part, Run, Visit
from ._scopes import Call, Opening, Scope
from ._shared import name_of

_SCOPE = "__otel_progress_scope__"
_WRAPPED = "__otel_progress_wrapped__"
_PHASES = {"prep": "prep", "prep_async": "prep", "post": "post", "post_async": "post", "_exec": "exec"}
_RUNS = ("_run", "_run_async")
_FALLBACKS = ("exec_fallback", "exec_fallback_async")
_METHODS = (*_RUNS, "exec", "exec_async", *_FALLBACKS, *_PHASES)
PLATFORM_PARAM = "platform"


def is_node_class(cls: type) -> bool:
    """Whether `cls` has the shape of a node."""
    steps = ("prep", "exec", "post", "prep_async", "exec_async", "post_async")
    return any(callable(getattr(cls, run, None)) for run in ("_run", "_run_async")) and any(
        callable(getattr(cls, step, None)) for step in steps
    )


def record_class(cls: type, scope: Scope[Any]) -> None:
    """Record every visit of `cls` and its subclasses by `scope`; a subclass that has its own scope keeps that."""
    setattr(cls, _SCOPE, scope)
    for name in _METHODS:
        if hasattr(cls, name):
            _wrap(cls, name)
    for subclass in _subclasses(cls):
        _wrap_own(subclass)
    _watch_subclasses(cls)


def _wrap_own(cls: type) -> None:
    for name in _METHODS:
        if name in vars(cls):
            _wrap(cls, name)


def _subclasses(cls: type) -> Iterable[type]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _watch_subclasses(cls: type) -> None:
    """Wrap what later subclasses of `cls` override."""
    own = vars(cls).get("__init_subclass__")
    if getattr(getattr(own, "__func__", None), _WRAPPED, False):
        return

    def init_subclass(subclass: type, **kwargs: Any) -> None:
        if own is None:
            super(cls, subclass).__init_subclass__(**kwargs)  # type: ignore[misc]
        else:
            own.__get__(None, subclass)(**kwargs)
        try:
            _wrap_own(subclass)
        except Exception as error:
            report(f"{subclass.__name__} cannot be recorded", error)

    setattr(init_subclass, _WRAPPED, True)
    setattr(cls, "__init_subclass__", classmethod(init_subclass))  # noqa: B010 - type checkers know no such assignment


def _wrap(cls: type, name: str) -> None:
    """Put a recording method in the place of `cls`'s method `name`."""
    own = vars(cls).get(name)
    if getattr(own, _WRAPPED, False):
        return
    awaits = name.endswith("_async") or (name == "_exec" and hasattr(cls, "_run_async"))
    wrapper = (_recording_async if awaits else _recording)(_method(cls, name, own), name)
    functools.update_wrapper(wrapper, getattr(cls, name))
    setattr(wrapper, _WRAPPED, True)
    setattr(cls, name, wrapper)


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


def _recording(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    is_run = name in _RUNS

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        around = _around(self, name, args, kwargs)
        if around is None:
            return method(self, *args, **kwargs)
        with around:
            value = method(self, *args, **kwargs)
            if is_run:
                around.returned(value)
            return value

    return call


def _recording_async(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    is_run = name in _RUNS

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        around = _around(self, name, args, kwargs)
        if around is None:
            return await method(self, *args, **kwargs)
        with around:
            value = await method(self, *args, **kwargs)
            if is_run:
                around.returned(value)
            return value

    return call


def _around(node: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call of the wrapped method `name` means: a context manager for it, or None where it means nothing."""
    try:
        visit = _visit_of(node)
        if name in _RUNS:
            scope: Scope[Any] | None = getattr(cast("type[object]", type(node)), _SCOPE, None)
            return None if scope is None or visit is not None else _opening(scope, node, name, args, kwargs)
        if not isinstance(visit, Visit) or visit.recorder is None:
            return None
        subject = args[0] if args else None
        if name in _PHASES:
            return _phase(visit, _PHASES[name], subject)
        item = visit.items.get(worker())
        if item is not None and item.running:
            return None  # A call of super().
        return (Fallback if name in _FALLBACKS else Exec)(visit.recorder, visit, subject)
    except Exception as error:
        report(f"a call of {name} could not be recorded", error)
        return None


def _visit_of(node: object) -> Visit | Run | None:
    """The visit (or run) at hand, if it is one of this very node."""
    current = _default.get().current()
    if isinstance(current, Part):
        current = current.visit
    return current if isinstance(current, (Visit, Run)) and current.node is node else None


def _opening(scope: Scope[Any], node: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opening[Any]:
    cls = cast("type[object]", type(node))
    shared = args[0] if args else kwargs.get("shared")
    call = Call(scope.name_for(cls.__name__), name_of(f"{cls.__module__}.{cls.__qualname__}.{name}"), shared, node)
    return scope.opening(call)


def _phase(visit: Visit, phase: str, subject: Any) -> Phase | None:
    if phase in visit.phases or visit.recorder is None:
        return None  # A call of super().
    if phase == "exec" and visit.batch and visit.items_total is None and isinstance(subject, Sized):
        visit.expect(len(subject))
        visit.recorder.changed(visit)
    if phase == "exec" or visit.recorder.settings.phases:
        return Phase(visit.recorder, visit, phase)
    return None


def prepare(visit: Visit, node: object) -> None:
    """Say of a visit what its node's class tells: whether it works on a batch, whether exec will be called."""
    cls = type(node)
    visit.batch = any(base.__name__ == "BatchNode" for base in cls.__mro__)
    if not any(hasattr(cls, flow) for flow in ("_orch", "_orch_async")):
        visit.attempts = 0  # Counted as they come. A flow has none, and a function one.


def item_of(node: object) -> tuple[object, str | None]:
    """Which item of a batch flow a node works on, and the platform that it names: from the parameters a flow sets."""
    params = getattr(node, "__dict__", {}).get("params")
    if not isinstance(params, dict) or not params:
        return None, None
    values = cast("dict[Any, Any]", params)
    platform = values.get(PLATFORM_PARAM)
    # By identity where a value is no plain one: its own __eq__ and __hash__ are the workflow's code.
    item = tuple(
        (str(key), value if isinstance(value, (str, int, float, bool, type(None))) else id(value))
        for key, value in values.items()
    )
    return item, platform if isinstance(platform, str) else None

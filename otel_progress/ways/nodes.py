"""What the calls of a node's methods mean: any class with `prep`, `exec` or `post` around one `shared`.

Nothing is kept on a node. One visit stays one visit however many wrapped methods call each other through super(): the
context says which node's call is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, cast

from ..recording import default
from ..recording.faults import Harmless, report
from ..recording.live import Part, Run, Visit
from ..recording.store import name_of
from .attempts import Exec, Fallback, FlowItem, Phase, worker
from .opening import Call, Scope, action_of
from .patches import Patches, is_wrapped

_SCOPE = "__otel_progress_scope__"
_RUNS = ("_run", "_run_async")
_EXECS = ("exec", "exec_async")
_FALLBACKS = ("exec_fallback", "exec_fallback_async")
_PHASES = {"prep": "prep", "prep_async": "prep", "post": "post", "post_async": "post", "_exec": "exec"}
_FLOWS = ("_orch", "_orch_async")
_MOST_PARTS = 32
METHODS = (*_RUNS, *_EXECS, *_FALLBACKS, *_PHASES, *_FLOWS, "get_next_node")

UNRECORDED: Any = object()
"""Scope of a class that is no stage, the tracker's for one."""

automatic: Callable[[Any, Any], Scope[Any] | None] | None = None
"""Gives the scope for a node (and its store) whose class has none; set while an instrumentor is at work."""


def is_node_class(cls: type) -> bool:
    """Whether `cls` has the shape of a node."""
    names = {name for base in cls.__mro__ for name in vars(base)}
    return not names.isdisjoint(_RUNS) and not names.isdisjoint((*_EXECS, *_PHASES))


def is_flow(node: object) -> bool:
    """Whether `node` runs other nodes."""
    return any(name in vars(base) for base in type(node).__mro__ for name in _FLOWS)


def has_scope(cls: type) -> bool:
    """Whether `cls` or a base of it is decorated."""
    return hasattr(cls, _SCOPE)


def record_class(cls: type, scope: Scope[Any]) -> None:
    """Record every visit of `cls` and its subclasses by `scope`; a subclass that has its own scope keeps that."""
    watched = has_scope(cls)
    setattr(cls, _SCOPE, scope)
    _decorated.wrap(cls, inherited=True)
    if not watched:
        _decorated.watch(cls)


def leave_out(cls: type) -> None:
    """Never record `cls`, whatever records its bases."""
    setattr(cls, _SCOPE, UNRECORDED)


def node_name(node: object) -> str:
    """A node's own name, else its class's.

    Only its class and its `__dict__` are looked at: some nodes answer every attribute.
    """
    cls = type(node)
    for key in ("name", "node_name"):
        own: Any = getattr(node, "__dict__", {}).get(key)
        own = own if own is not None else next((vars(base)[key] for base in cls.__mro__ if key in vars(base)), None)
        if isinstance(own, str) and own.strip():
            return name_of(own)
    return cls.__name__


def item_of(node: object, params: Any = None) -> tuple[object, str | None]:
    """Which item of a batch flow a node works on, and the platform that it names: from the parameters a flow sets."""
    if params is None:
        params = getattr(node, "__dict__", {}).get("params")
    if not isinstance(params, dict) or not params:
        return None, None
    values = cast("dict[Any, Any]", params)
    platform = values.get(default.get().settings.platform_key)
    item = tuple((str(key), plain) for key, value in values.items() if (plain := _plain(value)) is not None)
    return item or None, platform if isinstance(platform, str) else None


def _plain(value: Any, depth: int = 3) -> object:
    """Something hashable that is equal where `value` is; None where `value` is no plain data.

    Other objects tell no items apart: their `__eq__` and `__hash__` are the workflow's code, and ids are used again.
    """
    if isinstance(value, (str, int, float, bool)):
        return value
    if depth == 0 or not isinstance(value, (list, tuple, dict)):
        return None
    whole = cast("Any", value)
    parts: list[Any] = list(whole.items() if isinstance(value, dict) else whole)
    return (isinstance(value, dict), *(_plain(part, depth - 1) for part in parts[:_MOST_PARTS]))


def prepare(visit: Visit, node: object) -> None:
    """Say of a visit what its node's class tells: whether it works on a batch, whether exec will be called."""
    visit.batch = any(base.__name__ == "BatchNode" for base in type(node).__mro__)
    if not is_flow(node) and any(is_wrapped(type(node), name) for name in _EXECS):
        visit.attempts = 0  # Counted as they come. A flow has none, and a function one.


def around(node: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Harmless[Any] | None:
    """What a call of the wrapped method `name` means: a context manager for it, or None where it means nothing."""
    try:
        owner = _at_hand(node)
        if owner is None:
            return _opening(node, name, args, kwargs) if name in _RUNS else None
        if name in _FLOWS:
            return _flow_item(owner, node, args, kwargs)
        if name == "get_next_node":
            transition = _Transition(owner, *args, **kwargs)
            return None if transition.is_super_call() else transition
        if name in _RUNS or not isinstance(owner, Visit):
            return None  # A call of super().
        return _step(owner, node, name, args[0] if args else next(iter(kwargs.values()), None))
    except Exception as error:
        report(f"a call of {name} could not be recorded", error)
        return None


_decorated = Patches(METHODS, around)


def _at_hand(node: object) -> Visit | Run | None:
    """The visit or run at hand, if it is one of this very node."""
    at = default.get().current()
    while at is not None and at.node is not node:
        at = at.parent if at.parent is not None and at.parent.run is at.run else None
    return at.owner if isinstance(at, Part) else cast("Visit | Run | None", at)


def _opening(node: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Harmless[Any] | None:
    cls = cast("type[object]", type(node))
    shared = args[0] if args else kwargs.get("shared")
    scope: Scope[Any] | None = getattr(cls, _SCOPE, None)
    if scope is UNRECORDED:
        return None
    if scope is None:
        scope = automatic(node, shared) if automatic is not None else None
    if scope is None:
        return None
    return scope.opening(
        Call(scope.name_for(node_name(node)), name_of(f"{cls.__module__}.{cls.__qualname__}.{name}"), shared, node)
    )


def _step(visit: Visit, node: object, name: str, subject: Any) -> Harmless[Any] | None:
    recorder = visit.recorder
    if recorder is None:
        return None
    phase = _PHASES.get(name)
    if phase is None:
        item = visit.items.get(worker())
        if item is not None and item.running:
            return None  # A call of super().
        return (Fallback if name in _FALLBACKS else Exec)(recorder, visit, subject)
    if phase in visit.phases:
        return None  # A call of super().
    if phase == "exec" and visit.batch and visit.items_total is None and isinstance(subject, Sized):
        visit.expect(len(subject))
        recorder.changed(visit)
    batch_flow = phase == "prep" and is_batch_flow(node)
    if phase == "exec" or batch_flow or recorder.settings.phases:
        return Phase(recorder, visit, phase, counts=batch_flow)
    return None


def is_batch_flow(node: object) -> bool:
    """Whether `node` runs its nodes once for each item that prep returns."""
    return any(base.__name__ == "BatchFlow" for base in type(node).__mro__)


def _flow_item(owner: Visit | Run, node: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FlowItem | None:
    params = args[1] if len(args) > 1 else kwargs.get("params")
    recorder = owner.recorder
    if params is None or recorder is None or not is_batch_flow(node):
        return None
    current = recorder.current()
    if isinstance(current, Part) and current.node is node and current.item is params:
        return None  # A call of super().
    return FlowItem(recorder, owner, node, params, item_of(node, params)[1])


class _Transition(Harmless[None]):
    """One choice of the next node: a dead end is told."""

    def __init__(self, owner: Visit | Run, curr: Any, action: Any = None) -> None:
        self._owner = owner
        self._node = curr
        self._action = action

    def is_super_call(self) -> bool:
        """Whether the same choice is being made further out."""
        return self._owner.choosing is self._node

    def enter(self) -> None:
        """Begin to choose."""
        self._owner.choosing = self._node

    def leave(self, error: BaseException | None) -> None:  # noqa: ARG002 - the same for every end
        """It is chosen."""
        self._owner.choosing = None

    def instead(self) -> None:
        """Nothing."""

    def got(self, value: object) -> None:
        """Tell of an action that no edge takes where there are edges."""
        recorder = self._owner.recorder
        if value is not None or recorder is None or not recorder.is_open(self._owner):
            return
        if getattr(self._node, "__dict__", {}).get("successors"):
            scope: Any = getattr(cast("type[object]", type(self._node)), _SCOPE, None)
            name = node_name(self._node)
            stage = scope.name_for(name) if isinstance(scope, Scope) else name
            action = action_of(self._node, self._action or None)
            recorder.tell("dead_end", self._owner, name_of(stage), action)

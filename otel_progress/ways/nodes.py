"""What the calls of a node's methods mean: any class with `prep`, `exec` or `post` around one `shared`.

A visit is a call of `_run`; where nothing of the node is around, `by_hand` makes one of the calls one by one. Nothing
is kept on a node. One visit stays one visit however many wrapped methods call each other through super().
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any
from weakref import WeakValueDictionary

from ..recording import default
from ..recording.call import Call
from ..recording.faults import Harmless, from_handler, passes, report
from ..recording.live import Recorded, Run
from ..recording.place import RECORDED, current_context
from ..recording.store import found_store, given_store, name_of
from ..recording.visits import Part, Visit
from . import by_hand
from .attempts import Exec, Fallback, FlowItem, Phase
from .classes import (
    EXECS,
    FALLBACKS,
    FLOWS,
    METHODS,
    OPENER_KEY,
    PHASES,
    RUNS,
    NodeClass,
    class_of,
    forget_classes,
    item_of,
    phase_of,
    refusal,
)
from .opener import Opener
from .opening import Opening, action_of
from .patches import Patches

__all__ = ["Nodes", "has_opener", "leave_out", "record_class", "refusal"]

_UNRECORDED: Any = object()
"""Opener of a class that is no stage, the tracker's for one."""

Automatic = Callable[[NodeClass, Any, str, Any], "Harmless[Any] | None"]
"""What records the visit of a node whose class has no opener, by class, node, method and store; None: nothing does."""


class Nodes:
    """One way in for nodes: the methods that it has wrapped, and what their calls mean."""

    def __init__(self, automatic: Automatic | None = None) -> None:
        self._automatic = automatic
        self.patches = Patches(METHODS, self.around, self.returned)
        _made[automatic is not None] = self

    def __reduce__(self) -> Any:
        """Where a class is pickled by value, as cloudpickle does: it is recorded by what records where it arrives."""
        return _made_here, (self._automatic is not None,)

    def around(
        self, wrapper: object, node: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Harmless[Any] | None:
        """What a call of the wrapped method `name` means: a context manager for it, or None where it means nothing."""
        try:
            at: Any = current_context().get(RECORDED)
            # First, and as quickly as can be: so it is of three of the five methods that are called of a node.
            if (
                at is not None
                and at.node is node  # Then it is open.
                and name in at.code.silent
                and default.recorder.settings.detail == "none"
            ):
                return None
            info = class_of(node)
            if name in info.unentered and name not in info.by_hand and default.recorder.settings.detail == "none":
                return None
            entry = info.is_entry(name, wrapper)
            if name in RUNS:
                return self._visit(info, entry, node, name, args[0] if args else kwargs.get("shared"))
            if entry:
                return self._inside(info, node, name, args, kwargs)
        except BaseException as error:
            if passes(error):
                by_hand.broken_off(node, error)
                raise
            report(f"a call of {name} could not be recorded", error)
        return None

    def _inside(
        self, info: NodeClass, node: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Harmless[Any] | None:
        """What a call of a method that is not `_run` means."""
        has_meaning = _has_meaning(info, name)
        if not has_meaning and name not in info.by_hand:
            return None
        owner = _at_hand(node)
        if name in FLOWS:
            return (
                None if owner is None else _flow_item(owner, node, args[1] if len(args) > 1 else kwargs.get("params"))
            )
        subject = args[0] if args else next(iter(kwargs.values()), None)
        if owner is None:
            may = name in info.by_hand and self._records(info)
            return self._by_hand(info, node, name, subject) if may else None
        return _step(info, owner, name, subject) if has_meaning and isinstance(owner, Visit) else None

    def _records(self, info: NodeClass) -> bool:
        opener: Any = info.opener
        return opener is not _UNRECORDED and (opener is not None or self._automatic is not None)

    def returned(
        self, wrapper: object, node: Any, value: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Tell of an action that no edge takes where there are edges."""
        curr = args[0] if args else kwargs.get("curr")
        if value is not None or not getattr(curr, "__dict__", {}).get("successors"):
            return
        try:
            owner = _at_hand(node)
            if owner is None or not class_of(node).is_entry("get_next_node", wrapper):
                return
            if owner.recorder.is_open(owner):
                info = class_of(curr)
                opener: Any = info.opener
                own = opener.name if isinstance(opener, Opener) else None
                action = action_of(curr, (args[1] if len(args) > 1 else kwargs.get("action")) or None)
                owner.recorder.tell("dead_end", owner, own or name_of(info.name_of(curr)), action)
        except BaseException as error:
            if passes(error):
                raise
            report("a dead end could not be recorded", error)

    def _visit(self, info: NodeClass, entry: bool, node: Any, name: str, shared: Any) -> Harmless[Any] | None:
        at = _up_to(default.recorder.ambient()[0], node)
        if at is not None and not (entry and _function_of(at).endswith(f".{name}")):
            return None  # Through super(), or `_run_async` calls `_run`. A node that runs itself again is a new visit.
        if id(node) in by_hand.visited and (begun := by_hand.run_after_all(node, info.code(name, node))) is not None:
            return begun
        return self._opening(info, node, name, shared)

    def _by_hand(self, info: NodeClass, node: Any, name: str, subject: Any) -> Harmless[Any] | None:
        """What a call means that nothing of the node is around: somebody calls its methods one by one."""
        phase, driven = phase_of(name), None
        if by_hand.begins(node, phase, info.has_prep, info.is_batch):
            shared = None if phase != "prep" or not info.takes_store else subject
            shared = shared if info.has_run else found_store(shared)
            opening = self._opening(info, node, name, shared)
            driven = by_hand.begin(node, phase, opening) if isinstance(opening, Opening) else None
        elif phase != "prep":
            driven = by_hand.going_on(node, subject if phase == "post" else None)
        if driven is None:
            return None
        visit = driven.recorded
        parts: list[Harmless[Any]] = []
        if isinstance(visit, Visit):
            if name in EXECS and default.recorder.settings.phases and not info.is_batch:
                parts.append(Phase(visit, "exec"))  # Which nothing else is here.
            if _has_meaning(info, name) and (part := _step(info, visit, name, subject)) is not None:
                parts.append(part)
        return by_hand.Step(driven, node, phase, parts, info.last)

    def _opening(self, info: NodeClass, node: Any, name: str, shared: Any) -> Harmless[Any] | None:
        opener: Any = info.opener
        if opener is _UNRECORDED:
            return None
        shared = given_store(shared)
        if opener is None:
            return None if self._automatic is None else self._automatic(info, node, name, shared)
        return Opening(
            opener, Call(info.code(name, node), opener.shared if shared is None else shared, node, *item_of(node))
        )


_made: WeakValueDictionary[bool, Nodes] = WeakValueDictionary()
"""The last one of each kind: the decorators', and the instrumentor's, which may not be there."""
_decorated = Nodes()


def _made_here(is_automatic: bool) -> Nodes:
    return _made.get(is_automatic, _decorated)


def has_opener(cls: type) -> bool:
    """Whether `cls` or a base of it is decorated."""
    return hasattr(cls, OPENER_KEY)


def record_class(cls: type, opener: Opener[Any]) -> None:
    """Record every visit of `cls` and its subclasses by `opener`; a subclass that has its own opener keeps that."""
    watched = has_opener(cls)
    try:
        setattr(cls, OPENER_KEY, opener)
        _decorated.patches.wrap(cls, inherited=True)
        if not watched:
            _decorated.patches.watch(cls)
    except BaseException as error:  # A metaclass that lets nothing be changed.
        if from_handler(error):
            raise
        report(f"{cls.__name__} cannot be recorded", error)


def leave_out(cls: type) -> None:
    """Never record `cls`, whatever records its bases."""
    setattr(cls, OPENER_KEY, _UNRECORDED)
    forget_classes()


def _has_meaning(info: NodeClass, name: str) -> bool:
    """Whether a call of a method may mean something under the present settings."""
    if name in FLOWS:
        return info.is_batch_flow
    return name not in info.unentered or default.recorder.settings.phases


def _up_to(at: Recorded | None, node: object) -> Recorded | None:
    """The first of what is at hand, and what it is in, that is one of this very node."""
    while at is not None and at.node is not node:
        at = at.parent if at.parent is not None and at.parent.run is at.run else None
    return at


def _function_of(at: Recorded) -> str:
    """The method whose call it is."""
    return at.code.function or (_function_of(at.owner) if isinstance(at, Part) else "")


def _at_hand(node: object) -> Visit | Run | None:
    """The visit or run at hand, if it is one of this very node."""
    current: Any = current_context().get(RECORDED)
    if type(current) is Visit and current.node is node and default.recorder is current.recorder:
        return current  # Mostly. It is open where it has its node.
    at = _up_to(default.recorder.ambient()[0], node)
    if isinstance(at, Part):
        return at.owner
    return at if isinstance(at, (Visit, Run)) else None


def _step(info: NodeClass, visit: Visit, name: str, subject: Any) -> Harmless[Any] | None:
    phase = PHASES.get(name)
    if phase is None:
        call = (Fallback if name in FALLBACKS else Exec)(visit, subject)
        return None if call.is_inside() else call
    if phase == "exec" and info.is_batch and visit.items_total is None and isinstance(subject, Sized):
        visit.expect(len(subject))
    return Phase(visit, phase, counts=phase == "prep" and info.is_batch_flow)


def _flow_item(owner: Visit | Run, node: object, params: object) -> FlowItem | None:
    return None if params is None else FlowItem(owner, node, params, item_of(node, params)[1])

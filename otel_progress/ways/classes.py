"""What a node's class is, found once for each class: any class with `prep`, `exec` or `post` around one `shared`."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Collection
from dataclasses import replace
from inspect import isfunction
from itertools import islice
from typing import Any, cast

from ..recording import default
from ..recording.call import Code, Origin
from ..recording.faults import from_handler
from ..recording.store import name_of, store_in_use, type_of

OPENER_KEY = "_abc_otel_progress_opener"
"""Where a class keeps the opener of its decorator. What a Protocol has, up to Python 3.11 others must have to meet it,
unless its name begins so."""
WRAPPED = "__otel_progress_wrapped__"
"""Mark of a method that records."""

RUNS = ("_run", "_run_async")
EXECS = ("exec", "exec_async")
FALLBACKS = ("exec_fallback", "exec_fallback_async")
PHASES = {"prep": "prep", "prep_async": "prep", "post": "post", "post_async": "post", "_exec": "exec"}
FLOWS = ("_orch", "_orch_async")
METHODS = (*RUNS, *EXECS, *FALLBACKS, *PHASES, *FLOWS, "get_next_node")
BY_HAND = (*EXECS, *PHASES)
_OWN_NAMES = ("name", "node_name")
_OWN_NAMES_OF_FLOWS = ("name", "flow_name", "node_name")
_BARE = frozenset({"Flow", "AsyncFlow", "BatchFlow", "AsyncBatchFlow", "AsyncParallelBatchFlow"})
_MOST_PARTS = 256
"""Of the parameters of an item, with what is in them: so many tell it from others."""


class NodeClass:
    """One class of nodes. Holds no reference to it, so that it can be freed."""

    def __init__(self, cls: type) -> None:
        bases = cls.__mro__
        owners = {name: base for base in reversed(bases) for name in METHODS if _defines(base, name)}
        self.name = cls.__name__
        self.opener: Any = getattr(cls, OPENER_KEY, None)
        """That of its decorator or its base's."""
        self.is_flow = any(name in owners for name in FLOWS)
        """Whether it runs other nodes."""
        self.is_batch = any(base.__name__ == "BatchNode" for base in bases)
        self.is_batch_flow = any(base.__name__ == "BatchFlow" for base in bases)
        """Whether it runs its nodes once for each item that prep returns."""
        self._own_names = _OWN_NAMES_OF_FLOWS if self.is_flow else _OWN_NAMES
        self._names_of_class = {
            key: next((vars(base)[key] for base in bases if key in vars(base)), None) for key in self._own_names
        }
        self._is_named = any(name is not None for name in self._names_of_class.values())
        self._where = f"{cls.__module__}.{cls.__qualname__}"
        wrappers = {
            name: next((vars(base)[name] for base in bases if hasattr(vars(base).get(name), WRAPPED)), None)
            for name in METHODS
        }
        self._entries = {name: id(wrapper) for name, wrapper in wrappers.items() if wrapper is not None}
        phases = {phase_of(name) for name in BY_HAND if name in owners and not _runs(owners[name])}
        """What it defines itself, beside what the class that has `_run` does."""
        self.has_run = any(name in owners for name in RUNS)
        self._in_one_go = not inspect.iscoroutinefunction(wrappers["_run"])
        self.has_prep = "prep" in phases
        firsts = {phase_of(name): _first_parameter(vars(owners[name])[name]) for name in PHASES if name in owners}
        self.takes_store = self.has_run or firsts.get("prep") in ("shared", firsts.get("post", ""))
        """Whether its prep is given the store: of an engine that is not known the argument may be anything."""
        self.last = "exec" if "exec" in phases and "post" not in phases and not self.is_batch else "post"
        """The phase that ends a visit, where others call one after the other."""
        by_hand = () if self.is_flow or not cls.__weakrefoffset__ else BY_HAND
        self.by_hand = frozenset(name for name in by_hand if name in self._entries)
        """Methods whose calls mean something without a visit around them."""
        self._attempts = 0 if not self.is_flow and any(name in self._entries for name in EXECS) else 1
        self._codes: dict[tuple[str, Origin], Code] = {}
        self.unentered = frozenset(
            name
            for name, phase in PHASES.items()
            if not (phase == "exec" and self.is_batch) and not (phase == "prep" and self.is_batch_flow)
        )
        """Methods whose calls mean nothing unless phases become spans."""

    def is_entry(self, name: str, wrapper: object) -> bool:
        """Whether a call of method `name` by `wrapper` comes from outside: one of a base's comes through super()."""
        return self._entries.get(name) == id(wrapper)

    def code(self, method: str, node: object, origin: Origin = "program") -> Code:
        """What is known of a call of `method`, named by the class's decorator, else after the node."""
        code = self._codes.get((method, origin)) or self._code(method, origin)
        if self.opener is not None and self.opener.name is not None:
            return code
        name = self._own_name(node)
        return code if name is None else code.named(name)

    def _code(self, method: str, origin: Origin) -> Code:
        known = Code(self.name, loose=not self.is_flow, origin=origin) if self.opener is None else self.opener.code
        given = None if self.opener is None else self.opener.name
        code = replace(
            known,
            name=given or self.name,
            of_class=known.loose,
            bare=given is None and self.is_flow and self.name in _BARE,
            function=name_of(f"{self._where}.{method}"),
            batch=self.is_batch,
            attempts=self._attempts,
            in_one_go=method == "_run" and self._in_one_go,
            silent=self.unentered,
        )
        return self._codes.setdefault((method, origin), code)

    def name_of(self, node: object) -> str:
        """A node's own `name` or `node_name`, else its class's.

        Only its class and its `__dict__` are looked at: some nodes answer every attribute.
        """
        return self._own_name(node) or self.name

    def _own_name(self, node: object) -> str | None:
        own = getattr(node, "__dict__", {})
        if not self._is_named and own.keys().isdisjoint(self._own_names):
            return None
        for key, of_class in self._names_of_class.items():
            value = own.get(key)
            value = _value_of(of_class, node) if value is None else value
            if isinstance(value, str) and value.strip():
                return name_of(value)
        return None


def _defines(cls: type, name: str) -> bool:
    """Whether a class has a method of its own: not where one was put there only to record that of a base."""
    return name in vars(cls) and getattr(vars(cls)[name], WRAPPED, (None, cls))[1] is not None


def _runs(cls: type) -> bool:
    """Whether it is the class that calls `prep`, `exec` and `post`."""
    return any(_defines(cls, name) for name in RUNS)


def _first_parameter(method: object) -> str | None:
    """The name of what a method is given first, if it has one."""
    code = getattr(inspect.unwrap(method) if isfunction(method) else None, "__code__", None)
    return code.co_varnames[1] if code is not None and code.co_argcount > 1 else None


_known: dict[int, tuple[weakref.ref[type], NodeClass]] = {}


def class_of(node: Any) -> NodeClass:
    """What a node's class is."""
    cls, all_known = type_of(node), _known
    known = all_known.get(id(cls))
    if known is not None:
        return known[1]
    key, found = id(cls), NodeClass(cls)
    # Into those of before, where all are found anew meanwhile: its methods may have been wrapped since.
    all_known[key] = (weakref.ref(cls, lambda _: all_known.pop(key, None)), found)
    return found


def forget_classes() -> None:
    """Find everything anew: methods have been wrapped or put back."""
    global _known
    _known = {}


def phase_of(name: str) -> str:
    """Which phase a method is."""
    return PHASES.get(name, "exec")


def refusal(cls: type) -> str | None:
    """Why visits of `cls` cannot be recorded; None where they can."""
    methods = {name: vars(base)[name] for base in reversed(cls.__mro__) for name in METHODS if name in vars(base)}
    names = methods.keys()
    if not names.isdisjoint(RUNS) and not names.isdisjoint(BY_HAND):
        return None
    phases = {phase_of(name) for name in BY_HAND if name in names}
    if "exec" not in phases and phases != {"prep", "post"}:
        return "it has no prep, exec or post as a node has them"
    ends = {"prep" if "prep" in phases else "exec", "post" if "post" in phases else "exec"}
    odd = [name for name in BY_HAND if name in names and phase_of(name) in ends and not isfunction(methods[name])]
    if odd:
        return f"it has no _run, and {', '.join(odd)} is no plain method"
    return None if cls.__weakrefoffset__ else "it has no _run, and __slots__ without __weakref__"


def item_of(node: object, params: Any = None) -> tuple[object, str | None]:
    """Which item of a batch flow a node works on, and the platform that it names: from the parameters a flow sets."""
    if params is None:
        params = getattr(node, "__dict__", {}).get("params")
    try:
        return _item_of(params) if params else (None, None)
    except BaseException as error:  # Of the methods of what is in them.
        if from_handler(error):
            raise
        return None, None


def _item_of(params: Any) -> tuple[object, str | None]:
    if not isinstance(params, dict):
        return None, None
    values = cast("dict[Any, Any]", params)
    platform = values.get(default.recorder.settings.platform_key)
    plain = _Plain()
    item = tuple((str(key), found) for key, value in plain.some(values) if (found := plain.of(value)) is not None)
    # Only a hash: the parameters may be large, and there may be many of them.
    return hash(item) if item else None, name_of(platform) if isinstance(platform, str) else None


class _Plain:
    """What tells one item's parameters from another's: the first of their parts that are plain data."""

    def __init__(self) -> None:
        self._left = _MOST_PARTS

    def of(self, value: Any, depth: int = 3) -> object:
        """Something hashable that is equal where `value` is; None where `value` is no plain data.

        Other objects tell no items apart: their `__eq__` and `__hash__` are the workflow's, and ids are used again.
        """
        if type(value) in (str, int, float, bool):
            return value
        if isinstance(value, (str, int, float)):
            return None
        if depth == 0 or not isinstance(value, (list, tuple, dict)):
            return None
        is_dict = isinstance(value, dict)
        return (is_dict, *(self.of(part, depth - 1) for part in self.some(cast("Collection[Any]", value))))

    def some(self, whole: Collection[Any]) -> list[Any]:
        """Its first parts, as many as are left to look at."""
        all_parts = cast("dict[Any, Any]", whole).items() if isinstance(whole, dict) else whole
        parts: list[Any] = list(islice(all_parts, self._left))
        self._left -= len(parts)
        return parts


def _value_of(of_class: object, node: object) -> object:
    """What a class says of a node: a plain value, or what a property makes of it.

    A cached property is asked without its cache, so that the node does not keep what it says so early.
    """
    if isinstance(of_class, str) or of_class is None:
        return of_class
    before, store_in_use.here = store_in_use.here, True  # A name that is told by running the node would never end.
    try:
        if isinstance(of_class, functools.cached_property):
            return cast("functools.cached_property[object]", of_class).func(node)
        # Of other descriptors those that no value of the node hides: they keep none there.
        told = hasattr(type_of(of_class), "__set__")
        return cast("Any", of_class).__get__(node, type(node)) if told else None
    except BaseException as error:
        if from_handler(error):
            raise
        return None
    finally:
        store_in_use.here = before

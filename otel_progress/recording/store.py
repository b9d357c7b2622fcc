"""Reading and writing `shared`, whatever it is, without surprising it.

`shared` is mostly a dict, and may be any mapping, a dataclass, a plain object or None. It belongs to the workflow: it
is read afresh every time, and a fault of its own methods ends here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

from . import raised
from .faults import from_handler
from .visible import printable

LONGEST_NAME = 200
MOST_NAMES = 64
MOST_TOLD_APART = 1000
"""Stages of a run, platforms and versions of a stage: what comes after these is counted, and not kept by name."""
_LONGEST_MARGIN = 1000  # Characters of a name that are looked at.
_ARRAYS = ("__array__", "__dataframe__", "__array_interface__")


type_of: Callable[[object], type[object]] = type
"""A checker that sees `type` narrows Any to a type that it does not know.

Where it matters it stands for `isinstance` too: that asks the object, which may answer anything or raise.
"""
_bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_own_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__


class _StoreInUse(threading.local):
    here = False
    """Whether the workflow's code is asked in this thread what a store or a node says: what it does then is unrecorded.

    Else a store whose reading runs a stage would be read for that stage, and so on without end.
    """


store_in_use = _StoreInUse()


def read(holder: Any, key: str) -> Any:
    """The value under `key` in a mapping or on an object; None where there is none or where reading fails."""
    if type_of(holder) is dict:
        try:
            return holder.get(key)
        except BaseException as error:  # Another key's `__eq__`.
            if from_handler(error):
                raise
            return None
    if holder is None:
        return None
    before, store_in_use.here = store_in_use.here, True
    try:
        return holder.get(key) if _is_mapping(holder) else getattr(holder, key, None)
    except BaseException as error:
        if from_handler(error):
            raise
        return None
    finally:
        store_in_use.here = before


def write(holder: Any, key: str, value: Any) -> bool:
    """Put `value` under `key`; False where the holder refuses."""
    if holder is None:
        return False
    before, store_in_use.here = store_in_use.here, True
    try:
        if type(holder) is dict or _is_mapping(holder):
            holder[key] = value
        else:
            setattr(holder, key, value)
    except BaseException as error:
        if from_handler(error):
            raise
        return False
    finally:
        store_in_use.here = before
    return True


def _is_mapping(holder: Any) -> bool:
    # The second form is for mappings that are not registered as such, a multiprocessing.Manager().dict() for one.
    kind = cast("type[object]", type(holder))
    return issubclass(kind, Mapping) or (hasattr(kind, "__setitem__") and hasattr(kind, "get"))


def name_of(value: object) -> str:
    """`value` as a name for people and databases: a string without its margins, at most 200 characters long."""
    try:
        text = value if type(value) is str else str.__str__(value if isinstance(value, str) else str(value))
        text = (text if len(text) <= _LONGEST_MARGIN else text[:_LONGEST_MARGIN]).strip()
    except BaseException as error:  # It is the workflow's own method.
        if from_handler(error):
            raise
        text = raised.type_name(value)
    return printable(text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…")


def type_name(error: BaseException) -> str:
    """The name of an exception's type."""
    return name_of(raised.type_name(error))


def given_store(shared: Any) -> Any:
    """`shared`, if it can be a workflow's store; None for a number, a text, an array or a table of data.

    A store that is named as such may be any mapping, Manager proxy, dataclass or plain object. A DataFrame would grow
    columns.
    """
    if type_of(shared) is dict or shared is None:
        return shared
    kind = type_of(shared)
    if issubclass(kind, (int, float, complex, str, bytes, bytearray, memoryview, tuple, list, set, frozenset)):
        return None
    return None if [mark for mark in _ARRAYS if _defines(kind, mark)] else shared


def found_store(shared: Any) -> Any:
    """`shared`, if what merely has this name as an argument is a store: a dict, a Manager proxy or a dataclass.

    Other objects with that name (a table, a cookie jar, a file) may be anything.
    """
    if type_of(shared) is dict or shared is None:
        return shared
    kind = type_of(shared)
    if issubclass(kind, dict) or _defines(kind, "__dataclass_fields__"):
        return given_store(shared)
    bases = [(_own_of(base).get("__module__"), raised.name_of(base)) for base in _bases_of(kind)]
    return shared if ("multiprocessing.managers", "BaseProxy") in bases else None


def _defines(kind: type, name: str) -> bool:
    """Whether a class has an attribute, as far as nobody has to be asked: a metaclass may answer anything, or raise."""
    return bool([base for base in _bases_of(kind) if name in _own_of(base)])

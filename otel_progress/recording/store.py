"""Reading and writing `shared`, whatever it is, without surprising it.

`shared` is mostly a dict, and may be any mapping, a dataclass, a plain object or None. It belongs to the workflow: it
is read afresh every time, nothing in it is kept, and a fault of its own methods ends here.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from . import raised
from .faults import from_handler, report
from .visible import printable

LONGEST_NAME = 200
MOST_NAMES = 64
MOST_TOLD_APART = 1000
"""Stages of a run, platforms and versions of a stage: what comes after these is counted, and not kept by name."""
_LONGEST_LIST = 16_384  # Characters of a text that lists platforms.
_LONGEST_MARGIN = 1000  # Characters of a name that are looked at.
_ARRAYS = ("__array__", "__dataframe__", "__array_interface__")


type_of: Callable[[object], type[object]] = type
"""A checker that sees `type` narrows Any to a type that it does not know.

Where it matters it stands for `isinstance` too: that asks the object, which may answer anything or raise.
"""
_bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_own_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__


class _Here(threading.local):
    reading = False
    """Whether a store is being read or written in this thread: what its own methods do then is not recorded.

    Else a store whose reading runs a stage would be read for that stage, and so on without end.
    """


here = _Here()


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
    before, here.reading = here.reading, True
    try:
        return holder.get(key) if _is_mapping(holder) else getattr(holder, key, None)
    except BaseException as error:
        if from_handler(error):
            raise
        return None
    finally:
        here.reading = before


def write(holder: Any, key: str, value: Any) -> bool:
    """Put `value` under `key`; False where the holder refuses."""
    if holder is None:
        return False
    before, here.reading = here.reading, True
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
        here.reading = before
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


@dataclass(frozen=True)
class Platforms:
    """The platforms that something works for: how many, and the names of those that have one."""

    names: tuple[str, ...] = ()
    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


NO_PLATFORMS = Platforms()


def platforms_of(value: Any) -> Platforms:
    """Platforms as workflows write them: a list, tuple, set, dict (its keys), comma-separated string, number or None.

    An entry that is a dict is named by its `name` or `platform`; an entry without a name only counts.
    """
    if value is None:
        return NO_PLATFORMS
    try:
        kind = type_of(value)
        if kind is list or kind is tuple:
            first = tuple(value if len(value) <= MOST_NAMES else value[:MOST_NAMES])
            if set(map(type, first)) == {str}:
                known = _known(first)
                more = len(value) - len(first)
                return known if more <= 0 else Platforms(known.names, known.count + more)
        elif kind is str:
            return _known(value[:_LONGEST_LIST])
        return _platforms_of(value)
    except BaseException as error:  # An odd container may fail in any method of its own.
        if from_handler(error):
            raise
        return NO_PLATFORMS


def _known(value: str | tuple[str, ...]) -> Platforms:
    """The usual case: it is asked for at the start and the end of every visit, and seldom changes."""
    try:
        return _kept(value)
    except _TooLongToKeepError:
        return _platforms_of(value)


@functools.lru_cache(maxsize=128)
def _kept(value: str | tuple[str, ...]) -> Platforms:
    if type(value) is tuple and max(map(len, value)) > LONGEST_NAME:
        raise _TooLongToKeepError
    return _platforms_of(value)


class _TooLongToKeepError(Exception):
    """Texts of the workflow that are not kept beyond it."""


def _platforms_of(value: Any) -> Platforms:
    if isinstance(value, Platforms):
        return value
    if (number := _whole(value)) is not None:
        return Platforms(count=number)
    entries: list[Any]
    if isinstance(value, str):
        listed = [part for part in value[:_LONGEST_LIST].split(",") if part.strip()]
        entries, more = listed[:MOST_NAMES], len(listed[MOST_NAMES:])
    elif isinstance(value, Collection) and not isinstance(value, (bytes, bytearray)):
        # Not any iterable: reading a generator would use up what the workflow needs.
        whole = cast("Collection[Any]", value)
        entries = list(itertools.islice(whole, MOST_NAMES))
        more = len(whole) - len(entries)
        if isinstance(value, (set, frozenset)):
            entries.sort(key=str)
    else:
        report("what is given as platforms is no list, text or whole number, and is ignored")
        return NO_PLATFORMS
    found: dict[str, None] = {}
    unnamed = 0
    for entry in entries:
        name = _platform_name(entry)
        if name:
            found[name] = None
        else:
            unnamed += 1
    return Platforms(tuple(found), len(found) + unnamed + max(0, more))


def _platform_name(entry: Any) -> str:
    if isinstance(entry, Mapping):
        entry = read(entry, "name") or read(entry, "platform")
    return name_of(entry) if isinstance(entry, (str, int)) and not isinstance(entry, bool) else ""


def read_platforms(shared: Any) -> Platforms:
    """The platforms in `shared`'s `task_requirements.platforms`."""
    task = read(shared, "task_requirements")
    return NO_PLATFORMS if task is None else platforms_of(read(task, "platforms"))


def revision_of(value: Any) -> int | None:
    """A revision count as workflows write it; None where `value` is none, which is said once."""
    if value is None:
        return None
    if issubclass(type_of(value), str):
        text = str.__str__(value)[:20].strip()
        value = int(text) if len(text) < 20 and text.isdecimal() else text or None
    if (number := _whole(value)) is None and value is not None:
        report("a revision count is no whole number, and is ignored")
    return number


def _whole(value: Any) -> int | None:
    """A whole number of any type as a count; None where `value` is none."""
    number = None if type_of(value) is bool else whole_number(value)
    return None if number is None else max(0, number)


def whole_number(value: Any) -> int | None:
    """A whole number of any type (numpy's too) within 64 bits as an int; None where `value` is none."""
    if type(value) is int:
        return value if abs(value) < 2**63 else None
    if value is None or issubclass(type_of(value), (str, bytes, bytearray)):
        return None
    try:
        number = int(value)
        return number if number == value and abs(number) < 2**63 else None
    except BaseException as error:
        if from_handler(error):
            raise
        return None


def read_revision(shared: Any) -> int | None:
    """The workflow's own count: `quality_control.revision_count`, else `workflow_state.revision_count`."""
    for key in ("quality_control", "workflow_state"):
        holder = read(shared, key)
        if holder is not None and (revision := revision_of(read(holder, "revision_count"))) is not None:
            return revision
    return None


@dataclass(frozen=True)
class Version:
    """One entry of `version_history`, without its content."""

    id: str
    action: str | None


class Seen(NamedTuple):
    """What one look at a store tells."""

    platforms: Platforms = NO_PLATFORMS
    revision: int | None = None
    versions: int = 0
    """How many entries `version_history` has."""


NOTHING_SEEN = Seen()


def look_at(shared: Any) -> Seen:
    """The platforms, the revision and the number of versions that `shared` says at this moment."""
    if shared is None:
        return NOTHING_SEEN
    if type_of(shared) is dict:  # Mostly, and mostly it says nothing of these.
        if not (
            "task_requirements" in shared
            or "quality_control" in shared
            or "version_history" in shared
            or "workflow_state" in shared
        ):
            return NOTHING_SEEN
        get = shared.get
        task, control, history = get("task_requirements"), get("quality_control"), get("version_history")
        if type_of(task) is type_of(control) is dict:  # As most say it, if they do.
            platforms, revision = task.get("platforms"), control.get("revision_count")
            if type_of(revision) is int and 0 <= revision < 2**63:
                return Seen(platforms_of(platforms), revision, 0 if history is None else len(_history(shared)))
    return Seen(read_platforms(shared), read_revision(shared), len(_history(shared)))


def versions_since(shared: Any, count: int) -> list[Version]:
    """The entries added since there were `count`; all of them where the history was replaced by a shorter one."""
    history = _history(shared)
    if len(history) == count:
        return []
    versions: list[Version] = []
    first = max(count if len(history) >= count else 0, len(history) - MOST_TOLD_APART)
    for entry in list(history[first:]):
        identifier = read(entry, "version_id")
        if identifier is not None:
            action = read(entry, "action")
            versions.append(Version(name_of(identifier), name_of(action) if action is not None else None))
    return versions


def _history(shared: Any) -> Sequence[Any]:
    history = read(shared, "version_history")
    kind = type_of(history)
    return history if kind is list or kind is tuple else ()


def given_value(given: Any, shared: Any) -> Any:
    """What `platforms=` or `revision=` gives: a value, or what a callable makes of the store."""
    if not callable(given):
        return given
    try:
        return given(shared)
    except BaseException as error:
        if from_handler(error):
            raise
        report(f"{name_of(read(given, '__qualname__') or given)} failed to read the store", error)
        return None

"""Reading and writing `shared`, whatever it is, without surprising it.

`shared` is mostly a dict, and may be any mapping, a dataclass, a plain object or None. It belongs to the workflow: it
is read afresh every time, nothing in it is kept, and a fault of its own methods ends here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

LONGEST_NAME = 200
MOST_NAMES = 64


def read(holder: Any, key: str) -> Any:
    """The value under `key` in a mapping or on an object; None where there is none or where reading fails."""
    try:
        if type(holder) is dict:
            return cast("dict[str, Any]", holder).get(key)
        if holder is None:
            return None
        return holder.get(key) if _is_mapping(holder) else getattr(holder, key, None)
    except Exception:
        return None


def write(holder: Any, key: str, value: Any) -> bool:
    """Put `value` under `key`; False where the holder refuses."""
    try:
        if type(holder) is dict or _is_mapping(holder):
            holder[key] = value
        elif holder is None:
            return False
        else:
            setattr(holder, key, value)
    except Exception:
        return False
    return True


def _is_mapping(holder: Any) -> bool:
    # The second form is for mappings that are not registered as such, a multiprocessing.Manager().dict() for one.
    kind = cast("type[object]", type(holder))
    return issubclass(kind, Mapping) or (hasattr(kind, "__setitem__") and hasattr(kind, "get"))


def name_of(value: object) -> str:
    """`value` as a name for people and databases: a string without its margins, at most 200 characters long."""
    try:
        text = (value if isinstance(value, str) else str(value)).strip()
    except Exception:
        text = type(value).__name__
    return printable(text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…")


def printable(text: str) -> str:
    """`text` without lone surrogates: UTF-8 has none, and one makes an exporter drop its whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def store_of(shared: Any) -> Any:
    """`shared`, if it can be a workflow's store; None for a number, a text or a tuple that only has the name."""
    return None if isinstance(shared, (bool, int, float, complex, str, bytes, tuple, frozenset)) else shared


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
    try:
        return _platforms_of(value)
    except Exception:  # An odd container may fail in any method of its own.
        return NO_PLATFORMS


def _platforms_of(value: Any) -> Platforms:
    if value is None or isinstance(value, (bool, bytes, bytearray)):
        return NO_PLATFORMS
    if isinstance(value, Platforms):
        return value
    if (number := _whole(value)) is not None:
        return Platforms(count=number)
    entries: list[Any]
    if isinstance(value, str):
        entries = [part for part in value.split(",") if part.strip()]
    elif isinstance(value, Collection):  # Not any iterable: reading a generator would use up what the workflow needs.
        entries = list(cast("Collection[Any]", value))
        if isinstance(value, (set, frozenset)):
            entries.sort(key=str)
    else:
        return NO_PLATFORMS
    found: dict[str, None] = {}
    unnamed = 0
    for entry in entries:
        name = _platform_name(entry)
        if name:
            found[name] = None
        else:
            unnamed += 1
    return Platforms(tuple(found)[:MOST_NAMES], len(found) + unnamed)


def _platform_name(entry: Any) -> str:
    if isinstance(entry, Mapping):
        entry = read(entry, "name") or read(entry, "platform")
    return name_of(entry) if isinstance(entry, (str, int)) and not isinstance(entry, bool) else ""


def read_platforms(shared: Any) -> Platforms:
    """The platforms in `shared`'s `task_requirements.platforms`."""
    return platforms_of(read(read(shared, "task_requirements"), "platforms"))


def revision_of(value: Any) -> int | None:
    """A revision count as workflows write it; None where `value` is none."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    return _whole(value)


def _whole(value: Any) -> int | None:
    """A number of any type (numpy's too) as a count; None where `value` is none."""
    if value is None or isinstance(value, (bool, str, bytes, bytearray)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0, int(number)) if math.isfinite(number) else None


def read_revision(shared: Any) -> int | None:
    """The workflow's own count: `quality_control.revision_count`, else `workflow_state.revision_count`."""
    for holder in ("quality_control", "workflow_state"):
        revision = revision_of(read(read(shared, holder), "revision_count"))
        if revision is not None:
            return revision
    return None


@dataclass(frozen=True)
class Version:
    """One entry of `version_history`, without its content."""

    id: str
    action: str | None


def version_count(shared: Any) -> int:
    """How many entries `version_history` has."""
    history = read(shared, "version_history")
    return len(cast("Sequence[Any]", history)) if isinstance(history, (list, tuple)) else 0


def versions_since(shared: Any, count: int) -> list[Version]:
    """The entries added since there were `count`; all of them where the history was replaced by a shorter one."""
    history = read(shared, "version_history")
    if not isinstance(history, (list, tuple)):
        return []
    entries = list(cast("Sequence[Any]", history))
    added = entries[count:] if len(entries) >= count else entries
    versions: list[Version] = []
    for entry in added:
        identifier = read(entry, "version_id")
        if identifier is not None:
            action = read(entry, "action")
            versions.append(Version(name_of(identifier), name_of(action) if action is not None else None))
    return versions

"""What a store says of its workflow: platforms, revision and versions. Of it only short names of platforms are kept."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .faults import from_handler, report
from .store import LONGEST_NAME, MOST_NAMES, MOST_TOLD_APART, name_of, read, store_in_use, type_of

if TYPE_CHECKING:
    from .call import Code

_LONGEST_LIST = 16_384  # Characters of a text that lists platforms.


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
    before, store_in_use.here = store_in_use.here, True
    try:
        return given(shared)
    except BaseException as error:
        if from_handler(error):
            raise
        report(f"{name_of(read(given, '__qualname__') or given)} failed to read the store", error)
        return None
    finally:
        store_in_use.here = before


def said_of(code: Code, shared: Any, seen: Seen) -> tuple[Platforms, int | None]:
    """Platforms and revision of a call: what the user gave wins over what was seen in the store."""
    platforms, revision = seen.platforms, seen.revision
    if code.platforms is not None:
        platforms = platforms_of(given_value(code.platforms, shared))
    if code.revision is not None:
        revision = revision_of(given_value(code.revision, shared))
    return platforms, revision

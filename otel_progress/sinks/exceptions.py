"""Exceptions as spans tell of them: as Python prints them, but bounded, and without messages where these stay in."""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from opentelemetry.trace import SpanContext
from opentelemetry.util.types import AttributeValue

from ..recording import raised
from ..recording.faults import from_handler
from ..recording.store import name_of
from ..recording.visible import LONGEST_TEXT, LONGEST_TRACE, bounded

_MOST_LINKS = 16
_MOST_MEMBERS = 15
_MOST_DEPTH = 8
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


Send = Callable[[SpanContext, int | None, int, Mapping[str, AttributeValue]], object]
"""What sends an exception as a log event: of which span, when, with what severity and attributes."""


def whole_name(error: BaseException) -> str:
    """The qualified name of its type; that alone where it is one of Python's own."""
    return name_of(raised.whole_name(error))


def message_of(value: object) -> str:
    """What an exception or a note of it says."""
    try:
        return bounded(str(value), LONGEST_TEXT)
    except BaseException as fault:  # It is the workflow's own method.
        if from_handler(fault):
            raise
        return ""


def stacktrace(error: BaseException, *, messages: bool) -> str:
    """Where it was raised, with its causes or what was being handled, the members of a group, and notes."""
    return bounded("".join(_lines(error, messages, 0, {id(error)})), LONGEST_TRACE)


def _lines(error: BaseException, messages: bool, depth: int, seen: set[int]) -> Iterator[str]:
    for each, link in reversed(_links(error, seen)):
        if (trace := raised.trace_of(each)) is not None:
            yield "Traceback (most recent call last):\n"
            yield from traceback.format_tb(trace)
        message = message_of(each) if messages else ""
        yield f"{whole_name(each)}: {message}\n" if message else f"{whole_name(each)}\n"
        if messages:
            yield from (f"{message_of(note)}\n" for note in _several(each, "__notes__"))
        if raised.is_a(each, _groups()):
            yield from _members(_several(each, "exceptions"), messages, depth + 1, seen)
        yield link


def _links(error: BaseException, seen: set[int]) -> list[tuple[BaseException, str]]:
    """An exception and those that led to it, each with what is said between it and the one that it led to."""
    links = [(error, "")]
    while len(links) < _MOST_LINKS:
        cause: Any = _read(error, "__cause__")
        before: Any = None if cause is None and _read(error, "__suppress_context__") else _read(error, "__context__")
        before = before if cause is None else cause
        if not isinstance(before, BaseException) or id(before) in seen:
            break
        seen.add(id(before))
        links.append((before, _CONTEXT if cause is None else _CAUSE))
        error = before
    return links


def _members(members: Sequence[object], messages: bool, depth: int, seen: set[int]) -> Iterator[str]:
    for number, member in enumerate(members, 1):
        if depth > _MOST_DEPTH or number > _MOST_MEMBERS:
            yield f"  +---------------- {len(members) - number + 1} more ----------------\n"
            return
        yield f"  +---------------- {number} ----------------\n"
        if isinstance(member, BaseException) and id(member) not in seen:
            seen.add(id(member))
            text = "".join(_lines(member, messages, depth, seen))
            yield from (f"  | {line}" for line in text.splitlines(keepends=True))


def _groups() -> tuple[type[BaseException], ...]:
    """The classes of groups: Python's, and before 3.11 those of the backport."""
    homes = builtins, sys.modules.get("exceptiongroup")
    return tuple({group for home in homes if (group := getattr(home, "BaseExceptionGroup", None)) is not None})


def _several(error: BaseException, name: str) -> Sequence[object]:
    value = _read(error, name)
    return cast("Sequence[object]", value) if isinstance(value, (list, tuple)) else ()


def _read(error: BaseException, name: str) -> object:
    try:
        return getattr(error, name, None)
    except BaseException as fault:  # As in `message_of`.
        if from_handler(fault):
            raise
        return None

"""What single visits tell beside their times: rework, retries, waiting, items, first pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .. import names
from ..recording.times import NANO
from ..runs.model import Attempt, Item, Visit, Wait
from .numbers import Interval, union
from .shape import Shape

RETRY = "retry"
"""What a visit waits for between a failed attempt and the next one, as the metric has it."""


@dataclass
class Rework:
    """The repeats at a higher revision than the first visit of their stage."""

    visits: list[int] = field(default_factory=list[int])
    by_revision: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    undone: set[int] = field(default_factory=set[int])
    """First visits that some of it has repeated."""


def rework_of(shape: Shape) -> Rework:
    """Find it in a run."""
    found, first_revision = Rework(), dict[str, int]()
    first_of: list[int] = []
    latest: dict[tuple[str, str | None], int] = {}
    numbers = {visit.id: number for number, visit in enumerate(shape.visits)}
    for number, visit in enumerate(shape.visits):
        place = visit.stage, visit.item_platform
        if visit.number == 1:
            latest[place] = number
            first_of.append(number)
        else:
            repeats = (numbers.get(link.visit or "") for link in visit.links if link.kind == names.LINK_REPEATS)
            before = next(repeats, None)
            first_of.append(first_of[before] if before is not None and before < number else latest.get(place, number))
        if visit.revision is None:
            continue
        lowest = first_revision.setdefault(visit.stage, visit.revision)
        if visit.number > 1 and visit.revision > lowest:
            found.visits.append(number)
            found.by_revision.setdefault(visit.revision, []).append(number)
            found.undone.add(first_of[number])
    return found


def lost_to_retries(visit: Visit, started: int, ended: int) -> int:
    """Nanoseconds of failed attempts that others followed, and of the waiting between; at most the whole visit."""
    if not visit.retries:
        return 0
    lost = union(_within(each, started, ended) for each in _failed_before_others(visit))
    return min(ended - started, lost + round(between_attempts(visit) * NANO))


def _failed_before_others(visit: Visit) -> tuple[Attempt, ...]:
    """As many as there were retries, the earliest: what failed last was followed by none."""
    return tuple(sorted(visit.failed, key=lambda each: (each.started, each.ended)))[: visit.retries]


def between_attempts(visit: Visit) -> float:
    """Seconds that it waited between attempts: what it has not said itself to wait for."""
    said = sum((wait.ended or wait.started) - wait.started for wait in visit.waits) / NANO
    return max(0.0, visit.wait - said)


def waiting_of(visit: Visit, started: int, ended: int) -> dict[str, int]:
    """Nanoseconds that a visit waited, by reason; of several at once for one reason the time that any did."""
    by_reason: dict[str, list[Interval]] = {}
    for wait in visit.waits:
        by_reason.setdefault(wait.reason, []).append(_within(wait, started, ended))
    found = {reason: union(waits) for reason, waits in by_reason.items()}
    between = min(ended - started, round(between_attempts(visit) * NANO)) if visit.retries else 0
    if between:
        found[RETRY] = found.get(RETRY, 0) + between
    return found


def waited_in(visit: Visit, started: int, ended: int) -> int:
    """Nanoseconds that a visit waited for anything: of several waits at once the time that any lasted."""
    said = union(_within(each, started, ended) for each in visit.waits)
    between = round(between_attempts(visit) * NANO) if visit.retries else 0
    return min(ended - started, said + between)


def _within(what: Attempt | Item | Wait, started: int, ended: int) -> Interval:
    begun = min(max(what.started, started), ended)
    return begun, max(begun, min(ended if what.ended is None else what.ended, ended))


@dataclass(frozen=True)
class Piece:
    """One item that a stage has worked on."""

    platform: str | None
    started: int
    ended: int
    failed: bool

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended - self.started) / NANO


def items_of(visit: Visit, started: int, ended: int) -> Iterator[Piece]:
    """The items in a visit; where it is the visit for an item of a batch flow, that one."""
    for item in visit.items:
        yield Piece(item.platform, *_within(item, started, ended), item.error is not None)
    if not visit.items and visit.item_platform is not None and visit.items_done + visit.items_failed <= 1:
        failed = visit.result not in {"success", "fallback"}
        yield Piece(visit.item_platform, started, ended, failed and visit.ended is not None)

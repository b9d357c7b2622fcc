"""Signs in a record that what went on at once held each other up: a pool, a semaphore, one interpreter lock.

The record does not hold such a bound, so nobody can tell what would happen if something took another time.
"""

from __future__ import annotations

import bisect
import itertools

from ..runs.model import Visit
from ..runs.wording import for_what
from .numbers import median
from .replay import Dependencies
from .shape import RUN, SLACK, Shape
from .visits import between_attempts

_APART = 4_000_000
"""Nanoseconds between the starts of things that were begun together, from which on something held them up: the
interpreter lets a thread that computes go on for five milliseconds before another one's turn comes."""
_TOGETHER = 50_000_000
"""Nanoseconds within which the starts of what is begun together follow each other."""
_LEAST_SAME = 4
_MOSTLY = 2 / 3
_CLOSE = 0.1


def bound_of(known: Dependencies, affected: frozenset[int]) -> str | None:
    """Why nobody can tell what would happen if `affected` visits took another time; None where nothing says so."""
    shape = known.shape
    affected = _with_what_holds_them(shape, affected)
    places = {shape.around[visit] for visit in affected}
    inside = shape.inside()
    for place in sorted(places):
        visits = inside[place]
        for group in _at_once(shape, visits):
            if len(group) < 2 or affected.isdisjoint(group):
                continue
            reason = (
                _queued(known, group) or _staggered(known, group) or _in_turns(shape, group) or _waits(shape, group)
            )
            if reason:
                return reason
    return None


def _with_what_holds_them(shape: Shape, visits: frozenset[int]) -> frozenset[int]:
    found: set[int] = set()
    for visit in visits:
        place = visit
        while place != RUN and place not in found:
            found.add(place)
            place = shape.parents[place]
    return frozenset(found)


def _at_once(shape: Shape, visits: list[int]) -> list[list[int]]:
    """Visits in groups that overlap, one with the next."""
    found: list[list[int]] = []
    until = 0
    for visit in sorted(visits, key=lambda each: (shape.starts[each], each)):
        if found and shape.starts[visit] < until:
            found[-1].append(visit)
            until = max(until, shape.ends[visit])
        else:
            found.append([visit])
            until = shape.ends[visit]
    return found


def _queued(known: Dependencies, group: list[int]) -> str | None:
    """They start as others end that they are not known to follow, always as many at once: they wait for a place."""
    shape = known.shape
    ends = sorted(shape.ends[each] for each in group)
    first, last = ends[0], ends[-1]
    starts = sorted(shape.starts[each] for each in group)
    later = [each for each in group if first <= shape.starts[each] < last and not _explained(shape, each)]
    open_at = {each: _open_at(starts, ends, shape.starts[each]) for each in group}
    most = max(open_at.values())
    in_place = 0
    for each in later:
        started = shape.starts[each]
        ended = ends[bisect.bisect_right(ends, started) - 1]
        in_place += started - ended <= SLACK and open_at[each] == most > 1
    if in_place and in_place >= _MOSTLY * len(later):
        return (
            f"{_named(shape, group)} began as others ended, never more than {most} at once: a pool or a semaphore "
            "bounds them, and the record does not hold how many it lets through"
        )
    return None


def _open_at(starts: list[int], ends: list[int], at: int) -> int:
    return bisect.bisect_right(starts, at + SLACK) - bisect.bisect_right(ends, at)


def _explained(shape: Shape, visit: int) -> bool:
    """Whether it started as soon as something that it is recorded to follow had ended."""
    latest = max((shape.ends[each] for each in shape.follows[visit]), default=None)
    return latest is not None and shape.starts[visit] - latest <= SLACK


def _staggered(known: Dependencies, group: list[int]) -> str | None:
    """What was begun together has started one after the other: who begins them computes, or what has begun does."""
    shape = known.shape
    together: dict[tuple[int, ...], list[int]] = {}
    for visit in group:
        together.setdefault(tuple(known.before[visit]), []).append(visit)
    for visits in together.values():
        starts = sorted(shape.starts[each] for each in visits)
        apart = [second - first for first, second in itertools.pairwise(starts)]
        shortest = min(shape.ends[each] - shape.starts[each] for each in visits)
        if apart and min(apart) > SLACK and median(apart) >= _APART and max(apart) <= shortest / 2:
            return (
                f"{_named(shape, visits)} were begun together and started {round(max(apart) / 1e6)} ms apart: they "
                "compute and share one interpreter, and the record does not hold how much they do"
            )
    return None


def _in_turns(shape: Shape, group: list[int]) -> str | None:
    """Visits of one stage that begin together take one, two, three times as long: inside they wait for each other."""
    by_stage: dict[str, list[int]] = {}
    for visit in group:
        by_stage.setdefault(shape.visits[visit].stage, []).append(visit)
    for visits in by_stage.values():
        first = min(shape.starts[each] for each in visits)
        times = sorted(
            shape.ends[each] - shape.starts[each] for each in visits if shape.starts[each] - first <= _TOGETHER
        )
        if len(times) < _LEAST_SAME or not times[0]:
            continue
        turns = [time / times[0] for time in times]
        whole = [round(turn) for turn in turns]
        if (
            max(whole) > 1
            and set(whole) == set(range(1, max(whole) + 1))
            and all(abs(turn - number) <= _CLOSE * number for turn, number in zip(turns, whole, strict=True))
        ):
            return (
                f"{_named(shape, visits)} began together and took one to {max(whole)} times as long as the shortest: "
                "inside they wait for each other, and the record does not hold for what"
            )
    return None


def _waits(shape: Shape, group: list[int]) -> str | None:
    for visit in group:
        found: Visit = shape.visits[visit]
        if found.waits and found.wait > between_attempts(found):
            return (
                f"a visit of {found.stage} waits{for_what(found.waits[0].reason)} while others go on, and the record "
                "does not hold how many that lets through"
            )
    return None


def _named(shape: Shape, visits: list[int]) -> str:
    stages = sorted({shape.visits[visit].stage for visit in visits if visit != RUN})
    return f"visits of {' and '.join(stages[:3])}{' and others' if len(stages) > 3 else ''}"

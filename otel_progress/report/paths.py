"""Which of what ran took the time: the path of a run, made while its visits start and end."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

_AT_ONCE = 100
"""What part of the time so far may lie between two visits of which one goes on at once where the other ended."""
_MOST_RECENT = 16
"""Paths that others may follow still, beside that which ended last: as many as a visit is said to follow."""


class Path:
    """What went on one after the other from the start of a run or visit on, up to some moment."""

    __slots__ = ("holders", "is_followed", "key", "parts", "started", "took", "until")

    def __init__(self, started: int) -> None:
        self.started = self.until = started
        """Nanoseconds, as the rest."""
        self.took = 0
        """How long its visits took, without what lies between them."""
        self.key: Hashable = None
        """The visit that it ends with."""
        self.parts: dict[object, int] = {}
        """How long each part of it took, those inside others too. What no part took, lies outside of all."""
        self.is_followed = False
        """Whether some visit has gone on from there because it is known to follow."""
        self.holders = 0
        """Open visits that it is the beginning of."""

    def copy(self) -> Path:
        """The same, to be extended in another way."""
        other = Path(self.started)
        other.until, other.took, other.parts = self.until, self.took, self.parts.copy()
        return other

    def extend(self, key: Hashable, until: int, took: int, parts: dict[object, int]) -> None:
        """Add a visit that ended then."""
        self.took += took
        own = self.parts
        for part, on_it in parts.items():
            own[part] = own.get(part, 0) + on_it
        self.key, self.is_followed = key, False
        self.until = max(self.until, until)

    def within(self, most: int) -> dict[object, int]:
        """Its parts, made to fit where they took longer than there is time, as clocks and processes differ.

        What lies between them is as long as it is left: it may hold hours that a machine slept.
        """
        if self.took <= most:
            return self.parts.copy()
        return {part: took * most // self.took for part, took in self.parts.items()}


class Paths:
    """The paths inside one run or visit."""

    __slots__ = ("last", "recent")

    def __init__(self, started: int) -> None:
        self.last = Path(started)
        """That of the visit that ended last."""
        self.recent: dict[Hashable, Path] = {}

    def before(self, started: int, follows: Sequence[Hashable]) -> Path:
        """The path up to a visit that starts then: of those that it follows, that which ended last; else the last.

        The last it is too for what follows a visit that others have followed, and starts later than they: it has waited
        for a worker, a thread of a pool, while something else went on there.
        """
        last = self.last
        if not self.recent or not follows or last.key in follows:
            last.is_followed = last.is_followed or last.key in follows
            return last
        known = [self.recent[each] for each in follows if each in self.recent]
        if not known:
            return last
        found = max(known, key=lambda path: path.until)
        if found.is_followed and (started - found.until) * _AT_ONCE > started - found.started:
            return last
        found.is_followed = True
        return found

    def extended(self, base: Path, key: Hashable, until: int, took: int, parts: dict[object, int]) -> Path:
        """The path that goes on from `base` with a visit that has ended: `base` itself, if nobody else needs it."""
        last, recent = self.last, self.recent
        if not base.holders and (base is last or recent.get(base.key) is base):
            path = base
            if base is not last:
                del recent[base.key]
        else:
            path = base.copy()
        path.extend(key, until, took, parts)
        if path is last:
            return path
        if path.until >= last.until:
            self.last, other = path, last
        else:
            other = path
        recent[other.key] = other
        if len(recent) > _MOST_RECENT:
            del recent[next(iter(recent))]
        return path

"""Random runs as the model has them: nested, at once, repeated, tried again, waiting, open."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from otel_progress import names
from otel_progress.runs import Attempt, Link, Run, Stage, Visit, Wait

from ..records import SECOND, START

STAGES = ("draft", "check", "Prüfung", "deploy <b>", "a stage with a name that is much longer than its column", "x", "")
RESULTS = ("success", "success", "success", "failure", "fallback", "cancelled", "abandoned")


@dataclass
class _Making:
    random: random.Random
    visits: list[Visit] = field(default_factory=list[Visit])
    numbers: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def inside(self, started: int, ended: int, parent: str | None, depth: int) -> None:
        """Some visits between two instants, one after the other or at once."""
        at, before = started, list[str]()
        for _ in range(self.random.randint(1 if depth == 0 else 0, 4)):
            if at >= ended:
                break
            many = self.random.choice((1, 1, 1, 2, 3))
            group: list[str] = []
            last = at
            for _ in range(many):
                begins = self.random.randint(at, ended)
                ends = self.random.randint(begins, min(ended, begins + (ended - started) // 2))
                group.append(self.visit(begins, ends, parent, before, depth))
                last = max(last, ends)
            at, before = last, group

    def visit(self, started: int, ended: int, parent: str | None, before: list[str], depth: int) -> str:
        """One visit, with what lies in it."""
        chance, own = self.random.random, f"v{len(self.visits)}"
        stage = self.random.choice(STAGES)
        number, earlier = self.numbers.get(stage, (0, ""))
        self.numbers[stage] = number + 1, own
        links = [Link(names.LINK_FOLLOWS, visit=each) for each in before if chance() < 0.8]
        more: dict[str, Any] = {"revision": number} if chance() < 0.5 else {}
        if number:
            links.append(Link(names.LINK_REPEATS, visit=earlier))
        is_open = chance() < 0.03
        if chance() < 0.25 and ended > started:
            middle = (started + ended) // 2
            failed = Attempt(1, started, middle, "builtins.ValueError", "it is <wrong>")
            more |= {"failed": (failed,), "attempts": 2, "retries": 1}
            if chance() < 0.5:
                more["wait"] = (ended - middle) / 2 / SECOND
        elif chance() < 0.2 and ended > started:
            more["waits"] = (Wait("quota", started + (ended - started) // 4, started + (ended - started) // 2),)
        self.visits.append(
            Visit(
                own,
                stage,
                number=number + 1,
                started=started,
                ended=None if is_open else ended,
                state="running" if is_open else "done",
                result=None if is_open else self.random.choice(RESULTS),
                action=self.random.choice((None, "default", "again")),
                parent=parent,
                links=tuple(links),
                **more,
            )
        )
        if depth < 3 and chance() < 0.4:
            self.inside(started, ended, own, depth + 1)
        return own


def random_run(seed: int) -> Run:
    """One of them; the same for the same seed. It takes from a tenth of a millisecond to some hours."""
    making = _Making(random.Random(seed))
    ended = START + round(10 ** making.random.uniform(5, 13.5))
    making.inside(START, ended, None, 0)
    visits = making.visits
    making.random.shuffle(visits)
    is_over = all(visit.ended is not None for visit in visits)
    counted = {visit.stage: sum(each.stage == visit.stage for each in visits) for visit in visits}
    return Run(
        f"{seed:032x}",
        f"workflow {seed}",
        "made",
        started=START,
        ended=ended if is_over else None,
        state="done" if is_over else "running",
        result="success" if is_over else None,
        stages=tuple(
            Stage(name, visits=number, dead_ends=int(name == "check" and seed % 3 == 0))
            for name, number in counted.items()
        ),
        visits=tuple(sorted(visits, key=lambda visit: visit.started)),
    )

"""What a record holds of one run beyond the model: attributes as they were recorded, and exceptions with stack traces.

Asked for when somebody looks at one run closely; costs a reading of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .. import names
from .collect import Collector, visit_id
from .ledger import Ledger
from .model import Run
from .otlp import Attributes, Fact, SpanFact, count, text
from .problems import Problems
from .sources import Input

_CLIMB = 100  # Spans between what raised and its visit.
_TYPE, _MESSAGE, _TRACE = "exception.type", "exception.message", "exception.stacktrace"


@dataclass(frozen=True)
class Raised:
    """An exception, as the span tells of it that it left, or a log record."""

    visit: str | None
    """The visit whose span it is, or that lies around it; None: it left the run, outside of every visit."""
    attempt: int | None
    """Which attempt it ended; None: another span."""
    type: str | None
    message: str | None
    trace: str | None
    """As Python prints it."""


@dataclass
class Details:
    """Of one run."""

    run: Attributes = field(default_factory=dict[str, Any])
    """Of its span, and of the resource."""
    visits: dict[str, Attributes] = field(default_factory=dict[str, Attributes])
    """Of each visit, by its id: of its span, or of its events where it has no span."""
    raised: list[Raised] = field(default_factory=list[Raised])


def details_of(inputs: Iterable[Input], run: Run) -> Details:
    """What `inputs` hold of a run, of those of its visits that the model holds."""
    collector = _Details(run)
    only = run.id.encode() if run.id.isascii() and run.id.isalnum() else None
    for each in inputs:
        if each.name in run.source:
            for one in (each, each.logs()):
                if one is not None:
                    one.read(collector, Problems(), only=only, growing=True)
    return collector.done()


class _Details(Collector):
    exceptions = True

    def __init__(self, run: Run) -> None:
        super().__init__(_NoShelf(), visits=1)
        self._run = run
        self._visits_of_spans = {visit.span_id or visit.id: visit.id for visit in run.visits}
        self._known = {visit.id for visit in run.visits}
        self._found = Details()
        self._of_events: dict[str, Attributes] = {}
        self._parents: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        self._raised: list[tuple[str, Attributes]] = []

    def add(self, fact: Fact) -> None:
        """Enter a fact."""
        if fact.run != self._run.id:
            return
        if isinstance(fact, SpanFact):
            self._parents[fact.span_id] = fact.parent_id
            self._raised += [(fact.span_id, each) for each in fact.exceptions]
            if fact.kind == "attempt":
                self._attempts[fact.span_id] = count(fact.attributes, names.STAGE_ATTEMPTS) or 1
            if fact.kind == "run":
                self._found.run.update(fact.resource | fact.attributes)
            elif fact.kind == "stage" and (visit := self._visits_of_spans.get(fact.span_id)) is not None:
                self._found.visits[visit] = fact.attributes
        elif fact.name == names.EVENT_EXCEPTION:
            self._raised.append((fact.span_id, fact.attributes))
        elif names.STAGE_NAME in fact.attributes:
            self._of_events.setdefault(visit_id(fact), {}).update(fact.attributes)

    def replace(self, ledger: Ledger) -> None:
        """A saved store holds no more than the model."""

    def done(self) -> Details:
        """All of it, exceptions in the order in which they were told."""
        for visit, found in self._of_events.items():
            if visit in self._known:
                self._found.visits.setdefault(visit, found)
        seen: set[tuple[str, str | None, str | None]] = set()
        for span, told in self._raised:
            said = text(told.get(_TYPE)), text(told.get(_MESSAGE)), text(told.get(_TRACE))
            if (span, said[0], said[2]) not in seen:  # It may be told by the span and by a log record.
                seen.add((span, said[0], said[2]))
                self._found.raised.append(Raised(self._around(span), self._attempts.get(span), *said))
        return self._found

    def _around(self, span: str) -> str | None:
        for _ in range(_CLIMB):
            if span in self._visits_of_spans:
                return self._visits_of_spans[span]
            span = self._parents.get(span, "")
        return None


class _NoShelf:
    """Nothing is put away."""

    def get(self, run: str) -> Ledger | None:
        """None."""

    def put(self, ledger: Ledger) -> None:
        """Nowhere."""

    def put_aside(self, bulk: Ledger) -> None:
        """Nowhere."""

"""Attributes of runs that the model does not have: of the resource, such as `service.version`, and of the run's span.

They are asked for now and then, to choose runs by them, and cost a reading of their own.
"""

from __future__ import annotations

from typing import Any

from .collect import Collector
from .ledger import Ledger
from .otlp import Attributes, Fact, SpanFact
from .problems import Problems
from .sources import Input


def attributes_of(inputs: list[Input]) -> dict[str, Attributes]:
    """What the spans in some inputs say of their runs, by the ids of the runs."""
    collector = _Attributes()
    for each in inputs:
        each.read(collector, Problems(), growing=True)
    return collector.found


class _Attributes(Collector):
    """Keeps nothing but these."""

    def __init__(self) -> None:
        super().__init__(_NoShelf())
        self.found: dict[str, Attributes] = {}

    def add(self, fact: Fact) -> None:
        """Enter a fact."""
        if isinstance(fact, SpanFact):
            own: dict[str, Any] = fact.attributes if fact.kind == "run" else {}
            self.found.setdefault(fact.run, {}).update(fact.resource | own)

    def replace(self, ledger: Ledger) -> None:
        """A saved store says none."""


class _NoShelf:
    """Nothing is put away."""

    def get(self, run: str) -> Ledger | None:
        """None."""

    def put(self, ledger: Ledger) -> None:
        """Nowhere."""

    def put_aside(self, bulk: Ledger) -> None:
        """Nowhere."""

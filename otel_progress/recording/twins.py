"""One visit that shows as two, as a tracker and a node name it differently. It is said how to make it one."""

from __future__ import annotations

from ..names import OTEL_PROGRESS_STAGE_NAMES
from .faults import report
from .visits import Part, Visit

_SAME = 0.95
"""Share of the tracker's time that a node takes which is the same."""
_SHORTEST = 1_000_000
"""Nanoseconds: below that, what a flow does between its nodes may be as long."""


class Inside:
    """The visits of nodes that ended inside a visit that a tracker began."""

    nodes = 0
    name = ""
    nanos = 0


def note(visit: Visit, ended: int) -> None:
    """A visit ends while trackers have others open: it may be one of them."""
    if visit.by_tracker or visit.node is None:
        return
    around = visit.parent
    while isinstance(around, Part):
        around = around.owner
    for tracked in list(visit.run.tracked.values()):
        is_part = isinstance(around, Visit) and around.started >= tracked.started  # Of another that lies inside.
        if visit.started >= tracked.started and not is_part:
            inside = tracked.inside = tracked.inside or Inside()
            inside.nodes += 1
            inside.name, inside.nanos = visit.stage if visit.code.loose else "", ended - visit.started


def say(tracked: Visit, ended: int) -> None:
    """A visit that a tracker began has ended: say so where it was that of one node, from its start to its end."""
    inside, nanos = tracked.inside, ended - tracked.started
    if inside is None or inside.nodes != 1 or not inside.name or nanos < _SHORTEST or inside.nanos < _SAME * nanos:
        return
    node, stage = inside.name, tracked.stage
    report(
        f"the stage {stage!r} of a tracker and the node {node!r} are one visit, recorded as two. To make them one: "
        f"PocketFlowInstrumentor().instrument(stage_names={{{node!r}: {stage!r}}}), or "
        f"{OTEL_PROGRESS_STAGE_NAMES}={node}={stage}"
    )

"""What a way in tells the recorder of a call: complete and frozen, one object from the way in to the visit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

Origin = Literal["program", "outside"]
"""Who asked for a recording: the program itself (its decorator, block, tracker or `instrument()`), or somebody outside
of it (`otel-progress run`, `opentelemetry-instrument`)."""


@dataclass(frozen=True, slots=True)
class Code:
    """What is known of the code of a stage or workflow before it is called: found once, not at every call."""

    name: str
    """Name of the stage or workflow."""
    function: str | None = None
    """Qualified name of the code."""
    budget: float | None = None
    """Seconds that a visit may take."""
    platforms: Any = None
    """Value, or callable of the store; None: as read from the store."""
    revision: Any = None
    """Value, or callable of the store; None: as read from the store."""
    loose: bool = False
    """Whether the name may be another spelling of one that the run knows: a class's, a node's or a tracker's."""
    of_class: bool = False
    """Whether it is a class's: a final `Node` does not tell it from others."""
    bare: bool = False
    """Whether the name is only that of a kind of flow, so that a run is better named after the program."""
    batch: bool = False
    """Whether it works on the items of a batch."""
    attempts: int = 1
    """Attempts so far when it is called: none where they are seen and counted as they come."""
    in_one_go: bool = False
    """Whether it is a plain function: the task or thread that begins a call ends it. Of a coroutine nobody knows."""
    origin: Origin = "program"
    silent: frozenset[str] = frozenset()
    """Methods of the node that a call of this one calls itself, as `_run` does `prep`: inside it their calls record
    nothing, unless phases become spans, and are passed over by one look at what is current."""

    def named(self, name: str) -> Code:
        """The same by a name that was given."""
        return replace(self, name=name, of_class=False, bare=False)


NO_CODE = Code("")
"""Of what is no call of the workflow's."""


class Call(NamedTuple):
    """One call of `Code`."""

    code: Code
    shared: Any = None
    """The workflow's store; None: that of the run around it."""
    node: object = None
    """The object whose call it is."""
    item: object = None
    """Which item of a batch flow it is for (hashable)."""
    item_platform: str | None = None
    """The platform that the item names."""

"""What the address of the list asks for, in the words of `otel-progress runs`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

from ..names import Result
from ..runs import Filter, State
from ..runs.index import ORDERS
from ..runs.listed import moment

STATES = (*get_args(State), *get_args(Result))
_LONGEST = 200
_MOST_PAGES = 1_000_000


@dataclass(frozen=True)
class Asked:
    """Which runs, in which order, and which page of them."""

    wanted: Filter = field(default_factory=Filter)
    order: str = "started"
    rising: bool = False
    page: int = 1
    trend: str | None = None
    """The workflow whose trends are shown; None: that of the run that ended last."""
    said: dict[str, Any] = field(default_factory=dict[str, Any])
    """The same as the address says it, for the fields of the page."""
    wrong: tuple[str, ...] = ()
    """What is wrong with it. That is left out of account."""


def asked(pairs: Iterable[tuple[str, str]]) -> Asked:
    """What the parameters of an address ask for; those that there are not are passed over."""
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if value or name == "trend":  # A workflow may have no name.
            given.setdefault(name, []).append(value[:_LONGEST])
    wrong: list[str] = []
    times: dict[str, int | None] = {}
    for name in ("since", "until"):
        try:
            times[name] = moment(given[name][-1]) if name in given else None
        except ValueError as error:
            times[name] = None
            wrong.append(f"{name}: {error}")
    states = list(dict.fromkeys(given.get("state", ())))
    if unknown := [state for state in states if state not in STATES]:
        wrong.append(f"state: {', '.join(unknown)} is none of {', '.join(STATES)}")
    states = [state for state in states if state in STATES]
    workflow = given["workflow"][-1] if "workflow" in given else None
    sort = given["sort"][-1] if "sort" in given else "-started"
    order, rising = sort.removeprefix("-"), not sort.startswith("-")
    if order not in ORDERS:
        wrong.append(f"sort: {sort} is none of {', '.join(ORDERS)}")
        order, rising = "started", False
    number = given["page"][-1] if "page" in given else "1"
    page = int(number) if number.isdecimal() and len(number) < 8 else 0
    if not 0 < page <= _MOST_PAGES:
        wrong.append(f"page: {number} is no number of a page")
        page = 1
    trend = given["trend"][-1] if "trend" in given else None
    return Asked(
        Filter(workflow, states, times["since"], times["until"]),
        order,
        rising,
        page,
        trend,
        {
            "workflow": workflow or "",
            "state": states,
            "since": given.get("since", [""])[-1],
            "until": given.get("until", [""])[-1],
            "sort": order if rising else f"-{order}",
            "page": page,
            "trend": trend or "",
        },
        tuple(wrong),
    )

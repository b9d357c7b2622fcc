"""From the ledger of a run to the model: which of two witnesses is believed, and in which state everything is."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .. import names
from .ledger import Fields, Ledger, Totals
from .model import Attempt, Item, Link, Run, Stage, State, Version, Visit, Wait
from .quickly import quickly
from .states import Processes, pid_of
from .wording import for_all

_CLIMB = 100  # Spans between a visit and the one around it.
_link, _stage, _visit = quickly(Link), quickly(Stage), quickly(Visit)
_Inside = tuple[list[Attempt], list[Item], list[Wait]]
_NOTHING: _Inside = ([], [], [])
_ORDER: tuple[State, ...] = ("running", "waiting", "stalled", "unknown", "crashed")
"""Which state of several parts tells of the whole: where one goes on, the whole does."""


def run_of(ledger: Ledger, source: str, processes: Processes) -> Run:
    """The run that a ledger tells of; of the visits in it that have ended it keeps none, as there is room for one."""
    visits = _visits(ledger, processes)
    ended = ledger.ended if _is_over(ledger) else None
    state, note = _state(ledger, processes)
    stages = _stages(ledger)
    over = state == "done"
    return Run(
        ledger.id,
        ledger.workflow,
        source,
        ledger.service,
        ledger.trace_id,
        ledger.started,
        ended if over else None,
        state,
        note,
        ledger.result if over else None,
        ledger.error if over else None,
        stages,
        visits,
        max(0, sum(stage.visits for stage in stages) - len(visits)),  # Where each witness lacks others, they are fewer.
        tuple(sorted({pid for pid in map(pid_of, ledger.processes) if pid is not None})),
    )


def _is_over(ledger: Ledger) -> bool:
    """Whether an end was told, and no part of the run itself goes on."""
    return ledger.ended is not None and all(part.joined and ledger.owned for part in ledger.open_parts.values())


def _state(ledger: Ledger, processes: Processes) -> tuple[State, str]:
    if _is_over(ledger):
        return "done", ""
    if ledger.note:
        return "unknown", ledger.note
    own = [processes.state_of_open(part.process) for part in ledger.open_parts.values() if not part.joined]
    if own:  # Nobody else can write the end of the run itself.
        state, note = liveliest(own)
        reasons = _waits_of_all(ledger) if state == "running" else ()
        return ("waiting", for_all(reasons)) if reasons else (state, note)
    joined = [processes.state_of_open(part.process) for part in ledger.open_parts.values()]
    found = joined + [processes.state_of_open(each.get("process")) for each in ledger.open.values()]
    return liveliest(found) if found else processes.state_of_open(None)


def _waits_of_all(ledger: Ledger) -> tuple[str, ...]:
    """What a run waits for: where all that is open in it waits, or has something open inside that does."""
    around = {fields.get("parent") for fields in ledger.open.values()}
    reasons = [_waits_for(fields) for visit, fields in ledger.open.items() if visit not in around]
    found = dict.fromkeys(reason for reason in reasons if reason is not None)
    return tuple(found) if reasons and None not in reasons else ()


def liveliest(found: list[tuple[State, str]]) -> tuple[State, str]:
    """The state of a whole, by those of its parts."""
    return min(found, key=lambda each: _ORDER.index(each[0]))


def _stages(ledger: Ledger) -> tuple[Stage, ...]:
    going_on: dict[str, list[Fields]] = {}
    for fields in ledger.open.values():
        going_on.setdefault(fields["stage"], []).append(fields)
    stages = [
        _stage_of(
            name,
            ledger.by_events.get(name),
            ledger.by_spans.get(name),
            going_on.get(name, []),
            ledger.dead_ends.get(name, {}),
        )
        for name in {**ledger.by_events, **ledger.by_spans}
    ]
    return tuple(sorted(stages, key=lambda stage: stage.started or 0))


def _stage_of(
    name: str, events: Totals | None, spans: Totals | None, going_on: list[Fields], dead_ends: dict[str, int]
) -> Stage:
    witnesses = [each for each in (events, spans) if each is not None]
    fullest = max(witnesses, key=lambda each: each.visits)
    most = fullest if len(witnesses) == 1 and not going_on else _most(witnesses, going_on)
    return _stage(
        name,
        most.started,
        None if going_on else fullest.ended,
        fullest.visits + len(going_on),
        len(going_on),
        round(fullest.seconds, 9),
        dict(fullest.results),
        fullest.result,
        fullest.error,
        most.retries,
        round(most.wait, 9),
        most.items_done,
        most.items_failed,
        most.items_total,
        most.platforms,
        most.revision,
        sum(dead_ends.values()),
        dead_ends,
    )


def _most(witnesses: list[Totals], going_on: list[Fields]) -> Totals:
    """The earliest start that any tells, and the most of all else, with what open visits say."""
    most = Totals()
    for fields in going_on:
        most.see(fields)
    for each in witnesses:
        if each.started is not None:
            most.begin(each.started)
        if each.items_total is not None:
            most.items_total = max(most.items_total or 0, each.items_total)
        most.see({"platform_count": each.platforms, "revision": each.revision})
        most.retries, most.wait = max(most.retries, each.retries), max(most.wait, each.wait)
        most.items_done = max(most.items_done, each.items_done)
        most.items_failed = max(most.items_failed, each.items_failed)
    return most


def _visits(ledger: Ledger, processes: Processes) -> tuple[Visit, ...]:
    spans = {**ledger.spans, **ledger.open_spans} if ledger.open_spans else ledger.spans
    inside: dict[str, _Inside] = {}
    for span, fields in ledger.attempts:
        if (visit := _around(ledger, spans, span)) is not None:
            inside.setdefault(visit, ([], [], []))[0].append(Attempt(**fields))
    for span, fields in ledger.items:
        if (visit := _around(ledger, spans, span)) is not None:
            inside.setdefault(visit, ([], [], []))[1].append(Item(**fields))
    for span, fields in ledger.waits:
        if (visit := _around(ledger, spans, span)) is not None:
            inside.setdefault(visit, ([], [], []))[2].append(Wait(**fields))
    visits: list[Visit] = []
    for key, fields in _taken(ledger):
        around: str | None = fields.pop("parent_span", None)
        fields["parent"] = fields.get("parent") or (around and _around(ledger, spans, around))
        fields["state"], fields["note"] = _state_of(fields, processes)
        _as_in_the_model(fields, spans)
        attempts, items, waits = inside.get(key, _NOTHING)
        if attempts:
            fields["failed"] = tuple(sorted(attempts, key=lambda each: (each.started, each.number)))
        if items:
            fields["items"] = tuple(sorted(items, key=lambda each: each.started))
        if told := _waits(fields, waits):
            fields["waits"] = tuple(sorted(told, key=lambda each: each.started))
        visits.append(_visit(key, **fields))
    visits.sort(key=operator.attrgetter("started"))
    return _with_kinds(visits)


def _taken(ledger: Ledger) -> Iterator[tuple[str, Fields]]:
    """What was told of each visit, without what was not; what has ended is taken out of the ledger."""
    for key in list(ledger.kept):
        yield key, ledger.kept.pop(key)
    for key, fields in ledger.open.items():
        yield key, {name: value for name, value in fields.items() if value is not None}


def _as_in_the_model(fields: Fields, spans: dict[str, str]) -> None:
    """Make of what was told what the model has. What was not told is not looked at: that is most of what could be."""
    if "platforms" in fields:
        fields["platforms"] = tuple(fields["platforms"])
    if "versions" in fields:
        fields["versions"] = tuple(Version(*each) for each in fields["versions"])
    if "links" in fields or "follows" in fields:
        fields["links"] = _links(fields.get("links", ()), fields.pop("follows", ()), spans)
    if "waits" in fields:
        fields["waits"] = [Wait(*each) for each in fields["waits"]]
    if "process" in fields:
        fields["process"] = pid_of(fields["process"])


def _waits(known: Fields, by_spans: list[Wait]) -> list[Wait]:
    """Where it has ended by their spans, as the events of some may have come too late; those open have none."""
    by_events: list[Wait] = known.get("waits") or []
    return by_spans or by_events if known.get("ended") is not None else by_events or by_spans


def _with_kinds(visits: list[Visit]) -> tuple[Visit, ...]:
    """The same with the kinds of links that do not say theirs: Jaeger keeps no attributes of links.

    And with a link to what each repeats, where it has one link for both because it follows that too.
    """
    unclear = [
        number
        for number, visit in enumerate(visits)
        if visit.links and (visit.number != 1 or "" in [link.kind for link in visit.links])
    ]
    by_id = {visit.id: visit for visit in visits} if unclear else {}
    found = list(visits)
    for number in unclear:
        visit = visits[number]
        links = tuple(
            link if link.kind else _with_kind(link, by_id.get(link.visit or ""), visit) for link in visit.links
        )
        if visit.number > 1 and not any(link.kind == names.LINK_REPEATS for link in links):
            before = (link for link in links if _is_before(by_id.get(link.visit or ""), visit))
            links += tuple(replace(link, kind=names.LINK_REPEATS) for link in before)
        if links != visit.links:
            found[number] = replace(visit, links=links)
    return tuple(found)


def _with_kind(link: Link, other: Visit | None, visit: Visit) -> Link:
    repeats = other is None or other.stage == visit.stage
    return replace(link, kind=names.LINK_REPEATS if repeats else names.LINK_FOLLOWS)


def _is_before(other: Visit | None, visit: Visit) -> bool:
    same = other is not None and (other.stage, other.item_platform) == (visit.stage, visit.item_platform)
    return same and other is not None and other.number == visit.number - 1


def _links(told: Iterable[Any], follows: Sequence[str], spans: dict[str, str]) -> tuple[Link, ...]:
    """What the span of a visit says that it points to, and what its events say where that does not."""
    links = [_link(kind or "", trace, span, spans.get(span)) for kind, trace, span in told]
    if not follows:
        return tuple(links)
    known = {link.visit for link in links if link.kind == names.LINK_FOLLOWS}
    return (*links, *(Link(names.LINK_FOLLOWS, visit=each) for each in follows if each not in known))


def _state_of(fields: Fields, processes: Processes) -> tuple[State, str]:
    if fields.get("ended") is not None:
        return "done", ""
    state, note = processes.state_of_open(fields.get("process"))
    reason = _waits_for(fields)
    return ("waiting", for_all([reason])) if state == "running" and reason is not None else (state, note)


def _waits_for(fields: Fields) -> str | None:
    waits = fields.get("waits")
    return waits[-1][0] if waits and waits[-1][2] is None else None


def _around(ledger: Ledger, spans: dict[str, str], span: str) -> str | None:
    """The visit whose span this is, or that lies around it."""
    for _ in range(_CLIMB):
        if span in spans:
            return spans[span]
        if (above := ledger.parents.get(span)) is None:
            return None
        span = above
    return None

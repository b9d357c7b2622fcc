"""Reading runs back: from spans, events and both; in any order, damaged, foreign and cut off."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_progress.runs import Attempt, Item, Link, SourceError, Version, read, to_json
from otel_progress.runs.collect import Collector
from otel_progress.runs.documents import MOST_BYTES
from otel_progress.runs.ledger import Ledger
from otel_progress.runs.otlp import attributes, take

from .records import (
    RUN,
    SECOND,
    START,
    TRACE,
    campaign,
    event,
    everything,
    link,
    only,
    record,
    shown,
    span,
    visit_event,
    write,
)


def named(number: int) -> str:
    """The name of a record."""
    return f"20250828T104500Z-app-{number:06x}"


# --- spans ------------------------------------------------------------------------------------------------------------


def test_a_run_from_its_spans(tmp_path: Path) -> None:
    run = only(write(tmp_path / "traces.jsonl", campaign()))
    assert (run.id, run.workflow, run.service, run.trace_id) == (RUN, "campaign", "studio", TRACE)
    assert (run.started, run.seconds, run.state, run.result) == (START, 8.0, "done", "success")
    assert [(stage.name, stage.visits, stage.seconds, stage.results) for stage in run.stages] == [
        ("draft", 1, 2.0, {"success": 1}),
        ("check", 1, 4.0, {"success": 1}),
    ]
    assert [(visit.stage, visit.state, visit.seconds) for visit in run.visits] == [
        ("draft", "done", 2.0),
        ("check", "done", 4.0),
    ]
    assert run.visits_left_out == 0


def test_what_lies_in_a_visit(tmp_path: Path) -> None:
    """Attempts, items and visits find the visit around them also through spans that are none of ours."""
    version = {"name": "version", "attributes": []}
    lines = [
        span("attempt 1 twitter", "a1", "e1", at=1.0, takes=0.5, message="OSError: no", error__type="OSError"),
        span("item", "i1", "e1", at=2.0, takes=0.5, item__platform="twitter"),
        span("item", "i2", "e1", at=3.0, takes=0.5, error__type="KeyError"),
        span("stage inner", "s2", "h1", at=4.0),
        span("GET /", "h1", "e1", at=4.0, scope="http"),
        span("exec", "e1", "s1", at=1.0, takes=5.0),
        span(
            "stage outer",
            "s1",
            "r1",
            takes=7.0,
            links=[{"traceId": TRACE, "spanId": "s0", "attributes": []}],
            events=[
                {"name": "version", "attributes": [_text("otel_progress.version.id", "v1")]},
                {
                    "name": "version",
                    "attributes": [
                        _text("otel_progress.version.id", "v2"),
                        _text("otel_progress.version.action", "revised"),
                    ],
                },
                version,
                {"name": "dead_end", "attributes": []},
            ],
            stage__visit=2,
            stage__platforms=["twitter", "linkedin"],
            stage__platform_count=2,
            stage__revision=3,
            stage__action="default",
            stage__attempts=3,
            stage__retries=1,
            stage__wait=0.25,
            stage__budget=60.0,
            stage__items__done=2,
            stage__items__failed=1,
            stage__items__total=3,
            code__function__name="app.Outer",
        ),
        span("stage outer", "s0", "r1", at=-9.0),
        span("run campaign", "r1", at=-10.0, takes=20.0),
    ]
    first, outer, inner = only(write(tmp_path / "t.jsonl", lines)).visits
    assert inner.parent == outer.id == "s1"
    assert outer.failed == (Attempt(1, START + SECOND, START + 3 * SECOND // 2, "OSError", "no"),)
    assert [(item.platform, item.error) for item in outer.items] == [("twitter", None), (None, "KeyError")]
    assert all(isinstance(item, Item) for item in outer.items)
    assert outer.versions == (Version("v1"), Version("v2", "revised"), Version(""))
    assert outer.links == (Link("repeats", TRACE, "s0", first.id),)
    assert (outer.number, outer.platforms, outer.platform_count, outer.revision) == (2, ("twitter", "linkedin"), 2, 3)
    assert (outer.attempts, outer.retries, outer.wait, outer.budget) == (3, 1, 0.25, 60.0)
    assert (outer.items_done, outer.items_failed, outer.items_total) == (2, 1, 3)
    assert (outer.action, outer.function) == ("default", "app.Outer")


def test_what_a_visit_follows_by_its_events(tmp_path: Path) -> None:
    lines = [
        event("run.started"),
        visit_event("started", "a", "7-abcdef.1"),
        visit_event("ended", "a", "7-abcdef.1"),
        visit_event("started", "b", "7-abcdef.2", stage__follows=["7-abcdef.1"]),
    ]
    first, second = only(write(tmp_path / "e.jsonl", lines)).visits
    assert (first.links, second.links) == ((), (Link("follows", visit="7-abcdef.1"),))


def test_links_that_do_not_say_what_they_are(tmp_path: Path) -> None:
    """As Jaeger gives them, and as version 0.1.0 wrote those to what is repeated."""

    def bare(span_id: str) -> dict[str, Any]:
        return {"traceId": TRACE, "spanId": span_id, "attributes": []}

    lines = [
        span("stage a", "s1"),
        span("stage b", "s2", at=2.0, links=[bare("s1")]),
        span("stage a", "s3", at=4.0, links=[bare("s2"), bare("s1"), bare("elsewhere")], stage__visit=2),
        span("run campaign", "r1", takes=9.0),
    ]
    _, second, third = only(write(tmp_path / "t.jsonl", lines)).visits
    assert [link.kind for link in second.links] == ["follows"]
    assert [link.kind for link in third.links] == ["follows", "repeats", "repeats"]


def test_a_visit_that_repeats_the_one_that_it_follows(tmp_path: Path) -> None:
    """Its span has one link for both."""
    follows = [link("s1", "follows")]
    lines = [
        span("stage a", "s1"),
        span("stage a", "s2", at=2.0, links=follows, stage__visit=2),
        span("stage a", "s3", at=4.0, links=[link("s2", "follows")], item__platform="x"),
        span("run campaign", "r1", takes=9.0),
    ]
    _, again, other = only(write(tmp_path / "t.jsonl", lines)).visits
    assert again.links == (Link("follows", TRACE, "s1", "s1"), Link("repeats", TRACE, "s1", "s1"))
    assert other.links == (Link("follows", TRACE, "s2", "s2"),)  # For another item: no repeat.


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("no line", "no line"),
        ("OSError: no line", "no line"),
        ("OSError", None),
        ("", None),
        ("OSError no", "OSError no"),
    ],
)
def test_what_an_attempt_failed_of(tmp_path: Path, description: str, message: str | None) -> None:
    """Earlier versions have the type before the message, or alone."""
    lines = [
        span("attempt", "a1", "s1", message=description, error__type="OSError", stage__name="a"),
        span("stage a", "s1", "r1"),
        span("run w", "r1"),
    ]
    (visit,) = only(write(tmp_path / "t.jsonl", lines)).visits
    assert [(attempt.error, attempt.message) for attempt in visit.failed] == [("OSError", message)]


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def test_retries_of_spans_that_do_not_tell_them(tmp_path: Path) -> None:
    """As version 0.1.0 wrote them: the wait says that there was one, attempts and items how many."""
    lines = [
        span("stage one", "s1", stage__attempts=3, stage__wait=0.5),
        span("stage batch", "s2", stage__attempts=8, stage__items__done=5, stage__items__failed=1, stage__wait=0.5),
        span("stage batch of one try", "s3", stage__attempts=6, stage__items__done=6),
        span("stage counting", "s4", stage__attempts=2, stage__items__done=9, stage__wait=0.1),
    ]
    run = only(write(tmp_path / "t.jsonl", lines))
    assert [stage.retries for stage in run.stages] == [2, 2, 0, 1]


def test_a_run_that_another_process_carried_on(tmp_path: Path) -> None:
    """Two spans of one run: it lasts from the first start to the last end, with the result of what ended last."""
    lines = [
        span("run campaign", "r1", takes=5.0, result="failure", error__type="OSError"),
        span("run campaign", "r2", "r1", at=100.0, takes=3.0),
    ]
    for order in itertools.permutations(lines):
        run = only(write(tmp_path / "t.jsonl", order))
        assert (run.seconds, run.result, run.error) == (103.0, "success", None)


def test_a_run_without_an_end_is_unknown_where_nothing_tells_more(tmp_path: Path) -> None:
    run = only(write(tmp_path / "t.jsonl", campaign()[:2]))
    assert (run.state, run.ended, run.result, run.note) == (
        "unknown",
        None,
        None,
        "nothing tells whether it still runs",
    )


def test_pending_spans_are_none(tmp_path: Path) -> None:
    assert only(write(tmp_path / "t.jsonl", [*campaign(), span("stage draft", "p1", pending=True)])).visit_count == 2


# --- events -----------------------------------------------------------------------------------------------------------


def test_a_run_from_its_events(tmp_path: Path) -> None:
    lines = [
        event("run.started", span_id="r1"),
        visit_event("started", "draft", "7-a.1", at=1.0, stage__platforms=["x"], code__function__name="app.draft"),
        visit_event("progress", "draft", "7-a.1", at=1.5, stage__items__done=1, stage__items__total=3),
        visit_event("started", "check", "7-a.2", at=2.0, parent__visit_id="7-a.1"),
    ]
    run = shown(record(tmp_path, events=lines))
    assert (run.state, run.ended, run.visit_count, run.note) == ("unknown", None, 2, "its end was not recorded")
    draft, check = run.visits
    assert (draft.state, draft.items_done, draft.items_total, draft.process) == ("unknown", 1, 3, 7)
    assert (draft.platforms, draft.function, draft.started) == (("x",), "app.draft", START + SECOND)
    assert check.parent == draft.id
    assert run.open_visits == run.visits
    lines += [
        visit_event("ended", "check", "7-a.2", at=3.0, stage__result="failure", error__type="OSError"),
        visit_event("ended", "draft", "7-a.1", at=9.0, stage__items__done=3, stage__retries=2, stage__wait=0.5),
        event("run.ended", at=10.0, span_id="r1", result="success", duration=10.0),
    ]
    run = shown(record(tmp_path, "20250828T104500Z-app-0b0b0b", events=lines))
    assert (run.state, run.seconds, run.result, run.retries) == ("done", 10.0, "success", 2)
    assert [stage.results for stage in run.stages] == [{"success": 1}, {"failure": 1}]
    assert [(visit.seconds, visit.error) for visit in run.visits] == [(8.0, None), (1.0, "OSError")]
    assert (run.visits[0].items_done, run.visits[0].items_total, run.visits[0].function) == (3, 3, "app.draft")


def test_spans_and_events_of_one_run_are_counted_once(tmp_path: Path) -> None:
    """Told by both, by spans alone (no sampled event), or by events alone (no sampled span): the fuller is believed."""
    started = [visit_event("started", "draft", f"7-a.{number}", at=number, span_id=f"s{number}") for number in (1, 2)]
    ended = [visit_event("ended", "draft", f"7-a.{number}", at=number + 1, span_id=f"s{number}") for number in (1, 2)]
    spans = [span("stage draft", f"s{number}", "r1", at=number, stage__attempts=2) for number in (1, 2)]
    cases: list[tuple[list[str], list[str], int]] = [
        ([*started, *ended], spans, 2),
        ([*started, *ended], spans[:1], 2),
        (started[:1] + ended[:1], spans, 2),
        (started, spans, 2),  # The ends of the events did not get out.
        ([], spans, 2),
        ([*started, *ended], [], 2),
    ]
    for number, (events, told, visits) in enumerate(cases):
        run = shown(record(tmp_path, named(number), events=events, spans=told))
        assert [(stage.visits, stage.open, stage.seconds) for stage in run.stages] == [(visits, 0, 2.0)]
        assert len(run.visits) == visits
        assert all(visit.attempts == 2 for visit in run.visits if visit.span_id and told == spans)


def test_an_end_before_its_start_takes_no_time(tmp_path: Path) -> None:
    """The clock was set back meanwhile."""
    lines = [
        visit_event("started", "draft", "7-a.1", at=9.0),
        visit_event("progress", "draft", "7-a.1", at=9.0, wait__reason="approval"),
        visit_event("ended", "draft", "7-a.1", at=5.0),
    ]
    run = shown(record(tmp_path, named(1), events=lines))
    assert [(visit.seconds, [wait.ended == wait.started for wait in visit.waits]) for visit in run.visits] == [
        (0.0, [True])
    ]


def test_wherever_its_span_comes_between_its_events_a_visit_is_the_same(tmp_path: Path) -> None:
    """A collector may have taken the spans first, or in between, and all of it twice."""
    told = {"span_id": "s1", "process": "7-abcdef"}
    events = [
        visit_event("started", "draft", "7-a.1", at=1.0, stage__budget=3.0, code__function__name="app.draft", **told),
        visit_event("progress", "draft", "7-a.1", at=1.5, wait__reason="approval", **told),
        visit_event("progress", "draft", "7-a.1", at=2.0, **told),
        visit_event("ended", "draft", "7-a.1", at=5.0, duration=4.0, **told),
    ]
    spans = [
        span("attempt 1", "a1", "s1", at=2.0, takes=1.0, error__type="OSError"),
        span("wait", "w1", "s1", at=1.5, takes=0.5, wait__reason="approval"),
        span("stage draft", "s1", "r1", at=1.0, takes=4.0),
    ]
    whole = shown(write(tmp_path / "whole.jsonl", events + spans)).visits
    assert [(visit.id, visit.process, visit.budget, visit.function) for visit in whole] == [
        ("7-a.1", 7, 3.0, "app.draft")
    ]
    assert [(len(visit.failed), len(visit.waits)) for visit in whole] == [(1, 1)]
    for place in range(len(events) + 1):
        lines = events[:place] + spans + events[place:]
        assert shown(write(tmp_path / f"{place}.jsonl", lines)).visits == whole, place
        assert shown(write(tmp_path / f"{place}-twice.jsonl", lines + lines)).visits == whole, place
    late = [events[3], *spans, *events[:3]]
    assert shown(write(tmp_path / "late.jsonl", late)).visits == whole


def test_no_fewer_than_none_are_left_out(tmp_path: Path) -> None:
    """Where events lack one visit and spans another, the fuller of them has fewer than both."""
    events = [visit_event("ended", "draft", "7-a.1", at=1.0, span_id="s1")]
    run = shown(record(tmp_path, named(1), events=events, spans=[span("stage draft", "s2", at=1.0)]))
    assert (len(run.visits), run.visits_left_out) == (2, 0)


def test_the_name_of_an_event_as_older_collectors_have_it(tmp_path: Path) -> None:
    line = json.loads(event("run.started"))
    (record_,) = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    record_["attributes"].append(_text("event.name", record_.pop("eventName")))
    assert only(write(tmp_path / "logs.jsonl", [json.dumps(line)])).started == START


def test_visits_of_one_number_at_once(tmp_path: Path) -> None:
    """In a batch flow the visits for two items both are number 1 and may be open at once."""
    lines = [
        visit_event("started", "craft", "7-a.1", at=1.0, item__platform="twitter"),
        visit_event("started", "craft", "7-a.2", at=1.0, item__platform="linkedin"),
        visit_event("ended", "craft", "7-a.2", at=2.0, item__platform="linkedin"),
    ]
    run = shown(record(tmp_path, events=lines))
    assert {visit.item_platform: visit.ended is None for visit in run.visits} == {"twitter": True, "linkedin": False}


def test_a_joined_run_is_over_when_the_run_itself_is(tmp_path: Path) -> None:
    lines = [
        event("run.started", span_id="r1"),
        event("run.started", at=1.0, process="8-b", span_id="r1", run__joined=True),
        event("run.ended", at=9.0, span_id="r1", result="success"),
    ]
    for number, order in enumerate(itertools.permutations(lines)):
        run = shown(record(tmp_path, named(number), events=order))
        assert (run.state, run.ended, run.processes) == ("done", START + 9 * SECOND, (7, 8))


def test_a_part_that_joins_does_not_end_the_run(tmp_path: Path) -> None:
    lines = [
        event("run.started", span_id="r1"),
        event("run.started", at=1.0, process="8-b", run__joined=True),
        event("run.ended", at=2.0, process="8-b", run__joined=True, result="failure"),
    ]
    run = shown(record(tmp_path, events=lines))
    assert (run.state, run.ended, run.result) == ("unknown", None, None)
    alone = shown(record(tmp_path, "20250828T104500Z-app-0b0b0b", events=lines[1:]))
    assert (alone.state, alone.ended, alone.result) == ("done", START + 2 * SECOND, "failure")


# --- any order, twice, cut off ----------------------------------------------------------------------------------------


class Shelf:
    """Puts everything away as text, as the index does."""

    def __init__(self) -> None:
        self.ledgers: dict[str, str] = {}

    def get(self, run: str) -> Ledger | None:
        return Ledger.load(self.ledgers[run]) if run in self.ledgers else None

    def put(self, ledger: Ledger) -> None:
        self.ledgers[ledger.id] = ledger.dump()

    def put_aside(self, bulk: Ledger) -> None:
        raise AssertionError(bulk.id)


def collected(lines: list[str], **how: Any) -> dict[str, Any]:
    shelf = Shelf()
    collector = Collector(shelf, **how)
    for line in lines:
        for fact in take(json.loads(line), details=collector.details).facts:
            collector.add(fact)
    collector.put_away()
    return {run: json.loads(text) for run, text in shelf.ledgers.items()}


def many(seed: int) -> list[str]:
    """Spans and events of some runs, shuffled."""
    chance = random.Random(seed)
    lines: list[str] = []
    for number in range(8):
        run = f"{number:032x}"
        lines += campaign(run, at=number * 10.0, result=chance.choice(["success", "failure"]))
        lines.append(event("run.started", run=run, at=number * 10.0, span_id=f"{run[:8]}000000ff"))
        for visit in range(4):
            how = {"run": run, "span_id": f"{run[:8]}e{visit:07}"}
            lines.append(visit_event("started", "draft", f"7-{visit}", at=number * 10.0 + visit, **how))
            lines.append(visit_event("ended", "draft", f"7-{visit}", at=number * 10.0 + visit + 1, **how))
    chance.shuffle(lines)
    return lines


@pytest.mark.parametrize("seed", range(20))
def test_the_order_does_not_matter_nor_that_little_is_held(seed: int) -> None:
    lines = many(seed)
    in_order = collected(lines, held=1000)
    assert collected(lines, held=1) == in_order
    again = lines[:]
    random.Random(seed + 1).shuffle(again)
    assert collected(again, held=3) == in_order
    assert all(not each.get("open") and not each.get("open_parts") for each in in_order.values())


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers, and the ends that are remembered: by spans, by events, of runs, of visits, and of both."""
    monkeypatch.setattr("otel_progress.runs.collect._REMEMBERED", 50)
    collector = Collector(Shelf(), held=10)
    for seed in range(20):
        for line in many(seed):
            for run in range(8):
                line = line.replace(f"{run:032x}", f"{seed:04x}{run:028x}")  # noqa: PLW2901
            for fact in take(json.loads(line), details=False).facts:
                collector.add(fact)
    assert len(collector._ended) == 50
    assert len(collector._ledgers) == 10


def test_what_comes_twice_is_counted_once(tmp_path: Path) -> None:
    """A collector that tried again has written a batch twice."""
    lines = [*campaign(), *campaign()]
    assert [stage.visits for stage in only(write(tmp_path / "t.jsonl", lines)).stages] == [1, 1]
    events = [visit_event("started", "draft", "7-a.1"), visit_event("ended", "draft", "7-a.1", at=1.0)]
    assert [stage.visits for stage in only(write(tmp_path / "e.jsonl", events * 2)).stages] == [1]


def test_visits_that_are_not_asked_for_are_counted(tmp_path: Path) -> None:
    lines = [span("stage draft", f"s{number}", "r1", at=number, takes=0.5) for number in range(30)]
    opened = visit_event("started", "draft", "7-a.9", at=99.0)
    run = only(write(tmp_path / "t.jsonl", [*lines, opened]), visits=5)
    assert len(run.visits) == 6
    assert run.visits[-1].id == "7-a.9"
    assert (run.visits_left_out, run.stages[0].open) == (25, 1)


# --- what is no run ---------------------------------------------------------------------------------------------------

GOOD = campaign()
DAMAGES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello\n", "{file}:1: not JSON: Expecting value at character 1"),
    "half a line": (GOOD[0][:100].encode() + b"\n", "{file}:1: not JSON: "),
    "no UTF-8": (b'{"a": "\xff"}\n', "{file}:1: not UTF-8 at byte 8"),
    "an array": (b"[]\n", "{file}:1: a JSON object is expected, not an array"),
    "null": (b"null\n", "{file}:1: a JSON object is expected, not null"),
    "a number": (b"12\n", "{file}:1: a JSON object is expected, not a number"),
    "too deep": (b'{"a":' + b"[" * 200_000 + b"\n", "{file}:1: not JSON that can be read: it is nested too deeply"),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}\n", "{file}:1: not JSON that can be read: Exceeds the limit"),
    "an empty object": (b"{}\n", "{file}:1: an empty object"),
    "something else": (b'{"a": 1, "b": 2}\n', "{file}:1: neither OTLP nor a saved store: an object with 'a', 'b'"),
    "Jaeger's own": (b'{"data": [{"traceID": "1"}]}\n', "{file}:1: Jaeger's own JSON"),
    "an error": (b'{"error": {"message": "no"}}\n', "{file}:1: an error in the place of an answer"),
    "snake case": (b'{"resource_spans": []}\n', "{file}:1: OTLP with the names of its fields in snake case"),
    "gzip": (b"\x1f\x8b\x08\x00rest", "{file}: it is compressed by gzip"),
    "zstd": (b"\x28\xb5\x2f\xfdrest", "{file}: it is compressed by zstd"),
    "zip": (b"PK\x03\x04rest", "{file}: it is a zip archive"),
    "UTF-16": ("{}\n".encode("utf-16"), "{file}: it is UTF-16"),
    "SQLite": (b"SQLite format 3\x00rest", "{file}: it is an SQLite database"),
    "binary": (bytes(range(256)) + b"\n", "{file}:1: "),
    "NaN": (b"NaN\n", "{file}:1: a JSON object is expected, not a number"),
}


@pytest.mark.parametrize(("data", "expected"), DAMAGES.values(), ids=list(DAMAGES))
def test_what_cannot_be_read_is_said_with_its_place(data: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(data)
    runs, problems = everything(file)
    assert runs == []
    assert problems[0].startswith(expected.format(file=file))
    if b"\n" in data and not expected.startswith("{file}: "):  # And in the midst of what can be read.
        file.write_bytes(GOOD[0].encode() + b"\r\n\n" + data + "\n".join(GOOD[1:]).encode())
        runs, problems = everything(file)
        assert [run.visit_count for run in runs] == [2]
        assert problems[0].startswith(expected.format(file=file).replace(":1:", ":3:"))


def changed(change: Callable[[dict[str, Any]], None]) -> str:
    """The line of a span, with something else in it than there should be."""
    line = json.loads(GOOD[0])
    change(line)
    return json.dumps(line)


def of_span(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line["resourceSpans"][0]["scopeSpans"][0]["spans"][0].update(values)


ODD: dict[str, tuple[Callable[[dict[str, Any]], None], str | None]] = {
    "no start": (of_span(startTimeUnixNano=None), "its startTimeUnixNano is no time"),
    "a start that is no time": (of_span(startTimeUnixNano="soon"), "its startTimeUnixNano is no time"),
    "a negative start": (of_span(startTimeUnixNano="-5"), "its startTimeUnixNano is no time"),
    "a start beyond all time": (of_span(startTimeUnixNano=str(2**70)), "its startTimeUnixNano is no time"),
    "a start of 5000 digits": (of_span(startTimeUnixNano="9" * 5000), "its startTimeUnixNano is no time"),
    "no end": (of_span(endTimeUnixNano={}), "its endTimeUnixNano is no time"),
    "no id": (of_span(spanId=""), "it has no spanId"),
    "an id that is a number": (of_span(spanId=12), "it has no spanId"),
    "no attributes": (of_span(attributes=None), "it has no otel_progress.run.id"),
    "attributes that are none": (
        of_span(attributes=[1, {"key": 5}, {"key": "a", "value": 7}]),
        "it has no otel_progress",
    ),
    "no stage": (
        of_span(attributes=[_text("otel_progress.run.id", RUN)]),
        "it has no otel_progress.stage.name",
    ),
    "numbers in the place of texts": (of_span(name=5, status=5, events=5, links=5, parentSpanId=5), None),
    "spans that are no list": (lambda line: line["resourceSpans"][0]["scopeSpans"][0].update(spans={}), None),
    "scopes that are no list": (lambda line: line["resourceSpans"][0].update(scopeSpans=5), None),
    "a scope that is a text": (lambda line: line["resourceSpans"][0]["scopeSpans"][0].update(scope="x"), None),
    "resources that are none": (lambda line: line.update(resourceSpans=[1, None, "x", []]), None),
    "a resource that is a text": (lambda line: line["resourceSpans"][0].update(resource="x"), None),
    "a field of a later version": (of_span(flavour="new", attributes_count={"deep": [1]}), None),
}


@pytest.mark.parametrize(("change", "expected"), ODD.values(), ids=list(ODD))
def test_a_span_that_is_not_as_otlp_has_it(
    change: Callable[[dict[str, Any]], None], expected: str | None, tmp_path: Path
) -> None:
    file = write(tmp_path / "t.jsonl", [changed(change), *GOOD[1:]])
    runs, problems = everything(file)
    assert [run.id for run in runs] == [RUN]
    assert runs[0].stages[-1].name == "check"
    if expected is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.startswith(f"{file}:1: span 1: {expected}")


VALUES: list[Any] = [
    {"intValue": "x"},
    {"intValue": None},
    {"intValue": 2**80},
    {"intValue": -3},
    {"doubleValue": "NaN"},
    {"doubleValue": "Infinity"},
    {"doubleValue": -1},
    {"boolValue": "true"},
    {"stringValue": 5},
    {"stringValue": ""},
    {"arrayValue": {"values": [{"intValue": "1"}, {}, 5]}},
    {"arrayValue": None},
    {"kvlistValue": {"values": []}},
    {"bytesValue": "AA=="},
    {"newValue": 1},
    {},
    None,
    5,
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_an_attribute_of_another_type_is_as_none(value: Any, tmp_path: Path) -> None:
    """Every attribute that is read, with values of every kind that it should not have."""
    attributes = [
        "stage.visit", "stage.result", "stage.action", "stage.revision", "stage.platforms", "stage.platform_count",
        "stage.attempts", "stage.retries", "stage.wait", "stage.budget", "stage.items.total", "stage.items.done",
        "stage.items.failed", "item.platform",
    ]  # fmt: skip
    line = json.loads(GOOD[0])
    (made,) = line["resourceSpans"][0]["scopeSpans"][0]["spans"]
    made["attributes"] += [{"key": f"otel_progress.{name}", "value": value} for name in attributes]
    made["attributes"] += [{"key": name, "value": value} for name in ("error.type", "code.function.name")]
    run = only(write(tmp_path / "t.jsonl", [json.dumps(line), *GOOD[1:]]))
    draft = run.stages[0]
    assert (draft.name, draft.visits, draft.seconds) == ("draft", 1, 2.0)
    assert draft.retries >= 0
    json.dumps(to_json(run), allow_nan=False)


@pytest.mark.parametrize(
    "value", [[0], [1], [{}], [], 5, "x", None, {}, {"stringValue": "x", "intValue": "1"}], ids=repr
)
def test_an_attribute_whose_value_is_none_of_otlp(value: Any, tmp_path: Path) -> None:
    """Of a span, and of the resource, which is read before anything that could be said to be wrong."""
    odd = {"key": "otel_progress.stage.action", "value": value}
    for of_resource in (False, True):
        line = json.loads(GOOD[0])
        (resource,) = line["resourceSpans"]
        place = resource["resource"] if of_resource else resource["scopeSpans"][0]["spans"][0]
        place["attributes"].append(odd)
        runs, problems = everything(write(tmp_path / "t.jsonl", [json.dumps(line), *GOOD[1:]]))
        assert [run.stages[0].visits for run in runs] == [1]
        assert problems == []


def test_arrays_in_arrays_as_deep_as_a_parser_takes_them() -> None:
    """From Python 3.12 on that is deeper than Python's functions may call each other."""
    value: dict[str, Any] = {"stringValue": "x"}
    nested = value
    for _ in range(5000):
        nested = {"arrayValue": {"values": [nested]}}
    pairs = [{"key": "deep", "value": nested}, {"key": "flat", "value": {"arrayValue": {"values": [value]}}}]
    found = attributes(pairs)
    assert found["flat"] == ("x",)
    assert str(found["deep"]) == "(" * 8 + "None" + ",)" * 8


def test_texts_and_numbers_that_no_database_takes(tmp_path: Path) -> None:
    """Halves of characters anywhere, and sums beyond 64 bits."""
    half = "\\ud800"
    lines = [line.replace(RUN, f"{RUN}{half}").replace("draft", half).replace("studio", half) for line in GOOD]
    lines += [line.replace('"success"', f'"{half}"').replace("aaaa", half) for line in campaign("b" * 32)]
    lines += [span("stage x", f"s{n}", run="c" * 32, stage__retries=2**62, stage__revision=2**62) for n in range(9)]
    lines += [span("stage x", f"t{n}", run="d" * 32, stage__items__done=2**62, stage__wait=9e9) for n in range(9)]
    stages = {"\ud800": {"start_time": "0001-01-01", "results": {"\ud800": 2}}}
    lines.append(json.dumps({"progress_metrics": stages}))
    file = write(tmp_path / "t.jsonl", lines)
    runs, problems = everything(file)
    assert (len(runs), problems) == (5, [])
    for run in runs:
        json.dumps(to_json(run)).encode()
        again = shown(file, run.id)
        assert (again.visit_count, again.stages) == (run.visit_count, run.stages)


def test_a_torn_line(tmp_path: Path) -> None:
    """A full disk tore it, and another process wrote behind it; and the last one has no end."""
    first, second = visit_event("started", "draft", "7-a.1"), visit_event("started", "check", "8-b.1", at=1.0)
    file = write(tmp_path / "e.jsonl", [first[:90] + second, first])
    with file.open("a") as stream:
        stream.write(second[:50])
    runs, problems = everything(file)
    assert [stage.name for run in runs for stage in run.stages] == ["draft", "check"]
    assert problems[0] == f"{file}:1: the first part of the line is torn"
    assert problems[1].startswith(f"{file}:3: the last line is torn: not JSON: ")
    assert len(problems) == 2


def test_a_torn_line_of_spans(tmp_path: Path) -> None:
    first, second = span("stage draft", "a1"), span("stage check", "b1")
    file = write(tmp_path / "s.jsonl", [first[: len(first) // 2] + second])
    runs, problems = everything(file)
    assert [stage.name for run in runs for stage in run.stages] == ["check"]
    assert problems == [f"{file}:1: the first part of the line is torn"]


def test_a_line_without_end_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_progress.runs.documents.MOST_BYTES", 10_000)
    assert MOST_BYTES >= 16 * 1024 * 1024
    file = write(tmp_path / "t.jsonl", [GOOD[0], "[" * 35_000, *GOOD[1:]])
    runs, problems = everything(file)
    assert [run.visit_count for run in runs] == [2]
    assert problems[0].startswith(f"{file}:2: the line is longer than")
    file = write(tmp_path / "u.jsonl", [GOOD[0], "[" * 35_000])
    assert len(everything(file)[1]) == 1


def test_of_very_many_problems_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    reading = read(write(tmp_path / "t.jsonl", ["no"] * 1000))
    assert list(reading) == []
    assert (len(reading.problems.found), reading.problems.left_out) == (20, 980)


def test_foreign_spans_and_logs_and_metrics_are_no_problem(tmp_path: Path) -> None:
    lines = [
        span("GET /", "h1", scope="opentelemetry.instrumentation.requests"),
        '{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{}]}]}]}',
        event("stage.started").replace('"otel_progress"}', '"app"}'),
        event("later.thing"),
        '{"resourceLogs": [{"scopeLogs": [{"scope": {"name": "otel_progress"}, "logRecords": [{"body": {}}]}]}]}',
        *GOOD,
    ]
    assert only(write(tmp_path / "t.jsonl", lines)).visit_count == 2


def test_what_jaeger_answers(tmp_path: Path) -> None:
    """Wrapped in a result, on one line or on many, platforms as the text of an array, links with an attribute more."""
    line = json.loads(span("stage draft", "s1", stage__platforms='["twitter", "linkedin"]'))
    for text in (json.dumps({"result": line}), json.dumps({"result": line}, indent=2), json.dumps(line, indent=2)):
        file = tmp_path / "answer.json"
        file.write_text(text)
        (visit,) = only(file).visits
        assert visit.platforms == ("twitter", "linkedin")


# --- sources ----------------------------------------------------------------------------------------------------------


def test_standard_input(tmp_path: Path) -> None:
    code = "from otel_progress.runs import read; print([(r.id, r.visit_count, r.source) for r in read('-')])"
    done = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(GOOD), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str([(RUN, 2, "standard input")])


def test_a_folder_of_records_old_and_new(tmp_path: Path) -> None:
    first, second, third = "a" * 32, "b" * 32, "c" * 32
    record(tmp_path, "20250828T104500Z-app-0a0a0a", spans=campaign(first))
    record(tmp_path, "20250828T104600Z-app-0b0b0b", events=[event("run.started", run=second, at=60.0)])
    write(tmp_path / "runs" / "20250828T104700Z-app-0c0c0c.jsonl", campaign(third, at=120.0))
    write(tmp_path / "runs" / "notes.jsonl", ["mine"])
    for source in (tmp_path, tmp_path / "runs", str(tmp_path)):
        runs, problems = everything(source)
        assert [run.id for run in runs] == [first, second, third]
        assert problems == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files here")
def test_what_is_no_file_in_a_record_is_not_read(tmp_path: Path) -> None:
    """As in the folder of somebody else: a device would never end, and a pipe may never begin."""
    folder = record(tmp_path, spans=campaign())
    (folder / "events.jsonl").symlink_to("/dev/zero")
    runs, problems = everything(folder)
    assert [run.id for run in runs] == [RUN]
    assert problems == [f"{folder / 'events.jsonl'}: not a file"]
    (folder / "events.jsonl").unlink()
    os.mkfifo(folder / "events.jsonl")
    assert everything(folder)[1] == [f"{folder / 'events.jsonl'}: not a file"]
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").mkdir()
    assert everything(folder)[1] == [f"{folder / 'events.jsonl'}: not a file"]


def test_one_record_and_its_file(tmp_path: Path) -> None:
    folder = record(tmp_path, spans=campaign())
    assert only(folder).source == folder.name
    assert only(folder / "spans.jsonl").visit_count == 2


def test_a_run_that_went_on_in_another_program_is_one(tmp_path: Path) -> None:
    """Each program has a record of its own; the run that they share is one."""
    record(tmp_path, "20250828T104500Z-app-0a0a0a", spans=campaign()[1:])
    record(tmp_path, "20250828T104600Z-app-0b0b0b", spans=[span("stage archive", "x1", "y1", at=60.0)])
    run = only(tmp_path)
    assert [stage.name for stage in run.stages] == ["check", "archive"]
    assert run.source == "20250828T104500Z-app-0a0a0a, 20250828T104600Z-app-0b0b0b"


@pytest.mark.parametrize("name", ["nothing", "nothing/at/all", "/dev/null/x", "a\0b"])
def test_what_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as raised:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value) or name.startswith("/")


def test_empty_input(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert everything(tmp_path / "empty.jsonl") == ([], [])
    assert everything("/dev/null") == ([], [])
    assert everything(tmp_path / "runs" if (tmp_path / "runs").mkdir() is None else "") == ([], [])


def test_reading_brings_neither_the_sdk_nor_the_web() -> None:
    """A program that is recorded shall find no module more than its record takes; and a list shall be quick."""
    code = "import otel_progress.runs, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"sqlite3", "http.client", "opentelemetry.sdk", "otel_progress.runs.reading"}.isdisjoint(modules)
    code = "from otel_progress.runs import read; import sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"opentelemetry.sdk", "otel_progress.cli"}.isdisjoint(modules)


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        read("-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(GOOD).encode())))
    (run,) = read("-")
    assert run.visit_count == 2

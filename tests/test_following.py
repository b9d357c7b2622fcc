"""Following a record while it grows: what is new, once, in its order, whatever state its file is in."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from otel_progress import names, stage, workflow
from otel_progress.live.waiting import Waiting
from otel_progress.recording import default
from otel_progress.runs import following
from otel_progress.runs import happenings as happenings_module
from otel_progress.runs.documents import parse
from otel_progress.runs.following import Follower
from otel_progress.runs.happenings import Happening, happenings
from otel_progress.runs.otlp import EventFact, take
from otel_progress.runs.present import Present
from otel_progress.runs.processes import ProcessFile
from otel_progress.runs.writer import Writer

from . import records
from .records import event, visit_event


def essentials(found: list[Happening]) -> list[tuple[Any, ...]]:
    return [(each.name, each.at, each.run, each.workflow, each.stage, each.visit, each.fine) for each in found]


def names_of(found: list[Happening]) -> list[str]:
    return [each.visit or each.name.rpartition(".")[2] for each in found]


def append(folder: Path, data: str | bytes) -> None:
    with (folder / "events.jsonl").open("ab") as file:
        file.write(data.encode() if isinstance(data, str) else data)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A record as the writer makes it, of all that a workflow may tell."""
    folder = tmp_path / "record"
    writer = Writer(folder, lambda: 'a "service" with "timeUnixNano":"1", and \\"more')
    recorder = default.recorder
    sinks = recorder.sinks
    writer.attach(recorder)
    try:
        shared = {"task_requirements": {"platforms": ["twitter", "линк"]}, "quality_control": {"revision_count": 2}}
        with workflow('a "workflow"\n\\ 文', shared=shared), stage("outer \\ \x1b \ud800") as outer:
            outer.advance(2, total=3)
            with stage('"inner"', budget="2s") as visit:
                visit.platform("twitter")
                with visit.waiting('for a "reason"'):
                    pass
                visit.advance(1)
            for error in (ValueError, KeyboardInterrupt):
                with pytest.raises(error), stage("fails"):
                    raise error
        writer.sink.flush()
        writer.finish()
    finally:
        recorder.sinks = sinks
    return folder


def test_the_quick_reading_says_what_the_readers_say(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (written / "events.jsonl").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(happenings_module, "parse", None)  # It needs none.
        quick = list(happenings(data))
    facts = [fact for line in data.splitlines() for fact in take(parse(line), details=False).facts]
    events = [fact for fact in facts if isinstance(fact, EventFact)]
    # Written in another way, so that each line is read as a whole.
    whole = list(happenings(b"".join(b"%s\n" % json.dumps(json.loads(line)).encode() for line in data.splitlines())))
    assert len(quick) == len(events) > 10
    assert essentials(quick) == essentials(whole)
    assert [each.counts for each in quick] == [each.counts for each in whole]
    assert [each.parent for each in quick] == [each.parent for each in whole]
    assert [(each.name, each.at, each.run, each.attributes, each.process) for each in quick] == [
        (fact.name, fact.at, fact.run, fact.attributes, fact.process) for fact in events
    ]
    assert {each.workflow for each in quick} == {'a "workflow"\n\\ 文'}
    assert {each.name for each in quick} == set(names.EVENTS)
    assert [each.stage for each in quick if not each.fine] == ["fails", "fails"]


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_pieces_it_comes_all_is_read_once(written: Path, tmp_path: Path, seed: int) -> None:
    data, dice = (written / "events.jsonl").read_bytes(), random.Random(seed)
    follower, found = Follower(tmp_path), list[Happening]()
    assert follower.read() == []
    place = 0
    while place < len(data):
        size = dice.choice([1, 7, 300, 5000])
        append(tmp_path, data[place : place + size])
        place += size
        found += follower.read()
    assert essentials(found) == essentials(list(happenings(data)))
    assert follower.read() == []


def test_what_is_torn_or_foreign_is_passed_over_and_what_follows_is_read(tmp_path: Path) -> None:
    whole = [visit_event("started", "draft", f"7.{number}", at=number) for number in range(6)]
    compact = [json.dumps(json.loads(line), separators=(",", ":")) for line in whole]
    append(tmp_path, f"{compact[0]}\n{compact[1][:-40]}{compact[2]}\n")  # Torn, and somebody else's behind it.
    append(
        tmp_path, f"{compact[1][:700]}   {compact[3]}\nno JSON\n{{}}\n\n[1]\n" + json.dumps({"resourceLogs": 7}) + "\n"
    )
    append(tmp_path, b"\xff\xfe{\n" + b" " * 5000 + compact[4].encode() + b"\n" + records.span("stage x", "1").encode())
    append(tmp_path, f"\n{event('run.later', at=1)}\n{compact[5]}\n")
    assert names_of(Follower(tmp_path).read()) == ["7.0", "7.2", "7.3", "7.4", "7.5"]


def test_a_line_that_is_torn_behind_what_is_read_quickly_is_passed_over(tmp_path: Path) -> None:
    """And of one that is whole but no JSON there, as of flipped bits, only that is known: nothing is raised."""
    line = json.dumps(json.loads(visit_event("ended", "draft", "7.1", at=1)), separators=(",", ":"))
    behind = line.index('"7.1"}') + len('"7.1"}')
    append(tmp_path, f"{line[: behind + 3]}\n{line[:behind]}#{line[behind + 1 :]}\n")
    (found,) = Follower(tmp_path).read()
    assert (found.run, found.stage, found.visit, found.counts, found.parent) == (records.RUN, "draft", "7.1", {}, None)
    assert found.attributes == {
        names.WORKFLOW_NAME: "campaign",
        names.STAGE_NAME: "draft",
        names.STAGE_VISIT_ID: "7.1",
    }


def test_a_line_without_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PIECE", 1000)
    monkeypatch.setattr(following, "_LONGEST", 3000)
    line = visit_event("started", "draft", "7.1")
    append(tmp_path, line + "\n" + "x" * 10_000)
    follower = Follower(tmp_path)
    found = [each for _ in range(30) for each in follower.read()]
    assert names_of(found) == ["7.1"]
    assert len(vars(follower)["_rest"]) <= 3000
    append(tmp_path, "x\n" + line + "\n")
    assert names_of([each for _ in range(30) for each in follower.read()]) == ["7.1"]


def test_its_file_is_opened_again_where_the_program_has_closed_it(tmp_path: Path) -> None:
    append(tmp_path, visit_event("started", "draft", "7.1") + "\n")
    follower = Follower(tmp_path)
    assert names_of(follower.read()) == ["7.1"]
    (descriptor,) = [int(each.name) for each in Path("/proc/self/fd").iterdir()
                     if each.is_symlink() and each.readlink() == tmp_path / "events.jsonl"]  # fmt: skip
    assert descriptor >= 200  # So no program comes to use it by accident.
    with (tmp_path / "other").open("wb+") as other:
        other.write(b"x" * 5000)
        os.dup2(other.fileno(), descriptor)  # One that does it all the same.
        append(tmp_path, visit_event("started", "draft", "7.2") + "\n")
        assert names_of(follower.read()) == ["7.2"]
        os.close(descriptor)
    append(tmp_path, visit_event("started", "draft", "7.3") + "\n")
    assert names_of(follower.read()) == ["7.3"]


def test_a_process_whose_file_is_being_made_is_found_later(tmp_path: Path) -> None:
    file = tmp_path / "process-7-abcdef.json"
    file.touch()
    os.utime(tmp_path, (1, 1))
    follower = Follower(tmp_path)
    assert list(follower.processes()) == []
    file.write_text(json.dumps({"pid": 7, "ended": 1}))
    assert [process.state for process in follower.processes()] == ["done"]
    assert list(Follower(tmp_path).processes(besides=7)) == []


def test_a_clock_that_is_set_forth_or_a_suspended_machine_stalls_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a process that is there touches its file by the new time, it would seem to have been silent for hours."""
    process = ProcessFile(tmp_path)
    file = tmp_path / f"process-{process.name}.json"

    def states() -> list[str]:
        return [each.state for each in follower.processes()]

    follower = Follower(tmp_path)
    assert states() == ["running"]
    os.utime(file, (0, time.time() - 1))
    assert states() == ["running"]
    monkeypatch.setattr("otel_progress.runs.states._wall", lambda: time.time() + 3600)
    assert states() == ["running"]
    now = time.monotonic()
    monkeypatch.setattr("otel_progress.runs.following.monotonic", lambda: now + 4)
    assert states() == ["stalled"]  # By then it would have touched it.
    process.touch()
    assert states() == ["running"]
    process.let_go()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text(visit_event("started", "draft", "7.1") + "\n")
    (tmp_path / "events.jsonl").symlink_to(tmp_path / "other")
    assert Follower(tmp_path).read() == []


def _child() -> None:
    with stage("in child"):
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_new_processes_of_a_record_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "record"
    writer = Writer(folder, lambda: "service")
    recorder = default.recorder
    sinks = recorder.sinks
    writer.attach(recorder)
    follower, present = Follower(folder), Present()
    try:
        with workflow("campaign", shared={}):
            assert names_of(follower.read()) == ["started"]
            child = multiprocessing.get_context("fork").Process(target=_child)
            child.start()
            child.join()
            states = {process.pid: process.state for process in follower.processes()}
            assert states == {os.getpid(): "running", child.pid: "crashed"}
            (began,) = [each for each in follower.read() if each.stage == "in child"]
            present.enter(began)
            changes = present.look(follower.processes())
            assert [(change.visit is not None and change.visit.began.stage, change.state) for change in changes] == [
                ("in child", "crashed"),
            ]
        assert names_of(follower.read()) == ["ended"]
    finally:
        recorder.sinks = sinks
        writer.finish()


def test_a_clock_that_is_set_changes_no_order(tmp_path: Path) -> None:
    """The wall clock goes forward in a run: by its times the run ends before the visit inside."""
    history = [
        event("run.started", at=0.0),
        visit_event("started", "check", "7.1", at=5.0),
        visit_event("ended", "check", "7.1", at=5.1),
        event("run.ended", at=0.2),
    ]
    data = "".join(f"{line}\n" for line in history)
    append(tmp_path, data)
    told = ["started", "7.1", "7.1", "ended"]
    assert names_of(Follower(tmp_path).read()) == told
    waiting = Waiting()
    waiting.add(data.encode())
    assert names_of(waiting.take()) == told


def test_what_happened_before_is_passed_over(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    follower.skip()  # There is nothing yet.
    append(tmp_path, event("run.started") + "\n")
    assert names_of(follower.read()) == ["started"]
    follower.close()
    later = Follower(tmp_path)
    append(tmp_path, visit_event("started", "check", "7.1")[:-5])
    later.skip()  # In the middle of a line: that is lost with what is before.
    append(tmp_path, visit_event("started", "check", "7.1")[-5:] + "\n" + event("run.ended", at=1.0) + "\n")
    assert names_of(later.read()) == ["ended"]
    later.close()


def test_a_follower_that_is_closed_keeps_no_file_open(tmp_path: Path) -> None:
    append(tmp_path, event("run.started") + "\n")
    follower = Follower(tmp_path)
    follower.read()
    opened = follower._descriptor
    follower.close()
    follower.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened)

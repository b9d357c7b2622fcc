"""The index of the runs: what it keeps, when it reads again, and that nothing that is wrong with it is ever seen."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_progress.runs import Filter, Listed, Problems
from otel_progress.runs.index import ORDERS, Index
from otel_progress.runs.reading import open_source
from otel_progress.runs.sources import Input

from .records import SECOND, START, campaign, event, record, span, visit_event, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / ".otel-progress"
    for number, run in enumerate("abc"):
        result = "failure" if run == "b" else "success"
        record(made, named(number), spans=campaign(run * 32, at=number * 100.0, result=result))
    return made


def named(number: int) -> str:
    return f"20250828T1045{number:02}Z-app-{number:06x}"


def listed(folder: Path, wanted: Filter = Filter(), limit: int | None = None) -> list[Listed]:  # noqa: B008
    """The runs of a folder, with which nothing is wrong."""
    runs, problems = listed_with_problems(folder, wanted, limit)
    assert problems == []
    return runs


def listed_with_problems(
    folder: Path,
    wanted: Filter = Filter(),  # noqa: B008
    limit: int | None = None,
) -> tuple[list[Listed], list[str]]:
    source, problems = open_source(folder), Problems()
    index = Index(source.index)
    index.update(source.inputs, problems)
    runs = index.runs(wanted, limit)
    index.close()
    return runs, [str(each) for each in problems.found]


def ids(folder: Path, wanted: Filter = Filter(), limit: int | None = None) -> str:  # noqa: B008
    return "".join(run.id[0] for run in listed(folder, wanted, limit))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which inputs were read, and from where on."""
    found: list[tuple[str, int]] = []
    before = Input.read

    def noted(self: Input, *args: Any, since: Any = None, **how: Any) -> Any:
        found.append((self.name, sum(extent.offset for extent in (since or {}).values())))
        return before(self, *args, since=since, **how)

    monkeypatch.setattr(Input, "read", noted)
    return found


def test_the_newest_first_and_what_is_asked_for(folder: Path) -> None:
    assert ids(folder) == "cba"
    assert ids(folder, limit=2) == "cb"
    assert ids(folder, Filter(states=["failure"])) == "b"
    assert ids(folder, Filter(states=["success", "failure"])) == "cba"
    assert ids(folder, Filter(states=["done"])) == "cba"
    assert ids(folder, Filter(states=["running"])) == ""
    assert ids(folder, Filter(since=START + 100 * SECOND)) == "cb"
    assert ids(folder, Filter(until=START + 100 * SECOND)) == "a"
    assert ids(folder, Filter("camp*")) == "cba"
    assert ids(folder, Filter("camp")) == ""
    record(folder, named(9), spans=[span("run x [all]", "r9", run="d" * 32, workflow__name="x [all]")])
    assert ids(folder, Filter("x [all]")) == "d"
    assert ids(folder, Filter("x [a*")) == "d"


def test_what_a_list_shows(folder: Path) -> None:
    run = listed(folder)[0]
    assert (run.workflow, run.started, run.seconds, run.state, run.result) == (
        "campaign",
        START + 200 * SECOND,
        8.0,
        "done",
        "success",
    )
    assert (run.stages, run.visits, run.revision, run.retries, run.source) == (2, 2, None, 0, named(2))


def test_what_was_read_is_not_read_again(folder: Path, read: list[tuple[str, int]]) -> None:
    assert ids(folder) == "cba"
    assert len(read) == 3
    read.clear()
    assert ids(folder) == "cba"
    assert read == []
    record(folder, named(3), spans=campaign("d" * 32, at=300.0))
    assert ids(folder) == "dcba"
    assert read == [(named(3), 0)]


def test_of_a_record_that_has_grown_the_rest_is_read(tmp_path: Path, read: list[tuple[str, int]]) -> None:
    folder = tmp_path / ".otel-progress"
    start = [event("run.started", span_id="r1"), visit_event("started", "draft", "7-a.1", at=1.0, span_id="s1")]
    made = record(folder, events=start, spans=[span("stage early", "s0", "r1")])
    (run,) = listed(folder)
    assert (run.state, run.visits) == ("unknown", 2)
    size = sum(file.stat().st_size for file in made.iterdir())
    read.clear()
    with (made / "events.jsonl").open("a") as file:
        file.write(visit_event("ended", "draft", "7-a.1", at=2.0, span_id="s1") + "\n")
        file.write(event("run.ended", at=3.0, span_id="r1", result="failure") + "\n")
        file.write(visit_event("started", "late", "7-a.2", at=2.0)[:20])
    with (made / "spans.jsonl").open("a") as file:
        file.write(span("stage draft", "s1", "r1", at=1.0) + "\n")
    runs, problems = listed_with_problems(folder)
    (run,) = runs
    assert (run.state, run.result, run.seconds, run.visits) == ("done", "failure", 3.0, 2)
    assert read == [(made.name, size)]
    assert len(problems) == 1
    assert listed_with_problems(folder) == (runs, problems)


def test_a_record_that_was_removed_is_forgotten(folder: Path) -> None:
    assert ids(folder) == "cba"
    made = folder / "runs" / named(1)
    (made / "spans.jsonl").unlink()
    made.rmdir()
    assert ids(folder) == "ca"


def test_one_that_was_put_in_the_place_of_another_is_read_anew(folder: Path) -> None:
    assert ids(folder) == "cba"
    write(folder / "runs" / named(1) / "spans.jsonl", [span("run x", "r1", run="d" * 32)])
    assert sorted(ids(folder)) == ["a", "c", "d"]


def test_what_is_wrong_is_said_each_time(folder: Path) -> None:
    write(folder / "runs" / named(1) / "spans.jsonl", ["no"])
    first = listed_with_problems(folder)[1]
    assert first == [f"{folder}/runs/{named(1)}/spans.jsonl:1: not JSON: Expecting value at character 1"]
    assert listed_with_problems(folder)[1] == first


# --- the file of the index --------------------------------------------------------------------------------------------


def test_only_the_user_can_read_it(folder: Path) -> None:
    ids(folder)
    assert stat.S_IMODE((folder / "index.sqlite").stat().st_mode) == 0o600


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def torn(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for place in range(200, len(data), 7):
        data[place] = 0xFF
    file.write_bytes(data)


def pages_zeroed(file: Path, table: str) -> None:
    """What lies in one table or index alone: the first look, which is at the inputs, finds nothing wrong."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(file.read_bytes())
    data[(page - 1) * size : page * size] = bytes(size)
    file.write_bytes(data)


def in_a_table(statement: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        database = sqlite3.connect(file)
        with database:
            for each in statement.split(";"):
                database.execute(each)
        database.close()

    return change


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "removed": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"hello" * 1000),
    "cut off": truncated,
    "torn": torn,
    "another version": in_a_table("PRAGMA user_version = 99"),
    "a table is missing": in_a_table("DROP TABLE runs"),
    "a column is missing": in_a_table("ALTER TABLE runs DROP COLUMN ledger"),
    "no JSON in it": in_a_table("UPDATE inputs SET extents = 'x', looks = ''"),
    "another JSON in it": in_a_table("UPDATE inputs SET extents = '{\"a\": {\"b\": 1}}', looks = ''"),
    "a column has another name": in_a_table("ALTER TABLE runs RENAME COLUMN note TO text"),
    "a list in the place of extents": in_a_table("UPDATE inputs SET extents = '[]', looks = ''"),
    "a text that is none": in_a_table("UPDATE runs SET source = CAST(x'ff' AS TEXT)"),
    "bytes in the place of a text": in_a_table("UPDATE runs SET source = x'6162'"),
    "a text in the place of a number": in_a_table("UPDATE runs SET ended = 'late'"),
    "a page of the runs": lambda file: pages_zeroed(file, "runs"),
    "a page of the runs by start": lambda file: pages_zeroed(file, "by_start"),
    "problems that are none": in_a_table("UPDATE inputs SET problems = '[5]'"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_whatever_is_wrong_with_it_it_is_made_anew(damage: Callable[[Path], Any], folder: Path) -> None:
    expected = listed(folder)
    damage(folder / "index.sqlite")
    assert listed(folder) == expected
    assert listed(folder) == expected
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (3,)


def test_a_ledger_that_is_damaged(folder: Path) -> None:
    """One of a run that goes on, as it is read again each time."""
    record(folder, named(5), events=[event("run.started", run="e" * 32, span_id="r5", at=500.0)])
    expected = listed(folder)
    for text in ("x", "5", "{}", '{"id": "e", "new": 1}'):
        in_a_table(f"UPDATE runs SET ledger = '{text}'; UPDATE inputs SET settled = 0")(folder / "index.sqlite")
        assert listed(folder) == expected


def test_a_database_of_somebody_else_stays(folder: Path) -> None:
    file = folder / "index.sqlite"
    in_a_table("CREATE TABLE theirs (a)")(file)
    before = file.read_bytes()
    assert ids(folder) == "cba"
    assert file.read_bytes() == before


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"")
    (folder / "index.sqlite").symlink_to(theirs)
    assert ids(folder) == "cba"
    assert theirs.read_bytes() == b""
    (folder / "index.sqlite").unlink()
    (folder / "index.sqlite").mkdir()
    assert ids(folder) == "cba"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    folder.chmod(0o500)
    assert ids(folder) == "cba"
    folder.chmod(0o700)


def test_while_another_reader_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_progress.runs.index._WAIT", 0.05)
    assert ids(folder) == "cba"
    database = sqlite3.connect(folder / "index.sqlite", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    assert ids(folder) == "cba"
    database.execute("COMMIT")
    database.close()
    assert ids(folder) == "cba"


def test_several_readers_at_once(folder: Path) -> None:
    found: list[str] = []
    readers = [threading.Thread(target=lambda: found.append(ids(folder))) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == ["cba"] * 8


# --- runs in several records ------------------------------------------------------------------------------------------


def test_a_run_that_went_on_elsewhere_is_one_line(tmp_path: Path) -> None:
    """Its own program tells how it is; the one that joined it adds its stages."""
    folder, run = tmp_path / ".otel-progress", "a" * 32
    own = [
        event("run.started", run=run, span_id="r1"),
        event("run.ended", run=run, at=9.0, span_id="r1", result="success"),
    ]
    joined = [
        event("run.started", run=run, at=1.0, process="8-b", span_id="r1", run__joined=True),
        visit_event("started", "archive", "8-b.1", run=run, at=1.0, process="8-b"),
        visit_event("ended", "archive", "8-b.1", run=run, at=2.0, process="8-b", stage__retries=2),
    ]
    record(folder, named(0), events=own)
    record(folder, named(1), events=joined)
    (one,) = listed(folder)
    assert (one.state, one.result, one.seconds, one.visits, one.retries) == ("done", "success", 9.0, 1, 2)
    assert one.source == f"{named(0)}, {named(1)}"
    assert listed(folder, limit=1) == [one]


def test_a_page_of_the_list_has_as_many_runs_as_it_should(tmp_path: Path) -> None:
    """However many records each of them is in: else the list would end early, and say that it is whole."""
    folder = tmp_path / ".otel-progress"
    for number in range(6):
        run = f"{number}" * 32
        for part in range(3):
            lines = [event("run.started", run=run, at=number * 100 + part, span_id=f"r{part}", run__joined=part > 0)]
            record(folder, named(number * 3 + part), events=lines)
    source = open_source(folder)
    with contextlib.closing(Index(source.index)) as made:
        made.update(source.inputs, Problems())
        for order in ORDERS:
            pages = [made.runs(Filter(workflow="camp*"), 2, skip=skip, order=order) for skip in (0, 2, 4)]
            assert [len(page) for page in pages] == [2, 2, 2]
            assert sorted(run.id[0] for page in pages for run in page) == list("012345")
            assert all(len(run.source.split(", ")) == 3 for page in pages for run in page)


@pytest.fixture
def index(folder: Path) -> Iterator[Index]:
    """The index of four runs, of which one goes on in another record and one has no end."""
    record(folder, named(3), events=[event("run.started", at=500.0, run="d" * 32, workflow__name="other")])
    lines = [event("run.started", at=150.0, run="b" * 32, joined=True), event("run.ended", at=160.0, run="b" * 32)]
    record(folder, named(4), events=lines)
    source = open_source(folder)
    with contextlib.closing(Index(source.index)) as made:
        made.update(source.inputs, Problems())
        yield made


def test_an_order_and_a_part_of_the_list(index: Index) -> None:
    def ordered(**how: Any) -> str:
        return "".join(run.id[0] for run in index.runs(Filter(), **how))

    assert ordered() == "dcba"
    assert ordered(rising=True) == "abcd"
    assert ordered(order="workflow", rising=True) == "cbad"
    assert ordered(order="seconds")[-1] == ordered(order="seconds", rising=True)[-1] == "d"  # It has no end.
    assert [run.id[0] for run in index.runs(Filter(), 2, skip=1)] == ["c", "b"]


def test_how_many_there_are_each_counted_once(index: Index) -> None:
    assert (index.count(Filter()), index.count(Filter(states=["failure"]))) == (4, 1)
    assert index.workflows(10) == [("campaign", 4), ("other", 1)]  # Of a record each, where one goes on in another.
    assert index.workflows(1) == [("campaign", 4)]


def test_what_the_runs_of_a_workflow_took(index: Index) -> None:
    took = index.durations("campaign")
    assert [(start - START) / SECOND for start, _ in took] == [0.0, 200.0]
    assert index.durations("other") == index.durations("camp*") == []
    assert [run[0] for run in index.ended("campaign", Filter(states=["success"]), 10)] == ["c", "a"]
    assert [run[0] for run in index.ended("campaign", Filter(), 1)] == ["c"]
    assert index.ended("camp*", Filter(), 10) == []


def test_the_pulse_is_another_where_anything_is_shown_otherwise(index: Index, folder: Path) -> None:
    seen = [index.pulse()]

    def look() -> None:
        source = open_source(folder)
        index.update(source.inputs, Problems())
        seen.append(index.pulse())

    look()
    assert seen[1] == seen[0]
    path = folder / "runs" / named(3) / "events.jsonl"
    for line in (
        visit_event("started", "draft", "v1", at=501.0, run="d" * 32, workflow__name="other"),
        event("run.ended", at=510.0, run="d" * 32, workflow__name="other"),
    ):
        with path.open("a") as file:
            file.write(line + "\n")
        look()
    record(folder, named(5), spans=campaign("e" * 32, at=600.0))
    look()
    assert len(set(seen)) == 4


def test_a_question_of_no_characters(folder: Path) -> None:
    """What a shell hands over may be no UTF-8."""
    with contextlib.closing(Index(folder / "index.sqlite")) as index:
        index.update(open_source(folder).inputs, Problems())
        assert index.ids("\udcff") == []
        assert index.runs(Filter(workflow="\udcff*")) == []
        assert index.path is not None

"""Records: where they are kept, who can read them, how long they stay, and what of them survives."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_progress.recording.faults import forget
from otel_progress.runs.appending import Appending
from otel_progress.runs.pruning import RECORD_NAME
from otel_progress.runs.record import Record

from . import otlp

fcntl = pytest.importorskip("fcntl")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def fill(record: Record, *names: str) -> TracerProvider:
    """Record a span for each name."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(record.processor())
    for name in names:
        provider.get_tracer("tests").start_span(name).end()
    return provider


def names(record: Record) -> list[str]:
    """Names of the spans in a record, in their order."""
    assert record.path is not None
    found: list[str] = []
    for line in (record.path / "spans.jsonl").read_text("utf-8").splitlines():
        data: dict[str, Any] = json.loads(line)
        found += [
            span["name"]
            for resource in data["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
    return found


def make(*names: str) -> None:
    """Records of earlier programs; with an ending, as they were before records were folders."""
    runs = Path(".otel-progress/runs")
    runs.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name.endswith(".jsonl"):
            (runs / name).write_text("{}\n")
        else:
            (runs / name).mkdir()
            (runs / name / "spans.jsonl").write_text("{}\n")


def left() -> list[str]:
    return sorted(path.name for path in Path(".otel-progress/runs").iterdir())


def name_of(record: Record) -> str:
    assert record.path is not None
    return record.path.name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- where, and for whom ----------------------------------------------------------------------------------------------


def test_named_by_time_and_program_and_written_as_json_lines() -> None:
    record = Record("my prog/rämß.v2")
    fill(record, "draft", "check")
    assert record.finish(keep=5)
    assert record.path is not None
    assert record.path.parent == Path(".otel-progress/runs")
    assert re.fullmatch(r"\d{8}T\d{6}Z-my_prog_rämß\.v2-[0-9a-f]{6}", record.path.name)
    assert RECORD_NAME.fullmatch(record.path.name)
    assert names(record) == ["draft", "check"]


@pytest.mark.parametrize(
    "program", ["\N{GRINNING FACE}" * 60, "\N{CJK UNIFIED IDEOGRAPH-20000}" * 60, "a" * 500, ".", "", "\ud800"]
)
def test_any_name_of_a_program_makes_a_name_of_a_folder(program: str) -> None:
    record = Record(program)
    fill(record, "draft")
    assert record.finish(keep=5)
    assert left() == [name_of(record)]
    assert len(os.fsencode(name_of(record))) <= 16 + 1 + 60 + 1 + 6
    assert RECORD_NAME.fullmatch(name_of(record))


def test_only_the_user_can_read_it() -> None:
    before = os.umask(0)
    try:
        record = Record("program")
        fill(record, "draft").force_flush()
        assert record.finish(keep=5)
    finally:
        os.umask(before)
    assert record.path is not None
    folders = [Path(".otel-progress"), record.path.parent, record.path]
    assert {mode(folder) for folder in folders} == {0o700}
    assert {mode(file) for file in record.path.iterdir()} == {0o600}


def test_there_is_none_when_nothing_was_recorded() -> None:
    record = Record("program")
    fill(record)
    assert not record.finish(keep=5)
    assert left() == []
    assert not Record("another").finish(keep=5)  # One that no provider was ever given.


def test_written_while_the_program_runs() -> None:
    record = Record("program")
    provider = fill(record, "draft")
    assert record.path is not None
    otlp.wait_until((record.path / "spans.jsonl").exists)
    otlp.wait_until(lambda: names(record) == ["draft"])
    provider.shutdown()


def test_git_ignores_it_and_a_changed_ignore_file_stays() -> None:
    Record("program")
    ignore = Path(".otel-progress/.gitignore")
    assert ignore.read_text() == "*\n"
    ignore.write_text("runs/*.tmp\n")
    Record("program")
    assert ignore.read_text() == "runs/*.tmp\n"


def test_a_program_that_changes_its_folder_or_loses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record("program")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    provider = fill(record, "draft")
    assert record.finish(keep=5)
    monkeypatch.chdir("..")
    assert names(record) == ["draft"]
    provider.shutdown()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of the test's own, and a working folder in which no record can be."""
    Path(".otel-progress").write_text("a file")
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_kept_elsewhere_where_the_folder_cannot_be_written(elsewhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths: set[Path] = set()
    for _ in range(3):
        caplog.clear()
        record = Record("program")
        fill(record, "draft")
        assert record.finish(keep=9)
        assert record.path is not None
        assert names(record) == ["draft"]
        (said,) = caplog.records
        assert "cannot be written" in said.getMessage()
        assert str(record.path.parent) in said.getMessage()
        paths.add(record.path.parent)
    own = elsewhere / f"otel-progress-{os.getuid()}"
    assert paths == {own / "runs"}
    assert mode(own) == 0o700
    assert list(elsewhere.iterdir()) == [own]


def test_a_folder_of_anybody_else_is_not_written_to(
    tmp_path: Path, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = elsewhere / f"otel-progress-{os.getuid()}"
    (tmp_path / "theirs").mkdir(0o700)
    for prepare in (lambda: own.symlink_to(tmp_path / "theirs"), lambda: (own.mkdir(), own.chmod(0o777))):
        prepare()
        caplog.clear()
        record = Record("program")
        assert record.path is None
        assert not record.finish(keep=1)
        (said,) = caplog.records
        assert said.getMessage().endswith("no record is kept")
        own.unlink() if own.is_symlink() else None
    assert list((tmp_path / "theirs").iterdir()) == []


def test_not_kept_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".otel-progress").write_text("a file")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    record = Record("program")
    assert record.path is None
    assert not record.finish(keep=1)
    (said,) = caplog.records
    assert said.getMessage().endswith("no record is kept")


# --- how long ---------------------------------------------------------------------------------------------------------

OLD = ("20250101T000000Z-a-00000a", "20250102T000000Z-b-00000b.jsonl", "20250103T000000Z-c-00000c")


def test_the_oldest_are_deleted_the_newest_kept() -> None:
    make(*OLD)
    record = Record("program")
    fill(record, "draft")
    assert record.finish(keep=2)
    assert left() == [OLD[2], name_of(record)]


def test_what_nothing_was_written_to_for_long_is_deleted() -> None:
    make(*OLD)
    runs, day = Path(".otel-progress/runs"), 86_400
    for name, days in ((OLD[0], 40), (OLD[1], 31), (OLD[2], 29)):
        path = runs / name
        for file in path.iterdir() if path.is_dir() else [path]:
            then = file.stat().st_mtime - days * day
            os.utime(file, (then, then))
    newest = runs / OLD[0] / "events.jsonl"
    newest.touch()  # Of one that ran for long.
    record = Record("program")
    fill(record, "draft")
    assert record.finish()
    assert left() == [OLD[0], OLD[2], name_of(record)]
    assert record.finish(days=10**12)
    assert record.finish(days=0.5)
    assert left() == [OLD[0], name_of(record)]


def test_a_program_that_lives_by_another_clock_deletes_nothing_before_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a library makes it for tests, until the process ends."""
    make(*OLD)
    record = Record("program")
    fill(record, "draft")
    monkeypatch.setattr(time, "time", lambda: 5e9)
    assert record.finish()
    assert left() == sorted([*OLD, name_of(record)])


def test_what_is_not_ours_is_never_deleted(tmp_path: Path) -> None:
    make(*OLD)
    runs = Path(".otel-progress/runs")
    theirs = tmp_path / "theirs"
    (theirs / OLD[0]).mkdir(parents=True)
    (theirs / OLD[0] / "spans.jsonl").write_text("mine")
    (theirs / OLD[1]).write_text("mine")
    (runs / "20250101T000000Z-link-00000d").symlink_to(theirs / OLD[0])
    (runs / "20250101T000000Z-link-00000d.jsonl").symlink_to(theirs / OLD[1])
    (runs / "notes.jsonl").write_text("mine")
    (runs / "data-00000e").mkdir()
    (runs / OLD[0] / "notes.txt").write_text("mine")
    (runs / OLD[2] / "spans.jsonl").unlink()
    (runs / OLD[2] / "spans.jsonl").symlink_to(theirs / OLD[1])
    record = Record("program")
    fill(record, "draft")
    before = left()
    assert record.finish(keep=1)
    assert left() == sorted({*before, name_of(record)} - {OLD[1]})
    assert sorted(path.name for path in (runs / OLD[0]).iterdir()) == ["notes.txt", "spans.jsonl"]
    assert {path.name for path in theirs.rglob("*") if path.is_file()} == {"spans.jsonl", OLD[1]}


def test_nothing_is_deleted_through_a_link(tmp_path: Path) -> None:
    make(*OLD)
    Path(".otel-progress/runs").rename(tmp_path / "theirs")
    Path(".otel-progress/runs").symlink_to(tmp_path / "theirs")
    record = Record("program")
    fill(record, "draft")
    assert record.finish(keep=1)
    assert left() == sorted([*OLD, name_of(record)])


def test_one_that_a_running_program_writes_to_is_not_deleted() -> None:
    make(OLD[0])
    running = Record("server")
    provider = fill(running, "draft")
    provider.force_flush()
    assert running.path is not None
    first = running.path.rename(running.path.with_name("20250102T000000Z-server-000002"))
    record = Record("program")
    fill(record, "check")
    assert record.finish(keep=1)
    assert left() == [first.name, name_of(record)]
    provider.shutdown()


def test_one_that_is_newer_is_not_deleted() -> None:
    record = Record("program")
    newer = "29990101T000000Z-a-00000a"
    make(OLD[0], newer)
    fill(record, "draft")
    assert record.finish(keep=1)
    assert left() == [name_of(record), newer]


def test_a_record_of_another_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    make(*OLD)
    record = Record("program")
    fill(record, "draft")
    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert record.finish(keep=1)
    assert left() == sorted([*OLD, name_of(record)])


# --- what survives ----------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Tell how many bytes the disk still takes."""
    write, free = os.write, [0]

    def take(descriptor: int, data: bytes) -> int:
        if not free[0]:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, data[: free[0]])
        free[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", take)
    return lambda count: free.__setitem__(0, count)


def test_a_full_disk_costs_lines_and_tears_no_other(
    tmp_path: Path, disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    forget()
    file = Appending(tmp_path / "lines")
    for free, line in ((99, b"one\n"), (2, b"two\n"), (0, b"three\n"), (1, b"four\n"), (99, b"five\n"), (99, b"six\n")):
        disk(free)
        file.append(line)
    assert file.path.read_bytes() == b"one\ntw\nfive\nsix\n"
    assert file.fault == "No space left on device"
    (said,) = caplog.records
    assert said.getMessage().endswith("is incomplete (No space left on device)")


def test_a_full_disk_is_said_once_whatever_files_are_on_it(
    tmp_path: Path, disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    forget()
    disk(0)
    files = [Appending(tmp_path / "record" / name) for name in ("events.jsonl", "spans.jsonl")]
    for file in files:
        file.append(b"{}\n")
    assert [file.fault for file in files] == ["No space left on device"] * 2
    (said,) = caplog.records
    assert said.getMessage().startswith(f"{tmp_path / 'record'} cannot be written: ")


def test_a_full_disk_is_said_at_the_end_and_costs_nothing_else(
    disk: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    forget()
    record = Record("program")
    disk(0)
    provider = fill(record, "draft")
    provider.force_flush()
    provider.shutdown()
    assert record.fault == "No space left on device"
    assert [said.levelname for said in caplog.records] == ["WARNING"]


def test_a_full_disk_leaves_no_command_that_shows_nothing(disk: Callable[[int], None], tmp_path: Path) -> None:
    forget()
    record = Record("program", tmp_path)
    assert record.tells_of("a" * 32)
    file = record.writer(lambda: "studio").file
    record.folder.mkdir()
    for free, told in ((0, False), (20, False), (99, True)):
        disk(free)
        file.append(b'{"run": "%s"}\n' % (b"a" * 32))
        assert record.fault == "No space left on device"
        assert record.tells_of("a" * 32) is told
        assert not record.tells_of("b" * 32)


def test_a_descriptor_that_the_program_closes_is_opened_again(tmp_path: Path) -> None:
    file = Appending(tmp_path / "lines")
    file.append(b"one\n")
    descriptor = file._descriptor
    assert descriptor >= 200
    os.close(descriptor)
    file.append(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"
    os.close(file._descriptor)


def test_two_processes_write_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from otel_progress.runs.appending import Appending\n"
        "file = Appending(Path('lines'))\n"
        "for _ in range(2000): file.append(sys.argv[1].encode() * 700 + b'\\n')"
    )
    writers = [otlp.start(tmp_path, ["-c", code, letter]) for letter in "ab"]
    assert [otlp.ended(writer).returncode for writer in writers] == [0, 0]
    lines = [line.lstrip(b" ") for line in (tmp_path / "lines").read_bytes().splitlines()]
    assert sorted(set(lines)) == [b"a" * 700, b"b" * 700]
    assert len(lines) == 4000


def lines_over_a_page(file: Path) -> int:
    end = over = 0
    for line in file.read_bytes().splitlines(keepends=True):
        end += len(line)
        over += (end - len(line.lstrip(b" "))) // 4096 != (end - 1) // 4096
    return over


@pytest.fixture
def file(tmp_path: Path) -> Appending:
    """A file to which this process alone writes."""
    file = Appending(tmp_path / "events.jsonl")
    file.append(b"{}\n")
    file.look_again(alone=True)
    return file


def interrupted(file: Appending, monkeypatch: pytest.MonkeyPatch, handler: Callable[[], object]) -> None:
    """Append a line, behind whose write the handler of a signal comes."""
    write = os.write

    def interrupt(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        sent = write(descriptor, data)
        handler()
        return sent

    file.append(b"first\n")
    monkeypatch.setattr(os, "write", interrupt)
    file.append(b"second\n")
    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("alone", [False, True])
def test_no_line_gets_into_a_file_that_has_got_the_number_of_ours(file: Appending, tmp_path: Path, alone: bool) -> None:
    with (tmp_path / "theirs").open("wb") as theirs:
        os.dup2(theirs.fileno(), file._descriptor)  # As where the program has closed all, and opened many.
    file.look_again(alone=alone)  # As each second.
    file.append(b"{1}\n")
    file.append(b"{2}\n")
    assert (tmp_path / "theirs").read_bytes() == b""
    assert file.path.read_bytes().split() == [b"{}", b"{1}", b"{2}"]
    assert file.fault is None


def test_a_line_that_a_handler_tears_while_another_is_written_is_ended(
    file: Appending, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(descriptor: int, data: bytes) -> int:
        if not data.startswith(b"torn"):
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:4])

    def handler() -> None:
        monkeypatch.setattr(os, "write", fill)
        file.append(b"torn line\n")

    write = os.write
    interrupted(file, monkeypatch, handler)
    file.append(b"third\n")
    assert file.path.read_bytes().splitlines() == [b"{}", b"first", b"second", b"torn", b"third"]


def test_a_handler_that_forks_while_a_line_is_written(file: Appending, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on another process writes to the file too."""
    interrupted(file, monkeypatch, lambda: file.look_again(alone=False))
    Appending(file.path).append(b"o" * 3000 + b"\n")
    file.append(b"f" * 2000 + b"\n")
    assert file.path.read_bytes()[4096:] == b"f" * 2000 + b"\n"


def test_lines_of_many_threads_go_over_no_page(file: Appending) -> None:
    def write(step: int) -> None:
        for number in range(1000):
            file.append(b'"' + b"x" * (300 + number * step % 500) + b'"\n')

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=write, args=(step,)) for step in (7, 11, 13)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(file.path.read_bytes().splitlines()) == 3001
    assert lines_over_a_page(file.path) == 0


@pytest.mark.parametrize("where", ["in a page", "where it is not known how much is left", "where a page begins"])
def test_lines_behind_that_of_a_signal_handler_go_over_no_page(
    file: Appending, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write, handled = os.write, list[int]()

    def interrupted(descriptor: int, data: bytes) -> int:
        if len(handled) < 3:
            handled.append(1)
            file.append(b'"' + b"h" * 1000 + b'"\n')
        return write(descriptor, data)

    for _ in range(4):
        file.append(b'"before"\n')
    if where == "where a page begins":
        file.append(b'"' + b"b" * (file._left - 13) + b'"\n')  # pyright: ignore[reportPrivateUsage]
    elif where != "in a page":
        file.look_again(alone=True)
    monkeypatch.setattr(os, "write", interrupted)
    file.append(b'"interrupted"\n')
    monkeypatch.undo()
    for _ in range(20):
        file.append(b'"' + b"x" * 700 + b'"\n')
    assert len(file.path.read_bytes().splitlines()) == 29 + (where == "where a page begins")
    assert lines_over_a_page(file.path) == 0


def test_who_writes_alone_asks_once_where_the_file_ends(file: Appending, monkeypatch: pytest.MonkeyPatch) -> None:
    seek, asked = os.lseek, list[int]()
    file.append(b"{}\n")
    file.look_again(alone=True)
    monkeypatch.setattr(os, "lseek", lambda *where: (asked.append(1), seek(*where))[1])
    for _ in range(20):  # Over several pages.
        file.append(b'"' + b"x" * 900 + b'"\n')
    assert len(asked) == 1
    assert lines_over_a_page(file.path) == 0


def test_who_waits_for_another_thread_to_write_is_timed_too(file: Appending, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write may be quick by itself, and yet take long for all."""
    now, waits, writing, written, took = [0.0], threading.Event(), threading.Event(), threading.Event(), list[float]()
    write = os.write

    def clock() -> float:
        waits.set()
        return now[0]

    def take(descriptor: int, data: bytes) -> int:
        if not writing.is_set():
            writing.set()
            written.wait(otlp.TIMEOUT)
        return write(descriptor, data)

    file.append(b"{}\n")
    monkeypatch.setattr(file, "_timed", took.append)
    monkeypatch.setattr("otel_progress.runs.appending.perf_counter", clock)
    monkeypatch.setattr(os, "write", take)
    threads = [threading.Thread(target=file.append, args=(b'"one"\n',)) for _ in range(2)]
    threads[0].start()
    assert writing.wait(otlp.TIMEOUT)
    threads[1].start()
    assert waits.wait(otlp.TIMEOUT)
    now[0] += 0.15
    written.set()
    for thread in threads:
        thread.join()
    assert took == [0.15]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_writes_whoever_was_writing(file: Appending) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with file._lock:  # pyright: ignore[reportPrivateUsage] - as `append` does
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        file.append(b'"child"\n')
        os._exit(0)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert file.path.read_bytes().splitlines() == [b"{}", b'"child"']


@pytest.mark.parametrize("longest", [600, 4096, 6000])
def test_no_line_goes_over_the_end_of_a_page_unless_it_is_longer(tmp_path: Path, longest: int) -> None:
    """There a write is broken off when the process is killed."""
    chance = random.Random(longest)
    path = tmp_path / "lines"
    lines = [b"x" * chance.randrange(longest) + b"\n" for _ in range(300)] + [b"x" * 4095 + b"\n", b"end\n"]
    files = [Appending(path), Appending(path)]
    for line in lines:  # By several processes.
        chance.choice(files).append(line)
    written = path.read_bytes().splitlines(keepends=True)
    assert [line.lstrip(b" ") for line in written] == lines
    end = 0
    for line, told in zip(written, lines, strict=True):
        end += len(line)
        assert len(told) > 4096 or (end - len(told)) // 4096 == (end - 1) // 4096
        assert len(line) == len(told) or (end - len(told)) % 4096 == 0
    for file in files:
        os.close(file._descriptor)

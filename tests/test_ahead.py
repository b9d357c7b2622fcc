"""Reading with two processors gives what reading with one does, whatever becomes of the other process."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest

from otel_progress.runs import Problems, Run, ahead
from otel_progress.runs.reading import Source, open_source
from otel_progress.runs.whole import whole_runs

from .records import campaign, event, record, span, visit_event, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there a process is forked for it")
_STORE = '{"progress_metrics":{"draft":{"start_time":"2025-08-28T10:45:00+00:00","completed":false}}}'
_TORN = '{"resourceSpans":[{"res'


@pytest.fixture(autouse=True)
def _of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "WORTH_IT", 1)
    monkeypatch.setattr(ahead, "_AT_ONCE", 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long everything is that another process has told."""
    found: list[int] = []
    following = ahead._Heard.next

    def noted(self: ahead._Heard) -> bytes:
        told = following(self)
        found.append(len(told))
        return told

    monkeypatch.setattr(ahead._Heard, "next", noted)
    return found


def lines(seed: int, runs: int = 6) -> list[str]:
    """Spans, events and whatever else may be in a file, in any order."""
    chance = random.Random(seed)
    found: list[str] = []
    for number in range(runs):
        run = f"{seed:04x}{number:028x}"
        found += campaign(run, at=number * 10.0)
        how = {"run": run, "span_id": f"{run[:8]}e{number:07}"}
        found.append(event("run.started", run=run, at=number * 10.0, span_id=f"{number:016x}"))
        found.append(visit_event("started", "draft", f"7-{number}", at=number * 10.0, **how))
        found.append(span("item", f"{number:08x}00000001", f"{run[:8]}e{number:07}", run=run))
        found += chance.sample([_STORE, _TORN, "[1]", "", "{}", span("stage ", "01" * 8), '{"error":"\\ud800"}'], 3)
    chance.shuffle(found)
    return [campaign()[0], *found]


def alone(source: Source) -> tuple[list[Run], Problems]:
    problems = Problems()
    return list(whole_runs(source, problems, visits=100)), problems


def together(source: Source) -> tuple[list[Run], Problems]:
    problems = Problems()
    return list(whole_runs(source, problems, visits=100, ahead=True)), problems


def assert_same(source: Source) -> None:
    (expected, wrong), (found, told) = alone(source), together(source)
    assert expected
    assert found == expected
    assert (told.found, told.left_out) == (wrong.found, wrong.left_out)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("seed", range(10))
def test_one_file(seed: int, tmp_path: Path, heard: list[int]) -> None:
    assert_same(open_source(write(tmp_path / "t.jsonl", lines(seed))))
    assert len(heard) > 5


def test_files_of_a_collector(tmp_path: Path, heard: list[int]) -> None:
    for seed in range(4):
        write(tmp_path / f"traces-{seed}.jsonl", lines(seed))
    assert_same(open_source(tmp_path))
    assert len(heard) > 5


def test_a_folder_of_records(tmp_path: Path, heard: list[int]) -> None:
    for seed in range(8):
        name, crashed = f"20250828T10450{seed}Z-app-0a0a0a", {"pid": 7, "crashed": 1, "signal": 9}
        begun = [event("run.started", run=f"{seed:032x}", process="7-abcdef")]
        record(tmp_path, name, spans=lines(seed), events=begun, processes={"7-abcdef": crashed})
    source = open_source(tmp_path)
    assert_same(source)
    assert len(heard) > 5
    assert {run.note for run in alone(source)[0] if run.state == "crashed"} == {"process 7 was ended by SIGKILL"}


def test_records_of_earlier_versions(tmp_path: Path, heard: list[int]) -> None:
    (tmp_path / "runs").mkdir()
    for seed in range(8):
        write(tmp_path / "runs" / f"20250828T10450{seed}Z-app-0a0a0a.jsonl", lines(seed))
    assert_same(open_source(tmp_path))
    assert len(heard) > 5


def test_standard_input(monkeypatch: pytest.MonkeyPatch, heard: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines(1)).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert_same(open_source("-"))
    assert len(heard) > 5


@pytest.mark.parametrize(
    "data",
    [
        b'{"progress_metrics": {\n "draft": {\n "start_time": "2025-08-28T10:45:00+00:00"\n}\n}\n}\n',
        b"\x1f\x8b" + b"a\n" * 100,
        b"",
        ("\n".join(campaign()) + "\n").encode() + b"a" * 5000,
        campaign()[0].encode() + b"\n" + b" " * 5000,
    ],
    ids=["one document", "another format", "nothing", "a last line without end", "spaces"],
)
def test_what_is_not_made_of_lines(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(data)
    source = open_source(tmp_path / "t.jsonl")
    (expected, wrong), (found, told) = alone(source), together(source)
    assert (found, told.found) == (expected, wrong.found)
    assert expected or wrong or not data


@pytest.mark.parametrize("sent", [0, 1, 2, 5])
def test_another_process_that_is_killed(
    sent: int, tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, left = os.getpid(), [sent]
    sends = ahead._Teller.send

    def send(self: ahead._Teller, told: bytes) -> None:
        if not left[0]:
            assert os.getpid() != here
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        sends(self, told)

    monkeypatch.setattr(ahead._Teller, "send", send)
    assert_same(open_source(write(tmp_path / "t.jsonl", lines(2))))
    assert len(heard) == sent


def test_no_room_for_a_file(tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full())
    assert_same(open_source(write(tmp_path / "t.jsonl", lines(3))))
    assert heard == []


def test_no_fork_of_threads(tmp_path: Path, heard: list[int]) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert_same(open_source(write(tmp_path / "t.jsonl", lines(4))))
    finally:
        over.set()
        thread.join()
    assert heard == []


def test_interrupted_while_it_reads(tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_progress.runs.whole._EVERY", 1)
    source = open_source(write(tmp_path / "t.jsonl", lines(5, runs=50)))

    def tell(facts: int) -> None:
        if len(heard) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(whole_runs(source, Problems(), visits=100, tell=tell, ahead=True))
    assert multiprocessing.active_children() == []

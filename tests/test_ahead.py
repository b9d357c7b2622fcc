"""Reading with two processors gives what reading with one does, whatever becomes of the other process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from .records import campaign, event, record, span, visit_event, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there a process is forked for it")
_STORE = '{"progress_metrics":{"draft":{"start_time":"2025-08-28T10:45:00+00:00","completed":false}}}'
_TORN = '{"resourceSpans":[{"res'
_BOTH_WAYS = """
import json, multiprocessing, os, sys
from otel_progress.runs import Problems, ahead
from otel_progress.runs.reading import open_source
from otel_progress.runs.whole import whole_runs

ahead.WORTH_IT, ahead._AT_ONCE = 1, 3
os.sched_getaffinity = lambda _: {0, 1}
heard, following = [], ahead._Heard.next
def noted(self):
    heard.append(following(self))
    return heard[-1]
ahead._Heard.next = noted
source = open_source(sys.argv[1])
def read(**how):
    problems = Problems()
    runs = list(whole_runs(source, problems, visits=100, **how))
    return runs, problems.found, problems.left_out
alone = read()
%s
together = read(ahead=True)
assert together == alone, (together, alone)
assert multiprocessing.active_children() == []
print(json.dumps([len(heard), len(alone[0]), len(alone[1]), sorted({run.note for run in alone[0] if run.note})]))
"""
"""In a process of its own: one that other tests have left threads in is not forked."""


def both_ways(source: Path | str, meanwhile: str = "", data: bytes = b"") -> tuple[int, int, int, list[str]]:
    """Read a source with one and with two processors, and see that there is no difference.

    Gives how often the other process has told something, how many runs there are and problems, and the notes of runs.
    """
    command = [sys.executable, "-c", _BOTH_WAYS % meanwhile, str(source)]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return tuple(json.loads(done.stdout))


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


@pytest.mark.parametrize("seed", range(2))
def test_one_file(seed: int, tmp_path: Path) -> None:
    heard, runs, wrong, _ = both_ways(write(tmp_path / "t.jsonl", lines(seed)))
    assert (heard > 5, runs >= 6, wrong > 5) == (True, True, True)


def test_files_of_a_collector(tmp_path: Path) -> None:
    for seed in range(4):
        write(tmp_path / f"traces-{seed}.jsonl", lines(seed))
    heard, runs, *_ = both_ways(tmp_path)
    assert (heard > 5, runs >= 24) == (True, True)


def test_a_folder_of_records(tmp_path: Path) -> None:
    for seed in range(8):
        name, crashed = f"20250828T10450{seed}Z-app-0a0a0a", {"pid": 7, "crashed": 1, "signal": 9}
        begun = [event("run.started", run=f"{seed:032x}", process="7-abcdef")]
        record(tmp_path, name, spans=lines(seed), events=begun, processes={"7-abcdef": crashed})
    heard, *_, notes = both_ways(tmp_path)
    assert heard > 5
    assert "process 7 was ended by SIGKILL" in notes


def test_records_of_earlier_versions(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for seed in range(8):
        write(tmp_path / "runs" / f"20250828T10450{seed}Z-app-0a0a0a.jsonl", lines(seed))
    assert both_ways(tmp_path)[0] > 5


def test_standard_input() -> None:
    heard, runs, *_ = both_ways("-", data="".join(f"{line}\n" for line in lines(1)).encode())
    assert (heard > 5, runs >= 6) == (True, True)


@pytest.mark.parametrize(
    ("data", "runs"),
    [
        (b'{"progress_metrics": {\n "draft": {\n "start_time": "2025-08-28T10:45:00+00:00"\n}\n}\n}\n', 1),
        (b"\x1f\x8b" + b"a\n" * 100, 0),
        (b"", 0),
        (("\n".join(campaign()) + "\n").encode() + b"a" * 5000, 1),
        (campaign()[0].encode() + b"\n" + b" " * 5000, 1),
    ],
    ids=["one document", "another format", "nothing", "a last line without end", "spaces"],
)
def test_what_is_not_made_of_lines(data: bytes, runs: int, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(data)
    assert both_ways(tmp_path / "t.jsonl")[1] == runs


@pytest.mark.parametrize("sent", [0, 1, 5])
def test_another_process_that_is_killed(sent: int, tmp_path: Path) -> None:
    killed = f"""
here, left, sends = os.getpid(), [{sent}], ahead._Teller.send
def send(self, told):
    assert os.getpid() != here
    if not left[0]:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    sends(self, told)
ahead._Teller.send = send
"""
    assert both_ways(write(tmp_path / "t.jsonl", lines(2)), killed)[0] == sent


def test_no_room_for_a_file(tmp_path: Path) -> None:
    full = """
def full(**_):
    raise OSError(28, "No space left on device")
ahead.tempfile.TemporaryFile = full
"""
    assert both_ways(write(tmp_path / "t.jsonl", lines(3)), full)[0] == 0


def test_no_fork_of_threads(tmp_path: Path) -> None:
    thread = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
    assert both_ways(write(tmp_path / "t.jsonl", lines(4)), thread)[0] == 0


def test_interrupted_while_it_reads(tmp_path: Path) -> None:
    interrupted = """
from otel_progress.runs import whole
whole._EVERY = 1
def tell(facts):
    if len(heard) > 3:
        raise KeyboardInterrupt
try:
    read(ahead=True, tell=tell)
except KeyboardInterrupt:
    assert multiprocessing.active_children() == []
else:
    assert False
"""
    both_ways(write(tmp_path / "t.jsonl", lines(5, runs=50)), interrupted)


def test_a_worker_that_may_have_no_children_reads_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", lines(3))
    heard, runs, _, _ = both_ways(path, "multiprocessing.current_process()._config['daemon'] = True")
    assert (heard, runs >= 6) == (0, True)

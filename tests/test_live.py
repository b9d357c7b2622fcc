"""Progress that a process shows itself: `configure(live=True)` and OTEL_PROGRESS_LIVE."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from otel_progress import stage, workflow
from otel_progress.live.notebook import Notebook
from otel_progress.live.own import Own
from otel_progress.recording import default

from . import otlp
from .said import lines_of, shown, until

NOT_EXPORTED = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
STAGES = """
    import sys
    from otel_progress import configure, stage, workflow
    {configure}
    with workflow("campaign"):
        with stage("draft"): sys.stdin.readline()
        with stage("check") as visit: visit.advance(2, total=3)
    with stage("late"): ...
"""
LINES = [
    "campaign started, run ID",
    "  draft started",
    "  draft ended in T: success",
    "  check started",
    "  check ended in T: success, 2/3 items",
    "campaign ended in T: success, 2 visits",
    "program started, run ID",
    "  late started",
    "  late ended in T: success",
    "program ended in T: success, 1 visit",
]


@pytest.mark.parametrize(
    ("configure", "variable"),
    [("configure(live=True)", "false"), ("configure()", "true"), ("", "true"), ("configure(live=True)", "true")],
)
def test_lines_on_standard_error(tmp_path: Any, configure: str, variable: str) -> None:
    program = otlp.write(tmp_path, STAGES.format(configure=configure))
    process = otlp.start(tmp_path, [str(program)], OTEL_PROGRESS_LIVE=variable, **NOT_EXPORTED)
    assert process.stderr is not None
    said = until(process.stderr, "draft started")  # It waits, and its line is there.
    ended = otlp.ended(process, "\n")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert shown(said + ended.stderr) == LINES


def test_lines_where_the_wall_clock_is_set(tmp_path: Any) -> None:
    """What lies inside a run is told before its end, which by its time came before."""
    program = otlp.write(
        tmp_path,
        """
        from otel_progress import configure, stage, workflow
        from otel_progress.recording import default
        configure(live=True)
        recorder = default.recorder
        wall = recorder._wall
        with workflow("campaign"):
            recorder._wall = lambda: wall() + 3_600_000_000_000
            with stage("check"): ...
        with stage("late"): ...
        """,
    )
    ended = otlp.run(tmp_path, [str(program)], **NOT_EXPORTED)
    assert shown(ended.stderr) == [
        "campaign started, run ID",
        "  check started",
        "  check ended in T: success",
        "campaign ended in T: success, 1 visit",
        "program started, run ID",
        "  late started",
        "  late ended in T: success",
        "program ended in T: success, 1 visit",
    ]


@pytest.mark.parametrize("configure", ["configure()", "configure(live=False)", "configure(live=True)"])
def test_nothing_is_shown_unasked_or_twice(tmp_path: Any, configure: str) -> None:
    program = otlp.write(tmp_path, STAGES.format(configure=configure))
    if configure != "configure(live=True)":
        live = {} if configure == "configure()" else {"OTEL_PROGRESS_LIVE": "true"}
        assert otlp.ended(otlp.start(tmp_path, [str(program)], **NOT_EXPORTED, **live), "").stderr == ""
    command = ["-m", "otel_progress", "run", str(program)]
    ended = otlp.ended(otlp.start(tmp_path, command, OTEL_PROGRESS_LIVE="true", **NOT_EXPORTED), "")
    assert lines_of(ended.stderr) == LINES
    command.insert(-1, "--quiet")
    assert otlp.ended(otlp.start(tmp_path, command, OTEL_PROGRESS_LIVE="true", **NOT_EXPORTED), "").stderr == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_children_show_nothing(tmp_path: Any) -> None:
    program = otlp.write(
        tmp_path,
        """
        import multiprocessing, os
        from otel_progress import configure, stage, workflow
        configure(live=True)
        def work():
            with stage("child"): ...
        if __name__ == "__main__":
            with workflow("campaign"):
                for way in ("fork", "spawn"):
                    child = multiprocessing.get_context(way).Process(target=work)
                    child.start()
                    child.join()
                if os.fork() == 0:
                    work()
                    exit()
                os.wait()
                with stage("parent"): ...
        """,
    )
    # Since 3.12 Python warns of each fork beside a thread.
    ended = otlp.run(tmp_path, [str(program)], PYTHONWARNINGS="ignore::DeprecationWarning", **NOT_EXPORTED)
    assert [line for line in shown(ended.stderr) if "still running" not in line] == [
        "campaign started, run ID",
        "  parent started",
        "  parent ended in T: success",
        "campaign ended in T: success, 1 visit",
    ]


class Shell:
    """The shell of a notebook's kernel, as far as it is used. The real one is in `frameworks/test_heavy.py`."""

    def __init__(self) -> None:
        self.events = self.display_pub = self.kernel = self
        self.cell = "1"
        self.outputs: dict[str, tuple[str, str]] = {}
        """The cell in which each was made, and its text."""
        self.finish: Any = None

    def register(self, event: str, callback: Any) -> None:
        assert event == "post_run_cell"
        self.finish = callback

    def get_parent(self, channel: str) -> dict[str, Any]:
        assert channel == "shell"
        return {"header": {"msg_id": self.cell}}

    def publish(self, *, data: dict[str, str], transient: dict[str, str], update: bool) -> None:
        display = transient["display_id"]
        assert (display in self.outputs) == update
        made_in = self.outputs[display][0] if update else self.cell
        self.outputs[display] = made_in, data["text/plain"]

    def shown(self) -> list[tuple[str, list[str]]]:
        """The outputs by now, without durations and the blanks of columns."""
        self.finish()
        return [(cell, [" ".join(line.split()) for line in shown(text)]) for cell, text in self.outputs.values()]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell, own = Shell(), Own()
    own.display = Notebook(own.sink.flush, shell)
    monkeypatch.setattr(default.recorder, "sinks", [*default.recorder.sinks, own.sink])
    return shell


def test_each_cell_has_one_output_of_its_runs(shell: Shell) -> None:
    assert shell.shown() == []
    for number in range(7):
        with workflow(f"run {number}"), stage("draft"):
            pass
    (first,) = shell.shown()
    table = ["stage visits time state", "draft 1 T success"]
    runs = [[f"run {number} ended in T: success", *table] for number in range(2, 7)]
    assert first == ("1", ["2 runs ended before", *(line for lines in runs for line in lines)])
    shell.cell = "2"
    with workflow("campaign"):
        with stage("check") as visit:
            visit.advance(1, total=2)
            going_on = ["campaign running for T", "stage visits time state", "check 1 T running for T, 1/2 items"]
            assert shell.shown() == [first, ("2", going_on)]
        ended = ["stage visits time items state", "check 1 T 1/2 success"]
        assert shell.shown() == [first, ("2", ["campaign running, in no stage", *ended])]
        shell.cell = "3"  # It goes on there.
    assert shell.shown()[1:] == [(cell, ["campaign ended in T: success", *ended]) for cell in "23"]


def test_a_run_of_another_thread_stays_in_its_cell(shell: Shell) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with workflow("behind"), stage("long"):
            begun.set()
            go_on.wait(otlp.TIMEOUT)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(otlp.TIMEOUT)
    shell.cell = "2"
    assert [(cell, lines[0]) for cell, lines in shell.shown()] == [("1", "behind running for T")]
    go_on.set()
    thread.join()
    assert [(cell, lines[0]) for cell, lines in shell.shown()] == [("1", "behind ended in T: success")]

"""SIGTERM ends a program within the exit bound, whatever it catches and waits for, and what is recorded is kept."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from . import otlp
from .said import without_lines
from .test_cli import RUN, recorded, rows, run_files, spans

BOUND = 2.0
"""`exit_timeout` where nothing else is said."""

NOT_EXPORTED = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}

BEGIN = """
import asyncio, concurrent.futures, hashlib, sys, threading, time
from otel_progress import configure, stage, workflow
for_ever = threading.Event()
def ready():
    print("ready", flush=True)
"""

STUBBORN = {
    "a bare except": """
        with workflow("campaign"):
            while True:
                try:
                    with stage("draft"):
                        ready()
                        for_ever.wait()
                except: pass
        """,
    "except BaseException": """
        with workflow("campaign"):
            told = False
            while True:
                try:
                    with stage("draft"):
                        if not told: ready()
                        told = True
                        time.sleep(0.01)
                except BaseException: pass
        """,
    "busy in a ThreadPoolExecutor": """
        def draft():
            with stage("draft"):
                ready()
                for_ever.wait()
        with workflow("campaign"), concurrent.futures.ThreadPoolExecutor() as threads:
            threads.submit(draft).result()
        """,
    "a ThreadPoolExecutor without a with block": """
        def draft():
            with stage("draft"):
                ready()
                for_ever.wait()
        threads = concurrent.futures.ThreadPoolExecutor()
        threads.submit(draft).result()
        """,
    "busy in asyncio.to_thread": """
        def draft():
            with stage("draft"):
                ready()
                for_ever.wait()
        async def main():
            async with workflow("campaign"):
                await asyncio.to_thread(draft)
        asyncio.run(main())
        """,
    "busy in C": """
        def busy():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
        def ready_once_it_is():
            while sys._current_frames()[threading.main_thread().ident].f_lineno != busy.__code__.co_firstlineno + 1:
                time.sleep(0.001)
            ready()
        threading.Thread(target=ready_once_it_is).start()
        with workflow("campaign"), stage("draft"):
            busy()
        """,
    "an exit handler that waits": """
        import atexit
        atexit.register(for_ever.wait)
        with workflow("campaign"), stage("draft"):
            ready()
            for_ever.wait()
        """,
}


def program(folder: Path, code: str, before: str = "") -> str:
    return str(otlp.write(folder, f"{BEGIN}{before}\n{otlp.textwrap.dedent(code)}"))


def started(folder: Path, command: list[str], **variables: str) -> subprocess.Popen[str]:
    """A program that has said that it is ready."""
    process = otlp.start(folder, command, **variables)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def until_it_ended(process: subprocess.Popen[str]) -> None:
    """Send SIGTERM until it has an effect: for what is to happen at the second one, whenever the first has arrived."""

    def has_ended() -> bool:
        process.terminate()
        return process.poll() is not None

    otlp.wait_until(has_ended)


@pytest.mark.parametrize("shape", STUBBORN)
def test_it_ends_within_the_bound_whatever_the_program_catches(tmp_path: Path, shape: str) -> None:
    process = started(tmp_path, [*RUN, program(tmp_path, STUBBORN[shape])])
    begun = time.monotonic()
    process.terminate()
    ended = otlp.ended(process)
    assert ended.returncode == -signal.SIGTERM
    assert time.monotonic() - begun < BOUND + 2  # A loaded machine is let have some.
    names = recorded(tmp_path)
    assert "stage draft" in names
    assert any(name.startswith("run ") for name in names)
    assert "\ndraft " in ended.stderr


@pytest.mark.parametrize("shape", ["a bare except", "busy in a ThreadPoolExecutor", "busy in C"])
def test_a_second_signal_kills_at_once(tmp_path: Path, shape: str) -> None:
    before = "configure(exit_timeout=300)"
    process = started(tmp_path, [*RUN, program(tmp_path, STUBBORN[shape], before)], **NOT_EXPORTED)
    until_it_ended(process)
    assert otlp.ended(process).returncode == -signal.SIGTERM


def all_recorded(folder: Path) -> bool:
    return bool(run_files(folder)) and sorted(span["name"] for span in spans(run_files(folder)[0])) == [
        "run campaign",
        "stage draft",
    ]


def test_a_second_signal_during_the_last_flush(tmp_path: Path, receiver: otlp.Receiver) -> None:
    receiver.answers = False
    code = "with workflow('campaign'), stage('draft'):\n    ready()\n    for_ever.wait()"
    command = [*RUN, program(tmp_path, code, "configure(exit_timeout=300)")]
    process = started(tmp_path, command, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    process.terminate()
    receiver.wait_until(lambda: any("traces" in request for request in receiver.requests))
    otlp.wait_until(lambda: all_recorded(tmp_path))
    process.terminate()
    ended = otlp.ended(process)
    assert (ended.returncode, without_lines(ended.stderr)) == (-signal.SIGTERM, "")
    assert all_recorded(tmp_path)


def test_a_first_signal_during_the_last_flush_does_not_raise_in_it(tmp_path: Path, receiver: otlp.Receiver) -> None:
    receiver.answers = False
    command = [*RUN, program(tmp_path, "with workflow('campaign'), stage('draft'):\n    ready()")]
    process = started(tmp_path, command, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    receiver.wait_until(lambda: any("traces" in request for request in receiver.requests))
    process.terminate()
    ended = otlp.ended(process)
    assert ended.returncode == -signal.SIGTERM
    assert "Traceback" not in ended.stderr
    assert "SystemExit" not in ended.stderr
    assert rows(ended.stderr)["draft"][-1] == "success"
    assert all_recorded(tmp_path)


def test_a_program_that_ends_by_itself_is_let_do_so(tmp_path: Path) -> None:
    code = """
        import atexit
        atexit.register(print, "exit handler")
        try:
            with workflow("campaign"), stage("draft"):
                ready()
                for_ever.wait()
        except SystemExit as error:
            print("told", error.code)
        """
    process = started(tmp_path, [*RUN, program(tmp_path, code)])
    process.terminate()
    ended = otlp.ended(process)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "told 143\nexit handler\n")
    assert rows(ended.stderr)["draft"] == ["1", "0", "0", "0", "failure (SystemExit)"]


def test_a_handler_of_the_program_takes_the_place_of_ours(tmp_path: Path) -> None:
    code = """
        import signal
        asked = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
        with workflow("campaign"), stage("draft"):
            ready()
            while not asked.wait(0.01): pass
            time.sleep(1.3)  # More than half the bound, after which whoever had been told would act.
        print("ended by itself")
        raise SystemExit(4)
        """
    process = started(tmp_path, [*RUN, program(tmp_path, code, "configure(exit_timeout=1)")], **NOT_EXPORTED)
    process.terminate()
    ended = otlp.ended(process)
    assert (ended.returncode, ended.stdout) == (4, "ended by itself\n")
    assert rows(ended.stderr)["draft"][-1] == "success"


@pytest.mark.parametrize("shape", STUBBORN)
def test_flush_on_sigterm_is_the_same(tmp_path: Path, receiver: otlp.Receiver, shape: str) -> None:
    code = program(tmp_path, STUBBORN[shape], "configure('studio', flush_on_sigterm=True)")
    process = started(tmp_path, [code], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http)
    begun = time.monotonic()
    process.terminate()
    ended = otlp.ended(process)
    assert ended.returncode == -signal.SIGTERM
    assert time.monotonic() - begun < BOUND + 2
    assert "stage draft" in receiver.names()


@pytest.mark.parametrize("flush", ["flush_on_sigterm=True", ""])
@pytest.mark.parametrize("way", [[], RUN], ids=["alone", "run"])
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_workers_die_of_it_as_without_us(tmp_path: Path, flush: str, way: list[str], method: str) -> None:
    code = f"""
        import multiprocessing
        from otel_progress import configure, stage
        configure("studio", {flush})
        def work(queue):
            queue.put("ready")
            with stage("draft"):
                multiprocessing.Event().wait()
        if __name__ == "__main__":
            processes = multiprocessing.get_context({method!r})
            queue = processes.Queue()
            child = processes.Process(target=work, args=(queue,))
            child.start()
            queue.get()
            child.terminate()
            child.join()
            print(child.exitcode)
        """
    command = ["-W", "ignore", *way, str(otlp.write(tmp_path, code))]
    ended = otlp.run(tmp_path, command, **NOT_EXPORTED)
    assert (ended.returncode, ended.stdout) == (0, f"{-signal.SIGTERM}\n")


def test_nothing_is_handled_unasked(tmp_path: Path) -> None:
    code = """
        import signal
        from otel_progress import configure
        configure("studio")
        print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        """
    assert otlp.run(tmp_path, [str(otlp.write(tmp_path, code))], **NOT_EXPORTED).stdout == "True\n"


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    code = otlp.write(tmp_path, "import signal\nprint(signal.getsignal(signal.SIGTERM).name)")
    starter = f"""
        import os, signal, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, *{RUN!r}, {str(code)!r}])
        """
    assert otlp.run(tmp_path, [str(otlp.write(tmp_path, starter, "starter.py"))]).stdout == "SIG_IGN\n"


def test_before_anything_is_recorded_it_kills_at_once(tmp_path: Path) -> None:
    # And there is no thread: from Python 3.12 on a program that forks would be warned of it.
    code = """
        print(threading.active_count())
        ready()
        while True:
            try: for_ever.wait()
            except: pass
        """
    process = otlp.start(tmp_path, [*RUN, program(tmp_path, code)])
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["1\n", "ready\n"]
    process.terminate()
    ended = otlp.ended(process)
    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM, "")


def test_what_starts_in_a_thread_is_watched_too(tmp_path: Path) -> None:
    code = """
        def draft():
            with stage("draft"):
                ready()
                for_ever.wait()
        threading.Thread(target=draft).start()
        for_ever.wait()
        """
    process = started(tmp_path, [*RUN, program(tmp_path, code)])
    process.terminate()
    ended = otlp.ended(process)
    assert ended.returncode == -signal.SIGTERM
    assert rows(ended.stderr)["draft"][-1] == "abandoned"

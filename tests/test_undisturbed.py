"""The threads of our own take no SIGTERM, and starting them leaves the signals of the program as they were."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from otel_progress.recording.undisturbed import undisturbed

from . import otlp
from .test_cli import RUN
from .test_cli_signals import NOT_EXPORTED

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="there are no masks of signals")


def mask() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_a_thread_that_is_started_takes_no_sigterm() -> None:
    before, seen = mask(), list[set[int]]()
    thread = threading.Thread(target=lambda: seen.append(mask()))
    undisturbed(thread.start)
    thread.join()
    assert seen == [before | {signal.SIGTERM}]
    assert mask() == before


class TimeLimitError(Exception):
    pass


def raises(*_: object) -> None:
    raise TimeLimitError


def test_a_handler_that_raises_meanwhile_leaves_no_signal_blocked() -> None:
    before = mask()
    handler = signal.signal(signal.SIGUSR1, raises)
    try:
        with pytest.raises(TimeLimitError):
            undisturbed(signal.raise_signal, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert mask() == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
def test_no_thread_of_ours_takes_the_signal_that_the_watching_one_waits_for(tmp_path: Path) -> None:
    """A thread that was just starting took it now and then, on a busy machine: nobody was told, and it went on."""
    code = """
        import os, pathlib, signal
        from otel_progress import stage, workflow
        with workflow("campaign"), stage("draft"):
            for thread in pathlib.Path("/proc/self/task").iterdir():
                blocked = int((thread / "status").read_text().partition("SigBlk:")[2].split()[0], 16)
                print(thread.name == str(os.getpid()), bool(blocked >> (signal.SIGTERM - 1) & 1))
        """
    program = otlp.write(tmp_path, otlp.textwrap.dedent(code))
    process = otlp.start(tmp_path, [*RUN, str(program)], **NOT_EXPORTED)
    ended = otlp.ended(process)
    told = [tuple(line.split()) for line in ended.stdout.splitlines()]
    assert ended.returncode == os.EX_OK, ended.stderr
    assert told.count(("True", "False")) == 1  # The main thread.
    assert len(told) >= 4  # It, the one that watches, the one that ends, and those that write and measure.
    assert {each for each in told if each[0] == "False"} == {("False", "True")}

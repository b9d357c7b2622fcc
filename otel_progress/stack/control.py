"""Starting, joining and ending a stack that a process of its own keeps: `up` and `down`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import keeper, state
from .build import StackError
from .locks import HeldError, locked
from .run import Stack, shifted, too_little_room
from .state import State

Say = Callable[[str], None]

_MODULE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from otel_progress.stack.keeper import main; main()"
_HELD_FOR = 10.0  # Seconds in which whoever holds the folder must have told of itself.
_DOWN_TIMEOUT = 90.0


def up(folder: Path, offset: int | None, say: Say, *, detach: bool) -> None:
    """Start the servers over a data folder; in the foreground until Ctrl-C, SIGTERM, SIGHUP, or `down` from elsewhere.

    Whatever ends this process in the foreground, the servers end too. Where a stack runs over the folder already, that
    is said, and what is where.

    Raises:
        StackError: a server cannot be started or ends by itself, or one runs already at other ports than `offset` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    deadline = time.monotonic() + _HELD_FOR
    while True:
        found = state.read(folder)
        if found is not None and _is_kept(folder, found):
            if found.phase != "stopping":
                return _join(folder, found, offset, say)
            say(f"The stack over {folder} is being stopped: waiting for its end ...")
            found.keeper.wait(_DOWN_TIMEOUT)
            continue
        if found is not None:
            _end_left(folder, found, say)
        if _Command(folder, offset, say, detach=detach).run():
            return None
        if time.monotonic() > deadline:
            raise StackError(f"somebody holds {folder / keeper.LOCK}: another machine or container, perhaps")
        time.sleep(0.1)


def down(folder: Path, say: Say) -> None:
    """End the servers over a data folder, whoever started them; never others.

    Raises:
        StackError: they run elsewhere, or do not end.
    """
    found = state.read(folder)
    if found is None:
        say(f"No stack runs over {folder}.")
        return
    if _is_kept(folder, found):
        say("Stopping ...")
        os.kill(found.keeper.pid, signal.SIGTERM)
        if not found.keeper.wait(_DOWN_TIMEOUT):
            say(f"Process {found.keeper.pid}, which keeps the servers, does not end: it is killed.")
            found.keeper.end()
        found = state.read(folder) or found
    _end_left(folder, found, say)
    say("Stopped.")


class _Command:
    """The command `up`, as long as it has to do with the process that keeps the servers."""

    def __init__(self, folder: Path, offset: int | None, say: Say, *, detach: bool) -> None:
        self._folder, self._offset, self._say, self._detach = folder, offset, say, detach
        self._lifeline: int | None = None

    def run(self) -> bool:
        """Start it and hear what it tells; gives whether it was the one that got the folder.

        Raises:
            StackError: a server cannot be started or has ended, or the keeper has.
        """
        theirs, self._lifeline = os.pipe()
        for each in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
            if signal.getsignal(each) is not signal.SIG_IGN:  # As `nohup` wants it.
                signal.signal(each, self._let_go)
        with (self._folder / "logs" / "stack.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own words
                [
                    *(sys.executable, "-c", _MODULE),
                    json.dumps([os.path.abspath(each) for each in sys.path]),  # noqa: PTH100 - of whatever kind
                    json.dumps([str(self._folder), self._offset, self._detach]),
                ],
                cwd=self._folder,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us.
            )
        os.close(theirs)
        told: dict[str, Any] = {}
        for line in process.stdout or ():
            told = json.loads(line) if line.endswith(b"\n") else {}
            if self._hear(told):
                return True
        code = process.wait()
        self._let_go()
        if "held" in told:
            return False
        if "error" in told:
            raise StackError(told["error"])
        if code:
            found = state.read(self._folder)
            if found is not None:
                _end_left(self._folder, found, self._say)
            raise StackError(f"the process that keeps the servers has ended ({code}); its log is {log.name}")
        self._say("Stopped.")
        return True

    def _hear(self, told: dict[str, Any]) -> bool:
        """Say what the keeper tells; gives whether this was all that is of interest here."""
        if "say" in told:
            self._say(told["say"])
        if "stopping" in told:
            self._say("Stopping ...")
        if "up" not in told or self._lifeline is None:
            return False
        found = state.read(self._folder)
        if found is not None:
            self._say(f"\n{too_little_room(self._folder)}{summary(self._folder, found)}")
        if self._detach:
            os.write(self._lifeline, keeper.STAY)
            self._let_go()
        return self._detach

    def _let_go(self, *_: object) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)


def summary(folder: Path, found: State) -> str:
    """What is where, how to see that it works, and how it ends."""
    stack = Stack(folder, shifted(found.offset))
    endpoint, jaeger = stack.url("otlp_http"), stack.url("jaeger")
    return f"""\
Jaeger        {jaeger}  (its API: this build has no web page)
Prometheus    {stack.url("prometheus")}  (the same)
Alertmanager  {stack.url("alertmanager")}
OTLP          {endpoint} (HTTP), {stack.address("otlp_grpc")} (gRPC)
Data, logs    {folder}

Send it a run:  OTEL_EXPORTER_OTLP_ENDPOINT={endpoint} otel-progress run -m otel_progress.stack.hello
and look at it: otel-progress show --from {jaeger}
or at its page: otel-progress report --from {jaeger} --html run.html
{ending(folder, found)}"""


def ending(folder: Path, found: State) -> str:
    """How it ends."""
    if found.is_detached:
        return f"`otel-progress stack down --data {shlex.quote(str(folder))}` stops it; the data stays."
    return "Ctrl-C stops it; the data stays."


def _is_kept(folder: Path, found: State) -> bool:
    lives = found.keeper.lives
    if lives is None:
        host = found.keeper.told.get("host")
        raise StackError(
            f"process {found.keeper.pid} on {host} keeps a stack over {folder}, or did, in another container or on "
            f"another machine: end it there, or delete {folder / 'stack.json'} if it is gone"
        )
    return lives


def _join(folder: Path, found: State, offset: int | None, say: Say) -> None:
    log = folder / "logs" / "stack.log"
    while found.phase == "starting":
        time.sleep(0.1)
        now = state.read(folder)
        if now is None or now.phase in {"stopping", "failed"} or not now.keeper.lives:
            raise StackError(f"the stack over {folder} was being started, and did not come up; its log is {log}")
        found = now
    if offset not in {None, found.offset}:
        raise StackError(
            f"a stack runs over {folder} already, its ports {found.offset} higher than the usual ones: end it first"
        )
    how = "detached" if found.is_detached else "until the command that started it ends"
    say(f"A stack runs over {folder} already, {how} (kept by process {found.keeper.pid}).\n\n{summary(folder, found)}")


def _end_left(folder: Path, found: State, say: Say) -> None:
    """End what a keeper that was killed has left, and forget it."""
    try:
        with locked(folder / keeper.LOCK, _until(time.monotonic() + _HELD_FOR)):
            for name, server in reversed(found.left().items()):
                say(f"{name} was left by a stack that was killed: it is ended.")
                if server.end():
                    say(f"{name} did not stop: it was killed.")
            if found == state.read(folder):
                state.forget(folder)
    except HeldError:  # Another command was faster.
        pass


def _until(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < deadline

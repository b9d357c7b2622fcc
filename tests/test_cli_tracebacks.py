"""Under `otel-progress run` tracebacks are those that Python shows without us, wherever the exception comes from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from . import otlp
from .test_cli import RUN

NODES = """
import asyncio, sys, threading
from pocketflow import AsyncNode, Flow, Node
class Fails(Node):
    def exec(self, prep_res):
        return int("x")
class Explains(Node):
    def exec(self, prep_res):
        try:
            Flow(Fails()).run({})
        except ValueError as error:
            raise RuntimeError("no number") from error
class Takes(Node):
    def exec(self):
        pass
class Waits(AsyncNode):
    async def exec_async(self, prep_res):
        Explains().run({})
"""

PROGRAMS = {
    "in a node": "Flow(Fails()).run({})",
    "with a cause": "Flow(Explains()).run({})",
    "with a context": """
try:
    Explains().run({})
except RuntimeError:
    raise KeyError("outer")
""",
    "of the call itself": "Takes().run({})",
    "in a coroutine": "asyncio.run(Waits().run_async({}))",
    "in a thread": """
thread = threading.Thread(target=lambda: Explains().run({}), name="worker")
thread.start()
thread.join()
sys.exit(7)
""",
    "shown by a hook of the program's own": """
import traceback
def shown(kind, error, trace):
    print([frame.name for frame in traceback.extract_tb(trace)], [frame.name for frame in traceback.extract_tb(
        error.__cause__.__traceback__)])
    sys.__excepthook__(kind, error, trace)
sys.excepthook = shown
Explains().run({})
""",
    "shown by a thread's hook of the program's own": """
threading.excepthook = lambda args: print(args.exc_type, args.thread.name)
thread = threading.Thread(target=lambda: Explains().run({}), name="worker")
thread.start()
thread.join()
""",
    "a syntax error in what is imported": "import wrong",
    "an error of ours": "from otel_progress import stage\nstage('x', budget='soon')",
}
if sys.version_info >= (3, 11):
    PROGRAMS["in a group"] = """
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(Waits().run_async({}))
asyncio.run(main())
"""


@pytest.mark.parametrize(("name", "by_name"), [*((name, False) for name in PROGRAMS), ("with a cause", True)])
def test_a_traceback_is_as_python_shows_it(tmp_path: Path, name: str, by_name: bool) -> None:
    otlp.write(tmp_path, NODES + PROGRAMS[name], "mine.py")
    otlp.write(tmp_path, "def (", "wrong.py")
    program = ["-m", "mine"] if by_name else ["mine.py"]
    # No lines of what happens: an unbuffered Python writes a traceback in pieces, and they come between.
    plain, ours = (otlp.run(tmp_path, [*way, *program]) for way in ([], [*RUN, "--quiet"]))
    # Before Python 3.11 that is no frozen module, and its lines are shown.
    without_runpy = re.sub(r'  File "(<frozen runpy>|.*/runpy\.py)", .*\n(    .*\n)?', "", plain.stderr).splitlines()
    assert len(without_runpy) > 3 or "thread's hook" in name
    assert ours.stderr.splitlines()[: len(without_runpy)] == without_runpy
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    assert ours.returncode == (7 if name == "in a thread" else 0 if "thread's" in name else 1)

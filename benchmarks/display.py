"""What the display of `otel-progress run` costs a program on a terminal, and the process that draws it.

`python benchmarks/display.py [--turns N] [--seconds S]` runs a program of 5,000 stages a second on a
pseudo-terminal, by turns with the display and with `--no-live`. It prints, of each turn, how long the program's loop
took by the clock and in processor time, and what of one core the parent took meanwhile; then the middle of each, and
how much the parent's memory has grown; and what it takes to draw the record at exactly this rate.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from otel_progress.live.display import LOOK, Display
from otel_progress.live.known import Known
from otel_progress.runs.following import Follower
from otel_progress.runs.happenings import Happening
from otel_progress.runs.states import Processes

STAGES = 5_000
"""A second."""
SIZE = 40, 120
PROGRAM = """
import json, os, sys, time
from otel_progress import stage, workflow

def of_parent():
    fields = open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

def memory():
    return int(open(f"/proc/{os.getppid()}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def spin(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until: pass

def run(rounds, work):
    for _ in range(rounds):
        for name in NAMES:
            with stage(name): spin(work)

NAMES = [f"stage {number}" for number in range(20)]
path, seconds, rate, work = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with workflow("load"):
    run(20, work)
    time.sleep(0.5)
    parent, wall, cpu, before = of_parent(), time.monotonic(), time.process_time(), memory()
    run(int(seconds * rate / len(NAMES)), work)
    took = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu, "parent": of_parent() - parent}
    took |= {"before": before, "after": memory()}
open(path, "w").write(json.dumps(took))
"""


def turn(folder: Path, options: list[str], seconds: float, work: float) -> dict[str, float]:
    """Run the program once on a terminal of its own; gives what it measured."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    result = folder / "result.json"
    (folder / "load.py").write_text(PROGRAM)
    arguments = [str(folder / "load.py"), str(result), str(seconds), str(STAGES), str(work)]
    # A session whose terminal this is, so that it is in the foreground.
    leads = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", leads, sys.executable, "-m", "otel_progress", "run", *options, *arguments],
        cwd=folder,
        env={**os.environ, "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    said: list[int] = []

    def drain() -> None:
        try:
            while data := os.read(master, 65536):
                said.append(len(data))
        except OSError:
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    process.wait()
    reader.join()
    os.close(master)
    told: dict[str, float] = {**json.loads(result.read_text()), "said": sum(said)}
    return told if options else {**told, "share": share_of_core(folder)}


class Paced:
    """A record that is there, as if it were written at the rate that is asked for: so many events for each look."""

    def __init__(self, folder: Path) -> None:
        self._follower = Follower(folder, 65_536)
        self.left = self.read_so_far = 0

    def read(self) -> list[Happening]:
        """What happened since the last look."""
        if self.left <= 0:
            return []
        found = self._follower.read()
        self.left -= len(found)
        self.read_so_far += len(found)
        return found

    def processes(self) -> Processes:
        """Those of the record."""
        return self._follower.processes()


def share_of_core(folder: Path) -> float:
    """What of a core it takes to draw the record in `folder`, at this rate, however busy the machine is."""
    (record,) = (folder / ".otel-progress" / "runs").iterdir()
    source, display, now = Paced(record), Display((SIZE[1], SIZE[0]), Known()), 0.0
    display.follow(source)
    before, began = -1, time.process_time()
    while source.read_so_far > before:
        before, source.left, now = source.read_so_far, round(2 * STAGES * LOOK), now + LOOK
        display.tick(now, aside=False)
    return (time.process_time() - began) / now


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What the display costs.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--work", type=float, default=0.00012, help="processor time of a stage besides what records it")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"display": [], "--no-live": []}
    print(f"{'':12}{'wall':>9}{'cpu':>9}{'stages/s':>10}{'parent':>9}{'written':>10}")
    for _ in range(options.turns):
        for name, turns in found.items():
            with tempfile.TemporaryDirectory() as folder:
                told = turn(Path(folder), ["--no-live"] if name == "--no-live" else [], options.seconds, options.work)
            turns.append(told)
            parent = f"{told['parent'] / told['wall']:8.1%}" if name == "display" else ""
            rate = options.seconds * STAGES / told["wall"]
            print(f"{name:12}{told['wall']:7.2f} s{told['cpu']:7.2f} s{rate:10,.0f}{parent:>9}{told['said']:10,.0f}")
    for what in ("wall", "cpu"):
        middle = {name: statistics.median(each[what] for each in turns) for name, turns in found.items()}
        least = {name: min(each[what] for each in turns) for name, turns in found.items()}
        print(
            f"{what}: the display costs the program {middle['display'] / middle['--no-live'] - 1:+.1%} (middle), "
            f"{least['display'] / least['--no-live'] - 1:+.1%} (least)"
        )
    parent = statistics.median(each["parent"] / each["wall"] for each in found["display"])
    grown = max(each["after"] - each["before"] for each in found["display"]) / 1e6
    share = statistics.median(each["share"] for each in found["display"])
    print(f"the parent took {parent:.1%} of a core (middle); its memory grew by {grown:.1f} MB at most")
    rate = f"{STAGES:,} stages a second and {1 / LOOK:.0f} updates a second"
    print(f"to read and draw it takes {share:.1%} of a core at {rate}")


if __name__ == "__main__":
    main()

"""What the pages of 10,000 runs cost the server of `otel-progress ui`: time until an answer, memory, its rest.

python benchmarks/ui.py          # half a minute, and 10,000 records in a temporary folder
python benchmarks/ui.py --quick  # a hundredth of them
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reading import write_records

_COMMAND = [sys.executable, "-m", "otel_progress"]
_RESTS = 10
"""Seconds for which somebody only looks."""


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the runs")
    count = 100 if parser.parse_args().quick else 10_000
    with tempfile.TemporaryDirectory(prefix="otel-progress-ui-") as name:
        folder = Path(name) / ".otel-progress"
        write_records(folder, count)
        subprocess.run([*_COMMAND, "runs", "--from", str(folder)], check=True, capture_output=True)  # Makes the index.
        server = subprocess.Popen(
            [*_COMMAND, "ui", "--no-browser", "--port", "0", "--from", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            _measure(server, server.stdout.readline().strip().split("/")[2], count)
        finally:
            server.kill()
            server.communicate()


def _measure(server: subprocess.Popen[str], address: str, count: int) -> None:
    def asked(path: str, what: str) -> Any:
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(address)
        connection.request("GET", path)
        text = connection.getresponse().read()
        print(f"{what:<38}{time.perf_counter() - begun:8.3f} s {len(text) / 1000:8.0f} KB", flush=True)
        connection.close()
        return text

    asked("/", f"the list of {count} runs, first")
    for _ in range(3):
        asked("/data/list", "the same again, its data")
        time.sleep(1)
    asked("/data/list?sort=-seconds&page=150", "ordered by duration, in the middle")
    told = {"read": 0, "of": 1}
    while told["read"] < told["of"]:
        told = json.loads(asked("/data/trends?trend=campaign", "trends, as far as read in a second"))
    asked("/data/trends?trend=campaign", f"trends of {told['of']} runs, when known")
    watching = http.client.HTTPConnection(address)
    watching.request("GET", "/events/list")
    watching.getresponse().readline()
    before = _processor(server.pid)
    time.sleep(_RESTS)
    print(f"{'processor, while somebody looks':<38}{(_processor(server.pid) - before) / _RESTS:8.3f} s of each second")
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text())
    print(f"{'peak memory':<38}{int(peak[1]) / 1024 if peak else 0:8.0f} MB")
    watching.close()


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

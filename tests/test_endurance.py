"""The script that prints load held, faults survived and inputs tried does so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from . import otlp

ROOT = Path(__file__).parents[1]


def test_a_little_of_everything() -> None:
    ended = subprocess.run(
        [sys.executable, "benchmarks/endurance.py", "--quick"],
        cwd=ROOT,
        env=otlp.environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ended.stdout.splitlines()
    assert (ended.returncode, len(lines)) == (0, 10), ended.stdout + ended.stderr
    assert [line for line in lines if not re.search(r" 0 wrong ", line)] == []

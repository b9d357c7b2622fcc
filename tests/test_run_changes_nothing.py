"""What a program finds under `otel-progress run`, while it is recorded, is what it finds without."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from . import otlp
from .test_cli import RUN

FLOW = """
from pocketflow import Flow, Node

class Draft(Node):
    def exec(self, prep_res):
        return 1

def work():
    Flow(Draft()).run({})

"""
PROGRAMS = {
    "a sequence of its own": """
        import random
        random.seed(1)
        work()
        print(random.random())
        """,
    "ids of its own": """
        import uuid
        ids = iter(range(3))
        uuid.uuid4 = lambda: next(ids)
        work()
        print(uuid.uuid4())
        """,
    "threads": """
        import threading
        work()
        print([each.name for each in threading.enumerate()], threading.active_count())
        for each in threading.enumerate():
            if each is not threading.main_thread():
                each.join()
        """,
    "descriptors that are closed, as daemons do": """
        import os
        work()
        os.closerange(3, 256)
        files = [open(f"file {number}", "w+b", buffering=0) for number in range(40)]
        for each in files:
            each.write(b"mine")
        work()
        print({Path(each.name).read_bytes() for each in files})
        """,
    "names": """
        import sys
        work()
        print(sorted(globals()), __builtins__ is sys.modules["builtins"], __annotations__, hasattr(__builtins__, "len"))
        """,
    "no exception hook": """
        import sys
        work()
        del sys.excepthook
        1 / 0
        """,
}


def both(tmp_path: Path, *program: str) -> list[subprocess.CompletedProcess[str]]:
    """Run without and with us, one after the other."""
    return [otlp.run(tmp_path, [*way, *program, "argument"]) for way in ([], [*RUN, "--quiet"])]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_finds_the_same(tmp_path: Path, name: str) -> None:
    code = f"{FLOW}\nfrom pathlib import Path\n{textwrap.dedent(PROGRAMS[name])}"
    plain, ours = both(tmp_path, str(otlp.write(tmp_path, code)))
    assert (ours.stdout, ours.returncode) == (plain.stdout, plain.returncode)
    assert ours.stderr == plain.stderr.replace("sys.excepthook is missing\n", "")
    assert (tmp_path / ".otel-progress").is_dir()


@pytest.mark.parametrize("kind", ["folder", "archive", "compiled"])
def test_what_python_runs_is_run(tmp_path: Path, kind: str) -> None:
    beside = "import beside\nprint(beside.__file__)\n" if kind != "compiled" else ""
    told = "import sys\nprint(sys.argv, sys.path[0], __file__, __name__, __package__, __cached__)\n"
    main = otlp.write(tmp_path, f"{FLOW}\nwork()\n{beside}{told}", "__main__.py")
    other = otlp.write(tmp_path, "", "beside.py")
    if kind == "folder":
        program = tmp_path / "studio"
        program.mkdir()
        for each in (main, other):
            each.rename(program / each.name)
    elif kind == "archive":
        program = tmp_path / "studio.pyz"
        with zipfile.ZipFile(program, "w") as archive:
            for each in (main, other):
                archive.write(each, each.name)
                each.unlink()
    else:
        subprocess.run([sys.executable, "-m", "compileall", "-q", "-b", main], check=True)
        program = main.with_suffix(".pyc").rename(tmp_path / "studio.pyc")
        main.unlink()
    plain, ours = both(tmp_path, program.name)
    assert (ours.stdout, ours.returncode, ours.stderr) == (plain.stdout, 0, "")
    assert [each.name.split("-")[1] for each in (tmp_path / ".otel-progress" / "runs").iterdir()] == ["studio"]

"""The checks by name: `nox -s core`, `tests`, `lint`, `bench`. They run in the environment that nox is installed in."""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "none"  # The environment is there, and a second one would take minutes.
nox.options.sessions = ["core", "lint"]

CORE = (
    "batches",
    "clocks",
    "exceptions",
    "generators",
    "instrumentor",
    "measurements",
    "mirror",
    "nodes",
    "odd_code",
    "order",
    "report",
    "runs",
    "signatures",
    "spans_and_metrics",
    "steps",
    "tracker",
    "tracker_and_code",
    "visits",
    "ways_in",
)
"""Test files of the core, which need neither other processes nor servers."""


@nox.session
def core(session: nox.Session) -> None:
    """The quick tests: some twenty seconds."""
    files = [f"tests/test_{name}.py" for name in CORE]
    session.run(sys.executable, "-m", "pytest", "-q", *files, *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; those of the servers only where they are built."""
    session.run(sys.executable, "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    session.run(sys.executable, "-m", "ruff", "check")
    session.run(sys.executable, "-m", "ruff", "format", "--check")
    session.run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)
    session.run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", "grafana")


@nox.session
def bench(session: nox.Session) -> None:
    """What recording costs: three minutes; `nox -s bench -- --quick` for half a one."""
    session.run(sys.executable, "benchmarks/overhead.py", *session.posargs)

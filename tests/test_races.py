"""What one thread finds changes before it acts on it: another does something else at exactly that moment.

Each test has something happen there that another thread might do at any time: a store, a sink or a clock that is asked
in between begins, ends or changes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from otel_progress import progress, stage, workflow

from .conftest import Telemetry


def elsewhere(work: Callable[[], object]) -> None:
    """Do `work` in another thread, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()


def visit(name: str, shared: Any = None) -> None:
    with stage(name, shared=shared):
        pass


def test_stages_may_be_new_while_progress_is_asked_for(telemetry: Telemetry) -> None:
    with workflow("w") as run:
        visit("a")

        class Results(dict[Any, int]):
            def copy(self) -> dict[Any, int]:
                run.stage("b", loose=False)
                return {**self}

        run.stages["a"].results = Results(success=1)
        assert list(progress(run)) == ["a"]
        visit("b")
        assert list(progress(run)) == ["a", "b"]

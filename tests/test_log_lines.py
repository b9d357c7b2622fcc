"""Workflow, run and stage on log lines."""

from __future__ import annotations

import io
import logging
from collections.abc import Generator

import pytest

from otel_progress import StageFilter, stage, workflow

from .conftest import Telemetry


@pytest.fixture
def lines() -> Generator[io.StringIO]:
    """What a handler with the filter writes."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.addFilter(StageFilter())
    handler.setFormatter(logging.Formatter("%(workflow)s|%(run_id)s|%(stage)s|%(message)s"))
    logging.getLogger("app").addHandler(handler)
    yield said
    logging.getLogger("app").removeHandler(handler)


def test_every_line_says_where_it_belongs(telemetry: Telemetry, lines: io.StringIO) -> None:
    log = logging.getLogger("app.part")  # Of a child of the logger that has the handler.
    log.warning("before")
    with workflow("w"):
        log.warning("between")
        with stage("draft"):
            log.warning("in")
    log.warning("after")
    assert lines.getvalue().splitlines() == ["|||before", "w|run-1||between", "w|run-1|draft|in", "|||after"]


def test_what_the_program_says_itself_stays(telemetry: Telemetry, lines: io.StringIO) -> None:
    with workflow("w"), stage("draft"):
        logging.getLogger("app").warning("own", extra={"stage": "mine"})
    assert lines.getvalue() == "w|run-1|mine|own\n"


def test_without_spans(telemetry: Telemetry, lines: io.StringIO) -> None:
    telemetry.recorder.sinks = []
    with workflow("w"), stage("draft"):
        logging.getLogger("app").warning("in")
    assert lines.getvalue() == "w|run-1|draft|in\n"

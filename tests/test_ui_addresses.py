"""The addresses of `otel-progress ui`: each with a slash behind it and without, shortened, and none past the guard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest

from otel_progress.ui.app import Site
from otel_progress.ui.guard import Rules

from .test_ui import SECRET
from .ui import Served, recorded, serving

RUN = "a" * 32
LEADS = {
    "/runs": "/",
    "/runs/": "/",
    "/compare/": "/compare",
    "/data": "/data/list",
    "/data/": "/data/list",
    "/data/list/": "/data/list",
    "/data/trends/": "/data/trends",
    "/data/runs": "/data/list",
    "/data/runs/": "/data/list",
    "/events": "/events/list",
    "/events/": "/events/list",
    "/events/list/": "/events/list",
    "/events/runs": "/events/list",
    "/events/runs/": "/events/list",
    "/favicon.ico/": "/favicon.ico",
}
"""Addresses that people come to, and where they lead."""
ANSWERS = {
    "/": 200,
    f"/runs/{RUN}": 200,
    "/compare": 200,
    "/data/list": 200,
    "/data/trends?trend=campaign": 200,
    f"/data/runs/{RUN}": 200,
    f"/data/runs/{RUN}/": 200,
    f"/data/details/{RUN}": 200,
    f"/data/details/{RUN}/": 200,
    "/data/details": 404,
    "/data/details/": 404,
    "/events/list": 200,
    f"/events/runs/{RUN}": 200,
    f"/events/runs/{RUN}/": 200,
    "/favicon.ico": 204,
    "/runs//": 404,
    "/nothing": 404,
    "/nothing/": 404,
    "//": 404,
    "//runs": 404,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder) as running:
        yield running


@pytest.mark.parametrize("path", LEADS)
def test_an_address_that_is_shortened_or_ends_with_a_slash_leads_on(served: Served, path: str) -> None:
    for query in ("", "?workflow=a%26b&x=//evil.example"):
        answer = served.ask(path + query)
        assert (answer.status, answer.headers["location"]) == (307, LEADS[path] + query)
    assert LEADS[path] in {each.partition("?")[0] for each, status in ANSWERS.items() if status < 300}


@pytest.mark.parametrize("path", ANSWERS)
def test_every_address_is_answered_with_a_slash_and_without(served: Served, path: str) -> None:
    assert served.ask(path, "HEAD").status == ANSWERS[path]


def test_the_page_of_a_run_with_a_slash_behind_leads_to_that_without(served: Served) -> None:
    for path in (f"/runs/{RUN}/", "/runs/aa/", "/runs/aa"):
        answer = served.ask(path)
        assert (answer.status, answer.headers["location"]) == (307, f"/runs/{RUN}")


def test_the_tests_know_every_address() -> None:
    site = Site(cast("Any", SimpleNamespace(rest=0)), Rules())
    routes = cast("Any", site.app)._app.routes
    known = {path.partition("?")[0].replace(RUN, "{run:path}") for path in (*ANSWERS, *LEADS)}
    assert {route.path for route in routes} <= known


@pytest.mark.parametrize("path", [*LEADS, *ANSWERS])
def test_no_address_leads_past_the_guard(served: Served, path: str) -> None:
    assert served.ask(path, host="evil.example").status == 421
    assert served.ask(path, Origin="http://evil.example").status == 403
    assert served.ask(path, "POST").status == 405


def test_no_address_leads_past_the_token(folder: Path) -> None:
    with serving(folder, OTEL_PROGRESS_UI_TOKEN=SECRET) as running:
        for path in (*LEADS, *ANSWERS):
            assert running.ask(path).status == 401
        let_in = running.ask(f"/compare/?base=1&token={quote(SECRET)}")
        assert (let_in.status, let_in.headers["location"]) == (303, "/compare/?base=1")
        cookie = let_in.headers["set-cookie"].partition(";")[0]
        leads = running.ask("/compare/?base=1", host="studio.example", Cookie=cookie)
        assert (leads.status, leads.headers["location"]) == (307, "/compare?base=1")

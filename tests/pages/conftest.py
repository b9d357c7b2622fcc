"""A real browser for the pages, and what each of them must do: ask nobody, complain of nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it. Not for the session: while it is there, an event loop runs in this thread."""
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set, and there is no chromium")
        pytest.skip("there is no chromium: `apt-get install chromium` brings one")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page in the browser, and what it has done that it must not do."""

    page: Page
    complaints: list[str] = field(default_factory=list[str])
    """Errors and warnings of its console, and errors that nobody caught."""
    requests: list[str] = field(default_factory=list[str])
    """Addresses that it asked for, besides its own file."""


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the text of a page from a file; takes the options of a browser's context. At the end all were quiet."""
    made: list[Opened] = []

    def open_it(html: str, **options: object) -> Opened:
        file = tmp_path / f"page{len(made)}.html"
        file.write_text(html, "utf-8")
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})  # pyright: ignore[reportArgumentType]
        found = Opened(context.new_page())
        made.append(found)
        watch(found, lambda asked: asked == file.as_uri())
        found.page.goto(file.as_uri())
        found.page.wait_for_selector("html[data-drawn]")
        return found

    yield open_it
    for each in made:
        each.page.context.close()
        assert each.complaints == []
        assert each.requests == []


def watch(found: Opened, is_own: Callable[[str], bool]) -> None:
    """Note what a page does; what it asks for beside its own is refused."""

    def route(asked: Route) -> None:
        if is_own(asked.request.url.partition("#")[0]):
            asked.continue_()
        else:
            found.requests.append(asked.request.url)
            asked.abort()

    found.page.route("**/*", route)
    found.page.on(
        "console", lambda said: found.complaints.append(said.text) if said.type in {"error", "warning"} else None
    )
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))

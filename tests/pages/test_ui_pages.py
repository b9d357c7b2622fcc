"""The pages that `otel-progress ui` serves, in a real browser: filters in the address, and what moves by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # pyright: ignore[reportMissingTypeStubs] - it has none
from playwright.sync_api import Browser, Page, expect

from ..otlp import TIMEOUT
from ..records import RUN, START, attributes, campaign, event, record, span, visit_event
from ..ui import Served, going_on, recorded, serving, type_in
from .conftest import Opened, watch

pytestmark = pytest.mark.browser

Opens = Callable[..., Page]
RECORDED = Path(__file__).parents[2] / "examples" / "recorded"
Serve = Callable[[Path], Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves what is recorded in a folder, until the pages are closed."""
    with contextlib.ExitStack() as servers:
        yield lambda folder: servers.enter_context(serving(folder))


@pytest.fixture
def visiting(browser: Browser, serve: object) -> Iterator[Opens]:
    """Opens an address of a server; takes the options of a context.

    At the end all pages were quiet, and asked nobody else.
    """
    made: list[Opened] = []

    def open_it(served: Served, path: str = "/", **options: Any) -> Page:
        made_for: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}, "locale": "en-GB"}
        context = browser.new_context(**(made_for | options))
        found = Opened(context.new_page())
        made.append(found)
        base = f"http://127.0.0.1:{served.port}"

        watch(found, lambda asked: asked.startswith(f"{base}/"))
        found.page.goto(base + path)
        found.page.wait_for_selector("html[data-drawn]")
        return found.page

    yield open_it
    for each in made:
        each.page.context.close()
        assert each.complaints == []
        assert each.requests == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = recorded(tmp_path_factory.mktemp("studio"))
    # One of another workflow, which took longer, was worked on again and has no end.
    lines = [
        event("run.started", at=900.0, run="d" * 32, workflow__name="Über <b>alles</b>"),
        visit_event("started", "draft", "v1", at=901.0, run="d" * 32, workflow__name="Über <b>alles</b>"),
    ]
    record(folder / ".otel-progress", "20250828T110000Z-app-00000d", events=lines)
    with serving(folder) as running:
        yield running


def ids(page: Page) -> str:
    """The first letters of the ids of the runs that are shown."""
    return "".join(line.get_attribute("data-run")[0] for line in page.locator("tr[data-run]").all())  # pyright: ignore[reportOptionalSubscript]


def until(page: Page, condition: str, arg: object = None) -> None:
    """Wait for a condition, an expression over `arg`. Playwright's own wait would evaluate it as the policy forbids."""
    page.evaluate(
        f"""async (arg) => {{
            const end = performance.now() + {1000 * TIMEOUT};
            while (!({condition})) {{
                if (performance.now() > end) throw new Error("did not happen");
                await new Promise(requestAnimationFrame);
            }}
        }}""",
        arg,
    )


def shows(page: Page, wanted: str) -> None:
    """Wait until these runs are shown, in this order."""
    until(
        page,
        "[...document.querySelectorAll('tr[data-run]')].map((line) => line.dataset.run[0]).join('') === arg",
        wanted,
    )


def told_another(page: Page, before: str) -> None:
    """Wait until the page of a run tells another duration."""
    until(page, "document.querySelectorAll('dl dd')[1].textContent !== arg", before)


def search(page: Page) -> str:
    return page.evaluate("decodeURIComponent(location.search)")


def test_what_is_shown_of_a_run_is_what_was_recorded(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    shows(page, "dcba")
    line = page.locator(f"tr[data-run='{'b' * 32}']")
    assert line.locator("th").inner_text() == "campaign"
    cells = {cell.get_attribute("data-cell"): cell.inner_text() for cell in line.locator("td[data-cell]").all()}
    assert cells.pop("started") != "-"
    assert cells == {
        "state": "✕ failure",
        "seconds": "8.00 s",
        "usual": "-",
        "stages": "2",
        "visits": "2",
        "revision": "-",
        "retries": "-",
    }
    assert page.locator(f"tr[data-run='{'d' * 32}'] th").inner_text() == "Über <b>alles</b>"
    assert page.locator("tr[data-run] b").count() == 0


def test_filters_stand_in_the_address_and_the_back_button_takes_them_back(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    page.get_by_role("button", name="failure").click()
    shows(page, "b")
    assert search(page) == "?state=failure"
    page.get_by_role("button", name="success").click()
    shows(page, "cba")
    assert search(page) == "?state=failure&state=success"
    page.get_by_label("Until").fill("2025-08-28T10:46:30+00:00")
    page.get_by_label("Workflow", exact=True).first.fill("camp*")
    page.get_by_label("Workflow", exact=True).first.press("Enter")
    shows(page, "a")
    assert page.get_by_role("button", name="failure").get_attribute("aria-pressed") == "true"
    page.go_back()
    shows(page, "cba")
    assert page.get_by_label("Until").input_value() == ""
    page.go_back()
    shows(page, "b")
    page.go_back()
    shows(page, "dcba")
    assert page.get_by_role("button", name="failure").get_attribute("aria-pressed") == "false"
    page.go_forward()
    shows(page, "b")
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    shows(page, "b")
    page.get_by_role("link", name="All runs").click()
    shows(page, "dcba")
    assert search(page) == ""


def test_what_is_wrong_in_a_filter_is_said(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    page.get_by_label("Since").fill("yesterday")
    page.get_by_label("Since").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("since: 'yesterday' is neither a time nor how long ago, such as 7d")
    shows(page, "dcba")


def test_heads_sort_and_the_address_says_so(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    heads = page.locator("thead")
    assert heads.locator("[aria-sort=descending]").inner_text().startswith("started")
    heads.get_by_role("button", name="workflow").click()
    shows(page, "cbad")
    assert search(page) == "?sort=workflow"
    heads.get_by_role("button", name="workflow").press("Enter")
    shows(page, "dcba")
    assert search(page) == "?sort=-workflow"
    assert page.evaluate("document.activeElement.dataset.order") == "workflow"
    heads.get_by_role("button", name="duration").click()
    until(page, "location.search === '?sort=-seconds'")
    shows(page, "cbad")  # What has no end has no duration that could be compared: it is last.


def test_pages_of_a_long_list(tmp_path: Path, serve: Serve, visiting: Opens) -> None:
    for number in range(60):
        lines = campaign(f"{number:032x}", at=float(number))
        record(tmp_path / ".otel-progress", f"20250828T104500Z-app-{number:06x}", spans=lines)
    page = visiting(serve(tmp_path))
    expect(page.locator("tr[data-run]")).to_have_count(50)
    page.get_by_role("link", name="older").click()
    expect(page.locator("tr[data-run]")).to_have_count(10)
    assert search(page) == "?page=2"
    expect(page.get_by_text("51 to 60 of 60 runs")).to_be_visible()
    assert page.get_by_role("link", name="older").count() == 0
    page.go_back()
    expect(page.locator("tr[data-run]")).to_have_count(50)


def test_trends_are_drawn_as_they_are_told(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    part = page.locator("#trends")
    until(page, "document.querySelector('#trends').dataset.read === '3'")
    told = served.data("/data/trends?trend=campaign")
    lines = [("whole run", told["whole"]), *((stage["name"], stage["points"]) for stage in told["stages"])]
    assert [row.inner_text().split("\n")[0] for row in part.locator("tbody th").all()] == [name for name, _ in lines]
    for number, (_, points) in enumerate(lines):
        for kind in ("seconds", "yield", "retries"):
            circles = part.locator("tbody tr").nth(number).locator(f"svg.{kind} circle")
            known = [point[kind] for point in points if point[kind] is not None]
            drawn = [
                (float(each.get_attribute("cx") or 0), float(each.get_attribute("cy") or 0)) for each in circles.all()
            ]
            most = max(known if kind == "seconds" else [1.0, *known])
            heights = [44 - 4 - value / most * 36 for value in known]
            assert [x for x, _ in drawn] == pytest.approx([4 + place * 106 for place in range(len(known))], abs=0.1)
            assert [y for _, y in drawn] == pytest.approx(heights, abs=0.06)
    label = part.locator("svg.seconds").first.get_attribute("aria-label")
    assert label == "duration of whole run: from 8.00 s to 8.00 s, 8.00 s at last"


def test_another_workflow_is_chosen_for_its_trends(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    page.locator("#trend").select_option("Über <b>alles</b>")
    expect(page.get_by_text("No run of it that was not cancelled has ended yet.")).to_be_visible()
    assert search(page).replace("+", " ") == "?trend=Über <b>alles</b>"
    page.go_back()
    until(page, "document.querySelector('#trend').value === 'campaign'")


def test_the_list_moves_by_itself(tmp_path: Path, serve: Serve, visiting: Opens) -> None:
    page = visiting(serve(tmp_path))
    expect(page.get_by_text("No run is recorded here yet")).to_be_visible()
    with going_on(tmp_path) as program:
        state = page.locator("td[data-cell=state]")
        expect(state).to_have_text("▶ running", timeout=30_000)
        expect(page.locator("td[data-cell=visits]")).to_have_text("1")
        page.locator("tr[data-run] a").focus()
        type_in(program)
        expect(page.locator("td[data-cell=visits]")).to_have_text("2", timeout=30_000)
        assert page.evaluate("document.activeElement.getAttribute('href')").startswith("/runs/")
        type_in(program)
        expect(state).to_have_text("✓ success", timeout=30_000)
    expect(page.get_by_text("The last 1 run that ended, without what was cancelled.")).to_be_visible(timeout=30_000)


def test_the_page_of_a_run_moves_by_itself_and_keeps_what_was_done_to_it(
    tmp_path: Path, serve: Serve, visiting: Opens
) -> None:
    with going_on(tmp_path) as program:
        running = serve(tmp_path)
        (run,) = running.data("/data/list")["runs"]
        page = visiting(running, f"/runs/{run['id']}")
        drawn = "window.waterfall.rows().length"
        assert page.evaluate(drawn) == 1
        page.locator("#stages thead").get_by_role("button", name="stage").click()
        page.evaluate("window.waterfall.select(0)")
        page.locator("#run summary").click()
        focused = page.locator("#stages tbody button").first
        focused.focus()
        began = page.locator("dl dd").nth(1).inner_text()
        assert began.endswith("so far")
        told_another(page, began)
        type_in(program)
        until(page, f"{drawn} === 2")
        assert page.locator("#stages th[aria-sort=ascending]").inner_text().startswith("stage")
        assert page.evaluate("window.waterfall.view().selected") is not None
        assert page.locator("#run details").get_attribute("open") is not None
        assert page.evaluate("document.activeElement.textContent") == "extract"
        type_in(program)
        expect(page.locator("dl dd").first).to_have_text("✓ success", timeout=30_000)
        expect(page.get_by_text("✓ ended")).to_be_visible()
        bars = page.evaluate("window.waterfall.bars().length")
        assert bars >= 2


def test_what_was_zoomed_and_closed_stays_so(tmp_path: Path, serve: Serve, visiting: Opens) -> None:
    with going_on(tmp_path) as program:
        running = serve(tmp_path)
        (run,) = running.data("/data/list")["runs"]
        page = visiting(running, f"/runs/{run['id']}")
        page.evaluate("window.waterfall.show(1000000, 5000000)")
        type_in(program)
        until(page, "window.waterfall.rows().length === 2")
        view = page.evaluate("window.waterfall.view()")
        assert (view["from"], view["to"]) == (1_000_000, 5_000_000)


def test_while_text_is_selected_the_page_stays(tmp_path: Path, serve: Serve, visiting: Opens) -> None:
    with going_on(tmp_path) as program:
        running = serve(tmp_path)
        (run,) = running.data("/data/list")["runs"]
        page = visiting(running, f"/runs/{run['id']}")
        expect(page.get_by_text("▶ live")).to_be_visible()
        page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        type_in(program)
        page.wait_for_selector("html[data-held]")  # It has asked for what is new, and keeps it.
        assert page.evaluate("getSelection().toString()") == "nightly"
        assert page.evaluate("window.waterfall.rows().length") == 1
        page.evaluate("getSelection().removeAllRanges()")
        until(page, "window.waterfall.rows().length === 2")


def test_a_page_that_is_drawn_anew_keeps_nothing_of_the_old_one(tmp_path: Path, serve: Serve, visiting: Opens) -> None:
    with going_on(tmp_path):
        running = serve(tmp_path)
        (run,) = running.data("/data/list")["runs"]
        page = visiting(running, f"/runs/{run['id']}")
        page.evaluate("window.first = new WeakRef(document.querySelector('canvas'))")
        for _ in range(3):
            before = page.locator("dl dd").nth(1).inner_text()
            told_another(page, before)
        session = page.context.new_cdp_session(page)
        for _ in range(50):  # What is still on its way to the screen may be held once more.
            session.send("HeapProfiler.collectGarbage")
            if page.evaluate("window.first.deref() === undefined"):
                break
        else:
            pytest.fail("the first drawing is still there")


def test_what_broke_off_is_not_shown_as_quick(serve: Serve, visiting: Opens, tmp_path: Path) -> None:
    runs = [("a", 10.0, "success"), ("b", 10.0, "success"), ("c", 10.0, "success"), ("d", 1.0, "cancelled")]
    for number, (run, takes, result) in enumerate([*runs, ("e", 1.0, "failure"), ("f", 1.0, "success")]):
        spans = [span("run campaign", "r1", at=number * 20.0, takes=takes, run=run * 32, result=result)]
        record(tmp_path / ".otel-progress", f"20250828T10450{number}Z-app-00000{run}", spans=spans)
    page = visiting(serve(tmp_path))
    told = {run: page.locator(f"tr[data-run='{run * 32}'] [data-cell='usual']").inner_text() for run in "def"}
    assert told == {"d": "0.10×", "e": "0.10×", "f": "▼ 0.10×"}


def test_links_lead_from_the_list_to_a_run_and_back(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    page.locator(f"tr[data-run='{'b' * 32}'] a").click()
    page.wait_for_selector("html[data-drawn]")
    assert page.locator("h1").inner_text() == "campaign"
    assert page.url.endswith(f"/runs/{'b' * 32}")
    page.get_by_role("link", name="All runs").click()
    page.wait_for_selector("html[data-drawn]")
    shows(page, "dcba")


def test_what_failed_is_shown_with_its_message_and_stack_trace(serve: Serve, visiting: Opens, tmp_path: Path) -> None:
    trace = "Traceback (most recent call last):\nValueError: no JSON\n"
    told = {"exception.type": "ValueError", "exception.message": "no JSON", "exception.stacktrace": trace}
    raised = [{"name": "exception", "timeUnixNano": str(START), "attributes": attributes(told)}]
    failed = span("stage parse", "s1", "r1", events=raised, stage__result="failure", error__type="ValueError")
    spans = [failed, span("run campaign", "r1", takes=2.0)]
    record(tmp_path / ".otel-progress", spans=spans)
    page = visiting(serve(tmp_path), f"/runs/{RUN}")
    assert page.locator("#errors h2").inner_text() == "Errors (1)"
    assert page.locator("#errors summary").inner_text() == "ValueError: no JSON"
    page.locator("#errors summary").click()
    assert page.locator("#errors pre").inner_text().strip() == trace.strip()
    page.locator("#errors button", has_text="parse").click()
    expect(page.locator("#visit summary", has_text="ValueError: no JSON")).to_be_visible()


def test_a_page_that_nobody_sees_asks_for_nothing(served: Served, visiting: Opens) -> None:
    page = visiting(served)
    expect(page.get_by_text("▶ live")).to_be_visible()
    page.evaluate(
        """() => {
            window.closings = 0;
            const close = EventSource.prototype.close;
            EventSource.prototype.close = function () { window.closings += 1; close.call(this); };
            Object.defineProperty(document, "hidden", { value: true, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    assert page.evaluate("window.closings") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_nothing_and_nothing_is_cut(served: Served, visiting: Opens, theme: str, width: int) -> None:
    page = visiting(served, color_scheme=theme, viewport={"width": width, "height": 900})
    until(page, "document.querySelector('#trends').dataset.read === '3'")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if theme == "light" else "rgb(18, 22, 27)")


def test_two_sets_are_asked_for_in_fields_and_stand_in_the_address(
    visiting: Opens, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(tmp_path_factory.mktemp("studio"), "--from", str(RECORDED)) as served:
        shown = visiting(served)
        shown.get_by_role("link", name="Compare two sets of runs").click()
        shown.get_by_role("textbox", name="Base").fill("service.version=1.3.0")
        shown.get_by_role("textbox", name="New").fill("service.version=9")
        shown.get_by_role("button", name="Compare").click()
        assert shown.get_by_role("alert").inner_text() == "there is no run in new"
        shown.get_by_role("textbox", name="New").fill("service.version=1.4.0")
        shown.get_by_role("button", name="Compare").click()
        shown.locator(".said").wait_for()
        assert shown.locator(".said").inner_text().startswith("NEW is faster: the run")
        assert "new=service.version%3D1.4.0" in shown.url
        shown.reload()
        assert shown.get_by_role("textbox", name="Base").input_value() == "service.version=1.3.0"
        assert Axe().run(shown).response["violations"] == []
        shown.go_back()
        assert shown.get_by_role("alert").inner_text() == "there is no run in new"

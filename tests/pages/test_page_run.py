"""The page of a run, in a real browser: what it shows, and what somebody can do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # pyright: ignore[reportMissingTypeStubs]
from playwright.sync_api import Page

from otel_progress import names
from otel_progress.insight import Report, figures_of
from otel_progress.pages import run_page
from otel_progress.recording.times import duration
from otel_progress.runs import Attempt, Item, Link, Run, Stage, Wait
from otel_progress.runs.details import Details, Raised

from ..test_insight_path import run, visit
from .conftest import Opened

pytestmark = pytest.mark.browser

Opens = Callable[..., Opened]
SECOND = 1_000_000_000
HOSTILE = (
    "</script><script>document.title='hit'</script><img src=x onerror=alert(1)>\"'&amp; "
    "\u202egnp\u2069\x1b[31m\u2028`${x}`"
)
SHOWN = (
    HOSTILE.replace("\u202e", "\\u202e")
    .replace("\u2069", "\\u2069")
    .replace("\x1b", "\\x1b")
    .replace("\u2028", "\\u2028")
)


def html(*runs: Run, details: Details | None = None) -> str:
    """The page of the last of some runs of a workflow."""
    report = Report()
    for each in runs:
        report.add(each)
    (made,) = report.workflows()
    return run_page(made, details)


def small(name: str = "d", **more: Any) -> Run:
    """Four stages, two of them at once, one with something inside, and a repeat that was tried twice."""
    failed = Attempt(1, 7 * SECOND, round(7.5 * SECOND), "builtins.OSError", "no answer")
    again = Link(names.LINK_REPEATS, visit="c")
    inside = visit("inner", 1.5, 2.5, parent="b")
    repeated = visit(
        "c",
        6,
        9,
        "d",
        id="c2",
        number=2,
        revision=1,
        failed=(failed,),
        attempts=2,
        retries=1,
        wait=0.5,
        result="failure",
    )
    visits = (
        visit("a", 0, 1),
        visit("b", 1, 3, "a"),
        inside,
        visit("c", 1, 5, "a", revision=0, waits=(Wait("quota", 3 * SECOND, 4 * SECOND),)),
        visit(name, 5, 6, "b", "c", id="d", action="again"),
        replace(repeated, links=(*repeated.links, again)),
    )
    stages = tuple(Stage(each.stage, visits=1) for each in visits[:5])
    stages = tuple(
        replace(each, visits=2, retries=1, dead_ends=1, revision=1) if each.name == "c" else each for each in stages
    )
    return replace(run(*visits, ends=9), stages=stages, **more)


def waterfall(page: Page, expression: str) -> Any:
    return page.evaluate(f"waterfall.{expression}")


def bar(page: Page, visit: str, kind: str = "visit") -> dict[str, Any]:
    return next(each for each in waterfall(page, "bars()") if (each["visit"], each["kind"]) == (visit, kind))


def settled(page: Page) -> None:
    """The next frame has been painted."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_it_says_what_the_run_was(opened: Opens) -> None:
    page = opened(html(small())).page
    assert page.title() == "w r"
    assert page.locator("h1").inner_text() == "w"
    facts = dict(
        zip(page.locator("header dt").all_inner_texts(), page.locator("header dd").all_inner_texts(), strict=True)
    )
    assert {name: facts[name] for name in ("result", "duration", "visits", "revisions", "retries", "run")} == {
        "result": "✓ success",
        "duration": "9.00 s",
        "visits": "6",
        "revisions": "1",
        "retries": "1",
        "run": "r",
    }


def test_the_stages_have_the_figures_of_the_report(opened: Opens) -> None:
    made = small()
    page = opened(html(made)).page
    heads = [text.strip() for text in page.locator("#stages thead th").all_inner_texts()]
    lines = [line.locator("th, td").all_inner_texts() for line in page.locator("#stages tbody tr").all()]
    found = {line[0].strip(): dict(zip(heads, line, strict=True)) for line in lines}
    figures = figures_of(made)
    assert set(found) == {stage.stage for stage in figures.stages}
    for stage in figures.stages:
        assert found[stage.stage]["time"] == duration(stage.seconds)
        assert found[stage.stage]["own"] == duration(stage.own or 0)
        assert found[stage.stage]["path"] == f"{(stage.critical or 0) / figures.seconds:.0%}"
        assert found[stage.stage]["rework"] == (duration(stage.rework) if stage.rework else "-")
        assert found[stage.stage]["retries"] == (str(stage.retries) if stage.retries else "-")
    assert found["c"]["dead ends"] == "1"
    assert "budget kept" not in heads  # No visit has one.


def test_times_read_as_in_a_terminal(opened: Opens) -> None:
    times = [0.0, 0.00004, 0.0999, 0.1, 0.9994, 0.9996, 1.005, 59.99, 59.996, 61, 3599.4, 3600, 90061.0, 172799.6, 1e7]
    made = [visit(f"s{number}", 0, taken) for number, taken in enumerate(times)]
    page = opened(html(run(*made, ends=20_000_000))).page
    told = page.locator("#stages tbody tr")
    found = {line.locator("th").inner_text(): line.locator("td").nth(1).inner_text() for line in told.all()}
    assert found == {f"s{number}": duration(taken) for number, taken in enumerate(times)}


def test_sentences_and_the_stages_that_they_speak_of(opened: Opens) -> None:
    made = small()
    report = Report()
    report.add(made)
    (about,) = report.workflows()
    page = opened(html(made)).page
    said = page.locator("#insights li").all_inner_texts()
    assert len(said) == len(about.insights)
    for text, insight in zip(said, about.insights, strict=True):
        assert text.startswith(f"{insight.text}: {insight.advice}.")
    first = next(insight for insight in about.insights if insight.stage)
    button = page.get_by_role("button", name=f"Show {first.stage}").first
    button.click()
    assert waterfall(page, "view()")["marked"] == first.stage
    assert page.locator("#stages tr.marked th").inner_text() == first.stage
    assert page.locator("#flow .node.marked").get_attribute("data-stage") == first.stage
    assert set(page.locator(".row.marked").all_inner_texts()) == {first.stage}
    assert button.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert waterfall(page, "view()")["marked"] is None
    assert page.locator(".marked").count() == 0


def test_of_several_runs_it_is_the_last_and_says_so(opened: Opens) -> None:
    earlier = replace(small(), id="earlier", started=SECOND // 2)
    page = opened(html(earlier, small())).page
    assert "The last of 2 runs" in page.locator("header").inner_text()
    assert page.locator("#stages table").count() == 2
    assert "p90" in page.locator("#stages table").nth(1).inner_text()


def test_the_path_of_the_flow(opened: Opens) -> None:
    page = opened(html(small())).page
    edges = page.locator("#flow .edge").evaluate_all(
        "(all) => all.map((each) => [each.dataset.from, each.dataset.to, each.dataset.count])"
    )
    assert sorted(edges) == sorted(
        [
            ["start", "stage:a", "1"],
            ["stage:a", "stage:b", "1"],
            ["stage:a", "stage:c", "1"],
            ["stage:b", "stage:inner", "1"],
            ["stage:b", "stage:d", "1"],
            ["stage:c", "stage:d", "1"],
            ["stage:d", "stage:c", "1"],
            ["stage:c", "dead end:c", "1"],
        ]
    )
    assert page.locator("#flow .edge.back").evaluate_all("(all) => all.map((each) => each.dataset.from)") == ["stage:d"]
    places = page.locator("#flow .node rect").evaluate_all(
        "(all) => all.map((each) => each.getBoundingClientRect().toJSON())"
    )
    for number, one in enumerate(places):
        for other in places[:number]:
            apart = (
                one["right"] <= other["left"]
                or other["right"] <= one["left"]
                or one["bottom"] <= other["top"]
                or other["bottom"] <= one["top"]
            )
            assert apart, (one, other)
    words = page.locator("#flow .node text").evaluate_all(
        "(all) => all.map((one) => "
        "[one.getComputedTextLength(), one.parentNode.querySelector('rect').width.baseVal.value])"
    )
    assert all(long <= room for long, room in words), words
    page.locator("#flow summary").click()
    assert page.locator("#flow tbody tr").count() == len(edges)


def test_platforms_by_stages(opened: Opens) -> None:
    items = [
        Item(SECOND, SECOND + taken * SECOND, f"p{number}", None if number else "OSError")
        for number, taken in enumerate((1, 1, 1, 1, 9))
    ]
    page = opened(html(run(visit("translate", 0, 9, items=tuple(items)), ends=9))).page
    lines = {
        line.locator("th").inner_text(): line.locator("td").inner_text()
        for line in page.locator("#platforms tbody tr").all()
    }
    assert list(lines) == ["p4", "p0", "p1", "p2", "p3"]  # The slowest first.
    assert lines["p4"].split() == ["▲", "stands", "out,", "9.00", "s", "×1"]
    assert lines["p0"].split() == ["1.00", "s", "×1", "✕1", "failed"]


def test_what_was_cancelled_is_said_to_be(opened: Opens) -> None:
    page = opened(html(run(visit("early", 0, 1, result="cancelled", error="GeneratorExit"), ends=2))).page
    assert page.locator("#errors li p").inner_text() == "cancelled: GeneratorExit (no stack trace was recorded)"
    assert page.locator("#errors .bad").count() == 0


def test_a_run_that_waits_says_for_what_behind_the_word(opened: Opens) -> None:
    asks = replace(visit("ask", 0, None), state="waiting", note="until noon")
    page = opened(html(replace(run(asks), ended=None, state="waiting", note="until noon"))).page
    assert page.locator("header dd").first.inner_text() == "… waiting until noon"
    assert page.get_by_text("until noon", exact=True).count() == 0


def test_errors_with_their_stack_traces(opened: Opens) -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nOSError: no answer\n'
    details = Details(
        run={"service.version": "1.2"},
        visits={"c2": {"otel_progress.stage.name": "c", "many": (1, 2), "great": 2**60, "odd": float("nan")}},
        raised=[Raised("c2", 1, "OSError", "no answer", trace)],
    )
    page = opened(html(small(), details=details)).page
    assert page.locator("#errors h2").inner_text() == "Errors (1)"
    page.locator("#errors summary").click()
    assert page.locator("#errors pre").inner_text().strip() == trace.strip()
    page.locator("#errors button", has_text="c").first.click()
    assert waterfall(page, "view()")["selected"] == "c2"
    rows = page.locator("#visit .raw tr")
    assert dict(zip(rows.locator("th").all_inner_texts(), rows.locator("td").all_inner_texts(), strict=True)) == {
        "great": str(2**60),
        "many": "[1,2]",
        "odd": "nan",
        "otel_progress.stage.name": "c",
    }
    assert page.locator("#visit pre").count() == 1


def test_what_is_chosen_is_told(opened: Opens) -> None:
    page = opened(html(small())).page
    page.locator(".row", has_text="c").nth(1).click()
    told = page.locator("#visit").inner_text()
    for text in (
        "c ↻2",
        "✕ failure",
        "attempt 1",
        "builtins.OSError: no answer",
        "the same stage once more",
        "retry: 500 ms",
    ):
        assert text in told, text
    page.locator("#visit .links button", has_text="d").click()
    assert waterfall(page, "view()")["selected"] == "d"
    assert "It was followed by" in page.locator("#visit").inner_text()


def test_behind_a_bar_stands_whose_item_it_was(opened: Opens) -> None:
    listening = """() => {
        const said = [], draw = CanvasRenderingContext2D.prototype.fillText;
        window.said = new Promise((resolve, reject) => {
            setTimeout(reject, 10_000, new Error("the bar was not drawn"));
            CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
                said.push(text);
                if (text.includes("twitter")) resolve(said);
                return draw.call(this, text, ...rest);
            };
        });
    }"""
    visits = [visit("write", at, at + 1, id=name, item_platform=name) for at, name in ((0, "twitter"), (1, "x" * 30))]
    shown = opened(html(run(*visits, ends=2))).page
    shown.evaluate(listening)
    shown.get_by_role("button", name="Zoom in").click()
    said = shown.evaluate("window.said")  # Not by `wait_for_function`: what it asks again the page's policy forbids.
    assert "1.00 s  twitter" in said
    assert f"1.00 s  {'x' * 24}…" in said


def test_a_run_that_goes_on(opened: Opens) -> None:
    open_visit = replace(visit("b", 1, None, "a", result=None), state="running")
    made = replace(run(visit("a", 0, 1), open_visit, visit("c", 1, 3, "a")), state="running", result=None)
    page = opened(html(made)).page
    assert "▶ running" in page.locator("header").inner_text()
    assert "3.00 s so far" in page.locator("header").inner_text()
    assert bar(page, "b")["width"] == pytest.approx(bar(page, "c")["width"])


@pytest.mark.parametrize("width", [420, 1180])
def test_a_name_without_blanks_makes_the_page_no_wider(opened: Opens, width: int) -> None:
    name = "a_review_of_the_whole_of_the_text_" * 6
    waits = (Wait("nothing_" * 10, 0, 8 * SECOND),)
    made = run(visit(name, 0, 9, waits=waits, wait=8.0, id="a", error=f"{name}Error", result="failure"), ends=9)
    page = opened(html(made), viewport={"width": width, "height": 900}).page
    waterfall(page, "select(0)")
    assert page.locator("#insights button").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_run_without_visits(opened: Opens) -> None:
    made = Run(
        "r",
        "w",
        "s",
        started=SECOND,
        ended=2 * SECOND,
        state="done",
        result="success",
        stages=(Stage("a", visits=3, seconds=1.0),),
    )
    page = opened(html(made)).page
    assert "No visit was recorded one by one" in page.locator("main").inner_text()
    assert page.locator("#stages tbody tr").count() == 1
    empty = opened(html(Run("r", "", "s"))).page
    assert "No stage was visited" in empty.locator("main").inner_text()
    assert empty.locator("#stages").count() == 0
    assert empty.locator("h1").inner_text() == "(no name)"


# --- what somebody does -----------------------------------------------------------------------------------------------


def test_zoom_and_pan(opened: Opens) -> None:
    page = opened(html(small())).page
    width = waterfall(page, "view()")["width"]
    before = bar(page, "c")
    page.get_by_role("button", name="Zoom in").click()
    settled(page)
    zoomed = bar(page, "c")
    assert zoomed["width"] == pytest.approx(before["width"] * 1.6, abs=0.02)
    assert zoomed["x"] == pytest.approx(width / 2 - (width / 2 - before["x"]) * 1.6, abs=0.02)
    box = page.locator("canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 60, steps=5)
    page.mouse.up()
    settled(page)
    assert bar(page, "c")["x"] == pytest.approx(zoomed["x"] - 50, abs=0.02)
    assert waterfall(page, "view()")["selected"] is None  # A drag chooses nothing.
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    settled(page)
    assert bar(page, "c")["width"] == pytest.approx(zoomed["width"] * 2.718281828, rel=1e-3)
    page.get_by_role("button", name="Show the whole run").click()
    settled(page)
    assert bar(page, "c") == before
    page.mouse.dblclick(box["x"] + before["x"] + 10, box["y"] + before["y"] + 5)
    settled(page)
    assert bar(page, "c")["width"] == pytest.approx(width / 1.2, rel=1e-3)


def test_a_zoom_shows_what_the_model_has_there(opened: Opens) -> None:
    page = opened(html(small())).page
    waterfall(page, f"show({1 * SECOND}, {5 * SECOND})")
    width = waterfall(page, "view()")["width"]
    found = bar(page, "c")
    assert (found["x"], found["width"]) == pytest.approx((0, width))
    assert bar(page, "d")["x"] == pytest.approx(width)
    waterfall(page, f"show({-5 * SECOND}, {2 * SECOND})")  # Nothing is before the run.
    view = waterfall(page, "view()")
    assert (view["from"], view["to"]) == (0, 7 * SECOND)


def test_it_collapses(opened: Opens) -> None:
    page = opened(html(small())).page
    assert waterfall(page, "rows()") == ["a", "b", "inner", "c", "d", "c2"]
    page.get_by_role("button", name="Collapse all").click()
    settled(page)
    assert waterfall(page, "rows()") == ["a", "b", "c", "d", "c2"]
    assert [each["visit"] for each in waterfall(page, "bars()") if each["kind"] == "visit"] == [
        "a",
        "b",
        "c",
        "d",
        "c2",
    ]
    assert page.locator(".row[data-visit=b]").get_attribute("aria-expanded") == "false"
    page.locator(".row[data-visit=b] .twist").click()
    assert waterfall(page, "rows()") == ["a", "b", "inner", "c", "d", "c2"]


def test_the_keyboard(opened: Opens) -> None:
    page = opened(html(small())).page
    tree = page.get_by_role("tree")
    tree.focus()
    chosen: list[str] = []
    for key in (
        "ArrowDown",
        "ArrowDown",
        "ArrowRight",
        "ArrowLeft",
        "ArrowLeft",
        "ArrowDown",
        "End",
        "ArrowUp",
        "Home",
    ):
        page.keyboard.press(key)
        chosen.append(waterfall(page, "view()")["selected"])
    assert chosen == ["a", "b", "inner", "b", "b", "c", "c2", "d", "a"]
    assert waterfall(page, "rows()") == ["a", "b", "c", "d", "c2"]  # The second arrow to the left has closed `b`.
    active = page.locator(f"#{tree.get_attribute('aria-activedescendant')}")
    assert active.get_attribute("aria-selected") == "true"
    assert (active.get_attribute("aria-label") or "").startswith("a, 1.00 s, from 0.0 ms on, success")
    page.keyboard.press("End")
    page.keyboard.press("f")
    assert waterfall(page, "view()")["selected"] == "d"
    page.keyboard.press("+")
    assert waterfall(page, "view()")["to"] - waterfall(page, "view()")["from"] == pytest.approx(9 * SECOND / 1.6)
    before = waterfall(page, "view()")["from"]
    page.keyboard.press("Shift+ArrowRight")
    assert waterfall(page, "view()")["from"] > before
    page.keyboard.press("0")
    assert waterfall(page, "view()")["to"] == 9 * SECOND


def test_hover(opened: Opens) -> None:
    page = opened(html(small())).page
    box = page.locator("canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 300, box["y"] + 24 + 22 * 5 + 10)
    told = page.locator(".hover")
    assert told.is_visible()
    assert "visit 2, revision 1, 3.00 s, from 6.00 s on, failure" in told.inner_text()
    page.mouse.move(box["x"] + 300, box["y"] - 40)
    assert told.is_hidden()


@pytest.mark.parametrize(("reason", "said"), [("the editor.", "the editor"), (" . ", "(no reason)")])
def test_the_reason_of_a_wait_stands_before_a_colon(opened: Opens, reason: str, said: str) -> None:
    waits = (Wait(reason, 3 * SECOND, 4 * SECOND),)
    page = opened(html(run(visit("a", 0, 9, waits=waits, wait=1.0), ends=9))).page
    waterfall(page, "select(0)")
    assert page.locator("#visit li").inner_text() == f"{said}: 1.00 s, from 2.00 s on"  # The run begins at 1 s.


def test_what_it_was_for_and_its_action_are_said_without_a_word_twice(opened: Opens) -> None:
    visits = (
        visit("a", 0, 1, item_platform="for all", action="action taken"),
        visit("b", 1, 2, "a", item_platform="x", action="again"),
    )
    labels = opened(html(run(*visits, ends=2))).page.locator("[role=treeitem]").all()
    said = [(label.get_attribute("aria-label") or "").split(", ") for label in labels]
    assert [(each[1], each[-1]) for each in said] == [("for all", "action taken"), ("for x", "action again")]


def test_sorting(opened: Opens) -> None:
    page = opened(html(small())).page
    names_of = lambda: page.locator("#stages tbody th").all_inner_texts()  # noqa: E731
    figures = figures_of(small())
    assert names_of() == [stage.stage for stage in figures.stages]  # By the critical path at first, as in the report.
    head = page.locator("#stages th", has_text="time")
    head.get_by_role("button").click()
    by_time = sorted(figures.stages, key=lambda stage: -stage.seconds)
    assert [figures.seconds and stage.seconds for stage in by_time] == sorted(
        (stage.seconds for stage in figures.stages), reverse=True
    )
    found = {stage.stage: stage.seconds for stage in figures.stages}
    assert [found[name] for name in names_of()] == sorted(found.values(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")
    assert [found[name] for name in names_of()] == sorted(found.values())
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator("#stages th", has_text="stage").get_by_role("button").click()
    assert names_of() == sorted(found)


# --- where and how it is shown ----------------------------------------------------------------------------------------


def test_light_and_dark(opened: Opens) -> None:
    page = opened(html(small()), color_scheme="dark").page
    back = "getComputedStyle(document.body).backgroundColor"
    corner = """(() => {
        const copy = new OffscreenCanvas(1, 1).getContext("2d");
        copy.drawImage(document.querySelector("canvas"), -1, -60);
        return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3).join(", ");
    })()"""
    dark = page.evaluate(back)
    assert dark == f"rgb({page.evaluate(corner)})"
    page.get_by_role("button", name="Theme: auto").click()
    light = page.evaluate(back)
    assert light != dark
    assert light == f"rgb({page.evaluate(corner)})"
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(back) == dark
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    assert page.get_by_role("button", name="Theme: dark").is_visible()  # It is remembered.


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_cut_off(opened: Opens, width: int) -> None:
    page = opened(html(replace(small("x" * 90), workflow="w" * 200)), viewport={"width": width, "height": 740}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert waterfall(page, "view()")["width"] > width * 0.55
    for each in page.locator("main > section, header").all():
        box = each.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_it_prints(opened: Opens) -> None:
    many = [visit(f"s{number}", number, number + 1) for number in range(150)]
    page = opened(html(run(*many, ends=150)), color_scheme="dark").page
    page.emulate_media(media="print")
    settled(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert sum(each["kind"] == "visit" for each in waterfall(page, "bars()")) == 100
    assert page.locator(".printed").inner_text() == "The first 100 of 150 rows."
    assert page.get_by_role("button", name="Zoom in").is_hidden()
    page.emulate_media(media="screen")
    settled(page)
    assert page.locator(".printed").is_hidden()
    assert len(page.pdf()) > 10_000


def test_very_many_visits_are_drawn_as_far_as_they_are_in_view(opened: Opens) -> None:
    made = html(
        run(*[visit(f"s{number % 40}", number, number + 1, id=f"v{number}") for number in range(5_000)], ends=5_000)
    )
    assert 'type="application/octet-stream+gzip" id="data"' in made or len(made) < 1_500_000
    page = opened(made).page
    assert len(waterfall(page, "rows()")) == 5_000
    assert page.locator(".row").count() < 60
    page.get_by_role("tree").focus()
    page.keyboard.press("End")
    settled(page)
    assert page.locator(".row[data-visit=v4999]").is_visible()
    assert {each["visit"] for each in waterfall(page, "bars()")} >= {"v4999", "v4990"}
    assert "v0" not in {each["visit"] for each in waterfall(page, "bars()")}


# --- what must not happen ---------------------------------------------------------------------------------------------


def test_hostile_names_are_text(opened: Opens) -> None:
    raised = Raised("x", None, HOSTILE, HOSTILE, HOSTILE)
    attempt = Attempt(1, SECOND, SECOND, HOSTILE, HOSTILE)
    bad = visit(
        HOSTILE,
        0,
        1,
        id="x",
        result=HOSTILE,
        error=HOSTILE,
        action=HOSTILE,
        function=HOSTILE,
        item_platform=HOSTILE,
        failed=(attempt,),
        waits=(Wait(HOSTILE, SECOND, 2 * SECOND),),
        platforms=(HOSTILE,),
        note=HOSTILE,
    )
    items = tuple(Item(SECOND, 2 * SECOND, HOSTILE) for _ in range(2))
    made = replace(
        run(bad, visit("y", 1, 2, "x", items=items), ends=2, result=HOSTILE),
        workflow=HOSTILE,
        id=HOSTILE,
        source=HOSTILE,
        service=HOSTILE,
        note=HOSTILE,
        error=HOSTILE,
        trace_id=HOSTILE,
    )
    details = Details(run={HOSTILE: HOSTILE}, visits={"x": {HOSTILE: (HOSTILE,)}}, raised=[raised])
    text = html(made, details=details)
    assert text.count("<script") == text.count("</script>") == 3  # Two of data, and the page's own.
    assert "\x1b" not in text
    page = opened(text).page
    page.evaluate("waterfall.select(0)")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    settled(page)
    assert page.locator("h1").inner_text() == SHOWN
    assert page.locator(".row .text").first.inner_text() == SHOWN
    assert page.title().startswith("</script><script>document.title='hit'")
    assert page.locator("img").count() == 0
    everything = page.evaluate("document.documentElement.textContent")
    assert "\x1b" not in everything.split("This page is drawn")[0]
    shown = page.evaluate("document.getElementById('page').innerText")
    for sign in "\x1b\u202e\u2069\u2028":
        assert sign not in shown
    assert page.locator("#errors pre").inner_text().strip() == SHOWN
    assert page.locator("#visit .raw th").inner_text() == SHOWN


def test_the_policy_lets_nothing_else_in(opened: Opens) -> None:
    found = opened(html(small()))
    blocked = found.page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
            const script = document.createElement("script");
            script.textContent = "window.hit = 1";
            document.body.append(script);
        })"""
    )
    assert blocked.startswith("script-src")
    assert found.page.evaluate("window.hit") is None
    asked = found.page.evaluate("fetch('https://example.org').then(() => 'answered', () => 'refused')")
    assert asked == "refused"
    assert found.requests == []  # The policy has refused it before anybody was asked.
    assert found.complaints
    found.complaints.clear()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_nothing(opened: Opens, theme: str, width: int) -> None:
    trace = Raised("c2", 1, "OSError", "no answer", "Traceback\n")
    details = Details(run={"a": "b"}, visits={"c2": {"x": 1}}, raised=[trace])
    items = tuple(Item(SECOND, 2 * SECOND, f"p{number}") for number in range(4))
    made = small()
    made = replace(made, visits=tuple(replace(each, items=items) if each.id == "d" else each for each in made.visits))
    page = opened(html(made, details=details), color_scheme=theme, viewport={"width": width, "height": 900}).page
    for state in ("waterfall.select(5)", "document.querySelector('button.mark').click()"):
        page.evaluate(state)
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        settled(page)
        result = Axe().run(page)
        assert result.violations_count == 0, result.generate_report()

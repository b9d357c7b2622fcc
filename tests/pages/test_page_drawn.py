"""What the waterfall draws is what the model says: every bar at its place, for random runs."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from otel_progress.insight import figures_of
from otel_progress.runs import Run, Visit

from ..records import SECOND
from .conftest import Opened, watch
from .random_runs import random_run
from .test_page_run import html

pytestmark = pytest.mark.browser

RUNS, PARTS = 300, 6
HIGH = 4000  # Pixels: everything is in view.
Bar = tuple[str, str, float, float]


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """One page for all of them."""
    context = browser.new_context(viewport={"width": 1000, "height": HIGH})
    found = Opened(context.new_page())
    watch(found, "about:blank".__eq__)
    yield found.page
    context.close()
    assert (found.complaints, found.requests) == ([], [])


def drawn(page: Page, run: Run) -> dict[str, Any]:
    """What its page has drawn."""
    page.set_content(html(run))
    page.wait_for_selector("html[data-drawn]", state="attached")
    return page.evaluate("({bars: waterfall.bars(), rows: waterfall.rows(), view: waterfall.view()})")


def expected(run: Run, width: float, view: tuple[float, float] | None = None) -> list[Bar]:
    """Every bar: what it is, of which visit, where it begins, how wide it is. From the model alone."""
    zero = min([run.started or 0, *(visit.started for visit in run.visits)])
    last = max([run.ended or 0, *(end_of(visit, run) for visit in run.visits)]) - zero
    low, high = view or (0, max(last, 1000))
    found: list[Bar] = []

    def add(kind: str, visit: str, started: int, ended: int) -> None:
        left, right = ((at - zero - low) / (high - low) * width for at in (started, ended))
        found.append((kind, visit, left, max(right - left, 1.0)))

    for visit in run.visits:
        add("visit", visit.id, visit.started, end_of(visit, run))
        for wait in visit.waits:
            add("wait", visit.id, wait.started, wait.ended or 0)
        for attempt in visit.failed:
            add("failed", visit.id, attempt.started, attempt.ended)
            if round(visit.wait * SECOND):
                add("wait", visit.id, attempt.ended, attempt.ended + round(visit.wait * SECOND))
    for segment in figures_of(run).path.segments:
        if segment.visit is not None:
            add("critical", segment.visit, segment.started, segment.ended)
    return found


def end_of(visit: Visit, run: Run) -> int:
    """Its end; of one that is open the last instant that was told."""
    told = [at for each in run.visits for at in (each.started, each.ended) if at is not None]
    inside = [
        at
        for each in run.visits
        if each.ended is None
        for one in (*each.failed, *each.waits)
        for at in (one.started, one.ended or 0)
    ]
    return visit.ended if visit.ended is not None else run.ended or max(told + inside)


def rows_of(run: Run) -> list[str]:
    """Each visit behind the one that it lies in; beside each other in the order of their starts."""
    inside: dict[str | None, list[Visit]] = {}
    for visit in sorted(run.visits, key=lambda each: (each.started, each.id)):
        inside.setdefault(visit.parent, []).append(visit)

    def below(parent: str | None) -> Iterator[str]:
        for visit in inside.get(parent, ()):
            yield visit.id
            yield from below(visit.id)

    return list(below(None))


def same(bars: list[dict[str, Any]], wanted: list[Bar], near: float = 0.02) -> None:
    """The same bars, each within a fraction of a pixel."""
    found = sorted((bar["kind"], bar["visit"], bar["x"], bar["width"]) for bar in bars)
    assert [each[:2] for each in found] == [each[:2] for each in sorted(wanted)]
    for one, other in zip(found, sorted(wanted), strict=True):
        assert one[2:] == pytest.approx(other[2:], abs=near), (one, other)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_bar_is_where_the_model_has_it(page: Page, part: int) -> None:
    for seed in range(part, RUNS, PARTS):
        run = random_run(seed)
        found = drawn(page, run)
        assert found["rows"] == rows_of(run), seed
        same(found["bars"], expected(run, found["view"]["width"]))
        tops = {bar["visit"]: bar["y"] + bar["height"] / 2 for bar in found["bars"]}
        assert [tops[each] for each in found["rows"]] == [24 + 22 * row + 11 for row in range(len(found["rows"]))]


COLOURS = """(points) => {
    const canvas = document.querySelector("canvas"), ratio = canvas.width / canvas.clientWidth;
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
    return points.map(([x, y]) => {
        const at = 4 * (Math.round(y * ratio) * canvas.width + Math.round(x * ratio));
        return `rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`;
    });
}"""
OF_THEME = """() => Object.fromEntries(["critical", "beside", "back"].map((name) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return [name, colour];
}))"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pixels_are_painted(browser: Browser, theme: Any) -> None:
    """Where a bar alone is, its colour is; a little before it the ground is."""
    context = browser.new_context(viewport={"width": 1000, "height": 1600}, color_scheme=theme)
    page, seen = context.new_page(), 0
    for seed in range(15):
        found = drawn(page, random_run(seed))
        colours = page.evaluate(OF_THEME)
        assert len(set(colours.values())) == 3
        points: list[tuple[float, float]] = []
        kinds: list[str] = []
        for bar in found["bars"]:
            x, y = bar["x"] + 3, bar["y"] + bar["height"] / 2
            others = [each for each in found["bars"] if each["visit"] == bar["visit"] and each["kind"] != "visit"]
            covering = [
                each for each in others if each is not bar and each["x"] - 2 <= x <= each["x"] + each["width"] + 2
            ]
            if bar["width"] < 12 or bar["kind"] not in {"critical", "visit"} or covering:
                continue  # Words over a bar begin six pixels behind its left end.
            points.append((x, y))
            kinds.append("critical" if bar["kind"] == "critical" else "beside")
        assert page.evaluate(COLOURS, points) == [colours[kind] for kind in kinds], seed
        seen += len(points)
    context.close()
    assert seen > 25


# How those see who lack a kind of cones: Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
SEEN_BY = {
    "all three": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(colour: str, matrix: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """A colour in CIELAB, in which a distance of ten is plain to see."""
    parts = [int(each) / 255 for each in re.findall(r"\d+", colour)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in matrix)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    x, y, z = (each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_are_told_apart_by_every_eye(browser: Browser, theme: Any) -> None:
    context = browser.new_context(color_scheme=theme)
    page = context.new_page()
    drawn(page, random_run(1))
    colours = page.evaluate(OF_THEME.replace('"back"', '"back", "wait", "failed"'))
    assert len(colours) == 5
    context.close()
    for eye, matrix in SEEN_BY.items():
        for (one, first), (other, second) in itertools.combinations(colours.items(), 2):
            assert math.dist(lab(first, matrix), lab(second, matrix)) > 15, (eye, one, other)

"""What the page of a long run costs: python benchmarks/page.py [VISITS]. Needs a Chromium.

Prints how long it takes to make the page and how long it is; then, as the browser measures it, how long after the start
of loading the waterfall is seen, and how long frames take while somebody drags it to and fro, zoomed in, and scrolls.
All that runs on the machine adds to both; so it also prints the time of the processor for all of loading, and what
painting alone takes.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from otel_progress import names
from otel_progress.insight import Report
from otel_progress.pages import run_page
from otel_progress.runs import Attempt, Link, Run, Stage, Visit
from otel_progress.runs.details import Details

START, SECOND = 1_756_377_900_000_000_000, 1_000_000_000
TIMES = 5
FRAMES = """() => {
    window.frames_taken = [];
    let last = performance.now();
    const next = (now) => { window.frames_taken.push(now - last); last = now; requestAnimationFrame(next); };
    requestAnimationFrame(next);
}"""

PAINTING = """() => Array.from({length: 100}, (_, each) => {
    const begun = performance.now();
    waterfall.show(each * 1e9, each * 1e9 + 60e9);
    return performance.now() - begun;
})"""


def long_run(number: int) -> Run:
    """One of so many visits: rounds of eight stages, in each of which something is tried again."""
    chance, visits, at = random.Random(1), list[Visit](), START
    while len(visits) < number:
        outer, before = f"v{len(visits)}", visits[-1].id if visits else None
        begun, inner = at, list[Visit]()
        for place in range(8):
            taken = chance.randint(SECOND // 100, SECOND)
            failed = (Attempt(1, at, at + taken // 2, "OSError", "no answer"),) if place == 3 else ()
            links = (Link(names.LINK_FOLLOWS, visit=inner[-1].id),) if inner else ()
            own = f"v{len(visits) + 1 + place}"
            inner.append(
                Visit(own, f"stage {place}", started=at, ended=at + taken, state="done", result="success", parent=outer)
            )
            inner[-1] = replace(inner[-1], failed=failed, retries=len(failed), links=links, span_id=own)
            at += taken
        links = (Link(names.LINK_FOLLOWS, visit=before),) if before else ()
        visits += [replace(Visit(outer, "round", started=begun, ended=at, state="done", result="success"), links=links)]
        visits += inner
    stages = tuple(Stage(f"stage {place}", visits=number // 9) for place in range(8))
    return Run(
        "r",
        "long",
        "made",
        started=START,
        ended=at,
        state="done",
        result="success",
        stages=stages,
        visits=tuple(visits),
    )


def details_of(run: Run) -> Details:
    """As many attributes as a recorded visit has."""
    told = {
        f"otel_progress.stage.{name}": name for name in ("name", "visit", "result", "action", "attempts", "revision")
    }
    return Details(visits={visit.id: told | {"otel_progress.stage.visit_id": visit.id} for visit in run.visits})


def measure(page: Page, address: str) -> str:
    """What loading the page and moving in it takes, in words."""
    told: Any = page.context.new_cdp_session(page)
    told.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(address)
    page.wait_for_selector("html[data-drawn]")
    seen = page.evaluate("performance.getEntriesByName('seen')[0].startTime") / 1000
    metrics = {each["name"]: each["value"] for each in told.send("Performance.getMetrics")["metrics"]}
    view = page.evaluate("waterfall.view()")
    page.evaluate(f"waterfall.show({view['to'] * 0.4}, {view['to'] * 0.45})")
    box = page.locator("canvas").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + 200
    page.evaluate(FRAMES)
    for way in (-300, 300):
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + way, y - abs(way) // 2, steps=60)
        page.mouse.up()
    page.mouse.move(x, y)
    for _ in range(30):
        page.mouse.wheel(0, 400)
    frames = page.evaluate("window.frames_taken.slice(1)")
    p95, painted = (statistics.quantiles(times, n=20)[-1] for times in (frames, page.evaluate(PAINTING)))
    return (
        f"seen after {seen:.2f} s ({metrics['TaskDuration']:.2f} s of the processor for all of it); "
        f"{len(frames)} frames, p95 {p95:.1f} ms, longest {max(frames):.0f} ms; painting p95 {painted:.1f} ms"
    )


def main() -> None:
    """Print it."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    run = long_run(number)
    begun = time.process_time()
    report = Report()
    report.add(run)
    (made,) = report.workflows()
    figured = time.process_time()
    html = run_page(made, details_of(run))
    made_in = f"figures {figured - begun:.2f} s, page {time.process_time() - figured:.2f} s of the processor"
    print(f"{len(run.visits)} visits: {made_in}; {len(html) / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder, "page.html")
        file.write_text(html, "utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(TIMES):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            print(measure(page, file.as_uri()))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()

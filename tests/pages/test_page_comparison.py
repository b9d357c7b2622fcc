"""The page of a comparison, in a real browser: what is drawn is what was found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # pyright: ignore[reportMissingTypeStubs]

from otel_progress.compare import compare_samples, sample_of
from otel_progress.pages import comparison_document, page
from otel_progress.pages.comparing import typical
from otel_progress.recording.times import duration
from otel_progress.runs import Run, Stage

from .. import otlp
from ..test_insight_path import run, visit
from .conftest import Opened
from .test_page_run import HOSTILE, SHOWN

pytestmark = pytest.mark.browser

Opens = Callable[..., Opened]
RECORDED = Path(__file__).parents[2] / "examples" / "recorded"


def made(seed: int, *, slower: float = 1.0, stage: str = "draft", runs: int = 12) -> list[Run]:
    """Runs of two stages, of which the first takes `slower` times as long; in turn with those of other sides."""
    chance, found = random.Random(seed), list[Run]()
    for number in range(runs):
        draft, check = slower * chance.gauss(2, 0.05), chance.gauss(1, 0.02)
        at = number * 3600  # Seconds: an hour after the run before.
        visits = visit(stage, at, at + draft), visit("check", at + draft, at + draft + check, stage)
        stages = tuple(Stage(each.stage, visits=1, seconds=each.seconds or 0) for each in visits)
        whole = run(*visits, ends=at + draft + check)
        found.append(replace(whole, started=visits[0].started, id=f"{seed}-{number:02}", workflow="w", stages=stages))
    return found


def document(base: list[Run], new: list[Run], **more: Any) -> dict[str, Any]:
    """What the page of two sides shows."""
    known = {each.id: each for each in (*base, *new)}

    def runs(ids: set[str]) -> Mapping[str, Run]:
        return {identity: known[identity] for identity in ids}

    sides = [sample_of(each) for each in base], [sample_of(each) for each in new]
    found = comparison_document(compare_samples(*sides), *sides, runs, **more)
    return json.loads(json.dumps(found, allow_nan=False))


def test_of_too_few_runs_no_interval_is_told(opened: Opens) -> None:
    shown = opened(page("comparison", document(made(1, runs=2)[:1], made(2, runs=2)[1:]), "Comparison")).page
    assert shown.locator("tbody tr small").all_inner_texts() == ["unknown"] * 3
    assert [each.inner_text() for each in shown.locator("p code").all()] == ["otel-progress bench"]
    assert "`" not in shown.locator("body").inner_text()


def test_what_is_drawn_is_what_was_found(opened: Opens) -> None:
    told = document(made(1), made(2, slower=1.5))
    shown = opened(page("comparison", told, "Comparison")).page
    (workflow,) = told["workflows"]
    lines = shown.locator("tbody tr")
    assert lines.count() == len(workflow["rows"]) == 3
    for number, row in enumerate(workflow["rows"]):
        line = lines.nth(number)
        cells = line.locator("td").all_text_contents()
        assert cells[:2] == [duration(row["base_seconds"]), duration(row["new_seconds"])]
        assert cells[3].split(" ", 1)[1].startswith(row["verdict"])
        most = max(row["base_each"] + row["new_each"])
        for side in ("base", "new"):
            places = line.locator(f".spread .{side} .one").evaluate_all("all => all.map(each => each.x1.baseVal.value)")
            assert places == pytest.approx([4 + 212 * each / most for each in row[f"{side}_each"]], abs=0.01)
            median = line.locator(f".spread .{side} .median").evaluate("each => each.x1.baseVal.value")
            assert median == pytest.approx(4 + 212 * row[f"{side}_seconds"] / most, abs=0.01)
    verdicts = {row["stage"]: row["verdict"] for row in workflow["rows"]}
    assert verdicts == {None: "slower", "draft": "slower", "check": "same"}
    assert workflow["said"] in shown.locator("main").inner_text()


def test_intervals_have_one_scale(opened: Opens) -> None:
    told = document(made(3), made(4, slower=1.5))
    shown = opened(page("comparison", told, "Comparison")).page
    bands = shown.locator(".interval .band").evaluate_all(
        "all => all.map(each => [each.x.baseVal.value, each.width.baseVal.value])"
    )
    assert len(bands) == 3
    assert bands[0] == bands[1] == bands[2]
    estimates = shown.locator(".interval .estimate").evaluate_all("all => all.map(each => each.cx.baseVal.value)")
    changes = [row["change"] for row in told["workflows"][0]["rows"]]
    assert sorted(range(3), key=lambda each: estimates[each]) == sorted(range(3), key=lambda each: changes[each])
    assert estimates[1] > bands[0][0] + bands[0][1]


def test_the_two_waterfalls_have_one_time(opened: Opens) -> None:
    base, new = made(5), made(6, slower=2)
    told = document(base, new)
    shown = opened(page("comparison", told, "Comparison")).page
    views = shown.evaluate("window.waterfalls.map(each => each.view())")
    assert views[0]["from"] == views[1]["from"]
    assert views[0]["to"] == views[1]["to"]
    drawn = shown.evaluate("window.waterfalls.map(each => each.rows())")
    middle = [typical(sample_of(each) for each in side) for side in (base, new)]
    assert [run["run"] for run in told["workflows"][0]["typical"]] == [each.id for each in middle if each]
    assert [len(each) for each in drawn] == [2, 2]


def test_the_typical_run_is_the_one_in_the_middle() -> None:
    samples = [sample_of(each) for each in made(7, runs=4)]
    ordered = sorted(samples, key=lambda each: each.seconds[None, None])
    assert typical(samples) is ordered[1]
    assert typical([]) is None


def test_names_are_text(opened: Opens) -> None:
    told = document(made(8, stage=HOSTILE, runs=3), made(9, stage=HOSTILE, runs=3))
    shown = opened(page("comparison", told, HOSTILE)).page
    assert SHOWN in shown.locator("tbody").inner_text()
    assert shown.title() != "hit"
    assert shown.locator("main script, main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened: Opens, scheme: str) -> None:
    told = document(made(10), made(11, slower=1.5))
    shown = opened(page("comparison", told, "Comparison"), color_scheme=scheme).page
    assert Axe().run(shown).response["violations"] == []


def test_it_is_readable_on_a_phone(opened: Opens) -> None:
    told = document(made(12), made(13))
    shown = opened(page("comparison", told, "Comparison"), viewport={"width": 360, "height": 700}).page
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_command_writes_it(opened: Opens, tmp_path: Path) -> None:
    file = tmp_path / "changed.html"
    versions = ["service.version=1.3.0", "service.version=1.4.0"]
    command = ["-m", "otel_progress", "compare", "--from", str(RECORDED), *versions, "--html"]
    done = otlp.run(tmp_path, [*command, str(file)])
    assert done.returncode == 0
    assert done.stdout.startswith("pr_campaign: 12 runs of BASE, 12 runs of NEW")
    assert done.stderr == f"otel-progress: {file} shows it\n"
    shown = opened(file.read_text("utf-8")).page
    assert "NEW is faster: the run" in shown.locator("main").inner_text()
    assert shown.evaluate("window.waterfalls.map(each => each.rows().length)") == [10, 10]
    refused = otlp.run(tmp_path, [*command, str(tmp_path)])
    assert (refused.returncode, refused.stderr) == (2, f"otel-progress: {tmp_path}: Is a directory\n")


def test_bench_alone_has_no_page(tmp_path: Path) -> None:
    done = otlp.run(tmp_path, ["-m", "otel_progress", "bench", "-n", "1", "--html", "x.html", "--", "app.py"])
    assert done.returncode == 2
    assert done.stderr == "otel-progress: --html shows a comparison: it needs --against or --expect-same\n"

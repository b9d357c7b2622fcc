"""What goes into the page of a run, and how it is put together. No browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html as html_module
import itertools
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from otel_progress import names
from otel_progress.insight import Report, to_json
from otel_progress.pages import page, run_documents
from otel_progress.pages.flow import MOST_STAGES, flow_of
from otel_progress.pages.html import MOST_PLAIN, script_of, style_of
from otel_progress.pages.layers import layered
from otel_progress.runs import Attempt, Problems, Run, Stage, Visit, read
from otel_progress.runs.details import Details, Raised, details_of
from otel_progress.runs.reading import open_source

from ..records import RUN, attributes, event, record, span, visit_event
from ..test_insight_path import SECOND, run, visit
from .random_runs import random_run

ASSETS = Path(__file__).parents[2] / "otel_progress" / "pages" / "assets"


def documents(made: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    report = Report()
    report.add(made)
    return run_documents(report.workflows()[0])


def block(html: str, name: str) -> str:
    found = re.search(rf'<script type="([^"]+)" id="{name}">(.*?)</script>', html, flags=re.DOTALL)
    assert found
    return found[2] if found[1] == "application/json" else gzip.decompress(base64.b64decode(found[2])).decode()


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_figures_are_the_report() -> None:
    for seed in range(20):
        report = Report()
        report.add(random_run(seed))
        (made,) = report.workflows()
        (told,) = to_json([made], "made")["workflows"]
        document, _ = run_documents(made)
        assert document["figures"] == told["last_run"]
        assert document["over"] == {name: value for name, value in told.items() if name != "last_run"}


def test_a_visit_tells_what_the_model_does() -> None:
    attempt = Attempt(1, 3 * SECOND, 4 * SECOND, "E", "m")
    made = visit("b", 1, 4, "a", revision=0, action="go", failed=(attempt,), retries=1, attempts=2, wait=0.25)
    document, _ = documents(run(visit("a", 0, 1), made, ends=5))
    assert document["run"]["zero"] == "1970-01-01T00:00:01+00:00"
    assert document["visits"][1] == {
        "id": "b",
        "stage": "b",
        "at": 1 * SECOND,
        "end": 4 * SECOND,
        "depth": 0,
        "result": "success",
        "action": "go",
        "revision": 0,
        "attempts": 2,
        "retries": 1,
        "wait": 0.25,
        "failed": [{"number": 1, "at": 2 * SECOND, "end": 3 * SECOND, "error": "E", "message": "m"}],
        "waits": [{"reason": "retry", "at": 3 * SECOND, "end": 3_250_000_000}],
        "links": [{"kind": "follows", "visit": "a"}],
        "critical": [[1 * SECOND, 4 * SECOND]],
        "step": False,
    }


def test_where_attempts_of_many_items_mix_their_waits_are_not_guessed() -> None:
    tries = tuple(Attempt(1, at * SECOND, (at + 1) * SECOND, "E") for at in (1, 2))
    document, _ = documents(run(visit("a", 0, 9, failed=tries, retries=2, attempts=3, wait=1.0), ends=9))
    assert "waits" not in document["visits"][0]


def test_times_that_a_clock_has_set_back_are_drawn_all_the_same() -> None:
    early = visit("early", -0.5, 1)
    inside = visit("inside", 0.5, 3, parent="early")
    document, _ = documents(run(early, inside, ends=2))
    assert [(each["at"], each["end"], each["depth"]) for each in document["visits"]] == [
        (0, round(1.5 * SECOND), 0),
        (1 * SECOND, round(3.5 * SECOND), 1),
    ]


# --- what else the record holds ---------------------------------------------------------------------------------------


def test_attributes_and_exceptions_are_those_of_the_record(tmp_path: Path) -> None:
    def raised(kind: str) -> dict[str, Any]:
        told = {"exception.type": kind, "exception.message": "no", "exception.stacktrace": f"Traceback\n{kind}: no\n"}
        return {"name": names.EVENT_EXCEPTION, "timeUnixNano": "1", "attributes": attributes(told)}

    spans = [
        span("attempt 1", "0a", "01", at=1, stage__attempts=1, error__type="OSError", events=[raised("OSError")]),
        span("GET /", "0b", "0a", at=1, scope="requests", events=[raised("Timeout")]),
        span("stage draft", "01", "ff", at=1, takes=2.0, stage__note="by hand"),
        span("run campaign", "ff", takes=4.0, events=[raised("KeyError")]),
        span("stage other", "02", "fe", at=1, run="f" * 32, events=[raised("Other")]),
    ]
    events = [event("run.started"), visit_event("started", "open", "o1", at=2, stage__note="open")]
    source = open_source(record(tmp_path, spans=spans, events=events).parents[1])
    made = source.run(RUN, Problems())
    found = details_of(source.inputs, made)
    assert found.visits["01"]["otel_progress.stage.note"] == "by hand"
    assert found.visits["o1"]["otel_progress.stage.note"] == "open"
    assert set(found.visits) == {"01", "o1"}
    assert found.run["service.name"] == "studio"
    assert found.raised == [
        Raised("01", 1, "OSError", "no", "Traceback\nOSError: no\n"),
        Raised("01", None, "Timeout", "no", "Traceback\nTimeout: no\n"),
        Raised(None, None, "KeyError", "no", "Traceback\nKeyError: no\n"),
    ]
    report = Report()
    report.add(made)
    document, later = run_documents(report.workflows()[0], found)
    assert [(each["stage"], each["attempt"], each["type"], each["trace"]) for each in document["errors"]] == [
        (None, None, "KeyError", 0),
        ("draft", 1, "OSError", 1),
        ("draft", None, "Timeout", 2),
    ]
    assert later["traces"][1] == "Traceback\nOSError: no\n"


@pytest.mark.parametrize("signals", ["", "logs", "logs/dup"])
def test_exceptions_are_found_where_the_program_has_them_recorded(signals: str, tmp_path: Path) -> None:
    program = tmp_path / "app.py"
    program.write_text("from otel_progress import stage\nwith stage('draft'):\n    raise KeyError('no')\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    env = {**kept, "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN": signals}
    command = [sys.executable, "-m", "otel_progress", "run", "app.py"]
    assert subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True).returncode == 1
    source = open_source(tmp_path / ".otel-progress")
    (made,) = read(tmp_path / ".otel-progress")
    (raised,) = details_of(source.inputs, made).raised
    assert (raised.visit, raised.type, raised.message) == (made.visits[0].id, "KeyError", "'no'")
    assert "line 3, in <module>" in (raised.trace or "")


def test_an_error_whose_exception_was_not_recorded_is_told_all_the_same() -> None:
    tries = (Attempt(1, SECOND, SECOND, "a.E", "m"), Attempt(2, SECOND, SECOND, "a.E", "n"))
    made = run(visit("a", 0, 1, failed=tries, error="a.E"), visit("b", 1, 2, error="b.F"), ends=2)
    document, _ = documents(replace(made, error="b.F"))
    assert [(each["visit"], each["attempt"], each["type"], each["message"]) for each in document["errors"]] == [
        ("a", 1, "a.E", "m"),
        ("a", 2, "a.E", "n"),
        ("b", None, "b.F", None),
    ]


def test_what_cancels_a_visit_or_a_run_is_told_from_what_fails() -> None:
    tries = (Attempt(1, SECOND, SECOND, "a.E", "m"),)
    made = run(
        visit("a", 0, 1, failed=tries, result="cancelled", error="GeneratorExit"),
        visit("b", 1, 2, result="failure", error="b.F"),
        ends=2,
    )
    stopped = Raised(None, None, "KeyboardInterrupt", None, None)
    report = Report()
    report.add(replace(made, result="cancelled", error="KeyboardInterrupt"))
    for details in (None, Details(raised=[stopped])):
        document, _ = run_documents(report.workflows()[0], details)
        found = {each["type"]: each["cancelled"] for each in document["errors"]}
        assert found == {"a.E": False, "GeneratorExit": True, "b.F": False, "KeyboardInterrupt": True}


def test_what_was_left_open_raised_no_error() -> None:
    made = run(visit("a", 0, 1, result="abandoned", error="abandoned"), ends=2)
    document, _ = documents(replace(made, result="abandoned", error="abandoned"))
    assert document["errors"] == []


# --- the path of the flow ---------------------------------------------------------------------------------------------


def test_the_path_counts_what_links_tell() -> None:
    made = run(
        visit("edit", 0, 1, action="go"),
        visit("check", 1, 2, "edit", action="again"),
        visit("edit", 2, 3, "check", id="edit2", action="go"),
        visit("check", 3, 4, "edit2", id="check2", action="done"),
        ends=4,
    )
    found = flow_of(made)
    assert {(each["from"], each["to"]): (each["count"], each["actions"], each["back"]) for each in found["edges"]} == {
        ("start", "stage:edit"): (1, {}, False),
        ("stage:edit", "stage:check"): (2, {"go": 2}, False),
        ("stage:check", "stage:edit"): (1, {"again": 1}, True),
        ("stage:check", "end"): (1, {}, False),
    }
    dead = flow_of(replace(made, stages=(Stage("check", visits=2, dead_ends=1),)))
    assert [(each["from"], each["to"]) for each in dead["edges"]][-1] == ("stage:check", "dead end:check")
    assert ("stage:check", "end") not in {(each["from"], each["to"]) for each in dead["edges"]}


def test_without_links_no_order_is_made_up() -> None:
    found = flow_of(run(visit("a", 0, 1), visit("b", 1, 2), visit("c", 1, 2, parent="b"), ends=2))
    assert not found["linked"]
    assert [(each["from"], each["to"], each["kind"]) for each in found["edges"]] == [("stage:b", "stage:c", "inside")]


def test_too_many_stages_are_not_drawn() -> None:
    found = flow_of(run(*[visit(f"s{number}", 0, 1, *(["s0"] if number else [])) for number in range(MOST_STAGES)]))
    assert not found["drawn"]
    assert "points" not in found["edges"][0]


@pytest.mark.parametrize("seed", range(40))
def test_a_drawing_has_a_place_for_everything(seed: int) -> None:
    """Boxes do not overlap, all lies within, edges begin and end at their boxes, and only some go up."""
    chance = random.Random(seed)
    nodes: list[dict[str, Any]] = [
        {"id": f"n{number}", "stage": "x" * chance.randint(0, 40)} for number in range(chance.randint(1, 14))
    ]
    pairs = {(chance.choice(nodes)["id"], chance.choice(nodes)["id"]) for _ in range(chance.randint(0, 30))}
    edges: list[dict[str, Any]] = [{"from": one, "to": other, "kind": "follows"} for one, other in sorted(pairs)]
    width, height = layered(nodes, edges)
    for node in nodes:
        assert 0 <= node["x"] - node["w"] / 2 < node["x"] + node["w"] / 2 <= width
        assert 0 <= node["y"] - node["h"] / 2 < node["y"] + node["h"] / 2 <= height
    for one, other in itertools.combinations(nodes, 2):
        apart = abs(one["x"] - other["x"]) >= (one["w"] + other["w"]) / 2, abs(one["y"] - other["y"]) >= one["h"]
        assert any(apart), (one, other)
    places = {node["id"]: node for node in nodes}
    for edge in edges:
        for (x, y), end in ((edge["points"][0], edge["from"]), (edge["points"][-1], edge["to"])):
            assert abs(x - places[end]["x"]) <= places[end]["w"] / 2 + 1
            assert abs(y - places[end]["y"]) <= places[end]["h"] / 2
        if edge["from"] != edge["to"]:
            assert edge["back"] == (places[edge["from"]]["y"] > places[edge["to"]]["y"])
    forward = {edge["from"]: edge["to"] for edge in edges if not edge["back"]}
    assert all(places[one]["y"] < places[other]["y"] for one, other in forward.items())


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_policy_names_what_is_inside_by_its_hash() -> None:
    html = page("run", {}, "t")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    told = dict(each.strip().split(" ", 1) for each in html_module.unescape(policy[1]).split(";"))
    (script,) = re.findall(r'<script type="module">(.*?)</script>', html, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    for name, text in (("script-src", script), ("style-src", style)):
        assert told[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert told["default-src"] == "'none'"
    assert "connect-src" not in told
    assert "connect-src 'self'" in page("run", {}, "t", connect=True).replace("&#x27;", "'")


def test_data_end_no_element_and_come_back_as_they_were() -> None:
    odd = {"</script>": "<!--<script>&\u2028\u2029\ud800", "numbers": [1, 2.5, None, True]}
    html = page("run", odd, "t")
    text = re.search(r'id="data">(.*?)</script>', html, flags=re.DOTALL)
    assert text
    assert not set(text[1]) & set("<>&\u2028\u2029")
    assert json.loads(block(html, "data")) == odd
    long = {"text": [f"{number}" * 10 for number in range(MOST_PLAIN // 20)]}
    html = page("run", long, "t")
    assert "octet-stream+gzip" in html
    assert json.loads(block(html, "data")) == long
    assert html == page("run", long, "t")
    with pytest.raises(ValueError, match="JSON compliant"):
        page("run", float("nan"), "t")


def test_the_page_itself_is_small() -> None:
    assert len(page("run", {}, "t")) < 100_000


def test_scripts_make_no_html_of_texts_and_ask_nobody() -> None:
    for asset in ASSETS.glob("*.js"):
        text = asset.read_text("utf-8")
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "XMLHttp",
        ):
            assert word not in text, (asset.name, word)
    for kind in ("run",):
        assert "http" not in script_of(kind).replace("http://www.w3.org/2000/svg", "")
        assert "url(" not in style_of(kind)
        assert "</" not in script_of(kind)


def test_every_module_is_in_the_script_once() -> None:
    script = script_of("run")
    for name in ("data", "dom", "words", "theme", "table", "waterfall", "paint"):
        assert script.count(f"const {name}_js = (() => {{") == 1
    assert not re.search(r"^(import|export) ", script, flags=re.MULTILINE)


def test_the_page_of_the_documentation_names_every_field() -> None:
    text = (ASSETS.parents[2] / "docs" / "page.md").read_text("utf-8").partition("## The data")[2]
    document, later = documents(random_run(3))
    table, of_visits = text.partition("A visit has")[::2]
    said = re.findall(r"^\| (`[^|]+`) \|", table, flags=re.MULTILINE)
    assert [name for cell in said for name in re.findall("`(\\w+)`", cell)] == list(document)
    assert set(document["run"]) <= set(re.findall(r"`(\w+)`", table))
    own = {"at", "end", "open", "depth", "item", "span", "critical", "step"}
    rows = re.findall(r"^\| (`[^|]+`) \|", of_visits, flags=re.MULTILINE)
    assert {name for cell in rows for name in re.findall("`(\\w+)`", cell)} == own
    of_model = {field.name for field in fields(Visit)}
    for each in document["visits"]:
        assert set(each) <= own | of_model
    assert set(later) == {"run", "visits", "traces"}

"""`examples/pr_campaign.py`: what it delivers, and what is recorded of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from otel_progress.runs import read

from .conftest import Telemetry, linked

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT, BRIEF = EXAMPLES / "pr_campaign.py", EXAMPLES / "brief.json"
PLATFORMS = ["twitter", "bluesky", "mastodon", "newsletter", "linkedin", "instagram"]
STAGES = [
    "engagement_manager",
    "content_generation",
    "style_editor",
    "style_compliance",
    "fact_check",
    "agency_director",
]
CLEAN = "Tidewise covers 64 routes. A delay reaches the phone within 45 seconds."


@dataclass
class Example:
    """The example's module, and a file for its pieces."""

    module: Any
    out: Path
    capsys: pytest.CaptureFixture[str]

    def main(self, brief: Path = BRIEF) -> tuple[int, str, str]:
        """Its exit code and what it prints to standard output and standard error."""
        code = self.module.main([str(brief), "--out", str(self.out)])
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err

    def store(self) -> dict[str, Any]:
        """What its workflow leaves in its store."""
        return self.module.run_campaign(self.module.read_brief(BRIEF), self.out)

    def brief_with(self, **changes: Any) -> Path:
        """A brief like the example's, but for some fields; a field that is None is left out."""
        fields = {**json.loads(BRIEF.read_text("utf-8")), **changes}
        path = self.out.with_name("brief.json")
        path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}), "utf-8")
        return path

    def delivered(self, field: str) -> dict[str, Any]:
        """A field of every piece in the file, by platform."""
        return {piece["platform"]: piece[field] for piece in json.loads(self.out.read_text("utf-8"))["pieces"]}


@pytest.fixture(scope="module")
def module() -> Any:
    spec = importlib.util.spec_from_file_location("pr_campaign", SCRIPT)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def example(module: Any, telemetry: Telemetry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Example:
    return Example(module, tmp_path / "pieces.json", capsys)


@pytest.fixture(autouse=True)
def templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's real model or collector takes part."""
    for name in list(os.environ):
        if name.startswith(("PR_CAMPAIGN_", "OTEL_")):
            monkeypatch.delenv(name)


def attribute(telemetry: Telemetry, span_name: str, name: str) -> list[Any]:
    """An attribute of every span with this name."""
    spans = telemetry.spans(span_name)
    return [(span.attributes or {}).get(f"otel_progress.{name}") for span in spans if span.name == span_name]


# --- what it delivers -------------------------------------------------------------------------------------------------


def test_the_pieces_keep_the_rules(example: Example) -> None:
    code, printed, told = example.main()
    assert (code, told) == (0, "")
    brief = json.loads(BRIEF.read_text("utf-8"))
    assert json.loads(example.out.read_text("utf-8"))["topic"] == brief["topic"]
    assert example.delivered("held_back") == {name: [] for name in PLATFORMS}
    pieces = example.delivered("text")
    assert list(pieces) == PLATFORMS
    limits = [280, 300, 500, 700, 1300, 2200]
    assert [name for name, limit in zip(PLATFORMS, limits, strict=True) if not 200 < len(pieces[name]) <= limit] == []
    figures = set(re.findall(r"\d+%?", " ".join([*brief["facts"], brief["call_to_action"]])))
    for text in pieces.values():
        assert not re.search("game-changing|leverage|synergy|seamless|—", text, re.IGNORECASE)
        assert text.count("!") <= 1
        assert set(re.findall(r"\d+%?", text)) <= figures
        assert "missed crossings fell by 37% in 12 weeks" in text
    assert [name for name, text in pieces.items() if "#" not in text] == ["newsletter"]
    assert [line.split()[:2] for line in printed.splitlines()] == [[name, str(len(pieces[name]))] for name in pieces]
    assert printed.startswith("twitter       261 characters  Meet Tidewise, live crossing times")


def test_the_store_tells_how_it_went(example: Example) -> None:
    shared = example.store()
    assert shared["workflow_state"] == {
        "current_stage": "delivered",
        "completed_stages": [*STAGES[:2], *STAGES[2:4] * 3, *STAGES[4:]],
    }
    assert shared["task_requirements"] == {
        "topic": "live crossing times for small ferries",
        "audience": "island commuters",
        "platforms": PLATFORMS,
    }
    assert shared["quality_control"] == {"revision_count": 2, "violations": []}
    history = shared["version_history"]
    assert [(version["version_id"], version["action"]) for version in history] == [
        ("v1", "drafted"),
        ("v2", "revised"),
        ("v3", "revised"),
        ("v4", "revised"),
        ("v5", "corrected"),
    ]
    fixed = [{violation["kind"] for violation in version["violations_fixed"]} for version in history]
    assert fixed == [set(), {"phrase"}, {"mark"}, {"length"}, set()]
    assert history[3]["changes_made"] == ["twitter: 486 of 280 characters", "bluesky: 486 of 300 characters"]
    assert history[4]["changes_made"] == [f"{name}: figures or names" for name in PLATFORMS[3:]]
    assert "fell by nearly 40%" in history[3]["content_pieces"]["linkedin"]
    assert shared["content_pieces"] == history[4]["content_pieces"] == example.delivered("text")


def test_the_editor_gives_up_when_the_brief_says_so(example: Example, telemetry: Telemetry) -> None:
    code, printed, _ = example.main(example.brief_with(max_revisions=1))
    assert code == 0
    assert {name: reasons for name, reasons in example.delivered("held_back").items() if reasons} == {
        "twitter": ["486 of 280 characters"],
        "bluesky": ["486 of 300 characters"],
    }
    assert printed.count("held back") == 2
    assert attribute(telemetry, "stage style_compliance", "stage.action") == ["revise", "default"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facts": None}, "facts is missing"),
        ({"facts": []}, "facts must be a list of one or more texts"),
        ({"facts": ["Open all day.", 7]}, "facts must be a list of one or more texts"),
        ({"facts": "Open all day."}, "facts must be a list of one or more texts"),
        ({"product": "  "}, "product must be a text"),
        ({"platforms": ["twitter", "pigeon"]}, f"platforms has 'pigeon', which is none of {', '.join(PLATFORMS)}"),
        ({"forbidden_phrases": ["synergy"]}, "forbidden_phrases must be an object of texts"),
        ({"forbidden_phrases": {"synergy": ""}}, "forbidden_phrases must be an object of texts"),
        ({"max_revisions": -1}, "max_revisions must be a number from 0"),
        ({"max_revisions": True}, "max_revisions must be a number from 0"),
    ],
)
def test_a_bad_brief_is_told_by_its_field(
    example: Example, telemetry: Telemetry, changes: dict[str, Any], message: str
) -> None:
    path = example.brief_with(**changes)
    assert example.main(path) == (2, "", f"pr_campaign: {path}: {message}\n")
    assert not example.out.exists()
    assert telemetry.spans() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, ": No such file or directory"),
        (b"{", " is not JSON: Expecting property name"),
        (b"\xff", " is not JSON: 'utf-8' codec can't decode"),
        (b"[]", " must hold an object with product, topic, audience, "),
    ],
)
def test_a_brief_that_is_none_is_told(example: Example, tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "brief.json"
    if content is not None:
        path.write_bytes(content)
    code, printed, told = example.main(path)
    assert (code, printed) == (2, "")
    assert told.startswith(f"pr_campaign: {path}{message}")


def test_a_file_that_cannot_be_written_is_told(example: Example, telemetry: Telemetry, tmp_path: Path) -> None:
    example.out = tmp_path
    code, printed, told = example.main()
    assert (code, printed) == (1, "")
    assert told.startswith("pr_campaign: ")
    assert str(tmp_path) in told
    assert attribute(telemetry, "stage agency_director", "stage.result") == ["failure"]


@pytest.mark.parametrize("command", [["{script}"], ["-m", "otel_progress", "run", "{script}"]])
def test_it_runs_as_a_program(tmp_path: Path, command: list[str]) -> None:
    arguments = [part.format(script=SCRIPT) for part in command]
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == PLATFORMS
    assert (tmp_path / "pr_campaign_pieces.json").exists()
    assert (done.stderr == "") == (len(command) == 1)


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_each_visit_is_one_span(example: Example, telemetry: Telemetry) -> None:
    assert example.main()[0] == 0
    loop = "stage style_editor, stage style_compliance, "
    assert repr(telemetry.trees()) == (
        f"[run pr_campaign[stage engagement_manager, stage content_generation, {loop * 3}"
        "stage fact_check[attempt 1], stage agency_director]]"
    )
    for repeated in ("stage style_editor", "stage style_compliance"):
        assert attribute(telemetry, repeated, "stage.visit") == [1, 2, 3]
        assert attribute(telemetry, repeated, "stage.revision") == [0, 1, 2]
        visits = telemetry.spans(repeated)
        assert [linked(span, "repeats") for span in visits] == [
            [],
            [visits[0].context],
            [visits[1].context],
        ]
    assert attribute(telemetry, "stage style_compliance", "stage.action") == ["revise", "revise", "default"]
    assert attribute(telemetry, "stage content_generation", "stage.budget") == [120.0]
    for span in telemetry.spans("stage "):
        assert (span.attributes or {})["otel_progress.stage.platforms"] == tuple(PLATFORMS), span.name
    assert {span.status.status_code.name for span in telemetry.spans("stage ")} == {"UNSET"}


def test_the_fact_check_has_one_retry(example: Example, telemetry: Telemetry) -> None:
    assert example.main()[0] == 0
    attempt = telemetry.span("attempt 1")
    attributes = dict(attempt.attributes or {})
    assert (attributes["error.type"], attributes["otel_progress.stage.attempts"]) == ("FactError", 1)
    assert attempt.status.status_code.name == "ERROR"
    assert attribute(telemetry, "stage fact_check", "stage.attempts") == [2]
    assert attribute(telemetry, "stage fact_check", "stage.result") == ["success"]
    assert telemetry.points("otel_progress.stage.retries") == [
        ({"workflow.name": "pr_campaign", "stage.name": "fact_check", "error.type": "FactError"}, 1)
    ]


def test_the_progress_is_in_the_store(example: Example) -> None:
    progress = example.store()["progress_metrics"]
    told = ("visits", "revisions", "retries", "items_done", "items_total", "versions")
    assert {name: tuple(entry[field] for field in told) for name, entry in progress.items()} == {
        "engagement_manager": (1, 0, 0, 0, None, []),
        "content_generation": (1, 0, 0, 6, 6, ["v1"]),
        "style_editor": (3, 2, 0, 0, None, ["v2", "v3", "v4"]),
        "style_compliance": (3, 2, 0, 0, None, []),
        "fact_check": (1, 2, 1, 0, None, ["v5"]),
        "agency_director": (1, 2, 0, 0, None, []),
    }
    assert list(progress) == STAGES
    assert {name: entry["platforms"] for name, entry in progress.items()} == (dict.fromkeys(STAGES, 6))
    for entry in progress.values():
        assert (entry["completed"], entry["result"], entry["error"]) == (True, "success", None)
        assert entry["start_time"] == entry["end_time"] == "2025-08-28T10:45:00+00:00"  # The clock of the tests.


def test_the_first_stage_learns_its_platforms(example: Example) -> None:
    assert example.store()["progress_metrics"]["engagement_manager"]["platforms"] == 6


def test_the_metrics_count_what_was_done(example: Example, telemetry: Telemetry) -> None:
    assert example.main()[0] == 0
    visits = Counter[tuple[str, str]]()
    for attributes, (_, count) in telemetry.points("otel_progress.stage.duration"):
        visits[attributes["stage.name"], attributes["visit"]] += count
    assert visits == {
        **{(name, "first"): 1 for name in STAGES},
        ("style_editor", "repeat"): 2,
        ("style_compliance", "repeat"): 2,
    }
    items = telemetry.points("otel_progress.stage.items")
    assert {attributes["item.platform"]: count for attributes, count in items} == dict.fromkeys(PLATFORMS, 1)
    assert telemetry.points("otel_progress.run.revisions") == [({"workflow.name": "pr_campaign"}, (2, 1))]
    assert telemetry.points("otel_progress.run.platforms") == [({"workflow.name": "pr_campaign"}, (6, 1))]
    assert telemetry.points("otel_progress.stage.budget") == [
        ({"workflow.name": "pr_campaign", "stage.name": "content_generation"}, 120.0)
    ]


# --- a model that writes the drafts -----------------------------------------------------------------------------------


class Model:
    """A chat completions API on this machine: gives the answers in turn, then `CLEAN`, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.asked.append((self.path, self.headers["Authorization"], body))
                status, answer = model.answers.pop(0) if model.answers else (200, completion(CLEAN))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer.encode())))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def completion(text: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    made = Model()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PR_CAMPAIGN_LLM_URL", made.url)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_model_writes_the_drafts(
    example: Example, telemetry: Telemetry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PR_CAMPAIGN_LLM_MODEL", "tiny")
    monkeypatch.setenv("PR_CAMPAIGN_LLM_KEY", "sesame")
    assert example.main()[0] == 0
    assert example.delivered("text") == dict.fromkeys(PLATFORMS, CLEAN)
    assert {(path, key, body["model"]) for path, key, body in model.asked} == {
        ("/v1/chat/completions", "Bearer sesame", "tiny")
    }
    prompts = [body["messages"][0]["content"] for _, _, body in model.asked]
    assert [prompt.split()[2] for prompt in prompts] == PLATFORMS
    assert "Never say: game-changing, leverage, synergy, seamless." in prompts[0]
    # Nothing to mend: no repeat, no retry.
    assert repr(telemetry.trees()) == f"[run pr_campaign[{', '.join(f'stage {name}' for name in STAGES)}]]"


def test_an_answer_500_is_asked_for_again(example: Example, telemetry: Telemetry, model: Model) -> None:
    model.answers = [(200, completion(CLEAN)), (500, "overloaded")]
    shared = example.store()
    assert example.delivered("text") == dict.fromkeys(PLATFORMS, CLEAN)
    assert len(model.asked) == 7
    assert model.asked[1] == model.asked[2]
    entry = shared["progress_metrics"]["content_generation"]
    assert [entry[field] for field in ("result", "retries", "items_done", "items_total")] == ["success", 1, 6, 6]
    attempt = telemetry.span("attempt 1 bluesky")
    assert attempt.status.description == f"{model.url}/chat/completions answered 500 Internal Server Error"
    assert attribute(telemetry, "stage content_generation", "stage.attempts") == [7]


def test_a_models_long_cliche_is_mended_too(example: Example, telemetry: Telemetry, model: Model) -> None:
    model.answers = [(200, completion("Leverage Tidewise — " + "for every ferry " * 30))]
    assert example.main()[0] == 0
    text = example.delivered("text")["twitter"]
    assert text == "Use Tidewise, " + "for every ferry " * 16 + "for every…"
    assert len(text) == 280
    assert attribute(telemetry, "stage style_editor", "stage.visit") == [1, 2, 3]


def test_what_a_model_makes_up_is_struck(example: Example, telemetry: Telemetry, model: Model) -> None:
    made_up = f"{CLEAN} Commuters saved 412 hours. The mayor of Atlantis cheers."
    near = "In the Larkhaven trial, missed crossings fell by 98% in 12 weeks."
    model.answers = [(200, completion(made_up)), (200, completion(near))]
    assert example.main()[0] == 0
    pieces = example.delivered("text")
    assert pieces["twitter"] == CLEAN
    assert pieces["bluesky"] == near.replace("98%", "37%")
    assert attribute(telemetry, "stage fact_check", "stage.attempts") == [2]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((503, "later"), "answered 503 Service Unavailable"),
        ((200, "<html>"), "gave no chat completion: JSONDecodeError("),
        ((200, '{"choices": []}'), "gave no chat completion: IndexError("),
        ((200, completion(" ")), "gave an empty text"),
    ],
)
def test_a_model_that_fails_ends_the_run(
    example: Example, telemetry: Telemetry, model: Model, answer: tuple[int, str], message: str
) -> None:
    model.answers = [answer] * 3
    code, printed, told = example.main()
    assert (code, printed) == (1, "")
    assert told.startswith(f"pr_campaign: {model.url}/chat/completions {message}")
    assert not example.out.exists()
    assert len(model.asked) == 3
    assert repr(telemetry.trees()) == (
        "[run pr_campaign[stage engagement_manager, stage content_generation["
        "attempt 1 twitter, attempt 2 twitter, attempt 3 twitter]]]"
    )
    assert attribute(telemetry, "stage content_generation", "stage.result") == ["failure"]
    assert attribute(telemetry, "run pr_campaign", "result") == ["failure"]


def test_a_model_that_is_not_there_is_told(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PR_CAMPAIGN_LLM_URL", "localhost/v1")
    code, _, told = example.main()
    assert code == 1
    assert told.startswith("pr_campaign: localhost/v1/chat/completions gave no chat completion: ValueError(")


RECORDED = EXAMPLES / "recorded"


def test_the_recorded_campaigns_are_read_whole() -> None:
    found = read(RECORDED)
    runs = list(found)
    assert not found.problems.found
    assert [run.result for run in runs] == ["success"] * 24
    assert {tuple(stage.name for stage in run.stages) for run in runs} == {tuple(STAGES)}
    told = [path.read_text("utf-8") for path in RECORDED.rglob("spans.jsonl")]
    versions = [set(re.findall(r'"service.version","value":{"stringValue":"([^"]*)"', text)) for text in told]
    assert Counter(map("".join, versions)) == {"1.3.0": 12, "1.4.0": 12}
    named = re.findall(r'File \\"(\S*)/\w+\.py', "".join(told))
    assert set(named) == {"/home/you/otel_progress/examples", "/home/you/otel_progress/otel_progress/ways"}


def test_a_campaign_to_be_recorded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)  # Which removes it, and what was imported from there, in the end.
    spec = importlib.util.spec_from_file_location("record_campaigns", EXAMPLES / "record_campaigns.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    slept: list[float] = []
    replaced = importlib.import_module("pr_campaign")
    for name in ("draft", "mended", "corrected"):
        monkeypatch.setattr(replaced, name, getattr(replaced, name))
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", slept.append)
    monkeypatch.setattr(module, "BUSY", 0)
    assert module.campaign("1.4.0", "a seed") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == PLATFORMS
    assert len(slept) > len(PLATFORMS)

"""README, docs and CONTRIBUTING say what is so: every name, every table, every block of code."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from pocketflow import BatchNode, Flow, Node

from otel_progress import PocketFlowInstrumentor, ProgressTrackerNode, Visit, configure, names, stage, workflow
from otel_progress.compare import model as compared
from otel_progress.compare.summary import Summary
from otel_progress.recording.settings import DETAILS, Settings
from otel_progress.runs import model

from .conftest import Telemetry
from .said import without_lines

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
COMPARE = ROOT / "docs" / "compare.md"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    path
    for path in ROOT.glob("docs/**/*.md")
    if "node_modules" not in path.parts  # Of the preview's libraries.
)
CI = ROOT / ".ci" / "run"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


# --- reading the pages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    mark: str
    """What the HTML comment on the line above says."""
    line: int
    """Number of its first line, from 0."""
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text("utf-8").splitlines()
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    blocks: list[Block] = []
    for start, end in zip(fences[::2], fences[1::2], strict=True):
        comment = re.fullmatch(r"<!-- (.*) -->", lines[start - 1].strip())
        inside = slice(start + 1, end)
        blocks.append(Block(lines[start].strip("` "), comment[1] if comment else "", start + 1, lines[inside]))
    return blocks


Row = dict[str, str]


def tables_of(page: Path, heading: str) -> list[list[Row]]:
    """The tables under a heading, each row by the names of its columns."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    sections = re.split(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    body = dict(zip(sections[1::2], sections[2::2], strict=True))[heading]
    tables: list[list[Row]] = []
    for lines in re.findall(r"(?:^\|.*\|\n)+", body, flags=re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines.splitlines()]
        tables.append([dict(zip(head, row, strict=True)) for row in rows])
    return tables


def table(heading: str, *columns: str) -> dict[str, Row]:
    """The first table under a heading of the reference, by what stands in code in its first columns."""
    found: dict[str, Row] = {}
    for row in tables_of(REFERENCE, heading)[0]:
        key = " ".join(code(row[column])[0] for column in columns)
        assert key not in found, f"{key} stands twice under {heading}"
        found[key] = row
    return found


def code(cell: str) -> list[str]:
    """What a cell says in code."""
    return re.findall(r"`([^`]+)`", cell)


def constants() -> dict[str, str]:
    """The constants of `names` that are names."""
    return {
        key: value
        for key, value in vars(names).items()
        if isinstance(value, str) and key.isupper() and not key.startswith("_")
    }


def attribute_names() -> set[str]:
    """Every attribute that the code knows."""
    own = {value for value in constants().values() if value.startswith("otel_progress.")}
    return own - set(names.EVENTS) | {names.ERROR_TYPE, names.CODE_FUNCTION_NAME}


# --- the names, in both directions ------------------------------------------------------------------------------------


def test_every_name_of_the_code_is_in_the_reference() -> None:
    said = set(code(re.sub(r"```.*?```", "", REFERENCE.read_text("utf-8"), flags=re.DOTALL)))
    words = {word for each in said for word in each.split()}
    assert {value for value in constants().values() if value not in words} == set()
    assert {metric.name for metric in names.METRICS} | set(names.ENVIRONMENT) <= said


@every_page
def test_a_page_says_no_name_that_the_code_lacks(page: Path) -> None:
    text = page.read_text("utf-8")
    known = attribute_names() | {metric.name for metric in names.METRICS} | set(names.EVENTS)
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "otel_progress").rglob("*.py")]
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files}
    for name in re.findall(r"\botel_progress(?:\.[a-z_]+)+", text):
        assert name in known or name in modules or name.removesuffix(".py") in modules, name
    for name in re.findall(r"\bOTEL_PROGRESS_[A-Z_]*[A-Z]", text):
        assert name in (*names.ENVIRONMENT, *names.COMMAND_ENVIRONMENT), name
    translated = {metric.prometheus for metric in names.METRICS} | {names.label(name) for name in attribute_names()}
    for name in re.findall(r"\botel_progress(?:_[a-z]+)+", text):
        series = re.sub("_(bucket|sum|count)$", "", name)
        assert name in translated or series in translated, name


def test_spans() -> None:
    said = [code(row["span"]) for row in tables_of(REFERENCE, "Spans")[0]]
    assert said == [
        [f"{names.SPAN_RUN} {{workflow}}"],
        [f"{names.SPAN_STAGE} {{stage}}"],
        [f"{names.SPAN_ATTEMPT} {{number}}", f"{names.SPAN_ATTEMPT} {{number}} {{platform}}"],
        list(names.SPAN_PHASES),
        [names.SPAN_WAIT],
        [names.SPAN_ITEM],
    ]
    assert "`INTERNAL`" in REFERENCE.read_text("utf-8")


def test_results() -> None:
    assert set(table("Results", "result")) == set(get_args(names.Result))
    assert [name for name, row in table("Results", "result").items() if row["`completed` in the mirror"] == "true"] == [
        "success",
        "fallback",
    ]


def test_metrics() -> None:
    said = table("Metrics", "metric")
    assert list(said) == [metric.name for metric in names.METRICS]
    for metric in names.METRICS:
        row = said[metric.name]
        assert row["instrument"] == metric.kind, metric.name
        assert row["unit"] == metric.unit, metric.name
        assert tuple(code(row["attributes"])) == metric.attributes, metric.name
        assert code(row["Prometheus"]) == [metric.prometheus], metric.name


def test_metric_attributes() -> None:
    said = table("Metric attributes", "attribute")
    assert set(said) == {name for metric in names.METRICS for name in metric.attributes}
    assert {name: code(row["Prometheus label"]) for name, row in said.items()} == {
        name: [names.label(name)] for name in said
    }
    assert code(said[names.VISIT]["values"]) == [names.VISIT_FIRST, names.VISIT_REPEAT]
    assert code(said[names.REVISION]["values"]) == [*names.REVISIONS, names.REVISION_UNKNOWN]


def test_buckets() -> None:
    said = {
        name: tuple(float(bound) for bound in row["upper bounds"].split(","))
        for row in tables_of(REFERENCE, "Buckets")[0]
        for name in code(row["metrics"])
    }
    assert said == {metric.name: metric.buckets for metric in names.METRICS if metric.buckets is not None}


def test_attributes() -> None:
    events = {name for key in table("Span events", "event", "attribute") for name in key.split()[1:]}
    told = {
        *table("Pending spans", "attribute"),
        *table("Links", "attribute"),
        *table("Event attributes", "attribute"),
        *table("Event resource", "attribute"),
    } - {"service.name"}
    documented = {*table("Span attributes", "attribute"), *table("Metric attributes", "attribute"), *events, *told}
    assert {name for name in documented if not name.startswith("exception.")} == attribute_names()


def test_events() -> None:
    assert tuple(table("Events", "event")) == names.EVENTS


def test_mirror_and_run_fields() -> None:
    assert tuple(table('`shared["progress_metrics"]`', "field")) == names.MIRROR_FIELDS
    assert tuple(table('`shared["progress_run"]`', "field")) == names.RUN_FIELDS


def test_own_environment() -> None:
    said = table("Environment: OTEL_PROGRESS_*", "variable")
    assert tuple(said) == names.ENVIRONMENT
    for variable, row in said.items():
        default = getattr(Settings(), variable.removeprefix("OTEL_PROGRESS_").lower())
        assert row["default"] == (f"`{str(default).lower()}`" if default not in ((), None, {}) else "")
    assert tuple(code(said[names.OTEL_PROGRESS_DETAIL]["values"])) == DETAILS


def test_the_readme_says_the_same_of_the_environment() -> None:
    said = table("Environment: OTEL_PROGRESS_*", "variable")
    (rows,) = [rows for rows in tables_of(ROOT / "README.md", "Export") if "variable" in rows[0]]
    for row in rows:
        assert row["default"] == said[code(row["variable"])[0]]["default"]


# --- what a workflow really emits -------------------------------------------------------------------------------------


@dataclass
class Emitted:
    """What the exercise below has emitted."""

    attributes: dict[str, dict[str, str]]
    """By name: the kinds of span that it was on, and its type there."""
    events: dict[str, str]
    """By `event attribute`: its type."""
    metrics: dict[str, set[str]]
    """By name: the attributes of its points."""
    entries: list[dict[str, Any]]


TYPES: Mapping[type, str] = {str: "string", int: "int", float: "double", tuple: "string[]", bool: "bool"}


@stage("craft", budget="2m")
class Craft(BatchNode):  # type: ignore[type-arg]
    """Fails once, keeps a version, counts a revision."""

    def prep(self, shared: Any) -> Any:
        return [{"platform": name, "client": shared["client"]} for name in shared["task_requirements"]["platforms"]]

    def exec(self, prep_res: Any) -> Any:
        with prep_res["client"].start_as_current_span("chat"):
            if prep_res["platform"] == "linkedin" and self.cur_retry == 0:
                raise TimeoutError("busy")

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["version_history"].append({"version_id": "v1", "action": "drafted"})
        shared["quality_control"]["revision_count"] += 1


@stage("check")
class Check(Node):  # type: ignore[type-arg]
    """Falls back."""

    def exec(self, prep_res: Any) -> Any:
        raise ValueError("37%")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> Any:
        return None


@stage("translate")
class Translate(BatchNode):  # type: ignore[type-arg]
    """Fails."""

    def prep(self, shared: Any) -> Any:
        return ["de"]

    def exec(self, prep_res: Any) -> Any:
        raise LookupError(prep_res)


@workflow("drafting")
class Drafting(Flow):  # type: ignore[type-arg]
    """A flow inside the run."""


def exercise(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> Emitted:
    """A workflow in which everything happens that can."""
    monkeypatch.setattr(time, "sleep", telemetry.time.passes)
    found = Emitted({}, {}, {}, [])
    client = telemetry.tracer_provider.get_tracer("a model's client")
    shared: dict[str, Any] = {
        "task_requirements": {"platforms": ["twitter", "linkedin"]},
        "quality_control": {"revision_count": 0},
        "version_history": [],
        "client": client,
    }
    with suppress(LookupError), workflow("pr_campaign", shared=shared):
        with client.start_as_current_span("between stages"):
            pass
        for _ in range(2):
            craft, check = Craft(max_retries=2, wait=1), Check()
            craft.next(check)
            check.next(craft, "again")  # And nothing for what it returns.
            with pytest.warns(UserWarning, match="Flow ends"):
                Drafting(start=craft).run(shared)
        with stage("publish") as visit:
            visit.platform("twitter")
            visit.advance(total=2)
            with visit.waiting("approval"):
                telemetry.time.passes(1)
            found.entries += json.loads(json.dumps(shared["progress_metrics"])).values()
            read_points(telemetry.reader, found)
        with suppress(KeyboardInterrupt), stage("wait"):
            raise KeyboardInterrupt
        stage("left open").__enter__()
        Flow(start=Translate()).run(shared)
    found.entries += json.loads(json.dumps(shared["progress_metrics"])).values()
    read_points(telemetry.reader, found)
    read_spans(telemetry.spans(), found)
    return found


def kind_of(span: ReadableSpan) -> str:
    """The word by which the reference calls a span."""
    word = span.name.partition(" ")[0]
    if span.instrumentation_scope is None or span.instrumentation_scope.name != names.SCOPE:
        return "other"
    return "phase" if word in names.SPAN_PHASES else word


def read_spans(spans: Iterable[ReadableSpan], found: Emitted) -> None:
    """Add what they carry."""
    for span in spans:
        kind = kind_of(span)
        for name, value in (span.attributes or {}).items():
            found.attributes.setdefault(name, {})[kind] = TYPES[type(value)]
        for event in span.events if kind != "other" else ():
            for name, value in (event.attributes or {}).items():
                found.events[f"{event.name} {name}"] = TYPES[type(value)]


def read_points(reader: InMemoryMetricReader, found: Emitted) -> None:
    """Add the attributes that the points have now."""
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        seen = found.metrics.setdefault(metric.name, set())
        for point in metric.data.data_points:
            seen.update(point.attributes or {})


@pytest.fixture
def emitted(telemetry_with: Callable[[Settings], Telemetry], monkeypatch: pytest.MonkeyPatch) -> Emitted:
    """Everything, with every span that can be asked for."""
    return exercise(telemetry_with(Settings(detail="all")), monkeypatch)


def test_the_attributes_of_spans_are_those_that_are_emitted(emitted: Emitted) -> None:
    said = {
        name: dict.fromkeys(sorted(row["on"].split(", ")), row["type"])
        for name, row in table("Span attributes", "attribute").items()
    }
    assert {name: dict(sorted(on.items())) for name, on in emitted.attributes.items()} == said
    assert emitted.events == {name: row["type"] for name, row in table("Span events", "event", "attribute").items()}


def test_without_messages_the_events_lack_what_the_reference_says(
    telemetry_with: Callable[[Settings], Telemetry], monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted = exercise(telemetry_with(Settings(detail="all", capture_messages=False)), monkeypatch)
    lacking = {
        name
        for name, row in table("Span events", "event", "attribute").items()
        if names.OTEL_PROGRESS_CAPTURE_MESSAGES in row["absent"]
    }
    assert set(table("Span events", "event", "attribute")) - set(emitted.events) == lacking


def test_an_attribute_that_is_never_absent_never_is(
    telemetry_with: Callable[[Settings], Telemetry], monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = telemetry_with(Settings(detail="none"))
    exercise(telemetry, monkeypatch)
    always = {name for name, row in table("Span attributes", "attribute").items() if row["absent"].startswith("never")}
    on = {name: row["on"].split(", ") for name, row in table("Span attributes", "attribute").items()}
    for span in telemetry.spans():
        missing = {name for name in always if kind_of(span) in on[name]} - set(span.attributes or {})
        assert not missing, span.name


def test_the_metrics_are_those_that_are_emitted(emitted: Emitted) -> None:
    said = {name: set(code(row["attributes"])) for name, row in table("Metrics", "metric").items()}
    assert emitted.metrics == said


def test_the_fields_of_the_mirror_are_as_the_reference_says(emitted: Emitted) -> None:
    said = table('`shared["progress_metrics"]`', "field")
    absent: set[str] = set()
    null: set[str] = set()
    for entry in emitted.entries:
        absent.update(field for field in said if field not in entry)
        assert not set(entry) - set(said)
        for field, value in entry.items():
            expected = said[field]["type"]
            if value is None:
                null.add(field)
            elif expected == "string[]":
                assert isinstance(value, list)
                assert all(isinstance(each, str) for each in cast("list[Any]", value))
            else:
                assert type(value).__name__ == {"string": "str"}.get(expected, expected), field
    column = {field: row["null or absent"] for field, row in said.items()}
    assert absent == {field for field, text in column.items() if text.startswith("absent")}
    assert null <= {field for field, text in column.items() if text.startswith("null")}
    assert null >= {"result", "error", "items_total"}


class Watched(dict[str, Any]):
    """A store that notes which of its keys are read."""

    def __init__(self, path: str, values: Mapping[str, Mapping[str, Any]], seen: set[str]) -> None:
        super().__init__({key: Watched(f"{key}.", value, seen) for key, value in values.items()})
        self.path, self.seen = path, seen

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(self.path + key)
        return super().get(key, default)


def test_what_is_read_from_the_store(telemetry: Telemetry) -> None:
    seen: set[str] = set()
    nothing: dict[str, Any] = {"quality_control": {}, "task_requirements": {}, "workflow_state": {}}
    shared = Watched("", nothing, seen)
    with workflow("pr_campaign", shared=shared), stage("draft"):
        ProgressTrackerNode().run(shared)
    said = [name for row in tables_of(REFERENCE, "What is read from `shared`")[0] for name in code(row["where"])]
    holders = {name.partition(".")[0] for name in said if "." in name}
    assert seen - holders == set(said)


# --- the variables of OpenTelemetry -----------------------------------------------------------------------------------

WATCH = """
import os

seen = set()
get = os._Environ.__getitem__

def watched(self, key):
    seen.add(key)
    return get(self, key)

os._Environ.__getitem__ = watched
from otel_progress import configure
configure("watched", exit_timeout=0.1)
print(*sorted(key for key in seen if isinstance(key, str) and key.startswith("OTEL_")), flush=True)
os._exit(0)
"""


def test_the_standard_variables_are_those_that_configure_reads() -> None:
    read: set[str] = set()
    for protocol in ("http/protobuf", "grpc"):
        asked = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "1",
        }
        read.update(run([sys.executable, "-c", WATCH], env=environment(None) | asked).stdout.split())
    said = {
        name.replace("<SIGNAL>", signal)
        for row in tables_of(REFERENCE, "Environment: OTEL_*")[0]
        for name in code(row["variable"])
        for signal in ("TRACES", "METRICS", "LOGS")
    }
    theirs = {name for name in read if name.startswith("OTEL_PYTHON_")}
    assert read - theirs - set(names.ENVIRONMENT) == said


# --- arguments and options --------------------------------------------------------------------------------------------


def test_the_arguments_of_stage_and_workflow() -> None:
    for rows, function in zip(tables_of(REFERENCE, "`stage` and `workflow`"), (stage, workflow), strict=True):
        assert arguments(rows) == parameters(function)


def test_the_arguments_of_configure_and_the_tracker() -> None:
    assert arguments(tables_of(REFERENCE, "`configure`")[0]) == parameters(configure)
    assert arguments(tables_of(REFERENCE, "`ProgressTrackerNode`")[0]) == parameters(ProgressTrackerNode)


def test_the_arguments_of_the_instrumentor() -> None:
    said = [name for row in tables_of(REFERENCE, "`PocketFlowInstrumentor`")[0] for name in code(row["argument"])]
    listed = re.findall(r"^- ((?:`\w+`(?:, )?)+):", inspect.getdoc(PocketFlowInstrumentor) or "", flags=re.MULTILINE)
    assert sorted(said) == sorted(name for line in listed for name in code(line))


def test_the_methods_of_a_visit() -> None:
    said = [code(row["method"])[0] for row in tables_of(REFERENCE, "A visit")[0]]
    for call in said:
        name = call.removeprefix("visit.").partition("(")[0]
        signature = inspect.signature(getattr(Visit, name))
        bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
        assert call == f"visit.{name}{inspect.Signature(bare[1:])}"


def arguments(rows: Iterable[Row]) -> dict[str, Any]:
    """A table of arguments with their defaults."""
    return {code(row["argument"])[0]: ast.literal_eval(row["default"]) for row in rows}


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a function with their defaults."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize(
    ("command", "page", "heading"),
    [
        ("run", REFERENCE, "Command line"),
        *((name, REFERENCE, f"`otel-progress {name}`") for name in ("runs", "show", "watch", "report")),
        *((name, COMPARE, f"`otel-progress {name}`") for name in ("compare", "bench")),
        ("ui", ROOT / "docs" / "ui.md", "`otel-progress ui`"),
    ],
)
def test_the_options_of_the_command_line(command: str, page: Path, heading: str, tmp_path: Path) -> None:
    shown = run([sys.executable, "-m", "otel_progress", command, "--help"], env=environment(tmp_path)).stdout
    options = shown.partition("options:")[2].partition("\nexamples:")[0]
    said = [name for row in tables_of(page, heading)[0] for name in code(row["option"])]
    found = re.findall(r"^  (?:(-\w), )?(--?[a-z][a-z-]*)", options, flags=re.MULTILINE)
    assert {name for names in found for name in names if name} == set(said)


def test_the_model_of_a_run() -> None:
    said = {name: code(row["fields"]) for name, row in table("The model", "object").items()}
    objects = (model.Run, model.Stage, model.Visit, model.Attempt, model.Wait, model.Item, model.Version, model.Link)
    assert said == {each.__name__: [field.name for field in fields(each)] for each in objects}


def test_the_objects_of_a_comparison() -> None:
    said = {code(row["object"])[0]: code(row["fields"]) for row in tables_of(COMPARE, "JSON")[0]}
    objects = (compared.WorkflowComparison, compared.Side, compared.Row, compared.Change, Summary)
    assert said == {each.__name__: [field.name for field in fields(each)] for each in objects}


def test_the_states() -> None:
    assert tuple(table("States", "state")) == get_args(model.State)


# --- the blocks -------------------------------------------------------------------------------------------------------


def environment(folder: Path | None) -> dict[str, str]:
    """A clean environment: no collector, the commands of this Python first on the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "COLUMNS"))}
    home = {} if folder is None else {"HOME": str(folder)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return kept | home | {"PATH": path, "COLUMNS": "100", "PYTHONUTF8": "1"}


def run(command: list[str], *, env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run(
        command,
        check=False,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@every_page
def test_every_block_is_tested(page: Path) -> None:
    for block in blocks_of(page):
        word = block.mark.partition(":")[0]
        assert (block.kind, word) in {
            ("python", ""),
            ("python", "framework"),  # By tests/frameworks, in an environment that has it.
            ("sh", ""),
            ("sh", "ci"),
            ("json", "shows"),
            ("text", "picture"),
        }, f"{page.name}:{block.line}"


@every_page
def test_the_python_blocks_run_in_order(page: Path, tmp_path: Path) -> None:
    """One program for each page, its lines where they stand on the page; `shows` blocks are what it then holds."""
    blocks = [block for block in blocks_of(page) if not block.mark.startswith("framework:")]
    if not any(block.kind == "python" for block in blocks):
        return
    program = [""] * len(page.read_text("utf-8").splitlines())
    program[0] = "import json as _json; _shown = []"
    expected: list[Any] = []
    for block in blocks:
        if block.kind == "python":
            program[block.line : block.line + len(block.lines)] = block.lines
        elif block.kind == "json":
            expression = block.mark.removeprefix("shows:").strip()
            program[block.line] = f"_shown.append(_json.loads(_json.dumps({expression})))"
            expected.append(json.loads(block.text))
    shown = tmp_path / "shown.json"
    program.append(f"with open({str(shown)!r}, 'w') as _file: _file.write(_json.dumps(_shown))")
    script = tmp_path / f"{page.stem}.py"
    script.write_text("\n".join(program), "utf-8")
    quiet = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "PYTHONWARNINGS": "error"}
    done = run([sys.executable, str(script)], env=environment(tmp_path) | quiet, cwd=tmp_path)
    assert done.stderr == ""
    assert alike(json.loads(shown.read_text("utf-8"))) == alike(expected)


def alike(value: Any) -> Any:
    """A JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return [(key, alike(each)) for key, each in cast("dict[str, Any]", value).items()]
    if isinstance(value, list):
        return [alike(each) for each in cast("list[Any]", value)]
    if isinstance(value, float):
        return "seconds"
    if isinstance(value, str):
        if re.fullmatch("[0-9a-f]{32}", value):
            return "id"
        with suppress(ValueError):
            return datetime.fromisoformat(value).tzinfo
    return value


def shell_blocks() -> list[Any]:
    """The shell blocks that are not left to the CI run."""
    return [
        pytest.param(line, id=f"{page.name}:{block.line + offset}")
        for page in PAGES
        for block in blocks_of(page)
        if block.kind == "sh" and not block.mark
        for offset, line in enumerate(block.lines)
    ]


@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are for a POSIX shell")
@pytest.mark.parametrize("command", shell_blocks())
def test_the_commands_run(command: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    run(["bash", "-euo", "pipefail", "-c", command], env=environment(tmp_path), cwd=tmp_path)


def test_ci_takes_its_commands_from_the_pages() -> None:
    script = CI.read_text("utf-8")
    taken = set(re.findall(r"\$\(block (\S+) (\S+)\)", script))
    marked = {
        (page.relative_to(ROOT).as_posix(), block.mark.removeprefix("ci: ")): block.lines
        for page in PAGES
        for block in blocks_of(page)
        if block.mark.startswith("ci:")
    }
    assert taken == set(marked)
    for lines in marked.values():
        for line in lines:
            assert not [part for part in line.split(" && ") if part.strip() in script]


def test_the_picture_is_what_the_command_prints(tmp_path: Path) -> None:
    (command,) = [block.text for block in blocks_of(ROOT / "README.md") if block.mark == "ci: run"]
    (picture,) = [block.text for block in blocks_of(ROOT / "README.md") if block.mark == "picture"]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    arguments = command.rpartition("otel-progress ")[2].split()
    done = run([sys.executable, "-m", "otel_progress", *arguments], env=environment(tmp_path), cwd=tmp_path)
    assert without_times(without_lines(done.stderr)) == without_times(picture)  # As on a terminal.
    (kept,) = (tmp_path / ".otel-progress" / "runs").iterdir()
    assert str(kept.relative_to(tmp_path)) in done.stderr


def without_times(text: str) -> list[str]:
    """The lines of a table without margins, durations, shares and run files."""
    text = re.sub(r"[\d.]+ (ms|s|min)\b( \d+ s)?", "TIME", text)
    text = re.sub(r"\d+%( [█░]+)?", "SHARE", text)
    text = re.sub(r"(?m)^(Next: .* show) [0-9a-f]{8} .*", r"\1", text)  # What it is that took longest.
    text = re.sub(r"\d{8}T\d{6}Z-(\w+)-[0-9a-f]{6}", r"\1", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


# --- links and lists --------------------------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), target
        assert not anchor or anchor in anchors(other), target


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, hyphens for spaces, no other marks."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_contributing_lists_every_module() -> None:
    (rows,) = tables_of(ROOT / "CONTRIBUTING.md", "Layout")
    said = [name for row in rows for name in code(row["module"])]
    package = ROOT / "otel_progress"
    modules = [path.relative_to(package) for path in package.rglob("*.py")]
    assert sorted(said) == sorted(
        path.as_posix() for path in modules if path.name != "__init__.py" or path.parent.name == ""
    )


def test_the_layout_names_tests_that_there_are() -> None:
    (rows,) = tables_of(ROOT / "CONTRIBUTING.md", "Layout")
    said = {name for row in rows for name in code(row["tests"])}
    assert said <= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert all(row["tests"] for row in rows)


def test_contributing_names_the_sessions_of_nox() -> None:
    (rows,) = tables_of(ROOT / "CONTRIBUTING.md", "Commands")
    said = {name.split(" -s ")[1] for row in rows for name in code(row["command"]) if " -s " in name}
    assert said == set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), flags=re.MULTILINE))


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 235

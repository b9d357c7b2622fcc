"""The table at the end of `otel-progress run`, to the letter."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections import Counter
from typing import Any

import pytest
from pocketflow import BatchFlow, Node
from rich.cells import cell_len
from rich.console import Console

from otel_progress import PocketFlowInstrumentor, progress, stage, workflow
from otel_progress.recording import faults
from otel_progress.recording.visible import visible
from otel_progress.report.table import duration, show
from otel_progress.report.totals import StageTotals, WorkflowTotals, name_within

from .conftest import Telemetry, make_telemetry, using

CAMPAIGN = WorkflowTotals(
    "pr_campaign",
    runs=1,
    seconds=170.0,
    results=Counter(["success"]),
    stages={
        stage.name: stage
        for stage in (
            StageTotals("engagement_manager", 1, 0.0123, 0, 0, 0, Counter(["success"])),
            StageTotals("content_generation", 3, 131.5, 6, 2, 2, Counter(["fallback"])),
            StageTotals("fact_check", 3, 38.4, 6, 2, 0, Counter(["failure"])),
        )
    },
)


def shown(*workflows: WorkflowTotals, width: int = 80, encoding: str = "utf-8") -> str:
    """The table as it is printed into a file, without the blanks at the ends of the lines."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    show(Console(file=file, width=width), workflows)
    file.seek(0)
    return "\n".join(line.rstrip() for line in file.read().splitlines())


def test_in_eighty_columns_everything_is_there() -> None:
    assert (
        shown(CAMPAIGN)
        == """\
                                               plat- revi-
stage               visits    time share       forms sions retries result
engagement_manager       1 12.3 ms   0% ░░░░░░     0     0       0 success
content_generation       3  2m 12s  77% █████░     6     2       2 fallback
fact_check               3 38.40 s  23% █░░░░░     6     2       0 failure
pr_campaign (1 run)      7  2m 50s                 6     2       2 success"""
    )


def test_with_more_room_headers_are_whole() -> None:
    assert shown(CAMPAIGN, width=120).splitlines()[:2] == [
        "stage                visits     time  share        platforms  revisions  retries  result",
        "engagement_manager        1  12.3 ms    0% ░░░░░░          0          0        0  success",
    ]


def test_with_little_room_bars_and_what_matters_least_are_left_out() -> None:
    assert "content_generation       3  2m 12s  77%      6     2       2 fallback" in shown(CAMPAIGN, width=70)
    assert (
        shown(CAMPAIGN, width=60)
        == """\
stage               visits    time share retries result
engagement_manager       1 12.3 ms   0%        0 success
content_generation       3  2m 12s  77%        2 fallback
fact_check               3 38.40 s  23%        0 failure
pr_campaign (1 run)      7  2m 50s             2 success"""
    )
    assert (
        shown(CAMPAIGN, width=40)
        == """\
stage                  time result
engagement_manager  12.3 ms success
content_generation   2m 12s fallback
fact_check          38.40 s failure
pr_campaign (1 run)  2m 50s success"""
    )


@pytest.mark.parametrize("width", [*range(12, 100, 8), 120, 200])
@pytest.mark.parametrize("name", ["content_generation", "content_generation" * 10, "訳" * 60])
def test_names_of_stages_are_whole_at_every_width(name: str, width: int) -> None:
    results = Counter({"success": 11, "abandoned": 1234})
    campaign = WorkflowTotals("pr", 1, 170.0, Counter(["success"]), rework=96.0)
    campaign.stages[name] = StageTotals(name, 1246, 131.5, 6, 2, 2, results, 96.0)
    lines = shown(campaign, width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert name in "".join(line.split(" ")[0] for line in lines)


def test_several_workflows_and_runs() -> None:
    results = Counter({"success": 11, "failure": 1})
    nightly = WorkflowTotals("nightly", 12, 4_320.0, results)
    nightly.stages["extract [all]"] = StageTotals("extract [all]", 12, 4_000.0, 0, 0, 0, results)
    assert shown(CAMPAIGN, nightly).endswith("""
pr_campaign (1 run)      7  2m 50s                 6     2       2 success

extract [all]           12  1h 06m  93% ██████     0     0       0 11 success
                                                                   1 failure
nightly (12 runs)       12  1h 12m                 0     0       0 11 success
                                                                   1 failure""")
    assert " 11 success, 1 failure" in shown(CAMPAIGN, nightly, width=120)


def test_of_very_many_stages_the_slowest_are_shown() -> None:
    many = WorkflowTotals("many", 1, 100.0, Counter(["success"]))
    for number in range(200):
        name = f"stage {number}"
        many.stages[name] = StageTotals(name, 1, 9.0 if number == 150 else 0.25, 0, 0, 1, Counter(["success"]))
    lines = shown(many).splitlines()
    assert len(lines) == 2 + 50 + 1
    assert any(line.startswith("stage 150 ") for line in lines)
    assert lines[-2].startswith("(151 more stages)")
    assert lines[-2].endswith("151 success")
    assert lines[-1].split()[-2:] == ["200", "success"]  # Retries of all.


def test_where_there_are_no_blocks_it_uses_ascii() -> None:
    assert " 77% #####. " in shown(CAMPAIGN, encoding="ascii")


def test_a_workflow_without_stages() -> None:
    assert shown(WorkflowTotals("empty", 1, 0.0, Counter(["success"]))).splitlines()[-1].startswith("empty (1 run)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.00004, "0.0 ms"),
        (0.0123, "12.3 ms"),
        (0.09996, "100 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (59.994, "59.99 s"),
        (59.996, "1m 00s"),
        (3599.4, "59m 59s"),
        (3599.6, "1h 00m"),
        (90_000.0, "25h 00m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_totals_add_up_over_runs(telemetry: Telemetry) -> None:
    totals = WorkflowTotals("campaign")
    for revisions, platforms in ((2, "x, y"), (5, "x")):
        shared = {"quality_control": {"revision_count": revisions}, "task_requirements": {"platforms": platforms}}
        with workflow("campaign", shared=shared) as run:
            with stage("draft"):
                telemetry.time.passes(1.5)
            with pytest.raises(ValueError, match="no"), stage("draft"):
                telemetry.time.passes(0.5)
                raise ValueError("no")
            telemetry.time.passes(1.0)
        totals.add(run)
    assert (totals.runs, totals.seconds, totals.results) == (2, 6.0, Counter({"success": 2}))
    results = Counter({"success": 2, "failure": 2})
    assert totals.stages == {"draft": StageTotals("draft", 4, 4.0, 2, 5, 0, results)}


def test_nine_failures_before_a_success_are_not_hidden(telemetry: Telemetry) -> None:
    totals = WorkflowTotals("agent")
    with workflow("agent") as run:
        for number in range(10):
            with contextlib.suppress(ValueError), stage("try"):
                telemetry.time.passes(1)
                if number < 9:
                    raise ValueError
    totals.add(run)
    assert progress(run)["try"]["results"] == {"failure": 9, "success": 1}
    assert shown(totals, width=120).splitlines()[1].endswith("  9 failure, 1 success")
    assert [line.split()[-2:] for line in shown(totals).splitlines()[2:4]] == [["9", "failure"], ["1", "success"]]


def test_a_run_that_is_joined_after_its_end_is_counted_once(telemetry: Telemetry) -> None:
    totals = WorkflowTotals("w")
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared) as run, stage("a"):
        telemetry.time.passes(2)
    totals.add(run)
    with contextlib.suppress(ValueError), stage("a", shared=shared) as visit:
        telemetry.time.passes(3)
        raise ValueError
    with stage("b", shared=shared):
        telemetry.time.passes(1)
    telemetry.recorder.close()
    totals.add(visit.run, again=True)
    assert (totals.runs, totals.seconds, totals.results) == (1, 6.0, Counter(["success"]))
    assert totals.stages == {
        "a": StageTotals("a", 2, 5.0, results=Counter({"success": 1, "failure": 1})),
        "b": StageTotals("b", 1, 1.0, results=Counter(["success"])),
    }
    assert shared["progress_metrics"]["a"]["visits"] == 2


def test_of_a_run_from_elsewhere_only_what_was_recorded_here_is_counted(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared), stage("a"), stage("b"):
        telemetry.time.passes(2)
        saved = json.dumps(shared)
    for there in using(make_telemetry()):
        totals = WorkflowTotals("w")
        with workflow("w", shared=json.loads(saved)) as run, stage("a"):
            there.time.passes(1)
        totals.add(run)
        assert (totals.runs, totals.seconds) == (1, 1.0)
        assert totals.stages == {"a": StageTotals("a", 1, 1.0, results=Counter(["success"]))}


# --- what revisions cost ----------------------------------------------------------------------------------------------


def test_rework_is_what_repeats_at_a_higher_revision_take(telemetry: Telemetry) -> None:
    totals = WorkflowTotals("w")
    shared: dict[str, Any] = {}
    with workflow("w", shared=shared) as run:
        for revision, seconds in ((None, 10), (None, 20), (1, 3), (1, 2), (2, 1)):
            if revision is not None:
                shared["quality_control"] = {"revision_count": revision}
            with stage("style"):
                telemetry.time.passes(seconds)
                with stage("inside"):  # Counted once in the whole.
                    telemetry.time.passes(0.5)
        with stage("publish"):  # At a high revision, but for the first time.
            telemetry.time.passes(50)
    totals.add(run)
    assert {name: stage.rework for name, stage in totals.stages.items()} == {
        "style": 7.5,
        "inside": 1.5,
        "publish": 0.0,
    }
    assert totals.rework == 7.5
    assert [line[:90].rstrip() for line in shown(totals, width=120).splitlines()] == [
        "stage      visits     time  share        rework  platforms  revisions  retries  result",
        "style           5  38.50 s   44% ███░░░  7.50 s          0          2        0  success",
        "inside          5   2.50 s    3% ░░░░░░  1.50 s          0          2        0  success",
        "publish         1  50.00 s   56% ███░░░       -          0          2        0  success",
        "w (1 run)      11   1m 28s               7.50 s          0          2        0  success",
    ]


def test_other_items_of_a_batch_are_no_rework(telemetry: Telemetry) -> None:
    shared: dict[str, Any] = {"quality_control": {"revision_count": 0}}

    class Each(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            telemetry.time.passes(1)
            shared["quality_control"]["revision_count"] += 1

    class Items(BatchFlow):
        def prep(self, shared: Any) -> list[dict[str, Any]]:
            return [{"platform": "a"}, {"platform": "b"}, {"platform": "a"}]

    PocketFlowInstrumentor().instrument()
    try:
        with workflow("w", shared=shared) as run:
            Items(Each()).run(shared)
    finally:
        PocketFlowInstrumentor().uninstrument()
    assert run.rework == 1.0  # The third: "a" once more, at revision 2.


def test_with_rework_every_width_has_all_of_it() -> None:
    costly = WorkflowTotals("pr_campaign", 1, 170.0, Counter(["success"]), rework=96.0)
    results = Counter({"success": 11, "failure": 1, "abandoned": 1234})
    costly.stages["content_generation"] = StageTotals("content_generation", 1246, 131.5, 6, 2, 2, results, 96.0)
    for width in range(80, 160):
        text = shown(costly, width=width)
        assert "…" not in text
        assert text.count("1m 36s") == 2
        assert width < 86 or text.count("content_generation") == 1
        assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("\x1b[2Jdraft", "\\x1b[2Jdraft"),
        ("\x1b]52;c;cm0=\x07", "\\x1b]52;c;cm0=\\x07"),
        ("two\r\nlines\u2028three", "two\\x0d\\x0alines\\u2028three"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("Übersetzung 訳 👩‍💻", "Übersetzung 訳 👩‍💻"),
    ],
)
def test_what_a_name_holds_does_nothing_to_a_terminal(name: str, expected: str) -> None:
    assert visible(name) == expected
    totals = WorkflowTotals(name, runs=1, stages={name: StageTotals(name, visits=1)})
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    show(console, [totals])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count(expected) == 2
    assert not set(console.file.getvalue()) & set("\x1b\x07\r\x00\x7f\x9b\u2028\u202e\u2066")


NASTY = "a\x1b]52;c;aGk=\x07\nWARNING forged\x00\u202eb\ud800"
SHOWN = r"a\x1b]52;c;aGk=\x07\x0aWARNING forged\x00\u202eb?"


class Nasty:
    """An object of the program that is called so."""

    __qualname__ = NASTY

    def __call__(self, shared: object) -> object:
        raise ValueError(NASTY)


def test_what_is_logged_commands_no_terminal_and_forges_no_line(telemetry: Telemetry) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    faults.logger.addHandler(handler)
    try:
        with stage("a", shared={}, platforms=Nasty()):  # Said with a traceback.
            pass
        faults.report(f"{NASTY} is none")
        faults.logger.warning("%s failed: %s", NASTY, ValueError(NASTY))
        faults.logger.warning("nothing of a program, %d times", 2)
    finally:
        faults.logger.removeHandler(handler)
    lines = written.getvalue().splitlines()
    assert not any(
        re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", line) for line in lines
    )
    said = [re.sub(" at 0x[0-9a-f]+>", ">", line) for line in lines if line.startswith("WARNING")]
    assert said == [
        f"WARNING <tests.test_report.{SHOWN} object> failed to read the store",
        f"WARNING {SHOWN} is none",
        f"WARNING {SHOWN} failed: {SHOWN}",
        "WARNING nothing of a program, 2 times",
    ]
    assert "ValueError: a\\x1b]52;c;aGk=\\x07\n    WARNING forged\\x00\\u202eb?\n" in written.getvalue()


def test_what_is_logged_stays_as_it_is_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("usual")
    except ValueError as error:
        faults.logger.warning("%s of %d", "one", 2, exc_info=error)
    (record,) = caplog.records
    assert (record.msg, record.args, record.exc_info is not None) == ("%s of %d", ("one", 2), True)
    caplog.clear()
    faults.logger.warning("long", exc_info=ValueError("m" * 3_000_000))
    (record,) = caplog.records
    assert len(record.exc_text or "") < 11_000


def test_of_very_many_workflows_the_slowest_are_shown() -> None:
    many = [WorkflowTotals(f"w{number}", 2, float(number % 100), Counter(["success"] * 2)) for number in range(20_000)]
    for each in many:
        each.stages["draft"] = StageTotals("draft", 3, each.seconds, 2, 1, 1, Counter(["success"]))
    lines = shown(*many, width=120).splitlines()
    assert len(lines) == 19 * 3 + 2
    assert lines[2].startswith("w99 (2 runs)")
    name, *values = re.split(r"\s{2,}", lines[-1])
    time = duration(sum(each.seconds for each in many) - 19 * 99)
    assert (name, values) == (
        "19981 more workflows (39962 runs)",
        ["59943", time, "2", "1", "19981", "success"],
    )


def test_totals_keep_so_many_workflows_and_stages(telemetry: Telemetry) -> None:
    totals = WorkflowTotals("w")
    for number in range(30):
        with workflow("w", shared={}) as run:
            for stage_number in range(100):
                with stage(f"{number} {stage_number}"):
                    pass
        totals.add(run)
    assert (len(totals.stages), totals.stages["other"].visits) == (1001, 2000)
    known: dict[str, int] = {}
    for number in range(3000):
        known[name_within(known, f"w{number}")] = number
    assert len(known) == 1001
    assert name_within(known, "w7") == "w7"

"""`otel-progress ui`: the server as it is started, asked over real sockets, honestly and otherwise."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from otel_progress.cli.main import main
from otel_progress.ui.guard import Rules
from otel_progress.ui.streams import MOST

from . import otlp
from .records import campaign, event, record, visit_event
from .said import until
from .ui import RUNS, UI, Served, going_on, recorded, serving, type_in

SECRET = "a secret of enough length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving(folder) as running:
        yield running


# --- what is served ---------------------------------------------------------------------------------------------------


def embedded(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*)</script>', page)
    assert found is not None
    return json.loads(found[1])


def test_the_list_and_the_page_of_a_run(served: Served) -> None:
    page = served.ask()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert [run["id"][0] for run in embedded(page.text)["runs"]] == ["c", "b", "a"]
    for run, result in RUNS.items():
        shown = embedded(served.ask(f"/runs/{run}").text)
        assert (shown["run"]["id"], shown["run"]["result"]) == (run, result)
        told = served.data(f"/data/runs/{run}")
        assert (told["visits"], told["live"]) == (shown["visits"], shown["live"])


def test_the_beginning_of_an_id_leads_to_its_run(served: Served) -> None:
    answer = served.ask("/runs/bb")
    assert (answer.status, answer.headers["location"]) == (307, f"/runs/{'b' * 32}")


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("?state=failure", "b"),
        ("?state=success&state=failure", "cba"),
        ("?state=running", ""),
        ("?workflow=camp*", "cba"),
        ("?workflow=camp", ""),
        ("?since=2025-08-28T10:47Z", "c"),
        ("?until=2025-08-28T10:46:30Z", "a"),
        ("?sort=started", "abc"),
        ("?sort=state", "bca"),
        ("?sort=-state", "cab"),
        ("?page=2", "cba"),  # There is one page: this is the last.
    ],
)
def test_the_address_says_which_runs_in_the_words_of_the_command(
    served: Served, folder: Path, query: str, ids: str
) -> None:
    query = query.replace("Z", "%2B00:00")
    assert served.ids(query) == ids
    if not query.startswith(("?sort", "?page")):
        words = [f"--{pair.replace('%2B', '+')}" for pair in query[1:].split("&")]
        listed = otlp.run(folder, ["-m", "otel_progress", "runs", "--json", *words])
        assert "".join(run["id"][0] for run in json.loads(listed.stdout)) == ids


def test_what_is_wrong_with_an_address_is_said_and_left_out(served: Served) -> None:
    told = served.data("/data/list?since=yesterday&state=gone&state=success&sort=size&page=0&unknown=1")
    assert [each.partition(":")[0] for each in told["wrong"]] == ["since", "state", "sort", "page"]
    assert [run["id"][0] for run in told["runs"]] == ["c", "a"]


def test_a_list_is_sent_a_page_at_a_time(tmp_path: Path) -> None:
    for number in range(120):
        run = f"{number:032x}"
        lines = campaign(run, at=float(number), result="success")
        record(tmp_path / ".otel-progress", f"20250828T104500Z-app-{number:06x}", spans=lines)
    with serving(tmp_path) as running:
        pages = [running.data(f"/data/list?page={number}") for number in (1, 2, 3)]
    assert [(len(page["runs"]), page["first"], page["total"], page["pages"]) for page in pages] == [
        (50, 1, 120, 3),
        (50, 51, 120, 3),
        (20, 101, 120, 3),
    ]
    ids = [int(run["id"], 16) for page in pages for run in page["runs"]]
    assert ids == [*range(119, -1, -1)]


def test_a_time_stands_beside_what_was_usual_before(tmp_path: Path) -> None:
    times = [4.0, 8.0, 6.0, 30.0, 5.0]
    for number, seconds in enumerate(times):
        run = f"{number:032x}"
        ended = {"result": "failure" if number == 3 else "success"}
        lines = [
            event("run.started", at=number * 100.0, run=run),
            event("run.ended", at=number * 100.0 + seconds, run=run, **ended),
        ]
        record(tmp_path / ".otel-progress", f"20250828T104500Z-app-{number:06x}", events=lines)
    with serving(tmp_path) as running:
        shown = {int(run["id"], 16): run for run in running.data("/data/list")["runs"]}
    assert [shown[number]["seconds"] for number in range(5)] == times
    # Of fewer than three nothing is usual; one that failed counts for none.
    assert [shown[number]["usual"] for number in range(5)] == [None, None, None, 6.0, 6.0]


def test_trends_are_the_figures_of_the_report(served: Served, folder: Path) -> None:
    told = served.data("/data/trends?trend=campaign")
    assert (told["read"], told["of"]) == (3, 3)
    assert [point["run"] for point in told["whole"]] == list(RUNS)
    report = json.loads(otlp.run(folder, ["-m", "otel_progress", "report", "--format", "json"]).stdout)
    (workflow,) = report["workflows"]
    stages = {stage["stage"]: stage for stage in workflow["stages"]}
    assert {stage["name"] for stage in told["stages"]} == set(stages)
    for stage in told["stages"]:
        figures, points = stages[stage["name"]], stage["points"]
        assert sum(point["retries"] for point in points) == figures["retries"]
        assert sum(point["seconds"] for point in points) == pytest.approx(figures["seconds"]["total"])
        passed = [point["yield"] for point in points if point["yield"] is not None]
        assert sum(passed) == figures["first_pass"]


def test_a_workflow_without_a_name_has_trends_too(tmp_path: Path) -> None:
    lines = [
        event("run.started", run="a" * 32, workflow__name=""),
        event("run.ended", at=3.0, run="a" * 32, workflow__name="", result="success"),
    ]
    record(tmp_path / ".otel-progress", "20250828T104500Z-app-000000", events=lines)
    with serving(tmp_path) as running:
        assert running.data("/data/list")["trend"] == running.data("/data/list?trend=")["trend"] == ""
        assert [point["seconds"] for point in running.data("/data/trends?trend=")["whole"]] == [3.0]
        assert running.ask("/data/trends").status == 404


def test_where_nothing_is_recorded_yet_it_comes(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        assert running.data("/data/list")["all"] == 0
        with running.events("/events/list") as following:
            following()
            recorded(tmp_path)
            following()
            assert running.ids() == "cba"


def test_a_record_alone_is_served_and_moves(tmp_path: Path) -> None:
    with going_on(tmp_path) as program:
        (place,) = (tmp_path / ".otel-progress" / "runs").iterdir()
        with serving(tmp_path, "--from", str(place)) as running:
            (listed,) = running.data("/data/list")["runs"]
            with running.events(f"/events/runs/{listed['id']}") as of_run:
                of_run()
                type_in(program)
                told_until(of_run, lambda: len(running.data(f"/data/runs/{listed['id']}")["visits"]) == 2)


def test_a_file_that_grows_is_served_and_moves(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl.txt"
    file.write_text(event("run.started", run="a" * 32) + "\n")
    with serving(tmp_path, "--from", file.name) as running, running.events(f"/events/runs/{'a' * 32}") as of_run:
        of_run()
        with file.open("a") as end:
            end.write(event("run.ended", at=5.0, run="a" * 32, result="success") + "\n")
        told_until(of_run, lambda: running.data(f"/data/runs/{'a' * 32}")["run"]["result"] == "success")


def test_a_file_is_served_too(folder: Path, tmp_path: Path) -> None:
    lines = "".join(file.read_text("utf-8") for file in sorted(folder.rglob("spans.jsonl")))
    (tmp_path / "traces.jsonl").write_text(lines, "utf-8")
    with serving(tmp_path, "--from", "traces.jsonl") as running:
        assert running.ids() == "cba"
        assert embedded(running.ask(f"/runs/{'a' * 32}").text)["run"]["result"] == "success"


# --- who may ask, and what for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", f"/runs/{'a' * 32}", "/data/list", "/nothing", "/favicon.ico", "/runs/zz"])
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_every_answer_has_the_headers_that_keep_others_out(served: Served, path: str, host: str) -> None:
    headers = served.ask(path, host=host).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not any(name.startswith("access-control-") for name in headers)
    assert "uvicorn" not in str(headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9000", "[::1]:8765", "LOCALHOST"])
def test_it_answers_to_the_names_of_this_machine(served: Served, host: str) -> None:
    assert served.ask(host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example@127.0.0.1:8765/",
        "127.0.0.1/evil.example",
        "192.168.0.7",
        "[::2]",
        "[",
        "",
    ],
)
def test_it_answers_to_no_other_name(served: Served, host: str) -> None:
    answer = served.ask(host=host)
    assert answer.status == 421
    assert "campaign" not in answer.text


def test_two_hosts_are_none(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=otlp.TIMEOUT) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] in {b"400", b"421"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://127.0.0.1:1"},  # Another server of this machine.
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/data/list", "/events/list"])
def test_pages_of_others_are_not_answered(served: Served, path: str, headers: dict[str, str]) -> None:
    answer = served.ask(path, **headers)
    assert answer.status == 403
    assert "campaign" not in answer.text


def test_its_own_pages_and_links_are_answered(served: Served) -> None:
    assert served.ask("/data/list", Origin=f"http://127.0.0.1:{served.port}").status == 200
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert served.ask(f"/runs/{'a' * 32}", **link).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO"])
def test_there_is_nothing_to_write(served: Served, method: str) -> None:
    for path in ("/", f"/runs/{'a' * 32}", "/data/list"):
        answer = served.ask(path, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_tells_the_same_and_sends_nothing(served: Served) -> None:
    for path in ("/", "/data/list", "/events/list"):
        answer = served.ask(path, "HEAD")
        assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(
    "run",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/index.sqlite",
        "20250828T104500Z-app-000000",
        "20250828T104500Z-app-000000/spans.jsonl",
        "/etc/passwd",
        "%00",
        "%ff%fe",
        "'%20OR%201=1%20--",
        "%25",
        "x" * 5000,
    ],
)
def test_a_run_is_looked_up_and_never_a_path(served: Served, run: str) -> None:
    for path in ("/runs/", "/data/runs/", "/events/runs/"):
        answer = served.ask(path + run)
        assert answer.status == 404
        assert "root:" not in answer.text
        assert "resourceSpans" not in answer.text
        assert "Traceback" not in answer.text


def test_ids_and_names_of_any_kind_are_only_text(tmp_path: Path) -> None:
    hostile = '</script><img src=x onerror=alert(1)>\u2028\U0001f600"'
    runs = ["<script>alert(1)</script>", "a/../b", "a b?c#d%&", "slash", "slash/", "\u202ekcab", "x" * 900, "50%"]
    lines: list[str] = []
    for run in runs:
        lines.append(event("run.started", run=run, workflow__name=hostile))
        lines.append(visit_event("started", hostile, "v1", run=run, workflow__name=hostile))
    record(tmp_path / ".otel-progress", "20250828T104500Z-app-000000", events=lines)
    with serving(tmp_path) as running:
        page = running.ask()
        assert "<img" not in page.text
        assert {(run["id"], run["workflow"]) for run in embedded(page.text)["runs"]} == {(run, hostile) for run in runs}
        for run in runs:
            of_run = running.ask(f"/runs/{quote(run, safe='')}")
            assert "<img" not in of_run.text
            assert embedded(of_run.text)["run"]["id"] == run
            assert running.data(f"/data/details/{quote(run, safe='')}")["traces"] == []


# --- other machines, with a token -------------------------------------------------------------------------------------


def test_other_machines_need_the_token(folder: Path) -> None:
    with serving(folder, "--host", "0.0.0.0") as running:
        found = re.fullmatch(r"http://[^/]+/\?token=([\w-]{32})", running.address)
        assert found is not None
        token = found[1]
        host = f"studio.example:{running.port}"
        refused = running.ask(host=host)
        assert refused.status == 401
        assert "campaign" not in refused.text
        assert running.ask("/?token=wrong", host=host).status == 401
        assert running.ask("/?token=", host=host).status == 401
        assert running.ask("/?token=%ff%00%C3%A9", host=host).status == 401
        assert running.ask("/nothing", host=host).status == 401
        let_in = running.ask(f"/runs/{'a' * 32}?x=1%262&token={token}", host=host)
        assert (let_in.status, let_in.headers["location"]) == (303, f"/runs/{'a' * 32}?x=1%262")
        cookie = let_in.headers["set-cookie"]
        assert set(cookie.lower().split("; ")[1:]) == {"httponly", "path=/", "samesite=strict"}
        name = cookie.partition("=")[0]
        assert running.ask(host=host, Cookie=cookie.partition(";")[0]).status == 200
        assert running.ask(host=host, Cookie=f"{name}=wrong").status == 401
        assert running.ask("/data/list", host=host, Authorization=f"Bearer {token}").status == 200
        assert running.ask("/data/list", host=host, Authorization=f"Basic {token}").status == 401
        # And other pages are not answered with it either.
        assert running.ask(host=host, Cookie=cookie.partition(";")[0], Origin="http://evil.example").status == 403


def test_the_address_with_a_token_leads_nowhere_else(folder: Path) -> None:
    with serving(folder, OTEL_PROGRESS_UI_TOKEN=SECRET) as running:
        for path in (
            "//evil.example/",
            "/\\evil.example/",
            "/%5Cevil.example",
            "//evil.example%2f..",
            "http://evil.example/",
        ):
            answer = running.ask(f"{path}?token={quote(SECRET)}")
            location = answer.headers.get("location", "/")
            assert location.startswith("/")
            assert not location.startswith(("//", "/\\"))


def test_a_token_of_the_user_is_asked_for_here_too_and_not_shown(folder: Path) -> None:
    with serving(folder, OTEL_PROGRESS_UI_TOKEN=SECRET) as running:
        assert running.address.endswith("/?token=...")
        assert running.ask().status == 401
        let_in = running.ask(f"/?token={quote(SECRET)}")
        assert (let_in.status, let_in.headers["location"]) == (303, "/")
        assert running.ask(Cookie=let_in.headers["set-cookie"].partition(";")[0]).status == 200
        running.process.send_signal(signal.SIGINT)
        assert SECRET not in otlp.ended(running.process).stderr


def test_a_token_that_can_be_guessed_is_refused(folder: Path) -> None:
    ended = otlp.run(folder, UI, OTEL_PROGRESS_UI_TOKEN="short")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "OTEL_PROGRESS_UI_TOKEN has fewer than 16 characters" in ended.stderr


def test_a_token_is_compared_in_a_time_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.requests import Request

    from otel_progress.ui import guard

    compared: list[tuple[bytes, bytes]] = []
    before = guard.hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return before(one, other)

    monkeypatch.setattr(guard.hmac, "compare_digest", noted)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"token=abc",
        "headers": [(b"host", b"studio"), (b"authorization", b"Bearer def"), (b"cookie", b"otel-progress=ghi")],
    }
    with pytest.raises(guard.RefusedError):
        Rules(SECRET).check(Request(scope))
    assert [one for one, _ in compared] == [b"abc", b"def", b"ghi"]
    right = [(b"host", b"studio"), (b"authorization", b"Bearer " + SECRET.encode())]
    assert Rules(SECRET).check(Request({**scope, "query_string": b"", "headers": right})) is None
    assert compared[-1] == (SECRET.encode(), SECRET.encode())  # Also where they are the same.


# --- what changes -----------------------------------------------------------------------------------------------------


def told_until(following: Callable[[], str], condition: Callable[[], bool]) -> None:
    """Take events until something is so: each may tell of less than one waits for."""
    while not condition():
        assert following() != "the end"


def test_a_run_of_another_program_is_told_of_as_it_goes_on(tmp_path: Path) -> None:
    with going_on(tmp_path) as program, serving(tmp_path) as running:
        (listed,) = running.data("/data/list")["runs"]
        assert (listed["state"], listed["seconds"]) == ("running", None)
        run = listed["id"]

        def visits() -> list[tuple[str, bool]]:
            return [(visit["stage"], visit.get("open", False)) for visit in running.data(f"/data/runs/{run}")["visits"]]

        with running.events(f"/events/runs/{run}") as of_run, running.events("/events/list") as of_list:
            of_run()  # At once: what is shown may be older than the stream.
            of_list()
            assert visits() == [("extract", True)]
            type_in(program)
            told_until(of_run, lambda: visits() == [("extract", False), ("load", True)])
            type_in(program)
            told_until(of_run, lambda: running.data(f"/data/runs/{run}")["run"]["state"] == "done")
            told_until(of_list, lambda: running.data("/data/list")["runs"][0]["state"] == "done")
        assert otlp.ended(program).returncode == 0


def test_a_run_whose_program_is_killed_is_told_to_have_crashed(tmp_path: Path) -> None:
    with going_on(tmp_path) as program, serving(tmp_path) as running:
        run = running.data("/data/list")["runs"][0]["id"]
        with running.events(f"/events/runs/{run}") as of_run, running.events("/events/list") as of_list:
            of_run()
            of_list()
            program.kill()
            program.wait()
            assert "the end" not in {of_run(), of_list()}
            told_until(of_run, lambda: running.data(f"/data/runs/{run}")["run"]["state"] == "crashed")
            told_until(of_list, lambda: running.data("/data/list")["runs"][0]["state"] == "crashed")


def test_what_cannot_be_looked_at_is_looked_at_again() -> None:
    import asyncio

    from otel_progress.ui.streams import Watched

    answers: list[int | Exception] = [1, ValueError("once"), ValueError("again"), 1, 2]

    class Look:
        async def __call__(self) -> int:
            answer = answers.pop(0) if answers else 2
            if isinstance(answer, Exception):
                raise answer
            return answer

        def close(self) -> None:
            pass

    async def watch() -> list[int]:
        watched = Watched(Look(), lambda: 0.0)
        told = [await watched.after(0), await watched.after(1)]
        watched.stop()
        return told

    assert asyncio.run(watch()) == [1, 2]
    assert answers == []


def test_who_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    with going_on(tmp_path) as program, serving(tmp_path) as running:
        run = running.data("/data/list")["runs"][0]["id"]
        with contextlib.ExitStack() as deaf:
            for path in ("/", "/data/list", f"/runs/{run}", "/events/list", f"/events/runs/{run}"):
                connection = deaf.enter_context(socket.create_connection(("127.0.0.1", running.port)))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            with running.events(f"/events/runs/{run}") as of_run:
                of_run()
                type_in(program)
                told_until(of_run, lambda: len(running.data(f"/data/runs/{run}")["visits"]) == 2)


def test_there_is_room_for_so_many_pages_that_move_and_those_that_are_closed_make_room(served: Served) -> None:
    with contextlib.ExitStack() as pages:
        for _ in range(MOST):
            following = pages.enter_context(served.events("/events/list"))
            following()
        refused = served.ask("/events/list")
        assert refused.status == 503
        assert served.ask().status == 200
    otlp.wait_until(lambda: served.ask("/events/list", "HEAD").status == 200)


def open_files(process: subprocess.Popen[str]) -> int:
    return len([*Path(f"/proc/{process.pid}/fd").iterdir()])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which files are open")
def test_what_nobody_watches_any_more_is_not_kept_open(tmp_path: Path) -> None:
    with going_on(tmp_path), serving(tmp_path) as running:
        run = running.data("/data/list")["runs"][0]["id"]
        before = open_files(running.process)
        for _ in range(5):
            with running.events(f"/events/runs/{run}") as of_run:
                of_run()
        otlp.wait_until(lambda: open_files(running.process) <= before)


# --- how it starts and ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_while_pages_are_open(tmp_path: Path, number: signal.Signals) -> None:
    with going_on(tmp_path), serving(tmp_path) as running:
        run = running.data("/data/list")["runs"][0]["id"]
        with running.events("/events/list") as of_list, running.events(f"/events/runs/{run}") as of_run:
            of_list()
            of_run()
            running.process.send_signal(number)
            assert of_list() == of_run() == "the end"
            ended = otlp.ended(running.process)
    assert ended.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in ended.stderr
    assert "ERROR" not in ended.stderr


def test_it_ends_while_it_reads(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / "slow.py").write_text(
        "import sys, threading\n"
        "from otel_progress.cli.main import main\n"
        "from otel_progress.runs.index import Index\n"
        "begun = threading.Event()\n"
        "def update(self, inputs, problems):\n"
        "    print('reads', flush=True)\n"
        "    threading.Event().wait()\n"
        "Index.update = update\n"
        "sys.exit(main(['ui', '--no-browser', '--port', '0']))\n"
    )
    process = otlp.start(tmp_path, ["slow.py"])
    try:
        assert process.stdout is not None
        running = Served(process, until(process.stdout, "\n").strip())
        with socket.create_connection(("127.0.0.1", running.port)) as asking:
            asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(process.stdout, "reads")
            process.send_signal(signal.SIGINT)
            assert otlp.ended(process).returncode == 130
    finally:
        process.kill()


def test_a_port_that_is_taken_says_by_whom_and_what_to_do(served: Served, folder: Path) -> None:
    ended = otlp.run(folder, [*UI, "--port", str(served.port)])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"port {served.port} is taken by another `otel-progress ui`: http://127.0.0.1:{served.port}/" in ended.stderr
    assert "--port 0" in ended.stderr
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = otlp.run(folder, [*UI, "--port", str(port)])
    assert f"port {port} is taken by another program" in ended.stderr


@pytest.mark.parametrize(("host", "port"), [("no-such-host.invalid", "0"), ("203.0.113.7", "0")])
def test_a_host_that_is_not_this_machine(folder: Path, host: str, port: str) -> None:
    ended = otlp.run(folder, [*UI, "--host", host, "--port", port])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"otel-progress: {host}: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    ended = otlp.run(tmp_path, [*UI, "--port", "0", "--from", "nothing.jsonl"])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "otel-progress: nothing.jsonl: No such file or directory" in ended.stderr


def test_on_a_remote_machine_it_says_how_to_reach_it(folder: Path) -> None:
    with serving(folder, SSH_CONNECTION="198.51.100.2 50000 198.51.100.9 2222") as running:
        assert running.process.stderr is not None
        said = until(running.process.stderr, "and open")
        assert f"ssh -N -L {running.port}:127.0.0.1:{running.port} -p 2222 " in said
        assert "@198.51.100.9\n" in said
        assert f"and open http://127.0.0.1:{running.port}/ there" in said


def test_a_browser_is_opened_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" >"{tmp_path}/new" && mv "{tmp_path}/new" "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    command = [each for each in UI if each != "--no-browser"]
    process = otlp.start(folder, [*command, "--port", "0"], BROWSER=str(browser), SSH_CONNECTION="")
    try:
        assert process.stdout is not None
        address = until(process.stdout, "\n").strip()
        otlp.wait_until((tmp_path / "opened").exists)
        assert (tmp_path / "opened").read_text() == address
    finally:
        process.kill()
        otlp.ended(process)


def test_without_a_screen_no_browser_is_opened(folder: Path) -> None:
    command = [each for each in UI if each != "--no-browser"]
    nothing = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": "", "SSH_CONNECTION": ""}
    process = otlp.start(folder, [*command, "--port", "0"], **nothing)
    try:
        assert process.stderr is not None
        until(process.stderr, "there is no browser here that could be opened: open the address in yours")
    finally:
        process.kill()
        otlp.ended(process)


def test_without_the_extra_the_line_that_installs_it_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["ui"]) == 2
    assert "pip install 'otel-progress[ui]'" in capsys.readouterr().err


def test_nothing_else_brings_the_server(folder: Path) -> None:
    code = (
        "import sys; from otel_progress.cli.main import main; main(['runs']); "
        "print({'starlette', 'uvicorn', 'anyio', 'asyncio'} & set(sys.modules), file=sys.stderr)"
    )
    ended = otlp.run(folder, ["-c", code])
    assert ended.stderr == "set()\n"


def test_what_goes_wrong_is_told_where_it_was_started_and_not_on_the_page(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / "broken.py").write_text(
        "import sys\n"
        "from otel_progress.cli.main import main\n"
        "from otel_progress.ui import app\n"
        "def broken(*_):\n"
        "    raise RuntimeError('inner matters')\n"
        "app.list_document = broken\n"
        "sys.exit(main(['ui', '--no-browser', '--port', '0']))\n"
    )
    process = otlp.start(tmp_path, ["broken.py"])
    try:
        assert process.stdout is not None
        answer = Served(process, until(process.stdout, "\n").strip()).ask()
        assert answer.status == 500
        assert "inner matters" not in answer.text
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        process.send_signal(signal.SIGINT)
        assert "RuntimeError: inner matters" in otlp.ended(process).stderr
    finally:
        process.kill()

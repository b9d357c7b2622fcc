"""The recipes of frameworks that are heavy, run by hand: `nox -s frameworks_heavy`, whose last result is heavy.txt."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .. import otlp
from .recipes import ONCE, blocks, recorded, run_recorded, written


def test_prefect(tmp_path: Path) -> None:
    written("prefect", tmp_path)
    run_recorded(tmp_path, PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_SERVER_ANALYTICS_ENABLED="false")
    assert recorded(tmp_path) == [("nightly", {"extract": {"success": 1, "failure": 1}, "load": ONCE})]


def test_dagster(tmp_path: Path) -> None:
    run_recorded(written("dagster", tmp_path))
    assert recorded(tmp_path) == [("nightly", {"extract": ONCE, "load": ONCE})]


def test_streamlit(tmp_path: Path) -> None:
    written("streamlit", tmp_path)
    (tmp_path / "program.py").write_text(
        "from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py').run()\n"
        "app.button[0].click().run()\n"
        "app.text_input[0].set_value('harbours').run()\n"
        "app.button[0].click().run()\n"
        "assert not app.exception\n"
        "assert [each.value for each in app.markdown] == ['About harbours']\n"
    )
    run_recorded(tmp_path)
    assert recorded(tmp_path) == [("campaign", {"draft": ONCE})] * 2


def notebook(folder: Path, *cells: str) -> Path:
    """A notebook of these cells."""
    made: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "source": text,
        }
        for number, text in enumerate(cells)
    ]
    content = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = folder / "campaign.ipynb"
    path.write_text(json.dumps(content), "utf-8")
    return path


PAPERMILL = ["-m", "papermill", "campaign.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]


def test_a_notebook_exports(tmp_path: Path, receiver: otlp.Receiver) -> None:
    notebook(tmp_path, *blocks("notebook").values())
    ended = otlp.run(tmp_path, PAPERMILL, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, HOME=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    receiver.wait_until(lambda: receiver.names() == ["run campaign", "stage Draft", "stage publish"])
    shown = json.loads((tmp_path / "out.ipynb").read_text("utf-8"))["cells"][-1]["outputs"][-1]["data"]["text/plain"]
    assert "'completed': True" in "".join(shown)


def test_a_notebook_shows_in_its_cells_what_goes_on(tmp_path: Path, receiver: otlp.Receiver) -> None:
    first, second = blocks("notebook").values()
    third = """
import time
try:
    with workflow("<b>slow</b>"), stage("<i>wait</i>") as visit:
        visit.advance(1, total=2)
        time.sleep(0.6)
        raise KeyError
except KeyError:
    pass
"""
    notebook(tmp_path, first, second, third, "7")
    ended = otlp.run(tmp_path, PAPERMILL, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http, HOME=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    cells = json.loads((tmp_path / "out.ipynb").read_text("utf-8"))["cells"][-4:]
    shown = [[each for each in cell["outputs"] if each["output_type"] == "display_data"] for cell in cells]
    assert list(map(len, shown)) == [0, 1, 1, 0]
    texts = ["".join(output["data"]["text/plain"]) for (output,) in shown[1:3]]
    lines = [re.sub(r"[\d.]+ m?s\b|under 0.1 ms", "T", line).split() for text in texts for line in text.splitlines()]
    assert [" ".join(line) for line in lines] == [
        "campaign ended in T: success",
        "stage visits time state",
        "Draft 1 T success",
        "publish 1 T success",
        "<b>slow</b> ended in T: failure, KeyError",
        "stage visits time items state",
        "<i>wait</i> 1 T 1/2 failure, KeyError",
    ]
    assert all(list(output["data"]) == ["text/plain"] for (output,) in shown[1:3])  # So nothing is taken for HTML.


def test_a_notebook_is_in_the_record_of_the_command(tmp_path: Path) -> None:
    cells = [text.replace("telemetry.flush()\n", "") for text in blocks("notebook").values()]
    notebook(tmp_path, *("\n".join(line for line in text.splitlines() if "configure(" not in line) for text in cells))
    run_recorded(tmp_path, *PAPERMILL)
    assert recorded(tmp_path) == [("campaign", {"Draft": ONCE, "publish": ONCE})]

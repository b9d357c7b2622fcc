"""Draws the pictures of the pages: python docs/preview/pages.py [FOLDER]. Needs a Chromium and what tests need.

Each shows the example as it was recorded before and after a change; that of the list also a run that goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
_LISTED = 14
"""Recorded runs that the picture of the list has."""
NIGHTLY = """
import sys
from otel_progress import stage, workflow
with workflow("nightly_import"):
    with stage("extract"): pass
    with stage("load"):
        print("loads", flush=True)
        sys.stdin.readline()
"""
COMMAND = [sys.executable, "-m", "otel_progress"]


def main() -> None:
    """Draw them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        file = written(Path(work), "report")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        draw(browser, file, folder / "page.png")
        chosen = "waterfall.select(waterfall.index(waterfall.rows().at(-2)))"
        draw(
            browser,
            file,
            folder / "page-dark.png",
            does=f"{chosen}; document.querySelector('#visits').scrollIntoView()",
        )
        compared = written(Path(work), "compare", "service.version=1.3.0", "service.version=1.4.0")
        draw(browser, compared, folder / "comparison.png")
        draw_list(browser, Path(work), folder / "ui.png")
        browser.close()


def written(work: Path, *command: str) -> Path:
    """The page that a command writes of what is recorded in the examples."""
    file = work / f"{command[0]}.html"
    told = [*COMMAND, *command, "--from", str(ROOT / "examples" / "recorded"), "--html", str(file)]
    subprocess.run(told, check=True, cwd=work, capture_output=True)
    return file


def draw_list(browser: Browser, work: Path, target: Path) -> None:
    """The picture of the list, as `otel-progress ui` serves it, with a run that goes on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    work /= "studio"
    for record in sorted((ROOT / "examples" / "recorded" / "runs").iterdir())[-_LISTED:]:
        shutil.copytree(record, work / ".otel-progress" / "runs" / record.name)
    (work / "nightly.py").write_text(NIGHTLY)
    command = [*COMMAND, "run", "-q", "nightly.py"]
    program = subprocess.Popen(command, cwd=work, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [*COMMAND, "ui", "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, cwd=work, env=kept, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert program.stdout is not None
        assert server.stdout is not None
        program.stdout.readline()
        shown = browser.new_page(viewport={"width": 1180, "height": 1020}, color_scheme="light")
        shown.goto(server.stdout.readline().strip())
        shown.locator(f"#trends[data-read='{_LISTED}']").wait_for()
        shown.evaluate("document.querySelector('header p').firstChild.textContent = '/home/ada/studio/.otel-progress'")
        shown.screenshot(path=target, full_page=True)
        print(f"{target}: {target.stat().st_size // 1024} KB")
        shown.close()
    finally:
        for process in (server, program):
            process.kill()
            process.communicate()


def draw(browser: Browser, page: Path, target: Path, *, does: str = "") -> None:
    """One picture, of what is there at first or after a script; dark where its name says so."""
    theme = "dark" if "dark" in target.stem else "light"
    shown = browser.new_page(viewport={"width": 1180, "height": 1020}, color_scheme=theme)
    shown.goto(page.as_uri())
    shown.wait_for_selector("html[data-drawn]")
    if does:
        shown.evaluate(does)
    shown.wait_for_timeout(300)
    shown.screenshot(path=target)
    print(f"{target}: {target.stat().st_size // 1024} KB")
    shown.close()


if __name__ == "__main__":
    main()

"""Draws the pictures of the pages: python docs/preview/pages.py [FOLDER]. Needs a Chromium and what tests need.

Each shows the example as it has just run, three times, with the spans of its items.
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
COMMAND = [sys.executable, "-m", "otel_progress"]


def main() -> None:
    """Draw them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        file = recorded(Path(work))
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
        browser.close()


def recorded(work: Path) -> Path:
    """The page of the example, which has run in a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    for _ in range(3):
        command = [*COMMAND, "run", str(ROOT / "examples" / "pr_campaign.py")]
        subprocess.run(
            command, check=True, cwd=work, env={**kept, "OTEL_PROGRESS_DETAIL": "items"}, capture_output=True
        )
    subprocess.run([*COMMAND, "report", "--html", "page.html"], check=True, cwd=work)
    return work / "page.html"


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

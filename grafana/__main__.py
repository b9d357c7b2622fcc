"""Write the dashboards as JSON: `python -m grafana`."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import bottlenecks, overview, quality, run, stage_detail

FOLDER = Path(__file__).parent / "dashboards"


def rendered() -> dict[str, str]:
    """The text of every dashboard, by the name of its file."""
    made = (module.build() for module in (overview, bottlenecks, stage_detail, quality, run))
    return {f"{each.uid}.json": json.dumps(each, cls=JSONEncoder, indent=2) + "\n" for each in made}


if __name__ == "__main__":
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, "utf-8")

"""`otel-progress stack`: the servers that show traces and metrics."""

from __future__ import annotations

import argparse

from ..stack import build, run
from .said import say


def stack(options: argparse.Namespace) -> int:
    """Do what the options of `stack` say; gives the exit code."""
    try:
        if options.action == "init":
            written = run.write_files(options.folder)
            say(f"Written: {', '.join(map(str, written))}. Start it there:")
            print(f"cd {options.folder}/deploy && docker compose up -d")  # noqa: T201
            return 0
        build.build(say)
        if options.action == "up":
            run.run(options.data, say)
        else:
            print(build.program("collector").parent.parent)  # noqa: T201
    except KeyboardInterrupt:
        return 130
    except (build.StackError, OSError) as error:
        say(f"otel-progress: {error}")
        return 1
    return 0

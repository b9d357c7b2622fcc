"""`otel-progress stack`: the servers that show traces and metrics."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..runs.place import FOLDER
from ..stack import build, control, run, status
from ..stack.build import StackError
from .output import put
from .said import say

_UP = """\
Start collector, Jaeger, Prometheus and Alertmanager on loopback, wait until they
are healthy, and say where they are and how to send them a run.

In the foreground they end with this command, whatever ends it: Ctrl-C, a closed
terminal, a kill. With -d they stay until `otel-progress stack down`. Where a stack
runs over the same folder already, it is said where, and nothing is started."""

_DATA = "folder for their data and logs (default: %(default)s)"


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    actions = command.add_subparsers(dest="action", metavar="(up | down | status | logs | build | init)", required=True)

    def action(
        name: str, do: Callable[[argparse.Namespace], int], what: str, *, data: bool = True
    ) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".", allow_abbrev=False)
        added.set_defaults(act=do)
        if data:
            added.add_argument("--data", type=Path, default=FOLDER / "stack", metavar="DIR", help=_DATA)
        return added

    up = action("up", _up, "start the servers without containers, until Ctrl-C or, with -d, `stack down`")
    up.description, up.formatter_class = _UP, command.formatter_class
    up.add_argument("-d", "--detach", action="store_true", help="let them run on when they are up")
    up.add_argument(
        "--port-offset",
        type=_offset,
        metavar="N",
        help=f"add N to every port, at most {run.HIGHEST_OFFSET} (default: 0, or the first hundred at which all are "
        "free)",
    )
    action("down", _down, "end the servers that `stack up` has started over this folder; the data stays")
    action(
        "status",
        _status,
        "tell what runs, since when, whether it is healthy, and how large its data is; the exit "
        "code is 0 if all is well, else 1",
    )
    logs = action("logs", _logs, "show the end of each server's log, or those that are named, whole")
    logs.add_argument(
        "servers",
        nargs="*",
        metavar="SERVER",
        help="collector, jaeger, prometheus, alertmanager, or stack: what keeps them",
    )
    action("build", _build, "build the servers into the user's cache, as far as they are not there", data=False)
    init = action("init", _init, "write the configuration files for containers", data=False)
    init.add_argument("folder", type=Path, metavar="DIR", help="where to write the folders deploy, grafana and docs")


def stack(options: argparse.Namespace) -> int:
    """Do what the options of `stack` say; gives the exit code."""
    try:
        return options.act(options)
    except KeyboardInterrupt:
        return 130
    except (StackError, OSError) as error:
        say(f"otel-progress: {error}")
        return 1


def _up(options: argparse.Namespace) -> int:
    build.build(say)
    control.up(options.data.absolute(), options.port_offset, say, detach=options.detach)
    return 0


def _down(options: argparse.Namespace) -> int:
    control.down(options.data.absolute(), say)
    return 0


def _status(options: argparse.Namespace) -> int:
    lines, is_well = status.status(options.data.absolute())
    put((line, "") for line in lines)
    return 0 if is_well else 1


def _logs(options: argparse.Namespace) -> int:
    put((line, "") for line in status.logs(options.data.absolute(), options.servers))
    return 0


def _build(_: argparse.Namespace) -> int:
    build.build(say)
    print(build.cache())  # noqa: T201
    return 0


def _init(options: argparse.Namespace) -> int:
    written = run.write_files(options.folder)
    say(f"Written: {', '.join(map(str, written))}. Start it there:")
    print(f"cd {options.folder}/deploy && docker compose up -d")  # noqa: T201
    return 0


def _offset(text: str) -> int:
    if not text.isdecimal() or int(text) > run.HIGHEST_OFFSET:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {run.HIGHEST_OFFSET}")
    return int(text)

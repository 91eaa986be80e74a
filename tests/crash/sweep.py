"""Every call of a case, met by a fault: the process killed there, or the call failed."""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from tests.crash.cases import Report
from tests.crash.catalogue import NEEDED_BY
from tests.crash.checking import count_orphans
from tests.crash.lanes import run_in_lanes
from tests.crash.playing import Played, check_apart, play
from tests.crash.tracing import Call, encode, injecting_arguments, read_record, recording_arguments

KILL = "signal=SIGKILL"
FULL = "error=ENOSPC"
FAIL = "error=EIO"
HANDLES = "error=EMFILE"
FAULTS = (KILL, FULL, FAIL, HANDLES)

ROOM_BYTES = 32 << 20
"""What the folders that are there at a time may take; thousands come and go."""

SYNCS = frozenset({"fsync", "fdatasync"})
_UNAVAILABLE = frozenset({503, 507})


@dataclass(frozen=True)
class Point:
    """The n-th call of a name in one of the three threads."""

    thread: str
    call: Call
    ordinal: int
    is_report: bool
    is_needed: bool
    """Whether a sync has something to make durable that the reply waits for; a checkpoint's has not."""

    def may_meet(self, fault: str) -> bool:
        """Whether the kernel could answer this call like that."""
        is_open = self.call.kind == "openat"
        match fault:
            case "signal=SIGKILL":
                return True
            case "error=ENOSPC":
                makes = not is_open or any("O_CREAT" in each for each in self.call.arguments)
                return makes and not self.is_report
            case "error=EMFILE":
                return is_open
            case _:
                return not self.is_report

    @property
    def is_final(self) -> bool:
        """Whether its failure must turn the registry read-only.

        SQLite, which syncs by fdatasync, does not look at the result of its sync of a folder.
        """
        return self.call.kind in SYNCS and (self.call.name == "fsync" or "/moorage.db" in self.call.paths[0])

    def __str__(self) -> str:
        return f"{self.thread} {self.call.name} #{self.ordinal} {' '.join(self.call.paths)}"


@dataclass
class Recording:
    """A case that was left alone: its calls, and the folder as it was before the first of them."""

    played: Played
    calls: list[Call]
    data: Path
    before: Path

    def points(self) -> list[Point]:
        """What can be injected, counted as strace does: by thread and name, from the first call on."""
        roles = {number: role for role, number in self.played.threads.items()}
        ordinals: Counter[tuple[int, str]] = Counter()
        points = []
        unsynced: set[str] = set()
        for call in self.calls:
            role = roles.get(call.thread)
            file = call.paths[0] if call.paths else ""
            is_needed = call.name == "fsync" or (file.endswith("-wal") and file in unsynced)
            if call.kind in SYNCS:
                unsynced.discard(file)
            else:
                unsynced.add(file)
            ordinals[call.thread, call.name] += 1
            is_report = is_acknowledgement(call) or b"ASK {" in call.content
            if role is not None and (call.paths_in(self.data) or is_report):
                points.append(Point(role, call, ordinals[call.thread, call.name], is_report, is_needed))
        return points


def is_acknowledgement(call: Call) -> bool:
    """Whether a call tells the world that a 2xx was sent."""
    return call.kind == "write" and b"ACK {" in call.content


@dataclass
class Outcome:
    """What a sweep of one case with one fault came to."""

    case: str
    fault: str
    points: int = 0
    acknowledged: int = 0
    """Points after which at least one request had been acknowledged."""
    stopped: int = 0
    """Points at which the case was killed or a request refused."""
    orphans: int = 0
    damage: list[str] = field(default_factory=list)


class Workshop:
    """Folders to work in, below one that goes when the suite ends."""

    def __init__(self, root: Path, template: Path) -> None:
        self.root = root
        self.template = template

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh path, whatever was made there or beside it removed afterwards."""
        room = Path(tempfile.mkdtemp(prefix="work-", dir=self.root))
        try:
            yield room / "data"
        finally:
            shutil.rmtree(room, ignore_errors=True)

    @contextmanager
    def copy(self, case: str) -> Iterator[Path]:
        """A fresh copy of the registry that every case starts from, with the folders that this one needs."""
        with self.folder() as path:
            write_tree(path, _read_tree(self.template, case))
            yield path


Entries = Sequence[tuple[Path, bytes | None]]
"""The paths below a folder with their bytes, or None for a folder; parents first."""


@lru_cache(maxsize=1)
def _read_tree(template: Path, case: str) -> Entries:
    """A template as it is copied for a case: without what only other cases work on."""
    paths = sorted(path.relative_to(template) for path in template.rglob("*"))
    return [
        (path, None if (template / path).is_dir() else (template / path).read_bytes())
        for path in paths
        if NEEDED_BY.get(path.parts[0], case) == case
    ]


def write_tree(folder: Path, entries: Entries) -> None:
    """Make a folder with these below it."""
    folder.mkdir()
    for path, content in entries:
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


@contextmanager
def recorded(workshop: Workshop, case: str, planted: str | None = None) -> Iterator[Recording]:
    """Record a case; its folders are there until the context ends."""
    with workshop.copy(case) as data, workshop.folder() as before:
        log = data.with_name(f"{data.name}.trace")
        played = play(
            case,
            data,
            planted=planted,
            log=log,
            trace=lambda threads: (threads["loop"], recording_arguments()),
            on_paused=lambda: copy_still(data, before),
        )
        recording = Recording(played, read_record(log), data, before)
        if planted is None:
            ended = [report.word for report in played.reports][-1:] == ["END"]
            assert ended, f"{case} did not end: {played.said}"
            assert all(report.word != "NAK" for report in played.reports), played.reports
        yield recording


def copy_still(source: Path, target: Path) -> None:
    """Copy a folder without SQLite's shared memory, which no crash of the machine survives."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))


def sweep(
    workshop: Workshop,
    case: str,
    fault: str,
    recording: Recording,
    planted: str | None = None,
    every: int = 1,
) -> Outcome:
    """Meet every point of a recorded case with a fault, or every so manieth; check what is left each time."""
    points = [point for point in recording.points() if point.may_meet(fault)][::every]
    outcome = Outcome(case, fault, len(points))
    for visited in run_in_lanes(partial(visit, workshop, case, fault, planted), points):
        outcome.acknowledged += visited.acknowledged
        outcome.stopped += visited.stopped
        outcome.orphans += visited.orphans
        outcome.damage += visited.damage
    return outcome


def visit(workshop: Workshop, case: str, fault: str, planted: str | None, point: Point) -> Outcome:
    """Play a case with a fault at one point, and check."""
    with workshop.copy(case) as data:
        log = data.with_name(f"{data.name}.trace")
        played = play(
            case,
            data,
            planted=planted,
            attempts=1 if fault == KILL else 2,
            log=log,
            trace=lambda threads: (
                threads[point.thread],
                injecting_arguments(point.call.name, fault, point.ordinal),
            ),
        )
        log_text = log.read_text("ascii")
        damage = [*_judge(point, fault, played, log_text), *_judge_injection(point, data, log_text)]
        is_undone = fault == FAIL and point.is_final and point.thread == "disk"
        damage += check_apart(case, data, played.reports, is_undone=is_undone)
        words = [report.word for report in played.of(1)]
        outcome = Outcome(case, fault)
        outcome.acknowledged = "ACK" in words
        outcome.stopped = "NAK" in words or _was_killed(log_text)
        if not damage:
            outcome.orphans = count_orphans(data)
        outcome.damage = [f"{point}: {finding}" for finding in damage]
        return outcome


def _was_killed(log: str) -> bool:
    return "+++ killed by SIGKILL" in log


def _judge_injection(point: Point, data: Path, log: str) -> Iterable[str]:
    """Whether the call that was met is the recorded one, as far as its file's place tells."""
    met = re.search(r".*\(INJECTED\)|.*(?=\n\+\+\+ killed)", log)
    if met is not None and not point.is_report and encode(str(data)) not in met[0]:
        yield f"another call was met: {met[0]}"


def _judge(point: Point, fault: str, played: Played, log: str) -> Iterable[str]:
    """What is wrong with how the process itself took the fault."""
    if played.is_hung:
        yield f"it hung; it said {played.said[-1000:]}"
    if fault == KILL:
        if not _was_killed(log):
            yield "nothing was injected"
        return
    if "(INJECTED)" not in log:
        yield "nothing was injected"
    ends = [report for report in played.reports if report.word == "END"]
    if len(ends) != 2:
        yield f"it ended on its own: {played.said[-1000:]}"
        return
    if not all(end.pulls for end in ends):
        yield "pulls do not go on"
    failure = ends[0].failure
    yield from _judge_refusals(point, fault, played.of(1), failure)
    if failure is None:
        yield from (
            f"after the fault {report.effect.kind} was refused with {report.status}"
            for report in played.of(2)
            if report.word == "NAK"
        )
    else:
        yield from (
            f"read-only, yet {report.effect.kind} was answered {report.status}"
            for report in played.of(2)
            if report.word in {"ACK", "NAK"}
            and report.status not in _UNAVAILABLE
            # it writes nothing where it is leased for long enough
            and (report.word, report.effect.kind) != ("ACK", "look")
        )


def _judge_refusals(point: Point, fault: str, reports: list[Report], failure: str | None) -> Iterable[str]:
    allowed = _UNAVAILABLE | ({500} if fault == FAIL or failure is not None else set())
    for report in reports:
        if report.word == "NAK" and report.status not in allowed:
            yield f"{report.effect.kind} was refused with {report.status}"
    if fault == FAIL and point.is_final:
        if failure is None and all(report.effect.kind != "start" for report in reports):
            yield "an fsync failed and the registry is not read-only"
        if point.is_needed and all(report.word != "NAK" for report in reports):
            yield "an fsync failed and nothing was refused"

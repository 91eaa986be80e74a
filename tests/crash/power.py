"""What a power cut may leave: a record replayed up to each call, without what was not synced by then.

POSIX promises no more than this: a file's bytes are durable once the file was synced, its name once the
folder was. What lies between may be there or not, each for itself, so several ends are tried:

- `nothing` of what was not synced is there;
- `names` are all there, with the bytes of the last sync: the empty file under its final name;
- `bytes` are all there, under the names of the last sync;
- `torn`: names are all there, and the first half of what was written since the last sync.

Shared memory is never there. Source: "All File Systems Are Not Created Equal" (OSDI 2014), section 4.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.crash.cases import Report
from tests.crash.lanes import run_in_lanes
from tests.crash.linting import WRITES
from tests.crash.playing import check_apart
from tests.crash.sweep import SYNCS, Entries, Recording, Workshop, write_tree
from tests.crash.tracing import Call

ENDS = ("nothing", "names", "bytes", "torn")


@dataclass
class _File:
    """One inode. `writes` are those since its last sync, as (offset, bytes) or a new length."""

    durable: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)

    def content(self, writes: int | None = None) -> bytes:
        content = bytearray(self.durable)
        for offset, piece in self.writes[:writes]:
            if piece is None:
                content = content[:offset].ljust(offset, b"\0")
            else:
                content = content.ljust(offset, b"\0")
                content[offset : offset + len(piece)] = piece
        return bytes(content)

    def sync(self) -> None:
        self.durable, self.writes = self.content(), []


_Folder = dict[str, "_File | _Tree"]


@dataclass
class _Tree:
    """One folder: its entries as programs see them, and as they were synced."""

    entries: _Folder = field(default_factory=dict)
    durable: _Folder = field(default_factory=dict)


class Disk:
    """A folder as the record shows it."""

    def __init__(self, before: Path, root: Path, template: Path) -> None:
        self._root = root
        self._tree = _Tree()
        for path in sorted(before.rglob("*")):
            relative = path.relative_to(before)
            made = _Tree() if path.is_dir() else _File(path.read_bytes())
            parent = self._folder(relative.parent)
            parent.entries[path.name] = made
            if (template / relative).exists():
                parent.durable[path.name] = made

    def apply(self, call: Call) -> None:
        """Do what a call did, if it did it and did it here."""
        inside = call.paths_in(self._root)
        if not inside or call.result < 0 or inside[0].name.endswith("-shm"):
            return
        path = inside[0]
        folder = self._folder(path.parent)
        if call.kind in SYNCS:
            self._sync(path)
        elif call.kind in WRITES:
            file = folder.entries[path.name]
            assert isinstance(file, _File)
            file.writes.append(_write_of(call, file))
        elif call.kind == "mkdir":
            folder.entries[path.name] = _Tree()
        elif call.kind == "unlink":
            del folder.entries[path.name]
        elif call.kind in {"rename", "link"}:
            target = self._folder(inside[1].parent).entries
            moved = folder.entries[path.name]
            if target.get(inside[1].name) is moved:
                return
            target[inside[1].name] = moved
            if call.kind == "rename":
                del folder.entries[path.name]
        elif any("O_CREAT" in each for each in call.arguments):
            folder.entries.setdefault(path.name, _File())

    def end(self, end: str) -> Iterator[tuple[Path, bytes | None]]:
        """What is left: paths with their bytes, or None for a folder, parents first."""
        yield from _end(Path(), self._tree, end)

    def _folder(self, path: Path) -> _Tree:
        tree = self._tree
        for part in path.parts:
            found = tree.entries[part]
            assert isinstance(found, _Tree)
            tree = found
        return tree

    def _sync(self, path: Path) -> None:
        found = self._folder(path.parent).entries[path.name] if path.parts else self._tree
        if isinstance(found, _File):
            found.sync()
        else:
            found.durable = dict(found.entries)


def _write_of(call: Call, file: _File) -> tuple[int, bytes | None]:
    if call.kind == "ftruncate":
        return int(call.arguments[-1].rstrip(")")), None
    if call.kind == "write":
        return len(file.content()), call.content
    offset = int(call.arguments[3] if call.kind == "pwritev" else call.arguments[-1])
    return offset, call.content[: call.result]


def _end(path: Path, tree: _Tree, end: str) -> Iterator[tuple[Path, bytes | None]]:
    entries = tree.durable if end in {"nothing", "bytes"} else tree.entries
    for name, entry in entries.items():
        if isinstance(entry, _Tree):
            yield path / name, None
            yield from _end(path / name, entry, end)
        elif end == "bytes":
            yield path / name, entry.content()
        elif end == "torn":
            yield path / name, entry.content(len(entry.writes) // 2)
        else:
            yield path / name, entry.durable


@dataclass
class Cut:
    """A folder after a power cut, and what had been acknowledged."""

    where: str
    entries: Entries
    reports: list[Report]

    @property
    def mark(self) -> bytes:
        """The same for two cuts that leave the same."""
        mark = hashlib.sha256(repr(self.reports).encode())
        for path, content in sorted(self.entries, key=lambda entry: entry[0]):
            mark.update(f"{path}\0".encode() + hashlib.sha256(content or b"").digest())
        return mark.digest()


def cuts(recording: Recording, template: Path) -> Iterator[Cut]:
    """Every different folder that a power cut during a recorded case may leave."""
    disk = Disk(recording.before, recording.data, template)
    reports: list[Report] = []
    seen: set[bytes] = set()
    for number, call in enumerate([None, *recording.calls]):
        if call is not None:
            disk.apply(call)
            if call.kind == "write" and (at := call.content.find(b"{")) >= 4:
                reports.append(Report.parse(call.content[at - 4 :]))
        for end in ENDS:
            cut = Cut(f"{end} after call {number}, {call}", list(disk.end(end)), list(reports))
            if cut.mark not in seen:
                seen.add(cut.mark)
                yield cut


def cut_power(workshop: Workshop, case: str, recording: Recording) -> tuple[int, list[str]]:
    """Check every such folder; how many there were, and what is wrong with them."""
    found = run_in_lanes(partial(visit, workshop, case), cuts(recording, workshop.template))
    return len(found), [finding for findings in found for finding in findings]


def visit(workshop: Workshop, case: str, cut: Cut) -> list[str]:
    """Make such a folder, and check."""
    with workshop.folder() as data:
        write_tree(data, cut.entries)
        return [f"{cut.where}: {finding}" for finding in check_apart(case, data, cut.reports)]

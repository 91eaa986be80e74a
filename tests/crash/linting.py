"""What a kill cannot show: from a record of calls, that everything was made durable before it was relied on.

- between the last write to a file and its rename or link there is a sync of the file;
- between a rename, a link, a mkdir or the making of a file and the acknowledgement, a sync of its folder;
- between the last write to a file, the database's log included, and the acknowledgement, a sync of it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.sweep import SYNCS, Recording, is_acknowledgement
from tests.crash.tracing import Call

WRITES = frozenset({"write", "pwrite64", "pwritev", "ftruncate"})


def lint(recording: Recording) -> list[str]:
    """Say every rule that a record breaks. What the calls before it left is taken to be durable."""
    linter = _Linter(recording.data)
    linter.known |= {
        str(recording.data / path.relative_to(recording.before)) for path in recording.before.rglob("*")
    }
    return linter.read(recording.calls)


class _Linter:
    def __init__(self, data: Path) -> None:
        self._data = data
        self.known: set[str] = set()
        """The files that are there."""
        self._unsynced: dict[str, str] = {}
        """Files with bytes that no sync covers yet, and what was done to them."""
        self._new: dict[str, set[str]] = {}
        """Folders with entries that no sync covers yet."""
        self._found: list[str] = []

    def read(self, calls: Sequence[Call]) -> list[str]:
        for call in calls:
            if is_acknowledgement(call):
                self._found += [f"acknowledged before a sync of {what}" for what in self._pending()]
            elif call.result >= 0 and call.paths_in(self._data):
                self._take(call)
        return self._found

    def _take(self, call: Call) -> None:
        path = call.paths[0]
        if call.kind in SYNCS:
            self._unsynced.pop(path, None)
            self._new.pop(path, None)
        elif call.kind in WRITES and not _is_rebuilt(path):
            self._unsynced[path] = f"{self._short(path)}, which was written to"
        elif call.kind == "mkdir":
            self._enter(path)
        elif call.kind in {"rename", "link"}:
            if path in self._unsynced:
                self._found.append(f"{call.kind} before a sync: {self._unsynced.pop(path)}")
            if call.kind == "rename":
                self._leave(path)
            self._enter(call.paths[1])
        elif call.kind == "unlink":
            self._unsynced.pop(path, None)
            self._leave(path)
        elif path not in self.known and any("O_CREAT" in each for each in call.arguments):
            self._enter(path)

    def _enter(self, path: str) -> None:
        self.known.add(path)
        if not path.endswith("-shm"):
            self._new.setdefault(str(Path(path).parent), set()).add(path)

    def _leave(self, path: str) -> None:
        self.known.discard(path)
        self._new.get(str(Path(path).parent), set()).discard(path)

    def _pending(self) -> Iterator[str]:
        """What no sync covers, in words; said once."""
        yield from self._unsynced.values()
        for folder, paths in self._new.items():
            for path in sorted(paths):
                yield f"{self._short(folder)}, where {Path(path).name} is new"
        self._unsynced.clear()
        self._new.clear()

    def _short(self, path: str) -> str:
        return str(Path(path).relative_to(self._data))


def _is_rebuilt(path: str) -> bool:
    """The database file may be behind its log, and the shared memory is made anew."""
    return path.endswith((".db", "-shm"))

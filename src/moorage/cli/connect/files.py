"""The files of a machine, what of them is ours, and how to put back what was there.

    /etc/moorage/connect/docker/
        record.json               <- the files we have written, and the SHA-256 of what we wrote
        before/etc/docker/...     <- each as it was, with its mode and owner; not there if it was not
        edited/etc/docker/...     <- what someone had made of ours before we wrote it again

The record is written before the files: whatever happens in between, `undo` finds what was there.
"""

import contextlib
import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from moorage.cli.connect.setup import Setup, Unwritable, Wanted

RECORDS: Final = PurePosixPath("/etc/moorage/connect")
_MODE: Final = 0o644
Action = Literal["create", "change", "keep", "remove", "restore", "leave"]


@dataclass(frozen=True, slots=True)
class Step:
    """One file: what is done to it, what it says now and then; None: it is not there."""

    path: PurePosixPath
    action: Action
    now: str | None
    then: str | None

    def lines(self) -> Iterator[str]:
        """As a person reads it: the whole of a new file, the difference of another."""
        if self.now is None or self.then is None:
            yield from (self.then or "").splitlines()
            return
        yield from difflib.unified_diff(
            self.now.splitlines(), self.then.splitlines(), "as it is", "as it will be", lineterm="", n=2
        )


class Files:
    """The files below a root, as one client's record knows them."""

    def __init__(self, root: Path, record: str) -> None:
        """Raises Unwritable if there is a record that cannot be read."""
        self._root = Path(os.path.realpath(root))
        self._folder = self._at(RECORDS / record)
        self._record: dict[str, dict[str, Any]] = {}
        self._made: list[str] = []
        self.reload: tuple[str, ...] = ()
        """What had to be run when it was written, and has to be when it is taken back."""
        with contextlib.suppress(FileNotFoundError):
            try:
                read = json.loads((self._folder / "record.json").read_text("utf-8"))
                self._record, self._made = read["files"], read["folders"]
                self.reload = tuple(read["reload"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                raise Unwritable(f"cannot read {self._folder / 'record.json'}: {error}") from error

    @property
    def is_connected(self) -> bool:
        """Whether we have written anything that is not taken back."""
        return bool(self._record)

    def read(self, path: PurePosixPath) -> str | None:
        """What a file says now; None if there is none.

        Raises Unwritable.
        """
        return _read(self._at(path))

    def without_us(self, path: PurePosixPath) -> str | None:
        """What it said before we wrote to it; what it says now if someone has changed it since."""
        now = self.read(path)
        entry = self._record.get(str(path))
        if entry is None or not _is_ours(now, entry):
            return now
        return _read(self._before(path))

    def written_for(self, path: PurePosixPath) -> str | None:
        """The URL of the registry for which we have written to it."""
        entry = self._record.get(str(path))
        return None if entry is None else str(entry["registry"])

    def has_folder(self, path: PurePosixPath) -> bool:
        """Whether a folder is there."""
        return self._at(path).is_dir()

    def names(self, path: PurePosixPath) -> list[str]:
        """What is in a folder, in order; nothing if there is none."""
        try:
            return sorted(each.name for each in self._at(path).iterdir())
        except OSError:
            return []

    def plan(self, setup: Setup) -> list[Step]:
        """What `write` does: the wanted files, then those of ours that are wanted no more."""
        steps = []
        for each in setup.files:
            now = self.read(each.path)
            action: Action = "create" if now is None else "keep" if now == each.text else "change"
            steps.append(Step(each.path, action, now, each.text))
        wanted = {each.path for each in setup.files}
        gone = [PurePosixPath(path) for path in self._record if PurePosixPath(path) not in wanted]
        return steps + [self._undoing(path) for path in gone]

    def plan_undo(self) -> list[Step]:
        """What `undo` does, the last written first."""
        return [self._undoing(PurePosixPath(path)) for path in reversed(self._record)]

    def write(self, setup: Setup, registry: str) -> None:
        """Bring the files to what is wanted.

        Raises PermissionError, OSError, Unwritable.
        """
        steps = self.plan(setup)
        wanted = {each.path: each for each in setup.files}
        for step in steps:
            if step.path in wanted and (step.action != "keep" or str(step.path) in self._record):
                self._remember(wanted[step.path], step.now, registry)
        self.reload = setup.reload
        self._save()
        for step in steps:
            if step.path in wanted and step.action != "keep":
                self._put(self._at(step.path), (step.then or "").encode())
        self._take_back([step for step in steps if step.path not in wanted])

    def undo(self) -> list[Step]:
        """Put back what was there; the files that were left, since someone has changed them.

        Raises PermissionError, OSError, Unwritable.
        """
        return self._take_back(self.plan_undo())

    def _undoing(self, path: PurePosixPath) -> Step:
        now, before = self.read(path), _read(self._before(path))
        if now == before:
            return Step(path, "keep", now, before)
        if not _is_ours(now, self._record[str(path)]):
            return Step(path, "leave", now, now)
        return Step(path, "remove" if before is None else "restore", now, before)

    def _take_back(self, steps: list[Step]) -> list[Step]:
        for step in steps:
            if step.action == "leave":
                continue
            path, kept = self._at(step.path), self._before(step.path)
            if step.action == "restore":
                _copy(kept, _beside(path))
                _beside(path).replace(path)
            elif step.action == "remove":
                path.unlink()
            kept.unlink(missing_ok=True)
            del self._record[str(step.path)]
        self._save()
        self._remove_made()
        return [step for step in steps if step.action == "leave"]

    def _remember(self, wanted: Wanted, now: str | None, registry: str) -> None:
        """Keep what is there before it is written over."""
        path, kept = self._at(wanted.path), self._before(wanted.path)
        entry = self._record.get(str(wanted.path))
        if entry is None:
            if now is not None:
                self._keep(path, kept)
        elif not _is_ours(now, entry):
            if now not in {None, wanted.text}:
                self._keep(path, self._folder / "edited" / wanted.path.relative_to("/"))
            if wanted.is_merged and wanted.base is None:
                kept.unlink(missing_ok=True)
            elif wanted.is_merged:
                self._put(kept, (wanted.base or "").encode(), like=path)
        self._note_folders(path)
        self._record[str(wanted.path)] = {"written": _digest(wanted.text), "registry": registry}

    def _keep(self, path: Path, kept: Path) -> None:
        self._note_folders(self._folder / "record.json")
        kept.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / kept.relative_to(self._folder).parts[0]).chmod(
            0o700
        )  # it may be for root's eyes only
        _copy(path, kept)

    def _note_folders(self, path: Path) -> None:
        """Those above a file that are not there yet: `undo` takes them away if nobody else uses them."""
        for folder in reversed(path.relative_to(self._root).parents):
            if not (self._root / folder).exists() and f"/{folder}" not in self._made:
                self._made.append(f"/{folder}")

    def _save(self) -> None:
        if not self._record:
            (self._folder / "record.json").unlink(missing_ok=True)
            _remove_empty(self._folder)
            return
        self._note_folders(self._folder / "record.json")
        text = json.dumps({"files": self._record, "folders": self._made, "reload": self.reload}, indent=2)
        self._put(self._folder / "record.json", text.encode())

    def _remove_made(self) -> None:
        """Remove the folders that we made, where nothing is in them any more."""
        for made in reversed(self._made):
            with contextlib.suppress(OSError):
                self._at(PurePosixPath(made)).rmdir()

    @staticmethod
    def _put(path: Path, content: bytes, like: Path | None = None) -> None:
        """Write a file whole or not at all, with the mode and owner of the one that it replaces."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path)
        beside.write_bytes(content)
        like = path if like is None else like
        if like.exists():
            _dress(beside, like)
        else:
            beside.chmod(_MODE)
        beside.replace(path)

    def _before(self, path: PurePosixPath) -> Path:
        return self._folder / "before" / path.relative_to("/")

    def _at(self, path: PurePosixPath) -> Path:
        """Where a file is on this machine; a link is followed as long as it stays below the root."""
        place = self._root / path.relative_to("/")
        real = Path(os.path.realpath(place))
        if not real.is_relative_to(os.path.realpath(self._root)):
            raise Unwritable(f"{place} is a link to {real}, outside of {self._root}")
        return real


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, PermissionError):
            raise
        raise Unwritable(f"cannot read {path}: {error}") from error


def _is_ours(now: str | None, entry: dict[str, Any]) -> bool:
    return now is not None and _digest(now) == entry["written"]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _copy(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    _dress(target, source)


def _dress(path: Path, like: Path) -> None:
    """Give a file another's mode and owner."""
    stat = like.stat()
    path.chmod(stat.st_mode & 0o7777)
    if (path.stat().st_uid, path.stat().st_gid) != (stat.st_uid, stat.st_gid):
        os.chown(path, stat.st_uid, stat.st_gid)


def _remove_empty(folder: Path) -> None:
    """Remove the folders in it that hold nothing."""
    for inner in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            inner.rmdir()

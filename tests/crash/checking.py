"""What must hold of a folder whatever happened to it: opened by the real code, read by the real read path.

I1 what was acknowledged pulls back byte-identical; I2 a 200 body matches its digest; I3 a live row has its
file; I4 a tag points to a complete image; I5 nothing but orphans is left over; I6 no 2xx for work not done.
Repeating the case on what is left must then finish it.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from moorage.app import StartRefused
from tests.crash import keeping
from tests.crash.cases import (
    FRESH,
    NEXT_MIGRATION,
    OLDER,
    UNKNOWN,
    Client,
    Effect,
    Refused,
    Report,
    received_of,
)
from tests.crash.catalogue import CASES
from tests.crash.content import (
    BITTEN,
    DOOMED,
    EVERY_BLOB,
    EVERY_MANIFEST,
    LOOSE,
    NEW,
    OLD,
    REPOSITORY,
    RESUMED_AT,
    RESUMED_UPLOAD,
    SHARED,
    digest_of,
)
from tests.crash.inprocess import LocalRegistry, prepare

RESTART_SECONDS = 5.0


class Expected:
    """What each blob, tag and manifest may be by now; two possibilities where no answer was given."""

    def __init__(self) -> None:
        held = [*OLD.blobs, *NEW.blobs, *DOOMED.blobs, LOOSE, SHARED]
        self.blobs: dict[tuple[str, str], set[bool]] = defaultdict(lambda: {False})
        self.blobs |= {(REPOSITORY, digest_of(blob)): {True} for blob in held}
        self.tags: dict[str, set[str | None]] = {
            "latest": {OLD.digest},
            "stable": {OLD.digest},
            "doomed": {DOOMED.digest},
        }
        self.manifests = {
            OLD.digest: {True},
            NEW.digest: {False},
            DOOMED.digest: {True},
        }
        self.uploads = {(REPOSITORY, RESUMED_UPLOAD): RESUMED_AT}
        """The bytes that are acknowledged, by repository and upload."""
        self.paths = {path: {path in keeping.SERVED} for path in (*keeping.SERVED, *keeping.ABSENT)}
        """Whether what else is at a path is served."""
        self.ending: set[str] = set()
        """The uploads that may have ended."""

    def take(self, reports: Sequence[Report], *, is_undone: bool = False) -> None:
        """Learn from what the client saw, in its order; `is_undone`: a refused blob must not be there."""
        for report in reports:
            effect = report.effect
            place = effect.repository, effect.digest
            if is_undone and report.word == "NAK" and effect.kind == "blob":
                self.blobs[place] = {False}
            if report.word in {"ASK", "ACK"}:
                self._apply(effect, is_certain=report.word == "ACK")
                self._serve(effect, is_certain=report.word == "ACK")
            if report.word == "ACK":
                if effect.kind in {"begin", "append"}:
                    self.uploads[effect.repository, report.upload] = report.received
            elif report.word == "NAK" and report.status == 500:
                # nothing of the upload was kept
                self.ending.add(effect.upload)

    def _apply(self, effect: Effect, *, is_certain: bool) -> None:
        def learn(held: set[bool], *, value: bool) -> set[bool]:
            return {value} if is_certain else held | {value}

        match effect.kind:
            case "blob" | "mount":
                place = effect.repository, effect.digest
                self.blobs[place] = learn(self.blobs[place], value=True)
                self.ending.add(effect.upload)
            case "unblob":
                place = effect.repository, effect.digest
                self.blobs[place] = learn(self.blobs[place], value=False)
            case "tag":
                self.manifests[effect.digest] = learn(self.manifests[effect.digest], value=True)
                self._point(effect.tag, effect.digest, is_certain=is_certain)
            case "unupload":
                self.ending.add(effect.upload)
            case "untag":
                self._point(effect.tag, None, is_certain=is_certain)
            case "unmanifest":
                self.manifests[effect.digest] = learn(self.manifests[effect.digest], value=False)
                for tag in [tag for tag, targets in self.tags.items() if effect.digest in targets]:
                    self._point(tag, None, is_certain=is_certain)

    def _serve(self, effect: Effect, *, is_certain: bool) -> None:
        for path, value in keeping.CHANGES.get(effect.kind, {}).items():
            if is_certain:
                self.paths[path] = {value}
            elif path in self.paths:
                self.paths[path] = self.paths[path] | {value}

    def _point(self, tag: str, digest: str | None, *, is_certain: bool) -> None:
        self.tags[tag] = {digest} if is_certain else self.tags[tag] | {digest}


async def check(case: str, data: Path, reports: Sequence[Report], *, is_undone: bool = False) -> list[str]:
    """Start on a folder, look at everything, repeat the case, look again; say all that is wrong."""
    expected = Expected()
    expected.take(reports, is_undone=is_undone)
    started = time.monotonic()
    prepare(data)
    found: list[str] = []
    async with LocalRegistry.open(data) as registry:
        if time.monotonic() - started > RESTART_SECONDS:
            found.append(f"the restart took {time.monotonic() - started:.1f} s")
        found += audit(data)
        if case == "migrate":
            found += check_schema(data / OLDER)
        is_started = any(report.word == "ACK" and report.effect.kind == "start" for report in reports)
        if case == "start" and is_started and not (data / FRESH / "moorage.db").exists():
            found.append("the folder that it started on is gone")
        found += await _check_reads(case, registry, expected)
        found += await _check_uploads(registry, expected)
        found += [
            f"{report.effect.kind} was refused with {report.status}"
            for report in reports
            if report.word == "NAK" and report.status < 500
        ]
        found += await _repeat(case, registry, expected, reports)
        if case in keeping.CASES or case == "delete":
            found += await keeping.read_trash(registry)
        if case == "collect" and (orphans := count_orphans(data)):
            found.append(f"{orphans} files are left over")
    return found


async def _repeat(
    case: str, registry: LocalRegistry, expected: Expected, reports: Sequence[Report]
) -> list[str]:
    """What a client that tries again finds; an upload is gone on with where it stands."""
    uploads = [report.upload for report in reports if report.upload]
    repeated: list[Report] = []
    client = Client(registry, repeated.append, attempt=2, upload=uploads[-1] if uploads else "")
    try:
        await CASES[case](client)
    except (Refused, StartRefused) as refusal:
        return [f"the repeated request was refused: {refusal}"]
    expected.take(repeated)
    found = [*audit(registry.data), *await _check_reads(case, registry, expected)]
    for report in repeated:
        if report.word == "ACK" and report.effect.is_deletion:
            await _expect_gone(registry, report.effect, found)
    return [f"after repeating: {finding}" for finding in found]


async def _expect_gone(registry: LocalRegistry, effect: Effect, found: list[str]) -> None:
    answer = await registry.ask("DELETE", effect.target)
    if answer.status != UNKNOWN:
        found.append(f"{effect} answers {answer.status} when it is deleted again")


async def _check_reads(case: str, registry: LocalRegistry, expected: Expected) -> list[str]:
    found = []
    if case in keeping.CASES:
        for target, may_be in expected.paths.items():
            found += await _check_read(registry, target, keeping.EVERYTHING[target], may_be)
    for (repository, digest), may_be in expected.blobs.items():
        target = f"/v2/{repository}/blobs/{digest}"
        found += await _check_read(registry, target, EVERY_BLOB[digest], may_be)
    for digest, may_be in expected.manifests.items():
        target = f"/v2/{REPOSITORY}/manifests/{digest}"
        found += await _check_read(registry, target, EVERY_MANIFEST[digest], may_be)
    for tag, targets in expected.tags.items():
        answer = await registry.ask("GET", f"/v2/{REPOSITORY}/manifests/{tag}")
        points_to = digest_of(answer.body) if answer.status == 200 else None
        if answer.status not in {200, 404} or points_to not in targets:
            found.append(f"tag {tag} answers {answer.status}, {points_to}; it may be {targets}")
    return found


async def _check_read(registry: LocalRegistry, target: str, content: bytes, may_be: set[bool]) -> list[str]:
    answer = await registry.ask("GET", target)
    if answer.status not in {200, 404} or (answer.status == 200) not in may_be:
        return [f"{target} answers {answer.status}; may it be there? {may_be}"]
    if answer.status == 200 and (answer.body != content or not answer.is_whole):
        return [f"{target} has other bytes"]
    return []


async def _check_uploads(registry: LocalRegistry, expected: Expected) -> list[str]:
    """An upload stands at the acknowledged byte or further, or has ended where it may have."""
    found = []
    for (repository, upload), acknowledged in expected.uploads.items():
        answer = await registry.ask("GET", f"/v2/{repository}/blobs/uploads/{upload}")
        if answer.status == UNKNOWN and upload in expected.ending:
            continue
        if answer.status != 204 or received_of(answer) < acknowledged:
            found.append(
                f"upload {upload} answers {answer.status}, {received_of(answer)} bytes; "
                f"{acknowledged} were acknowledged"
            )
    return found


def audit(data: Path) -> list[str]:
    """Compare rows and files, each with the other."""
    connection = apsw.Connection(str(data / "moorage.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(_audit(connection, data))
    finally:
        connection.close()


def _audit(connection: apsw.Connection, data: Path) -> Iterator[str]:
    if (verdict := connection.pragma("integrity_check")) != "ok":
        yield f"the database is damaged: {verdict}"
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"a row points to nothing: {row}"
    yield from _audit_blobs(connection, data)
    for row in connection.execute(_STILL_NEEDED):
        yield f"a blob that is to go is needed: {row}"
    for row in connection.execute(_UNSERVED):
        yield f"a link's blob is not live and not damaged: {row}"
    for row in connection.execute(_INCOMPLETE):
        yield f"a manifest that is kept lacks what it needs: {row}"


def _audit_blobs(connection: apsw.Connection, data: Path) -> Iterator[str]:
    live, size = 0, 0
    for digest, sha512, length, generation in connection.execute(
        "SELECT digest, sha512, size, generation FROM blob WHERE state = 'live'"
    ):
        live, size = live + 1, size + length
        if digest == digest_of(BITTEN):
            continue
        try:
            content = Path(f"{data}/blobs/sha256/{digest[7:9]}/{digest[7:]}.{generation}").read_bytes()
        except FileNotFoundError:
            yield f"a live row has no file: {digest} generation {generation}"
            continue
        if len(content) != length or digest_of(content) != digest:
            yield f"a live row has a wrong file: {digest}, {len(content)} bytes of {length}"
        if sha512 not in {None, f"sha512:{hashlib.sha512(content).hexdigest()}"}:
            yield f"a live row has a wrong sha512: {digest}"
    if connection.execute("SELECT blobs, bytes FROM blob_total").fetchall() != [(live, size)]:
        yield "the totals are not those of the live blobs"


_UNSERVED = """
    SELECT l.repository, l.digest FROM repository_blob l LEFT JOIN blob b ON b.digest = l.digest
    WHERE b.state IS NULL OR b.state NOT IN ('live', 'damaged')
"""
_STILL_NEEDED = """
    SELECT digest FROM blob b WHERE state = 'deleting' AND (
        EXISTS (SELECT 1 FROM repository_blob WHERE digest = b.digest)
        OR EXISTS (SELECT 1 FROM manifest_reference WHERE target = b.digest)
    )
"""
_INCOMPLETE = """
    SELECT e.manifest, e.target FROM manifest_reference e
    LEFT JOIN repository_blob l ON l.repository = e.repository AND l.digest = e.target
    LEFT JOIN blob b ON b.digest = l.digest AND b.state = 'live'
    LEFT JOIN manifest m ON m.repository = e.repository AND m.digest = e.target
    WHERE b.digest IS NULL AND m.digest IS NULL
"""


def check_schema(data: Path) -> list[str]:
    """A database is of the last version or of the next, in all its parts."""
    connection = apsw.Connection(str(data / "moorage.db"))
    try:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        columns = {row[1] for row in connection.execute("PRAGMA table_info(repository)")}
        numbers = {number for (number,) in connection.execute("SELECT number FROM migration")}
        verdict = connection.pragma("integrity_check")
    finally:
        connection.close()
    parts = ["next" in names, "next_by_note" in names, "note" in columns, NEXT_MIGRATION.number in numbers]
    return [] if len(set(parts)) == 1 and verdict == "ok" else [f"half a schema: {parts}, {verdict}"]


def count_orphans(data: Path) -> int:
    """Files of blobs and uploads that no row names: left by a crash, to be swept."""
    connection = apsw.Connection(str(data / "moorage.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        named = {row[0] for row in connection.execute("SELECT id FROM upload")} | {
            f"{digest[7:]}.{generation}"
            for digest, generation in connection.execute("SELECT digest, generation FROM blob")
        }
    finally:
        connection.close()
    files = [
        name for folder in ("uploads", "blobs") for _, _, names in os.walk(data / folder) for name in names
    ]
    return sum(name not in named for name in files)

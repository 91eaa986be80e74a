"""B48, B53, B84, B90: how long an answer takes tells nothing that the answer does not.

The registry runs in this process, and the two things compared are asked in turn. `probability` is the
Mann-Whitney statistic: how likely it is that one takes longer than the other, 0.5 where there is no telling.
Each comparison is shown to find the fault it looks for, planted.
"""

import asyncio
import gc
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from moorage.api.v2 import uploads
from moorage.clock import now_ms
from moorage.database import Database
from moorage.databases import sqlite
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import CredentialsInvalid
from moorage.health import Health
from moorage.identity.accounts import passwords as password_module
from moorage.identity.accounts.attempts import Attempts
from moorage.identity.accounts.passwords import Passwords
from moorage.identity.callers.callers import Callers
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.uploads.rows import Upload
from tests.access.people import People, basic
from tests.content import ABSENT, digest_of
from tests.registry.in_process import InProcess

SAMPLES = 1000
"""Of each of the two."""
PARTS = 3
UNDECIDED = 0.12
"""How far from 0.5 chance and a busy machine may lead."""

SECRET = b"what another holds"


def probability(one: Sequence[int], other: Sequence[int]) -> float:
    """That a sample of `one` is greater than one of `other`."""
    ordered = sorted(other)
    wins = sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in one)
    return wins / (2 * len(one) * len(other))


async def compare(
    one: Callable[[], Awaitable[object]],
    other: Callable[[], Awaitable[object]],
    samples: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> float:
    """Ask both in turn; the probability that the first takes longer by `clock`, in ns."""
    taken: tuple[list[int], list[int]] = ([], [])
    gc.collect()
    gc.disable()
    try:
        for turn in range(samples):
            for which in (turn % 2, 1 - turn % 2):
                started = clock()
                await (one, other)[which]()
                taken[which].append(clock() - started)
    finally:
        gc.enable()
    return probability(*taken)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[InProcess]:
    """Alice holds a blob; Bob has a namespace, Eve nothing."""
    registry = InProcess(tmp_path / "data")
    registry.settings = replace(
        registry.settings, uploads=replace(registry.settings.uploads, max_open=10 * SAMPLES)
    )
    registry.open()
    people = People(tmp_path / "data")
    for name in ("alice", "bob"):
        people.add(name)
    reply = registry.send("POST", f"/v2/alice/app/blobs/uploads/?digest={digest_of(SECRET)}", SECRET, ALICE)
    assert reply.status == 201
    reply = registry.send("POST", f"/v2/bob/app/blobs/uploads/?digest={digest_of(b'x')}", b"x", BOB)
    assert reply.status == 201
    yield registry
    registry.end()


ALICE, BOB = basic("alice"), basic("bob")


def difference(registry: InProcess, one: tuple[str, str], other: tuple[str, str], status: int) -> float:
    async def ask(method: str, path: str) -> None:
        reply = await registry.ask(method, path, b"", BOB)
        assert reply.status == status

    def run() -> float:
        part = compare(lambda: ask(*one), lambda: ask(*other), SAMPLES // PARTS)
        return registry.loop.run_until_complete(part)

    # what else this machine does may fall into one part
    return abs(median(run() for _ in range(PARTS)) - 0.5)


HEADS = [("HEAD", f"/v2/bob/app/blobs/{digest}") for digest in (digest_of(SECRET), ABSENT)]


def test_b53_a_blob_that_is_elsewhere_takes_as_long_as_one_that_is_nowhere(registry: InProcess) -> None:
    assert difference(registry, HEADS[0], HEADS[1], 404) < UNDECIDED


def test_b53_looking_whether_it_is_elsewhere_would_be_found(
    registry: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_blob = blob_rows.find_blob

    async def look_elsewhere(
        db: Database, repository: RepositoryName, digest: Digest
    ) -> blob_rows.Blob | None:
        for holder in await blob_rows.find_holders(db, digest, 20):
            await find_blob(db, holder, digest)
        return await find_blob(db, repository, digest)

    monkeypatch.setattr(blob_rows, "find_blob", look_elsewhere)

    assert difference(registry, HEADS[0], HEADS[1], 404) > UNDECIDED


def _mounts(source: str) -> list[tuple[str, str]]:
    path = "/v2/bob/app/blobs/uploads/"
    return [("POST", f"{path}?mount={digest}{source}") for digest in (digest_of(SECRET), ABSENT)]


@pytest.mark.parametrize("source", ["&from=alice/app", ""])
def test_b48_a_mount_that_may_not_be_takes_as_long_as_one_that_cannot(
    registry: InProcess, source: str, quick_uploads: None
) -> None:
    held, absent = _mounts(source)

    assert difference(registry, held, absent, 202) < UNDECIDED


def test_b48_an_answer_as_soon_as_it_is_known_would_be_found(
    registry: InProcess, quick_uploads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, absent = _mounts("")
    monkeypatch.setattr(uploads, "MOUNT_REFUSED_AFTER_S", 0)

    assert difference(registry, held, absent, 202) > UNDECIDED


@pytest.fixture
def quick_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginning an upload waits for the disk, which would hide what comes before: here it does not."""

    async def begin(self: object, repository: RepositoryName, started_by: str) -> Upload:
        return Upload("0" * 36, repository, 0, None, now_ms())

    monkeypatch.setattr("moorage.registry.uploads.uploading.Uploads.begin", begin)


def test_b84_a_private_repository_takes_as_long_as_one_that_is_nowhere(registry: InProcess) -> None:
    private, missing = (("GET", f"/v2/alice/{name}/manifests/v1") for name in ("app", "apq"))

    assert difference(registry, private, missing, 403) < UNDECIDED


# B90


def sign_ins(database: Path, known: int) -> float:
    """How likely it is that a wrong password of someone known takes longer than one of no one."""

    async def run() -> float:
        db, passwords = SqliteDatabase(database, Health()), Passwords()
        callers = Callers(db, passwords, Attempts())
        count = iter(range(10_000))

        async def sign_in(prefix: str, names: int) -> None:
            number = next(count)
            with pytest.raises(CredentialsInvalid):
                await callers.sign_in(f"{prefix}{number % names}", "wrong horse", f"192.0.2.{number}")

        try:
            # what a password costs is all the processor's, whatever else this machine does meanwhile
            return await compare(
                lambda: sign_in("known", known), lambda: sign_in("nobody", known), 30, time.process_time_ns
            )
        finally:
            passwords.close()
            db.close()

    return asyncio.run(run())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "moorage.db"
    sqlite.prepare(path)
    people = People(tmp_path)
    for number in range(10):
        people.add(f"known{number}")
    return path


def test_b90_a_wrong_password_takes_as_long_for_no_one_as_for_someone(database: Path) -> None:
    assert abs(sign_ins(database, 10) - 0.5) < 0.3


def test_b90_a_check_that_is_left_out_would_be_found(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_module, "_NO_ONES", "no hash at all")

    assert abs(sign_ins(database, 10) - 0.5) > 0.3

"""A large blob pushed by sha256 is found by its sha512 too, once there was time."""

from concurrent.futures import Executor

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.oci.digest import SHA512, Digest
from moorage.oci.digest import digest_of as parsed_digest_of
from moorage.registry.blobs import rows
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.uploads.hashing import SHA512_INLINE_MAX_BYTES
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import some_bytes
from tests.registry.pushing import CLIENT, REPOSITORY, chunk_of, push_blob

pytestmark = pytest.mark.anyio


@pytest.fixture
def second_digests(db: SqliteDatabase, store: FilesystemStore, threads: Executor) -> SecondDigests:
    return SecondDigests(db, store, threads)


@pytest.fixture(scope="module")
def content() -> bytes:
    """More than is hashed twice as it comes."""
    return some_bytes(SHA512_INLINE_MAX_BYTES + 1)


async def is_found(db: SqliteDatabase, digest: Digest) -> bool:
    return await rows.find_blob(db, REPOSITORY, digest) is not None


async def test_large_blob_is_found_by_sha512_once_there_was_time(
    uploads: Uploads, db: SqliteDatabase, second_digests: SecondDigests, content: bytes
) -> None:
    """Case 22."""
    await push_blob(uploads, content)
    before = await is_found(db, parsed_digest_of(content, SHA512))

    assert await second_digests.compute() == 1
    assert (before, await is_found(db, parsed_digest_of(content, SHA512))) == (False, True)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_small_blob_is_found_by_either_at_once(
    uploads: Uploads, db: SqliteDatabase, second_digests: SecondDigests, algorithm: str
) -> None:
    await push_blob(uploads, b"some bytes", algorithm=algorithm)

    assert await is_found(db, parsed_digest_of(b"some bytes"))
    assert await is_found(db, parsed_digest_of(b"some bytes", SHA512))
    assert await second_digests.compute() == 0


async def test_large_blob_pushed_by_sha512_in_parts_is_found_by_either_at_once(
    uploads: Uploads, db: SqliteDatabase, content: bytes
) -> None:
    """Case 23."""
    upload = await uploads.begin(REPOSITORY, str(CLIENT))
    await uploads.append(REPOSITORY, upload.id, chunk_of(content[:1000]))
    await uploads.append(REPOSITORY, upload.id, chunk_of(content[1000:]))
    await uploads.finish(REPOSITORY, upload.id, chunk_of(), parsed_digest_of(content, SHA512))

    assert await is_found(db, parsed_digest_of(content))
    assert await is_found(db, parsed_digest_of(content, SHA512))


async def test_large_blob_pushed_by_both_is_one(uploads: Uploads, db: SqliteDatabase, content: bytes) -> None:
    await push_blob(uploads, content)
    await push_blob(uploads, content, algorithm="sha512")

    assert await is_found(db, parsed_digest_of(content, SHA512))
    assert (await rows.get_total(db))[0] == 1


async def test_broken_blob_gets_no_second_digest(
    uploads: Uploads,
    db: SqliteDatabase,
    store: FilesystemStore,
    second_digests: SecondDigests,
    content: bytes,
) -> None:
    """Or wrong bytes would be served under a digest that is right for them."""
    await push_blob(uploads, content)
    wrong = content[:-1] + bytes([content[-1] ^ 1])
    next((store.root / "blobs").rglob("*.1")).write_bytes(wrong)

    await second_digests.compute()

    assert not await is_found(db, parsed_digest_of(wrong, SHA512))
    assert not await is_found(db, parsed_digest_of(content, SHA512))


async def test_broken_blob_does_not_hold_up_the_others(
    uploads: Uploads,
    db: SqliteDatabase,
    store: FilesystemStore,
    second_digests: SecondDigests,
    content: bytes,
) -> None:
    await push_blob(uploads, content)
    next((store.root / "blobs").rglob("*.1")).unlink()
    other = content[::-1]
    await push_blob(uploads, other)

    await second_digests.compute()

    assert await is_found(db, parsed_digest_of(other, SHA512))


async def test_shortened_blob_does_not_hold_up_the_others(
    uploads: Uploads,
    db: SqliteDatabase,
    store: FilesystemStore,
    second_digests: SecondDigests,
    content: bytes,
) -> None:
    await push_blob(uploads, content)
    next((store.root / "blobs").rglob("*.1")).write_bytes(content[:1000])
    other = content[::-1]
    await push_blob(uploads, other)

    await second_digests.compute()

    assert await is_found(db, parsed_digest_of(other, SHA512))

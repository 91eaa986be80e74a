"""Manifests on real rows: stored with their edges and tags at once, or not at all; every move recorded."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
import structlog.testing

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import (
    ContentDamaged,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    PreconditionFailed,
    StorageReadOnly,
)
from moorage.health import Health
from moorage.oci.digest import SHA512, Digest
from moorage.oci.digest import digest_of as parsed_digest_of
from moorage.oci.names import Tag
from moorage.records.audit.rows import Actor
from moorage.registry.blobs.linking import mount_blob
from moorage.registry.manifests.pushing import DEPTH_MAX, push_manifest
from moorage.registry.manifests.serving import delete_tag, get_manifest
from moorage.registry.trash.deleting import delete_manifest
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import OCI_MANIFEST, Document, descriptor, encode, image, index, some_bytes
from tests.registry.pushing import CLIENT, OTHER, REPOSITORY, push_blob, push_document

pytestmark = pytest.mark.anyio

GRACE_MS = 7 * 86_400_000

CONFIG = b'{"a": "config"}'

SOMEONE = Actor("someone", "127.0.0.1")


@pytest.fixture
async def document(uploads: Uploads) -> Document:
    """An image whose config is there."""
    await push_blob(uploads, CONFIG)
    return image(CONFIG)


async def count(db: SqliteDatabase, table: str) -> int:
    row = await db.one(f"SELECT count(*) FROM {table}")
    assert row is not None
    return int(row[0])


async def events(db: SqliteDatabase) -> list[tuple[Any, ...]]:
    return await db.all("SELECT name, from_digest, to_digest, by FROM tag_event ORDER BY at, name, number")


async def test_manifest_is_kept_as_the_bytes_that_came(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    payload = b" " + encode(document) + b"\n\n"
    await push_manifest(
        db, store, REPOSITORY, payload, None, digest=None, tags=[Tag("1.0")], pushed_by=CLIENT
    )

    assert (await get_manifest(db, REPOSITORY, "1.0")).payload == payload


async def test_edges_are_kept_with_the_manifest(
    db: SqliteDatabase, store: FilesystemStore, uploads: Uploads
) -> None:
    config, layer = await push_blob(uploads, CONFIG), await push_blob(uploads, b"a layer")
    child = image(CONFIG, [b"a layer"])
    child_digest = await push_document(db, store, child)
    await push_document(db, store, index([child]), "all")

    edges = await db.all("SELECT target, kind FROM manifest_reference ORDER BY kind")
    assert edges == [(config, "config"), (layer, "layer"), (child_digest, "manifest")]


async def test_edge_named_by_sha512_is_kept_by_sha256(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    """So that whoever asks what needs a blob asks by one name."""
    await push_document(db, store, document | {"config": descriptor(CONFIG, algorithm="sha512")})

    assert await db.all("SELECT target FROM manifest_reference") == [(parsed_digest_of(CONFIG),)]


@pytest.mark.parametrize("fault", ["content", "tag"])
async def test_refused_manifest_leaves_nothing(
    db: SqliteDatabase, store: FilesystemStore, document: Document, fault: str
) -> None:
    """D6."""
    wrong = document | {"layers": [descriptor(some_bytes())]} if fault == "content" else document
    repositories = await count(db, "repository")

    with pytest.raises((ManifestBlobUnknown, PreconditionFailed)):
        await push_manifest(
            db,
            store,
            REPOSITORY,
            encode(wrong),
            OCI_MANIFEST,
            digest=None,
            tags=[Tag("a"), Tag("b")],
            pushed_by=CLIENT,
            may_move=lambda _: fault == "content",
        )

    tables = ["manifest", "manifest_reference", "tag", "tag_event"]
    assert [await count(db, table) for table in tables] == [0, 0, 0, 0]
    assert await count(db, "repository") == repositories


async def test_refused_manifest_makes_no_repository(db: SqliteDatabase, store: FilesystemStore) -> None:
    with pytest.raises(ManifestBlobUnknown):
        await push_document(db, store, image(some_bytes()), "1.0")

    assert await count(db, "repository") == 0


async def test_every_missing_digest_is_named_once(db: SqliteDatabase, store: FilesystemStore) -> None:
    absent = [some_bytes(), some_bytes()]

    with pytest.raises(ManifestBlobUnknown) as refusal:
        await push_document(db, store, image(absent[0], [absent[1], absent[1]]))

    assert refusal.value.detail["digests"] == list(map(parsed_digest_of, absent))
    assert len(refusal.value.entries) == 2


async def test_content_of_another_repository_is_missing(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    """B52."""
    with pytest.raises(ManifestBlobUnknown):
        await push_document(db, store, document, repository=OTHER)


async def test_wrong_digest_is_refused_before_anything_is_read(
    db: SqliteDatabase, store: FilesystemStore
) -> None:
    with pytest.raises(DigestInvalid):
        await push_manifest(
            db,
            store,
            REPOSITORY,
            b"no manifest at all",
            None,
            digest=Digest("sha256:" + "0" * 64),
            tags=[],
            pushed_by=CLIENT,
        )


async def test_read_only_registry_takes_no_manifest(
    db: SqliteDatabase, store: FilesystemStore, document: Document, health: Health
) -> None:
    """F7."""
    health.fail("fsync failed")

    with pytest.raises(StorageReadOnly):
        await push_document(db, store, document, "1.0")


async def test_read_only_registry_serves_manifests(
    db: SqliteDatabase, store: FilesystemStore, document: Document, health: Health
) -> None:
    """F7."""
    digest = await push_document(db, store, document, "1.0")
    health.fail("fsync failed")

    assert (await get_manifest(db, REPOSITORY, "1.0")).digest == digest


async def test_index_is_nested_as_deep_as_the_limit(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    """B64."""
    await push_document(db, store, document)
    for _ in range(DEPTH_MAX):
        document = index([document])
        await push_document(db, store, document)

    with pytest.raises(ManifestInvalid):
        await push_document(db, store, index([document]))


async def test_diamonds_of_indexes_are_looked_at_once(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    """B65: two ways to each child, and 2 to the 7th to the last."""
    await push_document(db, store, document)
    for _ in range(DEPTH_MAX - 1):
        document = index([document, document])
        await push_document(db, store, document)

    assert await count(db, "manifest") == DEPTH_MAX


async def test_move_of_a_tag_is_recorded(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    first = await push_document(db, store, document, "1.0")
    second = await push_document(db, store, document | {"annotations": {"a": "b"}}, "1.0")
    await delete_tag(db, REPOSITORY, Tag("1.0"), SOMEONE)

    assert await events(db) == [
        ("1.0", None, first, str(CLIENT)),
        ("1.0", first, second, str(CLIENT)),
        ("1.0", second, None, "someone"),
    ]


async def test_tag_pushed_where_it_is_was_not_moved(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    for _ in range(3):
        await push_document(db, store, document, "1.0")

    assert len(await events(db)) == 1


async def test_tags_that_go_with_their_manifest_are_recorded(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    digest = await push_document(db, store, document, "1.0", "latest")
    await delete_manifest(db, REPOSITORY, digest, SOMEONE, GRACE_MS)

    assert (await events(db))[2:] == [("1.0", digest, None, "someone"), ("latest", digest, None, "someone")]


async def test_deleted_manifest_is_served_no_more_and_keeps_its_edges(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    digest = await push_document(db, store, document, "1.0")
    await delete_manifest(db, REPOSITORY, digest, CLIENT, GRACE_MS)

    assert (await count(db, "manifest_reference"), await count(db, "tag")) == (1, 0)
    with pytest.raises(ManifestUnknown):
        await delete_manifest(db, REPOSITORY, digest, CLIENT, GRACE_MS)


async def test_condition_is_asked_of_what_a_tag_names_now(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    first = await push_document(db, store, document, "1.0")
    asked: list[Collection[str]] = []

    await push_manifest(
        db,
        store,
        REPOSITORY,
        encode(document | {"annotations": {"a": "b"}}),
        OCI_MANIFEST,
        digest=None,
        tags=[Tag("1.0"), Tag("new")],
        pushed_by=CLIENT,
        may_move=lambda current: not asked.append(current),  # type: ignore[func-returns-value]
    )

    assert [first in current for current in asked] == [True, False]
    assert asked[1] == ()


async def test_stored_bytes_that_changed_are_never_served(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    """I2."""
    await push_document(db, store, document, "1.0")
    await db.write(lambda tx: tx.run("UPDATE manifest SET payload = x'7b7d'"))

    with pytest.raises(ContentDamaged):
        await get_manifest(db, REPOSITORY, "1.0")


async def test_manifest_pushed_by_sha512_is_one_with_that_pushed_by_sha256(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    sha256 = await push_document(db, store, document, "1.0")
    payload = encode(document)
    sha512 = parsed_digest_of(payload, SHA512)
    await push_manifest(
        db, store, REPOSITORY, payload, OCI_MANIFEST, digest=sha512, tags=[Tag("2.0")], pushed_by=CLIENT
    )

    found = [(await get_manifest(db, REPOSITORY, reference)).digest for reference in ("1.0", "2.0", sha512)]
    assert found == [sha256, sha512, sha512]
    assert await count(db, "manifest") == 1


async def pushed_event(
    db: SqliteDatabase, store: FilesystemStore, document: Document, **more: Any
) -> dict[str, Any]:
    """What the log says of a push."""
    # each push says so after it has answered
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        await push_document(db, store, document, "1.0", **more)
        await asyncio.sleep(0)
    (event,) = [entry for entry in logs if entry["event"] == "image_pushed"]
    return dict(event)


async def test_push_says_which_bytes_travelled(
    db: SqliteDatabase, store: FilesystemStore, uploads: Uploads
) -> None:
    await push_blob(uploads, b"mounted layer", OTHER)
    for content in (CONFIG, b"a layer"):
        await push_blob(uploads, content)
    await mount_blob(db, store, REPOSITORY, parsed_digest_of(b"mounted layer"), OTHER)

    event = await pushed_event(db, store, image(CONFIG, [b"a layer", b"mounted layer"]))

    assert event["uploaded_bytes"] == len(CONFIG) + len(b"a layer")
    assert (event["mounted_bytes"], event["skipped_bytes"]) == (len(b"mounted layer"), 0)


async def test_push_of_what_was_there_says_that_nothing_travelled(
    db: SqliteDatabase, store: FilesystemStore, document: Document
) -> None:
    await push_document(db, store, document)

    event = await pushed_event(db, store, document | {"annotations": {"a": "b"}})

    assert (event["uploaded_bytes"], event["skipped_bytes"]) == (0, len(CONFIG))

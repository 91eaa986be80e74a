"""The cases of what becomes of an image: deleted, restored, collected, read again, brought from elsewhere."""

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import apsw

from moorage.config import ScrubSettings
from moorage.errors import Unavailable
from moorage.lifecycle.garbage.collecting import Collected, Garbage
from moorage.lifecycle.progress import Silence
from moorage.lifecycle.scrubbing.scrub import Scrub, begin_now
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor
from moorage.registry.blobs.rows import LEASE_MS
from moorage.registry.trash.repositories import delete_repository, restore_repository
from moorage.registry.trash.restoring import restore_deletion
from moorage.storage.adopting import Adopter
from moorage.storage.distribution import DistributionTree
from moorage.transfer.takeover.bringing import Takeover
from moorage.transfer.takeover.source import SourceRefused
from tests.crash.cases import Client, Effect
from tests.crash.content import (
    BITTEN,
    CHILD,
    CONFIG,
    DELETING,
    GONE,
    HAD,
    INDEX,
    INDEX_TYPE,
    MANIFEST,
    OVER,
    PURGED,
    REPOSITORY,
    STALE,
    TAKEN,
    TAKEN_IMAGES,
    TRASHED,
    WHOLE,
    Image,
    digest_of,
)
from tests.crash.inprocess import LocalRegistry
from tests.transfer.trees import Tree

TREE = "tree"
"""The folder of another registry, below the one that is open."""
GRACE_MS = 7 * LEASE_MS
CLIENT = Actor(address="127.0.0.1")
LOOKED = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(STALE), "size": len(STALE)},
        "layers": [],
    }
).encode()


def _manifests(repository: str, manifest: bytes, tag: str) -> dict[str, bytes]:
    path = f"/v2/{repository}/manifests"
    return {f"{path}/{tag}": manifest, f"{path}/{digest_of(manifest)}": manifest}


def _blobs(repository: str, *blobs: bytes) -> dict[str, bytes]:
    return {f"/v2/{repository}/blobs/{digest_of(blob)}": blob for blob in blobs}


def _image(repository: str, image: Image, tag: str = "v1") -> dict[str, bytes]:
    return {**_manifests(repository, image.manifest, tag), **_blobs(repository, *image.blobs)}


_REPOSITORIES = {name: _image(name, image) for name, image in HAD.items()}
_TAKEN = {
    path: content
    for number, image in enumerate(TAKEN_IMAGES)
    for path, content in _image(TAKEN, image, f"v{number}").items()
}
_TRASHED = _manifests(REPOSITORY, TRASHED.manifest, "back")
_LOOKED = _manifests(REPOSITORY, LOOKED, "looked")
_BITTEN, _STALE = _blobs(REPOSITORY, BITTEN), _blobs(REPOSITORY, STALE)
SERVED = {
    **_REPOSITORIES[WHOLE],
    **_blobs(REPOSITORY, *TRASHED.blobs, *PURGED.blobs, *CHILD.blobs),
    **_manifests(REPOSITORY, INDEX, "multi"),
    **_manifests(REPOSITORY, CHILD.manifest, CHILD.digest),
    **_STALE,
}
"""What of this is served before a case, by path."""
ABSENT = {
    **_REPOSITORIES[GONE],
    **_REPOSITORIES[OVER],
    **_TAKEN,
    **_TRASHED,
    **_LOOKED,
    **_manifests(REPOSITORY, PURGED.manifest, "purged"),
}
"""What is not."""
EVERYTHING = {**SERVED, **ABSENT, **_BITTEN}
CHANGES: dict[str, dict[str, bool]] = {
    "unrepository": dict.fromkeys(_REPOSITORIES[WHOLE], False),
    "rerepository": dict.fromkeys(_REPOSITORIES[GONE], True),
    "restore": dict.fromkeys(_TRASHED, True),
    "collect": dict.fromkeys(_STALE, False),
    "scrub": dict.fromkeys(_BITTEN, False),
    "import": dict.fromkeys(_TAKEN, True),
    "keep": dict.fromkeys([*_LOOKED, *_STALE], True),
}
"""What an effect makes of it: served or not."""


async def _find(client: Client, sql: str, value: str) -> int:
    """The id of a row; 0 when it is gone."""
    row = await client.registry.db.one(sql, (value,))
    return int(row[0]) if row else 0


def _garbage(registry: LocalRegistry) -> Garbage:
    return Garbage(registry.db, registry.store, registry.disk, LEASE_MS)


async def _collect(client: Client) -> None:
    done = await _garbage(client.registry).collect()
    if done.obstacle is not None:
        raise Unavailable


async def restore_and_delete(client: Client) -> None:
    db = client.registry.db

    async def restore() -> None:
        deletion = await _find(client, "SELECT id FROM deletion WHERE digest = ?", TRASHED.digest)
        await restore_deletion(db, deletion, CLIENT)

    async def restore_whole() -> None:
        deleted = await _find(client, "SELECT id FROM repository WHERE deleted_name = ?", GONE)
        await restore_repository(db, deleted, None, CLIENT)

    async def delete_whole() -> None:
        await delete_repository(db, client.registry.uploads, RepositoryName(WHOLE), CLIENT, GRACE_MS)

    await client.work(Effect("restore"), restore)
    await client.work(Effect("rerepository"), restore_whole)
    await client.work(Effect("unrepository"), delete_whole)


async def collect_garbage(client: Client) -> None:
    await client.work(Effect("collect"), lambda: _collect(client))


async def push_garbage(client: Client) -> None:
    """F37."""
    await client.push_blob(DELETING)


async def collect_after_a_look(client: Client) -> None:
    """F35: what was answered with 200 is there for the manifest."""
    target = f"/v2/{REPOSITORY}/blobs/{digest_of(STALE)}"
    await client.do(Effect("look"), "HEAD", target)
    garbage = _garbage(client.registry)

    async def collect() -> None:
        """The steps that could take it."""
        await garbage._settle(Collected())
        await garbage._remove(Collected())

    await client.work(Effect("collect beside"), collect)
    headers = {"Content-Type": MANIFEST}
    await client.do(Effect("keep"), "PUT", f"/v2/{REPOSITORY}/manifests/looked", [LOOKED], headers)


async def scrub_everything(client: Client) -> None:
    db, store = client.registry.db, client.registry.store

    async def scrub() -> None:
        await db.write(lambda tx: begin_now(tx, CLIENT))
        await Scrub(db, store, ScrubSettings()).run(Silence())

    await client.work(Effect("scrub"), scrub)


async def import_tree(client: Client) -> None:
    registry = client.registry

    async def bring() -> None:
        adopter = Adopter(registry.store)
        try:
            tree = DistributionTree(registry.data / TREE)
            takeover = Takeover(registry.db, registry.store, adopter, tree, registry.disk, LEASE_MS)
            report = await takeover.run("*", is_dry=False)
        except SourceRefused as refusal:
            raise Unavailable from refusal
        if report.skipped:
            # as a status: the command ends with 1 and says what did not come
            raise Unavailable

    await client.work(Effect("import"), bring)


CASES: dict[str, Callable[[Client], Awaitable[None]]] = {
    "restore": restore_and_delete,
    "collect": collect_garbage,
    "revive": push_garbage,
    "look": collect_after_a_look,
    "scrub": scrub_everything,
    "import": import_tree,
}


async def fill(data: Path) -> None:
    """Add what these cases start from to a registry that the others start from."""
    tree = Tree(data / TREE)
    for number, image in enumerate(TAKEN_IMAGES):
        for blob in image.blobs:
            tree.add_blob(TAKEN, blob)
        tree.add_manifest(TAKEN, image.manifest, f"v{number}")
    async with LocalRegistry.open(data) as registry:
        client = Client(registry, lambda _: None)
        for repository, image, tag in _images():
            for blob in image.blobs:
                client.upload = ""
                await client.push_blob(blob, repository=repository)
            await _put(registry, repository, tag, image.manifest, MANIFEST)
        await _put(registry, REPOSITORY, "multi", INDEX, INDEX_TYPE)
        for blob in (STALE, DELETING, BITTEN):
            client.upload = ""
            await client.push_blob(blob)
        for image in (TRASHED, PURGED):
            await client.delete(Effect("unmanifest", digest=image.digest))
        for name in (GONE, OVER):
            await delete_repository(registry.db, registry.uploads, RepositoryName(name), CLIENT, GRACE_MS)
        _end_lease(data, DELETING)
        await _garbage(registry)._settle(Collected())
    _let_time_pass(data)


def _images() -> Iterator[tuple[str, Image, str]]:
    yield REPOSITORY, TRASHED, "back"
    yield REPOSITORY, PURGED, "purged"
    yield REPOSITORY, CHILD, CHILD.digest
    for name, image in HAD.items():
        yield name, image, "v1"


async def _put(registry: LocalRegistry, repository: str, reference: str, manifest: bytes, kind: str) -> None:
    target = f"/v2/{repository}/manifests/{reference}"
    answer = await registry.ask("PUT", target, manifest, {"Content-Type": kind})
    assert answer.status == 201, answer


def _end_lease(data: Path, content: bytes) -> None:
    with apsw.Connection(str(data / "moorage.db")) as connection:
        connection.execute(
            "DELETE FROM repository_blob WHERE digest = ?; UPDATE lease SET until = 1 WHERE digest = ?",
            (digest_of(content), digest_of(content)),
        )


def _let_time_pass(data: Path) -> None:
    """The leases of what manifests need, and of what is stale, are over; some of the trash is due."""
    with apsw.Connection(str(data / "moorage.db")) as connection:
        connection.execute(
            "UPDATE lease SET until = 1"
            " WHERE digest IN (SELECT target FROM manifest_reference) OR digest = ?",
            (digest_of(STALE),),
        )
        connection.execute("UPDATE deletion SET purge_at = 1 WHERE digest = ?", (PURGED.digest,))
        connection.execute("UPDATE repository SET purge_at = 1 WHERE deleted_name = ?", (OVER,))
    connection.close()
    encoded = digest_of(BITTEN).removeprefix("sha256:")
    path = data / "blobs" / "sha256" / encoded[:2] / f"{encoded}.1"
    path.write_bytes(b"!" + path.read_bytes()[1:])


async def read_trash(registry: LocalRegistry) -> list[str]:
    """Restore all that is in the trash and read whatever is served then; what is wrong with it."""
    db = registry.db
    for (deletion,) in await db.all("SELECT id FROM deletion WHERE purge_at > 0"):
        await restore_deletion(db, deletion, CLIENT)
    for (deleted,) in await db.all("SELECT id FROM repository WHERE purge_at > 0"):
        await restore_repository(db, deleted, None, CLIENT)
    found = []
    paths = await db.all(
        """
        SELECT '/v2/' || r.name || '/manifests/' || m.digest, m.digest FROM manifest m
        JOIN repository r ON r.id = m.repository WHERE r.deleted_at IS NULL
        AND m.id NOT IN (SELECT manifest FROM trash)
        UNION SELECT '/v2/' || r.name || '/blobs/' || e.target, e.target FROM manifest_reference e
        JOIN repository r ON r.id = e.repository WHERE r.deleted_at IS NULL AND e.kind <> 'manifest'
        AND e.manifest NOT IN (SELECT manifest FROM trash)
        """
    )
    for path, digest in paths:
        answer = await registry.ask("GET", path)
        if answer.status != 200 or digest_of(answer.body) != digest:
            found.append(f"when all is restored: {path} answers {answer.status}")
    return found

"""Upstreams as administrators make, change, switch, test and remove them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import FieldInvalid, NameTaken, NameUnknown, UpstreamStateInvalid, UpstreamUnknown
from moorage.identity.access.rows import get_namespace, insert_namespace
from moorage.mirrors import rows, upstream_rows
from moorage.mirrors.asking import Unreachable
from moorage.mirrors.managing import ManagedUpstreams, Trial
from moorage.mirrors.stating import Changes, Given
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor, Filter, list_entries
from moorage.registry.repositories.rows import ensure_repository, get_repository, list_deleted
from moorage.registry.tags.immutability_rows import insert_rule
from moorage.registry.uploads.uploading import Uploads
from moorage.setting import GIB
from moorage.storage.filesystem import FilesystemStore
from tests.content import image
from tests.registry.pushing import push_blob, push_document

pytestmark = pytest.mark.anyio

ROOT = Actor("root", "10.0.0.1")
NAME = "registry.example"
URL = "https://registry.example"
NGINX = RepositoryName(f"{NAME}/library/nginx")
SECRET = "hunter2-and-more"
CONFIGURED = Upstream("docker.io", Address("https://registry-1.docker.io"), is_root=True, is_configured=True)


@dataclass
class Pings:
    """Who was asked, with which credentials; `down` does not answer."""

    down: str = ""
    asked: list[Address] = field(default_factory=list)

    async def ping(self, at: Address, timeout_s: float) -> None:
        assert timeout_s > 0
        self.asked.append(at)
        if at.url == self.down:
            raise Unreachable("no one answers there")


@pytest.fixture
def pings() -> Pings:
    return Pings()


@pytest.fixture
def managed(db: SqliteDatabase, pings: Pings) -> ManagedUpstreams:
    return ManagedUpstreams(db, pings, [CONFIGURED], ["10.0.0.0/8"])


def said(url: str | None = None, alternatives: Sequence[Given] | None = None, **given: object) -> Changes:
    """What an administrator says of an upstream."""
    address = {name: given.pop(name) for name in ("username", "password", "authority") if name in given}
    return Changes(given, Given(url, **address), alternatives)  # type: ignore[arg-type] # texts


SIGNED_IN: dict[str, Any] = {"username": "me", "password": SECRET}


async def audited(db: SqliteDatabase) -> list[tuple[str, str, str]]:
    """What the audit says, the oldest first."""
    found = await list_entries(db, Filter(), 100, after=0)
    return [(each.action, each.target, each.detail) for each in found]


async def test_what_was_made_is_listed_beside_what_is_configured(managed: ManagedUpstreams) -> None:
    made = await managed.create(ROOT, NAME, said(URL, budget_bytes=5 * GIB))

    assert await managed.list_all() == [CONFIGURED, made]
    assert await managed.get(NAME) == made
    assert (made.address.url, made.budget_bytes, made.is_configured) == (URL, 5 * GIB, False)


async def test_all_that_is_said_is_there_after_a_restart(
    managed: ManagedUpstreams, db: SqliteDatabase
) -> None:
    made = await managed.create(
        ROOT,
        NAME,
        said(
            URL,
            [Given("https://b.example", "you", "pass")],
            **SIGNED_IN,
            hosts=("r.example:5000",),
            include=("library/*",),
            pins=("library/debian:*-slim",),
        ),
    )

    assert await upstream_rows.read_upstreams(db) == [made]
    assert made.alternatives == (Address("https://b.example", "you", "pass"),)


async def test_each_change_raises_the_version(managed: ManagedUpstreams, db: SqliteDatabase) -> None:
    versions = [await upstream_rows.read_version(db)]
    await managed.create(ROOT, NAME, said(URL))
    versions.append(await upstream_rows.read_version(db))
    await managed.change(ROOT, NAME, said(freshness_ms=1000))
    versions.append(await upstream_rows.read_version(db))
    await managed.disconnect(ROOT, NAME)
    versions.append(await upstream_rows.read_version(db))
    await managed.connect(ROOT, NAME)
    versions.append(await upstream_rows.read_version(db))

    assert versions == sorted(set(versions))


async def test_public_upstream_makes_a_public_namespace(
    managed: ManagedUpstreams, db: SqliteDatabase
) -> None:
    await managed.create(ROOT, NAME, said(URL))

    assert (await get_namespace(db, NAME)).visibility == "public"


@pytest.mark.parametrize(
    "changes",
    [said(URL, **SIGNED_IN), said(URL, [Given("https://b.example", "you", "pass")])],
    ids=["its own", "an alternative's"],
)
async def test_upstream_with_credentials_makes_a_private_namespace(
    managed: ManagedUpstreams, db: SqliteDatabase, changes: Changes
) -> None:
    await managed.create(ROOT, NAME, changes)

    assert (await get_namespace(db, NAME)).visibility == "private"


async def test_namespace_is_as_it_was_said(managed: ManagedUpstreams, db: SqliteDatabase) -> None:
    await managed.create(ROOT, NAME, said(URL, **SIGNED_IN), "public")

    assert (await get_namespace(db, NAME)).visibility == "public"


async def test_namespace_that_is_there_is_left_alone(managed: ManagedUpstreams, db: SqliteDatabase) -> None:
    await db.write(lambda tx: insert_namespace(tx, NAME, "root", visibility="private"))

    await managed.create(ROOT, NAME, said(URL), "public")

    assert (await get_namespace(db, NAME)).visibility == "private"


async def test_upstreams_of_the_settings_get_their_namespaces_once(
    managed: ManagedUpstreams, db: SqliteDatabase
) -> None:
    await managed.make_namespaces()
    await managed.make_namespaces()

    assert (await get_namespace(db, "docker.io")).visibility == "public"
    assert await audited(db) == [("namespace.create", "docker.io", "owner=none public")]


@pytest.mark.parametrize("name", [NAME, "docker.io"])
async def test_name_is_taken_once(managed: ManagedUpstreams, name: str) -> None:
    await managed.create(ROOT, NAME, said(URL))

    with pytest.raises(NameTaken):
        await managed.create(ROOT, name, said("https://other.example"))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        (said("https://127.1"), "url"),
        (said(URL, [Given("https://[::ffff:127.0.0.1]")]), "alternatives"),
        (said("http://registry.example"), "url"),
        (said("https://registry.example:22"), "url"),
        (said(URL, username="me"), "password"),
        (said(URL, password="x"), "username"),
        (said(URL, username="m:e", password="x"), "username"),
        (said(URL, username="me", password="a\nb"), "password"),
        (said(URL, authority="not PEM"), "authority"),
        (said(URL, hosts=("docker.io",)), "hosts"),
        (said(URL, is_root=True), "root"),
        (said(URL, freshness_ms=400 * 86_400_000), "freshness_s"),
        (said(URL, budget_bytes=0), "budget_bytes"),
        (said(URL, bandwidth=("always 1",)), "bandwidth"),
        (said(URL, pins=("a b",)), "pins"),
        (said(URL, pins=("library/redis:>=7 <<8",)), "pins"),
    ],
)
async def test_what_the_settings_refuse_is_refused(
    managed: ManagedUpstreams, changes: Changes, wrong: str
) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        await managed.create(ROOT, NAME, changes)

    assert refusal.value.detail["field"] == wrong
    assert [each.name for each in await managed.list_all()] == ["docker.io"]


async def test_private_address_that_is_listed_is_taken(managed: ManagedUpstreams) -> None:
    made = await managed.create(ROOT, "lan", said("http://10.1.2.3:5000"))

    assert made.address.url == "http://10.1.2.3:5000"


async def test_refused_change_changes_nothing(managed: ManagedUpstreams) -> None:
    made = await managed.create(ROOT, NAME, said(URL))

    with pytest.raises(FieldInvalid):
        await managed.change(ROOT, NAME, said("https://127.1", freshness_ms=1))

    assert await managed.get(NAME) == made


async def test_what_is_not_said_stays(managed: ManagedUpstreams) -> None:
    await managed.create(ROOT, NAME, said(URL, **SIGNED_IN, pins=("a",)))

    changed = await managed.change(ROOT, NAME, said(freshness_ms=5000))

    assert changed.address == Address(URL, "me", SECRET)
    assert (changed.pins, changed.freshness_ms) == (("a",), 5000)


@pytest.mark.parametrize(
    "changes",
    [
        said("https://evil.example"),
        said("https://registry.example:444"),
        said("https://registry.example/path"),
        said(username="you"),
        said(authority="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"),
    ],
)
async def test_stored_secret_never_goes_anywhere_else(
    managed: ManagedUpstreams, pings: Pings, changes: Changes
) -> None:
    await managed.create(ROOT, NAME, said(URL, **SIGNED_IN))

    with pytest.raises(FieldInvalid, match="give it again"):
        await managed.change(ROOT, NAME, changes)
    with pytest.raises(FieldInvalid, match="give it again"):
        await managed.test(ROOT, NAME, changes.address)

    assert pings.asked == []
    assert (await managed.get(NAME)).address == Address(URL, "me", SECRET)


async def test_stored_secret_of_an_alternative_stays_with_its_address(managed: ManagedUpstreams) -> None:
    one, two = "https://one.example", "https://two.example"
    await managed.create(ROOT, NAME, said(URL, [Given(one, "you", "pass")]))

    with pytest.raises(FieldInvalid, match="give it again"):
        await managed.change(ROOT, NAME, said(alternatives=[Given(one, "else")]))
    changed = await managed.change(ROOT, NAME, said(alternatives=[Given(two), Given(f"{one}/")]))

    assert changed.alternatives == (Address(two), Address(one, "you", "pass"))


async def test_with_another_address_comes_another_secret(managed: ManagedUpstreams) -> None:
    await managed.create(ROOT, NAME, said(URL, **SIGNED_IN))

    changed = await managed.change(ROOT, NAME, said("https://new.example", password="new"))

    assert changed.address == Address("https://new.example", "me", "new")


async def test_secret_goes_with_its_name(managed: ManagedUpstreams) -> None:
    await managed.create(ROOT, NAME, said(URL, **SIGNED_IN))

    changed = await managed.change(ROOT, NAME, said("https://new.example", username=""))

    assert changed.address == Address("https://new.example")


async def test_every_change_is_in_the_audit_without_secrets(
    managed: ManagedUpstreams, db: SqliteDatabase, uploads: Uploads
) -> None:
    await managed.create(ROOT, NAME, said(URL, **SIGNED_IN))
    await managed.change(ROOT, NAME, said("https://new.example", password=f"{SECRET}2"))
    await managed.disconnect(ROOT, NAME)
    await managed.connect(ROOT, NAME)
    await managed.test(ROOT, NAME, Given())
    await managed.remove(ROOT, NAME, None, uploads, 0)

    lines = await audited(db)

    assert [action for action, _, _ in lines] == [
        "upstream.create",
        "namespace.create",
        "upstream.update",
        "upstream.disconnect",
        "upstream.connect",
        "upstream.test",
        "upstream.remove",
    ]
    assert lines[2][2] == "url=https://new.example password"
    assert SECRET not in str(lines)


async def test_upstream_of_the_settings_is_changed_there(managed: ManagedUpstreams, uploads: Uploads) -> None:
    with pytest.raises(UpstreamStateInvalid, match="settings"):
        await managed.change(ROOT, "docker.io", said(freshness_ms=1))
    with pytest.raises(UpstreamStateInvalid, match="settings"):
        await managed.remove(ROOT, "docker.io", "keep", uploads, 0)


async def test_all_are_switched_together_and_only_once(managed: ManagedUpstreams, db: SqliteDatabase) -> None:
    await managed.create(ROOT, NAME, said(URL))

    assert await managed.disconnect(ROOT, NAME) == [NAME]
    assert await managed.disconnect(ROOT, None) == ["docker.io"]
    assert await upstream_rows.read_disconnected(db) == {"docker.io", NAME}
    assert (await upstream_rows.read_disconnections(db))[NAME].by == "root"
    assert await managed.connect(ROOT, None) == ["docker.io", NAME]
    assert await upstream_rows.read_disconnected(db) == set()


async def test_what_is_not_there_is_unknown(managed: ManagedUpstreams, uploads: Uploads) -> None:
    for work in (
        managed.get("x"),
        managed.change(ROOT, "x", said(freshness_ms=1)),
        managed.disconnect(ROOT, "x"),
        managed.connect(ROOT, "x"),
        managed.test(ROOT, "x", Given()),
        managed.remove(ROOT, "x", "keep", uploads, 0),
    ):
        with pytest.raises(UpstreamUnknown):
            await work


async def test_test_asks_every_address_as_it_is(managed: ManagedUpstreams, pings: Pings) -> None:
    pings.down = "https://down.example"
    await managed.create(ROOT, NAME, said(URL, [Given(pings.down)], **SIGNED_IN))

    tested = await managed.test(ROOT, NAME, Given())

    assert pings.asked == [Address(URL, "me", SECRET), Address(pings.down)]
    assert tested == [
        Trial(URL, None, tested[0].seconds),
        Trial(pings.down, "no one answers there", tested[1].seconds),
    ]


async def test_test_of_another_address_asks_that_and_changes_nothing(
    managed: ManagedUpstreams, pings: Pings
) -> None:
    made = await managed.create(ROOT, NAME, said(URL, **SIGNED_IN))
    other = Given("https://new.example", "you", "pass")

    await managed.test(ROOT, NAME, other)

    assert pings.asked == [Address("https://new.example", "you", "pass")]
    assert await managed.get(NAME) == made


async def test_test_asks_no_private_address(managed: ManagedUpstreams, pings: Pings) -> None:
    await managed.create(ROOT, NAME, said(URL))

    with pytest.raises(FieldInvalid, match="private_addresses"):
        await managed.test(ROOT, NAME, Given("https://169.254.169.254"))

    assert pings.asked == []


def mirror(tx: Transaction, name: RepositoryName = NGINX, upstream: str = NAME) -> int:
    """A repository of an upstream, of which it has said something."""
    repository_id = ensure_repository(tx, name)
    rows.mark_mirrored(tx, repository_id, upstream)
    rows.note_checked(tx, name, Tag("latest"))
    return repository_id


async def test_upstream_with_images_is_not_removed_without_a_word(
    managed: ManagedUpstreams, db: SqliteDatabase, uploads: Uploads
) -> None:
    await managed.create(ROOT, NAME, said(URL))
    await db.write(mirror)

    with pytest.raises(UpstreamStateInvalid, match="1 repositories"):
        await managed.remove(ROOT, NAME, None, uploads, 0)

    assert (await managed.get(NAME)).name == NAME


async def test_images_that_are_kept_are_local_ones(
    managed: ManagedUpstreams, db: SqliteDatabase, uploads: Uploads
) -> None:
    await managed.create(ROOT, NAME, said(URL))
    await managed.disconnect(ROOT, NAME)
    await db.write(mirror)

    removed = await managed.remove(ROOT, NAME, "keep", uploads, 0)

    assert (removed.kept, removed.deleted) == (1, 0)
    assert await rows.find_upstream(db, NGINX) == (True, None)
    assert await db.all("SELECT * FROM mirrored_tag") == []
    assert await upstream_rows.read_disconnected(db) == set()
    with pytest.raises(UpstreamUnknown):
        await managed.get(NAME)


async def test_images_that_are_deleted_are_in_the_trash(
    managed: ManagedUpstreams, db: SqliteDatabase, uploads: Uploads
) -> None:
    other = RepositoryName("docker.io/library/nginx")
    await managed.create(ROOT, NAME, said(URL))
    await db.write(mirror)
    await db.write(lambda tx: mirror(tx, other, "docker.io"))

    removed = await managed.remove(ROOT, NAME, "delete", uploads, 60_000)

    assert (removed.kept, removed.deleted) == (0, 1)
    assert [each.name for each in await list_deleted(db, 2**60, 10)] == [NGINX]
    assert await rows.find_upstream(db, other) == (True, "docker.io")
    with pytest.raises(NameUnknown):
        await get_repository(db, NGINX)


async def test_image_that_a_rule_fixes_stays_as_a_local_one(
    managed: ManagedUpstreams, db: SqliteDatabase, store: FilesystemStore, uploads: Uploads
) -> None:
    await managed.create(ROOT, NAME, said(URL))
    config = b"{}"
    await push_blob(uploads, config, NGINX)
    await push_document(db, store, image(config), "1.0", repository=NGINX)
    await db.write(mirror)
    await db.write(lambda tx: insert_rule(tx, f"{NAME}/*", "*", "root"))

    removed = await managed.remove(ROOT, NAME, "delete", uploads, 60_000)

    assert (removed.kept, removed.deleted) == (1, 0)
    assert await rows.find_upstream(db, NGINX) == (True, None)


async def test_images_of_what_left_the_settings_can_be_kept(
    managed: ManagedUpstreams, db: SqliteDatabase, uploads: Uploads
) -> None:
    await db.write(mirror)

    removed = await managed.remove(ROOT, NAME, "keep", uploads, 0)

    assert removed.kept == 1
    assert await rows.find_upstream(db, NGINX) == (True, None)


async def test_deleted_repository_of_a_removed_upstream_comes_back_as_a_local_one(
    managed: ManagedUpstreams, db: SqliteDatabase, uploads: Uploads
) -> None:
    await managed.create(ROOT, NAME, said(URL))
    repository_id = await db.write(mirror)
    await managed.remove(ROOT, NAME, "delete", uploads, 60_000)

    assert await rows.find_upstream_of_deleted(db, repository_id) is None

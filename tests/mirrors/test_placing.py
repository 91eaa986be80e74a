"""Which upstream a name means: local names win, and no one can put theirs in a local one's place."""

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import NameUnknown, Unsupported
from moorage.mirrors import rows, upstream_rows
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.placing import Upstreams
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.names import RepositoryName
from moorage.registry.repositories import rows as repository_rows
from tests.mirrors.conftest import HUB, Open

pytestmark = pytest.mark.anyio


async def place(upstreams: Upstreams, name: str, host: str | None = None) -> tuple[str, str | None]:
    placed = await upstreams.place(RepositoryName(name), host)
    return placed.name, None if placed.upstream is None else placed.upstream.name


async def push(db: SqliteDatabase, name: str) -> int:
    return await db.write(lambda tx: repository_rows.ensure_repository(tx, RepositoryName(name)))


@pytest.mark.parametrize(
    ("name", "host", "placed"),
    [
        ("docker.io/library/nginx", None, "docker.io/library/nginx"),
        ("docker.io/nginx", None, "docker.io/library/nginx"),
        ("docker.io/team/app", None, "docker.io/team/app"),
        ("library/nginx", None, "docker.io/library/nginx"),
        ("team/app", None, "docker.io/team/app"),
        ("library/nginx", "docker.io", "docker.io/library/nginx"),
        ("library/nginx", "registry-1.docker.io", "docker.io/library/nginx"),
        ("docker.io/library/nginx", "docker.io", "docker.io/library/nginx"),
    ],
)
async def test_name_of_an_upstream(mirrors: Mirrors, name: str, host: str | None, placed: str) -> None:
    assert await place(mirrors.upstreams, name, host) == (placed, "docker.io")


async def test_registry_that_is_not_mirrored(mirrors: Mirrors) -> None:
    with pytest.raises(NameUnknown, match=r"no upstream called quay\.io"):
        await mirrors.upstreams.place(RepositoryName("library/nginx"), "quay.io")


async def test_bare_name_without_a_root_is_local(open_mirrors: Open) -> None:
    upstreams = open_mirrors(HUB.__class__("docker.io", HUB.address)).upstreams

    assert await place(upstreams, "library/nginx") == ("library/nginx", None)
    assert await place(upstreams, "docker.io/library/nginx") == ("docker.io/library/nginx", "docker.io")


async def test_bare_name_in_a_namespace_that_is_here_is_never_looked_for_elsewhere(
    mirrors: Mirrors, db: SqliteDatabase
) -> None:
    await push(db, "team/app")

    assert await place(mirrors.upstreams, "team/app") == ("team/app", None)
    assert await place(mirrors.upstreams, "team/not-there") == ("team/not-there", None)
    assert await place(mirrors.upstreams, "team2/app") == ("docker.io/team2/app", "docker.io")
    # said by its whole name, it is the upstream's
    assert await place(mirrors.upstreams, "team/app", "docker.io") == ("docker.io/team/app", "docker.io")


async def test_bare_name_of_what_was_deleted_is_not_looked_for_elsewhere(
    mirrors: Mirrors, db: SqliteDatabase
) -> None:
    repository_id = await push(db, "team/app")
    await db.write(lambda tx: repository_rows.put_in_trash(tx, repository_id, "alice", 0))
    await db.write(
        lambda tx: tx.run("INSERT INTO repository_deletion (name, at) VALUES (?, ?)", ("team/app", 1))
    )

    assert await place(mirrors.upstreams, "team/app") == ("team/app", None)
    assert await place(mirrors.upstreams, "team/other") == ("team/other", None)


async def test_local_repository_with_an_upstreams_name_in_front_wins(
    mirrors: Mirrors, db: SqliteDatabase
) -> None:
    await push(db, "docker.io/team/app")
    mirrored = await push(db, "docker.io/team/other")
    await db.write(lambda tx: rows.mark_mirrored(tx, mirrored, "docker.io"))

    assert await place(mirrors.upstreams, "docker.io/team/app") == ("docker.io/team/app", None)
    assert await place(mirrors.upstreams, "docker.io/team/other") == ("docker.io/team/other", "docker.io")


async def test_what_is_excluded_is_not_mirrored(open_mirrors: Open) -> None:
    upstreams = open_mirrors(
        HUB.__class__("docker.io", HUB.address, include=("library/*", "team/*"), exclude=("team/secret",))
    ).upstreams

    assert await place(upstreams, "docker.io/team/app") == ("docker.io/team/app", "docker.io")
    for name in ("docker.io/team/secret", "docker.io/other/app"):
        with pytest.raises(NameUnknown, match="not among what is mirrored"):
            await upstreams.place(RepositoryName(name), None)


@pytest.mark.parametrize(("name", "host"), [("docker.io/team/app", None), ("team/app", "docker.io")])
async def test_push_to_a_mirror_is_refused(mirrors: Mirrors, name: str, host: str | None) -> None:
    with pytest.raises(Unsupported, match=r"mirrors docker\.io"):
        await mirrors.upstreams.check_push(RepositoryName(name), host)


async def test_push_by_a_name_of_ones_own_is_local(mirrors: Mirrors, db: SqliteDatabase) -> None:
    await push(db, "docker.io/mine/app")

    await mirrors.upstreams.check_push(RepositoryName("library/nginx"), None)
    await mirrors.upstreams.check_push(RepositoryName("docker.io/mine/app"), None)


@pytest.mark.parametrize(("name", "host"), [("quay.io/team/app", None), ("team/app", "quay.io")])
async def test_upstream_that_was_added_this_second_is_known(
    mirrors: Mirrors, db: SqliteDatabase, name: str, host: str | None
) -> None:
    upstreams = mirrors.upstreams
    await upstreams.look()
    quay = Upstream("quay.io", Address("https://quay.example"))
    await db.write(lambda tx: upstream_rows.insert_upstream(tx, quay, "root"))

    await upstreams.look_for(RepositoryName(name), host)

    assert await place(upstreams, name, host) == ("quay.io/team/app", "quay.io")

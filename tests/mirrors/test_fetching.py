"""Manifests of upstreams: asked for once, asked about when they are old, served when the line is down."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from moorage.clock import now_ms
from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import ManifestUnknown, UpstreamFailed, UpstreamUnreachable
from moorage.mirrors import rows
from moorage.mirrors.absent import ABSENT_S
from moorage.mirrors.asking import Busy, Failed, Fetched, Unfit, Unreachable
from moorage.mirrors.flights import AT_ONCE
from moorage.mirrors.lines import FAILURES_MAX
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.refusing import Unkept
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.manifests.rows import find_by_tag
from moorage.registry.tags.immutability_rows import insert_rule
from tests.mirrors.conftest import HUB, Open, until
from tests.mirrors.elsewhere import Elsewhere, Everywhere
from tests.registry.conftest import Clock

pytestmark = pytest.mark.anyio

NGINX = RepositoryName("docker.io/library/nginx")
ONE = Tag("1")
FRESH = timedelta(milliseconds=HUB.freshness_ms)


async def pull(mirrors: Mirrors, db: SqliteDatabase, reference: str = "1") -> tuple[str, int | None]:
    """What a tag names after a pull as the endpoint does it, and its age where that is said."""
    await mirrors.upstreams.look(at_once=True)
    age_ms = await mirrors.manifests.refresh(HUB, NGINX, Tag(reference))
    assert not isinstance(age_ms, Unkept)
    stored = await find_by_tag(db, NGINX, Tag(reference))
    if stored is None:
        await mirrors.manifests.bring(HUB, NGINX, reference)
        stored = await find_by_tag(db, NGINX, Tag(reference))
    assert stored is not None
    return stored.digest, age_ms


async def test_manifest_is_fetched_once(mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")

    brought = await asyncio.gather(*(mirrors.manifests.bring(HUB, NGINX, "1") for _ in range(20)))
    assert len(brought) == 20
    assert await pull(mirrors, db) == (digest, None)

    assert hub.asked == [("GET", "1")]


async def test_tag_is_asked_about_when_it_is_no_longer_fresh(
    mirrors: Mirrors, open_mirrors: Open, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    second = open_mirrors()
    for minute in range(4):
        for process in (mirrors, second):
            assert await pull(process, db) == (digest, None)
        assert (hub.count("GET"), hub.count("HEAD")) == (1, minute)
        clock.move(FRESH)


async def test_several_processes_that_find_a_tag_old_ask_once(
    mirrors: Mirrors, open_mirrors: Open, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    clock.move(FRESH)

    processes = [mirrors, open_mirrors(), open_mirrors()]
    await asyncio.gather(*(each.manifests.refresh(HUB, NGINX, ONE) for each in processes for _ in range(5)))

    assert hub.count("HEAD") == 1


async def test_tag_that_has_moved_is_followed(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    first = hub.push_image("library/nginx", "1", b"layer")
    assert await pull(mirrors, db) == (first, None)
    second = hub.push_image("library/nginx", "1", b"other layer")

    assert await pull(mirrors, db) == (first, None)
    clock.move(FRESH)
    assert await pull(mirrors, db) == (second, None)
    # back to what is here already: nothing need be fetched
    hub.push_image("library/nginx", "1", b"layer")
    clock.move(FRESH)
    assert await pull(mirrors, db) == (first, None)

    assert hub.asked == [("GET", "1"), ("HEAD", "1"), ("GET", second), ("HEAD", "1")]


@pytest.mark.parametrize("failure", [Unreachable("no route"), Failed("500"), Busy("429", 30)], ids=str)
async def test_f42_tag_is_served_with_its_age_while_its_upstream_cannot_be_asked(
    mirrors: Mirrors,
    db: SqliteDatabase,
    hub: Elsewhere,
    clock: Clock,
    failure: Unreachable | Failed | Busy,
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    clock.move(FRESH * 2)
    hub.failure = failure

    for _ in range(10):
        assert await pull(mirrors, db) == (digest, 2 * HUB.freshness_ms)

    # and not asked again and again
    assert hub.count("HEAD") <= FAILURES_MAX


async def test_f42_line_that_opened_is_tried_when_it_is_due(
    mirrors: Mirrors, open_mirrors: Open, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    clock.move(FRESH)
    hub.failure = Unreachable("no route")
    assert (await pull(mirrors, db))[1] is not None
    hub.failure = None
    second = open_mirrors()
    await second.upstreams.look()

    async def try_lines() -> None:
        await asyncio.gather(*(each._lines.try_due((HUB,)) for each in (mirrors, second)))

    await try_lines()
    assert hub.count("PING") == 0
    clock.move(timedelta(seconds=10))
    await try_lines()
    assert hub.count("PING") == 1
    assert await pull(second, db) == (digest, None)


async def test_answer_closes_a_line_that_another_process_has_opened_since(
    mirrors: Mirrors, open_mirrors: Open, db: SqliteDatabase, hub: Elsewhere
) -> None:
    hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    second = open_mirrors()
    hub.failure = Unreachable("no route")
    with pytest.raises(UpstreamUnreachable):
        await second.manifests.bring(HUB, NGINX, "absent")
    hub.failure = None

    with pytest.raises(ManifestUnknown):
        await mirrors.manifests.bring(HUB, NGINX, "absent")

    assert await second._lines.find_usable(HUB) == [HUB.address, *HUB.alternatives]


async def test_answer_to_what_was_asked_before_closes_no_line_that_said_429(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    """Of many who ask at once some are answered yet: it is to be left alone for as long as it said."""
    hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    hub.list_gate = asyncio.Event()
    listing = asyncio.create_task(mirrors.looks.list_tags(HUB, NGINX, "", 10))
    await until(lambda: hub.count("TAGS") == 1)
    clock.move(timedelta(milliseconds=10))
    hub.failure = Busy("429", 60)
    with pytest.raises(UpstreamUnreachable):
        await mirrors.manifests.bring(HUB, NGINX, "absent")
    hub.failure = None

    hub.list_gate.set()
    assert await listing == ["1"]

    assert not mirrors._lines.is_usable(HUB)


@pytest.mark.parametrize(
    ("failure", "refusal"), [(Unreachable("no route"), UpstreamUnreachable), (Failed("500"), UpstreamFailed)]
)
async def test_f42_what_is_not_here_is_refused_with_the_upstreams_name_and_state(
    mirrors: Mirrors,
    hub: Elsewhere,
    other: Elsewhere,
    failure: Unreachable | Failed,
    refusal: type[UpstreamFailed],
) -> None:
    hub.failure = other.failure = failure

    with pytest.raises(refusal, match=f"docker.io: {failure}"):
        await mirrors.manifests.bring(HUB, NGINX, "1")


async def test_f42_that_there_is_no_such_tag_is_believed_for_less_than_a_minute(
    mirrors: Mirrors, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ABSENT_S <= 60
    monkeypatch.setattr("moorage.mirrors.absent.ABSENT_S", 0.1)
    for _ in range(3):
        with pytest.raises(ManifestUnknown):
            await mirrors.manifests.bring(HUB, NGINX, "1")
    assert hub.count("GET") == 1

    hub.push_image("library/nginx", "1", b"layer")
    await asyncio.sleep(0.2)
    await mirrors.manifests.bring(HUB, NGINX, "1")


async def test_f44_tag_that_the_upstream_deleted_is_served_and_that_is_recorded(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    clock.move(FRESH)
    del hub.manifests["library/nginx", "1"]

    assert await pull(mirrors, db) == (digest, None)
    known = await rows.find_tag(db, NGINX, ONE)
    assert known is not None
    assert known.gone_at == now_ms()
    hub.push_image("library/nginx", "1", b"layer")
    clock.move(FRESH)
    await pull(mirrors, db)
    known = await rows.find_tag(db, NGINX, ONE)
    assert known is not None
    assert known.gone_at is None


async def test_alternative_is_asked_while_the_upstream_cannot_be(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, other: Elsewhere
) -> None:
    digest = other.push_image("library/nginx", "1", b"layer")
    hub.failure = Unreachable("no route")

    assert await pull(mirrors, db) == (digest, None)


async def test_alternative_cannot_swap_a_tag_that_the_upstream_has_shown(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, other: Elsewhere, clock: Clock
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    other.push_image("library/nginx", "1", b"poison")
    hub.failure = Unreachable("no route")
    clock.move(FRESH)

    assert (await pull(mirrors, db))[0] == digest
    # nor when what was here is not any more
    await db.write(lambda tx: tx.run("DELETE FROM tag"))
    with pytest.raises(UpstreamUnreachable):
        await mirrors.manifests.bring(HUB, NGINX, "1")
    other.push_image("library/nginx", "1", b"layer")
    assert await pull(mirrors, db) == (digest, None)


async def test_tag_that_a_rule_fixes_stays_when_the_upstream_moves_it(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    await db.write(lambda tx: insert_rule(tx, "docker.io/*", "1", "alice"))
    hub.push_image("library/nginx", "1", b"other layer")
    clock.move(FRESH)

    assert await pull(mirrors, db) == (digest, HUB.freshness_ms)


async def test_disconnected_upstream_is_not_asked(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, clock: Clock
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    asked = list(hub.asked)
    clock.move(FRESH)
    await db.write(
        lambda tx: tx.run("INSERT INTO upstream_disconnection (name, at, by) VALUES ('docker.io', 1, 'me')")
    )

    assert await pull(mirrors, db) == (digest, HUB.freshness_ms)
    with pytest.raises(UpstreamUnreachable, match="disconnected"):
        await mirrors.manifests.bring(HUB, NGINX, "2")
    assert hub.asked == asked


async def test_who_asks_for_what_is_of_no_use_cuts_no_one_off(mirrors: Mirrors, hub: Elsewhere) -> None:
    hub.push_image("library/nginx", "1", b"layer")
    hub.failure = Unfit("it has only a manifest of schema 1 there")
    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(UpstreamFailed, match="schema 1"):
            await mirrors.manifests.bring(HUB, NGINX, "old")
    hub.failure = None

    await mirrors.manifests.bring(HUB, NGINX, "1")


async def test_list_that_does_not_come_holds_no_one_and_opens_no_line(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mirrors", "looking"):
        monkeypatch.setattr(f"moorage.mirrors.{module}.FETCH_S", 0.1)
    digest = hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    hub.list_gate = asyncio.Event()

    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(UpstreamUnreachable, match="no list of tags"):
            await mirrors.looks.list_tags(HUB, NGINX, "", 10)
        assert await mirrors.bring_referrers(HUB, NGINX, digest) is not None

    assert mirrors._lines.is_usable(HUB)


async def test_that_there_is_no_such_repository_is_not_believed_longer_for_being_asked(
    mirrors: Mirrors, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.mirrors.absent.ABSENT_S", 0.2)
    with pytest.raises(UpstreamUnreachable):
        await mirrors.looks.list_tags(HUB, NGINX, "", 10)
    hub.push_image("library/nginx", "1", b"layer")
    found: list[str] = []
    for _ in range(100):
        await asyncio.sleep(0.02)
        with suppress(UpstreamUnreachable):
            found = await mirrors.looks.list_tags(HUB, NGINX, "", 10)

    assert found == ["1"]


async def test_lists_take_only_some_of_the_connections(mirrors: Mirrors, hub: Elsewhere) -> None:
    hub.push_image("library/nginx", "1", b"layer")
    hub.list_gate = asyncio.Event()

    asked = [asyncio.create_task(mirrors.looks.list_tags(HUB, NGINX, "", 10)) for _ in range(100)]
    await asyncio.sleep(0.1)
    begun = hub.count("TAGS")
    hub.list_gate.set()

    assert await asyncio.gather(*asked) == [["1"]] * 100
    assert 0 < begun < 32


async def test_line_stays_open_while_the_registry_itself_is_refused(
    mirrors: Mirrors, hub: Elsewhere, clock: Clock
) -> None:
    hub.failure = Unreachable("no route")
    with pytest.raises(UpstreamUnreachable):
        await mirrors.manifests.bring(HUB, NGINX, "1")
    hub.failure = Unfit("hub.example answered 400")
    clock.leap(timedelta(minutes=1))

    await mirrors._lines.try_due((HUB,))

    assert ("PING", "") in hub.asked
    assert not mirrors._lines.is_usable(HUB)


@pytest.mark.parametrize("back", [timedelta(minutes=5), timedelta(days=400)])
async def test_tag_is_asked_about_when_the_clock_was_set_back(
    mirrors: Mirrors, db: SqliteDatabase, hub: Elsewhere, clock: Clock, back: timedelta
) -> None:
    hub.push_image("library/nginx", "1", b"layer")
    await pull(mirrors, db)
    moved = hub.push_image("library/nginx", "1", b"other layer")
    clock.leap(-back)
    mirrors.manifests._fresh_until.clear()

    assert await pull(mirrors, db) == (moved, None)
    await pull(mirrors, db)
    assert hub.count("HEAD") == 1


async def test_line_that_opened_is_tried_when_the_clock_was_set_back(
    mirrors: Mirrors, hub: Elsewhere, clock: Clock
) -> None:
    hub.failure = Unreachable("no route")
    with pytest.raises(UpstreamUnreachable):
        await mirrors.manifests.bring(HUB, NGINX, "1")
    hub.failure = None
    clock.leap(-timedelta(minutes=30))

    await mirrors._lines.try_due((HUB,))

    assert mirrors._lines.is_usable(HUB)


async def test_many_who_ask_for_made_up_tags_do_not_ask_the_upstream_all_at_once(
    mirrors: Mirrors, hub: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, most = 0, 0
    get = Everywhere.get_manifest

    async def count(*arguments: Any) -> Fetched:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        try:
            return await get(*arguments)
        finally:
            asked -= 1

    monkeypatch.setattr(Everywhere, "get_manifest", count)

    got = await asyncio.gather(
        *(mirrors.manifests.bring(HUB, NGINX, f"made-up-{number}") for number in range(5 * AT_ONCE)),
        return_exceptions=True,
    )

    assert {type(each) for each in got} == {ManifestUnknown}
    assert most == AT_ONCE
    assert hub.count("GET") == 5 * AT_ONCE

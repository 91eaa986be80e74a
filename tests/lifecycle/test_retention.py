"""Rules over real rows: what a plan says, what a run does, and what they leave alone."""

import json
from datetime import timedelta
from typing import Any

import pytest

from moorage.config import Settings
from moorage.database import Transaction
from moorage.databases.sqlite import SqliteDatabase
from moorage.lifecycle.renaming import rename_repository
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.planning import Plan, plan_repository
from moorage.lifecycle.retention.removing import Batch, PlanVoid, order
from moorage.lifecycle.retention.running import ALL_BEGUN, KIND, Retention, ask_for_run, read_rules
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName, Tag
from moorage.records.audit.rows import Actor
from moorage.registry.manifests.rows import find_by_digest, find_by_tag, find_held
from moorage.registry.pulls import rows as pull_rows
from moorage.registry.pulls.rows import Pull
from moorage.registry.repositories.rows import find_repository, get_repository
from moorage.registry.tags import immutability_rows
from moorage.registry.tags import rows as tag_rows
from moorage.registry.tags.rows import list_tags
from moorage.registry.trash.restoring import restore_deletion
from moorage.registry.trash.rows import list_deletions
from moorage.registry.uploads.uploading import Uploads
from moorage.storage.filesystem import FilesystemStore
from tests.content import OCI_MANIFEST, Document, digest_of, encode, image, index, some_bytes, subject
from tests.lifecycle.jobs import run_job
from tests.registry.conftest import Clock
from tests.registry.pushing import OTHER, REPOSITORY, push_blob, push_document

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000
ALICE = Actor("alice")
CONFIG = b"{}"


class Registry:
    """What a test does with one: push, set rules, plan, run, look."""

    def __init__(self, db: SqliteDatabase, store: FilesystemStore, uploads: Uploads, clock: Clock) -> None:
        self.db, self.store, self.uploads, self.clock = db, store, uploads, clock

    async def push(
        self,
        *tags: str,
        size: int = 1000,
        repository: RepositoryName = REPOSITORY,
        layers: list[bytes] | None = None,
    ) -> Document:
        """An image of one layer that no other has, unless they are given; an hour passes."""
        layers = [some_bytes(size)] if layers is None else layers
        for blob in (CONFIG, *layers):
            await push_blob(self.uploads, blob, repository)
        document = image(CONFIG, layers)
        await push_document(self.db, self.store, document, *tags, repository=repository)
        self.clock.move(timedelta(hours=1))
        return document

    async def put(self, document: Document, *tags: str) -> str:
        """Any manifest whose parts are there."""
        return await push_document(self.db, self.store, document, *tags)

    async def rule(self, scope: str = "team/*", pattern: str = "*", **keeps: Any) -> int:
        fields = {"keep_newest": None, "newest_by": "time", "keep_pushed_ms": None, "keep_pulled_ms": None}
        values = {"in_effect_from": 0, **fields, **keeps}
        made = await self.db.write(
            lambda tx: rows.insert_rule(tx, scope, pattern, created_by="alice", **values)
        )
        return made.id

    async def plan(self, repository: RepositoryName = REPOSITORY) -> Plan:
        rules = await read_rules(self.db, ALL_BEGUN)
        return await plan_repository(self.db, await get_repository(self.db, repository), repository, rules)

    async def run(self, scope: str = "*") -> Any:
        handler = Retention(self.db, Settings().delete).run
        return await run_job(self.db, KIND, handler, scope=scope)

    async def tags(self, repository: RepositoryName = REPOSITORY) -> list[str]:
        return list(await list_tags(self.db, await get_repository(self.db, repository), "", 1000))

    async def is_served(self, document: Document) -> bool:
        digest = Digest(digest_of(encode(document)))
        return await find_by_digest(self.db, REPOSITORY, digest) is not None

    async def pull(self, reference: str) -> None:
        pulled = Pull(REPOSITORY, reference, 1, self.clock.now_ns // 1_000_000)
        await self.db.write(lambda tx: pull_rows.add(tx, [pulled]))


@pytest.fixture
def there(db: SqliteDatabase, store: FilesystemStore, uploads: Uploads, clock: Clock) -> Registry:
    return Registry(db, store, uploads, clock)


def going(plan: Plan) -> list[str]:
    return [each.tag.name for each in plan.removed]


async def test_what_no_rule_keeps_goes_to_the_trash_with_its_tags(there: Registry) -> None:
    old = await there.push("1", "one")
    await there.push("2")
    number = await there.rule(keep_newest=1)

    result = await there.run()

    assert await there.tags() == ["2"]
    assert not await there.is_served(old)
    assert (result["repositories"], result["tags"], result["manifests"]) == (1, 2, 1)
    deletion, *others = await list_deletions(there.db, REPOSITORY, 1 << 60, 100)
    assert others == []
    assert (deletion.reason, deletion.deleted_by) == ("retention", f"retention rule {number}")
    restored = await restore_deletion(there.db, deletion.id, ALICE)
    assert restored.tags == ["1", "one"]
    assert await there.is_served(old)


async def test_tag_whose_image_has_another_that_stays_is_only_unlinked(there: Registry) -> None:
    document = await there.push("build-1", "1.0")
    await there.rule(pattern="build-*", keep_pushed_ms=DAY_MS)
    there.clock.move(timedelta(days=2))

    result = await there.run()

    assert (await there.tags(), result["manifests"]) == (["1.0"], 0)
    assert await there.is_served(document)
    events = await there.db.all(
        "SELECT name, to_digest, by FROM tag_event WHERE name = 'build-1' ORDER BY number"
    )
    assert events[-1] == ("build-1", None, "retention rule 1")


async def test_bytes_of_a_plan_add_up_to_what_only_removed_images_need(there: Registry) -> None:
    shared, kept = some_bytes(5000), some_bytes(7000)
    await there.push("1", layers=[shared, some_bytes(100)])
    await there.push("2", layers=[shared, some_bytes(200), kept])
    await there.push("3", layers=[kept])
    await there.push("4")
    await there.rule(keep_newest=2)

    plan = await there.plan()

    assert going(plan) == ["1", "2"]
    assert plan.frees_bytes == {"1": 5100, "2": 200}
    result = await there.run()
    assert result["frees_bytes"] == 5300


async def test_blob_that_another_repository_needs_is_not_counted(there: Registry) -> None:
    layer = some_bytes(5000)
    await there.push("1", layers=[layer])
    await there.push("1", layers=[layer], repository=OTHER)
    await there.push("2")
    await there.rule(str(REPOSITORY), keep_newest=1)

    assert (await there.plan()).frees_bytes == {"1": 0}


async def test_rule_speaks_of_the_repositories_of_its_scope_only(there: Registry) -> None:
    for repository in (REPOSITORY, OTHER):
        await there.push("1", repository=repository)
        await there.push("2", repository=repository)
    await there.rule(str(OTHER), keep_newest=1)

    await there.run()

    assert (await there.tags(REPOSITORY), await there.tags(OTHER)) == (["1", "2"], ["2"])


async def test_run_of_a_scope_leaves_other_repositories(there: Registry) -> None:
    for repository in (REPOSITORY, OTHER):
        await there.push("1", repository=repository)
        await there.push("2", repository=repository)
    await there.rule(keep_newest=1)

    await there.run(str(OTHER))

    assert (await there.tags(REPOSITORY), await there.tags(OTHER)) == (["1", "2"], ["2"])


async def test_pin_and_immutability_win_over_age_d21(there: Registry) -> None:
    for tag in ("1.0.0", "pinned", "old"):
        await there.push(tag)

    def fix(tx: Transaction) -> None:
        repository_id = find_repository(tx, REPOSITORY)
        immutability_rows.insert_rule(tx, "team/*", "1.*", "alice")
        tx.run("INSERT INTO tag_pin VALUES (?, 'pinned', 1, 'alice')", (repository_id,))

    await there.db.write(fix)
    await there.rule(keep_pushed_ms=DAY_MS)
    there.clock.move(timedelta(days=30))

    plan = await there.plan()
    await there.run()

    assert {each.tag.name: each.why for each in plan.decisions if each.is_kept} == {
        "1.0.0": "immutable by rule 1",
        "pinned": "pinned",
    }
    assert await there.tags() == ["1.0.0", "pinned"]


async def test_pulls_by_tag_by_digest_and_of_a_child_keep(there: Registry) -> None:
    named, digested, forgotten = [await there.push(each) for each in ("a", "b", "c")]
    child = await there.push()
    await there.put(index([child]), "multi")
    await there.rule(keep_pulled_ms=10 * DAY_MS)
    there.clock.move(timedelta(days=30))
    await there.db.write(lambda tx: tx.run("UPDATE pull_counting SET since = 0"))
    await there.pull("a")
    await there.pull(digest_of(encode(digested)))
    await there.pull(digest_of(encode(child)))
    there.clock.move(timedelta(days=5))

    await there.run()

    assert await there.tags() == ["a", "b", "multi"]
    assert [await there.is_served(each) for each in (named, digested, forgotten)] == [True, True, False]


async def test_index_goes_with_its_children_and_leaves_those_of_others(there: Registry) -> None:
    alone, shared, tagged = await there.push(), await there.push(), await there.push("amd64")
    await there.put(index([alone, shared, tagged]), "old")
    there.clock.move(timedelta(hours=1))
    await there.put(index([shared]), "new")
    await there.rule(pattern="old", keep_pushed_ms=1)
    there.clock.move(timedelta(hours=1))

    plan = await there.plan()
    await there.run()

    assert len(plan.leaving) == 2
    assert sum(plan.frees_bytes.values()) == 1000
    assert [await there.is_served(each) for each in (alone, shared, tagged)] == [False, True, True]


async def test_tagged_child_of_an_index_that_stays_is_only_unlinked(there: Registry) -> None:
    child = await there.push("amd64")
    await there.put(index([child]), "1.0")
    await there.rule(pattern="amd*", keep_pushed_ms=1)

    await there.run()

    assert await there.tags() == ["1.0"]
    assert await there.is_served(child)


async def test_index_and_its_tagged_children_go_together(there: Registry) -> None:
    children = [await there.push(each) for each in ("a-amd64", "z-arm64")]
    await there.put(index(children), "m")
    await there.put(index([index(children)]), "nested")
    await there.rule(keep_pushed_ms=1)
    there.clock.move(timedelta(hours=1))

    plan = await there.plan()
    result = await there.run()

    assert (await there.tags(), result["manifests"], result["unfinished"]) == ([], 4, 0)
    assert result["frees_bytes"] == sum(plan.frees_bytes.values()) == 2000 + len(CONFIG)


async def signed(there: Registry, document: Document, ending: str) -> Document:
    """A signature as cosign makes it, by its tag."""
    return await there.push(f"sha256-{digest_of(encode(document))[7:]}{ending}")


@pytest.mark.parametrize("ending", [".sig", ".att", ".sbom", ""])
async def test_signature_tags_stay_with_what_they_sign_and_go_with_it_d21(
    there: Registry, ending: str
) -> None:
    old, new = await there.push("1"), await there.push("2")
    of_old, of_new = await signed(there, old, ending), await signed(there, new, ending)
    of_signature = await signed(there, of_old, ".sig")
    # it names no signature: they follow what they sign
    await there.rule(pattern="?", keep_newest=1)

    result = await there.run()

    assert [await there.is_served(each) for each in (old, of_old, of_signature)] == [False] * 3
    assert [await there.is_served(each) for each in (new, of_new)] == [True] * 2
    assert (result["tags"], result["unfinished"]) == (3, 0)


async def test_signature_of_a_child_stays_as_long_as_its_index(there: Registry) -> None:
    child = await there.push()
    signature = await signed(there, child, ".sig")
    await there.put(index([child]), "1")
    await there.rule(keep_pushed_ms=1)
    await there.rule(pattern="1", keep_newest=1)

    await there.run()
    assert await there.is_served(signature)
    await there.db.write(lambda tx: rows.delete_rule(tx, 2))
    there.clock.move(timedelta(hours=1))

    assert (await there.run())["tags"] == 2
    assert not await there.is_served(signature)


async def test_referrer_with_a_tag_is_kept_while_its_subject_is(there: Registry) -> None:
    document = await there.push("1")
    referrer = image(CONFIG, [], OCI_MANIFEST, subject=subject(document), artifactType="application/x")
    await there.put(referrer, "sbom-of-1")
    await there.rule(pattern="sbom-*", keep_pushed_ms=1)
    there.clock.move(timedelta(days=2))

    assert [each.why for each in (await there.plan()).decisions] == [
        "no rule names it",
        "what it belongs to stays",
    ]
    await there.run()
    assert await there.tags() == ["1", "sbom-of-1"]


async def test_untagged_referrer_goes_with_its_subject(there: Registry) -> None:
    document = await there.push("1")
    referrer = image(CONFIG, [], OCI_MANIFEST, subject=subject(document), artifactType="application/x")
    await there.put(referrer)
    await there.rule(keep_pushed_ms=1)

    await there.run()

    assert [await there.is_served(each) for each in (document, referrer)] == [False, False]


async def test_new_rule_waits_until_it_is_asked_to_begin_d21(there: Registry) -> None:
    await there.push("1")
    await there.push("2")
    later = there.clock.now_ns // 1_000_000 + DAY_MS
    await there.rule(keep_newest=1, in_effect_from=later)

    await there.run()
    assert await there.tags() == ["1", "2"]
    assert going(await there.plan()) == ["1"]

    await run_job(there.db, KIND, Retention(there.db, Settings().delete).run, scope="*", begun_to=1)
    assert await there.tags() == ["2"]


async def test_rule_begins_for_the_schedule_when_a_run_of_all_it_names_is_asked_for(there: Registry) -> None:
    await there.push("1")
    await there.push("2")
    await there.rule(keep_newest=1, in_effect_from=there.clock.now_ns // 1_000_000 + DAY_MS)

    async def ask(scope: str) -> None:
        """And let the job that comes of it be lost: only the schedule's is run."""
        await ask_for_run(there.db, scope, ALICE)
        await there.db.write(lambda tx: tx.run("DELETE FROM job"))

    await ask(str(REPOSITORY))
    await there.run()
    assert await there.tags() == ["1", "2"]

    await ask("team/*")
    await there.run()
    assert await there.tags() == ["2"]


async def test_new_rule_begins_by_itself_after_its_wait(there: Registry) -> None:
    await there.push("1")
    await there.push("2")
    await there.rule(keep_newest=1, in_effect_from=there.clock.now_ns // 1_000_000 + DAY_MS)
    there.clock.move(timedelta(hours=25))

    await there.run()

    assert await there.tags() == ["2"]


@pytest.mark.parametrize(
    "leap", [timedelta(days=1), timedelta(days=3650), timedelta(days=-1), timedelta(days=-3650)]
)
async def test_clock_that_is_set_makes_nothing_old_f40(there: Registry, leap: timedelta) -> None:
    await there.push("1")
    await there.rule(keep_pushed_ms=DAY_MS // 2)
    await there.run()

    there.clock.leap(leap)
    await there.run()

    assert await there.tags() == ["1"]


async def test_what_was_pushed_while_the_clock_was_ahead_takes_no_place_f40(there: Registry) -> None:
    await there.push("1")
    await there.run()
    there.clock.leap(timedelta(days=3650))
    await there.push("future")
    there.clock.leap(timedelta(days=-3650))
    await there.push("2")
    await there.rule(keep_newest=1)

    await there.run()

    assert await there.tags() == ["2", "future"]


async def test_deleting_that_is_switched_off_is_for_rules_too(there: Registry) -> None:
    await there.push("1")
    await there.rule(keep_pushed_ms=1)
    settings = Settings().delete
    object.__setattr__(settings, "enabled", False)

    result = await run_job(there.db, KIND, Retention(there.db, settings).run)

    assert "switched off" in result["refused"]
    assert await there.tags() == ["1"]


# what happens between a plan and its run


async def interrupted(there: Registry, meanwhile: Any) -> bool:
    """Whether a plan that removes 1 of 1, 2 and 3 is void after something happened."""
    for each in ("1", "2", "3"):
        await there.push(each)
    await there.rule(keep_newest=2, keep_pulled_ms=1)
    await there.db.write(lambda tx: tx.run("UPDATE pull_counting SET since = 0"))
    plan = await there.plan()
    assert going(plan) == ["1"]
    repository_id = await get_repository(there.db, REPOSITORY)

    await meanwhile(repository_id)

    try:
        await there.db.write(Batch(repository_id, plan, order(plan), DAY_MS).remove)
    except PlanVoid:
        return True
    return False


async def test_plan_is_carried_out_where_nothing_happened(there: Registry) -> None:
    async def nothing(_: int) -> None: ...

    assert not await interrupted(there, nothing)
    assert await there.tags() == ["2", "3"]


async def push_again(there: Registry, _: int) -> None:
    await there.put(await read_first(there), "1")


async def move(there: Registry, _: int) -> None:
    await there.push("1")


async def tag_anew(there: Registry, _: int) -> None:
    await there.put(await read_first(there), "keep")


async def put_into_index(there: Registry, _: int) -> None:
    await there.put(index([await read_first(there)]))


async def pull(there: Registry, _: int) -> None:
    await there.pull("1")


async def pin(there: Registry, repository_id: int) -> None:
    await there.db.write(lambda tx: tx.run("INSERT INTO tag_pin VALUES (?, '1', 1, 'x')", (repository_id,)))


async def delete_another(there: Registry, repository_id: int) -> None:
    await there.db.write(lambda tx: tag_rows.delete(tx, repository_id, Tag("3"), "x"))


async def add_rule(there: Registry, _: int) -> None:
    await there.rule(pattern="1", keep_newest=1)


async def remove_rule(there: Registry, _: int) -> None:
    await there.db.write(lambda tx: rows.delete_rule(tx, 1))


async def fix(there: Registry, _: int) -> None:
    await there.db.write(lambda tx: immutability_rows.insert_rule(tx, "*", "1", "x"))


async def rename(there: Registry, _: int) -> None:
    await rename_repository(there.db, REPOSITORY, OTHER, timedelta(), ALICE)


HAPPENINGS = (
    push_again,
    move,
    tag_anew,
    put_into_index,
    pull,
    pin,
    delete_another,
    add_rule,
    remove_rule,
    fix,
    rename,
)


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda each: each.__name__)
async def test_plan_is_void_when_what_it_rests_on_has_changed(there: Registry, happening: Any) -> None:
    assert await interrupted(there, lambda repository_id: happening(there, repository_id))
    assert "1" in await there.tags(OTHER if happening is rename else REPOSITORY)


async def read_first(there: Registry) -> Document:
    stored = await find_by_tag(there.db, REPOSITORY, "1")
    assert stored is not None
    document: Document = json.loads(stored.payload)
    return document


async def test_plan_is_made_anew_where_it_became_void(there: Registry) -> None:
    for each in ("1", "2", "3"):
        await there.push(each)
    await there.rule(keep_newest=2)
    remove = Batch.remove
    happened: list[bool] = []

    def interfere(batch: Batch, tx: Transaction) -> Any:
        if not happened:
            happened.append(True)
            raise PlanVoid
        return remove(batch, tx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "remove", interfere)
        result = await there.run()

    assert (await there.tags(), result["tags"], result["unfinished"]) == (["2", "3"], 1, 0)


async def test_many_tags_go_in_several_transactions(there: Registry) -> None:
    documents = [await there.push(f"t{number:03}", size=10) for number in range(65)]
    await there.rule(keep_newest=3)

    result = await there.run()

    assert (result["tags"], await there.tags()) == (62, ["t062", "t063", "t064"])
    held = await there.db.write(
        lambda tx: find_held(tx, 1, [Digest(digest_of(encode(each))) for each in documents])
    )
    assert len(held) == 3

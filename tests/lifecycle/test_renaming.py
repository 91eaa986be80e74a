"""Old names of repositories beside what else gives a repository its name."""

from datetime import timedelta

import pytest

from moorage.lifecycle.renaming import rename_repository
from moorage.registry.repositories.rows import find_renamed, get_repository
from moorage.registry.trash.repositories import delete_repository, restore_repository
from tests.lifecycle.test_retention import ALICE, DAY_MS, Registry, there
from tests.registry.pushing import OTHER, REPOSITORY

__all__ = ["there"]

pytestmark = pytest.mark.anyio


async def test_name_that_a_restored_repository_takes_back_means_that_one(there: Registry) -> None:
    await there.push("1")
    await delete_repository(there.db, there.uploads, REPOSITORY, ALICE, DAY_MS)
    await there.push("2")
    await rename_repository(there.db, REPOSITORY, OTHER, timedelta(days=1), ALICE)
    assert await find_renamed(there.db, REPOSITORY) == OTHER

    await restore_repository(there.db, 1, REPOSITORY, ALICE)

    assert await find_renamed(there.db, REPOSITORY) is None
    assert await get_repository(there.db, REPOSITORY) == 1
    assert (await there.tags(), await there.tags(OTHER)) == (["1"], ["2"])


async def test_old_names_go_with_a_deleted_repository(there: Registry) -> None:
    await there.push("1")
    await rename_repository(there.db, REPOSITORY, OTHER, timedelta(days=1), ALICE)

    await delete_repository(there.db, there.uploads, OTHER, ALICE, DAY_MS)

    assert await find_renamed(there.db, REPOSITORY) is None


async def test_no_old_name_is_kept_where_none_shall_be(there: Registry) -> None:
    await there.push("1")

    await rename_repository(there.db, REPOSITORY, OTHER, timedelta(), ALICE)

    assert await find_renamed(there.db, REPOSITORY) is None
    assert await there.tags(OTHER) == ["1"]

"""F19: a database that was put back under newer files is noticed, and has to be accepted by someone."""

from datetime import timedelta
from pathlib import Path

import pytest

from moorage.databases.sqlite import SqliteDatabase
from moorage.errors import CheckFirst
from moorage.lifecycle.checking.check import StoreCheck
from moorage.lifecycle.progress import Silence
from moorage.lifecycle.store.rows import read_state
from moorage.lifecycle.store.sequence import FILE_NAME, Sequence, read_sequence, write_sequence
from moorage.records.audit.rows import Filter, list_entries
from tests.registry.conftest import Clock
from tests.registry.pushing import CLIENT

pytestmark = pytest.mark.anyio


async def test_sequence_is_raised_in_the_database_and_beside_it_once_a_minute(
    sequence: Sequence, db: SqliteDatabase, tmp_path: Path, clock: Clock
) -> None:
    for _ in range(3):
        await sequence.keep()
    assert (await read_state(db)).sequence == read_sequence(tmp_path / FILE_NAME) == 1
    clock.move(timedelta(seconds=61))
    await sequence.keep()
    assert (await read_state(db)).sequence == read_sequence(tmp_path / FILE_NAME) == 2
    clock.move(timedelta(days=-100))
    await sequence.keep()

    assert (await read_state(db)).sequence == read_sequence(tmp_path / FILE_NAME) == 3
    assert (await sequence.compare()).mistrusted is None


async def test_file_that_is_ahead_means_that_the_database_was_put_back(
    sequence: Sequence, db: SqliteDatabase, tmp_path: Path, check: StoreCheck, clock: Clock
) -> None:
    write_sequence(tmp_path / FILE_NAME, 7)

    state = await sequence.compare()
    await sequence.keep()

    assert state.mistrusted is not None
    assert "older than its files" in state.mistrusted
    assert (await read_state(db)).sequence == 0
    clock.move(timedelta(seconds=1))
    with pytest.raises(CheckFirst):
        await sequence.accept(CLIENT)
    await check.run(Silence())
    accepted = await sequence.accept(CLIENT)
    assert accepted.mistrusted is None
    assert (await sequence.compare()).mistrusted is None
    assert accepted.sequence == read_sequence(tmp_path / FILE_NAME) == 8
    (entry,) = await list_entries(db, Filter(action="accept"), 10)
    assert entry.detail == state.mistrusted


async def test_check_from_before_does_not_count(
    sequence: Sequence, tmp_path: Path, check: StoreCheck, clock: Clock
) -> None:
    await check.run(Silence())
    clock.move(timedelta(seconds=1))
    write_sequence(tmp_path / FILE_NAME, 7)
    await sequence.compare()

    with pytest.raises(CheckFirst):
        await sequence.accept(CLIENT)


@pytest.mark.parametrize("content", ["", "x", "-1", "9" * 30, "1\n2"])
async def test_file_that_cannot_be_read_says_nothing(
    sequence: Sequence, tmp_path: Path, content: str
) -> None:
    (tmp_path / FILE_NAME).write_text(content)

    assert (await sequence.compare()).mistrusted is None
    await sequence.keep()
    assert read_sequence(tmp_path / FILE_NAME) == 1


async def test_file_that_is_gone_is_written_again(
    sequence: Sequence, db: SqliteDatabase, tmp_path: Path, clock: Clock
) -> None:
    await sequence.keep()
    (tmp_path / FILE_NAME).unlink()
    clock.move(timedelta(seconds=61))

    await sequence.keep()

    assert read_sequence(tmp_path / FILE_NAME) == 2


def test_lower_number_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    write_sequence(path, 5)
    write_sequence(path, 4)

    assert read_sequence(path) == 5
    assert [each.name for each in tmp_path.glob(f"{FILE_NAME}*")] == [FILE_NAME]

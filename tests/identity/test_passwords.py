"""B88: all of a password counts, and what cannot be one is refused before it costs anything."""

import time
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from moorage.errors import PasswordInvalid, TooManySignIns
from moorage.identity.accounts import passwords as password_module
from moorage.identity.accounts.passwords import MAX_BYTES, Passwords, check_password

pytestmark = pytest.mark.anyio

LONG = "x" * 72


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


async def test_b88_a_password_that_differs_after_byte_72_is_wrong(passwords: Passwords) -> None:
    kept = await passwords.hash(f"{LONG}right")

    assert await passwords.is_right("alice", f"{LONG}right", kept)
    assert not await passwords.is_right("alice", f"{LONG}wrong", kept)
    assert not await passwords.is_right("alice", LONG, kept)


async def test_a_password_of_the_greatest_length_counts_to_its_end(passwords: Passwords) -> None:
    kept = await passwords.hash("x" * MAX_BYTES)

    assert await passwords.is_right("alice", "x" * MAX_BYTES, kept)
    assert not await passwords.is_right("alice", "x" * (MAX_BYTES - 1), kept)


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 9, "with a\0 NUL in it", "x" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1)],
    ids=["empty", "short", "nine", "NUL", "long", "long in bytes"],
)
async def test_what_cannot_be_a_password_is_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(PasswordInvalid):
        check_password(password)
    with pytest.raises(PasswordInvalid):
        await passwords.hash(password)


async def test_b87_a_password_of_a_mebibyte_is_wrong_at_once(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse battery")
    started = time.perf_counter()

    assert not await passwords.is_right("alice", "x" * (1 << 20), kept)
    assert time.perf_counter() - started < 0.02


async def test_a_nul_does_not_end_a_password(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse battery")

    assert not await passwords.is_right("alice", "correct horse battery\0", kept)


async def test_no_ones_password_is_always_wrong(passwords: Passwords) -> None:
    for password in ("", "\0", "correct horse battery"):
        assert not await passwords.is_right("nobody", password, None)


async def test_what_was_right_is_remembered_for_that_name_password_and_hash_only(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await passwords.hash("correct horse battery")
    other = await passwords.hash("correct horse battery")
    assert not passwords.is_known("alice", "correct horse battery", kept)
    await passwords.is_right("alice", "correct horse battery", kept)
    await passwords.is_right("alice", "wrong horse battery", kept)

    assert passwords.is_known("alice", "correct horse battery", kept)
    assert not passwords.is_known("alice", "wrong horse battery", kept)
    assert not passwords.is_known("bob", "correct horse battery", kept)
    assert not passwords.is_known("alice", "correct horse battery", other)
    later = time.monotonic() + 301
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not passwords.is_known("alice", "correct horse battery", kept)


async def test_same_password_on_many_connections_is_checked_once(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await passwords.hash("correct horse battery")
    checks: list[str] = []
    verify = passwords._verify

    def count(kept: str | None, password: str, other: str | None) -> bool:
        checks.append(password)
        return verify(kept, password, other)

    monkeypatch.setattr(passwords, "_verify", count)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(passwords.is_right, "alice", "correct horse battery", kept)

    assert checks == ["correct horse battery"]


async def test_b89_more_checks_than_a_second_holds_are_turned_away(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_module, "_WAITING_MAX", 3)
    kept = await passwords.hash("correct horse battery")

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(passwords.is_right, "alice", f"wrong horse battery {number}", kept)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(TooManySignIns) as refusal:
            await passwords.is_right("alice", "correct horse battery", kept)
        group.cancel_scope.cancel()

    assert refusal.value.retry_after_s == 2

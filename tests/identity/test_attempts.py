"""B89: who tries too often waits, and no one else does."""

import time

import pytest

from moorage.identity.accounts.attempts import TRIES_A_MINUTE, Attempts

HOME, AWAY = "192.0.2.1", "198.51.100.7"


class Monotonic:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    monotonic = Monotonic()
    monkeypatch.setattr(time, "monotonic", monotonic)
    return monotonic


@pytest.fixture
def attempts(monotonic: Monotonic) -> Attempts:
    return Attempts()


def _fail(attempts: Attempts, account: str, address: str, times: int = TRIES_A_MINUTE) -> None:
    for _ in range(times):
        attempts.failed("password", account, address)


def test_b89_twenty_wrong_passwords_from_one_address_for_one_account_wait_a_minute(
    attempts: Attempts, monotonic: Monotonic
) -> None:
    _fail(attempts, "alice", AWAY, TRIES_A_MINUTE - 1)
    assert attempts.wait_s("password", "alice", AWAY) == 0

    _fail(attempts, "alice", AWAY, 1)
    assert 60 <= attempts.wait_s("password", "alice", AWAY) <= 61
    monotonic.now += 30
    assert 30 <= attempts.wait_s("password", "alice", AWAY) <= 31
    monotonic.now += 30
    assert attempts.wait_s("password", "alice", AWAY) == 0


def test_b89_twenty_accounts_from_one_address_make_the_address_wait(attempts: Attempts) -> None:
    for number in range(TRIES_A_MINUTE):
        attempts.failed("password", f"account-{number}", AWAY)

    assert attempts.wait_s("password", "yet-another", AWAY) > 0
    assert attempts.wait_s("password", "yet-another", HOME) == 0


def test_b89_twenty_addresses_make_the_account_wait(attempts: Attempts) -> None:
    for number in range(TRIES_A_MINUTE):
        attempts.failed("password", "alice", f"203.0.113.{number}")

    assert attempts.wait_s("password", "alice", "203.0.113.200") > 0
    assert attempts.wait_s("password", "bob", "203.0.113.200") == 0


def test_b89_the_owner_at_the_usual_address_is_never_locked_out_by_others(
    attempts: Attempts, monotonic: Monotonic
) -> None:
    attempts.succeeded("password", "alice", HOME)
    for number in range(1000):
        attempts.failed("password", "alice", f"203.0.{number % 250}.{number // 250}")
    for number in range(1000):
        attempts.failed("password", f"someone-{number % 50}", HOME)

    assert attempts.wait_s("password", "alice", HOME) == 0
    monotonic.now += 8 * 86400
    _fail(attempts, "alice", AWAY)
    assert attempts.wait_s("password", "alice", HOME) > 0


def test_b89_even_the_owner_waits_for_wrong_ones_of_the_same_address(attempts: Attempts) -> None:
    attempts.succeeded("password", "alice", HOME)
    _fail(attempts, "alice", HOME)

    assert attempts.wait_s("password", "alice", HOME) > 0


def test_wrong_passwords_do_not_hold_up_tokens(attempts: Attempts) -> None:
    _fail(attempts, "alice", AWAY)

    assert attempts.wait_s("token", "alice", AWAY) == 0


def test_b89_an_ipv6_address_counts_as_its_whole_64(attempts: Attempts) -> None:
    for number in range(TRIES_A_MINUTE):
        attempts.failed("password", f"account-{number}", f"2001:db8:1:2::{number:x}")

    assert attempts.wait_s("password", "alice", "2001:db8:1:2:ffff::1") > 0
    assert attempts.wait_s("password", "alice", "2001:db8:1:3::1") == 0
    for number in range(TRIES_A_MINUTE):
        attempts.failed("password", f"account-{number}", "::ffff:192.0.2.9")
    assert attempts.wait_s("password", "alice", "192.0.2.9") > 0
    assert attempts.wait_s("password", "alice", "::ffff:192.0.2.10") == 0


def test_b89_a_flood_of_wrong_ones_makes_hardly_anyone_else_wait(attempts: Attempts) -> None:
    for number in range(5000):
        attempts.failed("password", f"account-{number % 250}", f"203.0.{number // 250}.{number % 250}")

    others = [attempts.wait_s("password", f"someone-{number}", HOME) for number in range(1000)]
    assert sum(map(bool, others)) < 5

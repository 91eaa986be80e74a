"""What one client may have an upstream asked for that it does not have, and what is never limited."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from moorage.errors import ManifestUnknown, RegistryError, TooManyMisses, UpstreamFailed
from moorage.identity.accounts.rows import Account
from moorage.identity.callers.caller import OPEN, Caller
from moorage.mirrors.asking import Failed, NotAllowed, NotThere
from moorage.mirrors.mirrors import Mirrors
from moorage.mirrors.misses import AHEAD, BURST, CLIENTS_MAX, Misses, client_of
from moorage.oci.digest import digest_of
from moorage.oci.names import RepositoryName
from tests.mirrors.conftest import HUB
from tests.mirrors.elsewhere import Elsewhere

pytestmark = pytest.mark.anyio

NGINX = RepositoryName("docker.io/library/nginx")
MALLORY = "address 192.0.2.66"
ALICE = "account alice"
UPSTREAM = HUB.name
LEFT = 20
"""Of an allowance, so that a test is not long."""

Ask = Callable[[Mirrors, int, str], Awaitable[object]]

ASKS: dict[str, Ask] = {
    "tag": lambda mirrors, number, client: mirrors.manifests.pull(HUB, NGINX, f"no-{number}", client),
    "digest": lambda mirrors, number, client: mirrors.manifests.pull(
        HUB, NGINX, digest_of(b"%d" % number), client
    ),
    "blob": lambda mirrors, number, client: mirrors.head_blob(HUB, NGINX, digest_of(b"%d" % number), client),
    "blob to be fetched": lambda mirrors, number, client: mirrors.fills.bring(
        HUB, NGINX, digest_of(b"%d" % number), client
    ),
    "tags": lambda mirrors, number, client: mirrors.looks.list_tags(
        HUB, RepositoryName(f"docker.io/no/{number}"), "", 10, client
    ),
    "referrers": lambda mirrors, number, client: mirrors.bring_referrers(
        HUB, NGINX, digest_of(b"%d" % number), client
    ),
}


@pytest.fixture
def uptime(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The machine's uptime as allowances see it; `now_s` is the test's to move."""
    uptime = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr("moorage.mirrors.misses.time", SimpleNamespace(monotonic=lambda: uptime.now_s))
    return uptime


def charge(misses: Misses, client: str, times: int) -> None:
    """So many questions for nothing."""
    for _ in range(times):
        misses.check(client, UPSTREAM)
        with pytest.raises(NotThere), misses.asking(client):
            raise NotThere("no such tag")


async def refusal_of(asked: Awaitable[object]) -> type[RegistryError] | None:
    try:
        await asked
    except RegistryError as refusal:
        return type(refusal)
    return None


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_who_asks_for_what_there_is_not_stops_reaching_the_upstream(
    mirrors: Mirrors, hub: Elsewhere, uptime: SimpleNamespace, ask: Ask
) -> None:
    charge(mirrors.manifests._misses, MALLORY, BURST - LEFT)
    for number in range(LEFT):
        assert await refusal_of(ask(mirrors, number, MALLORY)) is not TooManyMisses
    assert len(hub.asked) == LEFT

    for number in range(LEFT, LEFT + 50):
        assert await refusal_of(ask(mirrors, number, MALLORY)) is TooManyMisses
    assert len(hub.asked) == LEFT

    # one more a second; and nobody else is kept waiting
    uptime.now_s += 2
    for number in range(1000, 1010):
        await refusal_of(ask(mirrors, number, MALLORY))
    assert len(hub.asked) == LEFT + 2
    assert await refusal_of(ask(mirrors, 2000, ALICE)) is not TooManyMisses
    assert len(hub.asked) == LEFT + 3


async def test_what_is_asked_in_vain_of_all_kinds_is_one_allowance(
    mirrors: Mirrors, hub: Elsewhere, uptime: SimpleNamespace
) -> None:
    charge(mirrors.manifests._misses, MALLORY, BURST - LEFT)
    refusals = [
        await refusal_of(ask(mirrors, number, MALLORY)) for number in range(LEFT) for ask in ASKS.values()
    ]

    assert len(hub.asked) == LEFT
    assert refusals[-1] is TooManyMisses
    assert uptime.now_s == 1000.0


async def test_pulls_of_what_there_is_are_never_limited(
    mirrors: Mirrors, hub: Elsewhere, uptime: SimpleNamespace
) -> None:
    """Nor those of a client that has asked for much in vain, for as long as it has anything left."""
    charge(mirrors.manifests._misses, ALICE, BURST - 1)
    tags = [str(number) for number in range(LEFT)]
    for tag in tags:
        hub.push_image("library/nginx", tag, tag.encode())

    for tag in tags:
        await mirrors.manifests.pull(HUB, NGINX, tag, ALICE)

    assert hub.count("GET") == len(tags)
    assert uptime.now_s == 1000.0


async def test_whose_allowance_is_used_up_has_what_others_fetch(
    mirrors: Mirrors, hub: Elsewhere, uptime: SimpleNamespace
) -> None:
    """Who joins costs no question, and what is remembered as absent costs none either."""
    hub.push_image("library/nginx", "1", b"layer")
    charge(mirrors.manifests._misses, MALLORY, BURST)
    assert await refusal_of(mirrors.manifests.pull(HUB, NGINX, "1", MALLORY)) is TooManyMisses

    alice = asyncio.create_task(mirrors.manifests.pull(HUB, NGINX, "1", ALICE))
    await asyncio.sleep(0)
    assert await refusal_of(mirrors.manifests.pull(HUB, NGINX, "1", MALLORY)) is None
    await alice
    assert await refusal_of(mirrors.manifests.pull(HUB, NGINX, "none", ALICE)) is ManifestUnknown
    assert await refusal_of(mirrors.manifests.pull(HUB, NGINX, "none", MALLORY)) is ManifestUnknown
    assert hub.count("GET") == 2
    assert uptime.now_s == 1000.0


async def test_referrers_of_what_is_here_are_not_limited(
    mirrors: Mirrors, hub: Elsewhere, uptime: SimpleNamespace
) -> None:
    digest = hub.push_image("library/nginx", "1", b"layer")
    await mirrors.manifests.pull(HUB, NGINX, "1", ALICE)
    charge(mirrors.manifests._misses, ALICE, BURST)

    assert await mirrors.bring_referrers(HUB, NGINX, digest, ALICE) is None

    assert hub.count("REFERRERS") == 1
    assert uptime.now_s == 1000.0


async def test_many_at_once_are_soon_stopped(
    mirrors: Mirrors, hub: Elsewhere, uptime: SimpleNamespace
) -> None:
    """Those on their way when the allowance ran out are charged too: the client is in debt."""
    misses = mirrors.manifests._misses
    charge(misses, MALLORY, BURST - 1)
    asked = [mirrors.manifests.pull(HUB, NGINX, f"no-{number}", MALLORY) for number in range(20)]
    await asyncio.gather(*asked, return_exceptions=True)
    assert hub.count("GET") == 20

    uptime.now_s += 19
    with pytest.raises(TooManyMisses) as refused:
        misses.check(MALLORY, UPSTREAM)
    assert refused.value.retry_after_s == 1
    uptime.now_s += 1
    misses.check(MALLORY, UPSTREAM)


async def test_no_more_are_on_their_way_than_are_left_and_some(uptime: SimpleNamespace) -> None:
    misses = Misses()
    charge(misses, MALLORY, BURST - 1)
    under_way = [misses.asking(MALLORY) for _ in range(AHEAD + 1)]
    for each in under_way:
        misses.check(MALLORY, UPSTREAM)
        each.__enter__()

    with pytest.raises(TooManyMisses):
        misses.check(MALLORY, UPSTREAM)

    # they were there after all
    for each in under_way:
        each.__exit__(None, None, None)
    misses.check(MALLORY, UPSTREAM)
    assert uptime.now_s == 1000.0


@pytest.mark.parametrize("failure", [Failed("500"), asyncio.CancelledError(), UpstreamFailed(reason="500")])
async def test_what_failed_is_not_charged(failure: BaseException) -> None:
    misses = Misses()
    for _ in range(BURST * 2):
        with pytest.raises(type(failure)), misses.asking(ALICE):
            raise failure
    misses.check(ALICE, UPSTREAM)


async def test_what_is_not_allowed_is_charged(uptime: SimpleNamespace) -> None:
    misses = Misses()
    for _ in range(BURST):
        with pytest.raises(NotAllowed), misses.asking(ALICE):
            raise NotAllowed("401")
    with pytest.raises(TooManyMisses):
        misses.check(ALICE, UPSTREAM)
    assert uptime.now_s == 1000.0


async def test_refusal_says_why_and_until_when_and_is_logged_once_a_minute(uptime: SimpleNamespace) -> None:
    misses = Misses()
    charge(misses, ALICE, BURST)
    misses._allowances[ALICE].left = -100

    with capture_logs() as logged:
        refusals = []
        for wait_s in (0, 30, 31):
            uptime.now_s += wait_s
            with pytest.raises(TooManyMisses) as refused:
                misses.check(ALICE, UPSTREAM)
            refusals.append(refused.value)

    refusal = refusals[0]
    assert refusal.retry_after_s == 101
    (entry,) = refusal.entries
    assert entry["code"] == "TOOMANYREQUESTS"
    assert "alice" in str(entry["message"])
    assert "ask again in 101 s" in str(entry["message"])
    assert [each["event"] for each in logged] == ["mirror_misses_limited"] * 2
    assert logged[0] == {
        "event": "mirror_misses_limited",
        "log_level": "warning",
        "client": ALICE,
        "upstream": UPSTREAM,
        "retry_after_s": 101,
    }


async def test_clients_are_forgotten_where_there_are_too_many() -> None:
    misses = Misses()
    for number in range(CLIENTS_MAX * 2):
        charge(misses, f"address {number}", 1)
    assert len(misses._allowances) == CLIENTS_MAX


@pytest.mark.parametrize(
    ("caller", "client"),
    [
        (OPEN, "address 127.0.0.1"),
        (Caller("none", "192.0.2.7"), "address 192.0.2.7"),
        (Caller("none", "::ffff:192.0.2.7"), "address 192.0.2.7"),
        (Caller("none", "2001:db8:1:2:3:4:5:6"), "address 2001:db8:1:2::"),
        (Caller("none", "2001:db8:1:2:ffff::1"), "address 2001:db8:1:2::"),
    ],
)
async def test_client_is_its_address_or_the_network_of_it(caller: Caller, client: str) -> None:
    assert client_of(caller, "127.0.0.1") == client


async def test_client_who_has_signed_in_is_the_account_wherever_it_is() -> None:
    account = Account(
        id=1,
        name="alice",
        kind="person",
        role="member",
        is_disabled=False,
        description="",
        created_at=0,
        created_by="",
        has_password=True,
        password_set_at=None,
        issuer=None,
        subject=None,
    )
    for address in ("192.0.2.7", "2001:db8::1"):
        assert client_of(Caller("basic", address, account), "127.0.0.1") == ALICE

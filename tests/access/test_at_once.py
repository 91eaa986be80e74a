"""What is taken away counts with the next request, whichever worker it comes to."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from moorage.database import Transaction
from moorage.identity.access import rows as access
from moorage.identity.accounts import rows as accounts
from moorage.identity.tokens import rows as tokens
from tests.access.people import People, basic, bearer
from tests.access.town import CONFIG
from tests.content import image
from tests.inputs.wire import Fields
from tests.registry.in_process import InProcess
from tests.servers import ServerProcess

REFUSED = {401, 403, 429}
ENOUGH = 16
"""Requests, each on a connection of its own, that surely come to both workers."""


@pytest.fixture
def moorage(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server for each test: who is refused again and again has to wait, and all come from one address."""
    with ServerProcess(tmp_path / "data", "--workers", "2") as server:
        yield server


@pytest.fixture
def town(moorage: ServerProcess) -> People:
    people = People(moorage.data_dir, moorage.port)
    people.add("admin", role="admin")
    people.add("stranger")
    people.push("team/app", basic("admin"), image(CONFIG), CONFIG)
    return people


def statuses(town: People, path: str, fields: Fields) -> set[int]:
    return {town.ask("GET", path, fields).status for _ in range(ENOUGH)}


@pytest.fixture
def path(town: People, newcomer: str) -> str:
    """Something in the newcomer's own namespace."""
    town.push(f"{newcomer}/app", basic(newcomer), image(CONFIG), CONFIG)
    return f"/v2/{newcomer}/app/tags/list"


def _scope(path: str) -> str:
    return f"repository:{path.removeprefix('/v2/').removesuffix('/tags/list')}:pull"


def _namespace(tx: Transaction, name: str) -> access.NamespaceRow:
    found = access.find_namespace_in(tx, name)
    assert found is not None
    return found


def check_at_once(
    town: People, path: str, headers: Sequence[Fields], change: Callable[[], object], after: set[int]
) -> None:
    for header in headers:
        assert statuses(town, path, header) == {200}
    change()
    for header in headers:
        assert statuses(town, path, header) <= after


def test_a_revoked_token_opens_nothing_by_itself_by_basic_or_by_what_it_was_traded_for(
    town: People, newcomer: str, path: str
) -> None:
    token, secret = town.make_token(newcomer, (f"{newcomer}/*", "pull"))
    traded = town.bearer(basic(newcomer, secret), _scope(path))

    check_at_once(
        town,
        path,
        [basic(newcomer, secret), bearer(secret), traded],
        lambda: town.change(lambda tx: tokens.revoke_token(tx, token.id)),
        REFUSED,
    )


def test_what_was_made_with_a_token_ends_with_it(town: People, newcomer: str, path: str) -> None:
    token, secret = town.make_token(newcomer)
    wanted = json.dumps({"name": "made with it"}).encode()
    child = town.ask("POST", "/api/v1/tokens", bearer(secret), wanted)
    grandchild = town.ask("POST", "/api/v1/tokens", bearer(json.loads(child.body)["secret"]), wanted)
    made = [bearer(json.loads(reply.body)["secret"]) for reply in (child, grandchild)]

    check_at_once(
        town,
        path,
        made,
        lambda: town.change(lambda tx: tokens.revoke_token(tx, token.id)),
        REFUSED,
    )


def test_what_was_made_with_a_token_that_was_made_ends_with_that(
    town: People, newcomer: str, path: str
) -> None:
    _, secret = town.make_token(newcomer)
    wanted = json.dumps({"name": "made with it"}).encode()
    child = json.loads(town.ask("POST", "/api/v1/tokens", bearer(secret), wanted).body)
    grandchild = json.loads(town.ask("POST", "/api/v1/tokens", bearer(child["secret"]), wanted).body)

    check_at_once(
        town,
        path,
        [bearer(child["secret"]), bearer(grandchild["secret"])],
        lambda: town.change(lambda tx: tokens.revoke_token(tx, child["id"])),
        REFUSED,
    )
    assert statuses(town, path, bearer(secret)) == {200}


def test_who_is_disabled_while_the_password_is_checked_is_not_let_in(tmp_path: Path) -> None:
    registry = InProcess(tmp_path / "data")
    registry.open()
    people = People(tmp_path / "data")
    people.add("admin", role="admin")
    account = people.add("alice")

    async def race() -> list[int]:
        asked = asyncio.ensure_future(registry.ask("GET", "/v2/", b"", basic("alice")))
        await asyncio.sleep(0.001)
        await registry.loop.run_in_executor(
            None,
            lambda: people.change(lambda tx: accounts.update_account(tx, account.id, is_disabled=True)),
        )
        await registry.ask("GET", "/v2/", b"", [])
        first = await asked
        return [first.status, (await registry.ask("GET", "/v2/", b"", basic("alice"))).status]

    try:
        assert registry.loop.run_until_complete(race())[1] == 401
    finally:
        registry.end()


def test_a_page_that_pointed_its_name_at_this_machine_reaches_no_open_registry(tmp_path: Path) -> None:
    registry = InProcess(tmp_path / "data")
    registry.open()
    host, browser = ("Host", "evil.example:5000"), ("User-Agent", "Mozilla/5.0")
    account = json.dumps({"name": "mallory", "password": "correct horse battery"}).encode()

    try:
        origin = ("Origin", "http://evil.example:5000")
        assert registry.send("POST", "/api/v1/accounts", account, [host, origin]).status == 403
        assert registry.send("GET", "/v2/_catalog", b"", [host, browser]).status == 403
        assert registry.send("GET", "/v2/", b"", [("Host", "localhost:5000"), browser]).status == 200
        assert registry.send("GET", "/v2/", b"", [host]).status == 200
    finally:
        registry.end()


def test_a_disabled_account_opens_nothing(town: People, newcomer: str, path: str) -> None:
    _, secret = town.make_token(newcomer)
    traded = town.bearer(basic(newcomer), _scope(path))
    account_id = town.account(newcomer).id

    check_at_once(
        town,
        path,
        [basic(newcomer), basic(newcomer, secret), bearer(secret), traded],
        lambda: town.change(lambda tx: accounts.update_account(tx, account_id, is_disabled=True)),
        REFUSED,
    )
    assert town.ask("GET", "/token", basic(newcomer)).status == 401


def test_a_deleted_account_opens_nothing_nor_does_the_next_of_its_name(
    town: People, newcomer: str, path: str
) -> None:
    _, secret = town.make_token(newcomer)
    traded = town.bearer(basic(newcomer), _scope(path))
    account_id = town.account(newcomer).id

    def change() -> None:
        town.change(lambda tx: accounts.delete_account(tx, account_id))
        town.change(lambda tx: access.delete_namespace(tx, _namespace(tx, newcomer)))
        town.add(newcomer, password="another horse battery")
        assert town.ask("GET", path, basic(newcomer, "another horse battery")).status == 200

    check_at_once(town, path, [basic(newcomer), basic(newcomer, secret), traded], change, REFUSED)


def test_a_changed_password_ends_the_former_and_its_refresh_tokens(
    town: People, newcomer: str, path: str
) -> None:
    kept = town.fetch(basic(newcomer), query="&offline_token=true")["refresh_token"]
    traded = town.bearer(basic(newcomer), _scope(path))
    account_id = town.account(newcomer).id

    def change() -> None:
        town.change(lambda tx: accounts.set_password(tx, account_id, "x"))
        town.change(lambda tx: tokens.revoke_refresh_tokens(tx, account_id))

    check_at_once(town, path, [basic(newcomer), traded], change, REFUSED)
    form = f"grant_type=refresh_token&refresh_token={kept}".encode()
    assert town.ask("POST", "/token", (), form).status == 401


def test_a_grant_taken_back_allows_nothing(town: People, newcomer: str) -> None:
    grant_id = town.give(newcomer, "team/*", "pull")
    path = "/v2/team/app/tags/list"
    _, secret = town.make_token(newcomer, ("team/*", "pull"))

    check_at_once(
        town,
        path,
        [basic(newcomer), basic(newcomer, secret), town.bearer(basic(newcomer), _scope(path))],
        lambda: town.change(lambda tx: access.delete_grant(tx, grant_id)),
        REFUSED,
    )


def test_who_is_taken_out_of_a_group_has_none_of_its_rights(town: People, newcomer: str) -> None:
    account_id = town.account(newcomer).id
    group = town.change(lambda tx: accounts.insert_group(tx, f"g{newcomer}", "", "test"))
    town.change(lambda tx: accounts.add_member(tx, group.id, account_id))
    town.change(lambda tx: access.insert_grant(tx, "team/*", ["pull"], "test", group_id=group.id))
    path = "/v2/team/app/tags/list"

    check_at_once(
        town,
        path,
        [basic(newcomer), town.bearer(basic(newcomer), _scope(path))],
        lambda: town.change(lambda tx: accounts.remove_member(tx, group.id, account_id)),
        REFUSED,
    )


def test_a_namespace_made_private_is_closed_to_others(town: People, newcomer: str, path: str) -> None:
    def show(visibility: access.Visibility) -> None:
        town.change(lambda tx: access.set_visibility(tx, _namespace(tx, newcomer).id, visibility))

    show("public")
    anonymous = town.bearer([], _scope(path))
    others = [basic("stranger"), town.bearer(basic("stranger"), _scope(path)), anonymous, []]
    check_at_once(town, path, others, lambda: show("private"), REFUSED)
    assert statuses(town, path, basic(newcomer)) == {200}


def test_a_token_that_expires_opens_nothing_from_then_on(town: People, newcomer: str, path: str) -> None:
    _, secret = town.make_token(newcomer, expires_in_s=6)
    traded = town.bearer(basic(newcomer, secret), _scope(path))
    assert statuses(town, path, basic(newcomer, secret)) == {200}
    assert statuses(town, path, traded) == {200}

    _, gone = town.make_token(newcomer, expires_in_s=-1)
    assert statuses(town, path, basic(newcomer, gone)) <= {401, 429}
    time.sleep(6.1)
    assert statuses(town, path, traded) == {401}
    assert town.ask("GET", path, basic(newcomer, secret)).status in {401, 429}


def test_the_first_account_ends_openness_for_every_worker(moorage: ServerProcess) -> None:
    people = People(moorage.data_dir, moorage.port)
    assert statuses(people, "/v2/", []) == {200}
    people.push("team/app", [], image(CONFIG), CONFIG)
    people.add("admin", role="admin")

    assert statuses(people, "/v2/", []) == {401}
    assert statuses(people, "/v2/team/app/tags/list", []) == {401}
    assert statuses(people, "/v2/team/app/tags/list", basic("admin")) == {200}


def test_the_audit_names_each_ones_own_address_and_token(town: People, newcomer: str) -> None:
    token, secret = town.make_token(newcomer)
    town.push(f"{newcomer}/app", basic(newcomer, secret), image(CONFIG), CONFIG)
    assert town.ask("GET", "/v2/alien/app/tags/list", bearer(secret)).status == 403

    pushed, denied = (row for row in town.audit(actor=newcomer) if row["action"] in {"push", "pull"})
    assert pushed["token"] == denied["token"] == token.id
    assert pushed["address"] == denied["address"] == "127.0.0.1"
    assert (pushed["outcome"], denied["outcome"]) == ("allowed", "denied")
    assert denied["target"] == "alien/app"

"""What an attacker with little or nothing tries over the wire, each named by its number.

B72 (a push of several tags of which one is forbidden) has nothing to forbid a tag yet.
"""

import base64
import secrets
from pathlib import Path

import pytest

from moorage.identity.access import rows as access
from tests.access.people import People, basic, bearer
from tests.access.town import CONFIG, LAYERS, digest_in
from tests.content import ABSENT, digest_of, encode, image, some_bytes
from tests.inputs.wire import Fields, Reply, Wire, request
from tests.servers import ServerProcess

PULL_PUSH = "repository:{}:pull,push"


def told(reply: Reply) -> tuple[int, list[tuple[str, str]], bytes]:
    """All that a client sees, but for the time."""
    return reply.status, [(key, value) for key, value in reply.fields if key.lower() != "date"], reply.body


def named(reply: Reply, name: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """The same with the repository's name, of whatever length, taken out."""
    status, fields, body = told(reply)
    kept = [(key, value.replace(name, "NAME")) for key, value in fields if key.lower() != "content-length"]
    return status, kept, body.replace(name.encode(), b"NAME")


# B13


@pytest.mark.parametrize("fields", [[], basic("reader"), basic("reader", "wrong"), bearer("a.b.c")])
@pytest.mark.parametrize(
    ("method", "rest"), [("POST", f"blobs/uploads/?digest={ABSENT}"), ("PUT", "manifests/v1")]
)
def test_b13_who_may_not_push_is_told_before_the_body(
    town: People, method: str, rest: str, fields: Fields
) -> None:
    head = [*fields, ("Expect", "100-continue"), ("Content-Length", str(1 << 40))]
    with Wire(town.port) as wire:
        wire.send(request(method, f"/v2/team/app/{rest}", head))
        reply = wire.read()

    assert reply.status == (403 if fields == basic("reader") else 401)
    assert reply.interim == ()


def test_b13_who_may_push_is_told_to_go_on(town: People) -> None:
    head = [*basic("writer"), ("Expect", "100-continue"), ("Content-Length", "2")]
    with Wire(town.port) as wire:
        wire.send(request("PUT", "/v2/team/app/manifests/v2", head))
        wire.read_rest()
        wire.send(b"{}")
        reply = wire.read()

    assert reply.interim == (100,)
    assert reply.status == 400


# B42


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_b42_an_upload_is_not_anothers_nor_in_another_repository(town: People, method: str) -> None:
    begun = town.begin("team/app", basic("writer"))
    upload_id = begun.rpartition("/")[2]
    query = f"?digest={digest_of(b'x')}" if method == "PUT" else ""
    body = b"x" if method in {"PATCH", "PUT"} else None

    for fields in (basic("admin"), town.bearer(basic("admin"), PULL_PUSH.format("team/app"))):
        reply = town.ask(method, f"{begun}{query}", fields, body)
        assert (reply.status, reply.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    elsewhere = town.ask(method, f"/v2/team/other/blobs/uploads/{upload_id}{query}", basic("writer"), body)
    assert (elsewhere.status, elsewhere.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    unknown = town.ask(method, f"/v2/team/app/blobs/uploads/{'0' * 36}{query}", basic("writer"), body)
    assert unknown.status == 404
    assert town.ask("GET", begun, basic("writer")).status == 204


def test_b42_a_robots_token_may_go_on_with_what_the_robot_began(town: People) -> None:
    _, one = town.make_token("robot", ("team/*", "push"))
    _, two = town.make_token("robot", ("team/*", "push"))
    begun = town.begin("team/app", basic("robot", one))

    assert town.ask("GET", begun, basic("robot", two)).status == 204


# B48 to B53: knowing a digest grants nothing


def mount(town: People, fields: Fields, target: str, digest: str, source: str | None) -> Reply:
    query = f"mount={digest}" + ("" if source is None else f"&from={source}")
    return town.ask("POST", f"/v2/{target}/blobs/uploads/?{query}", fields)


def anonymised(reply: Reply) -> tuple[int, list[str], bytes]:
    """A begun upload without its id."""
    return reply.status, [key for key, _ in reply.fields], reply.body


@pytest.mark.parametrize("source", ["alien/app", None])
def test_b48_a_mount_from_where_one_may_not_read_is_as_for_an_unknown_digest(
    town: People, newcomer: str, source: str | None
) -> None:
    foreign = mount(town, basic(newcomer), f"{newcomer}/app", digest_in("foreign"), source)
    unknown = mount(town, basic(newcomer), f"{newcomer}/app", ABSENT, source)

    assert foreign.status == 202
    assert anonymised(foreign) == anonymised(unknown)
    held = town.ask("HEAD", f"/v2/{newcomer}/app/blobs/{digest_in('foreign')}", basic(newcomer))
    assert held.status == 404


def test_b49_a_mount_obeys_the_scope_of_the_token_in_hand(town: People) -> None:
    target = f"team/mount-{secrets.token_hex(4)}"
    town.give("writer", "lib/*", "pull")
    town.push("lib/app", basic("admin"), image(CONFIG, [b"lib"]), b"lib", CONFIG)
    narrow = town.bearer(basic("writer"), PULL_PUSH.format(target))
    wide = town.bearer(basic("writer"), PULL_PUSH.format(target), "repository:lib/app:pull")
    _, secret = town.make_token("writer", ("team/*", "push"))

    for fields in (narrow, basic("writer", secret)):
        for source in ("lib/app", None):
            assert mount(town, fields, target, digest_of(b"lib"), source).status == 202
    assert mount(town, wide, target, digest_of(b"lib"), "lib/app").status == 201


@pytest.mark.parametrize("source", ["team/app", "..", "TEAM", "", "ghost/app", "a" * 300, "team/*"])
def test_b50_a_mount_from_nowhere_is_an_upload(town: People, source: str) -> None:
    reply = mount(town, basic("writer"), "team/app", digest_in("foreign"), source)

    assert reply.status in {202, 400}
    assert town.ask("HEAD", f"/v2/team/app/blobs/{digest_in('foreign')}", basic("writer")).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_b51_a_digest_that_is_elsewhere_only_is_not_here(town: People, method: str) -> None:
    foreign = town.ask(method, f"/v2/team/app/blobs/{digest_in('foreign')}", basic("reader"))
    unknown = town.ask(method, f"/v2/team/app/blobs/{ABSENT}", basic("reader"))

    assert foreign.status == 404
    assert named(foreign, digest_in("foreign")) == named(unknown, ABSENT)
    manifest = digest_of(encode(image(CONFIG, [LAYERS["foreign"]])))
    assert town.ask(method, f"/v2/team/app/manifests/{manifest}", basic("reader")).status == 404


def test_b52_a_manifest_may_not_name_a_blob_that_is_elsewhere_only(town: People) -> None:
    town.push_blob("team/app", basic("writer"), CONFIG)
    typed = [*basic("writer"), ("Content-Type", image(CONFIG)["mediaType"])]
    foreign, unknown = (
        town.ask("PUT", "/v2/team/app/manifests/stolen", typed, encode(image(CONFIG, [layer])))
        for layer in (LAYERS["foreign"], b"x" * len(LAYERS["foreign"]))
    )

    assert foreign.codes == ["MANIFEST_BLOB_UNKNOWN"]
    assert foreign.status == unknown.status == 400
    assert town.ask("HEAD", "/v2/team/app/manifests/stolen", basic("writer")).status == 404


@pytest.mark.parametrize("source", ["open/app", "alien/app", "ghost/app"])
def test_a_client_that_has_no_token_is_told_what_a_mount_takes(town: People, source: str) -> None:
    for fields in ([], town.bearer(basic("writer"), "repository:team/app:pull")):
        challenge = mount(town, fields, "team/app", ABSENT, source)["www-authenticate"]
        assert f'scope="repository:team/app:pull,push repository:{source}:pull"' in challenge
    bad = mount(town, [], "team/app", ABSENT, 'x"y')["www-authenticate"]
    assert 'scope="repository:team/app:pull,push"' in bad


# B80 to B87


def test_b80_a_token_from_before_a_repository_was_made_again_is_for_the_former(
    town: People, newcomer: str
) -> None:
    name = f"{newcomer}/app"
    town.push(name, basic(newcomer), image(CONFIG), CONFIG)
    header = town.bearer(basic(newcomer), PULL_PUSH.format(name))
    assert town.ask("GET", f"/v2/{name}/manifests/v1", header).status == 200
    town.change(lambda tx: access.record_deletion(tx, name))

    reply = town.ask("GET", f"/v2/{name}/manifests/v1", header)
    assert reply.status == 401
    assert 'error="insufficient_scope"' in reply["www-authenticate"]
    renewed = town.bearer(basic(newcomer), PULL_PUSH.format(name))
    assert town.ask("GET", f"/v2/{name}/manifests/v1", renewed).status == 200


@pytest.mark.parametrize("name", ["team/app/b", "team/ap", "team/app2", "team", "app", "open/app"])
def test_b81_a_token_for_one_repository_is_for_no_other(town: People, name: str) -> None:
    header = town.bearer(basic("admin"), PULL_PUSH.format("team/app"))
    reply = town.ask("GET", f"/v2/{name}/manifests/v1", header)

    assert reply.status == 401
    assert 'error="insufficient_scope"' in reply["www-authenticate"]
    assert f'scope="repository:{name}:pull"' in reply["www-authenticate"]
    assert town.ask("GET", "/v2/team/App/manifests/v1", header).status == 400


@pytest.mark.parametrize("path", [f"manifests/{ABSENT}", "manifests/v1", f"blobs/{ABSENT}"])
def test_b82_a_token_to_push_does_not_delete(town: People, path: str) -> None:
    header = town.bearer(basic("writer"), PULL_PUSH.format("team/app"))
    _, secret = town.make_token("writer", ("team/*", "push"))

    reply = town.ask("DELETE", f"/v2/team/app/{path}", header)
    assert reply.status == 401
    assert 'scope="repository:team/app:delete"' in reply["www-authenticate"]
    assert town.ask("DELETE", f"/v2/team/app/{path}", basic("writer", secret)).status == 403
    assert town.ask("DELETE", f"/v2/team/app/{path}", bearer(secret)).status == 403


READS = ["manifests/v1", f"manifests/{ABSENT}", f"blobs/{ABSENT}", "tags/list", f"referrers/{ABSENT}"]
WRITES = ["manifests/v1", f"blobs/{ABSENT}"]
ASKED = [("GET", rest) for rest in READS] + [("DELETE", rest) for rest in WRITES]


@pytest.mark.parametrize(("method", "rest"), ASKED)
def test_b84_what_one_may_not_read_is_told_as_what_is_not_there(town: People, method: str, rest: str) -> None:
    names = ("team/app", "alien/app", "team/no-such", "no-such-namespace/app", "ghost/app")
    for has_token in (False, True):
        replies = {}
        for name in names:
            fields = town.bearer([], f"repository:{name}:pull") if has_token else []
            replies[name] = named(town.ask(method, f"/v2/{name}/{rest}", fields), name)
        assert {reply[0] for reply in replies.values()} == {401}
        assert len({str(reply) for reply in replies.values()}) == 1, replies


def test_b84_who_is_known_but_has_no_right_is_told_the_same_of_both(town: People, newcomer: str) -> None:
    for rest in READS:
        private = named(town.ask("GET", f"/v2/alien/app/{rest}", basic(newcomer)), "alien/app")
        missing = named(town.ask("GET", f"/v2/ghost/app/{rest}", basic(newcomer)), "ghost/app")
        assert private[0] == 403
        assert private == missing


def test_b84_the_first_answer_is_as_the_second(town: People, newcomer: str) -> None:
    first, second = (
        named(town.ask("GET", f"/v2/{name}/tags/list", basic(newcomer)), name)
        for name in ("alien/app", "alien/app")
    )
    assert first == second


def test_b86_a_token_for_what_is_public_opens_nothing_private(town: People) -> None:
    header = town.bearer([], "repository:open/app:pull", "repository:team/app:pull")

    assert town.ask("GET", "/v2/open/app/manifests/v1", header).status == 200
    assert town.ask("GET", "/v2/team/app/manifests/v1", header).status == 401


def _basic_raw(value: bytes) -> Fields:
    return [("Authorization", "Basic " + base64.b64encode(value).decode())]


@pytest.mark.parametrize(
    "fields",
    [
        [("Authorization", "Basic")],
        [("Authorization", "Basic ")],
        [("Authorization", "Basic !!!!")],
        [("Authorization", "Basic YQ")],
        [("Authorization", "Basic " + "=" * 30)],
        [("Authorization", "Basic YTpi YTpi")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Token x")],
        [("Authorization", "\x7f")],
        _basic_raw(b"no-colon"),
        _basic_raw(b"reader:pass\0word"),
        _basic_raw(b"read\0er:correct horse battery"),
        _basic_raw(b"reader\n:correct horse battery"),
        _basic_raw(b"\xff\xfe:\xff"),
        _basic_raw(b":correct horse battery"),
        _basic_raw(b"reader:"),
        _basic_raw("reader\u200b:correct horse battery".encode()),
        _basic_raw(b"x" * 300 + b":correct horse battery"),
        _basic_raw(b"reader:" + b"x" * 20_000),
    ],
    ids=lambda fields: ascii(fields[0][1][:24]),
)
def test_b87_what_is_no_basic_header_is_refused(town: People, fields: Fields) -> None:
    reply = town.ask("GET", "/v2/", fields)

    assert reply.status in {400, 401}
    assert reply.codes


def test_b87_a_password_of_a_mebibyte_is_refused(town: People) -> None:
    reply = town.ask("GET", "/v2/", _basic_raw(b"reader:" + b"x" * (1 << 20)))

    assert reply.status in {400, 401, 431}


@pytest.mark.parametrize(
    ("token", "statuses"),
    [("a" * (1 << 20), {401, 431}), ("." * 10_000, {401}), ("e30." * 2000, {401})],
    ids=["a mebibyte", "dots", "parts"],
)
def test_b79_a_token_that_is_none_is_refused(town: People, token: str, statuses: set[int]) -> None:
    assert town.ask("GET", "/v2/", bearer(token)).status in statuses


def test_bearer_tokens_made_by_hand_are_refused(town: People) -> None:
    mine = [("team/app", "pull,push,delete")]
    good = town.forge(account="admin", access=mine)
    assert town.ask("GET", "/v2/team/app/tags/list", bearer(good)).status == 200
    for token in (
        town.forge(account="admin", access=mine, aud="another"),
        town.forge(account="admin", access=mine, iss="another"),
        town.forge(account="admin", access=mine, exp=1_700_000_000),
        town.forge(account="admin", access=mine, without=["iat"]),
    ):
        reply = town.ask("GET", "/v2/team/app/tags/list", bearer(token))
        assert reply.status == 401
        assert 'error="invalid_token"' in reply["www-authenticate"]


# B101 to B103


@pytest.mark.parametrize("path", ["/v2/", "/v2/open/app/tags/list", "/token", "/healthz", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_b101_no_origin_is_given_leave(town: People, method: str, path: str) -> None:
    head = [*basic("admin"), ("Origin", "https://evil.example"), ("Access-Control-Request-Method", "PUT")]
    reply = town.ask(method, path, head)

    assert not [key for key, _ in reply.fields if key.lower().startswith("access-control")]


def test_b98_the_registrys_own_pages_may_send_what_a_proxy_renames(tmp_path: Path) -> None:
    (tmp_path / "moorage.toml").write_text(
        '[server]\nproxies = ["127.0.0.1"]\npublic = ["https://registry.example"]\n'
    )
    config = ("--config", str(tmp_path / "moorage.toml"), "--workers", "1")
    with ServerProcess(tmp_path / "data", *config) as server:
        people = People(server.data_dir, server.port)
        head = [("Origin", "https://registry.example"), ("X-Forwarded-Proto", "https")]

        # let in, and asked to sign in; not refused for where it came from
        assert people.ask("POST", "/v2/team/app/blobs/uploads/", head).status == 401
        evil = [("Origin", "https://evil.example"), ("X-Forwarded-Proto", "https")]
        assert people.ask("POST", "/v2/team/app/blobs/uploads/", evil).status == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://registry.test.evil.example", ""])
def test_b98_a_change_from_another_sites_page_is_refused(town: People, origin: str) -> None:
    head = [*basic("writer"), ("Origin", origin)]

    assert town.ask("POST", "/v2/team/app/blobs/uploads/", head).status == 403
    assert town.ask("DELETE", f"/v2/team/app/manifests/{ABSENT}", head).status == 403


def test_b102_what_a_client_calls_itself_cannot_break_the_log(town: People, moorage: ServerProcess) -> None:
    mark = secrets.token_hex(6)
    name = f"{mark}\u202e\u2066\x1b[31m"
    body = f"grant_type=password&username={mark}%0a%1b%5b31m%e2%80%ae&password=wrong-horse"
    assert town.ask("GET", "/v2/", basic(name, "wrong horse battery")).status == 401
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    assert town.ask("POST", "/token", form, body.encode()).status == 401

    entry = moorage.wait_for_event("sign_in_refused", account=f"{mark}\\n\\x1b[31m\\u202e")
    assert entry["means"] == "password"
    lines = [line for line in moorage.log_path.read_text().splitlines() if mark in line]
    assert lines
    assert all(line.isprintable() and line.isascii() for line in lines)
    assert [row["actor"] for row in town.audit() if mark in row["actor"]] == [f"{mark}\\n\\x1b[31m\\u202e"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/me/x.css",
        "/v2/token/a.png",
        "/token/a.png",
        "/token/",
        "/v2/_catalog/x.css",
        "/metrics/x.css",
    ],
)
def test_b103_nothing_private_answers_under_another_ending(town: People, path: str) -> None:
    assert town.ask("GET", path, basic("admin")).status == 404


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/_catalog", "/v2/team/app/tags/list", "/v2/team/app/manifests/v1"]
)
def test_b103_private_answers_are_stored_nowhere(town: People, path: str) -> None:
    assert town.ask("GET", path, basic("reader"))["cache-control"] == "private, no-store"
    wide = town.bearer(basic("reader"), "repository:team/app:pull", "registry:catalog:*")
    assert town.ask("GET", path, wide)["cache-control"] == "private, no-store"


def test_b103_a_private_blob_is_the_clients_alone_to_keep(town: People) -> None:
    digest = digest_in("own")
    private = town.ask("GET", f"/v2/team/app/blobs/{digest}", basic("reader"))
    missing = town.ask("GET", f"/v2/team/app/blobs/{ABSENT}", basic("reader"))

    assert private["cache-control"] == "private, max-age=31536000"
    assert missing["cache-control"] == "private, no-store"


def test_b48_content_that_another_holds_is_pushed_by_its_bytes_only(town: People, newcomer: str) -> None:
    content = some_bytes()
    town.push_blob("alien/app", basic("stranger"), content)
    begun = town.begin(f"{newcomer}/app", basic(newcomer))
    reply = town.ask("PUT", f"{begun}?digest={digest_of(content)}", basic(newcomer), b"")

    assert reply.status == 400
    assert town.ask("HEAD", f"/v2/{newcomer}/app/blobs/{digest_of(content)}", basic(newcomer)).status == 404

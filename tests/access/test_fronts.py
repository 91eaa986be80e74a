"""By which address and name a request came: the settings', a trusted proxy's, or the connection's own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.api.exchange import Request
from moorage.api.fronts import Fronts
from moorage.config import ServerSettings
from tests.access.people import People, basic
from tests.inputs.wire import Reply, Wire, request
from tests.servers import ServerProcess

PROXY, CLIENT, OTHER = "10.0.0.2", "203.0.113.9", "198.51.100.1"
BEHIND = ("10.0.0.0/8", "fd00::/8")


def fronts(*, public: Sequence[str] = (), proxies: Sequence[str] = BEHIND) -> Fronts:
    return Fronts(replace(ServerSettings(), public=tuple(public), proxies=tuple(proxies)))


def ask(
    peer: str = PROXY, scheme: str = "http", host: str | None = "registry.example", **headers: str | list[str]
) -> Request:
    fields = [] if host is None else [(b"host", host.encode("latin-1"))]
    for name, values in headers.items():
        lines = [values] if isinstance(values, str) else values
        fields += [(name.replace("_", "-").encode(), value.encode("latin-1")) for value in lines]
    scope: dict[str, Any] = {
        "method": "GET",
        "scheme": scheme,
        "headers": fields,
        "client": (peer, 40000),
        "server": ("10.0.0.1", 5000),
    }

    async def receive() -> dict[str, Any]:
        raise NotImplementedError

    return Request(scope, receive, 30, 1024)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, PROXY),
        ({"x_forwarded_for": CLIENT}, CLIENT),
        ({"x_forwarded_for": f"{OTHER}, {CLIENT}"}, CLIENT),
        ({"x_forwarded_for": [OTHER, CLIENT]}, CLIENT),
        ({"x_forwarded_for": f"127.0.0.1, {CLIENT}, 10.9.9.9"}, CLIENT),
        ({"x_forwarded_for": f"{CLIENT}, unknown"}, PROXY),
        ({"x_forwarded_for": "127.0.0.1,evil"}, PROXY),
        ({"x_forwarded_for": "2001:db8::1"}, "2001:db8::1"),
        ({"x_forwarded_for": ""}, PROXY),
        ({"forwarded": f"for={CLIENT}"}, CLIENT),
        ({"forwarded": f"For={CLIENT};Proto=https;by={PROXY}"}, CLIENT),
        ({"forwarded": f'for="{CLIENT}:4711"'}, CLIENT),
        ({"forwarded": 'for="[2001:db8::1]:4711"'}, "2001:db8::1"),
        ({"forwarded": 'for="[2001:db8::1]"'}, "2001:db8::1"),
        ({"forwarded": f"for={OTHER}, for={CLIENT}"}, CLIENT),
        ({"forwarded": f"for={CLIENT}, for=10.3.4.5"}, CLIENT),
        ({"forwarded": [f"for={OTHER}", f"for={CLIENT}"]}, CLIENT),
        ({"forwarded": f"for={CLIENT}, for=unknown"}, PROXY),
        ({"forwarded": f"for={CLIENT}, for=_hidden"}, PROXY),
        # a client chooses its Host, which a proxy may repeat
        ({"forwarded": f"for={CLIENT};host=for=127.0.0.1"}, CLIENT),
        ({"forwarded": f'for={CLIENT};host="a;for=127.0.0.1"'}, CLIENT),
        ({"forwarded": f'for={CLIENT};host="a,for=127.0.0.1"'}, PROXY),
        ({"forwarded": f'for="127.0.0.1, for={CLIENT}'}, CLIENT),
        ({"forwarded": f"xfor=127.0.0.1;for={CLIENT}"}, CLIENT),
        # a client's own, which a proxy that writes the other lets through
        ({"forwarded": f"for={OTHER}", "x_forwarded_for": CLIENT}, CLIENT),
    ],
)
def test_the_clients_address_is_the_last_that_is_no_proxy_of_ours(
    headers: dict[str, Any], expected: str
) -> None:
    assert fronts().address(ask(**headers)) == expected


@pytest.mark.parametrize("peer", [CLIENT, "127.0.0.1", "::1", "not an address", ""])
def test_nobody_else_is_believed(peer: str) -> None:
    lying = ask(
        peer,
        x_forwarded_for="127.0.0.1",
        x_forwarded_proto="https",
        x_forwarded_host="evil.example",
        forwarded="for=127.0.0.1;proto=https;host=evil.example",
    )

    assert fronts().address(lying) == peer
    assert fronts().base(lying) == "http://registry.example"
    assert fronts(proxies=()).address(lying) == peer


def test_a_proxy_that_comes_by_ipv4_on_an_ipv6_socket_is_known() -> None:
    assert fronts().address(ask("::ffff:10.0.0.2", x_forwarded_for=CLIENT)) == CLIENT
    assert fronts().address(ask("fd00::7", x_forwarded_for=CLIENT)) == CLIENT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "http://registry.example"),
        ({"x_forwarded_proto": "https"}, "https://registry.example"),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "r.example:8443"}, "https://r.example:8443"),
        ({"x_forwarded_host": "r.example, inner.example"}, "http://r.example"),
        ({"forwarded": 'for=1.2.3.4;proto=https;host="r.example:8443"'}, "https://r.example:8443"),
        ({"forwarded": "proto=https;host=r.example, proto=http;host=inner"}, "https://r.example"),
        ({"forwarded": "host=evil.example", "x_forwarded_for": CLIENT}, "http://registry.example"),
        ({"x_forwarded_proto": "javascript"}, "http://registry.example"),
        ({"x_forwarded_host": 'a",evil="b'}, "http://10.0.0.1:5000"),
        ({"x_forwarded_host": "a/../b"}, "http://10.0.0.1:5000"),
        ({"x_forwarded_host": "[2001:db8::1]:5000"}, "http://[2001:db8::1]:5000"),
    ],
)
def test_the_base_is_what_the_proxy_says_the_client_used(headers: dict[str, Any], expected: str) -> None:
    assert fronts().base(ask(**headers)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("registry.example:5000", "https://registry.example:5000"),
        ("[::1]:5000", "https://[::1]:5000"),
        ('evil" x="', "https://10.0.0.1:5000"),
        ("evil/path", "https://10.0.0.1:5000"),
        ("user@evil", "https://10.0.0.1:5000"),
        ("a" * 300, "https://10.0.0.1:5000"),
        ("", "https://10.0.0.1:5000"),
        (None, "https://10.0.0.1:5000"),
    ],
)
def test_a_host_that_is_none_is_replaced_by_the_connections_own(host: str | None, expected: str) -> None:
    assert fronts(proxies=()).base(ask(scheme="https", host=host)) == expected


@pytest.mark.parametrize("host", ["evil.example", "registry.example", "", "127.0.0.1:5000"])
def test_a_public_address_comes_before_whatever_the_client_says(host: str) -> None:
    public = ["https://one.example", "https://two.example:8443/"]
    here = fronts(public=public)

    assert here.base(ask(host=host, x_forwarded_host="evil.example")) == "https://one.example"
    assert here.base(ask(host="two.example:8443")) == "https://two.example:8443"
    assert here.base(ask(host="TWO.example:8443")) == "https://two.example:8443"


@pytest.mark.parametrize(
    ("peer", "scheme", "headers", "expected"),
    [
        ("127.0.0.1", "http", {}, False),
        ("::1", "http", {}, False),
        ("::ffff:127.0.0.1", "http", {}, False),
        (CLIENT, "http", {}, True),
        (CLIENT, "https", {}, False),
        (CLIENT, "http", {"x_forwarded_proto": "https"}, True),
        (CLIENT, "http", {"x_forwarded_for": "127.0.0.1"}, True),
        (PROXY, "http", {"x_forwarded_for": CLIENT}, True),
        (PROXY, "http", {"x_forwarded_for": CLIENT, "x_forwarded_proto": "https"}, False),
        (PROXY, "http", {"x_forwarded_for": f"127.0.0.1, {CLIENT}"}, True),
        (PROXY, "http", {"forwarded": f"for={CLIENT};host=for=127.0.0.1"}, True),
        (PROXY, "http", {}, True),
    ],
)
def test_a_line_is_plain_unless_it_is_tls_or_stays_on_this_machine(
    peer: str, scheme: str, headers: dict[str, Any], *, expected: bool
) -> None:
    assert fronts().is_plain(ask(peer, scheme, **headers)) is expected


# over the wire


def start(folder: Path, config: str) -> ServerProcess:
    (folder / "moorage.toml").write_text(f"[server]\n{config}")
    return ServerProcess(folder / "data", "--workers", "1", "--config", str(folder / "moorage.toml"))


def ask_as(port: int, host: str, path: str, fields: Sequence[tuple[str, str]] = ()) -> Reply:
    with Wire(port) as wire:
        wire.send(request("GET", path, fields).replace(b"Host: registry.test", f"Host: {host}".encode()))
        return wire.read()


REMOTE = ("X-Forwarded-For", CLIENT)
SECURE = ("X-Forwarded-Proto", "https")


def test_behind_a_proxy_the_realm_is_the_proxys_and_passwords_go_over_tls_only(tmp_path: Path) -> None:
    with start(tmp_path, 'proxies = ["127.0.0.1"]\n') as server:
        people = People(server.data_dir, server.port)
        people.add("alice", role="admin")
        _, secret = people.make_token("alice")
        named = [REMOTE, SECURE, ("X-Forwarded-Host", "registry.example")]

        challenge = people.ask("GET", "/v2/", named)["www-authenticate"]
        assert challenge.startswith('Bearer realm="https://registry.example/token",service="moorage"')
        # what one was let in with at this machine, or over TLS, is refused to another in plain
        for path in ("/v2/", "/token", "/v2/", "/v2/alice/x/referrers/sha256:" + "0" * 64):
            assert people.ask("GET", path, [*basic("alice"), *named]).status == 200
            assert people.ask("GET", path, basic("alice")).status == 200
            refused = people.ask("GET", path, [*basic("alice"), REMOTE])
            assert refused.status == 401
            assert "plain HTTP" in refused.json["errors"][0]["message"]
            assert people.ask("GET", path, [*basic("alice", secret), REMOTE]).status == 200
        rows = people.audit(action="sign-in")
        assert {row["address"] for row in rows} <= {CLIENT, "127.0.0.1"}


def test_passwords_in_plain_are_taken_by_a_switch_of_their_own(tmp_path: Path) -> None:
    with start(tmp_path, 'proxies = ["127.0.0.1"]\ninsecure_passwords = true\n') as server:
        people = People(server.data_dir, server.port)
        people.add("alice", role="admin")

        assert people.ask("GET", "/v2/", [*basic("alice"), REMOTE]).status == 200


def test_the_audit_names_the_client_and_not_who_came_before_it(tmp_path: Path) -> None:
    with start(tmp_path, 'proxies = ["127.0.0.1"]\n') as server:
        people = People(server.data_dir, server.port)
        people.add("root", role="admin")
        people.add("alice")
        for address in (CLIENT, OTHER):
            head = [*basic("alice"), SECURE, ("X-Forwarded-For", address)]
            people.push_blob("alice/app", head, b"{}")
            typed = [*head, ("Content-Type", "application/vnd.oci.image.index.v1+json")]
            index = b'{"schemaVersion":2,"manifests":[]}'
            assert people.ask("PUT", "/v2/alice/app/manifests/v1", typed, index).status == 201

        assert [row["address"] for row in people.audit(action="push")] == [CLIENT, OTHER]


def test_a_public_address_is_the_realm_whatever_the_host(tmp_path: Path) -> None:
    with start(tmp_path, 'public = ["https://registry.example"]\n') as server:
        for host in ("evil.example", "registry.example", "[::1]:5000", f"127.0.0.1:{server.port}"):
            reply = ask_as(server.port, host, "/v2/", [("X-Forwarded-Host", "evil.example")])
            assert reply.status == 401
            assert 'realm="https://registry.example/token"' in reply["www-authenticate"]


def test_without_one_the_realm_is_the_host_and_headers_of_strangers_are_nothing(tmp_path: Path) -> None:
    with start(tmp_path, 'proxies = ["192.0.2.0/24"]\n') as server:
        for host in ("127.0.0.1:5000", "[::1]:5000", "localhost:5000"):
            head = [SECURE, ("X-Forwarded-Host", "evil.example"), ("Forwarded", "proto=https;host=evil")]
            reply = ask_as(server.port, host, "/v2/", head)
            assert f'realm="http://{host}/token"' in reply["www-authenticate"]


def test_a_registry_with_a_proxy_before_it_is_never_open(tmp_path: Path) -> None:
    with start(tmp_path, 'proxies = ["127.0.0.1"]\n') as server:
        people = People(server.data_dir, server.port)
        assert people.ask("GET", "/v2/").status == 401
        assert people.ask("POST", "/v2/team/app/blobs/uploads/").status == 401

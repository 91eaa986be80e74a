"""CI exchanges a token that a real provider signed, and pushes with what it gets."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from moorage.database import Transaction
from moorage.identity.accounts.rows import get_account_in, insert_account, update_account
from tests.federation.conftest import START, Serve
from tests.federation.provider import AUDIENCE, Provider
from tests.federation.registry import ACCESS_TOKEN, Registry, basic

STRICT = START.replace('private_addresses = ["127.0.0.0/8", "::1/128"]\n', "")


@pytest.fixture
def own_registry(serve: Serve, own_provider: Provider) -> Registry:
    return serve(own_provider.issuer)


def test_job_gets_a_token_for_the_one_it_has(own_registry: Registry, own_provider: Provider) -> None:
    answer = own_registry.exchange(own_provider.ci_token())

    assert answer.status == 200
    given = answer.json
    assert given.pop("access_token").startswith("moor_")
    assert given == {
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 1800,
        "username": "bot.ci",
    }
    assert own_registry.audit("account.create") == [("bot.ci", "allowed", "by a trust of the settings")]
    assert own_registry.audit("token.exchange") == [
        ("bot.ci", "allowed", f"token 1: {own_provider.issuer} ci")
    ]


def test_job_pushes_where_its_trust_says_and_nowhere_else(registry: Registry, provider: Provider) -> None:
    secret = registry.exchange(provider.ci_token()).json["access_token"]
    scope = "repository:team/app:pull,push"

    bearer = registry.bearer("bot.ci", secret, scope)

    assert bearer.status == 200
    assert "refresh_token" not in bearer.json
    push(registry, "team/app", {"Authorization": f"Bearer {bearer.json['token']}"})
    push(registry, "team/app", basic("bot.ci", secret))
    elsewhere = registry.send("POST", "/v2/team/other/blobs/uploads/", b"", basic("bot.ci", secret))
    assert elsewhere.status == 403
    assert registry.send("POST", "/v2/library/x/blobs/uploads/", b"", basic("bot.ci", secret)).status == 403
    assert registry.bearer("someone", secret, scope).status == 401


def push(registry: Registry, repository: str, headers: dict[str, str]) -> None:
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    path = f"/v2/{repository}/blobs/uploads/?digest={digest}"
    octets = {"Content-Type": "application/octet-stream"}
    assert registry.send("POST", path, config, {**headers, **octets}).status == 201
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2},
        "layers": [],
    }
    body = json.dumps(manifest).encode()
    at = f"/v2/{repository}/manifests/v1"
    assert registry.send("PUT", at, body, {**headers, "Content-Type": kind}).status == 201
    assert registry.send("GET", at, None, headers).body == body


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_every_algorithm_that_is_named_is_taken(
    registry: Registry, provider: Provider, algorithm: str
) -> None:
    key = {"ES256": provider.ec, "EdDSA": provider.okp}.get(algorithm, provider.rsa)

    with pytest.warns() if algorithm == "EdDSA" else nothing():
        token = provider.sign(key, {"alg": algorithm})

    assert registry.exchange(token).status == 200


@contextmanager
def nothing() -> Iterator[None]:
    yield


MINUTE = 60
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another audience": ({"aud": "https://elsewhere.example"}, "audience"),
    "an audience that begins alike": ({"aud": AUDIENCE + ".evil"}, "audience"),
    "no audience": ({"aud": None}, "audience"),
    "another issuer": ({"iss": "https://evil.example"}, "issuer"),
    "no issuer": ({"iss": None}, "issuer"),
    "a claim that does not fit": ({"repository": "acme/other"}, "claims"),
    "a claim in another case": ({"repository": "ACME/app"}, "claims"),
    "a claim that is missing": ({"ref": None}, "claims"),
    "a claim of another type": ({"repository": {"acme/app": 1}}, "claims"),
    "no subject": ({"sub": None}, "subject"),
    "no end": ({"exp": None}, "time"),
    "an end that is no number": ({"exp": "tomorrow"}, "time"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_token_with_one_thing_wrong_is_refused_by_that(
    registry: Registry, provider: Provider, what: str
) -> None:
    claims, check = REFUSED[what]

    answer = registry.exchange(provider.sign(**claims))

    assert (answer.status, answer.reason) == (401, check)
    assert registry.audit("token.exchange")[0][:2] == ("anonymous", "denied")


def test_one_audience_of_several_is_enough(registry: Registry, provider: Provider) -> None:
    assert registry.exchange(provider.sign(aud=["https://x.example", AUDIENCE])).status == 200


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"exp": -2 * MINUTE}, 401),
        ({"exp": -MINUTE // 2}, 200),
        ({"nbf": 2 * MINUTE}, 401),
        ({"nbf": MINUTE // 2}, 200),
        ({"iat": 2 * MINUTE}, 401),
    ],
    ids=str,
)
def test_clocks_may_differ_by_a_minute(
    registry: Registry, provider: Provider, claims: dict[str, int], status: int
) -> None:
    now = int(time.time())

    answer = registry.exchange(provider.sign(None, None, **{name: now + by for name, by in claims.items()}))

    assert answer.status == status
    assert status == 200 or answer.reason == "time"


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_header(token: str, header: dict[str, Any], signature: str | None = None) -> str:
    _, claims, signed = token.split(".")
    return f"{part(header)}.{claims}.{signed if signature is None else signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", ""])
def test_token_without_a_signature_is_refused(registry: Registry, provider: Provider, algorithm: str) -> None:
    token = with_header(provider.sign(), {"alg": algorithm, "kid": "rsa-1"}, "")

    assert (registry.exchange(token).status, registry.exchange(token).reason) == (401, "algorithm")


def test_public_key_is_no_shared_secret(registry: Registry, provider: Provider) -> None:
    unsigned = with_header(provider.sign(), {"alg": "HS256", "kid": "rsa-1"}, "")
    mac = hmac.digest(provider.rsa.as_pem(private=False), unsigned[:-1].encode(), "sha256")

    answer = registry.exchange(unsigned + base64.urlsafe_b64encode(mac).rstrip(b"=").decode())

    assert answer.reason == "algorithm"


def test_key_that_the_token_brings_along_is_not_used(registry: Registry, provider: Provider) -> None:
    own = RSAKey.generate_key(2048, {"kid": "rsa-1"})
    header = {"jwk": own.as_dict(private=False), "jku": "http://127.0.0.1:1/keys"}

    answer = registry.exchange(provider.sign(own, {"kid": "rsa-1", "jku": header["jku"]}))

    assert answer.reason == "signature"
    stolen = with_header(provider.sign(own), {"alg": "RS256", "kid": "rsa-1", **header})
    assert registry.exchange(stolen).reason == "signature"


def test_token_for_something_else_is_refused(registry: Registry, provider: Provider) -> None:
    assert registry.exchange(provider.sign(header={"typ": "logout+jwt"})).reason == "type"


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "a.b", "é.é.é", "x" * 40_000, "W10.W10.W10"])
def test_what_is_no_token_is_refused(registry: Registry, text: str) -> None:
    answer = registry.exchange(text)

    assert (answer.status, answer.reason) == (401, "form")


def test_token_is_not_in_reply_log_or_audit(registry: Registry, provider: Provider) -> None:
    token = provider.sign(aud="https://elsewhere.example")

    answer = registry.exchange(token)

    kept = answer.body.decode() + registry.server.log_tail(1000) + str(registry.audit("token.exchange"))
    assert not any(piece in kept for piece in token.split("."))


@pytest.mark.parametrize(
    "fields",
    [
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": ""},
        {"subject_token": ""},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": "x"},
        {"service": "another"},
    ],
    ids=str,
)
def test_request_that_is_no_exchange_is_refused(registry: Registry, fields: dict[str, str]) -> None:
    assert registry.exchange(**{"token": "x", **fields}).status == 400


def test_id_token_may_be_exchanged(registry: Registry, provider: Provider) -> None:
    kind = "urn:ietf:params:oauth:token-type:id_token"

    assert registry.exchange(provider.ci_token(), subject_token_type=kind).status == 200


def test_new_keys_are_found_and_old_ones_count_no_more(
    own_registry: Registry, own_provider: Provider
) -> None:
    old = own_provider.sign()
    assert own_registry.exchange(old).status == 200

    own_provider.new_keys("2")
    own_provider.restart()

    assert own_registry.exchange(own_provider.ci_token()).status == 200
    assert own_registry.exchange(old).reason == "key"


def test_invented_keys_have_the_issuer_asked_once_a_minute(
    own_registry: Registry, own_provider: Provider
) -> None:
    other = RSAKey.generate_key(2048, {"kid": "invented"})

    reasons = [
        own_registry.exchange(own_provider.sign(other, {"kid": f"invented-{number}"})).reason
        for number in range(10)
    ]

    assert set(reasons) == {"key"}
    assert own_provider.requests.count("GET /jwks") == 2


def test_keys_that_are_known_count_while_the_issuer_is_down(
    own_registry: Registry, own_provider: Provider
) -> None:
    assert own_registry.exchange(own_provider.ci_token()).status == 200

    own_provider.stop()

    assert own_registry.exchange(own_provider.sign()).status == 200
    assert own_registry.exchange(own_provider.sign(header={"kid": "new"})).reason == "key"


def test_issuer_that_was_never_reached_is_a_503(own_registry: Registry, own_provider: Provider) -> None:
    own_provider.stop()

    answer = own_registry.exchange(own_provider.sign())

    assert answer.status == 503
    assert own_registry.server.wait_for_event("issuer_unavailable", issuer=own_provider.issuer)


def test_refusals_from_one_address_are_slowed(registry: Registry, provider: Provider) -> None:
    good, bad = provider.ci_token(), provider.sign(aud="x")

    answers = [registry.exchange(bad).status for _ in range(22)]

    assert answers == [401] * 20 + [429] * 2
    assert len(registry.audit("token.exchange")) == 20
    # whoever has the right one does not wait
    assert registry.exchange(good).status == 200


def robot(tx: Transaction) -> None:
    insert_account(tx, "bot.ci", "test", kind="robot")


def disabled_robot(tx: Transaction) -> None:
    robot(tx)
    update_account(tx, get_account_in(tx, "bot.ci").id, is_disabled=True)


def person(tx: Transaction) -> None:
    insert_account(tx, "bot.ci", "test")


def look_alike(tx: Transaction) -> None:
    insert_account(tx, "bot-ci", "test")


@pytest.mark.parametrize(
    ("work", "status"), [(robot, 200), (disabled_robot, 401), (person, 401), (look_alike, 401)]
)
def test_robot_has_to_be_one(
    serve: Serve, provider: Provider, work: Callable[[Transaction], None], status: int
) -> None:
    answer = serve(provider.issuer, work).exchange(provider.ci_token())

    assert answer.status == status
    assert status == 200 or answer.reason == "account"


def test_exchange_makes_no_first_account(serve: Serve, provider: Provider) -> None:
    registry = serve(provider.issuer, first=lambda _: None)

    assert registry.exchange(provider.ci_token()).reason == "account"
    assert registry.send("GET", "/v2/").status == 200


def test_private_address_is_not_asked_unless_it_is_listed(serve: Serve, own_provider: Provider) -> None:
    own_registry = serve(own_provider.issuer, settings=STRICT)

    assert own_registry.exchange(own_provider.ci_token()).status == 503
    reason = own_registry.server.wait_for_event("issuer_unavailable")["reason"]
    assert "no public address" in reason
    assert own_provider.requests.count("GET /.well-known/openid-configuration") == 0


def test_name_of_a_private_address_is_not_asked_either(installed: None, serve: Serve) -> None:
    with Provider("http://127.0.0.1:1/x", host="localhost") as provider:
        registry = serve(provider.issuer, settings=STRICT)

        assert registry.exchange(provider.ci_token()).status == 503
        assert "no public address" in registry.server.wait_for_event("issuer_unavailable")["reason"]
        assert provider.requests.count("GET /.well-known/openid-configuration") == 0


class Liar(http.server.BaseHTTPRequestHandler):
    """Something that is no provider."""

    reply: Callable[[Any], None]

    def do_GET(self) -> None:
        type(self).reply(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def lying(reply: Callable[[Any], None]) -> Iterator[tuple[str, list[str]]]:
    """A server, and what it was asked for."""
    asked: list[str] = []

    def answer(handler: Any) -> None:
        asked.append(handler.path)
        reply(handler)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Of", (Liar,), {"reply": answer}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def document(handler: Any, **changes: Any) -> None:
    base = f"http://127.0.0.1:{handler.server.server_port}"
    body = {"issuer": base, "jwks_uri": f"{base}/jwks", **changes}
    handler.send(200, json.dumps(body).encode())


LIES: dict[str, tuple[Callable[[Any], None], str]] = {
    "a redirect": (
        lambda handler: handler.send(302, b"", Location="/elsewhere"),
        "redirects are not followed",
    ),
    "another issuer's document": (
        lambda handler: document(handler, issuer="https://other.example"),
        "another issuer",
    ),
    "a slash more in its name": (
        lambda handler: document(handler, issuer=f"http://127.0.0.1:{handler.server.server_port}/"),
        "another issuer",
    ),
    "keys over plain HTTP": (
        lambda handler: document(handler, jwks_uri="http://other.example/"),
        "not https",
    ),
    "keys in a file": (lambda handler: document(handler, jwks_uri="file:///etc/passwd"), "not https"),
    "keys at a private address": (
        lambda handler: document(handler, jwks_uri="https://10.0.0.1/keys"),
        "no public address",
    ),
    "keys at a metadata service": (
        lambda handler: document(handler, jwks_uri="https://[::ffff:169.254.169.254]/keys"),
        "no public address",
    ),
    "no keys": (document, "no list of keys"),
    "too much": (lambda handler: handler.send(200, b" " * 2**20 + b"{}"), "more than a megabyte"),
    "no JSON": (lambda handler: handler.send(200, b"<html>"), "no JSON object"),
    "a deep document": (lambda handler: handler.send(200, b"[" * 500_000), "no JSON object"),
}


@pytest.mark.parametrize("what", LIES)
def test_issuer_that_answers_with_something_else_is_not_believed(serve: Serve, what: str) -> None:
    reply, reason = LIES[what]
    with lying(reply) as (issuer, asked):
        registry = serve(issuer)
        key = RSAKey.generate_key(2048, {"kid": "k"})

        answer = registry.exchange(sign_as(issuer, key))

        assert answer.status == 503
        assert reason in registry.server.wait_for_event("issuer_unavailable")["reason"]
        assert "/elsewhere" not in asked
        # and not asked again at once
        assert registry.exchange(sign_as(issuer, key)).status == 503
        assert asked.count("/.well-known/openid-configuration") == 1


def sign_as(issuer: str, key: RSAKey) -> str:
    now = int(time.time())
    return jwt.encode({"alg": "RS256", "kid": "k"}, {"iss": issuer, "exp": now + 60, "iat": now}, key)


def wait(ended: threading.Event) -> None:
    ended.wait(30)


def test_issuer_that_does_not_answer_is_waited_for_ten_seconds(serve: Serve) -> None:
    ended = threading.Event()
    with lying(lambda _: wait(ended)) as (issuer, _):
        registry = serve(issuer)
        started = time.monotonic()

        answer = registry.exchange(sign_as(issuer, RSAKey.generate_key(2048, {"kid": "k"})))

        assert answer.status == 503
        assert 9 < time.monotonic() - started < 15
        ended.set()


def test_issuer_that_no_trust_names_is_not_asked(registry: Registry) -> None:
    with lying(lambda handler: handler.send(200, b"{}")) as (issuer, asked):
        answer = registry.exchange(sign_as(issuer, RSAKey.generate_key(2048, {"kid": "k"})))

        assert answer.reason == "issuer"
        assert asked == []

"""B73 to B79: a bearer token is what this registry signed for itself, for now, and nothing else is."""

import base64
import hmac
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, OctKey

from moorage.errors import BearerInvalid
from moorage.identity.tokens.bearer import TOKEN_MAX_CHARS, KeyRing
from moorage.identity.tokens.keys import _make
from tests.identity.conftest import Clock

KEY = _make()
RING = KeyRing([KEY])
ACCESS = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says at this moment, but for some changes."""
    now = int(time.time())
    said = {
        "iss": "moorage",
        "sub": "alice",
        "aud": "moorage",
        "exp": now + 300,
        "nbf": now - 1,
        "iat": now - 1,
        "jti": "x",
        "access": ACCESS,
        "account": 1,
        "token": None,
    }
    return {**said, **changes}


def encode(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(header: dict[str, Any] | None = None, key: str = KEY.private, /, **changes: Any) -> str:
    """A token with the registry's own signature, and whatever header and claims."""
    signer = ECKey.import_key(key)
    text = f"{encode({'alg': 'ES256', 'kid': KEY.id, **(header or {})})}.{encode(claims(**changes))}"
    return f"{text}.{encode(_es256(signer, text.encode()))}"


def _es256(key: ECKey, message: bytes) -> bytes:
    private = key.private_key
    assert isinstance(private, EllipticCurvePrivateKey)
    r, s = decode_dss_signature(private.sign(message, ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def without(name: str) -> str:
    kept = {key: value for key, value in claims().items() if key != name}
    return jwt.encode({"alg": "ES256", "kid": KEY.id}, kept, ECKey.import_key(KEY.private))


def check_refused(token: str) -> None:
    with pytest.raises(BearerInvalid):
        RING.read(token)


def test_a_token_of_another_hand_with_our_key_is_read() -> None:
    """What all the others change something of."""
    bearer = RING.read(sign())

    assert (bearer.account_id, bearer.access) == (1, {"team/app": frozenset({"pull"})})


def test_a_token_of_our_own_is_read_as_it_was_signed() -> None:
    text = RING.sign("alice", 1, 7, ACCESS, 300)
    bearer = RING.read(text)

    assert (bearer.account_id, bearer.token_id) == (1, 7)
    assert bearer.access == {"team/app": frozenset({"pull"})}
    assert bearer.expires_at - bearer.issued_at == 300_000


def test_what_is_made_by_hand_here_is_read_when_nothing_is_wrong_with_it() -> None:
    assert RING.read(sign()).account_id == 1


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 1, ["ES256"], {}])
def test_b73_no_algorithm_is_none(alg: Any) -> None:
    unsigned = f"{encode({'alg': alg, 'kid': KEY.id})}.{encode(claims())}"

    check_refused(f"{unsigned}.")
    check_refused(f"{unsigned}.{encode(b'x' * 64)}")
    check_refused(f"{unsigned}.{sign().rpartition('.')[2]}")
    check_refused(sign({"alg": alg}))


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_b74_the_public_key_is_no_shared_secret(alg: str) -> None:
    key = ECKey.import_key(KEY.private)
    secrets = [key.as_pem(private=False), key.as_pem(private=True), json.dumps(key.as_dict()).encode()]
    text = f"{encode({'alg': alg, 'kid': KEY.id})}.{encode(claims())}"
    for secret in [*secrets, *(each.strip() for each in secrets), KEY.id.encode(), b""]:
        made = hmac.digest(secret, text.encode(), f"sha{alg[2:]}")
        check_refused(f"{text}.{encode(made)}")


def test_b75_the_attackers_own_key_is_not_asked() -> None:
    mine = ECKey.generate_key("P-256", private=True)
    public, private = mine.as_dict(private=False), mine.as_pem(private=True).decode()
    for header in (
        {"jwk": public},
        {"jwk": public, "kid": mine.thumbprint()},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/certificate"},
        {"x5c": ["MIIB"]},
        {"x5t": "x", "x5t#S256": "x"},
    ):
        check_refused(sign(header, private))
        # and with the right signature such a header changes nothing
        signed = sign({key: value for key, value in header.items() if key != "kid"})
        assert _read(signed) in {None, 1}


def _read(text: str) -> int | None:
    try:
        return RING.read(text).account_id
    except BearerInvalid:
        return None


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "x' UNION SELECT 'y",
        None,
        0,
        ["a"],
        {"a": 1},
        "\0",
    ],
)
def test_b75_a_kid_is_one_of_ours_or_nothing(kid: Any) -> None:
    check_refused(sign({"kid": kid}))
    check_refused(sign({"kid": kid}, _make().private))


def test_b75_a_token_without_a_kid_is_refused() -> None:
    check_refused(jwt.encode({"alg": "ES256"}, claims(), ECKey.import_key(KEY.private)))


@pytest.mark.parametrize("crit", [["x-own"], ["exp"], ["b64"], [], "exp", [1], None])
def test_b76_a_crit_that_is_not_understood_is_refused(crit: Any) -> None:
    check_refused(sign({"crit": crit, "x-own": 1, "b64": False}))


@pytest.mark.parametrize(
    "aud", ["", "Moorage", "moorage ", "another", ["another"], ["moorage", "another"], None, 0, {}]
)
def test_b77_a_token_for_another_audience_is_refused(aud: Any) -> None:
    check_refused(sign(aud=aud))


@pytest.mark.parametrize("name", ["aud", "iss", "exp", "nbf", "iat", "access"])
def test_b77_b78_a_token_that_lacks_a_claim_is_refused(name: str) -> None:
    check_refused(without(name))


@pytest.mark.parametrize("iss", ["", "another", "moorage/", None, ["moorage"]])
def test_b77_a_token_of_another_issuer_is_refused(iss: Any) -> None:
    check_refused(sign(iss=iss))


TIMES = [
    "tomorrow",
    "4102444800",
    10**400,
    -1,
    0,
    None,
    True,
    [],
    {},
    1e300,
    float("inf"),
    float("nan"),
    4_102_444_800_000,
]


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", TIMES, ids=[f"{type(each).__name__}-{place}" for place, each in enumerate(TIMES)]
)
def test_b78_what_is_no_time_is_refused(name: str, value: Any) -> None:
    check_refused(sign(**{name: value}))


def test_b78_a_token_from_the_future_is_refused() -> None:
    check_refused(sign(nbf=int(time.time()) + 3600))


@pytest.mark.parametrize(
    "access",
    [
        None,
        1,
        "pull",
        [1],
        [{}],
        [{"type": "repository"}],
        [{"type": "repository", "name": "a", "actions": 1}],
    ],
)
def test_access_that_is_no_list_of_rights_is_refused(access: Any) -> None:
    check_refused(sign(access=access))


def test_b79_an_encrypted_token_is_refused() -> None:
    key = OctKey.generate_key(256)
    header = {"alg": "dir", "enc": "A256GCM", "kid": KEY.id}

    check_refused(jwe.encrypt_compact(header, json.dumps(claims()).encode(), key))


LARGE = {
    "a mebibyte": "a" * (1 << 20),
    "a mebibyte signed": sign(padding="a" * (1 << 20)),
    "dots": "." * 10_000,
    "the longest header": f"{'e' * (TOKEN_MAX_CHARS - 4)}.a.b",
    "a deep header": f"{encode(b'[' * 6000)}.e30.e30",
    "deep claims": f"{encode({'alg': 'ES256', 'kid': KEY.id})}.{encode(b'[' * 5000)}.{encode(b'x' * 64)}",
    "a long number": encode(b'{"alg":' + b"9" * 5000 + b"}") + ".e30.e30",
}


@pytest.mark.parametrize("name", LARGE)
def test_b79_a_large_token_costs_nothing(name: str) -> None:
    started = time.thread_time()
    check_refused(LARGE[name])

    assert time.thread_time() - started < 0.01


@settings(max_examples=300)
@given(st.text(max_size=60), st.text(max_size=60), st.binary(max_size=70))
def test_whatever_comes_is_refused_and_nothing_else(header: str, claims: str, signature: bytes) -> None:
    tail = f"{encode(claims.encode())}.{encode(signature)}"

    check_refused(f"{header}.{claims}.{encode(signature)}")
    check_refused(f"{encode(header.encode())}.{tail}")
    check_refused(f"{encode({'alg': 'ES256', 'kid': KEY.id, 'x': header})}.{tail}")


def test_a_token_cut_or_changed_anywhere_is_refused() -> None:
    good = sign()
    for at in range(0, len(good), 7):
        changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
        check_refused(good[:at])
        try:
            # the last letter of a part holds bits that mean nothing
            assert RING.read(changed) == RING.read(good)
        except BearerInvalid:
            continue


def test_a_key_that_was_dropped_verifies_nothing() -> None:
    with pytest.raises(BearerInvalid):
        KeyRing([_make()]).read(sign())
    with pytest.raises(BearerInvalid):
        KeyRing([]).read(sign())


def test_the_former_key_still_verifies_and_the_newest_signs() -> None:
    newest = _make()
    ring = KeyRing([newest, KEY])
    text = ring.sign("", None, None, [], 60)

    assert ring.read(sign()).account_id == 1
    assert KeyRing([newest]).read(text).account_id is None
    check_refused(text)


def test_the_clock_decides_when_a_token_began(clock: Clock) -> None:
    text = RING.sign("alice", 1, None, [], 300)
    clock.move(timedelta(minutes=-5))

    with pytest.raises(BearerInvalid):
        RING.read(text)

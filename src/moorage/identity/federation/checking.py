"""A token of another issuer, from its text to what it says: every check, and the sentence for its failure.

Asymmetric signatures only, by a key of the issuer's own set, found by its id. What a token says of its own
keys (`jwk`, `jku`, `x5u`) is never followed.

Source: OpenID Connect Core 1.0, 3.1.3.7; RFC 7519; RFC 8725.
"""

import base64
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from moorage.clock import now_ms

TOKEN_MAX_CHARS: Final = 32 * 1024
ALGORITHMS: Final[Mapping[str, str]] = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
"""What is taken, and the kind of its key."""

LEEWAY_S: Final = 60
"""By how much an issuer's clock may differ."""

_RSA_MIN_BITS: Final = 2048
_TYPES: Final = frozenset({"", "jwt", "at+jwt"})
_REGISTRY = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)

Claims = Mapping[str, Any]


class TokenRefused(Exception):
    """A token that does not count. The sentence names the check, and holds nothing of the token."""


class Presented(msgspec.Struct, frozen=True):
    """What a token says of itself before anything is checked: enough to find the key that checks it."""

    text: str
    algorithm: str
    kid: str
    issuer: str


def read(text: str) -> Presented:
    """A token as it was presented.

    Raises TokenRefused.
    """
    parts = text.split(".")
    if len(text) > TOKEN_MAX_CHARS or len(parts) != 3 or not text.isascii():  # noqa: PLR2004 - of a compact JWS
        raise TokenRefused("form: this is no signed JSON Web Token")
    header, claims = _read_part(parts[0]), _read_part(parts[1])
    algorithm, kid, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused(f"algorithm: want one of {', '.join(ALGORITHMS)}")
    if str(header.get("typ", "")).lower().removeprefix("application/") not in _TYPES:
        raise TokenRefused("type: this is a token for something else")
    if not isinstance(kid, str) or not kid:
        raise TokenRefused("key: the token does not name the key that signed it")
    if not isinstance(issuer, str):
        raise TokenRefused("issuer: the token does not name one")
    return Presented(text, algorithm, kid, issuer)


def _read_part(part: str) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise TokenRefused("form: this is no signed JSON Web Token") from error


def verify(presented: Presented, keys: Iterable[Mapping[str, Any]]) -> Claims:
    """The claims, if one of these keys signed them.

    Raises TokenRefused.
    """
    fitting = [key for each in keys if (key := _import(each, presented.algorithm)) is not None]
    if not fitting:
        raise TokenRefused("key: the issuer publishes no key of this id for this algorithm")
    for key in fitting:
        try:
            with warnings.catch_warnings():
                # EdDSA is as good as ever: a later RFC renamed it
                warnings.simplefilter("ignore", SecurityWarning)
                return jwt.decode(presented.text, key, registry=_REGISTRY).claims
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            continue
    raise TokenRefused("signature: it is not the issuer's")


def _import(jwk: Mapping[str, Any], algorithm: str) -> Key | None:
    """A key, if it is one for this algorithm and for signatures; None if not."""
    kind = ALGORITHMS[algorithm]
    if jwk.get("kty") != kind or jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        key = JWKRegistry.import_key(dict(jwk), kind)
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    match key:
        case RSAKey():
            return key if key.public_key.key_size >= _RSA_MIN_BITS else None
        case ECKey():
            return key if key.curve_name == "P-256" else None
        case OKPKey():
            return key if key.curve_name == "Ed25519" else None
    return None


def check_times(claims: Claims) -> None:
    """Raises TokenRefused for a token that has expired, has no end, or is from the future."""
    now_s = now_ms() / 1000
    expires, issued, starts = (_time_s(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None:
        raise TokenRefused("time: the token never expires")
    if expires <= now_s - LEEWAY_S:
        raise TokenRefused("time: the token has expired")
    if any(each is not None and each > now_s + LEEWAY_S for each in (issued, starts)):
        raise TokenRefused("time: the token is from the future; look at the clocks")


def _time_s(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:  # noqa: PLR2004 - year 5138
        raise TokenRefused(f"time: {name} is none")
    return value


def audiences(claims: Claims) -> list[str]:
    """For whom a token is."""
    value = claims.get("aud")
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, str)]


def check_id_token(claims: Claims, issuer: str, client_id: str, nonce: str) -> str:
    """The subject of an ID token that was signed by this issuer for this client and this visit.

    Raises TokenRefused.
    """
    check_times(claims)
    if claims.get("iss") != issuer:
        raise TokenRefused("issuer: it is another")
    listed = audiences(claims)
    if client_id not in listed:
        raise TokenRefused("audience: the token is for another client")
    party = claims.get("azp")
    if (party is not None or len(listed) > 1) and party != client_id:
        raise TokenRefused("authorized party: the token was given to another client")
    if claims.get("nonce") != nonce:
        raise TokenRefused("nonce: the token is of another visit")
    return subject_of(claims)


def subject_of(claims: Claims) -> str:
    """Of whom a token speaks; Raises TokenRefused."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:  # noqa: PLR2004 - OpenID Connect Core, 2
        raise TokenRefused("subject: the token does not name one")
    return subject

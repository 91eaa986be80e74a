"""Bearer tokens: what the registry signs at its token endpoint, and takes back with a request.

One algorithm, ES256; one issuer and one audience; keys of our own, found by their thumbprint. What a token
says of itself beyond that (`jwk`, `jku`, `x5u`, `crit`) is never followed.

Source: RFC 7519, RFC 7515; Docker's token authentication, "Token Authentication Implementation" (its
`access` claim).
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from joserfc.jws import JWSRegistry

from moorage.clock import now_ms
from moorage.errors import BearerInvalid, Unavailable
from moorage.identity.tokens.rows import SigningKey

ISSUER: Final = "moorage"
SERVICE: Final = "moorage"
"""The audience: what a challenge names and a client asks with."""

TOKEN_MAX_CHARS: Final = 8 * 1024
_ALGORITHM: Final = "ES256"
_REGISTRY = JWSRegistry(algorithms=[_ALGORITHM])


class Bearer(msgspec.Struct, frozen=True):
    """What a bearer token says. Times are in milliseconds since 1970-01-01 UTC.

    `account_id` None: someone who has not signed in. `token_id`: the token it was given for, if one.
    `access`: actions by repository; `registry:catalog` for the catalog.
    """

    account_id: int | None
    token_id: int | None
    access: Mapping[str, frozenset[str]]
    issued_at: int
    expires_at: int


class KeyRing:
    """The keys that verify, of which the first signs."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._keys = [(each.id, ECKey.import_key(each.private, {"kid": each.id})) for each in keys]
        self._set = KeySet([key for _, key in self._keys])
        self._ids = frozenset(kid for kid, _ in self._keys)

    def sign(
        self,
        account: str,
        account_id: int | None,
        token_id: int | None,
        access: list[dict[str, Any]],
        life_s: int,
    ) -> str:
        """A bearer token for what `access` lists, as the specification writes it; `account` "" for no one.

        Raises Unavailable (503): there was no room yet to make a key.
        """
        if not self._keys:
            raise Unavailable
        kid, key = self._keys[0]
        now_s = now_ms() / 1000
        claims = {
            "iss": ISSUER,
            "sub": account,
            "aud": SERVICE,
            "exp": now_s + life_s,
            "nbf": now_s,
            "iat": now_s,
            "jti": secrets.token_urlsafe(12),
            "access": access,
            "account": account_id,
            "token": token_id,
        }
        return jwt.encode({"alg": _ALGORITHM, "typ": "JWT", "kid": kid}, claims, key, registry=_REGISTRY)

    def read(self, text: str) -> Bearer:
        """What a token of ours says, though it may have expired.

        Raises BearerInvalid (401) for whatever this registry did not sign, or not for itself.
        """
        if len(text) > TOKEN_MAX_CHARS or text.count(".") != 2:  # noqa: PLR2004 - a compact JWS has three parts
            raise BearerInvalid(reason="no token of this registry")
        try:
            token = jwt.decode(text, self._set, registry=_REGISTRY)
        except (JoseError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BearerInvalid(reason="no token of this registry") from error
        if token.header.get("kid") not in self._ids or token.header.get("alg") != _ALGORITHM:
            raise BearerInvalid(reason="no token of this registry")
        return _read_claims(token.claims)


def _read_claims(claims: Mapping[str, Any]) -> Bearer:
    if claims.get("iss") != ISSUER or claims.get("aud") != SERVICE:
        raise BearerInvalid(reason="a token for something else")
    try:
        issued_at, expires_at, not_before = (_time_ms(claims[name]) for name in ("iat", "exp", "nbf"))
        access = {
            f"{each['type']}:{each['name']}"
            if each["type"] != "repository"
            else str(each["name"]): frozenset(map(str, each["actions"]))
            for each in claims["access"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BearerInvalid(reason="a malformed token") from error
    if not_before > now_ms() + 1000:
        raise BearerInvalid(reason="a token from the future: look at the clocks")
    return Bearer(claims.get("account"), claims.get("token"), access, issued_at, expires_at)


def _time_ms(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:  # noqa: PLR2004 - year 5138
        raise ValueError("no time")
    return int(value * 1000)

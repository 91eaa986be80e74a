"""The keys that sign bearer tokens, without what makes them secret: the endpoints and their documents."""

from datetime import datetime

from msgspec import Struct

from moorage.api.manage.documents import time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.identity.tokens import keys
from moorage.identity.tokens.rows import SigningKey, list_keys


class KeyReply(Struct, frozen=True):
    """A public key as JWK (RFC 7517), and from when until when tokens by it are good."""

    kid: str
    kty: str
    crv: str
    x: str
    y: str
    alg: str
    use: str
    created_at: datetime
    retires_at: datetime


class KeysReply(Struct, frozen=True):
    """All keys that are good now; the first signs."""

    keys: list[KeyReply]


async def list_all(ask: Ask[None, NoQuery]) -> KeysReply:
    """The public keys."""
    return KeysReply([_show(key) for key in await list_keys(ask.services.db)])


async def rotate(ask: Ask[None, NoQuery]) -> KeyReply:
    """Make a key that signs from now on."""
    return _show(await keys.rotate(ask.services.db, is_forced=True, by=ask.actor))


def _show(key: SigningKey) -> KeyReply:
    public = keys.public_of(key)
    return KeyReply(
        key.id,
        public["kty"],
        public["crv"],
        public["x"],
        public["y"],
        "ES256",
        "sig",
        time_of(key.created_at),
        time_of(key.retires_at),
    )

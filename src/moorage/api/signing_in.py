"""The token endpoint: a name and a password, or nothing, for a bearer token that lasts five minutes.

Less than was asked for is no error: the token carries what the caller may do of it, which may be nothing.

Source: Docker's token authentication ("Token Authentication Specification", "OAuth2 Token Authentication");
RFC 6749 for the POST.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from moorage.api.exchange import API_VERSION, NOSNIFF, QueryInvalid, Reply, Request
from moorage.api.forms import read_form
from moorage.api.v2.services import Services
from moorage.clock import now_ms
from moorage.database import Transaction
from moorage.errors import (
    CredentialsInvalid,
    MethodNotAllowed,
    NameUnknown,
    ScopesInvalid,
    ServiceInvalid,
    Unauthorized,
)
from moorage.identity.access.deciding import ACTIONS
from moorage.identity.accounts.rows import get_account_in
from moorage.identity.callers.caller import Caller
from moorage.identity.tokens.bearer import SERVICE, TOKEN_MAX_CHARS
from moorage.identity.tokens.rows import insert_token, keep_newest, make_secret
from moorage.identity.tokens.scopes import Asked, parse_scopes
from moorage.oci.names import is_repository_name
from moorage.records.audit.rows import record

_REFRESH_TOKENS_MAX: Final = 50
"""Of one account: machines that docker signed in on; the oldest has to sign in again."""
_REFRESH_MS: Final = 90 * 86_400_000
_CHALLENGE: Final = 'Basic realm="Moorage"'
Fields = list[tuple[str, str]]


class _TokenTypes:
    """Names of RFC 8693, 2.1 and 3."""

    EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
    ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
    JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
    ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name


async def answer(services: Services, request: Request) -> Reply:
    """A bearer token for a GET or a POST.

    Raises CredentialsInvalid (401), ServiceInvalid, ScopesInvalid (400), TooManySignIns (429).
    """
    try:
        match request.method:
            case "GET":
                return await _get(services, request)
            case "POST":
                return await _post(services, request)
            case _:
                raise MethodNotAllowed(allow="GET, POST")
    except Unauthorized as refusal:
        refusal.challenge = _CHALLENGE
        raise


async def _get(services: Services, request: Request) -> Reply:
    """Credentials in a Basic header, or none; docker's `offline_token` asks for what it may keep."""
    try:
        fields = request.query()
    except QueryInvalid as error:
        raise ServiceInvalid(reason="the query is malformed") from error
    _check_service(fields)
    authorization = request.headers.get(b"authorization", b"").decode("latin-1")
    if authorization[:6].lower() == "bearer":
        raise CredentialsInvalid(reason="want Basic")
    address = services.gate.address(request)
    if authorization and await _is_for_anyone(services, address, fields):
        return await _give(services, Caller("none", address), fields)
    caller = await services.callers.identify(
        authorization, address, may_use_password=services.gate.may_use_password(request)
    )
    may_keep = dict(fields).get("offline_token") == "true"
    return await _give(services, caller, fields, may_keep=may_keep)


async def _post(services: Services, request: Request) -> Reply:
    """Credentials in a form: a password, or the refresh token that was given for one."""
    fields = await read_form(request)
    _check_service(fields)
    form = dict(fields)
    address = services.gate.address(request)
    match form.get("grant_type"):
        case "password" | "refresh_token" if await _is_for_anyone(services, address, fields):
            return await _give(services, Caller("none", address), fields)
        case "password":
            caller = await services.callers.sign_in(
                form.get("username", ""),
                form.get("password", ""),
                address,
                may_use_password=services.gate.may_use_password(request),
            )
            may_keep = form.get("access_type") == "offline"
            return await _give(services, caller, fields, may_keep=may_keep)
        case "refresh_token":
            secret = form.get("refresh_token", "")
            caller = await services.callers.refresh(secret, address)
            return await _give(services, caller, fields, kept=secret)
        case _TokenTypes.EXCHANGE:
            return await _exchange(services, form, address)
        case _:
            raise ServiceInvalid(reason="want grant_type=password, refresh_token or a token exchange")


async def _is_for_anyone(services: Services, address: str, fields: Fields) -> bool:
    """Whether all that is asked for is to pull by the bare names of a mirror that is everyone's.

    Credentials are not looked at then: dockerd shows its mirrors those that it has for Docker Hub, which are
    nobody's here, and would go past a mirror that refused them.
    """
    asked = parse_scopes(value for key, value in fields if key == "scope")
    anyone = Caller("none", address)
    for each in asked:
        if each.name is None or set(each.actions) != {"pull"} or not is_repository_name(each.name):
            return False
        try:
            placed = await services.mirrors.upstreams.place(each.name, None)
        except NameUnknown:
            return False
        if placed.upstream is None or placed.name == each.name:
            return False
        if not await services.gate.may(anyone, placed.name, "pull"):
            return False
    return bool(asked)


async def _exchange(services: Services, form: dict[str, str], address: str) -> Reply:
    """A token of another issuer, for one of ours.

    Source: RFC 8693, 2. Raises ServiceInvalid (400), ExchangeRefused (401), IssuerUnavailable (503).
    """
    if form.get("subject_token_type") not in {_TokenTypes.JWT, _TokenTypes.ID_TOKEN}:
        raise ServiceInvalid(reason=f"want subject_token_type={_TokenTypes.JWT} or {_TokenTypes.ID_TOKEN}")
    if form.get("requested_token_type", _TokenTypes.ACCESS_TOKEN) != _TokenTypes.ACCESS_TOKEN:
        raise ServiceInvalid(reason=f"want requested_token_type={_TokenTypes.ACCESS_TOKEN}, or none")
    if "actor_token" in form:
        raise ServiceInvalid(reason="no one acts for another here: want no actor_token")
    if not form.get("subject_token"):
        raise ServiceInvalid(reason="want subject_token: the token of the other issuer")
    given = await services.exchanges.exchange(form["subject_token"], address)
    return _json(
        {
            "access_token": given.secret,
            "issued_token_type": _TokenTypes.ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": given.life_s,
            "username": given.username,
        }
    )


def _check_service(fields: Fields) -> None:
    """Raises ServiceInvalid (400)."""
    if any(value != SERVICE for key, value in fields if key == "service"):
        raise ServiceInvalid(reason=f"this is the service {SERVICE}")


async def _give(
    services: Services, caller: Caller, fields: Fields, *, may_keep: bool = False, kept: str | None = None
) -> Reply:
    asked = parse_scopes(value for key, value in fields if key == "scope")
    access = [entry for each in asked for entry in await _entries(services, caller, each)]
    life_s = int(services.settings.tokens.life.total_seconds())
    issued = datetime.fromtimestamp(now_ms() // 1000, UTC)
    account = caller.account
    token_id = None if caller.token is None else caller.token.id
    if may_keep and account is not None and caller.token is None:
        kept, token_id = await _keep(services, caller, dict(fields).get("client_id", ""))
    text = (await services.callers.key_ring()).sign(
        "" if account is None else account.name,
        None if account is None else account.id,
        token_id,
        access,
        life_s,
    )
    if len(text) > TOKEN_MAX_CHARS:
        raise ScopesInvalid(reason="the token would be too long to be sent back")
    body: dict[str, Any] = {
        "token": text,
        "access_token": text,
        "expires_in": life_s,
        "issued_at": issued.isoformat().replace("+00:00", "Z"),
    }
    if kept is not None:
        body["refresh_token"] = kept
    return _json(body)


async def _entries(services: Services, caller: Caller, asked: Asked) -> list[dict[str, Any]]:
    """What is given of one scope: of a bare name that is a mirror's, the mirrored repository too.

    dockerd asks a mirror of Docker Hub for a token by the names that are used there.
    """
    entries = [await _entry(services, caller, asked)]
    if asked.name is None or not is_repository_name(asked.name):
        return entries
    try:
        placed = await services.mirrors.upstreams.place(asked.name, None)
    except NameUnknown:
        return entries
    if placed.upstream is not None and placed.name != asked.name:
        mirrored = Asked(placed.name, frozenset(asked.actions) & {"pull"})
        entries.append(await _entry(services, caller, mirrored))
    return entries


async def _entry(services: Services, caller: Caller, asked: Asked) -> dict[str, Any]:
    if asked.name is None:
        return {"type": "registry", "name": "catalog", "actions": ["*"]}
    actions = [
        action
        for action in ACTIONS
        if action in asked.actions and await services.gate.may(caller, asked.name, action)
    ]
    return {"type": "repository", "name": asked.name, "actions": actions}


async def _keep(services: Services, caller: Caller, client: str) -> tuple[str, int]:
    """A refresh token: what docker keeps, so that no password lies on the client's disk."""
    account = caller.account
    assert account is not None  # noqa: S101 - asked by the caller
    secret = make_secret()
    shown = client[:40].encode("unicode_escape").decode("ascii") or "a client"

    def work(tx: Transaction) -> int:
        now = get_account_in(tx, account.name)
        if now.is_disabled or (now.id, now.password_set_at) != (account.id, account.password_set_at):
            raise CredentialsInvalid
        keep_newest(tx, account.id, "refresh", _REFRESH_TOKENS_MAX - 1)
        expires_at = now_ms() + _REFRESH_MS
        token = insert_token(tx, account.id, "refresh", shown, secret, None, expires_at, account.name)
        record(tx, caller.actor, "token.create", account.name, detail=f"refresh token {token.id} for {shown}")
        return token.id

    return secret, await services.db.write(work)


def _json(body: dict[str, Any]) -> Reply:
    payload = msgspec.json.encode(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(payload)),
        (b"cache-control", b"no-store"),
        API_VERSION,
        NOSNIFF,
    ]
    return Reply(200, headers, payload)

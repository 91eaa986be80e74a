"""The one place that lets a request in or turns it away.

Each route says what it needs (`Needs`); the gate finds out who asks, decides, and writes down the refusal
of someone it knows. What it let in it remembers by the header that was sent, for as long as nothing that
decides was changed: one row, read with every request, tells.

Who may not read a repository is told the same whether it exists or not.

Source: Docker's token authentication; RFC 6750; RFC 7235.
"""

import hashlib
import secrets
from enum import StrEnum
from typing import Final

import structlog

from moorage.api.exchange import QueryInvalid, Request
from moorage.api.fronts import Fronts, is_loopback_host
from moorage.clock import now_ms
from moorage.database import Database
from moorage.errors import (
    BearerInvalid,
    CredentialsInvalid,
    Denied,
    ScopeInsufficient,
    Unauthorized,
    UploadUnknown,
)
from moorage.identity.access.deciding import Action
from moorage.identity.access.rows import read_state
from moorage.identity.callers.caller import OPEN, Caller
from moorage.identity.callers.callers import Callers
from moorage.identity.tokens.bearer import SERVICE
from moorage.identity.tokens.scopes import CATALOG
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.records.audit.apart import record_apart
from moorage.registry.uploads.rows import find_start

_ADMITTED_MAX: Final = 20_000
_DENIAL_AGAIN_MS: Final = 60_000
_DENIALS_A_MINUTE: Final = 100
_PATH_KEPT_BYTES: Final = 200
_BASIC: Final = 'Basic realm="Moorage", charset="UTF-8"'

log = structlog.get_logger()


class Needs(StrEnum):
    """What a route needs of its caller."""

    NOTHING = "nothing"
    """Anyone: whether the process is alive, how to sign in."""
    CALLER = "caller"
    """Someone who has signed in, or says by a bearer token that they have not."""
    CATALOG = "catalog"
    """The same, with the catalog's scope; what they may not pull is left out."""
    PULL = "pull"
    PUSH = "push"
    UPLOAD = "upload"
    """Push, by the one who began the upload; a bearer token that was good then is good enough."""
    DELETE = "delete"
    ACCOUNT = "account"
    """Someone who has signed in, by Basic or a token of their own."""
    AUDITOR = "auditor"
    """Who may look at everything."""
    ADMIN = "admin"
    """Who may do everything."""


_ACTIONS: Final[dict[Needs, Action]] = {
    Needs.PULL: "pull",
    Needs.PUSH: "push",
    Needs.UPLOAD: "push",
    Needs.DELETE: "delete",
}
_OF_THE_API: Final = frozenset({Needs.ACCOUNT, Needs.AUDITOR, Needs.ADMIN})
_SCOPES: Final[dict[Action, str]] = {"pull": "pull", "push": "pull,push", "delete": "delete", "admin": "*"}


class Gate:
    """As one worker process keeps it."""

    def __init__(
        self,
        db: Database,
        callers: Callers,
        fronts: Fronts,
        *,
        is_local: bool,
        may_use_password_in_plain: bool,
        operator: Caller | None = None,
    ) -> None:
        self._db = db
        self._callers = callers
        self._fronts = fronts
        self._is_local = is_local
        """Only this machine can come in: open to all for as long as there are no accounts."""
        self._may_use_password_in_plain = may_use_password_in_plain
        self._operator = operator
        """Who every caller is: for a gate that no one reaches over a network."""
        self._key = secrets.token_bytes(16)
        self._version = -1
        self._admitted: dict[tuple[bytes, str, Needs, str, bool], Caller] = {}
        self._denied: dict[tuple[str, str, str], int] = {}
        self._denials: dict[str, tuple[int, int]] = {}

    async def admit(self, request: Request, needs: Needs, name: RepositoryName, reference: str) -> Caller:
        """The caller, who may do what the route needs.

        Raises Unauthorized (401) with its challenge, Denied (403), TooManySignIns (429),
        UploadUnknown (404).
        """
        if self._operator is not None:
            return self._operator
        version, accounts = await read_state(self._db)
        if version != self._version:
            self._admitted.clear()
            self._version = version
        if not accounts and self._is_local:
            _check_no_page(request)
            request.access_version = version
            return OPEN if needs is not Needs.UPLOAD else OPEN.at(request.client)
        if needs is Needs.NOTHING:
            return Caller("none", self._fronts.address(request))
        raw = request.headers.get(b"authorization", b"")
        # the header is a secret: what is remembered of it is of no use to anyone else
        mark = hashlib.blake2b(raw, digest_size=16, key=self._key).digest() if raw else b""
        # where from and over what line matters too: to a password in plain, and to the audit
        place = (mark, name, needs, self._fronts.address(request), self._fronts.is_plain(request))
        caller = self._admitted.get(place)
        if caller is None or caller.until_ms <= now_ms():
            caller = await self._find(request, raw, needs, name, reference)
            if len(self._admitted) >= _ADMITTED_MAX:
                self._admitted.clear()
            if version == self._version:
                # else what was found may have been changed while it was looked for
                self._admitted[place] = caller
        request.access_version = version
        if needs is Needs.UPLOAD:
            await self._check_starter(caller, name, reference)
        return caller

    async def confirm(self, request: Request, needs: Needs, name: RepositoryName) -> None:
        """Ask again after a body that its sender may have drawn out, where anything was changed meanwhile.

        Raises as `admit`.
        """
        if request.caller.is_unasked and self._operator is not None:
            return
        version, _ = await read_state(self._db)
        if version != request.access_version:
            request.caller = await self.admit(request, needs, name, "")

    async def _find(
        self, request: Request, raw: bytes, needs: Needs, name: RepositoryName, reference: str
    ) -> Caller:
        base = self._fronts.base(request)
        address = self._fronts.address(request)
        at_ms = None
        if needs is Needs.UPLOAD:
            start = await find_start(self._db, name, reference)
            at_ms = None if start is None else start[1]
        try:
            caller = await self._callers.identify(
                raw.decode("latin-1"), address, may_use_password=self.may_use_password(request), at_ms=at_ms
            )
            if needs in _OF_THE_API:
                await self._check_role(caller, needs, request)
            else:
                await self._check(caller, needs, name)
        except Unauthorized as refusal:
            refusal.challenge = _challenge(base, needs, _scopes(request, needs, name), refusal)
            raise
        return caller

    def may_use_password(self, request: Request) -> bool:
        """Whether no one else can read the password on its way, or the settings allow that."""
        return self._may_use_password_in_plain or not self._fronts.is_plain(request)

    def base(self, request: Request) -> str:
        """By which address the client reaches the registry."""
        return self._fronts.base(request)

    def address(self, request: Request) -> str:
        """The client's address."""
        return self._fronts.address(request)

    async def _check(self, caller: Caller, needs: Needs, name: RepositoryName) -> None:
        """Raises Unauthorized (401), Denied (403)."""
        match needs:
            case Needs.CALLER | Needs.CATALOG:
                if caller.means == "none":
                    raise Unauthorized
                if needs is Needs.CATALOG and caller.bearer and CATALOG not in caller.bearer.access:
                    raise ScopeInsufficient(reason="the token was not given for the catalog")
            case _:
                await self._check_action(caller, name, _ACTIONS[needs])

    async def _check_role(self, caller: Caller, needs: Needs, request: Request) -> None:
        """Raises Unauthorized (401), Denied (403)."""
        if caller.account is None:
            raise Unauthorized
        is_allowed = needs is Needs.ACCOUNT or (
            caller.is_admin if needs is Needs.ADMIN else caller.is_auditor
        )
        if not is_allowed or caller.bearer is not None:
            path = request.scope["raw_path"][:_PATH_KEPT_BYTES].decode("ascii", "backslashreplace")
            await self._record_denial(caller, path, request.method)
            raise Denied(reason=f"{caller.name} is no {needs.value}, or the token is not for this")

    async def _check_action(self, caller: Caller, name: RepositoryName, action: Action) -> None:
        """Raises Unauthorized (401), Denied (403): the same whether the repository exists or not."""
        decision = await self._callers.decide(caller, name, action)
        is_carried = await self._callers.carries(caller, name, action)
        if decision.is_allowed and is_carried:
            return
        if decision.is_allowed:
            # another token would do: this is no refusal of the caller
            raise ScopeInsufficient(reason=f"the token was not given to {action} {name}")
        if caller.account is None and caller.bearer is not None:
            raise ScopeInsufficient(reason=f"sign in to {action} {name}")
        if caller.account is None:
            raise Unauthorized
        await self._record_denial(caller, name, action)
        reason = f"{caller.name} may not {action} {name}"
        if caller.bearer is not None:
            raise ScopeInsufficient(reason=reason)
        raise Denied(reason=reason)

    async def check_action(self, caller: Caller, name: RepositoryName, action: Action) -> None:
        """The same for a repository that is not the route's own: of the API.

        Raises Denied (403).
        """
        try:
            await self._check_action(caller, name, action)
        except Unauthorized as refusal:
            raise Denied(reason=f"{caller.name} may not {action} {name}") from refusal

    async def may(self, caller: Caller, name: str, action: Action) -> bool:
        """Whether the caller may do this to a second repository."""
        return caller.is_unasked or await self._callers.may(caller, name, action)

    async def _record_denial(self, caller: Caller, target: str, action: str) -> None:
        """Once a minute for each: a client that tries again and again says nothing new."""
        key = (caller.name, target, action)
        now = now_ms()
        if now - self._denied.get(key, 0) < _DENIAL_AGAIN_MS:
            return
        minute, count = self._denials.get(caller.name, (0, 0))
        count = count + 1 if minute == now // _DENIAL_AGAIN_MS else 1
        self._denials[caller.name] = now // _DENIAL_AGAIN_MS, count
        if count > _DENIALS_A_MINUTE:
            # names of repositories are the client's to invent, and rows stay for good
            return
        if len(self._denied) >= _ADMITTED_MAX:
            self._denied.clear()
        self._denied[key] = now
        log.warning("access_denied", account=caller.name, target=target, action=action, client=caller.address)

        await record_apart(self._db, caller.actor, action, target, "denied")

    async def _check_starter(self, caller: Caller, name: RepositoryName, upload_id: str) -> None:
        """An upload is its beginner's.

        Raises UploadUnknown (404).
        """
        start = await find_start(self._db, name, upload_id)
        if start is None or start[0] != str(caller.actor):
            raise UploadUnknown(upload=upload_id[:64])


def _scopes(request: Request, needs: Needs, name: str) -> str:
    """What a bearer token has to be asked for, "" where nothing is; for a mount its source too."""
    if needs is Needs.CATALOG:
        return f"{CATALOG}:*"
    if needs not in _ACTIONS:
        return ""
    scope = f"repository:{name}:{_SCOPES[_ACTIONS[needs]]}"
    try:
        source = dict(request.query()).get("from", "") if needs is Needs.PUSH else ""
    except QueryInvalid:
        source = ""
    return f"{scope} repository:{source}:pull" if is_repository_name(source) else scope


def _check_no_page(request: Request) -> None:
    """Refuse a web page that reaches an open registry by a name of its own that it pointed at this machine.

    Raises Denied (403). No client of a registry says Origin, or that it is a browser.
    """
    is_page = b"origin" in request.headers or request.headers.get(b"user-agent", b"").startswith(b"Mozilla/")
    if is_page and not is_loopback_host(request.headers.get(b"host", b"").decode("latin-1")):
        raise Denied(reason="until there are accounts, a browser has to use 127.0.0.1 or localhost")


def _challenge(base: str, needs: Needs, scopes: str, refusal: Unauthorized) -> str:
    """What a client may do about a 401.

    The API and the operators' pages ask for Basic; `/v2` for a bearer token, with the scope it needs.
    """
    if needs in _OF_THE_API:
        return _BASIC
    fields = [f'realm="{base}/token"', f'service="{SERVICE}"']
    if scopes:
        fields.append(f'scope="{scopes}"')
    match refusal:
        case BearerInvalid() | CredentialsInvalid():
            fields.append('error="invalid_token"')
        case ScopeInsufficient():
            fields += ['error="insufficient_scope"', f'error_description="{refusal.detail["reason"]}"']
    return "Bearer " + ",".join(fields)

"""Tokens: made by their owner, or by an administrator for a robot; shown once; revoked at once."""

from datetime import timedelta

from moorage.clock import now_ms
from moorage.database import Database, Transaction
from moorage.errors import Denied, FieldInvalid, TokenUnknown
from moorage.identity.access.deciding import Scope
from moorage.identity.access.patterns import covers
from moorage.identity.accounts.rows import get_account_in
from moorage.identity.callers.caller import Caller
from moorage.identity.tokens import rows
from moorage.identity.tokens.rows import Token, check_scopes, make_secret
from moorage.records.audit.rows import Actor, record

EXPIRY_DEFAULT = timedelta(days=90)


def is_own_token(caller: Caller, token: Token) -> bool:
    """Whether a token is the caller's to look at and revoke: a token with scopes has only itself."""
    if caller.account is None or caller.account.id != token.account_id:
        return False
    by = caller.token
    return by is None or by.scopes is None or by.id == token.id


async def get_token(db: Database, caller: Caller, token_id: int) -> Token:
    """A token of the caller's own; for auditors any.

    Raises TokenUnknown (404).
    """
    token = await rows.get_token(db, token_id)
    if not caller.is_auditor and not is_own_token(caller, token):
        raise TokenUnknown(id=token_id)
    return token


async def create_token(
    db: Database,
    caller: Caller,
    actor: Actor,
    name: str,
    *,
    account: str | None,
    scopes: list[Scope] | None,
    expiry: timedelta | None,
    expiry_max: timedelta,
) -> tuple[Token, str]:
    """Make a token for oneself or, as an administrator, for a robot; and its secret, which is kept nowhere.

    One that is made with a token may no more and lasts no longer than that one; it ends with it.
    Raises PatternInvalid, ActionsInvalid, FieldInvalid (400), Denied (403), AccountUnknown (404).
    """
    owner = account or (caller.account.name if caller.account is not None else None)
    if owner is None:
        raise FieldInvalid(field="account", reason="want the robot that the token is for")
    is_own = caller.account is not None and caller.account.name == owner
    if not is_own and not caller.is_admin:
        raise Denied(reason="only an administrator makes tokens for another account, a robot")
    if expiry is not None and expiry > expiry_max:
        raise FieldInvalid(field="expires_in_days", reason=f"want {expiry_max.days} at most")
    asked = _limit(caller, None if scopes is None else check_scopes(scopes))
    expires_at = now_ms() + int((expiry or min(EXPIRY_DEFAULT, expiry_max)).total_seconds() * 1000)
    if caller.token is not None:
        expires_at = min(expires_at, caller.token.expires_at)
    secret = make_secret()

    def work(tx: Transaction) -> Token:
        found = get_account_in(tx, owner)
        if caller.token is not None and not rows.is_good_in(tx, caller.token.id):
            raise Denied(reason="the token that asks was revoked meanwhile")
        if not is_own and found.kind != "robot":
            raise Denied(reason=f"{owner} is a person, who makes tokens for themselves")
        made = rows.insert_token(
            tx,
            found.id,
            "access",
            name,
            secret,
            asked,
            expires_at,
            actor.name,
            made_with=caller.token,
        )
        record(tx, actor, "token.create", name, detail=f"token {made.id} of {owner}")
        return made

    return await db.write(work), secret


def _limit(caller: Caller, scopes: list[Scope] | None) -> list[Scope] | None:
    """The scopes that were asked for; where none were, those of the token that asks.

    Raises Denied (403) for what that token may not do itself.
    """
    by = caller.token
    if by is None or by.scopes is None:
        return scopes
    if by.kind == "exchange":
        raise Denied(reason="a token given for that of another issuer makes no tokens")
    for scope in scopes or ():
        if not any(
            covers(own.pattern, scope.pattern) and {*scope.actions} <= {*own.actions} for own in by.scopes
        ):
            raise Denied(
                reason=f"the token that asks does not have {','.join(scope.actions)} on {scope.pattern}"
            )
    return list(by.scopes) if scopes is None else scopes


async def revoke_token(db: Database, caller: Caller, actor: Actor, token_id: int) -> None:
    """Let a token count no more; nothing where it does not already.

    Raises TokenUnknown (404), Denied (403).
    """
    token = await get_token(db, caller, token_id)
    if not caller.is_admin and not is_own_token(caller, token):
        raise Denied(reason=f"{caller.name} is no admin")

    def work(tx: Transaction) -> None:
        if token.revoked_at is None:
            rows.revoke_token(tx, token_id)
            record(tx, actor, "token.revoke", token.name, detail=f"token {token_id} of {token.account}")

    await db.write(work)

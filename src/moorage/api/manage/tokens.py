"""Tokens: the endpoints and their documents."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from msgspec import Meta, Struct

from moorage.api.manage.documents import Actions, IdPage, Name, Page, Pattern, check_words, collect, time_of
from moorage.api.manage.routes import Ask, NoQuery
from moorage.errors import AccountUnknown
from moorage.identity.access.deciding import Scope
from moorage.identity.accounts.rows import get_account
from moorage.identity.managing import tokens as managing
from moorage.identity.tokens import rows
from moorage.identity.tokens.rows import Kind as TokenKind
from moorage.identity.tokens.rows import Token


class ScopeDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """Actions on the repositories of a pattern."""

    pattern: Pattern
    actions: Actions


class TokenReply(Struct, frozen=True):
    """A token without its secret. `scopes` null: all that the account may do."""

    id: int
    account: str
    kind: TokenKind
    name: str
    scopes: list[ScopeDocument] | None
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    last_used_from: str | None
    revoked_at: datetime | None


class TokenWithSecret(TokenReply, frozen=True):
    """A token that has just been made, with its secret: this once and never again."""

    secret: str


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made: one's own, or, by an administrator, a robot's."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="for people; one line")]
    account: Name | None = None
    scopes: Annotated[list[ScopeDocument], Meta(min_length=1, max_length=100)] | None = None
    expires_in_days: Annotated[int, Meta(ge=1, le=36500)] | None = None


class TokenPage(IdPage, frozen=True, forbid_unknown_fields=True):
    """Which part of whose tokens: one's own, or, for auditors, an account's."""

    account: Annotated[str, Meta(max_length=64)] | None = None


def show_token(token: Token) -> TokenReply:
    """A token as the API shows it."""
    return TokenReply(**_fields(token))


def _fields(token: Token) -> dict[str, Any]:
    scopes = token.scopes
    return {
        "id": token.id,
        "account": token.account,
        "kind": token.kind,
        "name": token.name,
        "scopes": scopes and [ScopeDocument(each.pattern, list(each.actions)) for each in scopes],
        "created_at": time_of(token.created_at),
        "created_by": token.created_by,
        "expires_at": time_of(token.expires_at),
        "last_used_at": None if token.last_used_at is None else time_of(token.last_used_at),
        "last_used_from": token.last_used_from,
        "revoked_at": None if token.revoked_at is None else time_of(token.revoked_at),
    }


async def list_all(ask: Ask[None, TokenPage]) -> Page[TokenReply]:
    """A page of the caller's own tokens; for auditors of the account that they name."""
    db, caller = ask.services.db, ask.caller
    account_id = None if caller.account is None else caller.account.id
    if ask.query.account is not None and ask.query.account != caller.name:
        if not caller.is_auditor:
            raise AccountUnknown(name=ask.query.account[:64])
        account_id = (await get_account(db, ask.query.account)).id

    async def is_shown(token: Token) -> bool:
        return caller.is_auditor or managing.is_own_token(caller, token)

    return await collect(
        lambda after, limit: rows.list_tokens(db, account_id, after, limit),
        ask.query.after,
        ask.query.n,
        lambda token: token.id,
        is_shown,
        show_token,
    )


async def create(ask: Ask[NewToken, NoQuery]) -> TokenWithSecret:
    """Make a token."""
    new = ask.body
    scopes = new.scopes
    made, secret = await managing.create_token(
        ask.services.db,
        ask.caller,
        ask.actor,
        check_words(new.name, "name"),
        account=new.account,
        scopes=None if scopes is None else [Scope(each.pattern, tuple(each.actions)) for each in scopes],
        expiry=None if new.expires_in_days is None else timedelta(days=new.expires_in_days),
        expiry_max=ask.services.settings.tokens.expiry_max,
    )
    return TokenWithSecret(**_fields(made), secret=secret)


async def get(ask: Ask[None, NoQuery]) -> TokenReply:
    """One token, good or not."""
    return show_token(await managing.get_token(ask.services.db, ask.caller, ask.id))


async def revoke(ask: Ask[None, NoQuery]) -> None:
    """Let a token count no more."""
    await managing.revoke_token(ask.services.db, ask.caller, ask.actor, ask.id)

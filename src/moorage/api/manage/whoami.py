"""Who the registry takes the caller for."""

from msgspec import Struct

from moorage.api.manage.routes import Ask, NoQuery
from moorage.api.manage.tokens import TokenReply, show_token
from moorage.identity.accounts.rows import Kind, Role
from moorage.identity.callers.caller import Means


class Whoami(Struct, frozen=True):
    """The caller. `means` is how they said who they are; `open`: no one has to, there are no accounts."""

    name: str
    kind: Kind | None
    role: Role
    groups: list[str]
    means: Means
    token: TokenReply | None


async def get(ask: Ask[None, NoQuery]) -> Whoami:
    """Who the caller is, and by which token."""
    caller = ask.caller
    return Whoami(
        caller.name,
        None if caller.account is None else caller.account.kind,
        "admin" if caller.is_unasked else caller.subject.role,
        sorted(caller.subject.groups),
        caller.means,
        None if caller.token is None else show_token(caller.token),
    )

"""A caller, and the decision on what it asks: values and one function over them."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from moorage.identity.access.deciding import Action, Subject
from moorage.identity.accounts.rows import Account
from moorage.identity.tokens.bearer import Bearer
from moorage.identity.tokens.rows import Token
from moorage.records.audit.rows import ANONYMOUS, Actor

FOREVER_MS: Final = 2**62
OPERATOR_NAME: Final = "operator"
Means = Literal["open", "local", "none", "basic", "bearer"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `account` None: no one who has signed in.

    `means` is how they said so; `open`: the registry has no accounts and asks no one; `local`: whoever
    may write the data folder, at a terminal beside it.
    `until_ms`: when this has to be looked up again, though nothing was changed.
    """

    means: Means
    address: str = ""
    account: Account | None = None
    subject: Subject = field(default_factory=Subject)
    token: Token | None = None
    bearer: Bearer | None = None
    until_ms: int = FOREVER_MS

    @property
    def name(self) -> str:
        """For a person to read."""
        if self.means == "local":
            return OPERATOR_NAME
        return ANONYMOUS if self.account is None else self.account.name

    @property
    def actor(self) -> Actor:
        """As the audit names it."""
        return Actor(self.name, self.address, None if self.token is None else self.token.id)

    @property
    def is_admin(self) -> bool:
        """May administer everything: an administrator, by no token or one without limits."""
        return self.is_unasked or (self.subject.role == "admin" and self._is_whole)

    @property
    def is_auditor(self) -> bool:
        """May look at everything."""
        return self.is_admin or (self.subject.role == "auditor" and self._is_whole)

    @property
    def is_unasked(self) -> bool:
        """Let in without a question."""
        return self.means in {"open", "local"}

    @property
    def _is_whole(self) -> bool:
        return self.bearer is None and (self.token is None or self.token.scopes is None)

    def at(self, address: str) -> "Caller":
        """The same from another address."""
        return replace(self, address=address)

    def carries(self, repository: str, action: Action, deleted_at: int | None) -> bool:
        """Whether the bearer token, if there is one, was given for this, and for this repository.

        `deleted_at`: when a repository of this name was last deleted; a token from before was for another.
        """
        if self.bearer is None:
            return True
        if deleted_at is not None and self.bearer.issued_at <= deleted_at:
            return False
        return action in self.bearer.access.get(repository, ())


OPERATOR: Final = Caller("local", "local")
"""Whoever works on the data folder itself."""

OPEN: Final = Caller("open")
"""Anyone, where the registry has no accounts and listens to this machine only."""

"""Accounts from the htpasswd file of another registry: its people sign in here by the passwords they have.

Source: Apache's htpasswd(1); distribution 2.8.2, registry/auth/htpasswd: bcrypt only, the last line of a
name counts.
"""

from dataclasses import dataclass, field

from moorage.database import Database, Transaction
from moorage.errors import AccountNameInvalid, NameTaken
from moorage.identity.accounts.passwords import check_bcrypt
from moorage.identity.accounts.rows import find_account_in, has_accounts
from moorage.identity.managing.accounts import insert
from moorage.records.audit.rows import Actor

_SHOWN_MAX = 64
_DESCRIPTION = "taken over from an htpasswd file"


@dataclass(slots=True)
class TakenAccounts:
    """Names that are accounts now, that were before, and that cannot be, each with the reason."""

    made: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class _Undone(Exception):
    """It could be done, and was only tried."""


class NoAdministrator(Exception):
    """There is no account yet: the first one administers, and is made by hand."""


def read_htpasswd(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The bcrypt hashes by name; and the names that have none, with the reason."""
    hashes: dict[str, str] = {}
    refused: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, kept = line.strip().partition(":")
        if not colon:
            refused[f"line {number}"] = "it is not NAME:HASH"
            continue
        hashes.pop(name, None)
        refused.pop(name, None)
        reason = check_bcrypt(kept)
        if reason is None:
            hashes[name] = kept
        else:
            refused[name[:_SHOWN_MAX]] = reason
    return hashes, refused


async def take_accounts(db: Database, actor: Actor, text: str, *, is_dry: bool = False) -> TakenAccounts:
    """Make each name of an htpasswd file a person, unless there is one of that name.

    They get no rights but in the namespace of their own name; `is_dry`: none of it is kept.
    Raises NoAdministrator.
    """
    hashes, refused = read_htpasswd(text)
    taken = TakenAccounts(refused=refused)
    for name, kept in hashes.items():

        def work(tx: Transaction, name: str = name, kept: str = kept) -> bool:
            is_made = _take(tx, actor, name, kept)
            if is_made and is_dry:
                raise _Undone
            return is_made

        try:
            is_made = await db.write(work)
        except _Undone:
            is_made = True
        except (AccountNameInvalid, NameTaken) as refusal:
            taken.refused[name[:_SHOWN_MAX]] = str(
                refusal.detail.get("want") or f"there is {refusal.detail.get('taken_by')}"
            )
            continue
        (taken.made if is_made else taken.known).append(name)
    return taken


def _take(tx: Transaction, actor: Actor, name: str, kept: str) -> bool:
    if not has_accounts(tx):
        raise NoAdministrator
    if find_account_in(tx, name) is not None:
        return False
    insert(tx, actor, name, "person", "member", kept, _DESCRIPTION)
    return True

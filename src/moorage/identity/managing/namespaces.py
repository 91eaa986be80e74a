"""Namespaces: made and given to someone by administrators; opened and closed by their owners too."""

from enum import Enum
from typing import Final, Literal

from moorage.database import Database, Transaction
from moorage.errors import Denied, NamespaceUnknown
from moorage.identity.access import rows
from moorage.identity.access.rows import NamespaceRow, Visibility
from moorage.identity.callers.caller import Caller
from moorage.identity.managing.administering import may_administer
from moorage.identity.managing.receivers import Receiver, find_receiver
from moorage.records.audit.rows import Actor, record


class _Kept(Enum):
    KEPT = "kept"


Kept = Literal[_Kept.KEPT]
KEPT: Final = _Kept.KEPT
"""The owner stays who it is: None is an owner too."""


async def may_see_namespace(db: Database, caller: Caller, namespace: NamespaceRow) -> bool:
    """Whether this caller may know of a namespace: a public one, one they run, and auditors of all."""
    if caller.is_auditor or namespace.visibility == "public":
        return True
    return await may_administer(db, caller, f"{namespace.name}/*")


async def create_namespace(
    db: Database, actor: Actor, name: str, owner: str | None, visibility: Visibility
) -> NamespaceRow:
    """Make a namespace. `owner` is `account alice` or `group ops`; None: the administrators.

    Raises AccountNameInvalid, FieldInvalid (400), AccountUnknown, GroupUnknown (404), NameTaken (409).
    """

    def work(tx: Transaction) -> NamespaceRow:
        account_id, group_id = _find_owner(tx, owner)
        made = rows.insert_namespace(
            tx, name, actor.name, visibility=visibility, account_id=account_id, group_id=group_id
        )
        record(tx, actor, "namespace.create", name, detail=f"owner={owner or 'none'} {visibility}")
        return made

    return await db.write(work)


async def update_namespace(
    db: Database,
    caller: Caller,
    actor: Actor,
    name: str,
    *,
    visibility: Visibility | None = None,
    owner: str | Kept | None = KEPT,
) -> NamespaceRow:
    """Open or close a namespace, or, as an administrator, give it to someone else; both or neither.

    `visibility` None stays as it is; `owner` None is the administrators.
    Raises FieldInvalid (400), NamespaceUnknown, AccountUnknown, GroupUnknown (404), Denied (403).
    """
    await _check_may_change(db, caller, name)
    if owner is not KEPT and not caller.is_admin:
        raise Denied(reason="only an administrator gives a namespace to someone else")

    def work(tx: Transaction) -> NamespaceRow:
        found = _get(tx, name)
        if visibility is not None:
            rows.set_visibility(tx, found.id, visibility)
            record(tx, actor, "namespace.update", name, detail=visibility)
        if owner is not KEPT:
            rows.set_owner(tx, found.id, *_find_owner(tx, owner))
            record(tx, actor, "namespace.update", name, detail=f"owner={owner or 'none'}")
        return _get(tx, name)

    return await db.write(work)


async def delete_namespace(db: Database, actor: Actor, name: str) -> None:
    """Forget a namespace's owner and visibility; its repositories stay, the administrators'.

    Raises NamespaceUnknown (404).
    """

    def work(tx: Transaction) -> None:
        rows.delete_namespace(tx, _get(tx, name))
        record(tx, actor, "namespace.delete", name)

    await db.write(work)


async def _check_may_change(db: Database, caller: Caller, name: str) -> None:
    """Raises NamespaceUnknown (404), Denied (403)."""
    found = await rows.get_namespace(db, name)
    if await may_administer(db, caller, f"{name}/*"):
        return
    if await may_see_namespace(db, caller, found):
        raise Denied(reason=f"{caller.name} does not own the namespace {name}")
    raise NamespaceUnknown(name=name[:64])


def _get(tx: Transaction, name: str) -> NamespaceRow:
    """Raises NamespaceUnknown (404)."""
    found = rows.find_namespace_in(tx, name)
    if found is None:
        raise NamespaceUnknown(name=name[:64])
    return found


def _find_owner(tx: Transaction, owner: str | None) -> Receiver:
    """Raises FieldInvalid (400), AccountUnknown, GroupUnknown (404)."""
    return Receiver() if owner is None else find_receiver(tx, owner, "owner")

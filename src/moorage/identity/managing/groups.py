"""Groups and who is in them. The administrators' alone."""

from moorage.database import Database, Transaction
from moorage.errors import AccountUnknown
from moorage.identity.accounts import rows
from moorage.identity.accounts.rows import Group
from moorage.records.audit.rows import Actor, record


async def create_group(db: Database, actor: Actor, name: str, description: str = "") -> Group:
    """Make a group, with no one in it.

    Raises AccountNameInvalid (400), NameTaken (409).
    """

    def work(tx: Transaction) -> Group:
        made = rows.insert_group(tx, name, description, actor.name)
        record(tx, actor, "group.create", name)
        return made

    return await db.write(work)


async def delete_group(db: Database, actor: Actor, name: str) -> None:
    """Remove a group, its grants and memberships. What it owned is the administrators'.

    Raises GroupUnknown (404).
    """

    def work(tx: Transaction) -> None:
        rows.delete_group(tx, rows.get_group_in(tx, name).id)
        record(tx, actor, "group.delete", name)

    await db.write(work)


async def add_member(db: Database, actor: Actor, group: str, account: str) -> None:
    """Put an account into a group; nothing where it is there already.

    Raises GroupUnknown, AccountUnknown (404).
    """

    def work(tx: Transaction) -> None:
        group_id, account_id = rows.get_group_in(tx, group).id, rows.get_account_in(tx, account).id
        if rows.add_member(tx, group_id, account_id):
            record(tx, actor, "group.add", group, detail=account)

    await db.write(work)


async def remove_member(db: Database, actor: Actor, group: str, account: str) -> None:
    """Take an account out of a group.

    Raises GroupUnknown, AccountUnknown (404): also for one that is not in it.
    """

    def work(tx: Transaction) -> None:
        group_id, account_id = rows.get_group_in(tx, group).id, rows.get_account_in(tx, account).id
        if not rows.remove_member(tx, group_id, account_id):
            raise AccountUnknown(name=account[:64])
        record(tx, actor, "group.remove", group, detail=account)

    await db.write(work)

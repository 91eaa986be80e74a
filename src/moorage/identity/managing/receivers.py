"""Whom something is given to, in words: `account alice`, `group ops`, `everyone`."""

from typing import NamedTuple

from moorage.database import Transaction
from moorage.errors import FieldInvalid
from moorage.identity.accounts.rows import get_account_in, get_group_in


class Receiver(NamedTuple):
    """The row of an account or of a group; neither stands for what the caller takes no one for."""

    account_id: int | None = None
    group_id: int | None = None


def find_receiver(tx: Transaction, text: str, field: str) -> Receiver:
    """The account or group that is named so; `field` is where the name came from.

    Raises FieldInvalid (400), AccountUnknown, GroupUnknown (404).
    """
    kind, _, name = text.partition(" ")
    match kind:
        case "account":
            return Receiver(account_id=get_account_in(tx, name).id)
        case "group":
            return Receiver(group_id=get_group_in(tx, name).id)
        case _:
            raise FieldInvalid(field=field, reason="want 'account NAME' or 'group NAME'")

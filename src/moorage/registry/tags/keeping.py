"""A repository's fixed tags keep it from being deleted as a whole, and from getting another name."""

import asyncio
from typing import Final

from moorage.database import Database
from moorage.oci.names import RepositoryName
from moorage.registry.repositories.rows import get_repository
from moorage.registry.tags.immutability import Change, find_fixing, read_rules_for, refusal
from moorage.registry.tags.rows import list_tags

_SLICE: Final = 500


async def check_has_no_fixed_tag(db: Database, repository: RepositoryName, change: Change) -> None:
    """Refuse to go on where a rule fixes a tag: with its repository it would go, and could be made anew.

    Under another name it might besides be one that no rule fixes.

    Before the transaction, not in it: the tags may be many. Raises NameUnknown (404), TagImmutable (409).
    """
    rules = await read_rules_for(db, repository)
    if not rules:
        return
    repository_id, after = await get_repository(db, repository), ""
    while tags := await list_tags(db, repository_id, after, _SLICE):
        for tag in tags:
            rule = find_fixing(rules, repository, tag)
            if rule is not None:
                raise refusal(repository, tag, rule, change)
        after = tags[-1]
        # others go in between
        await asyncio.sleep(0)

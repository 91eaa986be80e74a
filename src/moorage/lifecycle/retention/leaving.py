"""Which manifests leave when tags do, and the bytes that nothing needs any more then.

As `registry.trash` does it: a manifest goes with its last tag, unless an index that stays needs it, or it
belongs to a subject that stays; untagged children and referrers go with the last of what keeps them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from moorage.database import Database
from moorage.lifecycle.retention import rows
from moorage.lifecycle.retention.deciding import Decision, TagState

_TURN: Final = 100


async def find_leaving(
    db: Database, tags: Mapping[int, Sequence[TagState]], decisions: Mapping[str, Decision]
) -> dict[int, str]:
    """The rows of the manifests that leave, each with the first tag that it leaves with.

    In an order in which they can go: what keeps another is before it.
    """
    leaving: dict[int, str] = {}
    # in threads: of a hundred thousand, each of these takes a while
    waiting, keepers = await asyncio.to_thread(_begin, tags, decisions)
    unknown = list(waiting)
    while True:
        await _learn_keepers(db, unknown, keepers)
        going = await asyncio.to_thread(_find_free, waiting, keepers, leaving)
        if not going:
            return leaving
        unknown = []
        for row, dependant in await rows.list_untagged_dependants(db, list(going)):
            if dependant not in leaving and dependant not in waiting:
                waiting[dependant] = going[row]
                unknown.append(dependant)


def _begin(
    tags: Mapping[int, Sequence[TagState]], decisions: Mapping[str, Decision]
) -> tuple[dict[int, str], dict[int, set[int]]]:
    """The manifests of which all tags go, each with the first; and what keeps them, by their tags.

    A signature's manifest need not say what it belongs to: its tag does.
    """
    waiting = {
        row: those[0].name
        for row, those in tags.items()
        if not any(decisions[tag.name].is_kept for tag in those)
    }
    keepers = {
        row: {tag.subject for tag in tags[row] if tag.subject is not None and tag.belongs == "served"}
        for row in waiting
    }
    return waiting, keepers


def _find_free(
    waiting: dict[int, str], keepers: Mapping[int, set[int]], leaving: dict[int, str]
) -> dict[int, str]:
    """What nothing keeps that does not leave: no longer waiting, but leaving."""
    going = {row: tag for row, tag in waiting.items() if keepers[row] <= leaving.keys()}
    leaving |= going
    for row in going:
        del waiting[row]
    return going


async def _learn_keepers(db: Database, manifests: Sequence[int], keepers: dict[int, set[int]]) -> None:
    """By which served manifests others are kept: indexes they are in, subjects they belong to."""
    for row in manifests:
        keepers.setdefault(row, set())
    for some in rows.chunks(manifests):
        for row, keeper in await rows.list_parents(db, some) + await rows.list_subjects(db, some):
            keepers[row].add(keeper)
        await asyncio.sleep(0)


async def measure(db: Database, leaving: Mapping[int, str]) -> dict[str, int]:
    """The bytes that leave the disk, by the tag that their manifest goes with, each blob counted once."""
    users: dict[str, tuple[int, str]] = {}
    for some in rows.chunks(leaving):
        for row, target in await rows.list_targets(db, some):
            count, tag = users.get(target, (0, leaving[row]))
            users[target] = count + 1, min(tag, leaving[row])
        await asyncio.sleep(0)
    frees: dict[str, int] = {}
    for index, (target, (count, tag)) in enumerate(users.items()):
        frees[tag] = frees.get(tag, 0) + await rows.measure_if_used_by(db, target, count)
        if index % _TURN == 0:
            await asyncio.sleep(0)
    return frees

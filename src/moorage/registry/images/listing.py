"""A repository's tags for people: in an order, by a pattern, with what is known of each.

A page costs what is on it, however many tags there are: each order has its index. A pattern that fits few
makes a page that looks at many; after LOOKED_AT_MAX it ends, be it short or empty, and says where to go on.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from moorage.database import Database
from moorage.oci.names import RepositoryName
from moorage.registry.images import rows
from moorage.registry.images.platforms import PlatformReader
from moorage.registry.images.rows import Order, Place, Sort, TagRow
from moorage.registry.repositories.rows import get_repository
from moorage.registry.tags.immutability import find_fixing, read_rules_for

LOOKED_AT_MAX: Final = 20_000
SAME_MAX: Final = 20
"""Other tags of one digest that are shown."""

_SLICE: Final = 1_000
_AT_ONCE: Final = 100
_MEASURED_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tags, in which order, how many, after which place."""

    sort: Sort
    order: Order
    is_match: Callable[[str], bool] | None
    limit: int
    after: Place | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A tag as it is listed.

    `size_bytes`: of the config and layers, each once, of an index those of all its images; None if they are
    too many. `fixed_by` is the rule that fixes it. `same`: other tags of the digest, as far as shown.
    """

    tag: TagRow
    platforms: tuple[str, ...]
    size_bytes: int | None
    fixed_by: int | None
    same: list[str]
    has_more_same: bool


async def list_images(
    db: Database, platforms: PlatformReader, repository: RepositoryName, wanted: Wanted
) -> tuple[list[Listed], Place | None]:
    """A page of tags; and the place after which the next one goes on, None at the end.

    Raises NameUnknown (404).
    """
    repository_id = await get_repository(db, repository)
    places, goes_on = await _find_places(db, repository_id, wanted)
    tags = await _read_tags(db, repository_id, places)
    rules = await read_rules_for(db, repository)
    named = await platforms.read(tags)
    known = await _measure_all(db, tags)
    listed = []
    for tag in tags:
        size, names = known[tag.manifest]
        same = [name for name in names if name != tag.name]
        fixing = find_fixing(rules, repository, tag.name)
        listed.append(
            Listed(
                tag,
                named[tag.sha256],
                size,
                None if fixing is None else fixing.id,
                same[:SAME_MAX],
                len(same) > SAME_MAX,
            )
        )
    return listed, goes_on


Phase = Sort | Literal["never"]
_PHASES: Final[dict[tuple[Sort, Order], tuple[Phase, ...]]] = {
    ("pulled", "desc"): ("pulled", "never"),
    ("pulled", "asc"): ("never", "pulled"),
}
"""By pulls the tags that were never pulled are a list of their own: the last, or the first."""


async def _find_places(db: Database, repository_id: int, wanted: Wanted) -> tuple[list[Place], Place | None]:
    """The places of the page's tags, and the one after which there is more."""
    phases = _PHASES.get((wanted.sort, wanted.order), (wanted.sort,))
    after, looked_at = wanted.after, 0
    if after is not None and wanted.sort == "pulled":
        phases = phases[phases.index("pulled" if after.key else "never") :]
    found: list[Place] = []
    limit = wanted.limit + 1 if wanted.is_match is None and "never" not in phases else _SLICE
    for phase in phases:
        while True:
            some, last = await _look(db, repository_id, phase, wanted.order, after, limit)
            found += [place for place in some if wanted.is_match is None or wanted.is_match(place.name)]
            if len(found) > wanted.limit:
                return found[: wanted.limit], found[wanted.limit - 1]
            if last is None:
                break
            after, looked_at = last, looked_at + limit
            if looked_at >= LOOKED_AT_MAX:
                return found, last
            # rows are read on the loop: others go in between
            await asyncio.sleep(0)
        after = None
    return found, None


async def _look(
    db: Database, repository_id: int, phase: Phase, order: Order, after: Place | None, limit: int
) -> tuple[list[Place], Place | None]:
    """The tags among the next `limit`, and the last of these; None at the end."""
    if phase == "never":
        return await rows.list_never_pulled(db, repository_id, order, after, limit)
    some = await rows.list_places(db, repository_id, phase, order, after, limit)
    return some, some[-1] if len(some) == limit else None


async def _read_tags(db: Database, repository_id: int, places: Sequence[Place]) -> list[TagRow]:
    """The tags of these places; without what was deleted meanwhile."""
    found: dict[str, TagRow] = {}
    for start in range(0, len(places), _AT_ONCE):
        some = [place.name for place in places[start : start + _AT_ONCE]]
        found |= await rows.read_tags(db, repository_id, some)
        await asyncio.sleep(0)
    return [found[place.name] for place in places if place.name in found]


async def _measure_all(db: Database, tags: Sequence[TagRow]) -> dict[int, tuple[int | None, list[str]]]:
    """By manifest its size, and the first of its tags."""
    known: dict[int, tuple[int | None, list[str]]] = {}
    for tag in tags:
        if tag.manifest not in known:
            names = await rows.list_tags_of(db, tag.manifest, SAME_MAX + 2)
            known[tag.manifest] = await rows.measure(db, tag.manifest), names
            if len(known) % _MEASURED_AT_ONCE == 0:
                await asyncio.sleep(0)
    return known

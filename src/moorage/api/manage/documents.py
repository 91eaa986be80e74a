"""What the documents of the API have in common. The OpenAPI document shows them as they stand.

Times are in UTC. In a change, a field that is not sent stays as it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from moorage.errors import FieldInvalid
from moorage.identity.access.deciding import Action

T = TypeVar("T")

_ID_MAX = 10**18
_LOOKED_AT_MAX = 2_000
_AT_ONCE = 50
Limit = Annotated[int, Meta(ge=1, le=1000, description="how many at most")]
AfterName = Annotated[str, Meta(max_length=255, description="what `next` of the page before says")]
AfterId = Annotated[int, Meta(ge=0, lt=_ID_MAX, description="what `next` of the page before says")]
Name = Annotated[
    str,
    Meta(max_length=64, description="lower-case letters and digits, parted by `.`, `_` or `-`"),
]
Words = Annotated[str, Meta(max_length=500, description="for people; one line")]
Password = Annotated[str, Meta(max_length=1024, description="10 characters or more")]
Pattern = Annotated[str, Meta(max_length=255, description="repositories: `team/app`, `team/*`, `*`")]
Owner = Annotated[str, Meta(max_length=80, description="`account NAME` or `group NAME`")]
Actions = Annotated[list[Action], Meta(min_length=1, max_length=20)]


class Page(Struct, Generic[T], frozen=True):
    """A part of a list. `next` is what to send as `after` for what follows; null at the end."""

    items: list[T]
    next: str | None


class NamePage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list of names."""

    n: Limit = 100
    after: AfterName = ""


class IdPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list by number."""

    n: Limit = 100
    after: AfterId = 0


def time_of(ms: int) -> datetime:
    """A row's time as documents show it."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def check_words(text: str, field: str) -> str:
    """The text itself: nothing in it moves a terminal's cursor or turns the reading direction.

    Raises FieldInvalid (400).
    """
    if not text.isprintable():
        raise FieldInvalid(field=field, reason="want one line of text that can be printed")
    return text


K = TypeVar("K", str, int)
V = TypeVar("V")


def page(found: Sequence[T], n: int, show: Callable[[T], V], key: Callable[[T], str | int]) -> Page[V]:
    """The page that shows the first `n` of what was found, one more than that having been asked for."""
    shown = found[:n]
    return Page([show(each) for each in shown], str(key(shown[-1])) if len(found) > n else None)


async def collect(
    fetch: Callable[[K, int], Awaitable[list[T]]],
    after: K,
    n: int,
    key: Callable[[T], K],
    is_shown: Callable[[T], Awaitable[bool]],
    show: Callable[[T], V],
) -> Page[V]:
    """A page of what the caller may see. After many that they may not it ends, be it short or empty."""
    found = await fetch(after, _LOOKED_AT_MAX)
    shown: list[V] = []
    for index, each in enumerate(found):
        if len(shown) == n:
            return Page(shown, str(key(found[index - 1])))
        if await is_shown(each):
            shown.append(show(each))
        if index % _AT_ONCE == 0:
            # rows are read on the loop: others go in between
            await asyncio.sleep(0)
    return Page(shown, str(key(found[-1])) if len(found) == _LOOKED_AT_MAX else None)

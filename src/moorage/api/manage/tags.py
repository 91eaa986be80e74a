"""Tags: the endpoints and their documents."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from moorage.api.deletions import Frees, frees_at
from moorage.api.manage.documents import Limit, Page, text, time_of
from moorage.api.manage.repositories import check_seen
from moorage.api.manage.routes import Ask, NoQuery
from moorage.clock import now_ms
from moorage.errors import FieldInvalid, TagInvalid, Unsupported
from moorage.identity.access.deciding import Action
from moorage.oci.digest import parse_digest
from moorage.oci.names import RepositoryName, Tag, is_tag
from moorage.registry.history.restoring import restore_tag
from moorage.registry.images.listing import Listed, Wanted, list_images
from moorage.registry.images.rows import Order, Place, Sort
from moorage.registry.manifests.serving import delete_tag
from moorage.registry.repositories.rows import get_repository
from moorage.registry.tags.patterns import PATTERN_MAX_LENGTH, compile_tag_pattern
from moorage.registry.tags.pinning import pin_tag, unpin_tag
from moorage.registry.tags.rows import TagEvent, list_events, list_events_in

TagName = Annotated[str, text(128, "as `1.2.3`", "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")]
After = Annotated[str, Meta(max_length=1000, description="what `next` of the page before says")]
DigestText = Annotated[
    str, text(135, "as `sha256:` and 64 digits", "sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})")
]

_PLACE: Final = re.compile(r"([!+,0-9a-z._-]*) ([a-zA-Z0-9_.-]{1,128})", re.ASCII)
_TIME: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_BEFORE: Final = re.compile(r"(?:([0-9]{1,15}) ([a-zA-Z0-9_.-]{1,128}) )?([0-9]{1,18})", re.ASCII)
_ORDERS: Final[dict[Sort, Order]] = {"version": "desc", "time": "desc", "pulled": "desc", "name": "asc"}
_MS: Final = 1000


class TagReply(Struct, frozen=True):
    """A tag and what it points to.

    `size_bytes`: what its config and layers take, each counted once, of an index those of all its images;
    null where they are too many to count. `pulls` are by the tag, `digest_pulls` by the digest.
    `immutable_rule` is the rule that fixes it. `same_digest`: the first 20 other tags of the same digest.
    """

    name: str
    digest: str
    media_type: str
    artifact_type: str | None
    platforms: list[str]
    size_bytes: int | None
    pushed_at: datetime
    pushed_by: str
    pulls: int
    pulled_at: datetime | None
    digest_pulls: int
    digest_pulled_at: datetime | None
    is_pinned: bool
    immutable_rule: int | None
    same_digest: list[str]
    has_more_same_digest: bool


class TagsPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tags in which order: by version, by the last push or the last pull, or by name.

    Without `order` the newest come first, and names from A on. Fewer than `n`, also none, may come with a
    `next`: where `match` fits few of many.
    """

    n: Limit = 100
    after: After = ""
    sort: Literal["version", "time", "pulled", "name"] = "version"
    order: Literal["asc", "desc"] | None = None
    match: Annotated[
        str, Meta(max_length=PATTERN_MAX_LENGTH, description="as `1.2.*`, or an expression after `re:`")
    ] = ""


class OneTag(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tag."""

    tag: TagName


class EventReply(Struct, frozen=True):
    """A move of a tag, the `number`th of its name. `from_digest` null: it was made; `to_digest`: deleted."""

    tag: str
    number: int
    from_digest: str | None
    to_digest: str | None
    at: datetime
    by: str


class HistoryPage(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose moves: of one tag, or of all. The newest come first."""

    n: Limit = 100
    after: After = ""
    tag: Annotated[str, Meta(max_length=128, description="only this one's")] = ""


class Restore(Struct, frozen=True, forbid_unknown_fields=True):
    """A tag to be put back: to where it pointed `at` a time, or `to` a digest. One of the two."""

    tag: TagName
    at: Annotated[datetime, Meta(tz=True)] | None = None
    to: DigestText | None = None


class RestoredReply(Struct, frozen=True):
    """Where the tag points now. `also`: other tags that came back with an image that had been deleted."""

    tag: str
    digest: str
    also: list[str]


async def list_all(ask: Ask[None, TagsPage]) -> Page[TagReply]:
    """A page of a repository's tags."""
    name, query = await check_seen(ask), ask.query
    wanted = Wanted(
        query.sort,
        query.order or _ORDERS[query.sort],
        compile_tag_pattern(query.match) if query.match else None,
        query.n,
        _read_place(query.after, query.sort),
    )
    services = ask.services
    found, last = await list_images(services.db, services.platforms, name, wanted)
    return Page([_show(each) for each in found], None if last is None else f"{last.key} {last.name}")


def _read_place(after: str, sort: Sort) -> Place | None:
    """Raises FieldInvalid (400)."""
    if not after:
        return None
    match = _PLACE.fullmatch(after)
    if match is None or (sort in {"time", "pulled"} and not _is_time(match[1], may_be_none=sort == "pulled")):
        raise FieldInvalid(
            field="after", reason="want what `next` of the page before says, in the same order"
        )
    return Place(match[1], match[2])


def _is_time(key: str, *, may_be_none: bool) -> bool:
    return _TIME.fullmatch(key) is not None or (may_be_none and not key)


def _show(listed: Listed) -> TagReply:
    tag = listed.tag
    return TagReply(
        name=tag.name,
        digest=tag.digest,
        media_type=tag.media_type,
        artifact_type=tag.artifact_type,
        platforms=list(listed.platforms),
        size_bytes=listed.size_bytes,
        pushed_at=time_of(tag.pushed_at),
        pushed_by=tag.pushed_by,
        pulls=tag.pulls,
        pulled_at=None if tag.pulled_at is None else time_of(tag.pulled_at),
        digest_pulls=tag.digest_pulls,
        digest_pulled_at=None if tag.digest_pulled_at is None else time_of(tag.digest_pulled_at),
        is_pinned=bool(tag.is_pinned),
        immutable_rule=listed.fixed_by,
        same_digest=listed.same,
        has_more_same_digest=listed.has_more_same,
    )


class DeletedTagReply(Struct, frozen=True):
    """A tag that is gone; `digest` is what it pointed to, and is still there.

    `frees`: what only that image needs, if this was its last tag and nothing else leads to it.
    """

    name: str
    digest: str
    frees: Frees


async def delete(ask: Ask[None, OneTag]) -> DeletedTagReply:
    """Remove a tag; what it points to stays."""
    name, tag = await _check_may(ask, "delete"), _check_tag(ask.query.tag)
    if not ask.services.settings.delete.enabled:
        raise Unsupported(reason="deleting is switched off (delete.enabled)")
    unlinked = await delete_tag(ask.services.db, name, tag, ask.actor)
    settings = ask.services.settings
    leaves_ms = now_ms() + int(settings.retention.untagged.total_seconds() * 1000) + settings.delete.grace_ms
    freed = frees_at(unlinked.frees_bytes, time_of(leaves_ms), settings.delete.delay)
    return DeletedTagReply(tag, unlinked.digest, freed)


async def list_history(ask: Ask[None, HistoryPage]) -> Page[EventReply]:
    """A page of the moves of a tag, or of a repository's tags."""
    name, query, db = await check_seen(ask), ask.query, ask.services.db
    before = _BEFORE.fullmatch(query.after) if query.after else None
    if query.after and (before is None or bool(before[2]) == bool(query.tag)):
        raise FieldInvalid(field="after", reason="want what `next` of the page before says")
    repository_id = await get_repository(db, name)
    if query.tag:
        number = None if before is None else int(before[3])
        found = await list_events(db, repository_id, _check_tag(query.tag), number, query.n + 1)
    else:
        place = None if before is None else (int(before[1]), before[2], int(before[3]))
        found = await list_events_in(db, repository_id, place, query.n + 1)
    shown = found[: query.n]
    last = None
    if len(found) > query.n:
        each = shown[-1]
        last = f"{each.number}" if query.tag else f"{each.at} {each.name} {each.number}"
    return Page([_show_event(each) for each in shown], last)


def _show_event(event: TagEvent) -> EventReply:
    return EventReply(
        event.name, event.number, event.from_digest, event.to_digest, time_of(event.at), event.by
    )


async def restore(ask: Ask[Restore, NoQuery]) -> RestoredReply:
    """Put a tag back."""
    name, body = await _check_may(ask, "push"), ask.body
    if (body.at is None) == (body.to is None):
        raise FieldInvalid(field="to", reason="want either `at` or `to`")
    done = await restore_tag(
        ask.services.db,
        name,
        _check_tag(body.tag),
        at=None if body.at is None else int(body.at.timestamp() * _MS),
        to=None if body.to is None else parse_digest(body.to),
        restored_by=ask.actor,
    )
    return RestoredReply(body.tag, done.digest, list(done.also))


async def pin(ask: Ask[None, OneTag]) -> None:
    """Pin a tag."""
    name = await _check_may(ask, "push")
    await pin_tag(ask.services.db, name, _check_tag(ask.query.tag), ask.actor)


async def unpin(ask: Ask[None, OneTag]) -> None:
    """Unpin a tag."""
    name = await _check_may(ask, "push")
    await unpin_tag(ask.services.db, name, _check_tag(ask.query.tag), ask.actor)


async def _check_may(ask: Ask[Any, Any], action: Action) -> RepositoryName:
    """The name in the path, of a repository to which the caller may do this.

    Raises NameInvalid (400), NameUnknown (404) for who may not even pull, Denied (403).
    """
    name = await check_seen(ask)
    await ask.services.gate.check_action(ask.caller, name, action)
    return name


def _check_tag(text: str) -> Tag:
    """Raises TagInvalid (400)."""
    if not is_tag(text):
        raise TagInvalid(tag=text[:140])
    return text

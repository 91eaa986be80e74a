"""Endpoints 8 and 12 and the catalog: tags, referrers, repositories.

Source: distribution-spec main (967efdc), "Listing Tags", "Listing Referrers"; the catalog is
Docker's, kept because clients ask for it.
"""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from moorage.api.exchange import API_VERSION, NOSNIFF, Header, Reply, Request
from moorage.api.v2.following import find_new_name
from moorage.api.v2.locations import next_link
from moorage.api.v2.paging import PAGE_MAX, Page, parse_page
from moorage.api.v2.services import Services
from moorage.errors import PageInvalid
from moorage.identity.callers.caller import Caller
from moorage.oci.digest import parse_digest
from moorage.oci.media_types import OCI_INDEX
from moorage.oci.names import RepositoryName
from moorage.registry.manifests.rows import Referrer, list_referrers
from moorage.registry.repositories.rows import get_repository, list_repositories
from moorage.registry.tags.rows import list_tags

REFERRERS_PAGE_MAX_BYTES = 3 * 1024 * 1024
"""Clients cap what they read of a page at 4 MiB."""

_ARTIFACT_TYPES_MAX = 20
_ROW_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


async def tags(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """A page of a repository's tags, bytewise sorted."""
    page = parse_page(request)
    repository_id = await get_repository(services.db, name)
    found = await list_tags(services.db, repository_id, page.last, page.limit + 1) if page.limit else []
    return page_of_tags(name, page, found)


def page_of_tags(name: RepositoryName, page: Page, found: Sequence[str]) -> Reply:
    """A page of `found`, which has one more than fits where there are more."""
    shown = found[: page.limit]
    return _page(
        {"name": name, "tags": shown},
        f"/v2/{name}/tags/list",
        page,
        shown[-1] if len(found) > len(shown) else None,
    )


async def catalog(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """A page of the repositories that the caller may pull from, bytewise sorted."""
    page = parse_page(request, limit_default=100)
    found = await list_pullable(services, request.caller, page.last, page.limit + 1) if page.limit else []
    shown = found[: page.limit]
    return _page(
        {"repositories": shown}, "/v2/_catalog", page, shown[-1] if len(found) > len(shown) else None
    )


async def list_pullable(services: Services, caller: Caller, after: str, limit: int) -> list[str]:
    """At most `limit` repositories that the caller may pull from, bytewise after `after`, in order."""
    found: list[str] = []
    while len(found) < limit:
        names = await list_repositories(services.db, after, PAGE_MAX)
        found += await services.callers.keep_pullable(caller, names)
        if len(names) < PAGE_MAX:
            break
        after = names[-1]
        # a stranger's page may take many turns: others go in between
        await asyncio.sleep(0)
    return found[:limit]


def _page(body: dict[str, object], path: str, page: Page, last: str | None) -> Reply:
    links = [] if last is None else [next_link(path, [*page.fields, ("n", str(page.limit)), ("last", last)])]
    return _json(body, b"application/json", links)


def _json(body: object, media_type: bytes, more: list[Header]) -> Reply:
    payload = msgspec.json.encode(body)
    headers = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(payload)),
        API_VERSION,
        NOSNIFF,
        *more,
    ]
    return Reply(200, headers, payload)


async def referrers(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """The manifests whose subject is this digest, as an index; never 404."""
    subject = parse_digest(reference)
    page = parse_page(request)
    types = [value for key, value in page.fields if key == "artifactType"]
    if len(types) > _ARTIFACT_TYPES_MAX:
        raise PageInvalid(reason=f"more than {_ARTIFACT_TYPES_MAX} artifactType filters")
    if page.last and _ROW_ID.fullmatch(page.last) is None:
        raise PageInvalid(reason="last is what the Link header gave")
    after = int(page.last or 0)
    shown: list[Referrer] = []
    has_more = False
    if page.limit:
        shown, has_more = await list_referrers(
            services.db, name, subject, types, after, page.limit, REFERRERS_PAGE_MAX_BYTES
        )
    if not shown and page.limit and not after:
        renamed = await find_new_name(services, request, name)
        if renamed is not None:
            return await referrers(services, request, renamed, reference)
    headers: list[Header] = []
    if has_more:
        path = f"/v2/{name}/referrers/{subject}"
        fields = [*page.fields, ("n", str(page.limit)), ("last", str(shown[-1].row_id))]
        headers.append(next_link(path, fields))
    if types:
        headers.append((b"oci-filters-applied", b"artifactType"))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(each) for each in shown]}
    return _json(index, OCI_INDEX.encode(), headers)


def _descriptor(referrer: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    if referrer.artifact_type is not None:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations != "{}":
        descriptor["annotations"] = msgspec.Raw(referrer.annotations.encode())
    return descriptor


async def ping(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
    """Endpoint 1: yes, this is a registry."""
    return _json({}, b"application/json", [])


__all__ = ["PAGE_MAX", "catalog", "list_pullable", "ping", "referrers", "tags"]

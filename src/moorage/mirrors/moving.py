"""Whether a tag may move to what came: what its upstream has said, and the rules here, decide."""

import structlog

from moorage.database import Database
from moorage.mirrors import rows
from moorage.mirrors.asking import Failed, Fetched
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import Digest, digest_of
from moorage.oci.names import RepositoryName, Tag
from moorage.registry.tags.immutability import find_fixing, read_rules_for

log = structlog.get_logger()


async def check_shown(
    db: Database, upstream: Upstream, repository: RepositoryName, tag: Tag, digest: Digest
) -> None:
    """An alternative may have been given something else than the upstream has.

    Raises Failed.
    """
    if upstream.alternatives_may == "any":
        return
    shown = await rows.read_shown(db, repository, tag)
    if digest in shown or (not shown and upstream.alternatives_may == "new"):
        return
    log.warning("alternative_refused", upstream=upstream.name, repository=repository, tag=tag, digest=digest)
    raise Failed(f"an alternative says that {tag} is {digest}, which {upstream.name} never said")


async def check_may_move(
    db: Database, upstream: Upstream, repository: RepositoryName, fetched: Fetched, tag: Tag | None
) -> None:
    """A rule here counts as well where nothing can be kept.

    Raises Failed.
    """
    known = None if tag is None else await rows.find_tag(db, repository, tag)
    if tag is None or known is None or known.digest in {None, digest_of(fetched.payload)}:
        return
    if find_fixing(await read_rules_for(db, repository), repository, tag) is not None:
        raise fixed(upstream, repository, tag)


def fixed(upstream: Upstream, repository: RepositoryName, tag: Tag) -> Failed:
    """What the upstream's word is worth where a rule fixes the tag."""
    log.warning("mirror_tag_fixed", upstream=upstream.name, repository=repository, tag=tag)
    return Failed(f"it has moved {tag}, which a rule here fixes")

"""Which upstream a name means, and by which name its repository goes here.

    docker.io/library/nginx             the first part is an upstream's name
    library/nginx?ns=docker.io          as containerd asks the mirrors of a registry
    library/nginx                       as dockerd asks a mirror of Docker Hub: the root upstream's, unless
                                        anything here has the namespace

Local names win: a repository that is here and was not mirrored is what its name says. A bare name in a
namespace that is, or was, anybody's here is never looked for elsewhere, or whoever takes the same name at
the upstream could put an image in its place.
"""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from moorage.database import Database
from moorage.errors import NameUnknown, Unsupported
from moorage.mirrors import rows, upstream_rows
from moorage.mirrors.lines import Lines
from moorage.mirrors.upstreams import Upstream
from moorage.oci.names import RepositoryName, is_repository_name

LOOK_EVERY_S: Final = 1.0
_REMEMBERED_MAX: Final = 20_000


_Asked = tuple[RepositoryName, str | None]


class Placed(NamedTuple):
    """A repository by its name here; the upstream whose content it has, None for a local one."""

    name: RepositoryName
    upstream: Upstream | None = None


class Upstreams:
    """The upstreams as one process knows them; looked at again within a second of a change."""

    def __init__(self, db: Database, configured: Sequence[Upstream], lines: Lines) -> None:
        self._db = db
        self._configured = tuple(configured)
        self._lines = lines
        self._all = self._configured
        self._by_name = {each.name: each for each in self._configured}
        self._disconnected: frozenset[str] = frozenset()
        self._version = -1
        self._looked_s = float("-inf")
        self._placed: dict[_Asked, Placed] = {}

    async def look(self, *, at_once: bool = False) -> None:
        """Learn what was changed, if it is time."""
        now_s = time.monotonic()
        if not at_once and now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        version = await upstream_rows.read_version(self._db)
        if version == self._version:
            return
        added = await upstream_rows.read_upstreams(self._db)
        self._disconnected = frozenset(await upstream_rows.read_disconnected(self._db))
        await self._lines.learn()
        # what stands in the settings counts
        self._by_name = {each.name: each for each in (*added, *self._configured)}
        self._all = tuple(self._by_name[name] for name in sorted(self._by_name))
        self._placed.clear()
        self._version = version

    async def look_for(self, name: RepositoryName, host: str | None) -> None:
        """Learn what was changed, if it is time, or if what is meant may have been added this second."""
        await self.look()
        if host is not None:
            is_known = self._find_called(host) is not None
        else:
            # as docker tells a registry from a namespace
            first, slash, _ = name.partition("/")
            is_known = not slash or "." not in first or first in self._by_name
        if not is_known:
            await self.look(at_once=True)

    @property
    def all(self) -> tuple[Upstream, ...]:
        """Every upstream, by name."""
        return self._all

    def find(self, name: str) -> Upstream | None:
        """The upstream of this name."""
        return self._by_name.get(name)

    def is_disconnected(self, upstream: Upstream) -> bool:
        """Whether someone has said that it is not to be asked."""
        return upstream.name in self._disconnected

    def is_prefixed(self, name: RepositoryName) -> bool:
        """Whether a name says of which upstream it is, by its first part."""
        first, slash, _ = name.partition("/")
        return bool(slash) and first in self._by_name

    def _find_called(self, host: str) -> Upstream | None:
        return next((each for each in self._all if each.is_called(host)), None)

    async def place(self, name: RepositoryName, host: str | None) -> Placed:
        """What a pull by this name means. `host`: the registry that the client means, None where unsaid.

        Raises NameUnknown (404).
        """
        await self.look()
        asked = name, host
        known = self._placed.get(asked)
        if known is not None:
            return known
        if host is not None:
            upstream = self._find_called(host)
            if upstream is None:
                raise NameUnknown(name=name, reason=f"there is no upstream called {host[:100]} here")
            # a client may say the registry twice: in the path and beside it
            return await self._place_in(upstream, upstream.remote_of(name), asked)
        first, slash, _ = name.partition("/")
        upstream = self._by_name.get(first)
        if upstream is not None and slash:
            return await self._place_in(upstream, upstream.remote_of(name), asked)
        root = next((each for each in self._all if each.is_root), None)
        if root is None or await rows.is_namespace_local(self._db, first):
            return Placed(name)
        # not remembered: the name is someone's here as soon as they push
        return await self._place_in(root, name)

    async def _place_in(
        self, upstream: Upstream, remote: RepositoryName, asked: _Asked | None = None
    ) -> Placed:
        """See `place`. What was `asked` for is remembered when it is here."""
        name = upstream.local_of(remote)
        if not is_repository_name(name):
            raise NameUnknown(name=name[:300], reason="the name is too long with its upstream's before it")
        is_here, mirrored = await rows.find_upstream(self._db, name)
        if is_here and mirrored is None:
            return Placed(name)
        if not upstream.mirrors(remote):
            if is_here:
                # what was fetched before stays
                return Placed(name)
            raise NameUnknown(name=name, reason=f"{remote} is not among what is mirrored of {upstream.name}")
        placed = Placed(name, upstream)
        if is_here and asked is not None:
            if len(self._placed) >= _REMEMBERED_MAX:
                self._placed.clear()
            self._placed[asked] = placed
        return placed

    async def claim(self, upstream: Upstream, name: RepositoryName) -> None:
        """Say whose a repository is that is not here yet, before its first blob makes it a local one."""
        is_here, _ = await rows.find_upstream(self._db, name)
        if not is_here:
            await self._db.write(lambda tx: rows.ensure_mirrored(tx, name, upstream.name))

    async def check_push(self, name: RepositoryName, host: str | None) -> None:
        """See that a push by this name is to a local repository.

        Raises Unsupported (405).
        """
        await self.look()
        first, slash, _ = name.partition("/")
        upstream = self._by_name.get(first) if slash else None
        if host is not None:
            upstream = next((each for each in self._all if each.is_called(host)), upstream)
        is_here, mirrored = await rows.find_upstream(self._db, name)
        if mirrored is None and (is_here or upstream is None):
            return
        of = mirrored or (upstream.name if upstream else "")
        raise Unsupported(
            reason=f"{name} mirrors {of}, from which it only pulls: push by a name of your own, as team/app"
        )

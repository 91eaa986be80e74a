"""The two ends of a copy, opened: each a registry, a layout or an archive."""

import os
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from moorage.cli.transfer.reaching import Reaching
from moorage.connecting import EVERYWHERE
from moorage.oci.names import RepositoryName, is_repository_name
from moorage.storage.begun_uploads import FileBegunUploads
from moorage.storage.image_files import FolderArchive, TarSink
from moorage.storage.layout_folder import LayoutFolder
from moorage.storage.tar import TarArchive
from moorage.transfer.between.archives import ArchiveReader, LayoutSource, SavedSource, open_saved
from moorage.transfer.between.layouts import LayoutDestination, TarDestination
from moorage.transfer.between.places import LayoutPlace, Place, RegistryPlace, SavedPlace
from moorage.transfer.between.ports import CopyRefused, Destination, Source
from moorage.transfer.images.archive import ArchiveRefused
from moorage.upstream.client import HttpRegistry
from moorage.upstream.copies import RegistryDestination, RegistrySource
from moorage.upstream.docker_config import DockerConfig
from moorage.upstream.pushing import HttpPusher

_THREADS = 6


class Line(NamedTuple):
    """To registries."""

    registry: HttpRegistry
    pusher: HttpPusher
    reaching: Reaching


class Opening:
    """Opens places; what they hold is let go with `stack`. `authority`: a file whose roots count too."""

    def __init__(self, threads: Executor, stack: AsyncExitStack, authority: Path | None) -> None:
        self.threads = threads
        self._stack = stack
        self._authority = authority
        self._line: Line | None = None

    @property
    def line(self) -> Line:
        """To registries, opened when it is first needed."""
        if self._line is None:
            registry, pusher = HttpRegistry(EVERYWHERE), HttpPusher(EVERYWHERE)
            self._stack.push_async_callback(registry.close)
            self._stack.push_async_callback(pusher.close)
            self._line = Line(registry, pusher, Reaching(pusher, DockerConfig(os.environ), self._authority))
        return self._line

    async def open_source(self, place: Place, *, is_plain: bool) -> Source:
        """Where images come from. Raises CopyRefused, UpstreamFailure, DockerConfigError."""
        if isinstance(place, RegistryPlace):
            at = await self.line.reaching.find(place.reference.domain, is_plain=is_plain)
            return RegistrySource(self.line.registry, at, _repository(place), str(place))
        try:
            if isinstance(place, LayoutPlace) and not place.is_tar:
                _check_there(place.path)
                reader = ArchiveReader(FolderArchive(place.path), self.threads, is_sequential=False)
                return LayoutSource(reader, str(place))
            archive = TarArchive(place.path)
            self._stack.callback(archive.close)
        except ArchiveRefused as refusal:
            raise CopyRefused(str(refusal)) from refusal
        reader = ArchiveReader(archive, self.threads, is_sequential=archive.is_compressed)
        return open_tar(reader, place)

    async def open_destination(
        self, place: Place, come_from: Place, name_docker: str, *, is_plain: bool
    ) -> Destination:
        """Where images go to; `name_docker`: what docker calls the one in its archive. Raises as above."""
        if isinstance(place, RegistryPlace):
            at = await self.line.reaching.find(place.reference.domain, is_plain=is_plain)
            begun = FileBegunUploads(_state_folder())
            begun.sweep()
            into, origin = _repository(place), _find_origin(come_from, place)
            return RegistryDestination(self.line.registry, self.line.pusher, at, into, begun, origin)
        if isinstance(place, LayoutPlace) and not place.is_tar:
            return LayoutDestination(LayoutFolder(place.path), self.threads)
        _check_free(place.path)
        beside = place.path.with_name(f".{place.path.name}.partial")
        return TarDestination(
            LayoutFolder(beside),
            self.threads,
            lambda: TarSink(place.path),
            lambda: shutil.rmtree(beside, ignore_errors=True),
            name_docker if isinstance(place, SavedPlace) else None,
        )


def open_tar(reader: ArchiveReader, place: LayoutPlace | SavedPlace) -> LayoutSource | SavedSource:
    """A tar of either kind: what was called a layout has to be one. Raises CopyRefused."""
    if isinstance(place, LayoutPlace) and not place.may_be_saved:
        return LayoutSource(reader, str(place))
    return open_saved(reader, str(place))


@asynccontextmanager
async def opening(authority: Path | None) -> AsyncIterator[Opening]:
    """Everything that a copy needs open, for as long as it takes."""
    async with AsyncExitStack() as stack:
        yield Opening(stack.enter_context(ThreadPoolExecutor(_THREADS)), stack, authority)


def _check_there(path: Path) -> None:
    if not path.is_dir():
        raise CopyRefused(f"there is no {path}")


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise CopyRefused(f"{path} is there already: name another, or remove it")


def _find_origin(come_from: Place, go_to: RegistryPlace) -> RepositoryName | None:
    """Another repository of the same registry, from which blobs can be mounted."""
    if not isinstance(come_from, RegistryPlace) or str(come_from) == str(go_to):
        return None
    return _repository(come_from) if come_from.reference.domain == go_to.reference.domain else None


def _repository(place: RegistryPlace) -> RepositoryName:
    path = place.reference.path
    if not is_repository_name(path):
        raise CopyRefused(f"{path!r} is no repository that a registry of ours can have")
    return path


def _state_folder() -> Path:
    """Where a person's programs keep what they know from one run to the next.

    Source: XDG Base Directory Specification 0.8.
    """
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "moorage" / "uploads"

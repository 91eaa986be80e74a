"""Registries that images are copied from and to: the ports of `moorage.transfer.between`.

Source: distribution-spec v1.1.1, "Pull", "Push", "Referrers Tag Schema".
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.errors import ManifestInvalid
from moorage.mirrors.asking import Busy, Failed, NotAllowed, NotThere, Unreachable, UpstreamFailure
from moorage.mirrors.upstreams import Address
from moorage.oci import media_types
from moorage.oci.descriptor import Descriptor, parse_descriptor
from moorage.oci.digest import Digest, algorithm_of, digest_of
from moorage.oci.manifest import parse_manifest
from moorage.oci.names import RepositoryName
from moorage.transfer.between.planning import fallback_tag
from moorage.transfer.between.ports import (
    Absent,
    BegunUploads,
    Content,
    CopyRefused,
    How,
    Interrupted,
    OpenBlob,
)
from moorage.upstream.client import REFERRERS_MAX, HttpRegistry
from moorage.upstream.failures import Refused
from moorage.upstream.pushing import HttpPusher, Upload

MANIFEST_MAX_BYTES: Final = 4 * 1024 * 1024
TIMEOUT_S: Final = 30.0
_TAGS_AT_ONCE: Final = 1_000


class RegistrySource:
    """One repository of a registry; `name` as a person calls it."""

    def __init__(self, registry: HttpRegistry, at: Address, repository: RepositoryName, name: str) -> None:
        self._registry = registry
        self._at = at
        self._repository = repository
        self._name = name

    async def list_tags(self) -> list[str]:
        """See `Source`."""
        tags: dict[str, None] = {}
        last = ""
        with _told(self._at):
            while True:
                some = await self._registry.list_tags(
                    self._at, self._repository, last, _TAGS_AT_ONCE, TIMEOUT_S
                )
                if all(tag in tags for tag in some):
                    # the end, or a registry that has no pages
                    return list(tags)
                tags |= dict.fromkeys(some)
                last = some[-1]

    async def get_manifest(self, reference: str) -> Content:
        """See `Source`."""
        try:
            return await _get_manifest(self._registry, self._at, self._repository, reference)
        except Absent as absent:
            joint = "@" if ":" in reference else ":"
            raise Absent(f"there is no {self._name}{joint}{reference}: {absent}") from absent

    async def list_referrers(self, subject: Digest) -> list[Descriptor]:
        """See `Source`."""
        with _told(self._at):
            listed = await self._registry.list_referrers(self._at, self._repository, subject, TIMEOUT_S)
        found: list[Descriptor] = []
        for number, each in enumerate(listed):
            try:
                found.append(parse_descriptor(each, f"manifests[{number}]"))
            except ManifestInvalid as refusal:
                raise CopyRefused(
                    f"the list of what refers to {subject} cannot be read: {refusal}"
                ) from refusal
        return found

    @asynccontextmanager
    async def open_blob(self, target: Descriptor, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Source`."""
        with _told(self._at):
            async with self._registry.open_blob(
                self._at, self._repository, target.digest, offset, TIMEOUT_S
            ) as stream:
                if stream.size not in {None, target.size}:
                    raise CopyRefused(
                        f"{self._at.url} has {stream.size} bytes for {target.digest},"
                        f" its manifest says {target.size}"
                    )
                yield _pieces(self._at, stream.pieces)

    def position_of(self, target: Descriptor) -> int:  # noqa: ARG002 - the port's
        """See `Source`."""
        return 0


class RegistryDestination:
    """One repository of a registry. `mount_from`: another one there, which has what is copied."""

    def __init__(
        self,
        registry: HttpRegistry,
        pusher: HttpPusher,
        at: Address,
        repository: RepositoryName,
        begun: BegunUploads,
        mount_from: RepositoryName | None = None,
    ) -> None:
        self._registry = registry
        self._pusher = pusher
        self._at = at
        self._repository = repository
        self._begun = begun
        self._mount_from = mount_from
        self._pushed_referrers: dict[Digest, dict[Digest, Mapping[str, Any]]] = {}

    async def find_manifest(self, reference: str, *, is_listed: bool) -> Digest | None:  # noqa: ARG002 - the port's
        """See `Destination`."""
        try:
            with _told(self._at):
                shown = await self._registry.head_manifest(self._at, self._repository, reference, TIMEOUT_S)
        except Absent:
            return None
        if shown.namespace is not None:
            # of another registry, which this one gives out in its place: it was not pushed here
            return None
        if shown.digest is not None:
            return shown.digest
        return (await _get_manifest(self._registry, self._at, self._repository, reference)).digest

    async def has_blob(self, target: Descriptor) -> bool:
        """See `Destination`."""
        try:
            with _told(self._at):
                await self._pusher.head_blob(self._at, self._repository, target.digest, TIMEOUT_S)
        except Absent:
            return False
        return True

    async def put_blob(self, target: Descriptor, read: OpenBlob, moved: Callable[[int], None]) -> How:
        """See `Destination`."""
        with self._begun.hold(f"{self._at.url} {self._repository} {target.digest}") as begun, _told(self._at):
            upload = await self._go_on(begun.url)
            if upload is None and self._mount_from is not None:
                upload = await self._pusher.mount_blob(
                    self._at, self._repository, target.digest, self._mount_from, TIMEOUT_S
                )
                if upload is None:
                    return "mounted"
            if upload is None:
                upload = await self._pusher.start_upload(self._at, self._repository, TIMEOUT_S)
            begun.note(upload.url)
            await self._pusher.push_blob(
                self._at,
                self._repository,
                target.digest,
                target.size,
                _counted(read, moved),
                upload=upload,
            )
            begun.forget()
        return "sent"

    async def put_manifest(self, content: Content, tag: str | None, *, is_listed: bool) -> None:  # noqa: ARG002 - the port's
        """See `Destination`."""
        with _told(self._at):
            digest = await self._pusher.put_manifest(
                self._at,
                self._repository,
                tag or content.digest,
                content.media_type,
                content.payload,
                TIMEOUT_S,
            )
        if digest != content.digest and algorithm_of(digest) == algorithm_of(content.digest):
            raise CopyRefused(
                f"{self._at.url} took {content.digest} and calls it {digest}: its bytes are others"
            )
        manifest = parse_manifest(content.payload, content.media_type)
        if manifest.subject is not None:
            listed = self._pushed_referrers.setdefault(manifest.subject.digest, {})
            listed[content.digest] = _describe(content)

    async def finish(self) -> None:
        """See `Destination`: what the registry does not list is listed by the referrers' tag."""
        for subject, pushed in self._pushed_referrers.items():
            with _told(self._at):
                found = await self._registry.list_referrers(self._at, self._repository, subject, TIMEOUT_S)
            known = {each.get("digest") for each in found}
            missing = [each for digest, each in pushed.items() if digest not in known]
            if missing and len(found) < REFERRERS_MAX:
                await self._list_by_tag(subject, [*found, *missing])

    async def _list_by_tag(self, subject: Digest, referrers: list[Mapping[str, Any]]) -> None:
        payload = json.dumps(
            {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": referrers}
        ).encode()
        content = Content(digest_of(payload), media_types.OCI_INDEX, payload)
        await self.put_manifest(content, fallback_tag(subject), is_listed=True)

    async def _go_on(self, url: str | None) -> Upload | None:
        """The upload that an earlier attempt has begun, if it still is one."""
        if url is None:
            return None
        try:
            upload = await self._pusher.find_upload(self._at, self._repository, Upload(url), TIMEOUT_S)
        except (NotThere, Failed):
            return None
        # registries say "0-0" of nothing, and of one byte
        return upload if upload.received_bytes > 1 else None


def _counted(read: OpenBlob, moved: Callable[[int], None]) -> OpenBlob:
    """As `read`, with each piece told of when it goes."""

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def flow(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for piece in pieces:
                moved(len(piece))
                yield piece

        async with read(offset) as pieces:
            yield flow(pieces)

    return open_at


async def _get_manifest(
    registry: HttpRegistry, at: Address, repository: RepositoryName, reference: str
) -> Content:
    with _told(at):
        fetched = await registry.get_manifest(at, repository, reference, MANIFEST_MAX_BYTES, TIMEOUT_S)
    return Content(fetched.digest, fetched.media_type, fetched.payload)


def _describe(content: Content) -> Mapping[str, Any]:
    """As a list of referrers has it."""
    manifest = parse_manifest(content.payload, content.media_type)
    described: dict[str, Any] = {
        "mediaType": content.media_type,
        "digest": content.digest,
        "size": len(content.payload),
    }
    if manifest.artifact_type is not None:
        described["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        described["annotations"] = dict(manifest.annotations)
    return described


async def _pieces(at: Address, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    with _told(at):
        async for piece in pieces:
            yield piece


def _advise(at: Address) -> str:
    """What to do where something is not allowed."""
    if at.username:
        return f". It was asked as {at.username}, who may need to be granted it"
    return f". It was asked without credentials: moorage login {urlsplit(at.url).netloc}"


@contextmanager
def _told(at: Address) -> Iterator[None]:
    """Say a registry's failure in a copy's words."""
    try:
        yield
    except NotThere as failure:
        raise Absent(str(failure)) from failure
    except Busy as failure:
        raise Interrupted(str(failure), failure.retry_after_s) from failure
    except NotAllowed as failure:
        raise CopyRefused(f"{failure}{_advise(at)}") from failure
    except Refused as failure:
        raise CopyRefused(str(failure)) from failure
    except (Failed, Unreachable) as failure:
        raise Interrupted(str(failure)) from failure
    except UpstreamFailure as failure:
        raise CopyRefused(str(failure)) from failure

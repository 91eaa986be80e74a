"""What a copy consists of: manifests in the order in which they can be put, and their blobs."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from moorage.errors import ManifestInvalid
from moorage.oci import media_types, strict_json
from moorage.oci.digest import Digest, algorithm_of, encoded_of
from moorage.oci.manifest import Kind, Manifest, Reference, parse_manifest
from moorage.transfer.between.platforms import Platform, choose_child, read_platform
from moorage.transfer.between.ports import Absent, Content, CopyRefused, Destination, Source

MANIFESTS_MAX: Final = 10_000
PAYLOADS_MAX_BYTES: Final = 256 * 1024 * 1024
REFERRERS_DEEP: Final = 8
"""A signature of a signature of..., so far and no farther."""

_CONFIG_MAX_BYTES: Final = 4 * 1024 * 1024
_BESIDE: Final = (".sig", ".att", ".sbom")
_AT_ONCE: Final = 8


class Wanted(NamedTuple):
    """An image by its tag or digest at the source ("": its only one), and its tag at the destination."""

    reference: str
    tag: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A manifest that is to be put, `tag` by which name; `is_listed`: no other one leads to it."""

    content: Content
    manifest: Manifest
    tag: str | None
    is_listed: bool
    is_there: bool
    """Whether the destination has it, and so what it needs."""


@dataclass(slots=True)
class Plan:
    """An image on its way: steps in order, and the blobs of those that are not there, each once."""

    root: Content
    steps: list[Step] = field(default_factory=list)
    blobs: dict[Digest, Reference] = field(default_factory=dict)
    there: set[Digest] = field(default_factory=set)
    """Children that the destination has, which were not even read."""
    referrers: int = 0
    payload_bytes: int = 0

    @property
    def digests(self) -> set[Digest]:
        """All manifests of it."""
        return {step.content.digest for step in self.steps} | self.there


def fallback_tag(digest: Digest) -> str:
    """The tag that lists what refers to a digest, where a registry has no better way.

    Source: distribution-spec v1.1.1, "Referrers Tag Schema".
    """
    return f"{algorithm_of(digest)}-{encoded_of(digest)[:64]}"


class Planning:
    """Plans copies from one source to one destination."""

    def __init__(
        self, source: Source, destination: Destination, platform: Platform | None, *, with_referrers: bool
    ) -> None:
        self._source = source
        self._destination = destination
        self._platform = platform
        self._with_referrers = with_referrers

    async def plan(self, wanted: Wanted) -> Plan:
        """What it takes to bring an image. Raises CopyRefused."""
        root = await self._source.get_manifest(wanted.reference)
        if self._platform is not None:
            root = await self._descend(root, self._platform, wanted.reference)
        plan = Plan(root)
        await self._add(plan, root, wanted.tag)
        if self._with_referrers:
            await self._add_referrers(plan)
        return plan

    async def _descend(self, content: Content, platform: Platform, name: str) -> Content:
        """The image for a platform that an index leads to, or the image itself if it is one."""
        manifest = _parse(content)
        if manifest.is_index:
            digest = choose_child(content.payload, platform, name or content.digest)
            return await self._source.get_manifest(digest)
        config = manifest.references[0].target
        if config.size <= _CONFIG_MAX_BYTES and config.media_type.endswith("json"):
            async with self._source.open_blob(config, 0) as pieces:
                found = _read_config(b"".join([piece async for piece in pieces]))
            if found is not None and not platform.is_met_by(found):
                raise CopyRefused(f"{name or content.digest} is an image for {found}, not for {platform}")
        return content

    async def _add(self, plan: Plan, content: Content, tag: str | None) -> None:
        """A manifest with all below it, children first."""
        seen = plan.digests
        ahead: list[tuple[Content, bool]] = [(content, False)]
        while ahead:
            current, is_after_children = ahead.pop()
            manifest = _parse(current)
            if is_after_children:
                is_root = current.digest == content.digest
                await self._step(plan, current, manifest, tag if is_root else None, is_listed=is_root)
                continue
            if current.digest in seen:
                if current.digest == content.digest and tag is not None:
                    await self._step(plan, current, manifest, tag, is_listed=True)
                continue
            seen.add(current.digest)
            plan.payload_bytes += len(current.payload)
            if len(seen) > MANIFESTS_MAX or plan.payload_bytes > PAYLOADS_MAX_BYTES:
                raise CopyRefused(f"{plan.root.digest} has more manifests with it than one copy takes")
            ahead.append((current, True))
            ahead += [(child, False) for child in await self._read_children(plan, manifest, seen)]

    async def _read_children(self, plan: Plan, manifest: Manifest, seen: set[Digest]) -> list[Content]:
        """The manifests that an index lists and that have to be read: all but images that are there."""
        children: list[Content] = []
        for each in manifest.references:
            target = each.target
            if not _is_manifest(each) or target.digest in seen:
                continue
            is_image = target.media_type in media_types.IMAGES
            if is_image and await self._destination.find_manifest(target.digest, is_listed=False):
                plan.there.add(target.digest)
                continue
            try:
                children.append(await self._source.get_manifest(target.digest))
            except Absent as absent:
                raise CopyRefused(
                    f"{absent}; the index lists it. Copy one image of it with --platform"
                ) from absent
        return children

    async def _step(
        self, plan: Plan, content: Content, manifest: Manifest, tag: str | None, *, is_listed: bool
    ) -> None:
        is_there = await self._destination.find_manifest(content.digest, is_listed=is_listed) is not None
        plan.steps.append(Step(content, manifest, tag, is_listed, is_there))
        if not is_there:
            plan.blobs |= {each.target.digest: each for each in manifest.references if not _is_manifest(each)}

    # what refers to it

    async def _add_referrers(self, plan: Plan) -> None:
        """Signatures, SBOMs and what else refers to a manifest of the plan, or to one of these."""
        asked: set[Digest] = set()
        for _ in range(REFERRERS_DEEP):
            subjects = sorted(plan.digests - asked)
            asked.update(subjects)
            for start in range(0, len(subjects), _AT_ONCE):
                some = subjects[start : start + _AT_ONCE]
                for found in await asyncio.gather(*map(self._find_referrers, some)):
                    for content, tag in found:
                        await self._add(plan, content, tag)
                        plan.referrers += 1

    async def _find_referrers(self, subject: Digest) -> list[tuple[Content, str | None]]:
        """What refers to a manifest: by its `subject`, or by a tag that cosign makes of the digest."""
        found: list[tuple[Content, str | None]] = []
        for each in await self._source.list_referrers(subject):
            content = await self._source.get_manifest(each.digest)
            manifest = _parse(content)
            if manifest.subject is not None and manifest.subject.digest == subject:
                found.append((content, None))
        for ending in _BESIDE:
            tag = fallback_tag(subject) + ending
            try:
                found.append((await self._source.get_manifest(tag), tag))
            except Absent:
                continue
        return found


def _is_manifest(reference: Reference) -> bool:
    return reference.kind is Kind.MANIFEST and reference.target.media_type in media_types.MANIFESTS


def _parse(content: Content) -> Manifest:
    try:
        return parse_manifest(content.payload, content.media_type)
    except ManifestInvalid as refusal:
        reason = refusal.detail.get("reason", refusal)
        raise CopyRefused(f"{content.digest} cannot be copied: {reason}") from refusal


def _read_config(content: bytes) -> Platform | None:
    try:
        return read_platform(strict_json.parse(content))
    except strict_json.NotStrict:
        return None

"""For which platforms an image is: as its config says, or an index of its children.

What a manifest's digest names never changes, so what was read once is remembered.
Source: image-spec main (13cff54), config.md, "Properties", and image-index.md, `platform`.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Final

from moorage.database import Database
from moorage.errors import StorageFailed
from moorage.oci import strict_json
from moorage.oci.digest import Digest, encoded_of
from moorage.oci.media_types import INDEXES
from moorage.registry.blobs.store import BlobDamaged, BlobStore
from moorage.registry.images import rows
from moorage.registry.images.rows import Config, TagRow
from moorage.threads import in_thread

CONFIG_MAX_BYTES: Final = 64 * 1024
INDEX_MAX_BYTES: Final = 1024 * 1024
PLATFORMS_MAX: Final = 50
"""Larger ones are not read, more are not shown."""

_REMEMBERED_MAX: Final = 10_000
_READ_AT_ONCE: Final = 16
_PART = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,31}", re.ASCII)
_UNKNOWN: Final = "unknown"

Platforms = tuple[str, ...]


class PlatformReader:
    """Reads for one worker process what platforms images are for."""

    def __init__(self, db: Database, store: BlobStore, threads: Executor) -> None:
        self._db = db
        self._store = store
        self._threads = threads
        self._remembered: OrderedDict[Digest, Platforms] = OrderedDict()

    async def read(self, tags: Sequence[TagRow]) -> dict[Digest, Platforms]:
        """By sha256 digest, as `linux/arm64/v8`; none where nothing says it, or nothing that can be read."""
        distinct = {tag.sha256: tag for tag in tags}
        found = {digest: self._remembered[digest] for digest in distinct if digest in self._remembered}
        unread = [tag for digest, tag in distinct.items() if digest not in found]
        for start in range(0, len(unread), _READ_AT_ONCE):
            some = [
                (tag.sha256, await self._find_source(tag)) for tag in unread[start : start + _READ_AT_ONCE]
            ]
            for digest, platforms in await in_thread(self._threads, self._read_all, some):
                found[digest] = platforms or ()
                if platforms is not None:
                    self._remember(digest, platforms)
        return found

    async def _find_source(self, tag: TagRow) -> Config | bytes | None:
        """Where it says so: a config, or an index's own bytes."""
        if tag.media_type not in INDEXES:
            config = await rows.find_config(self._db, tag.manifest)
            return config if config is not None and config.size <= CONFIG_MAX_BYTES else None
        if tag.manifest_bytes > INDEX_MAX_BYTES:
            return None
        return await rows.read_payload(self._db, tag.manifest)

    def _read_all(
        self, sources: list[tuple[Digest, Config | bytes | None]]
    ) -> list[tuple[Digest, Platforms | None]]:
        return [(digest, self._read_one(source)) for digest, source in sources]

    def _read_one(self, source: Config | bytes | None) -> Platforms | None:
        """In a thread. None for what cannot be read now."""
        if isinstance(source, bytes):
            document = _parse(source)
            children = document.get("manifests") if isinstance(document, dict) else None
            listed = children if isinstance(children, list) else []
            return _distinct([each.get("platform") for each in listed if isinstance(each, dict)])
        content = None if source is None else self._read_config(source)
        return None if content is None else _distinct([_parse(content)])

    def _read_config(self, config: Config) -> bytes | None:
        file = self._store.open_blob(config.digest, config.generation)
        if file is None:
            return None
        try:
            content = file.read(0, config.size)
        except (BlobDamaged, StorageFailed):
            return None
        finally:
            file.close()
        return content if hashlib.sha256(content).hexdigest() == encoded_of(config.digest) else None

    def _remember(self, digest: Digest, platforms: Platforms) -> None:
        self._remembered[digest] = platforms
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)


def _parse(content: bytes) -> Any:
    try:
        return strict_json.parse(content)
    except strict_json.NotStrict:
        return None


def _distinct(said: Sequence[Any]) -> Platforms:
    names = [name for each in said if (name := platform_name(each)) is not None]
    return tuple(dict.fromkeys(names))[:PLATFORMS_MAX]


def platform_name(said: Any) -> str | None:
    """A platform as people write it; None for what names none, as an attestation's `unknown/unknown`."""
    if not isinstance(said, dict):
        return None
    parts = [said.get("os"), said.get("architecture")]
    if said.get("variant"):
        parts.append(said["variant"])
    named = [part for part in parts if isinstance(part, str) and _PART.fullmatch(part) and part != _UNKNOWN]
    return "/".join(named) if len(named) == len(parts) else None

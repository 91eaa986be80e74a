"""What a registry should hold after all that its clients did: dictionaries, and nothing else.

A repository is known once something was put into it. Content goes only when a client deletes it, or when it
is garbage.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.content import Document, digest_of, encode

EXPIRY_NS = 7 * 24 * 3600 * 10**9
EMPTY_EXPIRY_NS = 3600 * 10**9


@dataclass
class OpenUpload:
    """A blob on its way in. Once it got nothing for a week it may be dropped, and must be by a sweep.

    One that has no bytes has an hour.
    """

    repository: str
    location: str
    touched_ns: int
    content: bytes = b""
    is_open: bool = True
    may_be_gone: bool = False
    must_be_gone: bool = False

    @property
    def expiry_ns(self) -> int:
        return EXPIRY_NS if self.content else EMPTY_EXPIRY_NS

    def touch(self, now_ns: int) -> None:
        """Bytes came."""
        self.touched_ns, self.may_be_gone = now_ns, False

    def age(self, now_ns: int) -> None:
        """The clock moved."""
        self.may_be_gone = self.may_be_gone or now_ns - self.touched_ns > self.expiry_ns

    def sweep(self, now_ns: int) -> None:
        """The registry looked for what was left alone."""
        self.must_be_gone = self.must_be_gone or now_ns - self.touched_ns > self.expiry_ns


def pointers(document: Document) -> set[str]:
    """The digests of config, layers and children."""
    found = [document.get("config"), *document.get("layers", []), *document.get("manifests", [])]
    return {pointer["digest"] for pointer in found if pointer is not None}


@dataclass
class Trashed:
    """A deletion: what of it is in the trash still, by sha256 digest, and the tags of the first."""

    number: int
    first: str
    manifests: dict[str, Document]
    tags: list[str]


@dataclass
class Held:
    """What one repository holds: blobs and manifests by sha256 digest, tags by name; and its trash."""

    is_known: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Document] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    trash: list[Trashed] = field(default_factory=list)

    def add_blob(self, content: bytes) -> None:
        self.is_known = True
        self.blobs[digest_of(content)] = content

    def add_manifest(self, document: Document, tags: list[str]) -> None:
        self.is_known = True
        digest = digest_of(encode(document))
        self.manifests[digest] = document
        for trashed in self.trash:
            trashed.manifests.pop(digest, None)
        self.tags |= dict.fromkeys(tags, digest)

    def delete_manifest(self, digest: str, number: int) -> None:
        """Also what is of no use without it: untagged children and referrers."""
        tags = sorted(tag for tag, target in self.tags.items() if target == digest)
        self.tags = {tag: target for tag, target in self.tags.items() if target != digest}
        trashed = Trashed(number, digest, {}, tags)
        self._take(digest, trashed.manifests)
        self.trash.append(trashed)

    def _take(self, digest: str, taken: dict[str, Document]) -> None:
        gone = taken[digest] = self.manifests.pop(digest)
        for each in [*pointers(gone), *self.referrers(digest)]:
            if each in self.manifests and self._is_loose(each):
                self._take(each, taken)

    def restore(self, trashed: Trashed, contents: dict[str, bytes]) -> None:
        """With all that its manifests need: children, whatever deletion took them, and blobs."""
        self.trash.remove(trashed)
        waiting = [*trashed.manifests.items()]
        while waiting:
            digest, document = waiting.pop()
            self.manifests[digest] = document
            for target in pointers(document):
                if target in contents:
                    self.blobs[target] = contents[target]
                waiting += [
                    (target, other.manifests.pop(target)) for other in self.trash if target in other.manifests
                ]
        if trashed.first in self.manifests:
            self.tags = {**dict.fromkeys(trashed.tags, trashed.first), **self.tags}

    def collect(self) -> None:
        """All leases are over, and so is the time of the trash."""
        self.trash.clear()
        self.blobs = {digest: content for digest, content in self.blobs.items() if self.is_needed(digest)}

    def end_leases(self) -> None:
        """All leases are over; what is in the trash has its time yet, and keeps what it refers to."""
        trashed = [document for each in self.trash for document in each.manifests.values()]
        kept = {digest for document in [*self.manifests.values(), *trashed] for digest in pointers(document)}
        self.blobs = {digest: content for digest, content in self.blobs.items() if digest in kept}

    def _is_loose(self, digest: str) -> bool:
        subject = self.manifests[digest].get("subject", {}).get("digest")
        return (
            digest not in self.tags.values() and not self.is_needed(digest) and subject not in self.manifests
        )

    def is_needed(self, digest: str) -> bool:
        """Whether a manifest here refers to this blob or manifest."""
        return any(digest in pointers(document) for document in self.manifests.values())

    def missing(self, document: Document) -> set[str]:
        """The digests that a manifest points at and that are not here."""
        held = set(self.blobs) | (set(self.manifests) if "manifests" in document else set())
        return pointers(document) - held

    def referrers(self, subject: str) -> set[str]:
        """The manifests here that refer to one."""
        return {
            digest
            for digest, document in self.manifests.items()
            if document.get("subject", {}).get("digest") == subject
        }


class Model:
    """All repositories, all uploads, and every content and manifest that was ever seen."""

    def __init__(self) -> None:
        self.repositories: defaultdict[str, Held] = defaultdict(Held)
        self.deleted: list[tuple[str, Held]] = []
        self.uploads: list[OpenUpload] = []
        self.contents: dict[str, bytes] = {}
        self.documents: dict[str, Document] = {}

    def holders(self, digest: str) -> list[str]:
        """The repositories that hold a blob."""
        return [name for name, held in self.repositories.items() if digest in held.blobs]

    def see_content(self, content: bytes) -> str:
        """Remember a content; its digest."""
        digest = digest_of(content)
        self.contents[digest] = content
        return digest

    def see_document(self, document: Document) -> str:
        """Remember a manifest; its digest."""
        digest = digest_of(encode(document))
        self.documents[digest] = document
        return digest

    def delete_repository(self, name: str) -> None:
        """With its uploads; until it is collected it can be restored."""
        self.deleted.append((name, self.repositories[name]))
        self.repositories[name] = Held()
        for upload in self.uploads:
            upload.must_be_gone = upload.must_be_gone or upload.repository == name

    def collect(self) -> None:
        """All leases are over, and so is the time of all that is in the trash."""
        self.deleted.clear()
        for held in self.repositories.values():
            held.collect()

    def end_leases(self) -> None:
        """All leases are over, and nothing in the trash is."""
        for held in [*self.repositories.values(), *(held for _, held in self.deleted)]:
            held.end_leases()

    def age(self, now_ns: int) -> None:
        """The clock moved."""
        for upload in self.uploads:
            upload.age(now_ns)

    def sweep(self, now_ns: int) -> None:
        """The registry looked for what was left alone."""
        for upload in self.uploads:
            upload.sweep(now_ns)

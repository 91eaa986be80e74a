"""A client that pushes, overwrites, deletes and pulls without rest, and knows what it was told."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.content import Document, descriptor, digest_of, encode, image, index
from tests.crash.content import make_bytes
from tests.spec.client import Client, Repository

REPOSITORIES = ("stress/a", "stress/b", "stress/c")
TAGS = 4
PROMISE_S = 2.4
"""What a client was told it need not send stays for half the delay of 5 s, at least."""


@dataclass(frozen=True)
class Made:
    """A manifest, and what it needs: blobs, or manifests with theirs."""

    document: Document
    blobs: tuple[bytes, ...] = ()
    children: tuple["Made", ...] = ()

    @property
    def payload(self) -> bytes:
        return encode(self.document)

    @property
    def digest(self) -> str:
        return digest_of(self.payload)


@dataclass
class Figures:
    """What all of them did, and what went wrong."""

    pushes: int = 0
    pulls: int = 0
    deletions: int = 0
    skipped: int = 0
    """Blobs that were there already, by HEAD or by a mount."""
    late: int = 0
    """Pushes that took longer than what they were told holds."""
    faults: list[str] = field(default_factory=list)


BASES = tuple(make_bytes(f"base {number}", 30_000) for number in range(5))


class Tireless(threading.Thread):
    """One client. Its tags and its images' configs are its own, most layers are everybody's."""

    def __init__(self, port: int, number: int, until: float, figures: Figures) -> None:
        super().__init__(name=f"client {number}")
        self._client = Client(port)
        self._number = number
        self._until = until
        self._figures = figures
        self._random = random.Random(number)
        self._made = 0
        self.tags: dict[tuple[str, str], Made] = {}
        self._deleted: list[tuple[str, str, Made]] = []

    def run(self) -> None:
        ways: list[tuple[Callable[[], None], int]] = [
            (self._push_new, 6),
            (self._push_index, 2),
            (self._push_again, 2),
            (self._delete_tag, 2),
            (self._delete_image, 2),
            (self._pull_own, 4),
            (self._pull_any, 4),
        ]
        acts, weights = zip(*ways, strict=True)
        while time.monotonic() < self._until:
            (act,) = self._random.choices(acts, weights)
            try:
                act()
            except Exception as error:  # noqa: BLE001 - a fault like another
                self._fail(f"{act.__name__}: {error!r}")

    def check_all(self) -> None:
        """Pull all that was acknowledged and not deleted since."""
        for (repository, tag), made in self.tags.items():
            self._pull(repository, tag, made)

    def _fail(self, fault: str) -> None:
        self._figures.faults.append(f"{self.name}: {fault}")

    def _any_place(self) -> tuple[str, str]:
        tag = f"c{self._number}-{self._random.randrange(TAGS)}"
        return self._random.choice(REPOSITORIES), tag

    def _make_image(self) -> Made:
        self._made += 1
        config = f"config {self._made} of client {self._number}".encode() * 20
        layers = [*self._random.sample(BASES, 2), make_bytes(f"{self._number} {self._made % 7}", 5_000)]
        return Made(image(config, layers), (config, *layers))

    def _push_new(self) -> None:
        self._push(*self._any_place(), self._make_image())

    def _push_index(self) -> None:
        children = tuple(self._make_image() for _ in range(2))
        document = index([child.document for child in children])
        self._push(*self._any_place(), Made(document, children=children))

    def _push_again(self) -> None:
        """What was deleted some time ago, or just now."""
        if self._deleted:
            self._push(*self._deleted.pop(self._random.randrange(len(self._deleted))))

    def _push(self, repository: str, tag: str, made: Made) -> None:
        if self._put_whole(Repository(self._client, repository), made, tag):
            self.tags[repository, tag] = made
            self._figures.pushes += 1

    def _put_whole(self, repository: Repository, made: Made, reference: str) -> bool:
        """As docker does it: ask for each blob, mount or send it; children, then the manifest."""
        if not all(self._put_whole(repository, child, child.digest) for child in made.children):
            return False
        for _ in range(5):
            began = time.monotonic()
            for blob in made.blobs:
                self._put_blob(repository, blob)
            reply = repository.put_manifest(made.document, reference)
            if reply.status == 201:
                return True
            if time.monotonic() - began < PROMISE_S:
                self._fail(f"{repository.name}:{reference} was refused: {reply.status} {reply.body[:500]!r}")
                return False
            self._figures.late += 1
        return False

    def _put_blob(self, repository: Repository, blob: bytes) -> None:
        digest = digest_of(blob)
        if repository.send("HEAD", f"blobs/{digest}").status == 200:
            self._figures.skipped += 1
            return
        source = self._random.choice(REPOSITORIES)
        asked = repository.send("POST", f"blobs/uploads/?mount={digest}&from={source}")
        if asked.status == 201:
            self._figures.skipped += 1
            return
        closed = repository.follow(asked["Location"], "PUT", blob, query=f"digest={digest}")
        assert closed.status == 201, closed

    def _delete_tag(self) -> None:
        if self.tags:
            (repository, tag), made = self._random.choice(list(self.tags.items()))
            self._take_away(repository, tag, [tag], made)

    def _delete_image(self) -> None:
        if self.tags:
            (repository, _), made = self._random.choice(list(self.tags.items()))
            tags = [tag for (where, tag), each in self.tags.items() if (where, each) == (repository, made)]
            self._take_away(repository, made.digest, tags, made)

    def _take_away(self, repository: str, reference: str, tags: list[str], made: Made) -> None:
        reply = Repository(self._client, repository).send("DELETE", f"manifests/{reference}")
        if reply.status != 202:
            self._fail(f"deleting {repository} {reference}: {reply.status} {reply.body[:300]!r}")
        for tag in tags:
            self.tags.pop((repository, tag))
            self._deleted.append((repository, tag, made))
        self._figures.deletions += 1

    def _pull_own(self) -> None:
        if self.tags:
            (repository, tag), made = self._random.choice(list(self.tags.items()))
            self._pull(repository, tag, made)

    def _pull(self, repository: str, tag: str, made: Made) -> None:
        """I1: byte for byte what was acknowledged."""
        self._figures.pulls += 1
        there = Repository(self._client, repository)
        waiting = [(tag, made)]
        while waiting:
            reference, each = waiting.pop()
            reply = there.send("GET", f"manifests/{reference}")
            if (reply.status, reply.body) != (200, each.payload):
                self._fail(f"{repository}:{tag}: {reference} answers {reply.status} {reply.body[:200]!r}")
            for blob in each.blobs:
                pulled = there.send("GET", f"blobs/{digest_of(blob)}")
                if (pulled.status, pulled.body) != (200, blob):
                    self._fail(f"{repository}:{tag}: blob {digest_of(blob)} answers {pulled.status}")
            waiting += [(child.digest, child) for child in each.children]

    def _pull_any(self) -> None:
        """Whatever a tag of anybody names: I4, unless it names something else by then."""
        self._figures.pulls += 1
        there = Repository(self._client, self._random.choice(REPOSITORIES))
        tags = there.send("GET", "tags/list")
        if tags.status != 200 or not tags.json["tags"]:
            return
        tag = self._random.choice(tags.json["tags"])
        reply = there.send("GET", f"manifests/{tag}")
        if reply.status != 200:
            return
        missing = [*self._find_missing(there, reply.json)]
        if missing and there.send("GET", f"manifests/{tag}").body == reply.body:
            self._fail(f"{there.name}:{tag} lacks {missing}")

    def _find_missing(self, there: Repository, document: Document) -> list[str]:
        missing = []
        for pointer in [*([document["config"]] if "config" in document else []), *document.get("layers", [])]:
            reply = there.send("GET", f"blobs/{pointer['digest']}")
            if reply.status != 200 or descriptor(reply.body)["digest"] != pointer["digest"]:
                missing.append(pointer["digest"])
        for pointer in document.get("manifests", []):
            reply = there.send("GET", f"manifests/{pointer['digest']}")
            missing += [pointer["digest"]] if reply.status != 200 else self._find_missing(there, reply.json)
        return missing

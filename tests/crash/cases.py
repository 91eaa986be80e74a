"""The cases: what a client asks for, one request after the other, and what each answer promises."""

import json
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self
from unittest.mock import patch

import apsw

from moorage.app import StartRefused
from moorage.databases import sqlite
from moorage.databases.migrating import Migration, migrations
from moorage.errors import RegistryError
from tests.crash.content import (
    DOOMED,
    HEALED,
    KIB,
    LAYER_BYTES,
    LOOSE,
    MANIFEST,
    NEW,
    OLD,
    OTHER,
    REPOSITORY,
    RESUMED,
    RESUMED_AT,
    RESUMED_UPLOAD,
    SHARED,
    Image,
    digest_of,
)
from tests.crash.inprocess import Answer, LocalRegistry, prepare

PIECE_BYTES = 8 * KIB
UNKNOWN = 404
START_REFUSED = 503
START_FAILED = 599
"""As a status: it ended with a sentence for an operator; with a traceback."""
FRESH, OLDER = "fresh/data", "older"
"""Folders of registries of their own, below the open one: not there yet; of the last version; another's."""
MIGRATIONS = migrations()
NEXT_MIGRATION = Migration(
    MIGRATIONS[-1].number + 1,
    "9999_next.sql",
    """
    CREATE TABLE next (id INTEGER PRIMARY KEY, note TEXT NOT NULL);
    ALTER TABLE repository ADD COLUMN note TEXT NOT NULL DEFAULT '';
    UPDATE repository SET note = 'moved ' || hex(zeroblob(3000));
    INSERT INTO next (note) SELECT note FROM repository;
    CREATE INDEX next_by_note ON next (note);
    """,
)


@dataclass(frozen=True)
class Effect:
    """What a request changes when it succeeds. `upload` is the upload it writes to or ends."""

    kind: Literal[
        "begin",
        "append",
        "blob",
        "mount",
        "tag",
        "untag",
        "unmanifest",
        "unblob",
        "unupload",
        "start",
        "restore",
        "rerepository",
        "unrepository",
        "collect",
        "collect beside",
        "look",
        "keep",
        "scrub",
        "import",
    ]
    repository: str = REPOSITORY
    digest: str = ""
    tag: str = ""
    upload: str = ""

    @property
    def is_deletion(self) -> bool:
        return self.kind in {"untag", "unmanifest", "unblob", "unupload"}

    @property
    def target(self) -> str:
        """The path of what is deleted."""
        kind = {"unblob": "blobs", "unupload": "blobs/uploads"}.get(self.kind, "manifests")
        return f"/v2/{self.repository}/{kind}/{self.tag or self.upload or self.digest}"


@dataclass(frozen=True)
class Report:
    """One line of a case's protocol: ASK before a request, ACK after a 2xx was sent, NAK after a refusal.

    END closes an attempt: `failure` is then why the registry is read-only, `pulls` whether it serves.
    """

    word: Literal["ASK", "ACK", "NAK", "END"]
    effect: Effect = field(default_factory=lambda: Effect("begin"))
    attempt: int = 1
    status: int = 0
    upload: str = ""
    received: int = 0
    failure: str | None = None
    pulls: bool = True

    def render(self) -> bytes:
        return f"{self.word} {json.dumps(asdict(self))}".encode()

    @classmethod
    def parse(cls, line: bytes) -> Self:
        fields = json.loads(line.partition(b" ")[2])
        return cls(**{**fields, "effect": Effect(**fields["effect"])})


class Refused(Exception):
    """A request of the case was not answered with 2xx."""

    def __init__(self, effect: Effect, answer: Answer) -> None:
        super().__init__(f"{effect.kind} got {answer.status}: {answer.body.decode(errors='replace')[:300]}")
        self.status = answer.status


class Client:
    """Sends a case's requests and reports each. `upload` is the one to go on with, where there is one."""

    def __init__(
        self, registry: LocalRegistry, report: Callable[[Report], None], *, attempt: int = 1, upload: str = ""
    ) -> None:
        self.registry = registry
        self.attempt = attempt
        self.upload = upload
        self._report = report

    async def do(
        self,
        effect: Effect,
        method: str,
        target: str,
        body: Sequence[bytes] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a request that has to succeed; deleting what is gone succeeds on a repeated attempt.

        Raises Refused.
        """

        def is_done(answer: Answer) -> bool:
            is_gone = self.attempt > 1 and effect.is_deletion and answer.status == UNKNOWN
            return answer.status // 100 == 2 or is_gone

        def report(answer: Answer) -> None:
            upload = answer.headers.get("docker-upload-uuid", "")
            word: Literal["ACK", "NAK"] = "ACK" if is_done(answer) else "NAK"
            status, received = answer.status, received_of(answer)
            self._report(Report(word, effect, self.attempt, status, upload, received))

        self._report(Report("ASK", effect, self.attempt))
        answer = await self.registry.ask(method, target, body, headers, on_sent=report)
        if not is_done(answer):
            raise Refused(effect, answer)
        return answer

    async def push_blob(self, blob: bytes, ends: Sequence[int] = (), *, repository: str = REPOSITORY) -> None:
        """Push by PATCHes that end where `ends` says and a closing PUT with the rest.

        An upload that is under way is looked at first and gone on with.
        """
        offset = 0
        if self.upload:
            standing = await self.registry.ask("GET", f"/v2/{repository}/blobs/uploads/{self.upload}")
            if standing.status == UNKNOWN:
                self.upload = ""
            offset = received_of(standing)
        if not self.upload:
            begun = await self.do(Effect("begin", repository), "POST", f"/v2/{repository}/blobs/uploads/")
            self.upload = begun.headers["docker-upload-uuid"]
        target = f"/v2/{repository}/blobs/uploads/{self.upload}"
        for end in ends:
            if end > offset:
                claim = {"Content-Range": f"{offset}-{end - 1}"}
                effect = Effect("append", repository, upload=self.upload)
                answer = await self.do(effect, "PATCH", target, _cut(blob[offset:end]), claim)
                offset = received_of(answer)
        effect = Effect("blob", repository, digest_of(blob), upload=self.upload)
        await self.do(effect, "PUT", f"{target}?digest={digest_of(blob)}", _cut(blob[offset:]))

    async def work(self, effect: Effect, act: Callable[[], Awaitable[object]]) -> None:
        """Do what no request does; on a repeated attempt it may have been done. Raises Refused."""
        self._report(Report("ASK", effect, self.attempt))
        try:
            await act()
        except RegistryError as refusal:
            if self.attempt == 1 or refusal.status != UNKNOWN:
                self._report(Report("NAK", effect, self.attempt, refusal.status))
                raise Refused(effect, Answer(refusal.status, body=str(refusal).encode())) from refusal
        self._report(Report("ACK", effect, self.attempt))

    async def delete(self, effect: Effect) -> None:
        await self.do(effect, "DELETE", effect.target)

    def start(self, data: Path) -> None:
        """Do what `moorage serve` does with a folder before it serves. Raises StartRefused."""
        effect = Effect("start")
        self._report(Report("ASK", effect, self.attempt))
        try:
            prepare(data)
        except StartRefused:
            self._report(Report("NAK", effect, self.attempt, START_REFUSED))
            raise
        except Exception:
            self._report(Report("NAK", effect, self.attempt, START_FAILED))
            raise
        self._report(Report("ACK", effect, self.attempt))

    async def push_manifest(self, image: Image, tag: str) -> None:
        effect = Effect("tag", digest=image.digest, tag=tag)
        headers = {"Content-Type": MANIFEST}
        await self.do(effect, "PUT", f"/v2/{REPOSITORY}/manifests/{tag}", [image.manifest], headers)


def received_of(answer: Answer) -> int:
    """How many bytes an upload has by its `Range`; 0-0 says none, since no case sends one byte."""
    last = int(answer.headers.get("range", "0-0").partition("-")[2])
    return last + 1 if last else 0


def _cut(content: bytes) -> list[bytes]:
    return [content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES)]


async def push_blob_whole(client: Client) -> None:
    await client.push_blob(LAYER_BYTES)


async def push_blob_by_post(client: Client) -> None:
    effect = Effect("blob", digest=digest_of(LAYER_BYTES))
    target = f"/v2/{REPOSITORY}/blobs/uploads/?digest={effect.digest}"
    await client.do(effect, "POST", target, _cut(LAYER_BYTES))


async def push_blob_in_chunks(client: Client) -> None:
    await client.push_blob(LAYER_BYTES, [24 * KIB, len(LAYER_BYTES)])


async def resume_upload(client: Client) -> None:
    client.upload = client.upload or RESUMED_UPLOAD
    await client.push_blob(RESUMED, [32 * KIB])


async def push_known_blob(client: Client) -> None:
    await client.push_blob(SHARED, repository=OTHER)


async def push_damaged_blob(client: Client) -> None:
    await client.push_blob(HEALED)


async def mount_blob(client: Client) -> None:
    effect = Effect("mount", OTHER, digest_of(SHARED))
    target = f"/v2/{OTHER}/blobs/uploads/?mount={effect.digest}&from={REPOSITORY}"
    await client.do(effect, "POST", target)


async def push_tagged_manifest(client: Client) -> None:
    await client.push_manifest(NEW, "latest")


async def delete_everything(client: Client) -> None:
    await client.delete(Effect("untag", tag="stable"))
    await client.delete(Effect("unmanifest", digest=DOOMED.digest))
    await client.delete(Effect("unblob", digest=digest_of(LOOSE)))
    await client.delete(Effect("unupload", upload=RESUMED_UPLOAD))


async def start_first(client: Client) -> None:
    client.start(client.registry.data / FRESH)


async def start_newer(client: Client) -> None:
    with patch.object(sqlite, "migrations", lambda: [*MIGRATIONS, NEXT_MIGRATION]):
        client.start(client.registry.data / OLDER)


CASES: dict[str, Callable[[Client], Awaitable[None]]] = {
    "blob": push_blob_whole,
    "post": push_blob_by_post,
    "chunks": push_blob_in_chunks,
    "resume": resume_upload,
    "known": push_known_blob,
    "heal": push_damaged_blob,
    "mount": mount_blob,
    "manifest": push_tagged_manifest,
    "delete": delete_everything,
    "start": start_first,
    "migrate": start_newer,
}


async def can_pull(registry: LocalRegistry) -> bool:
    """Whether an image that was there before the case is still served."""
    path = f"/v2/{REPOSITORY}"
    answers = [await registry.ask("GET", f"{path}/manifests/{OLD.digest}")]
    answers += [await registry.ask("GET", f"{path}/blobs/{digest_of(blob)}") for blob in OLD.blobs]
    return [answer.body for answer in answers] == [OLD.manifest, *OLD.blobs]


async def fill(data: Path) -> None:
    """Make the registry that every case starts from."""
    prepare(data)
    async with LocalRegistry.open(data) as registry:
        client = Client(registry, lambda _: None)
        for blob in (*OLD.blobs, *NEW.blobs, *DOOMED.blobs, LOOSE, SHARED, HEALED):
            client.upload = ""
            await client.push_blob(blob)
        await client.push_manifest(OLD, "latest")
        await client.push_manifest(OLD, "stable")
        await client.push_manifest(DOOMED, "doomed")
        await _damage(registry, digest_of(HEALED))
        await _begin_resumed(registry)
    _name_resumed(data)
    shutil.copytree(data, data.with_name("older"))
    data.with_name("older").rename(data / OLDER)


async def _damage(registry: LocalRegistry, digest: str) -> None:
    """Spoil a blob's file and let a reader find that out."""
    encoded = digest.removeprefix("sha256:")
    (registry.data / "blobs" / "sha256" / encoded[:2] / f"{encoded}.1").write_bytes(b"spoiled")
    answer = await registry.ask("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
    assert answer.status == 500, answer


async def _begin_resumed(registry: LocalRegistry) -> None:
    uploads = f"/v2/{REPOSITORY}/blobs/uploads/"
    begun = await registry.ask("POST", uploads)
    answer = await registry.ask("PATCH", begun.headers["location"], RESUMED[:RESUMED_AT])
    assert answer.status == 202, answer


def _name_resumed(data: Path) -> None:
    """Give the open upload its known name, and bytes that no one has acknowledged."""
    connection = apsw.Connection(str(data / "moorage.db"))
    ((name,),) = connection.execute("SELECT id FROM upload").fetchall()
    connection.execute("UPDATE upload SET id = ?", (RESUMED_UPLOAD,))
    connection.close()
    path = (data / "uploads" / str(name)).rename(data / "uploads" / RESUMED_UPLOAD)
    with path.open("ab") as file:
        file.write(b"half of the next piece")

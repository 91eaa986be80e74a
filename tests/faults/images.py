"""What must come back byte for byte, and what a folder must hold, whatever happened in between."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.content import digest_of, encode, image, some_bytes
from tests.crash.checking import audit
from tests.servers import ServerProcess
from tests.spec.client import Reply, Repository


@dataclass(frozen=True)
class Pushed:
    """An image that was acknowledged."""

    tag: str
    manifest: bytes
    blobs: tuple[bytes, ...]


def push_image(repository: Repository, tag: str, layer_bytes: int = 100_000) -> Pushed:
    """Push an image with content of its own; every step must be acknowledged."""
    blobs = some_bytes(64), some_bytes(layer_bytes)
    for blob in blobs:
        repository.push_blob(blob)
    document = image(blobs[0], blobs[1:])
    repository.push_manifest(document, tag)
    return Pushed(tag, encode(document), blobs)


def file_of(server: ServerProcess, digest: str) -> Path:
    """The file of a blob, which has one."""
    (path,) = (server.data_dir / "blobs").rglob(f"{digest[7:]}.*")
    return path


def check_image(repository: Repository, pushed: Pushed) -> None:
    """I1: it pulls back byte-identical, by tag and by digest."""
    for reference in (pushed.tag, digest_of(pushed.manifest)):
        assert repository.send("GET", f"manifests/{reference}").body == pushed.manifest
    for blob in pushed.blobs:
        reply = repository.send("GET", f"blobs/{digest_of(blob)}")
        assert (reply.status, reply.body) == (200, blob)


def check_folder(data: Path) -> None:
    """I3, I4: every live row has its file, every manifest what it needs, and the database is sound.

    A copy is looked at: a copy of a registry at rest is one, and SQLite opens nothing in another namespace.
    """
    with tempfile.TemporaryDirectory() as folder:
        # the last of them it writes now and then, and renames
        passing = shutil.ignore_patterns("*-shm", "moorage.sequence.*")
        copy = shutil.copytree(data, Path(folder) / "data", ignore=passing)
        found = audit(copy)
        assert not found, found


def check_unavailable(reply: Reply, *statuses: int) -> None:
    """A refusal that says it is not the client's fault, as the specification has it, and when to return."""
    assert reply.status in (statuses or (503, 507)), reply
    assert reply.codes, reply
    if reply.status != 500:
        assert int(reply["Retry-After"]) >= 1, reply
    assert b"Traceback" not in reply.body, reply


def resume(repository: Repository, location: str, content: bytes) -> None:
    """Go on with an upload where the server says it stands, and finish it.

    A request that was cut may still be counting its bytes, so the chunk says where it stands.
    """
    statuses = []
    for _ in range(20):
        standing = repository.client.send("GET", location)
        assert standing.status == 204, standing
        last = int(standing["Range"].partition("-")[2])
        offset = last + 1 if last else 0
        if offset == len(content):
            break
        claim = [("Content-Range", f"{offset}-{len(content) - 1}")]
        statuses.append(repository.client.send("PATCH", location, content[offset:], claim).status)
        assert statuses[-1] in {202, 409, 416}, statuses
        time.sleep(0.05)
    digest = digest_of(content)
    closed = repository.follow(location, "PUT", query=f"digest={digest}")
    assert closed.status == 201, (closed, statuses)
    assert repository.send("GET", f"blobs/{digest}").body == content

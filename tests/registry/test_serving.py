"""What is served is what was pushed, or nothing: broken files are found, put aside, and healed by a push."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.content import MIB, digest_of, encode, image, some_bytes
from tests.registry.in_process import InProcess
from tests.spec.client import Reply

SIZES = [1, 1000, 64 * 1024, 64 * 1024 + 1, 3 * MIB]


def push(registry: InProcess, content: bytes, repository: str = "a") -> str:
    digest = digest_of(content)
    assert registry.send("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content).status == 201
    return digest


def file_of(registry: InProcess, digest: str) -> Path:
    """The one file of a blob that is served."""
    (path,) = (registry.settings.storage.data / "blobs").rglob(f"{digest[7:]}.*")
    return path


def is_whole(reply: Reply) -> bool:
    """Whether a client takes this for the whole of what it asked."""
    return reply.status == 200 and len(reply.body) == int(reply["Content-Length"])


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("size", SIZES)
def test_blob_is_served_whole(registry: InProcess, size: int) -> None:
    content = some_bytes(size)
    digest = push(registry, content)

    replies = [registry.send("GET", f"/v2/a/blobs/{digest}") for _ in range(3)]

    assert all(map(is_whole, replies))
    assert {reply.body for reply in replies} == {content}


Damage = Callable[[bytes], bytes]
DAMAGES = [
    pytest.param(flip, id="F15: a bit flipped"),
    pytest.param(lambda content: content[:-1], id="F16: shorter"),
    pytest.param(lambda content: content[:0], id="F16: empty"),
    pytest.param(lambda content: content + b"x", id="longer"),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", SIZES)
def test_broken_file_is_never_served_as_whole(registry: InProcess, size: int, damage: Damage) -> None:
    """I2."""
    content = some_bytes(size)
    digest = push(registry, content)
    file_of(registry, digest).write_bytes(damage(content))

    assert not is_whole(registry.send("GET", f"/v2/a/blobs/{digest}"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_broken_file_is_never_served_as_whole_once_it_was(
    registry: InProcess, size: int, damage: Damage
) -> None:
    """I2: what was found good is looked at again when the file has changed."""
    content = some_bytes(size)
    digest = push(registry, content)
    assert is_whole(registry.send("GET", f"/v2/a/blobs/{digest}"))
    file_of(registry, digest).write_bytes(damage(content))

    assert not is_whole(registry.send("GET", f"/v2/a/blobs/{digest}"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_broken_blob_is_404_after_it_was_found(registry: InProcess, size: int, damage: Damage) -> None:
    """F15: so that the next push brings it back."""
    content = some_bytes(size)
    digest = push(registry, content)
    file_of(registry, digest).write_bytes(damage(content))
    registry.send("GET", f"/v2/a/blobs/{digest}")

    assert registry.send("HEAD", f"/v2/a/blobs/{digest}").status == 404
    assert registry.send("GET", f"/v2/a/blobs/{digest}").status == 404


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_broken_blob_is_healed_by_a_push(registry: InProcess, size: int, damage: Damage) -> None:
    """F15, F16."""
    content = some_bytes(size)
    digest = push(registry, content)
    file_of(registry, digest).write_bytes(damage(content))
    registry.send("GET", f"/v2/a/blobs/{digest}")

    push(registry, content)

    assert registry.send("GET", f"/v2/a/blobs/{digest}").body == content


def test_broken_file_is_put_aside(registry: InProcess) -> None:
    """F15."""
    digest = push(registry, b"some bytes")
    file_of(registry, digest).write_bytes(b"some bytez")
    registry.send("GET", f"/v2/a/blobs/{digest}")

    kept = registry.settings.storage.data / "quarantine" / f"{digest[7:]}.1"
    assert kept.read_bytes() == b"some bytez"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_blob_that_lost_its_file_is_404(registry: InProcess, method: str) -> None:
    """F17."""
    digest = push(registry, b"some bytes")
    file_of(registry, digest).unlink()

    assert registry.send(method, f"/v2/a/blobs/{digest}").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", None])
def test_blob_that_lost_its_file_is_healed_by_a_push(registry: InProcess, method: str | None) -> None:
    """F17: also when nobody has noticed yet."""
    digest = push(registry, b"some bytes")
    file_of(registry, digest).unlink()
    if method is not None:
        registry.send(method, f"/v2/a/blobs/{digest}")

    push(registry, b"some bytes")

    assert registry.send("GET", f"/v2/a/blobs/{digest}").body == b"some bytes"


def test_blob_that_lost_its_file_is_not_mounted(registry: InProcess) -> None:
    """F36: an upload, never a dead link."""
    digest = push(registry, b"some bytes")
    file_of(registry, digest).unlink()

    assert registry.send("POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a").status == 202


def test_healed_blob_is_whole_in_every_repository(registry: InProcess) -> None:
    digest = push(registry, b"some bytes")
    push(registry, b"some bytes", "b")
    file_of(registry, digest).unlink()
    registry.send("GET", f"/v2/a/blobs/{digest}")

    push(registry, b"some bytes")

    assert registry.send("GET", f"/v2/b/blobs/{digest}").body == b"some bytes"


def test_part_of_a_blob_that_is_too_short_is_never_served_as_whole(registry: InProcess) -> None:
    """F16."""
    content = some_bytes(3 * MIB)
    digest = push(registry, content)
    file_of(registry, digest).write_bytes(content[: 2 * MIB])

    reply = registry.send("GET", f"/v2/a/blobs/{digest}", headers=[("Range", f"bytes={MIB}-")])

    assert reply.status != 206 or len(reply.body) < int(reply["Content-Length"])


def test_stray_file_is_ignored(registry: InProcess) -> None:
    """F18."""
    digest = push(registry, b"some bytes")
    folder = file_of(registry, digest).parent
    (folder / "stray").write_bytes(b"")
    (folder / f"{digest[7:]}.9").write_bytes(b"other bytes")

    assert registry.send("GET", f"/v2/a/blobs/{digest}").body == b"some bytes"


def test_manifest_whose_row_changed_is_never_served(registry: InProcess) -> None:
    """I2."""
    push(registry, b"{}")
    registry.send("PUT", "/v2/a/manifests/1.0", encode(image(b"{}")))
    connection = apsw.Connection(str(registry.settings.storage.database))
    connection.execute("UPDATE manifest SET payload = x'7b7d'")
    connection.close()

    reply = registry.send("GET", "/v2/a/manifests/1.0")

    assert (reply.status, reply.codes) == (500, ["UNKNOWN"])
    assert b"{}" not in reply.body.replace(b'"detail":{}', b"")


def test_all_is_there_after_a_restart(registry: InProcess) -> None:
    """I1."""
    digest = push(registry, b"{}")
    registry.send("PUT", "/v2/a/manifests/1.0", encode(image(b"{}")))
    registry.close()
    registry.open()

    assert registry.send("GET", f"/v2/a/blobs/{digest}").body == b"{}"
    assert registry.send("GET", "/v2/a/manifests/1.0").body == encode(image(b"{}"))


def test_upload_goes_on_after_a_restart(registry: InProcess) -> None:
    location = registry.send("POST", "/v2/a/blobs/uploads/")["Location"]
    registry.send("PATCH", location, b"some ")
    registry.close()
    registry.open()

    assert registry.send("GET", location)["Range"] == "0-4"
    closed = registry.send("PUT", f"{location}?digest={digest_of(b'some bytes')}", b"bytes")
    assert closed.status == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_client_that_leaves_midway_can_go_on(registry: InProcess, method: str) -> None:
    """F30."""
    content = some_bytes(100_000)
    query = f"?digest={digest_of(content)}"
    location = registry.send("POST", "/v2/a/blobs/uploads/")["Location"]
    registry.cut_off(method, location + query, content[:60_000], len(content))

    received = int(registry.send("GET", location)["Range"].removeprefix("0-")) + 1
    assert received == 60_000
    assert registry.send("PUT", location + query, content[received:]).status == 201

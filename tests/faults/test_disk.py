"""A disk that is full, out of inodes, or became read-only: nothing is lost, pulls go on, pushes return."""

from pathlib import Path

import pytest

from tests.content import OCI_MANIFEST, digest_of, encode, image, some_bytes
from tests.faults.images import check_folder, check_image, check_unavailable, push_image, resume
from tests.faults.means import SmallDisk, WrappedServer, small_disk
from tests.spec.client import Client, Reply, Repository

MIB = 1 << 20


@pytest.mark.parametrize("way", ["PUT", "PATCH", "POST"])
def test_f9_blob_that_does_not_fit_is_refused_and_taken_once_there_is_room(
    disk: SmallDisk, disk_repository: Repository, way: str
) -> None:
    old = push_image(disk_repository, "old")
    content = some_bytes(8 * MIB)
    digest = digest_of(content)
    location = disk_repository.begin()
    disk.fill(left_bytes=4 * MIB)

    check_unavailable(push(disk_repository, way, location, content))

    assert disk_repository.send("HEAD", f"blobs/{digest}").status == 404
    check_image(disk_repository, old)
    check_folder(disk.path / "data")
    disk.free()
    assert push(disk_repository, way, location, content).status in {201, 202}
    if way == "PATCH":
        resume(disk_repository, location, content)
    assert disk_repository.send("GET", f"blobs/{digest}").body == content


def test_f9_what_was_acknowledged_of_an_upload_stays_when_the_next_chunk_does_not_fit(
    disk: SmallDisk, disk_repository: Repository
) -> None:
    content = some_bytes(8 * MIB)
    location = disk_repository.begin()
    assert disk_repository.follow(location, "PATCH", content[:MIB]).status == 202
    disk.fill(left_bytes=2 * MIB)

    check_unavailable(disk_repository.follow(location, "PATCH", content[MIB:]))

    assert disk_repository.client.send("GET", location)["Range"] == f"0-{MIB - 1}"
    disk.free()
    resume(disk_repository, location, content)


def test_f9_f10_without_a_free_byte_every_change_is_refused_and_everything_pulls(
    disk: SmallDisk, disk_repository: Repository
) -> None:
    old = push_image(disk_repository, "old")
    content, layer, loose = (some_bytes(size) for size in (80_000, 70_000, 60_000))
    disk_repository.push_blob(layer)
    disk_repository.push_blob(loose)
    location = disk_repository.begin()
    new = image(old.blobs[0], [layer])
    changes = [
        ("POST", disk_repository.path("blobs/uploads/"), b""),
        ("PATCH", location, content[:50_000]),
        ("PUT", f"{location}?digest={digest_of(content)}", content[50_000:]),
        ("PUT", disk_repository.path("manifests/new"), encode(new)),
        ("POST", f"/v2/other/blobs/uploads/?mount={digest_of(loose)}&from={disk_repository.name}", b""),
        ("DELETE", disk_repository.path("manifests/old"), b""),
        ("DELETE", disk_repository.path(f"blobs/{digest_of(loose)}"), b""),
    ]
    disk.fill()

    refused = [disk_repository.client.send(*change) for change in changes]

    for reply in refused:
        check_unavailable(reply)
    check_image(disk_repository, old)
    check_folder(disk.path / "data")
    disk.free()
    assert [disk_repository.client.send(*change).status for change in changes] == [
        *(202, 202, 201, 201, 201, 202, 202)
    ]
    check_folder(disk.path / "data")


def test_f9_below_the_reserve_pushes_are_refused_before_they_begin(disk: SmallDisk) -> None:
    with WrappedServer(disk.enter, disk.mountpoint / "data", "--workers", "1") as server:
        repository = Repository(Client(server.port))
        old = push_image(repository, "old")
        disk.fill(left_bytes=MIB)

        refused = repository.send("POST", "blobs/uploads/")

        check_unavailable(refused, 507)
        check_unavailable(repository.send("POST", "blobs/uploads/"), 507)
        (said,) = server.log_events("storage_full", repository=repository.name)
        assert 0 < said["free_bytes"] <= 2 * MIB
        check_image(repository, old)
        assert repository.send("DELETE", "manifests/old").status == 202
        disk.free()
        push_image(repository, "new")


def test_f9_on_a_full_disk_it_starts_and_serves_or_says_why_not(
    disk: SmallDisk, disk_server: WrappedServer, disk_repository: Repository
) -> None:
    old = push_image(disk_repository, "old")
    disk_server.terminate()
    disk.fill()

    code, printed = disk_server.end_if_refused()

    if code is None:
        check_image(disk_repository, old)
        disk_server.terminate()
    else:
        assert code == 1
        assert "Traceback" not in printed
        assert "no space" in printed.lower() or "full" in printed.lower(), printed
    disk.free()
    disk_server.start()
    check_image(disk_repository, old)


def test_f11_without_a_free_inode_pushes_are_refused_and_return(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "size=24m,nr_inodes=200") as disk,
        WrappedServer(disk.enter, disk.mountpoint / "data", env={"MOORAGE_STORAGE_RESERVE": "0"}) as server,
    ):
        repository = Repository(Client(server.port))
        old = push_image(repository, "old")
        content = some_bytes(1000)
        location = repository.begin()
        disk.fill_inodes()

        refused = [push(repository, way, location, content) for way in ("PATCH", "PUT", "POST")]

        for reply in refused:
            check_unavailable(reply)
        check_image(repository, old)
        disk.free()
        assert push(repository, "PUT", location, content).status == 201
        check_folder(disk.path / "data")


def test_f14_on_a_disk_that_became_read_only_pulls_go_on_and_pushes_are_refused(
    disk: SmallDisk, disk_server: WrappedServer, disk_repository: Repository
) -> None:
    old = push_image(disk_repository, "old")
    content = some_bytes(100_000)
    location = disk_repository.begin()
    pid = disk_server.pid
    disk.cover_read_only()

    refused = [push(disk_repository, way, location, content) for way in ("PATCH", "PUT", "POST")]
    refused.append(
        disk_repository.send("PUT", "manifests/new", old.manifest, [("Content-Type", OCI_MANIFEST)])
    )

    for reply in refused:
        check_unavailable(reply, 503)
    check_image(disk_repository, old)
    assert disk_server.pid == pid
    disk.uncover()
    assert push(disk_repository, "PUT", location, content).status == 201


def test_f14_on_a_read_only_disk_it_does_not_start_and_says_why(
    disk: SmallDisk, disk_server: WrappedServer, disk_repository: Repository
) -> None:
    old = push_image(disk_repository, "old")
    disk_server.terminate()
    disk.cover_read_only()

    code, printed = disk_server.end_if_refused()

    assert code == 1
    assert "Traceback" not in printed
    assert "read-only" in printed.lower() or "readonly" in printed.lower(), printed
    disk.uncover()
    disk_server.start()
    check_image(disk_repository, old)


def test_f10_database_is_sound_after_it_could_not_grow(
    disk: SmallDisk, disk_server: WrappedServer, disk_repository: Repository
) -> None:
    tags = [f"v{number}" for number in range(200)]
    old = push_image(disk_repository, "old")
    disk.fill(left_bytes=256 * 1024)

    statuses = [disk_repository.put_manifest(old.manifest, tag, OCI_MANIFEST).status for tag in tags]

    assert set(statuses) == {201, 503}, statuses
    disk_server.kill()
    disk.free()
    disk_server.start()
    check_folder(disk.path / "data")
    for tag, status in zip(tags, statuses, strict=True):
        found = disk_repository.send("GET", f"manifests/{tag}").status
        assert found == (200 if status == 201 else 404), (tag, status, found)


def push(repository: Repository, way: str, location: str, content: bytes) -> Reply:
    """Push a blob in one of the three ways."""
    query = f"digest={digest_of(content)}"
    if way == "POST":
        return repository.send("POST", f"blobs/uploads/?{query}", content)
    return repository.follow(location, way, content, query=query if way == "PUT" else "")

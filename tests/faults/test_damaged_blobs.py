"""F15, F16, F17: blobs whose files were changed behind the registry's back are never served whole.

One server for all of them: each damages a blob of its own, and ends with a folder that is sound.
"""

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.content import some_bytes
from tests.faults.images import check_folder, file_of
from tests.servers import ServerProcess
from tests.spec.client import Repository


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two workers."""
    with ServerProcess(tmp_path_factory.mktemp("damaged") / "data", "--workers", "2") as server:
        yield server


SIZES = [1000, 200_000, 5_000_000]
Damage = Callable[[Path], object]


def flip_first(path: Path) -> None:
    _flip(path, 0)


def flip_last(path: Path) -> None:
    _flip(path, path.stat().st_size - 1)


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [
    pytest.param(flip_first, id="F15 first bit flipped"),
    pytest.param(flip_last, id="F15 last bit flipped"),
    pytest.param(truncate, id="F16 one byte short"),
    pytest.param(empty, id="F16 empty"),
    pytest.param(Path.unlink, id="F17 missing"),
]


def get(server: ServerProcess, target: str) -> tuple[int, bytes | None]:
    """GET; the status (0 for none) and the body, None when the connection was cut before its end."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", target)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except http.client.IncompleteRead:
        return 200, None
    except (ConnectionError, http.client.RemoteDisconnected):
        return 0, None
    finally:
        connection.close()


@pytest.mark.parametrize("is_warm", [False, True], ids=["never read", "read before"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_blob_is_never_served_whole_then_unknown_until_it_is_pushed_again(
    server: ServerProcess, repository: Repository, damage: Damage, size: int, *, is_warm: bool
) -> None:
    content = some_bytes(size)
    digest = repository.push_blob(content)
    if is_warm:
        assert repository.send("GET", f"blobs/{digest}").body == content
    damage(file_of(server, digest))

    status, body = get(server, repository.path(f"blobs/{digest}"))

    assert status != 200 or body is None, "a whole reply with other bytes"
    assert repository.send("HEAD", f"blobs/{digest}").status == 404
    assert get(server, repository.path(f"blobs/{digest}"))[0] == 404
    repository.push_blob(content)
    assert repository.send("GET", f"blobs/{digest}").body == content
    check_folder(server.data_dir)

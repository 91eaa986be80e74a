"""Endpoints 4a, 4b, 4c, 6, 13 and 14: a blob pushed in one or two requests, looked at, cancelled."""

import concurrent.futures
import re
from collections.abc import Iterator

import pytest

from tests.content import ABSENT, EMPTY_DIGEST, MIB, digest_of, some_bytes
from tests.servers import ServerProcess
from tests.spec.client import Client, Fields, Framing, Repository

NO_SESSION = "blobs/uploads/6f1c3b56-62a5-4a0e-9f3c-000000000000"


def test_upload_begins_with_202_and_a_location_of_its_own(repository: Repository) -> None:
    first, second = repository.begin(), repository.begin()

    assert first != second
    assert re.fullmatch(re.escape(repository.path("blobs/uploads/")) + r"[^/?]+", first)


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        pytest.param([], "length", id="case 16: Content-Length: 0"),
        pytest.param([], "none", id="case 16: no header"),
        pytest.param([], "chunked", id="case 16: chunked and empty"),
        pytest.param([("Content-Type", "application/x-www-form-urlencoded")], "length", id="case 17: form"),
    ],
)
def test_upload_begins_however_an_empty_body_is_sent(
    repository: Repository, headers: Fields, framing: Framing
) -> None:
    assert repository.send("POST", "blobs/uploads/", headers=headers, framing=framing).status == 202


def test_upload_begins_without_the_last_slash(repository: Repository, content: bytes) -> None:
    """Case 69: a redirect would turn the POST into a GET."""
    reply = repository.send("POST", "blobs/uploads")

    assert reply.status == 202
    closed = repository.follow(reply["Location"], "PUT", content, query=f"digest={digest_of(content)}")
    assert closed.status == 201


def test_upload_without_a_least_chunk_length_says_none(repository: Repository) -> None:
    assert repository.send("POST", "blobs/uploads/").header("OCI-Chunk-Min-Length") is None


def test_blob_is_pushed_with_post_and_put(repository: Repository, content: bytes) -> None:
    digest = digest_of(content)

    reply = repository.follow(repository.begin(), "PUT", content, query=f"digest={digest}")

    assert reply.status == 201
    assert reply["Location"] == repository.path(f"blobs/{digest}")
    assert repository.client.send("GET", reply["Location"]).body == content


def test_blob_is_pushed_with_one_post(repository: Repository, content: bytes) -> None:
    digest = digest_of(content)

    reply = repository.send("POST", f"blobs/uploads/?digest={digest}", content)

    assert reply.status == 201
    assert repository.client.send("GET", reply["Location"]).body == content


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_blob_is_pushed_with_any_framing(repository: Repository, framing: Framing) -> None:
    content = some_bytes(3 * MIB + 1)
    location = repository.begin()

    reply = repository.client.send("PUT", f"{location}?digest={digest_of(content)}", content, framing=framing)

    assert reply.status == 201
    assert repository.client.send("GET", reply["Location"]).body == content


@pytest.mark.parametrize(
    ("method", "framing"),
    [("PUT", "length"), ("PUT", "chunked"), ("PUT", "none"), ("POST", "length"), ("POST", "chunked")],
)
def test_empty_blob_is_pushed(repository: Repository, method: str, framing: Framing) -> None:
    """Case 15."""
    target = repository.begin() if method == "PUT" else repository.path("blobs/uploads/")

    reply = repository.client.send(method, f"{target}?digest={EMPTY_DIGEST}", framing=framing)

    assert reply.status == 201
    assert repository.send("HEAD", f"blobs/{EMPTY_DIGEST}")["Content-Length"] == "0"


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_body_is_never_read_as_a_form(repository: Repository, method: str, content_type: str) -> None:
    """Case 17: curl's default type."""
    content = b"digest=sha256:abc&a=b"
    target = repository.begin() if method == "PUT" else repository.path("blobs/uploads/")
    headers = [("Content-Type", content_type)]

    reply = repository.client.send(method, f"{target}?digest={digest_of(content)}", content, headers)

    assert reply.status == 201
    assert repository.send("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "nonsense", "image/png"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_body_of_any_content_type_is_accepted(repository: Repository, method: str, content_type: str) -> None:
    """Case 18."""
    content = some_bytes(16)
    query = f"digest={digest_of(content)}" if method == "PUT" else ""
    headers = [("Content-Type", content_type)]

    reply = repository.follow(repository.begin(), method, content, headers, query)

    assert reply.status in {201, 202}


@pytest.mark.parametrize("digest", [":".join, "%3A".join], ids=["plain", "case 19: percent-encoded"])
def test_digest_in_the_query_is_decoded_once(repository: Repository, content: bytes, digest: object) -> None:
    assert callable(digest)
    query = f"digest={digest(digest_of(content).split(':'))}"

    assert repository.follow(repository.begin(), "PUT", content, query=query).status == 201


@pytest.mark.parametrize("path", ["blobs/sha256%3A{}", "blobs/sha256%3a{}"])
def test_digest_in_the_path_is_decoded_once(repository: Repository, content: bytes, path: str) -> None:
    """Case 19."""
    digest = repository.push_blob(content)

    assert repository.send("GET", path.format(digest.partition(":")[2])).body == content


def test_digest_is_not_decoded_twice(repository: Repository, content: bytes) -> None:
    """Case 19."""
    digest = repository.push_blob(content)

    assert repository.send("GET", f"blobs/sha256%253A{digest.partition(':')[2]}").status == 400


BAD_DIGESTS = [
    pytest.param(None, id="case 8: none"),
    pytest.param("", id="empty"),
    pytest.param("sha256", id="no colon"),
    pytest.param("sha256:zz", id="no hex"),
    pytest.param("sha256:" + "a" * 63, id="short"),
    pytest.param("sha256:" + "a" * 65, id="long"),
    pytest.param("sha256:" + "A" * 64, id="case 20: upper case"),
    pytest.param("SHA256:" + "a" * 64, id="case 20: upper-case algorithm"),
    pytest.param("md5:" + "a" * 32, id="case 21: md5"),
    pytest.param("sha1:" + "a" * 40, id="case 21: sha1"),
    pytest.param("blake3:" + "a" * 64, id="case 21: blake3"),
    pytest.param("sha512:" + "a" * 64, id="sha512 as long as a sha256"),
    pytest.param("sha256:" + "a" * 64 + "%0A", id="a newline behind"),
    pytest.param("sha256:../../etc/passwd", id="a path"),
    pytest.param("sha256%2Bb64:" + "a" * 64, id="another algorithm's grammar"),
    pytest.param("%FF", id="not UTF-8"),
]


@pytest.mark.parametrize("digest", BAD_DIGESTS)
def test_closing_put_with_a_bad_digest_is_refused(
    repository: Repository, content: bytes, digest: str | None
) -> None:
    query = "" if digest is None else f"digest={digest}"

    reply = repository.follow(repository.begin(), "PUT", content, query=query)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("digest", BAD_DIGESTS)
def test_closing_put_with_a_bad_digest_can_be_repeated_with_a_good_one(
    repository: Repository, content: bytes, digest: str | None
) -> None:
    """Case 8: the upload is kept."""
    location = repository.begin()
    repository.follow(location, "PATCH", content)
    repository.follow(location, "PUT", query="" if digest is None else f"digest={digest}")

    assert repository.follow(location, "PUT", query=f"digest={digest_of(content)}").status == 201


@pytest.mark.parametrize("digest", [digest for digest in BAD_DIGESTS if digest.values[0] is not None])
def test_single_post_with_a_bad_digest_is_refused(
    repository: Repository, content: bytes, digest: str
) -> None:
    reply = repository.send("POST", f"blobs/uploads/?digest={digest}", content)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


def test_digest_given_twice_is_refused(repository: Repository, content: bytes) -> None:
    query = f"digest={digest_of(content)}&digest={ABSENT}"

    assert repository.follow(repository.begin(), "PUT", content, query=query).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body_that_is_not_what_its_digest_says_is_refused(
    repository: Repository, content: bytes, method: str
) -> None:
    """Case 9."""
    target = repository.begin() if method == "PUT" else repository.path("blobs/uploads/")

    reply = repository.client.send(method, f"{target}?digest={ABSENT}", content)

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("by", ["claimed", "real"])
def test_body_with_a_wrong_digest_is_not_kept_as_a_blob(
    repository: Repository, content: bytes, by: str
) -> None:
    """Case 9."""
    repository.follow(repository.begin(), "PUT", content, query=f"digest={ABSENT}")

    digest = ABSENT if by == "claimed" else digest_of(content)
    assert repository.send("HEAD", f"blobs/{digest}").status == 404


@pytest.mark.parametrize("chunked", [False, True], ids=["in the PUT", "in a PATCH"])
def test_wrong_digest_ends_the_upload(repository: Repository, content: bytes, *, chunked: bool) -> None:
    """Case 9."""
    location = repository.begin()
    if chunked:
        repository.follow(location, "PATCH", content)
    repository.follow(location, "PUT", b"" if chunked else content, query=f"digest={ABSENT}")

    assert repository.follow(location, "GET").status == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_closed_upload_is_unknown(repository: Repository, content: bytes, method: str) -> None:
    """Case 10."""
    location, query = repository.begin(), f"digest={digest_of(content)}"
    repository.follow(location, "PUT", content, query=query)

    reply = repository.follow(location, method, content if method in {"PATCH", "PUT"} else b"", query=query)

    assert (reply.status, reply.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_that_never_was_is_unknown(repository: Repository, content: bytes, method: str) -> None:
    body = content if method in {"PATCH", "PUT"} else b""

    reply = repository.send(method, f"{NO_SESSION}?digest={digest_of(content)}", body)

    assert (reply.status, reply.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


@pytest.mark.parametrize("upload", ["..", "%2e%2e", "a" * 300, "x%00", "%2Fetc", "."])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_upload_by_a_strange_id_is_unknown(repository: Repository, method: str, upload: str) -> None:
    assert repository.send(method, f"blobs/uploads/{upload}").status == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_of_another_repository_is_unknown(
    repository: Repository, other: Repository, content: bytes, method: str
) -> None:
    """Case 11."""
    upload = repository.begin().rpartition("/")[2]
    body = content if method in {"PATCH", "PUT"} else b""

    reply = other.send(method, f"blobs/uploads/{upload}?digest={digest_of(content)}", body)

    assert (reply.status, reply.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_upload_tried_through_another_repository_is_untouched(
    repository: Repository, other: Repository, content: bytes
) -> None:
    """Case 11."""
    location = repository.begin()
    repository.follow(location, "PATCH", content[:100])
    other.send("DELETE", f"blobs/uploads/{location.rpartition('/')[2]}")

    assert repository.follow(location, "GET")["Range"] == "0-99"


def test_blob_that_is_there_already_is_pushed_again(repository: Repository, content: bytes) -> None:
    repository.push_blob(content)

    query = f"digest={digest_of(content)}"
    assert repository.follow(repository.begin(), "PUT", content, query=query).status == 201


def test_blob_that_is_there_already_is_pushed_again_with_one_post(repository: Repository) -> None:
    """Case 14: the body is drained, so the next request on the connection is read right."""
    content = some_bytes(MIB)
    digest = repository.push_blob(content)
    post = (
        f"POST {repository.path('blobs/uploads/')}?digest={digest} HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {MIB}\r\n\r\n"
    )
    ping = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    received = repository.client.exchange(post.encode() + content + ping.encode())

    assert received.count(b"HTTP/1.1 201") == 1
    assert received.count(b"HTTP/1.1 200") == 1


def test_known_blob_with_wrong_bytes_is_refused(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)

    assert repository.send("POST", f"blobs/uploads/?digest={digest}", some_bytes()).status == 400


def test_known_blob_with_wrong_bytes_stays_as_it_was(repository: Repository, content: bytes) -> None:
    digest = repository.push_blob(content)
    repository.send("POST", f"blobs/uploads/?digest={digest}", some_bytes())

    assert repository.send("GET", f"blobs/{digest}").body == content


def test_same_blob_pushed_by_many_at_once_is_201_for_all(repository: Repository) -> None:
    """Case 13."""
    content = some_bytes(MIB)
    locations = [repository.begin() for _ in range(8)]
    query = f"digest={digest_of(content)}"

    with concurrent.futures.ThreadPoolExecutor(len(locations)) as threads:
        replies = list(
            threads.map(lambda location: repository.follow(location, "PUT", content, query=query), locations)
        )

    assert [reply.status for reply in replies] == [201] * len(locations)
    assert repository.send("GET", f"blobs/{digest_of(content)}").body == content


def test_new_upload_is_at_its_first_byte(repository: Repository) -> None:
    """Docker reads `%d-%d` and refuses an end before the start, so nothing is written as 0-0."""
    location = repository.begin()

    reply = repository.follow(location, "GET")

    assert (reply.status, reply["Range"], reply["Location"]) == (204, "0-0", location)


def test_cancelled_upload_is_204(repository: Repository, content: bytes) -> None:
    location = repository.begin()
    repository.follow(location, "PATCH", content)

    assert repository.follow(location, "DELETE").status == 204


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_cancelled_upload_is_unknown(repository: Repository, content: bytes, method: str) -> None:
    """Case 78: also when it is cancelled again."""
    location = repository.begin()
    repository.follow(location, "DELETE")

    reply = repository.follow(location, method, query=f"digest={digest_of(content)}")

    assert (reply.status, reply.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_algorithm_of_an_upload_may_be_named_beforehand(repository: Repository, content: bytes) -> None:
    reply = repository.send("POST", "blobs/uploads/?digest-algorithm=sha512")
    digest = digest_of(content, "sha512")

    closed = repository.follow(reply["Location"], "PUT", content, query=f"digest={digest}")

    assert (reply.status, closed.status, closed["Docker-Content-Digest"]) == (202, 201, digest)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha1024", "", "SHA256"])
def test_unknown_algorithm_of_an_upload_is_refused(repository: Repository, algorithm: str) -> None:
    reply = repository.send("POST", f"blobs/uploads/?digest-algorithm={algorithm}")

    assert (reply.status, reply.codes) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_compressed_body_is_refused(repository: Repository, content: bytes, method: str) -> None:
    """A digest is over the bytes as they came; undoing an encoding would make them others."""
    target = repository.path("blobs/uploads/") if method == "POST" else repository.begin()
    query = f"digest={digest_of(content)}"

    reply = repository.follow(target, method, content, [("Content-Encoding", "gzip")], query)

    assert reply.status == 415


def test_refusal_of_a_large_body_is_readable(repository: Repository) -> None:
    """Case 71: a client that is still writing must find the reply, not a broken pipe."""
    reply = repository.send("PATCH", NO_SESSION, some_bytes(8 * MIB))

    assert (reply.status, reply.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_refusal_comes_before_a_body_that_waits_for_it(client: Client, repository: Repository) -> None:
    """Case 71: Expect: 100-continue."""
    with client.open() as connection:
        connection.sendall(
            f"PATCH {repository.path(NO_SESSION)} HTTP/1.1\r\nHost: x\r\n"
            "Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n".encode()
        )
        received = connection.recv(65536)

    assert received.startswith(b"HTTP/1.1 404")


def test_body_that_waits_is_asked_for(client: Client, repository: Repository, content: bytes) -> None:
    """Case 71: Expect: 100-continue."""
    target = f"{repository.begin()}?digest={digest_of(content)}"
    with client.open() as connection:
        connection.sendall(
            f"PUT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Expect: 100-continue\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        )
        interim = connection.recv(65536)
        connection.sendall(content)
        final = connection.recv(65536)

    assert interim.startswith(b"HTTP/1.1 100")
    assert final.startswith(b"HTTP/1.1 201")


def test_docker_pushes_with_a_stream_an_empty_put_and_a_head(repository: Repository) -> None:
    """POST, PATCH chunked without Content-Range, PUT without a body, HEAD."""
    content = some_bytes(2 * MIB)
    location = repository.begin()
    patched = repository.client.send("PATCH", location, content, framing="chunked")
    closed = repository.follow(patched["Location"], "PUT", query=f"digest={digest_of(content)}")

    head = repository.client.send("HEAD", closed["Location"])

    assert [patched.status, closed.status, head.status] == [202, 201, 200]


def test_repository_begins_with_its_first_blob(repository: Repository, content: bytes) -> None:
    repository.push_blob(content)

    assert repository.send("GET", "tags/list").json == {"name": repository.name, "tags": []}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository of a server that takes two open uploads and blobs of 1 KiB."""
    env = {"MOORAGE_UPLOADS_MAX_OPEN": "2", "MOORAGE_UPLOADS_MAX_BYTES": "1KiB"}
    folder = tmp_path_factory.mktemp("strict")
    with ServerProcess(folder / "data", "--workers", "1", env=env) as server:
        yield Repository(Client(server.port), "strict")


def test_more_open_uploads_than_allowed_are_429_with_a_time_to_wait(strict: Repository) -> None:
    locations = [strict.begin() for _ in range(2)]

    reply = strict.send("POST", "blobs/uploads/")

    assert (reply.status, reply.codes) == (429, ["TOOMANYREQUESTS"])
    assert int(reply["Retry-After"]) > 0
    assert [strict.follow(location, "DELETE").status for location in locations] == [204, 204]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_blob_over_the_limit_is_413(strict: Repository, method: str, framing: Framing) -> None:
    content = some_bytes(1025)
    target = strict.path("blobs/uploads/") if method == "POST" else strict.begin()

    reply = strict.client.send(method, f"{target}?digest={digest_of(content)}", content, framing=framing)

    assert (reply.status, reply.codes) == (413, ["SIZE_INVALID"])


def test_blob_over_the_limit_ends_its_upload(strict: Repository) -> None:
    location = strict.begin()
    strict.follow(location, "PATCH", some_bytes(1025))

    assert strict.follow(location, "GET").status == 404


def test_blob_of_the_largest_size_is_taken(strict: Repository) -> None:
    content = some_bytes(1024)

    assert strict.push_blob(content) == digest_of(content)

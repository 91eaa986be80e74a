"""Which headers a reply has, row by row of the matrix; and errors in the specification's form."""

import re
from collections.abc import Callable

import pytest

from tests.content import ABSENT, OCI_INDEX, OCI_MANIFEST, digest_of, encode, image, index, some_bytes
from tests.spec.client import Client, Reply, Repository

CONTENT = b"what the replies are about"
DIGEST = digest_of(CONTENT)
IMAGE = image(CONTENT)
MANIFEST = digest_of(encode(IMAGE))
MISSING = image(some_bytes())


def ask(method: str, rest: str, body: bytes = b"", **headers: str) -> Callable[[Repository], Reply]:
    """A request in a repository."""
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda repository: repository.send(method, rest, body, fields)


def ask_upload(
    method: str, body: bytes = b"", query: str = "", **headers: str
) -> Callable[[Repository], Reply]:
    """A request to a new upload."""
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda repository: repository.follow(repository.begin(), method, body, fields, query)


def push_loose(repository: Repository) -> str:
    """A blob that no image needs; its digest."""
    repository.push_blob(b"needed by nothing")
    return digest_of(b"needed by nothing")


Case = tuple[int, Callable[[Repository], Reply]]
"""The status that is due, and how to come by the reply."""

REPLIES: dict[str, Case] = {
    "ping": (200, lambda repository: repository.client.send("GET", "/v2/")),
    "get blob": (200, ask("GET", f"blobs/{DIGEST}")),
    "head blob": (200, ask("HEAD", f"blobs/{DIGEST}")),
    "part of a blob": (206, ask("GET", f"blobs/{DIGEST}", Range="bytes=0-3")),
    "parts of a blob": (206, ask("GET", f"blobs/{DIGEST}", Range="bytes=0-3,5-6")),
    "no part of a blob": (416, ask("GET", f"blobs/{DIGEST}", Range="bytes=999-")),
    "blob not modified": (304, ask("GET", f"blobs/{DIGEST}", If_None_Match=f'"{DIGEST}"')),
    "no blob": (404, ask("GET", f"blobs/{ABSENT}")),
    "no blob on head": (404, ask("HEAD", f"blobs/{ABSENT}")),
    "get manifest": (200, ask("GET", "manifests/1.0")),
    "head manifest": (200, ask("HEAD", "manifests/1.0")),
    "manifest not modified": (304, ask("GET", "manifests/1.0", If_None_Match=f'"{MANIFEST}"')),
    "no manifest": (404, ask("GET", "manifests/absent")),
    "no manifest on head": (404, ask("HEAD", "manifests/absent")),
    "begin upload": (202, ask("POST", "blobs/uploads/")),
    "mount": (201, ask("POST", f"blobs/uploads/?mount={DIGEST}")),
    "single post": (201, ask("POST", f"blobs/uploads/?digest={DIGEST}", CONTENT)),
    "no digest": (400, ask("POST", "blobs/uploads/?digest=sha256:zz", CONTENT)),
    "patch": (202, ask_upload("PATCH", CONTENT)),
    "patch out of order": (416, ask_upload("PATCH", CONTENT, Content_Range="5-30")),
    "put out of order": (416, ask_upload("PUT", CONTENT, f"digest={DIGEST}", Content_Range="5-30")),
    "get upload": (204, ask_upload("GET")),
    "cancel upload": (204, ask_upload("DELETE")),
    "put upload": (201, ask_upload("PUT", CONTENT, f"digest={DIGEST}")),
    "put upload wrongly": (400, ask_upload("PUT", CONTENT, f"digest={ABSENT}")),
    "no upload": (404, ask("GET", "blobs/uploads/absent")),
    "put manifest": (201, ask("PUT", "manifests/1.0", encode(IMAGE), Content_Type=OCI_MANIFEST)),
    "put bad manifest": (400, ask("PUT", "manifests/2.0", b"{}", Content_Type=OCI_MANIFEST)),
    "put manifest of nothing": (400, ask("PUT", "manifests/2.0", encode(MISSING), Content_Type=OCI_MANIFEST)),
    "delete tag": (202, ask("DELETE", "manifests/1.0")),
    "delete manifest": (202, ask("DELETE", f"manifests/{MANIFEST}")),
    "delete blob": (202, lambda repository: repository.send("DELETE", f"blobs/{push_loose(repository)}")),
    "tags": (200, ask("GET", "tags/list")),
    "no tags": (400, ask("GET", "tags/list?n=x")),
    "referrers": (200, ask("GET", f"referrers/{MANIFEST}")),
    "catalog": (200, lambda repository: repository.client.send("GET", "/v2/_catalog")),
    "no route": (404, ask("GET", "nonsense")),
    "bad name": (400, lambda repository: repository.client.send("GET", "/v2/Bad/tags/list")),
    "no method": (405, ask("POST", "tags/list")),
    "no extension": (404, lambda repository: repository.client.send("GET", "/v2/_oci/ext/discover")),
}


@pytest.fixture
def full(repository: Repository) -> Repository:
    """A repository with a blob and an image that is tagged 1.0."""
    repository.push_blob(CONTENT)
    repository.push_manifest(IMAGE, "1.0")
    return repository


def having(*statuses: int) -> list[object]:
    """The replies of these statuses, all when there are none, as parameters."""
    return [
        pytest.param(case, id=name) for name, case in REPLIES.items() if not statuses or case[0] in statuses
    ]


@pytest.mark.parametrize("case", having())
def test_every_reply_names_the_protocol_and_forbids_guessing_types(full: Repository, case: Case) -> None:
    status, send = case

    reply = send(full)

    assert reply.status == status
    assert reply["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply.header("Content-Encoding") is None


@pytest.mark.parametrize("case", having(400, 404, 405, 416))
def test_error_is_json_in_the_specifications_form(full: Repository, case: Case) -> None:
    """Case 72."""
    reply = case[1](full)

    assert reply["Content-Type"] == "application/json"
    if reply.body:
        assert list(reply.json) == ["errors"]
        assert reply.json["errors"]
        for entry in reply.json["errors"]:
            assert set(entry) <= {"code", "message", "detail"}
            assert re.fullmatch("[A-Z_]+", entry["code"])
            assert isinstance(entry["message"], str)
            assert isinstance(entry["detail"], str | dict)


@pytest.mark.parametrize("case", having())
def test_body_has_the_length_that_was_said(full: Repository, case: Case) -> None:
    status, send = case

    reply = send(full)

    if status in {204, 304}:
        assert (reply.body, reply.header("Transfer-Encoding")) == (b"", None)
    elif reply.body:
        assert reply["Content-Length"] == str(len(reply.body))
    else:
        assert reply["Content-Length"].isdecimal()


@pytest.mark.parametrize(
    "name",
    [
        "begin upload",
        "mount",
        "single post",
        "patch",
        "put upload",
        "put manifest",
        "delete tag",
        "delete blob",
    ],
)
def test_success_without_content_says_so(full: Repository, name: str) -> None:
    reply = REPLIES[name][1](full)

    assert (reply["Content-Length"], reply.body) == ("0", b"")


@pytest.mark.parametrize("name", ["get upload", "cancel upload"])
def test_204_has_no_length(full: Repository, name: str) -> None:
    assert REPLIES[name][1](full).header("Content-Length") is None


@pytest.mark.parametrize("name", ["get blob", "head blob", "part of a blob", "blob not modified"])
def test_blob_has_the_headers_of_the_matrix(full: Repository, name: str) -> None:
    reply = REPLIES[name][1](full)

    assert reply["Content-Type"] == "application/octet-stream"
    assert reply["Docker-Content-Digest"] == DIGEST
    assert reply["ETag"] == f'"{DIGEST}"'
    assert reply["Accept-Ranges"] == "bytes"
    assert "max-age=31536000" in reply["Cache-Control"]


@pytest.mark.parametrize("name", ["get manifest", "head manifest", "manifest not modified"])
def test_manifest_has_the_headers_of_the_matrix(full: Repository, name: str) -> None:
    reply = REPLIES[name][1](full)

    assert reply["Content-Type"] == OCI_MANIFEST
    assert reply["Docker-Content-Digest"] == MANIFEST
    assert reply["ETag"] == f'"{MANIFEST}"'


@pytest.mark.parametrize("name", ["get manifest", "head manifest", "manifest not modified"])
def test_manifest_of_a_tag_is_not_kept_long_by_caches(full: Repository, name: str) -> None:
    assert "max-age=31536000" not in (REPLIES[name][1](full).header("Cache-Control") or "")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("begin upload", 0),
        ("patch", len(CONTENT) - 1),
        ("get upload", 0),
        ("patch out of order", 0),
        ("put out of order", 0),
    ],
)
def test_upload_says_where_it_goes_on(full: Repository, name: str, last: int) -> None:
    reply = REPLIES[name][1](full)

    assert reply["Range"] == f"0-{last}"
    assert reply["Location"] == full.path(f"blobs/uploads/{reply['Docker-Upload-UUID']}")


@pytest.mark.parametrize("name", ["mount", "single post", "put upload"])
def test_blob_made_says_where_it_is(full: Repository, name: str) -> None:
    reply = REPLIES[name][1](full)

    assert (reply["Location"], reply["Docker-Content-Digest"]) == (full.path(f"blobs/{DIGEST}"), DIGEST)


def test_manifest_made_says_where_it_is(full: Repository) -> None:
    reply = REPLIES["put manifest"][1](full)

    assert reply["Location"] == full.path(f"manifests/{MANIFEST}")
    assert reply["Docker-Content-Digest"] == MANIFEST


def test_locations_are_paths_whatever_host_was_asked(full: Repository) -> None:
    """A proxy in front has another name, port and scheme; a path is right behind each."""
    headers = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", "host=evil.example;proto=https"),
    ]

    reply = full.send("POST", "blobs/uploads/", headers=headers)

    assert reply["Location"].startswith(full.path("blobs/uploads/"))


def test_referrers_and_lists_have_their_types(full: Repository) -> None:
    assert REPLIES["referrers"][1](full)["Content-Type"] == OCI_INDEX
    assert REPLIES["tags"][1](full)["Content-Type"] == "application/json"
    assert REPLIES["catalog"][1](full)["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND"])
@pytest.mark.parametrize("rest", ["tags/list", f"referrers/{ABSENT}"])
def test_method_that_a_list_has_not_is_405(full: Repository, method: str, rest: str) -> None:
    """Case 74."""
    reply = full.send(method, rest)

    assert (reply.status, reply["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("rest", "allowed"),
    [
        (f"blobs/{ABSENT}", {"GET", "HEAD", "DELETE"}),
        ("manifests/1.0", {"GET", "HEAD", "PUT", "DELETE"}),
        ("blobs/uploads/", {"POST"}),
        ("blobs/uploads/x", {"GET", "PATCH", "PUT", "DELETE"}),
    ],
)
def test_method_that_a_route_has_not_is_told_which_it_has(
    full: Repository, rest: str, allowed: set[str]
) -> None:
    """Case 74."""
    reply = full.send("OPTIONS", rest)

    assert (reply.status, reply.codes) == (405, ["UNSUPPORTED"])
    assert set(reply["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog"])
def test_method_that_a_plain_route_has_not_is_405(client: Client, path: str) -> None:
    """Case 74."""
    reply = client.send("DELETE", path)

    assert (reply.status, reply.codes) == (405, ["UNSUPPORTED"])


def test_no_reply_carries_a_warning_without_cause(full: Repository) -> None:
    assert REPLIES["get manifest"][1](full).header("Warning") is None


def test_index_and_image_keep_their_types_apart(full: Repository) -> None:
    full.push_manifest(index([IMAGE]), "all")

    assert full.send("GET", "manifests/all")["Content-Type"] == OCI_INDEX


KEPT = [
    ("GET", f"blobs/{DIGEST}", ""),
    ("HEAD", f"blobs/{DIGEST}", ""),
    ("GET", f"blobs/{DIGEST}", "Range: bytes=0-3\r\n"),
    ("GET", f"blobs/{DIGEST}", "Range: bytes=0-3,5-6\r\n"),
    ("GET", f"blobs/{DIGEST}", "Range: bytes=999-\r\n"),
    ("GET", f"blobs/{DIGEST}", f'If-None-Match: "{DIGEST}"\r\n'),
    ("GET", f"blobs/{ABSENT}", ""),
    ("HEAD", f"blobs/{ABSENT}", ""),
    ("GET", "manifests/1.0", ""),
    ("HEAD", "manifests/absent", ""),
    ("GET", "tags/list", ""),
    ("HEAD", "tags/list", ""),
    ("DELETE", f"blobs/{DIGEST}", ""),
    ("POST", "blobs/uploads/", "Content-Length: 0\r\n"),
    ("POST", f"blobs/uploads/?mount={DIGEST}", "Content-Length: 0\r\n"),
]


@pytest.mark.parametrize(("method", "rest", "header"), KEPT)
def test_connection_is_kept_and_the_next_reply_is_read_right(
    full: Repository, method: str, rest: str, header: str
) -> None:
    """Cases 52 and 53: a body that is not what its header says would be read as the next reply."""
    first = f"{method} {full.path(rest)} HTTP/1.1\r\nHost: x\r\n{header}\r\n"
    second = "GET /v2/_catalog?n=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    received = full.client.exchange((first + second).encode())

    assert received.count(b"HTTP/1.1 ") == 2
    assert received.endswith(b'{"repositories":[]}')

"""Which repository, and what of it, a path names; and which paths name nothing."""

from pathlib import Path

import pytest

from tests.content import ABSENT, encode, image, some_bytes
from tests.servers import ServerProcess
from tests.spec.client import Client, Reply, Repository

NAMES = [
    "a",
    "0",
    "a/b",
    "a/b/c/d/e/f",
    "a.b",
    "a_b",
    "a__b",
    "a-b",
    "a---b",
    "a.b_c__d-e/f0",
    "xn--n3h.com/foo",
    "a" * 230,
    pytest.param("/".join("a" * 30), id="30 components"),
]


@pytest.mark.parametrize("name", NAMES)
def test_name_that_follows_the_grammar_is_a_repository(
    client: Client, repository: Repository, name: str
) -> None:
    named = Repository(client, f"{repository.name.partition('/')[2]}/{name}")
    config = some_bytes(16)
    named.push_blob(config)
    named.push_manifest(image(config), "1.0")

    assert named.send("GET", "tags/list").json == {"name": named.name, "tags": ["1.0"]}


BAD_NAMES = [
    pytest.param("A", id="upper case"),
    pytest.param("a/B", id="upper case behind"),
    pytest.param("-a", id="a hyphen first"),
    pytest.param("a-", id="a hyphen last"),
    pytest.param(".a", id="a dot first"),
    pytest.param("a.", id="a dot last"),
    pytest.param("_a", id="an underscore first"),
    pytest.param("a..b", id="two dots"),
    pytest.param("a___b", id="three underscores"),
    pytest.param("a._b", id="two separators"),
    pytest.param("a//b", id="case 67: an empty component"),
    pytest.param("/a", id="case 67: a slash first"),
    pytest.param("a/", id="case 67: a slash last"),
    pytest.param(".", id="case 67: a dot"),
    pytest.param("..", id="case 67: dots"),
    pytest.param("../..", id="case 67: more dots"),
    pytest.param("a/../b", id="case 67: dots between"),
    pytest.param("%2e%2e", id="case 67: encoded dots"),
    pytest.param("%2e%2e%2f%2e%2e", id="case 67: encoded dots and slash"),
    pytest.param("a%2Fb", id="case 67: an encoded slash"),
    pytest.param("..%5c..", id="case 67: an encoded backslash"),
    pytest.param("a%5Cb", id="case 67: a backslash"),
    pytest.param("%252e%252e", id="case 67: encoded twice"),
    pytest.param("%c0%ae%c0%ae", id="case 67: an overlong dot"),
    pytest.param("a%00", id="case 67: a NUL"),
    pytest.param("a%0A", id="case 67: a newline behind"),
    pytest.param("a%0D%0AX:y", id="case 67: a header"),
    pytest.param("a%20b", id="a blank"),
    pytest.param("%FF", id="not UTF-8"),
    pytest.param("%C3%A9", id="another letter"),
    pytest.param("%EF%BD%81", id="a full-width letter"),
    pytest.param("%D0%B0", id="a Cyrillic letter"),
    pytest.param("a:b", id="a colon"),
    pytest.param("a@b", id="an at"),
    pytest.param("a;x=1", id="a path parameter"),
    pytest.param("a~", id="a tilde"),
    pytest.param("a*", id="a star"),
    pytest.param("%", id="a lone percent"),
    pytest.param("%zz", id="no hexadecimal"),
    pytest.param("_uploads", id="case 68"),
    pytest.param("a/_uploads", id="case 68: behind"),
    pytest.param("_catalog", id="the catalog's name"),
    pytest.param("a" * 256, id="256 characters"),
    pytest.param("/".join("a" * 40), id="40 components"),
    pytest.param("a" * 5000, id="case 67: a very long component"),
]
ENDPOINTS = [
    ("GET", "manifests/1.0"),
    ("PUT", "manifests/1.0"),
    ("DELETE", "manifests/1.0"),
    ("HEAD", f"blobs/{ABSENT}"),
    ("POST", "blobs/uploads/"),
    ("GET", "tags/list"),
    ("GET", f"referrers/{ABSENT}"),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_name_that_breaks_the_grammar_is_refused_by_every_endpoint(client: Client, name: str) -> None:
    replies = [client.send(method, f"/v2/{name}/{rest}") for method, rest in ENDPOINTS]

    assert {reply.status for reply in replies} <= {400, 404}
    for reply in replies:
        assert reply["Content-Type"] == "application/json"
        assert not reply.body or reply.codes in (["NAME_INVALID"], ["UNSUPPORTED"])


@pytest.mark.parametrize("name", ["A", "a..b", "a" * 256, "%00"])
def test_name_that_breaks_the_grammar_is_told_so(client: Client, name: str) -> None:
    reply = client.send("GET", f"/v2/{name}/tags/list")

    assert (reply.status, reply.codes) == (400, ["NAME_INVALID"])


def test_name_is_decoded_once(client: Client, repository: Repository) -> None:
    repository.push_image("1.0")
    encoded = repository.path("tags/list").replace("spec", "%73p%65c")

    assert client.send("GET", encoded).json["name"] == repository.name


WORDS = [
    "a/blobs",
    "a/manifests",
    "a/tags",
    "a/tags/list",
    "a/referrers",
    "a/uploads",
    "a/blobs/uploads",
    "a/blobs/b/manifests/x",
    "blobs/uploads/blobs",
    "manifests",
    "tags/list/tags",
    "a/manifests/b/blobs/uploads/c",
    "v2",
    "v2/a/manifests/b",
]


@pytest.mark.parametrize("name", WORDS)
def test_name_of_words_that_routes_have_means_one_repository(
    client: Client, repository: Repository, name: str
) -> None:
    """Case 66: the last word is the route's."""
    named = Repository(client, f"{repository.name}/{name}")
    document = named.push_image("1.0")

    assert named.send("GET", "manifests/1.0").body == encode(document)
    assert named.send("GET", "tags/list").json == {"name": named.name, "tags": ["1.0"]}
    assert named.send("HEAD", f"blobs/{document['config']['digest']}").status == 200
    assert named.send("GET", f"referrers/{ABSENT}").status == 200


@pytest.mark.parametrize("name", WORDS)
def test_push_to_a_name_of_words_that_routes_have_leaves_the_one_before_alone(
    client: Client, repository: Repository, name: str
) -> None:
    """Case 66."""
    Repository(client, f"{repository.name}/{name}").push_image("1.0")

    assert repository.send("GET", "tags/list").status == 404


def test_tag_is_no_component_of_a_repository(client: Client, repository: Repository) -> None:
    """Case 68: nothing of a/b lies where something of a does."""
    repository.push_image("b")
    below = Repository(client, f"{repository.name}/b")
    below.push_image("1.0")

    assert repository.send("GET", "tags/list").json["tags"] == ["b"]
    assert below.send("GET", "tags/list").json["tags"] == ["1.0"]


NOWHERE = [
    "/v2/a",
    "/v2/a/",
    "/v2/a/nonsense",
    "/v2/a/tags",
    "/v2/a/tags/",
    "/v2/a/tags/list/",
    "/v2/a/blobs",
    "/v2/a/blobs/",
    "/v2/a/manifests",
    "/v2/a/manifests/",
    "/v2/a/manifests/b/c",
    "/v2/a/manifests/b/",
    "/v2/a/referrers/",
    "/v2/manifests/1.0",
    "/v2/tags/list",
    "/v2/_oci/ext/discover",
    "/v2/_catalog/",
    "/v2//",
    "/v2/%",
    "/v2/..",
    "/v2/a/../_catalog",
]


@pytest.mark.parametrize("path", NOWHERE)
def test_path_that_leads_nowhere_is_told_in_json(client: Client, path: str) -> None:
    """Case 73."""
    reply = client.send("GET", path)

    assert reply.status in {400, 404}
    assert reply.codes


@pytest.mark.parametrize(
    "path",
    ["/v2/../../etc/passwd/manifests/x", "/%2F%2F..%2F..%2Fetc%2Fpasswd", "/../v2/", "//v2/", "/v2/%2e%2e/x"],
)
def test_path_that_climbs_is_refused(client: Client, path: str) -> None:
    """Case 67; sent as it stands, which no browser would."""
    received = client.exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert received.split()[1] in {b"400", b"404"}


@pytest.mark.parametrize(
    "rest",
    [
        "manifests/{}",
        "blobs/{}",
        "blobs/uploads/{}",
        "referrers/{}",
        "tags/list?last={}",
        "manifests/1.0?ns={}",
    ],
)
@pytest.mark.parametrize("length", [300, 5000, 20_000])
def test_long_segment_is_no_fault_of_the_server(repository: Repository, rest: str, length: int) -> None:
    """Case 67: a file name of more than 255 bytes cannot be made."""
    assert repository.send("GET", rest.format("a" * length)).status in {400, 404, 414}


def test_refused_names_leave_no_trace_on_the_disk(moorage: ServerProcess, client: Client) -> None:
    """Case 67: content is kept by digest, not by name."""
    for name in ("..%2f..%2fescaped", "../escaped", "a%00escaped"):
        client.send("POST", f"/v2/{name}/blobs/uploads/")

    found = [path for path in Path(moorage.data_dir).parent.rglob("*") if "escaped" in path.name]
    assert found == []


def error_of(reply: Reply) -> str:
    return str(reply.json)


@pytest.mark.parametrize(
    "rest", [f"blobs/{ABSENT}", "manifests/x", "blobs/sha256:zz", "blobs/uploads/x", "x"]
)
def test_error_tells_nothing_of_the_servers_inside(
    repository: Repository, moorage: ServerProcess, rest: str
) -> None:
    text = error_of(repository.send("GET", rest))

    assert str(moorage.data_dir) not in text
    assert "Traceback" not in text

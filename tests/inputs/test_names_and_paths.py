"""Paths, repository names and tags that mean something else, or nothing, or too much."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.means import wait_until
from tests.inputs.registry import (
    ABSENT,
    OCI_MANIFEST,
    Registry,
    check_one_refused,
    check_refused,
    digest_of,
    image,
)
from tests.inputs.wire import ask, request

ROUTES = ["manifests/x", "tags/list", f"blobs/{ABSENT}", f"referrers/{ABSENT}", "blobs/uploads/x"]

TRAVERSALS = [
    pytest.param("/v2/../../etc/passwd/manifests/x", id="B25-dots"),
    pytest.param("/v2/a/../../../etc/passwd", id="B25-dots-inside"),
    pytest.param("/../../../etc/passwd", id="B25-dots-at-the-root"),
    pytest.param("/v2/a/manifests/../../../secret", id="B25-dots-for-a-tag"),
    pytest.param(f"/v2/a/blobs/{ABSENT}/../../../x", id="B25-dots-after-a-digest"),
    pytest.param("/v2/%2e%2e%2f%2e%2e%2fetc%2fpasswd/manifests/x", id="B26-escaped"),
    pytest.param("/v2/a/manifests/%2e%2e%2f%2e%2e%2fsecret", id="B26-escaped-tag"),
    pytest.param("/v2/a/manifests/%252e%252e%252fx", id="B26-escaped-twice"),
    pytest.param("/v2/..%5c..%5cetc/manifests/x", id="B26-backslash-escaped"),
    pytest.param("/v2/a/manifests/..%5c..%5cx", id="B26-backslash-escaped-tag"),
    pytest.param("/v2/..\\..\\etc/manifests/x", id="B26-backslash"),
    pytest.param("/v2/%c0%ae%c0%ae/manifests/x", id="B26-overlong-utf-8"),
    pytest.param("/v2/a/manifests/%c0%ae%c0%ae%c0%af", id="B26-overlong-utf-8-tag"),
    pytest.param("/v2/a%2fb/tags/list", id="B26-escaped-slash-in-a-name"),
    pytest.param("/%2F%2F%2F..%2F..%2Fetc%2Fpasswd", id="B27-escaped-at-the-root"),
    pytest.param("//etc/passwd", id="B27-two-slashes"),
    pytest.param("/v2//etc/passwd/manifests/x", id="B27-two-slashes-in-a-name"),
    pytest.param("/v2/a/blobs/sha256:..%2f..%2f..%2fsecret", id="B36-digest"),
    pytest.param("/v2/a/blobs/uploads/..%2f..%2fsecret", id="B43-upload"),
    pytest.param("/v2/a/blobs/uploads/..", id="B43-upload-dots"),
    pytest.param("/v2/%00/manifests/x", id="B28-nul"),
    pytest.param("/v2/a/manifests/%00", id="B28-nul-tag"),
]


@pytest.mark.parametrize("target", TRAVERSALS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"])
def test_path_that_climbs_finds_nothing(registry: Registry, method: str, target: str) -> None:
    with registry.watch():
        reply = ask(registry.port, method, target, (), b"{}" if method in {"PUT", "PATCH", "POST"} else None)

    if method == "HEAD":
        assert reply.status in {400, 404, 405}
    else:
        check_refused(reply, 400, 404, 405)


@pytest.fixture
def opened(registry: Registry, tmp_path: Path) -> Iterator[Path]:
    """A file that fills with the paths which the server's processes open."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    pids = [option for pid in registry.workers() for option in ("-p", str(pid))]
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=file", *pids],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and "TracerPid:\t0" in _status(registry):
        if tracer.poll() is not None:
            pytest.skip("strace may not attach here")
        time.sleep(0.05)
    yield trace
    tracer.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        tracer.wait(10)
    tracer.kill()
    tracer.communicate()


def _status(registry: Registry) -> str:
    return "".join(Path(f"/proc/{pid}/status").read_text() for pid in registry.workers())


def test_no_path_makes_the_server_open_a_file_outside_its_data(registry: Registry, opened: Path) -> None:
    """B25 to B28, B36, B43: what the kernel was asked for, not what the reply says."""
    for parameter in TRAVERSALS:
        for method in ("GET", "PUT", "PATCH", "POST", "DELETE"):
            ask(registry.port, method, str(parameter.values[0]), (), b"{}")
    # so that an empty trace cannot pass
    content = os.urandom(100)
    registry.push_blob(content)
    deadline = time.monotonic() + 10
    while digest_of(content)[7:] not in opened.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)

    # an empty path stands for a file that is open already
    paths = set(re.findall(r'"((?:[^"\\]|\\.)*)"', opened.read_text())) - {""}
    root = str(registry.server.data_dir)
    assert any(digest_of(content)[7:] in path for path in paths)
    # Python loads a codec of its own when it first escapes a line for the log
    allowed = (root, str(Path(sys.base_prefix) / "lib"))
    assert {path for path in paths if not path.startswith(allowed)} == set()
    assert {path for path in paths if ".." in path} == set()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a%00", id="B28-nul"),
        pytest.param("a%0a", id="B28-line-feed-at-the-end"),
        pytest.param("a%0d%0ax", id="B28-line-end"),
        pytest.param("a%ff", id="B28-no-utf-8"),
        pytest.param("A", id="B28-upper-case"),
        pytest.param("team/App", id="B28-upper-case-inside"),
        pytest.param("%EF%BD%81", id="B28-full-width"),
        pytest.param("%D0%B0", id="B28-cyrillic"),
        pytest.param("a%CC%81", id="B28-combining"),
        pytest.param("a%E2%80%8Bb", id="B28-zero-width"),
        pytest.param("a%20b", id="B28-space"),
        pytest.param("a%2", id="B28-cut-escape"),
        pytest.param("a%zz", id="B28-no-escape"),
        pytest.param("-a", id="B29-dash-first"),
        pytest.param("a-", id="B29-dash-last"),
        pytest.param("a.", id="B31-dot-last"),
        pytest.param("a..b", id="B29-two-dots"),
        pytest.param("a___b", id="B29-three-underscores"),
        pytest.param("a._b", id="B29-two-separators"),
        pytest.param("a/", id="B29-slash-last"),
        pytest.param("/a", id="B29-slash-first"),
        pytest.param("a//b", id="B29-two-slashes"),
        pytest.param(".", id="B29-dot"),
        pytest.param("_catalog", id="B30-catalog"),
        pytest.param("a/_uploads/b", id="B29-underscore-first"),
        pytest.param("a:5000/b", id="B29-host"),
        pytest.param("a@b", id="B29-at"),
        pytest.param("a;x=1", id="B31-parameter"),
        pytest.param("a" * 256, id="B29-256-letters"),
        pytest.param("/".join(["a" * 7] * 32) + "/b", id="B29-33-parts"),
        pytest.param("a" + "-" * 254 + "!", id="B29-slow-for-a-bad-expression"),
        pytest.param("a." * 126 + "A", id="B29-slow-for-another"),
    ],
)
def test_name_outside_the_grammar_is_invalid_on_every_route(registry: Registry, name: str) -> None:
    with registry.watch():
        for rest in ROUTES:
            check_refused(registry.ask("GET", rest, name=name), 400, code="NAME_INVALID")
        for method, rest in (("POST", "blobs/uploads/"), ("PUT", "manifests/x"), ("DELETE", "manifests/x")):
            check_refused(registry.ask(method, rest, (), b"{}", name=name), 400, code="NAME_INVALID")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a" * 255, id="B29-255-letters"),
        pytest.param("/".join(["a"] * 32), id="B29-32-parts"),
        pytest.param("a-----b", id="B29-five-dashes"),
        pytest.param("a__b.c", id="B29-all-separators"),
        pytest.param("0", id="B29-digit"),
    ],
)
def test_name_at_the_edge_of_the_grammar_is_taken(registry: Registry, name: str) -> None:
    reply = registry.ask("POST", "blobs/uploads/", name=name)

    assert reply.status == 202
    assert registry.follow("DELETE", reply["location"]).status == 204


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("blobs/uploads", id="B30-blobs-uploads"),
        pytest.param("manifests/b", id="B30-manifests"),
        pytest.param("tags/list", id="B30-tags-list"),
        pytest.param("referrers/x", id="B30-referrers"),
        pytest.param("blobs", id="B30-blobs"),
        pytest.param("v2", id="B30-v2"),
        pytest.param("manifests/manifests/manifests", id="B30-manifests-thrice"),
    ],
)
def test_name_made_of_route_words_is_one_repository(registry: Registry, name: str) -> None:
    own = Registry(registry.server, f"{registry.name}/{name}")
    content = os.urandom(64)

    own.push_blob(content)
    own.push("tags", image())

    assert own.ask("GET", f"blobs/{digest_of(content)}").body == content
    assert own.ask("GET", "manifests/tags").status == 200
    assert own.ask("GET", "tags/list").json == {"name": own.name, "tags": ["tags"]}
    assert own.ask("GET", f"referrers/{digest_of(content)}").status == 200
    assert own.begin().startswith(f"/v2/{own.name}/blobs/uploads/")
    check_refused(registry.ask("GET", "tags/list"), 404, code="NAME_UNKNOWN")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/v2/a/tags/list;x=1", id="B31-parameter"),
        pytest.param("/v2/a/tags/list.", id="B31-dot"),
        pytest.param("/v2/a/tags/list/", id="B31-slash"),
        pytest.param("/v2/a/tags/list%20", id="B31-space"),
        pytest.param("/v2/_catalog/", id="B31-catalog-slash"),
        pytest.param("/v2/_catalog.json", id="B31-catalog-suffix"),
        pytest.param("/v2;x=1/", id="B31-parameter-on-v2"),
        pytest.param("/v2./", id="B31-dot-on-v2"),
        pytest.param("/V2/", id="B31-upper-case"),
        pytest.param("/v2/a/Tags/list", id="B31-upper-case-route"),
        pytest.param("/v2/a", id="B31-no-route"),
        pytest.param("/metrics/", id="B31-metrics-slash"),
        pytest.param("/healthz;x=1", id="B31-healthz-parameter"),
        pytest.param("/", id="B31-root"),
        pytest.param("*", id="B31-asterisk"),
    ],
)
def test_path_beside_a_route_is_no_route(registry: Registry, target: str) -> None:
    with registry.watch():
        check_one_refused(registry.exchange(request("GET", target)), 400, 404, 405)


BAD_TAGS = [
    pytest.param("a" * 129, id="B32-129-letters"),
    pytest.param(".x", id="B32-dot-first"),
    pytest.param("-x", id="B32-dash-first"),
    pytest.param("a%0a", id="B32-line-feed-at-the-end"),
    pytest.param("a%00", id="B32-nul"),
    pytest.param("a%20", id="B32-space"),
    pytest.param("a+b", id="B32-plus"),
    pytest.param("a%2Fb", id="B32-slash"),
    pytest.param("a%5Cb", id="B32-backslash"),
    pytest.param("%EF%BD%81", id="B32-full-width"),
    pytest.param("%D9%A1", id="B32-arabic-digit"),
    pytest.param("%ff", id="B32-no-utf-8"),
    pytest.param("..", id="B32-dots"),
    pytest.param("a%252e", id="B32-escaped-twice"),
]


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_tag_outside_the_grammar_cannot_be_pushed_and_is_not_found(registry: Registry, tag: str) -> None:
    registry.push("good", image())

    with registry.watch():
        check_refused(registry.put(tag, image()), 400)
        check_refused(registry.ask("GET", f"manifests/{tag}"), 404)
        check_refused(registry.ask("DELETE", f"manifests/{tag}"), 404)


def test_tag_with_a_colon_is_read_as_a_digest_and_refused(registry: Registry) -> None:
    """B32 `a:b`: a colon makes it a digest, and a bad one is 400 (B36)."""
    with registry.watch():
        check_refused(registry.put("a:b", image()), 400)
        check_refused(registry.ask("GET", "manifests/a:b"), 400, 404)


def test_tags_that_differ_by_case_are_two(registry: Registry) -> None:
    """B33."""
    registry.push("A", image(annotations={"tag": "A"}))
    registry.push("a", image(annotations={"tag": "a"}))

    assert registry.ask("GET", "manifests/A").json["annotations"] == {"tag": "A"}
    assert registry.ask("GET", "manifests/a").json["annotations"] == {"tag": "a"}
    assert registry.ask("GET", "tags/list").json["tags"] == ["A", "a"]


def test_tag_that_looks_like_a_digest_is_a_tag(registry: Registry) -> None:
    """B34, as far as it needs no collection."""
    tag = ABSENT.replace(":", "-")
    pushed = registry.push(tag, image())

    assert registry.ask("HEAD", f"manifests/{tag}")["docker-content-digest"] == pushed["digest"]
    assert registry.ask("GET", f"referrers/{ABSENT}").json["manifests"] == []


def test_every_refused_path_is_one_escaped_line_in_the_log(registry: Registry) -> None:
    mark = registry.name.replace("/", "-")
    ends = ["%0a%0d%1b[31m/tags/list", '"}{"level":"error/tags/list', "a" * 3000]
    paths = [f"/v2/{mark}{end}" for end in ends]
    logged_from = registry.server.log_path.stat().st_size

    for path in paths:
        ask(registry.port, "GET", path)

    def logged() -> list[dict[str, Any]]:
        events = registry.check_log(logged_from)
        return [event for event in events if event["event"] == "request" and mark in event["path"]]

    # a line follows the reply it speaks of
    wait_until(lambda: len(logged()) >= len(paths))
    requests = logged()
    assert len(requests) == len(paths)
    assert all(len(event["path"]) <= 1000 for event in requests)


def test_many_different_paths_are_not_remembered_for_ever(registry: Registry) -> None:
    with registry.watch():
        for number in range(3000):
            reply = ask(registry.port, "GET", f"/v2/{number:0200d}/manifests/{number:0100d}")
            assert reply.status == 404


def test_media_type_of_a_manifest_is_echoed_from_a_list_not_from_the_client(registry: Registry) -> None:
    registry.push_blob(b"{}")
    document = image()
    del document["mediaType"]

    reply = registry.put("x", document, f'{OCI_MANIFEST.upper()}; charset=utf-8; x="<script>"')

    assert reply.status == 201
    assert registry.ask("GET", "manifests/x")["content-type"] == OCI_MANIFEST

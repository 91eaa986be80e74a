"""F42, F44: what is served of tags and manifests while an upstream answers badly, slowly or not at all."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.content import digest_of, encode
from tests.faults.means import children_of, require, wait_until
from tests.outages.images import push_image, push_signed_index
from tests.outages.mirror import NAME, REMOTE, Mirror, Pulled, ask, worker_at, write_settings
from tests.outages.proxy import Proxy
from tests.outages.spoiling import Fault
from tests.servers import ServerProcess

MIB = 1 << 20
AGAIN_S = 60
"""Nobody hears of a failure for longer than this after it is over."""

LINE_FAULTS: dict[str, Callable[[Proxy], None]] = {
    "429": lambda proxy: proxy.spoil(Fault(status=429)),
    "429 with a time": lambda proxy: proxy.spoil(Fault(status=429, retry_after="2")),
    "500": lambda proxy: proxy.spoil(Fault(status=500)),
    "503": lambda proxy: proxy.spoil(Fault(status=503)),
    "no answer": lambda proxy: proxy.spoil(Fault(is_unanswered=True)),
    "hung up": lambda proxy: proxy.spoil(Fault(is_hung_up=True)),
    "refused": lambda proxy: proxy.refuse(),
    "dropped": lambda proxy: proxy.drop_packets(),
}
ABSENT_FAULTS = ("429 with a time", "500", "no answer", "refused", "dropped")
"""Of each kind one: each takes the time until the line is tried again."""

line_fault = pytest.mark.parametrize("fault", LINE_FAULTS.values(), ids=LINE_FAULTS)


def check_stale(got: Pulled, payload: bytes) -> None:
    """Served, with a word about its age. Source: RFC 9111, 5.1 and 5.5."""
    assert (got.status, got.body) == (200, payload), got
    assert got.headers["warning"].startswith("11"), got
    assert int(got.headers["age"]) >= 0


def check_refused(got: Pulled) -> None:
    """Told in words which upstream did not give it, and how it stands with that."""
    assert got.is_refused, got
    assert NAME in got.reason
    assert "state" in got.reason
    assert b"Traceback" not in got.body


@line_fault
def test_f42_cached_tag_is_served_with_its_age_while_the_upstream_fails(
    mirror: Mirror, fault: Callable[[Proxy], None]
) -> None:
    image = push_image(mirror.upstream, "1")
    mirror.pull(image)
    assert "warning" not in mirror.get("manifests/1").headers
    fault(mirror.proxy)

    for _ in range(5):
        check_stale(mirror.get("manifests/1"), image.payload)
    assert "warning" in mirror.get("manifests/1", "HEAD").headers
    mirror.pull(image)


@pytest.mark.parametrize("fault", [LINE_FAULTS[each] for each in ABSENT_FAULTS], ids=ABSENT_FAULTS)
def test_f42_what_is_not_here_is_refused_in_time_and_had_when_the_line_is_back(
    mirror: Mirror, fault: Callable[[Proxy], None]
) -> None:
    """`ask` waits ten seconds, no longer."""
    image = push_image(mirror.upstream, "1")
    fault(mirror.proxy)

    wanted = f"manifests/{image.tag}", f"manifests/{image.digest}", f"blobs/{image.layers[0]}"
    with ThreadPoolExecutor(len(wanted)) as clients:
        for got in clients.map(mirror.get, wanted):
            check_refused(got)

    mirror.proxy.mend()
    wait_until(lambda: mirror.get("manifests/1").status == 200, seconds=AGAIN_S)
    mirror.pull(image)


def test_f42_cached_tag_is_served_though_the_name_of_the_upstream_does_not_resolve(
    mirror: Mirror, tmp_path: Path
) -> None:
    image = push_image(mirror.upstream, "1")
    mirror.pull(image)
    absent = push_image(mirror.upstream, "2")
    mirror.server.terminate()
    write_settings(tmp_path, "https://registry.invalid")
    mirror.server.start()

    check_stale(mirror.get("manifests/1"), image.payload)
    assert mirror.get(f"manifests/{image.digest}").body == image.payload
    check_refused(mirror.get("manifests/2"))
    check_refused(mirror.get(f"blobs/{absent.layers[0]}"))


def test_f42_digest_that_is_here_needs_no_upstream(mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1")
    mirror.pull(image)
    mirror.proxy.forget()

    for _ in range(3):
        mirror.pull(image, blobs=image.layers)
        got = mirror.get(f"manifests/{image.digest}")
        assert "warning" not in got.headers

    assert not mirror.proxy.count("GET")
    # the tag is asked about, nothing else
    assert {request.path.partition("?")[0] for request in mirror.proxy.find("HEAD")} == {
        f"/v2/{REMOTE}/manifests/1"
    }


def test_f42_absence_is_believed_for_no_longer_than_a_minute(mirror: Mirror) -> None:
    assert mirror.get("manifests/later").status == 404
    assert mirror.get(f"blobs/{digest_of(b'later')}").status == 404
    image = push_image(mirror.upstream, "later")

    wait_until(lambda: mirror.get("manifests/later").status == 200, seconds=AGAIN_S)
    mirror.pull(image)


def test_f44_tag_that_the_upstream_has_deleted_is_served_and_that_is_recorded(mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1")
    mirror.pull(image)
    assert mirror.upstream.send("DELETE", f"manifests/{image.digest}").status == 202

    mirror.pull(image)

    gone = mirror.server.wait_for_event("mirror_tag_gone", tag="1")
    assert (gone["upstream"], gone["repository"]) == (NAME, f"{NAME}/{REMOTE}")
    ((gone_at,),) = mirror.rows("SELECT gone_at FROM mirrored_tag WHERE name = '1'")
    assert gone_at
    mirror.pull(image)
    assert mirror.rows("SELECT gone_at FROM mirrored_tag WHERE name = '1'") == [(gone_at,)]


def test_f44_tag_that_is_back_at_the_upstream_is_followed_again(mirror: Mirror) -> None:
    mirror.pull(image := push_image(mirror.upstream, "1"))
    assert mirror.upstream.send("DELETE", f"manifests/{image.digest}").status == 202
    mirror.pull(image)

    mirror.pull(push_image(mirror.upstream, "1"))

    assert mirror.rows("SELECT gone_at FROM mirrored_tag WHERE name = '1'") == [(None,)]


def test_tag_that_has_moved_is_followed_and_what_it_named_stays(mirror: Mirror) -> None:
    old = push_image(mirror.upstream, "1")
    mirror.pull(old)
    new = push_image(mirror.upstream, "1")

    mirror.pull(new)

    assert mirror.get(f"manifests/{old.digest}").body == old.payload


def test_bytes_of_manifests_and_their_types_are_those_of_the_upstream(mirror: Mirror) -> None:
    image = push_signed_index(mirror.upstream, "multi")

    got = mirror.get("manifests/multi")
    assert (got.body, got.headers["content-type"]) == (image.payload, image.top["mediaType"])
    for document in (*image.images, image.signature):
        assert document is not None
        payload = encode(document)
        child = mirror.get(f"manifests/{digest_of(payload)}")
        assert (child.body, child.headers["content-type"]) == (payload, document["mediaType"])
    for digest in image.blobs:
        mirror.check_blob(image, digest)


def test_signature_of_a_mirrored_image_is_among_its_referrers_and_is_there_without_the_line(
    mirror: Mirror,
) -> None:
    image = push_signed_index(mirror.upstream, "multi")
    assert image.signature is not None
    signature = encode(image.signature)
    mirror.get("manifests/multi")

    listed = mirror.get(f"referrers/{image.digest}")

    assert listed.status == 200
    mirror.proxy.refuse()
    again = mirror.get(f"referrers/{image.digest}")
    for answer in (listed, again):
        assert f'"{digest_of(signature)}"' in answer.body.decode()
    assert mirror.get(f"manifests/{digest_of(signature)}").body == signature


def test_push_to_a_mirrored_name_is_405_and_says_why(mirror: Mirror) -> None:
    push_image(mirror.upstream, "1")

    for method, rest in (("PUT", "manifests/1"), ("POST", "blobs/uploads/")):
        for name in (f"{NAME}/{REMOTE}", f"{NAME}/team/new"):
            refused = ask(mirror.server.port, method, f"/v2/{name}/{rest}")
            assert refused.status == 405, refused
            assert NAME in refused.reason


def test_a_repository_that_is_here_is_never_looked_for_elsewhere(tmp_path: Path, proxy: Proxy) -> None:
    """Or whoever has the same name at the upstream could put an image in its place."""
    settings = write_settings(tmp_path, proxy.url, "root = true")
    with ServerProcess(tmp_path / "data", "--workers", "1", "--config", str(settings)) as server:
        mirror = Mirror(server, proxy, None)  # type: ignore[arg-type]
        own = push_image(mirror.local, "own")

        assert mirror.get("manifests/other", name="team/app").status == 404
        assert mirror.get("manifests/1", name="team/elsewhere").status == 404
        assert mirror.get("manifests/own", name="team/app").body == own.payload

    assert not proxy.requests


@pytest.mark.parametrize("client", ["skopeo", "moorage"])
def test_push_by_a_bare_name_that_the_root_upstream_has_too_is_whole(
    tmp_path: Path, proxy: Proxy, registry: DockerRegistry, client: str
) -> None:
    """What the upstream has of that name is no reason to leave a byte of it out."""
    settings = write_settings(tmp_path, proxy.url, "root = true")
    with ServerProcess(tmp_path / "data", "--workers", "1", "--config", str(settings)) as server:
        mirror = Mirror(server, proxy, registry)
        image = push_image(mirror.upstream, "1")
        # seen here before by that name
        assert mirror.get("manifests/1", name=REMOTE).status == 200
        for digest in image.layers:
            assert mirror.get(f"blobs/{digest}", "HEAD", name=REMOTE).status == 404

        copy(client, f"127.0.0.1:{registry.address.port}/{REMOTE}:1", f"127.0.0.1:{server.port}/{REMOTE}:1")

        proxy.refuse()
        pulled = mirror.get("manifests/1", name=REMOTE)
        assert (pulled.body, "oci-namespace" in pulled.headers) == (image.payload, False)
        for digest in image.layers:
            assert mirror.get(f"blobs/{digest}", name=REMOTE).body == image.blobs[digest]


def copy(client: str, source: str, destination: str) -> None:
    """Copy an image between two registries."""
    if client == "skopeo":
        require("skopeo", "skopeo")
        command = [
            "skopeo",
            "copy",
            "--preserve-digests",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ]
        ends = [f"docker://{source}", f"docker://{destination}"]
    else:
        command, ends = [sys.executable, "-m", "moorage", "copy"], [source, destination]
    subprocess.run([*command, *ends], check=True, timeout=60)


def test_wrong_manifest_is_never_served(mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1")
    size = len(image.payload)
    html = b"<html>" + bytes(size)
    faults = (
        Fault(flip_at=size // 2),
        Fault(length=size - 1),
        Fault(length=size + 1),
        Fault(cut_at=size // 2),
        Fault(cut_at=size // 2, is_reset=True),
        Fault(body=html),
        Fault(body=b"{" + b" " * 8 * MIB + b"}"),
    )
    for number, fault in enumerate(faults):
        mirror.proxy.spoil(fault, f"/manifests/{image.digest}", "GET")
        mirror.proxy.spoil(fault, "/manifests/1", "GET")
        for reference in (image.digest, "1"):
            got = mirror.get(f"manifests/{reference}")
            assert got.status in {502, 504}, (fault, got)
        assert not mirror.rows("SELECT 1 FROM manifest WHERE digest = ?", image.digest)
        mirror.proxy.mend()
        # a tag that was asked for before would be known to be absent
        absent = f"manifests/absent-{number}"
        wait_until(lambda absent=absent: mirror.get(absent).status == 404, seconds=AGAIN_S)  # type: ignore[misc]

    mirror.pull(image)


def test_manifest_that_is_not_here_is_fetched_once_whichever_worker_is_asked(mirror: Mirror) -> None:
    """Each `get` is a connection of its own: both workers have some."""
    mirror.proxy.spoil(Fault(delay_s=0.5), "/manifests/", "GET")
    images = [push_image(mirror.upstream, tag) for tag in "123"]

    with ThreadPoolExecutor(48) as clients:
        wanted = [each for each in images for _ in range(16)]
        tagged = list(clients.map(lambda each: mirror.get(f"manifests/{each.tag}"), wanted))

    assert [(got.status, got.body) for got in tagged] == [(200, each.payload) for each in wanted]
    for each in images:
        assert mirror.proxy.count("GET", f"/manifests/{each.tag}") == 1


def test_worker_killed_while_it_fetches_a_manifest_keeps_nobody_waiting(mirror: Mirror) -> None:
    image = push_image(mirror.upstream, "1")
    mirror.proxy.spoil(Fault(delay_s=6), "/manifests/1", "GET", times=1)

    with ThreadPoolExecutor(16) as clients:
        pulls = [clients.submit(mirror.get, "manifests/1") for _ in range(16)]
        wait_until(lambda: mirror.proxy.count("GET", "/manifests/1") == 1)
        (fetching,) = worker_at(children_of(mirror.server.pid), mirror.proxy.port)
        os.kill(fetching, signal.SIGKILL)
        got = [pull.result() for pull in pulls]

    # those of the worker that died were cut; the others did not wait for the six seconds to be over
    served = [each for each in got if each.status]
    assert served
    for each in served:
        assert (each.status, each.body) == (200, image.payload)
        assert each.seconds < 6
    assert mirror.proxy.count("GET", "/manifests/1") == 2

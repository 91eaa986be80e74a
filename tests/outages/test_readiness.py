"""Being ready for when the line is down: prefetches, rehearsals and budgets, as an operator has them."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bench.servers import DockerRegistry
from tests.cli.commands import Ran, moorage
from tests.faults.means import wait_until
from tests.outages.images import push_image, push_signed_index
from tests.outages.mirror import NAME, REMOTE, Mirror, write_settings
from tests.outages.proxy import Proxy
from tests.servers import ServerProcess

KIB = 1024
MIB = 1024 * KIB
HOUR_MS = 3_600_000

Serve = Callable[..., Mirror]


@pytest.fixture
def serve(registry: DockerRegistry, proxy: Proxy, tmp_path: Path) -> Iterator[Serve]:
    """A mirror whose upstream has these lines in the settings."""
    with ExitStack() as stack:

        def start(*lines: str, tables: str = "") -> Mirror:
            settings = write_settings(tmp_path, proxy.url, *lines, freshness="1h", tables=tables)
            server = ServerProcess(tmp_path / "data", "--workers", "2", "--config", str(settings))
            return Mirror(stack.enter_context(server), proxy, registry)

        yield start


def run(mirror: Mirror, *arguments: str) -> Ran:
    """`moorage upstream` on the folder of a mirror that runs."""
    settings = mirror.server.data_dir.parent / "moorage.toml"
    folder = ("--config", settings, "--data", mirror.server.data_dir)
    return moorage("upstream", *arguments, *folder)


def test_what_is_pinned_is_pulled_without_the_line(serve: Serve) -> None:
    mirror = serve('pins = ["library/app:>=2"]')
    images = {tag: push_image(mirror.upstream, tag) for tag in ("1.0", "2.0", "2.1")}
    signed = push_signed_index(mirror.upstream, "3.0")

    told = run(mirror, "prefetch", NAME).check()

    assert "3 images are here" in told.out
    assert "job " in told.err
    mirror.proxy.refuse()
    for tag in ("2.0", "2.1"):
        mirror.pull(images[tag])
    mirror.pull(signed)
    for digest in signed.blobs:
        assert mirror.is_kept(digest)
    assert mirror.get("manifests/1.0").is_refused
    assert run(mirror, "prefetch", "--json").code == 1


def test_client_goes_before_the_prefetch_where_bandwidth_is_capped(serve: Serve) -> None:
    mirror = serve('pins = ["library/app:pinned"]', 'bandwidth = ["00:00-24:00 1MiB"]')
    pinned = push_image(mirror.upstream, "pinned", (6 * MIB,))
    wanted = push_image(mirror.upstream, "wanted", (2 * MIB,))

    def prefetched_bytes() -> int:
        return sum(path.stat().st_size for path in (mirror.server.data_dir / "uploads").iterdir())

    with ThreadPoolExecutor(1) as beside:
        prefetch = beside.submit(run, mirror, "prefetch", NAME)
        wait_until(lambda: prefetched_bytes() > MIB)
        before = prefetched_bytes()
        mirror.pull(wanted)
        # with as much as the client it would be two
        assert prefetched_bytes() - before < MIB
        assert "1 image is here" in prefetch.result().check().out

    mirror.proxy.refuse()
    mirror.pull(pinned)


def test_rehearsal_tells_what_is_missing_and_closes_the_gap(serve: Serve) -> None:
    mirror = serve()
    image = push_image(mirror.upstream, "1.0", (10_000, 20_000))
    whole = push_image(mirror.upstream, "2.0")
    mirror.pull(image, blobs=image.layers[:1])
    mirror.pull(whole)
    wait_until(lambda: len(mirror.rows("SELECT 1 FROM pull")) >= 4, seconds=20)

    told = run(mirror, "rehearse")
    assert told.code == 1
    assert f"✗ {NAME}/{REMOTE}:1.0: 2 parts are missing, 29.3 KiB" in told.out
    assert image.layers[-1] in told.out
    assert "1 of 2 images that were pulled in 30 days can be had without the line" in told.out

    found = run(mirror, "rehearse", NAME, "--fetch", "--json").json()
    assert (found["gap_count"], found["whole"], found["fetched_blobs"]) == (0, 2, 2)
    mirror.proxy.refuse()
    mirror.pull(image)
    assert run(mirror, "rehearse").code == 0


def test_rehearsal_says_what_cannot_be_had(serve: Serve) -> None:
    mirror = serve()
    image = push_image(mirror.upstream, "1.0")
    mirror.pull(image, blobs=[])
    wait_until(lambda: bool(mirror.rows("SELECT 1 FROM pull")), seconds=20)
    mirror.proxy.refuse()

    told = run(mirror, "rehearse", "--fetch")

    assert told.code == 1
    assert f"{NAME}/{REMOTE}:1.0: {image.layers[0]}: " in told.out
    assert "0 of 1 images" in told.out
    assert "no such upstream" in run(mirror, "rehearse", "none").refusal


def test_budget_is_kept_by_itself_and_takes_nothing_that_a_local_image_needs(serve: Serve) -> None:
    jobs = '[jobs]\nevict = "every 1s"\ngarbage = "every 1s"'
    mirror = serve('budget = "250KiB"', tables=jobs)
    images = [push_image(mirror.upstream, f"{number}.0", (100 * KIB,)) for number in range(4)]
    shared = images[0]
    for image in images:
        mirror.pull(image)
    for digest in shared.layers:
        mirror.local.push_blob(shared.blobs[digest])
    mirror.local.push_manifest(shared.top, "own")
    wait_until(lambda: len(mirror.rows("SELECT 1 FROM pull")) >= 8, seconds=20)
    # an hour later, the first was used longest ago
    with closing(sqlite3.connect(mirror.server.data_dir / "moorage.db", timeout=30)) as db, db:
        for at, image in enumerate(images):
            age_ms = HOUR_MS - at * 60_000
            db.execute(
                "UPDATE manifest SET pushed_at = pushed_at - ? WHERE digest = ?", (age_ms, image.digest)
            )
            db.execute(
                "UPDATE pull SET last_at = last_at - ? WHERE reference IN (?, ?)",
                (age_ms, image.tag, image.digest),
            )

    event = mirror.server.wait_for_event("images_evicted", upstream=NAME, seconds=20)

    assert event["images"] == 2
    assert [mirror.rows("SELECT 1 FROM tag WHERE name = ?", image.tag) != [] for image in images] == [
        False,
        False,
        True,
        True,
    ]
    # a minute later the bytes are gone, of what no one else has
    wait_until(lambda: not mirror.rows("SELECT 1 FROM deletion"), seconds=20)
    with closing(sqlite3.connect(mirror.server.data_dir / "moorage.db", timeout=30)) as db, db:
        db.execute("UPDATE lease SET until = until - 70000")
    wait_until(lambda: not mirror.files_of(images[1].layers[-1]), seconds=20)
    for digest in shared.layers:
        assert mirror.is_kept(digest)
        assert mirror.local.send("GET", f"blobs/{digest}").status == 200
    mirror.pull(images[1])


def test_backup_carries_what_is_mirrored_as_far_as_it_is_here(serve: Serve, tmp_path: Path) -> None:
    mirror = serve()
    whole, part = push_image(mirror.upstream, "1.0"), push_image(mirror.upstream, "2.0", (10_000, 20_000))
    mirror.pull(whole)
    mirror.pull(part, blobs=part.layers[:1])
    settings = tmp_path / "moorage.toml"
    moorage("backup", tmp_path / "backup", "--config", settings, "--data", mirror.server.data_dir).check()
    moorage("restore", tmp_path / "backup", "--data", tmp_path / "restored").check()
    mirror.server.terminate()
    mirror.proxy.refuse()

    with ServerProcess(tmp_path / "restored", "--workers", "1", "--config", str(settings)) as server:
        restored = Mirror(server, mirror.proxy, mirror.registry)
        restored.pull(whole)
        restored.pull(part, blobs=part.layers[:1])
        assert restored.get(f"blobs/{part.layers[-1]}").is_refused
        folder = ("--config", settings, "--data", server.data_dir)
        assert moorage("store", "check", "--json", *folder).json()["counts"] == {}
        assert "2 are not here" in moorage("verify", f"{NAME}/{REMOTE}:2.0", *folder).check().out
        mirror.proxy.mend()
        wait_until(lambda: restored.get(f"blobs/{part.layers[-1]}").status == 200, seconds=30)
        restored.pull(part)

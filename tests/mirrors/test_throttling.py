"""Bandwidth: caps by the hours of the day, shared by all processes of a data folder; clients go first."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from moorage.mirrors.claims import Claims
from moorage.mirrors.fill import Fill
from moorage.mirrors.throttling import LINGER_S, PATIENCE_S, Throttle, cap_at
from moorage.mirrors.upstreams import Upstream
from moorage.oci.digest import digest_of
from moorage.oci.names import RepositoryName
from tests.mirrors.conftest import HUB, until
from tests.registry.conftest import anyio_backend

__all__ = ["anyio_backend"]

MIB = 1 << 20


def capped(*caps: str) -> Upstream:
    upstream: Upstream = msgspec.structs.replace(HUB, bandwidth=caps)
    return upstream


@pytest.mark.parametrize(
    ("caps", "at", "expected"),
    [
        ((), "12:00", None),
        (("08:00-18:00 2MiB",), "07:59", None),
        (("08:00-18:00 2MiB",), "08:00", 2 * MIB),
        (("08:00-18:00 2MiB",), "18:00", None),
        (("22:00-06:00 1MiB",), "23:00", MIB),
        (("22:00-06:00 1MiB",), "05:59", MIB),
        (("22:00-06:00 1MiB",), "06:00", None),
        (("00:00-24:00 10MiB", "08:00-18:00 512KiB"), "12:00", MIB // 2),
        (("08:00-18:00 0",), "12:00", 0),
    ],
)
def test_cap_of_an_hour(caps: tuple[str, ...], at: str, expected: int | None) -> None:
    hour, minute = map(int, at.split(":"))
    moment = datetime(2026, 11, 27, hour, minute, tzinfo=UTC)

    assert cap_at(capped(*caps), int(moment.timestamp() * 1000)) == expected


def open_throttle(folder: Path) -> Throttle:
    return Throttle(folder / "bandwidth", Claims(folder / "mirrors.lock"))


def blob(upstream: Upstream, name: str = "blob", *, has_client: bool = True) -> Fill:
    digest = digest_of(name.encode())
    return Fill(upstream, RepositoryName("docker.io/library/nginx"), digest, None, has_client=has_client)


async def take_all(throttle: Throttle, fill: Fill, pieces: int, size: int) -> None:
    for _ in range(pieces):
        await throttle.take(fill, size)


@pytest.mark.anyio
async def test_processes_share_one_allowance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = capped("00:00-24:00 1MiB")
    waited = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr("moorage.mirrors.throttling.asyncio.sleep", note)
    began = time.monotonic()

    # two of them, each with its own file open: 1 MiB in all, of which a quarter is free at once
    await asyncio.gather(*(take_all(open_throttle(tmp_path), blob(upstream), 8, MIB // 16) for _ in range(2)))

    # less would be more than the cap; how much longer it takes is the machine's
    assert time.monotonic() - began >= 0.74
    assert waited


@pytest.mark.anyio
async def test_no_cap_or_none_of_clients_waits_for_nothing(tmp_path: Path) -> None:
    for upstream in (HUB, capped("00:00-24:00 0")):
        await take_all(open_throttle(tmp_path), blob(upstream), 100, 1 << 30)

    assert not (tmp_path / "bandwidth").exists()


@pytest.mark.anyio
async def test_file_of_before_the_machine_was_started_holds_no_one_up(tmp_path: Path) -> None:
    (tmp_path / "bandwidth").mkdir()
    (tmp_path / "bandwidth" / "docker.io").write_bytes(b"\xff" * 7 + b"\x7f")
    (tmp_path / "bandwidth" / "quay.io").write_bytes(b"half")

    for name in ("docker.io", "quay.io"):
        upstream = msgspec.structs.replace(capped("00:00-24:00 1GiB"), name=name)
        async with asyncio.timeout(10):
            await take_all(open_throttle(tmp_path), blob(upstream), 2, MIB)


@pytest.mark.anyio
async def test_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "bandwidth").write_text("a file")

    async with asyncio.timeout(10):
        await take_all(open_throttle(tmp_path), blob(capped("00:00-24:00 1B")), 2, MIB)


class Background:
    """A blob that no one waits for, as it comes; `pieces` have come."""

    def __init__(self, throttle: Throttle, fill: Fill) -> None:
        self.pieces = 0
        self._task = asyncio.create_task(self._take(throttle, fill))

    async def _take(self, throttle: Throttle, fill: Fill) -> None:
        while True:
            await throttle.take(fill, MIB // 64)
            self.pieces += 1

    async def until(self, pieces: int) -> None:
        await until(lambda: self.pieces >= pieces)

    def stop(self) -> None:
        self._task.cancel()


@pytest.mark.anyio
async def test_clients_go_before_what_no_one_waits_for(tmp_path: Path) -> None:
    upstream, throttle = capped("00:00-24:00 1MiB"), open_throttle(tmp_path)
    prefetched = Background(throttle, blob(upstream, "prefetched", has_client=False))
    await prefetched.until(20)

    before = prefetched.pieces
    await take_all(throttle, blob(upstream), 96, MIB // 64)

    # with as much as the client it would be 96
    assert prefetched.pieces - before < 10
    await prefetched.until(prefetched.pieces + 10)
    prefetched.stop()


@pytest.mark.anyio
async def test_what_no_one_waits_for_is_not_held_up_for_ever(tmp_path: Path) -> None:
    """Its upstream would cut it; and with two upstreams each has its own clients."""
    upstream, throttle = capped("00:00-24:00 1MiB"), open_throttle(tmp_path)
    other: Upstream = msgspec.structs.replace(upstream, name="quay.io")
    client = asyncio.create_task(take_all(throttle, blob(upstream), 10_000, MIB // 64))
    await asyncio.sleep(LINGER_S)
    began = time.monotonic()

    await throttle.take(blob(other, has_client=False), 1)
    assert time.monotonic() - began < PATIENCE_S
    async with asyncio.timeout(60):
        await throttle.take(blob(upstream, "prefetched", has_client=False), 1)

    assert time.monotonic() - began >= PATIENCE_S
    assert not client.done()
    client.cancel()


@pytest.mark.anyio
async def test_blob_that_a_client_comes_to_wait_for_goes_first_from_then_on(tmp_path: Path) -> None:
    upstream, throttle = capped("00:00-24:00 1MiB"), open_throttle(tmp_path)
    client = asyncio.create_task(take_all(throttle, blob(upstream), 10_000, MIB // 64))
    fill = blob(upstream, "prefetched", has_client=False)
    prefetched = Background(throttle, fill)
    await asyncio.sleep(LINGER_S)
    assert prefetched.pieces < 5

    fill.has_client = True

    await prefetched.until(20)
    assert not client.done()
    client.cancel()
    prefetched.stop()


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from tests.mirrors.test_throttling import blob, capped, open_throttle, say_again_and_again, take_all

throttle, upstream = open_throttle(Path(sys.argv[1])), capped("00:00-24:00 1MiB")
if sys.argv[2] == "pulls":
    work = take_all(throttle, blob(upstream), 10_000, 1 << 14)
else:
    work = say_again_and_again(throttle, blob(upstream, "prefetched"))
asyncio.run(work)
"""


async def say_again_and_again(throttle: Throttle, fill: Fill) -> None:
    """As whoever waits for a blob that another process brings."""
    while True:
        throttle.say_waited_for(fill)
        await asyncio.sleep(LINGER_S / 4)


@contextmanager
def other_process(folder: Path, does: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, str(folder), does])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.anyio
async def test_clients_of_other_processes_go_first_as_long_as_these_live(tmp_path: Path) -> None:
    upstream, throttle = capped("00:00-24:00 1MiB"), open_throttle(tmp_path)
    looking = Claims(tmp_path / "mirrors.lock")
    prefetched = Background(throttle, blob(upstream, "prefetched", has_client=False))

    async def until_it_pulls(*, pulls: bool) -> None:
        await until(lambda: looking.is_shared(f"clients of {upstream.name} ") == pulls)

    with other_process(tmp_path, "pulls"):
        await until_it_pulls(pulls=True)
        before = prefetched.pieces
        await asyncio.sleep(2)
        assert prefetched.pieces - before < 10

        with other_process(tmp_path, "waits for what is prefetched"):
            # as fast as the one that pulls
            await prefetched.until(prefetched.pieces + 40)

    await until_it_pulls(pulls=False)
    await prefetched.until(prefetched.pieces + 40)
    prefetched.stop()

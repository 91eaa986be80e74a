"""Bandwidth: caps by the hours of the day, shared by all processes of a data folder."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from moorage.mirrors.throttling import Throttle, cap_at
from moorage.mirrors.upstreams import Upstream
from tests.mirrors.conftest import HUB
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


async def take_all(throttle: Throttle, upstream: Upstream, pieces: int, size: int) -> None:
    for _ in range(pieces):
        await throttle.take(upstream, size)


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
    first, second = Throttle(tmp_path / "bandwidth"), Throttle(tmp_path / "bandwidth")
    await asyncio.gather(take_all(first, upstream, 8, MIB // 16), take_all(second, upstream, 8, MIB // 16))

    # less would be more than the cap; how much longer it takes is the machine's
    assert time.monotonic() - began >= 0.74
    assert waited


@pytest.mark.anyio
async def test_no_cap_or_none_of_clients_waits_for_nothing(tmp_path: Path) -> None:
    for upstream in (HUB, capped("00:00-24:00 0")):
        await take_all(Throttle(tmp_path / "bandwidth"), upstream, 100, 1 << 30)

    assert not (tmp_path / "bandwidth").exists()


@pytest.mark.anyio
async def test_file_of_before_the_machine_was_started_holds_no_one_up(tmp_path: Path) -> None:
    (tmp_path / "docker.io").write_bytes(b"\xff" * 7 + b"\x7f")
    (tmp_path / "quay.io").write_bytes(b"half")

    for name in ("docker.io", "quay.io"):
        upstream = msgspec.structs.replace(capped("00:00-24:00 1GiB"), name=name)
        async with asyncio.timeout(10):
            await take_all(Throttle(tmp_path), upstream, 2, MIB)


@pytest.mark.anyio
async def test_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "bandwidth").write_text("a file")

    async with asyncio.timeout(10):
        await take_all(Throttle(tmp_path / "bandwidth"), capped("00:00-24:00 1B"), 2, MIB)

"""Many small requests from many connections at once.

wrk makes them, except for HEAD: wrk 4.1 waits for the body that Content-Length
speaks of and a HEAD reply does not have, so HEAD has a loop of its own.
"""

import json
import select
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.client import Address, WrongReply

CONNECTIONS = 16

_GRACE_S = 30.0

# Prints its own summary: wrk's is for the eye. Latencies are in microseconds.
_SCRIPT = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "micros": %d, "bad": %d, "broken": %d, "p50": %.1f, "p99": %.1f}\\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered, all of it well."""

    requests: int
    wall_s: float
    p50_ms: float
    p99_ms: float


def run_wrk(
    address: Address, target: str, seconds: int, folder: Path, headers: Mapping[str, str] | None = None
) -> Load:
    """GET `target` from 16 connections for `seconds`; one thread, so that it takes little of the cores.

    Raises WrongReply when a reply was not 2xx or a connection broke.
    """
    script = folder / "report.lua"
    script.write_text(_SCRIPT, encoding="ascii")
    named = [word for name, value in (headers or {}).items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-s", str(script), *named]
    command += [f"http://{address.host}:{address.port}{target}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + _GRACE_S)
    said = json.loads(next(line for line in reversed(ran.stdout.splitlines()) if line.startswith("{")))
    if said["bad"] or said["broken"] or not said["requests"]:
        raise WrongReply(f"GET {target} by wrk: {said}")
    return Load(said["requests"], said["micros"] / 1e6, said["p50"] / 1e3, said["p99"] / 1e3)


def run_head(address: Address, target: str, seconds: int, headers: Mapping[str, str]) -> Load:
    """HEAD `target` from 16 connections for `seconds`, each sending again as soon as it is answered.

    Raises WrongReply when a reply was not 200 or a connection broke.
    """
    lines = [f"HEAD {target} HTTP/1.1", f"Host: {address.host}:{address.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode("ascii")
    walls_s: list[float] = []
    poll = select.epoll()
    sockets = {}
    try:
        for _ in range(CONNECTIONS):
            opened = socket.create_connection(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[opened.fileno()] = opened
            poll.register(opened.fileno(), select.EPOLLIN)
        began = time.perf_counter()
        _answer_all(poll, sockets, request, began + seconds, walls_s)
        wall_s = time.perf_counter() - began
    finally:
        poll.close()
        for opened in sockets.values():
            opened.close()
    walls_s.sort()
    return Load(
        len(walls_s), wall_s, walls_s[len(walls_s) // 2] * 1e3, walls_s[len(walls_s) * 99 // 100] * 1e3
    )


def _answer_all(
    poll: select.epoll,
    sockets: Mapping[int, socket.socket],
    request: bytes,
    until: float,
    walls_s: list[float],
) -> None:
    """Keep one request under way on each socket until the time is over and the last is answered."""
    now = time.perf_counter
    sent_at = {}
    heads = dict.fromkeys(sockets, b"")
    for number, opened in sockets.items():
        sent_at[number] = now()
        opened.send(request)
    while sent_at:
        events = poll.poll(_GRACE_S)
        if not events:
            raise WrongReply(f"no reply to HEAD within {_GRACE_S:.0f} s")
        for number, _ in events:
            opened = sockets[number]
            received = opened.recv(65536)
            head = heads[number] + received
            if received and not head.endswith(b"\r\n\r\n"):
                heads[number] = head
                continue
            if not head.startswith(b"HTTP/1.1 200 "):
                raise WrongReply(f"HEAD was answered {head[:200]!r}")
            heads[number] = b""
            at = now()
            walls_s.append(at - sent_at[number])
            if at < until:
                sent_at[number] = at
                opened.send(request)
            else:
                del sent_at[number]

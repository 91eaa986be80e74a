"""Processes that are killed, stopped, out of file descriptors or without a log."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.content import digest_of, some_bytes
from tests.faults.images import Pushed, check_folder, check_image, push_image, resume
from tests.faults.means import (
    WrappedServer,
    begin_request,
    children_of,
    count_descriptors,
    cpu_seconds,
    is_running,
    require,
    wait_until,
    wait_until_ended,
)
from tests.servers import ServerProcess
from tests.spec.client import Client, Repository

MIB = 1 << 20
DESCRIPTORS = 64


def test_f13_out_of_descriptors_it_waits_without_spinning_and_recovers(tmp_path: Path) -> None:
    require("prlimit", "util-linux")
    limit = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with WrappedServer(limit, tmp_path / "data", "--workers", "1") as server:
        repository = Repository(Client(server.port))
        old = push_image(repository, "old")
        with ExitStack() as crowd:
            for _ in range(DESCRIPTORS * 2):
                connection = crowd.enter_context(socket.socket())
                connection.settimeout(0)
                connection.connect_ex(("127.0.0.1", server.port))
            time.sleep(0.5)
            workers = children_of(server.pid)
            before = cpu_seconds(workers)
            started = time.monotonic()
            time.sleep(3)

            share = (cpu_seconds(workers) - before) / (time.monotonic() - started)

        assert share < 0.2, f"{share:.0%} of a processor while it can accept no one"
        wait_until(server.is_ready)
        assert children_of(server.pid) == workers
        check_image(repository, old)
        push_image(repository, "new")
        check_folder(server.data_dir)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_f13_push_without_a_descriptor_left_is_503_and_succeeds_when_there_is_one(
    tmp_path: Path, method: str
) -> None:
    """The connections are taken first, so that it is the push that finds none left."""
    require("prlimit", "util-linux")
    limit = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with WrappedServer(limit, tmp_path / "data", "--workers", "1") as server:
        repository = Repository(Client(server.port))
        content = some_bytes(3000)
        location = repository.begin() if method != "POST" else repository.path("blobs/uploads/")
        target = location if method == "PATCH" else f"{location}?digest={digest_of(content)}"
        (worker,) = children_of(server.pid)
        with ExitStack() as crowd:
            kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            crowd.callback(kept.close)
            kept.request("GET", "/v2/")
            kept.getresponse().read()
            while (taken := count_descriptors(worker)) < DESCRIPTORS:
                crowd.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                wait_until(lambda: count_descriptors(worker) > taken)

            kept.request(method, target, content)
            refused = kept.getresponse()
            body = refused.read()

        assert refused.status == 503, (refused.status, body)
        assert refused.headers["Retry-After"]
        wait_until(lambda: repository.client.send(method, target, content).status in {201, 202})


def test_f51_told_to_stop_under_load_it_finishes_what_is_under_way_and_loses_nothing(
    server: ServerProcess, repository: Repository
) -> None:
    acknowledged: list[Pushed] = []
    stop = threading.Event()

    def push_on(number: int) -> None:
        own = Repository(Client(server.port), f"load/{number}")
        while not stop.is_set():
            try:
                pushed = push_image(own, "latest", layer_bytes=MIB)
            except (OSError, http.client.HTTPException):
                return
            acknowledged.append(Pushed(pushed.tag, pushed.manifest, (own.name.encode(), *pushed.blobs)))

    slow = some_bytes(MIB)
    location = repository.begin()
    with ThreadPoolExecutor(8) as clients, repository.client.open() as connection:
        loads = [clients.submit(push_on, number) for number in range(8)]
        begin_request(connection, "PUT", f"{location}?digest={digest_of(slow)}", MIB)
        connection.sendall(slow[:1000])
        wait_until(lambda: len(acknowledged) > 20, seconds=30)

        os.kill(server.pid, signal.SIGTERM)
        started = time.monotonic()
        time.sleep(1)
        connection.sendall(slow[1000:])
        finished = connection.recv(4096)
        wait_until_ended(server.pid)
        seconds = time.monotonic() - started
        stop.set()
        for load in loads:
            load.result()

    assert finished.startswith(b"HTTP/1.1 201 "), finished
    assert server.kill() == 0
    assert seconds < 10
    server.start()
    check_folder(server.data_dir)
    assert repository.send("GET", f"blobs/{digest_of(slow)}").body == slow
    for pushed in acknowledged:
        name, *blobs = pushed.blobs
        own = Repository(repository.client, name.decode())
        assert own.send("GET", f"manifests/{digest_of(pushed.manifest)}").body == pushed.manifest
        for blob in blobs:
            assert own.send("GET", f"blobs/{digest_of(blob)}").body == blob


def test_f51_what_takes_longer_than_the_drain_is_cut_and_can_be_gone_on_with(tmp_path: Path) -> None:
    config = tmp_path / "moorage.toml"
    config.write_text('[server]\ndrain = "1s"\n')
    content = some_bytes(MIB)
    with ServerProcess(tmp_path / "data", "--workers", "2", "--config", str(config)) as server:
        repository = Repository(Client(server.port))
        location = repository.begin()
        with repository.client.open() as connection:
            begin_request(connection, "PATCH", location, MIB)
            connection.sendall(content[:500_000])
            time.sleep(0.5)
            started = time.monotonic()

            code = server.terminate()

        assert time.monotonic() - started < 4
        assert code == 0
        server.start()
        check_folder(server.data_dir)
        resume(repository, location, content)


def test_f51_told_to_stop_it_answers_no_new_connection_and_ends_with_the_last_old_one(
    server: ServerProcess, repository: Repository
) -> None:
    location = repository.begin()
    with repository.client.open() as busy:
        begin_request(busy, "PATCH", location, 1000)
        busy.sendall(b"x" * 500)
        os.kill(server.pid, signal.SIGTERM)

        wait_until(lambda: ask_briefly(server.port) is None)

        busy.sendall(b"x" * 500)
        assert busy.recv(4096).startswith(b"HTTP/1.1 202 ")
    wait_until_ended(server.pid)
    assert server.kill() == 0


def ask_briefly(port: int) -> int | None:
    """GET /v2/; the status, or None when it was refused, cut or not answered in a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_f51_told_to_stop_twice_it_drains_all_the_same(
    server: ServerProcess, repository: Repository, again: signal.Signals
) -> None:
    location = repository.begin()
    with repository.client.open() as busy:
        begin_request(busy, "PATCH", location, 1000)
        busy.sendall(b"x" * 500)
        for number in (signal.SIGTERM, again):
            os.kill(server.pid, number)
            time.sleep(0.3)

        busy.sendall(b"x" * 500)
        assert busy.recv(4096).startswith(b"HTTP/1.1 202 ")

    wait_until_ended(server.pid)
    assert server.kill() == 0


def test_f52_killed_worker_is_replaced_while_others_serve_and_its_upload_goes_on(
    server: ServerProcess, repository: Repository
) -> None:
    old = push_image(repository, "old")
    content = some_bytes(2 * MIB)
    location = repository.begin()
    assert repository.follow(location, "PATCH", content[:MIB]).status == 202
    parent = server.pid
    for victim in children_of(parent):
        with repository.client.open() as connection:
            head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB}\r\n"
            claim = f"Content-Range: {MIB}-{2 * MIB - 1}\r\n\r\n"
            connection.sendall((head + claim).encode() + content[MIB : MIB + 1000])
            time.sleep(0.1)

            os.kill(victim, signal.SIGKILL)

            wait_until(lambda: not is_running(victim))  # noqa: B023
            check_image(repository, old)
        wait_until(lambda: victim not in children_of(parent) and len(children_of(parent)) == 2)  # noqa: B023

    assert server.pid == parent
    wait_until(lambda: repository.client.send("GET", location).status == 204)
    resume(repository, location, content)
    check_folder(server.data_dir)
    assert server.log_events("worker_died")


def test_f52_every_request_is_answered_while_workers_are_killed_one_by_one(
    server: ServerProcess, repository: Repository
) -> None:
    """Those that the killed worker had accepted are cut; a client that asks again is served."""
    old = push_image(repository, "old")
    cut, served = 0, 0
    for number in range(60):
        if number % 20 == 10:
            os.kill(children_of(server.pid)[0], signal.SIGKILL)
        try:
            assert repository.send("GET", "manifests/old").body == old.manifest
            served += 1
        except (ConnectionError, http.client.HTTPException):
            cut += 1
        time.sleep(0.02)

    assert cut <= 3
    assert served >= 57


SILENT = [
    pytest.param('exec "$@" 2>/dev/full', id="F54 standard error is full"),
    pytest.param('exec "$@" 2>&-', id="F54 standard error is closed"),
    pytest.param('exec "$@" 2>&- 1>&-', id="F54 both outputs are closed"),
    pytest.param('exec "$@" 2> >(exec true)', id="F54 no one reads standard error"),
]


@pytest.mark.parametrize("redirect", SILENT)
def test_registry_goes_on_without_its_log(tmp_path: Path, redirect: str) -> None:
    config = tmp_path / "moorage.toml"
    config.write_text('[log]\nrequests = true\nlevel = "debug"\nformat = "json"\n')
    wrapper = ["bash", "-c", redirect, "bash"]
    arguments = ("--workers", "2", "--config", str(config))
    with WrappedServer(wrapper, tmp_path / "data", *arguments) as server:
        repository = Repository(Client(server.port))

        for number in range(5):
            check_image(repository, push_image(repository, f"v{number}"))

        assert repository.send("GET", "manifests/absent").status == 404
        assert server.terminate() == 0
        server.start()
        assert repository.send("GET", "manifests/v0").status == 200
        check_folder(server.data_dir)


BAD_SETTINGS = [
    pytest.param(
        "[uploads]\nexpiri = '1s'\n", [":2:", "expiri", "did you mean expiry"], id="F50 unknown key"
    ),
    pytest.param(
        "\n[upload]\nexpiry = '1s'\n", [":2:", "[upload]", "did you mean uploads"], id="F50 section"
    ),
    pytest.param("[server]\nworkers = 'two'\n", [":2:", "server.workers"], id="F50 wrong type"),
    pytest.param("[limits]\n\nbody_idle = '0s'\n", [":3:", "limits.body_idle"], id="F50 out of range"),
    pytest.param("[server\n", ["not TOML"], id="F50 no TOML"),
]


@pytest.mark.parametrize(("text", "said"), BAD_SETTINGS)
def test_bad_setting_is_named_with_its_place_and_nothing_is_made(
    tmp_path: Path, text: str, said: list[str]
) -> None:
    config = tmp_path / "moorage.toml"
    config.write_text(text)
    command = [sys.executable, "-m", "moorage", "serve", "--listen", "127.0.0.1:0"]

    ended = subprocess.run(
        [*command, "--data", tmp_path / "data", "--config", config],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    for words in [str(config), *said]:
        assert words in ended.stderr
    assert not (tmp_path / "data").exists()


def test_two_registries_do_not_share_a_folder(server: ServerProcess, repository: Repository) -> None:
    old = push_image(repository, "old")
    command = [sys.executable, "-m", "moorage", "serve", "--listen", "127.0.0.1:0"]

    ended = subprocess.run(
        [*command, "--data", server.data_dir], capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    assert "another Moorage" in ended.stderr
    check_image(repository, old)

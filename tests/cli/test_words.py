"""What people are told of trouble is in words, not in Python's or another's."""

import errno
import socket
import ssl
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from typer.testing import CliRunner

from moorage.app import _handlers
from moorage.cli.main import app
from moorage.cli.manage.following import how_much
from moorage.cli.manage.jobs import KINDS
from moorage.connecting import AddressRefused, in_words
from moorage.mirrors.asking import Unreachable
from moorage.mirrors.upstreams import Address
from moorage.upstream.client import HttpRegistry
from tests.cli.commands import moorage
from tests.servers import find_free_port


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 5999)"), "refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect ('::1', 1), [Errno 113] Connect"), "no route"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no route to it"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "no answer from the name server"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError("Remote end closed connection"), "broke the connection off"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong (_ssl.c:1000)"), ""),
        (AddressRefused(errno.EACCES, "10.0.0.1 is no public address"), "10.0.0.1 is no public address"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_failed_connection_is_told_in_words(error: OSError, words: str) -> None:
    told = in_words(error)

    assert words in told
    assert told
    assert not any(raw in told for raw in ("Errno", "Connect call", "_ssl.c", "Multiple"))


@pytest.mark.anyio
async def test_upstream_that_refuses_is_told_in_words() -> None:
    registry = HttpRegistry(("127.0.0.0/8",))
    port = find_free_port()
    try:
        with pytest.raises(Unreachable) as refusal:
            await registry.ping(Address(f"http://127.0.0.1:{port}"), 10)
    finally:
        await registry.close()

    assert str(refusal.value) == f"no connection to 127.0.0.1:{port}: connection refused"


@pytest.mark.parametrize(
    ("registry", "words"),
    [("http://127.0.0.1:1", "connection refused"), ("http://no-such-host.invalid", "name unknown")],
)
def test_registry_that_does_not_answer_is_told_in_words(registry: str, words: str) -> None:
    refusal = moorage("whoami", "--registry", registry).refusal

    assert f"does not answer: {words}" in refusal
    assert "Errno" not in refusal


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("jobs", "show", "x"), "want a whole number; this is 'x'"),
        (("jobs", "list", "-n", "0"), "want 1 or more; this is '0'"),
        (("connect", "foo"), "'foo' is not one of 'docker', 'containerd', 'podman', 'kubernetes'"),
        (("trash", "restore", "app"), "see `moorage trash list`; this is 'app'"),
    ],
)
def test_value_of_a_command_is_refused_in_our_words(arguments: tuple[str, ...], words: str) -> None:
    ran = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})

    assert ran.exit_code == 2
    told = " ".join(ran.stderr.split())
    assert words in told
    assert "Value error" not in told
    assert "Input should" not in told


def test_kind_of_job_that_there_is_not_is_refused_with_those_there_are(folder: Path) -> None:
    told = " ".join(moorage("jobs", "list", "--kind", "foo", "--data", folder).err.split())

    assert "no jobs of kind 'foo'; there are" in told
    assert "garbage" in told
    assert moorage("jobs", "list", "--kind", "untagged", "--data", folder).code == 0


@pytest.mark.parametrize(
    ("done", "total", "unit", "words"),
    [
        (1, None, "tags", "1 tag"),
        (2, None, "tags", "2 tags"),
        (1, 5, "images", "1 of 5 images (20 %)"),
        (1, 1, "repositories", "1 of 1 repository (100 %)"),
    ],
)
def test_one_thing_is_told_as_one(done: int, total: int | None, unit: str, words: str) -> None:
    progress = {"done": done, "total": total, "unit": unit, "note": ""}

    assert how_much({"progress": progress}) == words


def test_each_kind_of_job_that_someone_does_can_be_listed() -> None:
    assert set(_handlers(MagicMock())) == set(KINDS)

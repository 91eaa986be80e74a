"""`moorage tags` and `moorage immutable`: on the folder and over the network."""

import base64
import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moorage.cli.manage.client import Client, Unreachable
from moorage.cli.manage.digests import find_digest
from moorage.cli.manage.words import read_moment
from tests.cli.commands import PASSWORD, moorage
from tests.content import OCI_MANIFEST, digest_of, encode, image, some_bytes
from tests.servers import ServerProcess


class Pusher:
    """Pushes as alice over one connection."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()

    def send(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> int:
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": kind}
        self._connection.request(method, f"/v2/{path}", body, headers)
        reply = self._connection.getresponse()
        reply.read()
        return reply.status

    def push(self, repository: str, *tags: str) -> str:
        """A new image of 2 MB under tags; its digest."""
        config = json.dumps({"os": "linux", "architecture": "arm64", "nonce": some_bytes(8).hex()}).encode()
        layer = some_bytes(2_000_000)
        for blob in (config, layer):
            assert self.send("POST", f"{repository}/blobs/uploads/?digest={digest_of(blob)}", blob) == 201
        payload = encode(image(config, [layer]))
        query = "&".join(f"tag={tag}" for tag in tags)
        path = f"{repository}/manifests/{digest_of(payload)}?{query}"
        assert self.send("PUT", path, payload, OCI_MANIFEST) == 201
        return digest_of(payload)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def pusher(server: ServerProcess) -> Iterator[Pusher]:
    pusher = Pusher(server)
    yield pusher
    pusher.close()


def test_tags_are_listed_by_version_for_a_person(folder: Path, pusher: Pusher) -> None:
    digest = pusher.push("team/listed", "1.9.0", "1.10.0", "latest")
    other = pusher.push("team/listed", "1.9.0-rc.1")
    moorage("tags", "pin", "team/listed:1.9.0", "--data", folder).check()
    rule = moorage("immutable", "add", "team/listed", "1.10.*", "--json", "--data", folder).json()["id"]

    lines = moorage("tags", "list", "team/listed", "--data", folder).check().out.splitlines()

    assert lines[0].split() == [
        *("TAG", "SIZE", "PLATFORMS", "PUSHED", "BY", "LAST", "PULL", "PULLS", "KEPT", "DIGEST", "SAME"),
        "DIGEST",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["1.10.0", "1.9.0", "1.9.0-rc.1", "latest"]
    assert f"fixed by rule {rule}" in lines[1]
    assert "1.9 MiB" in lines[1]
    assert "linux/arm64" in lines[1]
    assert digest[:19] in lines[1]
    assert "1.9.0, latest" in lines[1]
    assert "pinned" in lines[2]
    assert other[:19] in lines[3]


def test_tags_are_listed_in_any_order_and_number(folder: Path, pusher: Pusher) -> None:
    for tag in ("b", "a", "c"):
        pusher.push("team/ordered", tag)
    local = ("team/ordered", "--json", "--data", folder)

    def names(*options: str) -> list[str]:
        return [each["name"] for each in moorage("tags", "list", *options, *local).json()]

    assert names("--sort", "time") == ["c", "a", "b"]
    assert names("--sort", "name") == ["a", "b", "c"]
    assert names("--sort", "name", "--reverse") == ["c", "b", "a"]
    assert names("--match", "re:[ab]") == ["b", "a"]
    few = moorage("tags", "list", "-n", "2", *local)
    assert len(few.json()) == 2
    assert few.err == "There are more than 2: choose with -n.\n"


def test_history_tells_and_restore_puts_back(folder: Path, pusher: Pusher) -> None:
    first = pusher.push("team/moved", "latest")
    second = pusher.push("team/moved", "latest")
    moorage("tags", "delete", "team/moved:latest", "--data", folder).check()

    told = moorage("tags", "history", "team/moved", "--data", folder).check().out.splitlines()
    said = moorage("tags", "restore", "team/moved:latest", "--to", first, "--data", folder).check().out

    assert told[0].split() == ["AT", "TAG", "WAS", "FROM", "TO", "BY"]
    assert [line.split()[3] for line in told[1:]] == ["deleted", "moved", "made"]
    assert (first[:19] in told[2], second[:19] in told[2]) == (True, True)
    assert told[1].endswith("operator")
    assert said == f"team/moved:latest points to {first}.\n"


def test_restore_of_what_is_not_there_says_why(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/gone", "latest")
    nowhere = "sha256:" + "0" * 64

    lost = moorage("tags", "restore", "team/gone:latest", "--to", nowhere, "--data", folder).refusal
    early = moorage("tags", "restore", "team/gone:latest", "--at", "2h ago", "--data", folder).refusal

    assert f"{nowhere} is not in team/gone and not in its trash: push it again" in lost
    assert "team/gone:latest was not there yet at " in early


@pytest.mark.parametrize(
    "arguments",
    [
        ("tags", "restore", "team/app:1"),
        ("tags", "restore", "team/app:1", "--at", "1h", "--to", "sha256:0"),
        ("tags", "restore", "team/app:1", "--at", "yesterday"),
        ("tags", "delete", "team/app"),
        ("tags", "pin", "host:5000/app"),
        ("immutable", "add", "team/*"),
        ("immutable", "add", "team/*", "1.*", "--preset", "versions"),
        ("immutable", "add", "team/*", "--preset", "none"),
    ],
)
def test_command_that_says_nothing_clear_is_refused(folder: Path, arguments: tuple[str, ...]) -> None:
    assert moorage(*arguments, "--data", folder).code == 2


def test_rules_are_made_listed_and_removed_over_the_network(
    server: ServerProcess, admin_token: str, pusher: Pusher
) -> None:
    digest = pusher.push("team/fixed", "1.0.0", "1.0")
    remote = ("--registry", server.url)
    env = {"MOORAGE_TOKEN": admin_token}

    added = moorage("immutable", "add", "team/fixed", "--preset", "versions", *remote, env=env).check().out
    listed = moorage("immutable", "list", "--json", *remote, env=env).json()
    refused = moorage("tags", "delete", "team/fixed:1.0.0", *remote, env=env).refusal
    moorage("tags", "delete", "team/fixed:1.0", *remote, env=env).check()
    rule = next(each["id"] for each in listed if each["scope"] == "team/fixed")
    moorage("immutable", "remove", rule, *remote, env=env).check()
    moorage("tags", "delete", "team/fixed:1.0.0", *remote, env=env).check()

    assert added == f"Rule {rule} fixes tags in team/fixed: preset versions.\n"
    assert f"the tag is fixed: team/fixed:1.0.0 cannot be deleted: rule {rule}" in refused
    assert digest not in refused


def test_tag_that_is_called_as_a_preset_is_told_apart_from_it(folder: Path) -> None:
    ran = moorage("immutable", "add", "team/preset", "versions", "--data", folder).check()

    assert "moorage immutable add 'team/preset' --preset versions" in ran.err
    by_preset = moorage("immutable", "add", "team/preset", "--preset", "versions", "--data", folder).check()
    assert "--preset" not in by_preset.err


def test_moment_is_a_time_or_so_long_ago() -> None:
    assert read_moment("2026-01-31T08:00:00Z") == "2026-01-31T08:00:00.000+00:00"
    assert read_moment("2026-01-31T08:00:00") == "2026-01-31T08:00:00.000+00:00"
    for text in ("2h ago", "2h"):
        moment = datetime.fromisoformat(str(read_moment(text)))
        ago = datetime.now(UTC) - moment
        assert timedelta(hours=2) <= ago < timedelta(hours=2, minutes=1)


@pytest.mark.parametrize("text", ["2026-11-27 04:41:23Z", "2026-11-27T04:41:23"])
def test_moment_in_whole_seconds_ends_with_its_second(text: str) -> None:
    assert read_moment(text, is_end=True) == "2026-11-27T04:41:23.999+00:00"


def test_moment_with_a_fraction_is_taken_as_it_is() -> None:
    assert read_moment("2026-11-27 04:41:23.250Z", is_end=True) == "2026-11-27T04:41:23.250+00:00"


def test_tag_goes_back_to_where_a_time_copied_from_the_history_says(folder: Path, pusher: Pusher) -> None:
    first = pusher.push("team/copied", "latest")
    moorage("tags", "delete", "team/copied:latest", "--data", folder).check()
    time.sleep(1)
    moorage("tags", "restore", "team/copied:latest", "--to", first, "--data", folder).check()
    time.sleep(1)
    moorage("tags", "delete", "team/copied:latest", "--data", folder).check()
    line = moorage("tags", "history", "team/copied:latest", "--data", folder).check().out.splitlines()[2]
    at = " ".join(line.split()[:2])

    said = moorage("tags", "restore", "team/copied:latest", "--at", at, "--data", folder).check().out

    assert said == f"team/copied:latest points to {first}.\n"


def test_digest_may_be_given_as_the_history_shows_it(folder: Path, pusher: Pusher) -> None:
    first = pusher.push("team/short", "latest")
    second = pusher.push("team/short", "latest")
    local = ("--data", folder)

    said = moorage("tags", "restore", "team/short:latest", "--to", first[:19], *local).check().out
    moorage("verify", f"team/short@{second[:19]}", *local).check()
    deleted = moorage("delete", f"team/short@{second[:19]}", *local).check().out
    back = moorage("tags", "restore", "team/short:back", "--to", second[:19], *local).check().out

    assert said == f"team/short:latest points to {first}.\n"
    assert deleted.startswith(f"team/short@{second} is in the trash")
    assert back == f"team/short:back points to {second}.\n"


def test_beginning_of_no_digest_is_refused_in_words(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/unknown", "latest")

    said = moorage("tags", "restore", "team/unknown:latest", "--to", "sha256:" + "0" * 12, "--data", folder)

    assert "no tag or deletion in team/unknown names sha256:000000000000...: give the whole" in said.refusal


def test_beginning_of_two_digests_is_refused_with_both() -> None:
    digests = [f"sha256:{'a' * 12}{number:052}" for number in (1, 2)]

    def send(_method: str, target: str, _body: bytes | None) -> tuple[int, bytes]:
        items = [{"from_digest": None, "to_digest": each} for each in digests] if "history" in target else []
        return 200, json.dumps({"items": items, "next": None}).encode()

    with pytest.raises(Unreachable) as refusal:
        find_digest(Client(send), "team/app", digests[0][:19])

    assert str(refusal.value) == f"{digests[0][:19]} may be any of {', '.join(digests)}: give more of it"
    assert find_digest(Client(send), "team/app", digests[0][:-1] + "2") == digests[1]


def test_history_of_a_tag_that_never_was_is_refused_in_words(folder: Path, pusher: Pusher) -> None:
    pusher.push("team/never", "latest")

    said = moorage("tags", "history", "team/never:other", "--data", folder).refusal

    assert said == "moorage: there is no tag team/never:other, and never was\n"

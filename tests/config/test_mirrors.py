"""Upstreams in the settings: what is read, and what an operator is told to mend."""

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moorage.cli.main import app
from moorage.config import Settings
from moorage.config_file import SettingsRefused, load
from moorage.config_mirrors import AlternativeSettings, UpstreamSettings, read_bandwidth
from moorage.mirrors.configuring import UpstreamsUnusable, configured_upstreams
from moorage.mirrors.upstreams import Address
from moorage.setting import GIB


def read(path: Path, text: str) -> Settings:
    path.write_text(text)
    return load(path, {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moorage.toml"


def problems(path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsRefused) as refusal:
        read(path, text)
    return [problem.replace(f"{path.parent}/", "") for problem in refusal.value.problems]


def upstream(**values: str) -> str:
    """A table of one upstream; each value is TOML."""
    lines = {"name": '"registry.example"', **values}
    return "[[mirrors.upstreams]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


ALL = """
[[mirrors.upstreams]]
name = "docker.io"
alternatives = ["https://mirror.example", { url = "https://two.example/hub" }]
alternatives_may = "known"
root = true
include = ["library/*"]
exclude = ["library/old"]
platforms = ["linux/amd64", "linux/arm/v7"]
pins = ["library/{debian,python}:*-slim", "library/redis:>=7 <8", "library/nginx"]
freshness = "1h"
budget = "200GiB"
bandwidth = ["08:00-18:00 2MiB", "22:00-24:00 10MiB"]
"""


def test_every_key_of_an_upstream_is_read(path: Path) -> None:
    (stated,) = read(path, ALL).mirrors.upstreams
    (made,) = configured_upstreams(read(path, ALL).mirrors)

    assert stated.alternatives == (
        AlternativeSettings("https://mirror.example"),
        AlternativeSettings("https://two.example/hub"),
    )
    assert made.is_configured
    assert made.address == Address("https://registry-1.docker.io")
    assert made.hosts == ("registry-1.docker.io", "index.docker.io")
    assert [each.url for each in made.alternatives] == ["https://mirror.example", "https://two.example/hub"]
    assert (made.alternatives_may, made.is_root, made.freshness_ms) == ("known", True, 3_600_000)
    assert (made.include, made.exclude) == (("library/*",), ("library/old",))
    assert (made.budget_bytes, made.platforms) == (200 * GIB, ("linux/amd64", "linux/arm/v7"))


def test_alternatives_may_stand_under_headers_of_their_own(path: Path) -> None:
    text = upstream() + '[[mirrors.upstreams.alternatives]]\nurl = "https://one.example"\n'

    (made,) = read(path, text).mirrors.upstreams

    assert made.alternatives == (AlternativeSettings("https://one.example"),)


def test_upstreams_in_the_environment_are_json() -> None:
    text = '[{"name": "lan.example", "alternatives": ["https://b.example"], "freshness": "1m"}]'

    (made,) = load(None, {"MOORAGE_MIRRORS_UPSTREAMS": text}).mirrors.upstreams

    assert made == UpstreamSettings(
        "lan.example",
        alternatives=(AlternativeSettings("https://b.example"),),
        freshness=timedelta(minutes=1),
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": '"docker.io:5000"'}, "name: want the first part of a repository's name"),
        (
            {"name": '"Docker"', "url": '"https://x.example"'},
            "name: want the first part of a repository's name",
        ),
        ({"name": '"everyone"', "url": '"https://x.example"'}, "name: everyone has a meaning of its own"),
        ({"name": '"status"', "url": '"https://x.example"'}, "name: status has a meaning of its own"),
        ({"name": '"lan"'}, "url: is missing"),
        ({"hosts": '["https://x"]'}, "hosts: want what clients call it"),
        ({"alternatives_may": '"maybe"'}, "alternatives_may: want known, new or any"),
        ({"include": '["Library/*"]'}, "include: want a repository of it"),
        ({"platforms": '["linux"]'}, "platforms: want a platform"),
        ({"pins": '["library/{a"]'}, "pins: want images"),
        ({"pins": '["library/x:"]'}, "pins: want images"),
        ({"freshness": '"-1s"'}, "freshness: want a duration"),
        ({"freshness": '"366d"'}, "freshness: want 0s to 365d"),
        ({"budget": '"0"'}, "budget: want 1 or more"),
        ({"bandwidth": '["8-18 2MiB"]'}, "bandwidth: want hours and bytes a second"),
        ({"bandwidth": '["08:00-08:00 2MiB"]'}, "bandwidth: want hours that are not over"),
        ({"username": '"me"'}, "password_file: is missing, as there is a username"),
        ({"password_file": '"/etc/pass"'}, "username: is missing, as there is a password_file"),
        ({"freshnes": '"1s"'}, "did you mean freshness?"),
        ({"alternatives": '["ftp://x.example"]'}, "alternatives.url: want a URL"),
        ({"alternatives": "[5]"}, "alternatives: want a list of tables"),
        ({"alternatives": '["https://registry.example"]'}, "https://registry.example is there twice"),
    ],
)
def test_what_cannot_be_is_told_by_its_key(path: Path, values: dict[str, str], told: str) -> None:
    (problem,) = problems(path, upstream(**values))

    assert told in problem
    assert problem.startswith("moorage.toml:")


@pytest.mark.parametrize(
    "url",
    [
        "registry.example",
        "file:///etc/passwd",
        "gopher://registry.example",
        "https://me:secret@registry.example",
        "https://me@registry.example",
        "https://registry.example:22",
        "https://registry.example:0",
        "https://registry.example:99999",
        "https://registry.example/?a=b",
        "https://registry.example/#a",
        "https://registry.example/../x",
        "https://registry.example\\\\@127.0.0.1",
        "https://exa mple",
        "https://",
        "https://registry.example:",
        "https://régistry.example",
        "https://1.2.3.4.5",
        "https://256.1.1.1",
        "https://0x7f.1.1.1.1",
        "http://registry.example",
    ],
)
def test_address_that_is_none_is_refused(path: Path, url: str) -> None:
    found = problems(path, upstream(url=f'"{url}"'))

    assert len(found) == 1
    assert "secret" not in found[0]


PRIVATE = [
    "https://127.0.0.1",
    "https://127.1",
    "https://0x7f.1",
    "https://017700000001",
    "https://2130706433",
    "https://localhost",
    "https://localhost:5000",
    "https://a.localhost",
    "https://[::1]",
    "https://[::ffff:127.0.0.1]",
    "https://[::127.0.0.1]",
    "https://[64:ff9b::7f00:1]",
    "https://[fec0::1]",
    "https://[2002:7f00:1::]",
    "https://169.254.169.254",
    "https://metadata.google.internal",
    "https://100.64.0.1",
    "https://0.0.0.0",
    "https://0",
    "https://10.1.2.3",
    "https://192.168.1.1:5000/path",
    "https://nas",
    "https://registry.lan",
    "https://registry.home.arpa",
    "https://224.0.0.1",
    "https://[fe80::1]",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_address_that_is_not_public_is_refused_in_any_spelling(path: Path, url: str) -> None:
    own = problems(path, upstream(url=f'"{url}"'))
    alternative = problems(path, upstream(alternatives=f'["{url}"]'))

    assert "mirrors.private_addresses" in own[0]
    assert "mirrors.private_addresses" in alternative[0]


@pytest.mark.parametrize(
    ("network", "url"),
    [
        ("127.0.0.0/8", "http://127.0.0.1:5000"),
        ("127.0.0.0/8", "http://127.1:5000"),
        ("127.0.0.0/8", "http://localhost:5000"),
        ("10.0.0.0/8", "https://10.1.2.3"),
        ("10.0.0.0/8", "http://registry.lan"),
        ("::1/128", "https://[::1]:5000"),
        ("169.254.169.254/32", "https://metadata.google.internal"),
    ],
)
def test_address_in_a_listed_network_is_taken(path: Path, network: str, url: str) -> None:
    text = f'[mirrors]\nprivate_addresses = ["{network}"]\n'

    assert read(path, text + upstream(url=f'"{url}"')).mirrors.upstreams[0].url == url


def test_address_outside_the_listed_networks_stays_refused(path: Path) -> None:
    text = '[mirrors]\nprivate_addresses = ["10.0.0.0/8"]\n'

    for url in ("https://127.1", "https://metadata.google.internal", "http://10.example.com"):
        assert problems(path, text + upstream(url=f'"{url}"'))


def test_network_that_is_none_is_told(path: Path) -> None:
    (problem,) = problems(path, '[mirrors]\nprivate_addresses = ["ten"]\n')

    assert "mirrors.private_addresses: want a network" in problem


def test_two_upstreams_of_one_name_are_refused(path: Path) -> None:
    (problem,) = problems(path, upstream() + upstream())

    assert "registry.example is there twice" in problem


def test_two_upstreams_that_are_called_the_same_are_refused(path: Path) -> None:
    text = upstream() + upstream(name='"other.example"', hosts='["registry.example"]')

    (problem,) = problems(path, text)

    assert "registry.example is what registry.example and other.example are both called" in problem


def test_two_roots_are_refused(path: Path) -> None:
    text = upstream(root="true") + upstream(name='"other.example"', root="true")

    (problem,) = problems(path, text)

    assert "one upstream may be the root" in problem


def test_secret_comes_from_its_file_and_is_shown_to_no_one(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    settings = read(path, upstream(username='"me"', password_file=f'"{secret}"'))

    (made,) = configured_upstreams(settings.mirrors)

    assert (made.address.username, made.address.password) == ("me", "hunter2")
    assert "hunter2" not in repr(made) + repr(settings)


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_secret_that_cannot_be_read_is_told_with_its_file(
    path: Path, tmp_path: Path, content: bytes | None
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    settings = read(path, upstream(username='"me"', password_file=f'"{secret}"'))

    with pytest.raises(UpstreamsUnusable, match=r"registry\.example: password_file: .*secret: "):
        configured_upstreams(settings.mirrors)


@pytest.mark.parametrize("pin", ["library/redis:>=7 <<8", "library/redis:re:(", "library/redis:a b"])
def test_pin_that_cannot_be_read_is_told(path: Path, pin: str) -> None:
    settings = read(path, upstream(pins=f'["{pin}"]'))

    with pytest.raises(UpstreamsUnusable, match=r"registry\.example: pins: 'library/redis:"):
        configured_upstreams(settings.mirrors)


def test_settings_with_upstreams_are_checked_and_shown(path: Path, tmp_path: Path) -> None:
    path.write_text(ALL)
    shown = CliRunner().invoke(app, ["config", "show", "--config", str(path)]).stdout
    missing = tmp_path / "missing"
    broken = tmp_path / "broken.toml"
    broken.write_text(upstream(username='"me"', password_file=f'"{missing}"'))

    checked = CliRunner().invoke(app, ["config", "check", "--config", str(broken)])

    path.write_text(shown)
    assert load(path, {}).mirrors == read(path, ALL).mirrors
    assert (checked.exit_code, "missing: No such file" in checked.stderr) == (1, True)


def test_cap_is_read_in_minutes_of_the_day() -> None:
    assert read_bandwidth("08:30-24:00 2MiB") == (510, 1440, 2 << 20)
    assert read_bandwidth("22:00-06:00 100") == (1320, 360, 100)

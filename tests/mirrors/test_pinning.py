"""Pins: which repositories and tags a text means."""

import pytest

from moorage.errors import FieldInvalid
from moorage.mirrors.pinning import TAGS_MAX, read_pin
from moorage.mirrors.upstreams import Address, Upstream
from moorage.oci.names import RepositoryName
from moorage.oci.version_ranges import RangeInvalid, compile_range
from tests.mirrors.conftest import HUB

TAGS = [
    "14",
    "15",
    "15.4",
    "16",
    "16.1",
    "16.1-alpine",
    "17",
    "17-rc1",
    "1.2",
    "1.2.3",
    "1.2.4",
    "1.3",
    "2",
    "0.3",
    "0.3.9",
    "0.4",
    "1.0-rc.1",
    "1.0-rc.2",
    "1.0",
    "1.0.1",
    "3.12-slim",
    "3.13.1-slim",
    "bookworm-slim",
    "latest",
    "main",
]


@pytest.mark.parametrize(
    ("pin", "tags"),
    [
        ("library/debian", ["latest"]),
        ("library/debian:latest", ["latest"]),
        ("library/debian:*-slim", ["3.13.1-slim", "3.12-slim", "bookworm-slim"]),
        ("library/debian:1[0-9]", None),
        (r"library/debian:re:1[67](\.[0-9]+)?", ["17", "16.1", "16"]),
        ("library/debian:>=15 <17", ["16.1", "16", "15.4", "15"]),
        ("library/debian:^1.2", ["1.3", "1.2.4", "1.2.3", "1.2"]),
        ("library/debian:~1.2.3", ["1.2.4", "1.2.3"]),
        ("library/debian:~1.2", ["1.2.4", "1.2.3", "1.2"]),
        ("library/debian:~1", ["1.3", "1.2.4", "1.2.3", "1.2", "1.0.1", "1.0"]),
        ("library/debian:^0.3", ["0.3.9", "0.3"]),
        ("library/debian:=16", ["16.1", "16"]),
        ("library/debian:>15 <=16", ["16.1", "16"]),
        ("library/debian:>=1.0-rc.2 <1.1", ["1.0.1", "1.0", "1.0-rc.2"]),
        ("library/debian:^3.12 -slim", ["3.13.1-slim", "3.12-slim"]),
        ("library/debian:>=16 -alpine", ["16.1-alpine"]),
    ],
)
def test_tags_of_a_pin_the_newest_first(pin: str, tags: list[str] | None) -> None:
    if tags is None:
        with pytest.raises(FieldInvalid):
            read_pin(HUB, pin)
        return

    assert read_pin(HUB, pin).select(TAGS) == tags


def test_pin_means_the_newest_tags_only() -> None:
    tags = [f"1.{number}" for number in range(100)]

    assert read_pin(HUB, "library/debian:*").select(tags) == tags[: -TAGS_MAX - 1 : -1]


@pytest.mark.parametrize(
    ("names", "repositories"),
    [
        ("library/debian", ["library/debian"]),
        ("debian", ["library/debian"]),
        ("docker.io/debian", ["library/debian"]),
        ("docker.io/library/{debian,python}", ["library/debian", "library/python"]),
        (
            "{library,team}/{debian,python}",
            ["library/debian", "library/python", "team/debian", "team/python"],
        ),
        ("library/py*", ["library/python"]),
        ("team/*", ["team/debian", "team/python", "team/deep/er"]),
    ],
)
def test_repositories_of_a_pin(names: str, repositories: list[str]) -> None:
    pin = read_pin(HUB, f"{names}:1")
    there = ["library/debian", "library/python", "team/debian", "team/python", "team/deep/er"]

    assert [name for name in there if pin.is_of(RepositoryName(name))] == repositories


def test_name_of_another_upstream_has_no_namespace_added() -> None:
    quay = Upstream("quay.io", Address("https://quay.io"))

    assert read_pin(quay, "quay.io/tool").names == ("tool",)


@pytest.mark.parametrize("text", ["", "16", ">=", ">=x", ">=1.0-slim", "^1 || ^2", ">=1,<2", "-slim"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RangeInvalid):
        compile_range(text)

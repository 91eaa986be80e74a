"""Tags as versions, against semver's own rule, Python's `packaging`, and what registries hold."""

from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.version import Version

from moorage.oci.versions import version_key

WORDS = ["alpha", "beta", "preview", "rc"]
"""Those whose order is the same in semver as here."""

NUMBERS = st.integers(0, 10**6) | st.integers(0, 10**24)
SEMVERS = st.tuples(
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.none()
    | st.tuples(
        st.sampled_from(WORDS), st.lists(NUMBERS.map(str) | st.from_regex(r"\A[a-c]{1,3}\Z"), max_size=3)
    ).map(lambda parts: (parts[0], *parts[1])),
)
PYTHONS = st.builds(
    lambda release, pre, post, dev: ".".join(map(str, release)) + pre + post + dev,
    st.lists(st.integers(0, 30), min_size=2, max_size=5),
    st.just("") | st.builds("{}{}".format, st.sampled_from(["a", "b", "rc"]), st.integers(0, 30)),
    st.just("") | st.builds(".post{}".format, st.integers(0, 30)),
    st.just(""),
) | st.builds(
    lambda release, pre, dev: ".".join(map(str, release)) + pre + f".dev{dev}",
    st.lists(st.integers(0, 30), min_size=2, max_size=5),
    st.just("") | st.builds("{}{}".format, st.sampled_from(["a", "b", "rc"]), st.integers(0, 30)),
    st.integers(0, 30),
)

Semver = tuple[tuple[int, int, int], tuple[str, ...] | None]


def compare(first: Any, second: Any) -> int:
    """-1, 0 or 1; of two of one type."""
    return int(first > second) - int(first < second)


def precedence(first: Semver, second: Semver) -> int:
    """Semver 2.0.0, "Precedence", word for word."""
    if first[0] != second[0]:
        return compare(first[0], second[0])
    if first[1] is None or second[1] is None:
        return (first[1] is None) - (second[1] is None)
    for mine, other in zip(first[1], second[1], strict=False):
        if mine == other:
            continue
        if mine.isdecimal() and other.isdecimal():
            return compare(int(mine), int(other))
        if mine.isdecimal() != other.isdecimal():
            return -1 if mine.isdecimal() else 1
        return compare(mine, other)
    return compare(len(first[1]), len(second[1]))


def spell(version: Semver) -> str:
    release = ".".join(map(str, version[0]))
    return release if version[1] is None else f"{release}-{'.'.join(version[1])}"


@given(SEMVERS, SEMVERS)
@example(((1, 0, 0), ("alpha",)), ((1, 0, 0), ("alpha", "1")))
@example(((1, 0, 0), ("alpha", "1")), ((1, 0, 0), ("alpha", "a")))
@example(((1, 9, 0), None), ((1, 10, 0), None))
def test_semvers_sort_by_semver(first: Semver, second: Semver) -> None:
    keys = version_key(spell(first)), version_key("v" + spell(second))

    assert compare(*keys) == precedence(first, second)


@given(PYTHONS, PYTHONS)
def test_python_versions_sort_as_packaging_sorts_them(first: str, second: str) -> None:
    assert compare(version_key(first), version_key(second)) == compare(Version(first), Version(second))


@given(st.lists(SEMVERS, min_size=2, max_size=12))
def test_bytes_of_the_key_decide(versions: list[Semver]) -> None:
    ordered = sorted(versions, key=cmp_to_key(precedence))

    by_key = sorted(versions, key=lambda version: version_key(spell(version)).encode("ascii"))

    assert [version_key(spell(each)) for each in by_key] == [version_key(spell(each)) for each in ordered]


@given(st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}\Z"))
def test_any_tag_has_a_key_of_bounded_length(tag: str) -> None:
    key = version_key(tag)

    assert key.isascii()
    assert len(key) <= 4 * len(tag) + 8


@pytest.mark.parametrize(
    "tags",
    [
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0",
        "1.0.dev1 1.0a1 1.0b2 1.0rc1.dev2 1.0rc1 1.0rc1.post1 1.0rc2 1.0 1.0.post1 1.0.1",
        "3.11 3.11-alpine3.9 3.11-alpine3.10 3.11-slim 3.11-slim-bookworm 3.11-1 3.11.1",
        "v1.2 v1.2.3-rc1 1.2.3 v1.2.3-14-g2414721 v1.2.4",
        "1.2.3.4 1.2.3.10 1.2.3.10.1 1.2.4",
        "3.13.0b1-slim 3.13-rc 3.13-rc-slim 3.13",
        "8u292-b10-jdk 8u302-b08-jdk 21-ea-17-jdk 21-ea-18-jdk 21-jdk",
        "1.1.1 1.1.1a 1.1.1w 9.0 9.0p1 9.0p2",
        "1.0.0-M1 1.0.0-M2 1.0.0-RC1-SNAPSHOT 1.0.0-RC1 1.0.0",
        "4.8-1.el8 4.8-2.el8 4.8-10.el8 4.8-10.1.el8",
        "2023.12 2024.01 2024.1.5 2024.10",
        "2023-12-31 2024-01-02 2024-01-15-alpine 2024-10-01",
        "20231231 20240101 20240131235959 20240201",
        "RELEASE.2023-12-01T00-00-00Z RELEASE.2024-01-16T16-07-38Z",
        "7 8 10 4711 123456",
        "7-alpine 8-alpine 10-alpine 2022-latest",
        "1.9999999999999999999999999999 1.10000000000000000000000000000",
        "1." + "9" * 98 + " 1." + "1" * 99 + " 1." + "1" * 110,
    ],
)
def test_tags_as_registries_hold_them_sort_as_a_person_would(tags: str) -> None:
    keys = [version_key(tag) for tag in tags.split()]

    assert keys == sorted(set(keys))
    assert all(keys)


@pytest.mark.parametrize(
    "tags", ["1 1.0 1.0.0 v1 V1.0", "1.0-rc1 1.0-rc.1 1.0-rc-1 1.0rc1 1.0.0-RC.01", "2024.01 2024.1"]
)
def test_one_version_in_other_words_has_one_key(tags: str) -> None:
    assert len({version_key(tag) for tag in tags.split()}) == 1


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        "main",
        "v",
        "release-1.2",
        "feature-2",
        "edge",
        "3d-viewer",
        "1234-mend-login",
        "sha-0123456",
        "sha256-" + "0" * 64 + ".sig",
        # commits, of digits only too
        "2414721",
        "12e4567",
        "4e5b6c7",
        "1b12345",
        "1" * 40,
        "0" * 64,
        "1234567-amd64",
        # no day
        "20249901",
        "20240132",
    ],
)
def test_what_names_no_version_has_no_key(tag: str) -> None:
    assert version_key(tag) == ""

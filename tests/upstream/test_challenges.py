"""What registries ask for, as they write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.upstream.challenges import Challenge, choose_challenge, parse_challenges

WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@pytest.mark.parametrize(
    ("header", "realm", "service", "scope"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull"',
            "https://auth.docker.io/token",
            "registry.docker.io",
            "repository:library/nginx:pull",
        ),
        (
            'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull"',
            "https://ghcr.io/token",
            "ghcr.io",
            "repository:user/image:pull",
        ),
        (
            'Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:a/b:pull,push"',
            "https://quay.io/v2/auth",
            "quay.io",
            "repository:a/b:pull,push",
        ),
        (
            'Bearer realm="https://gitlab.com/jwt/auth",service="r",scope="repository:a/b:pull",error="x"',
            "https://gitlab.com/jwt/auth",
            "r",
            "repository:a/b:pull",
        ),
        (
            'Bearer realm="https://harbor.example/service/token", service="harbor-registry"',
            "https://harbor.example/service/token",
            "harbor-registry",
            "",
        ),
        ("bearer REALM=https://x.example/token , service=x", "https://x.example/token", "x", ""),
        (
            r'Bearer realm="https://x.example/t", service="a \"b\", c=d"',
            "https://x.example/t",
            'a "b", c=d',
            "",
        ),
    ],
)
def test_bearer_is_read_as_registries_write_it(header: str, realm: str, service: str, scope: str) -> None:
    challenge = choose_challenge([header])

    assert challenge is not None
    assert challenge.scheme == "bearer"
    assert [challenge.get(name) for name in ("realm", "service", "scope")] == [realm, service, scope]


def test_basic_is_read_as_registries_write_it() -> None:
    header = 'Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"'

    assert choose_challenge([header]) == Challenge(
        "basic",
        {
            "realm": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",
            "service": "ecr.amazonaws.com",
        },
    )


@pytest.mark.parametrize(
    "headers",
    [
        ['Basic realm="x", Bearer realm="https://x/t",service="s"'],
        ['Basic realm="x"', 'Bearer realm="https://x/t",service="s"'],
        ['Bearer realm="https://x/t",service="s", Basic realm="a, b"'],
        ['Negotiate, NTLM abc==, Bearer realm="https://x/t",service="s"'],
        [', ,Bearer  realm = "https://x/t" ,, service="s",'],
    ],
)
def test_bearer_is_chosen_of_several(headers: list[str]) -> None:
    assert choose_challenge(headers) == Challenge("bearer", {"realm": "https://x/t", "service": "s"})


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["Negotiate"],
        ["Bearer"],
        ['Bearer realm=""'],
        ["Digest realm=x, nonce=y"],
        ['Bearer realm="x'],
    ],
)
def test_what_cannot_be_answered_is_none(headers: list[str]) -> None:
    assert choose_challenge(headers) is None


def test_basic_without_a_realm_is_one_all_the_same() -> None:
    assert choose_challenge(["Basic"]) == Challenge("basic", {})


def test_first_of_two_parameters_counts() -> None:
    challenge = choose_challenge(['Bearer realm="https://good/",realm="https://evil/"'])

    assert challenge is not None
    assert challenge.get("realm") == "https://good/"


@given(st.lists(st.text(max_size=300), max_size=4))
def test_nothing_that_is_sent_breaks_it(headers: list[str]) -> None:
    for each in parse_challenges(headers):
        assert each.scheme == each.scheme.lower()


@given(WORDS, st.dictionaries(WORDS.map(str.lower), VALUES, min_size=1, max_size=5))
def test_what_is_written_by_the_rules_is_read_back(scheme: str, parameters: dict[str, str]) -> None:
    quoted = ['"' + value.replace("\\", r"\\").replace('"', r"\"") + '"' for value in parameters.values()]
    header = f"{scheme} " + ", ".join(
        f"{name}={value}" for name, value in zip(parameters, quoted, strict=True)
    )

    assert parse_challenges([header]) == [Challenge(scheme.lower(), parameters)]


def test_header_of_any_size_is_soon_read() -> None:
    assert (
        parse_challenges(["a=" * 8000, 'Bearer realm="' + "\\" * 16_000, "Basic " * 2700, "x" * 20_000])
        is not None
    )

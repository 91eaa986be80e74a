"""What is checked of an ID token, and which trust a token fits: the pure rules."""

from typing import Any

import pytest

from moorage.clock import now_ms
from moorage.config import Trust
from moorage.identity.federation.checking import TokenRefused, check_id_token
from moorage.identity.federation.trusting import find_trust, is_claim, scopes_of

ISSUER = "https://issuer.example"


def claims(**changes: Any) -> dict[str, Any]:
    now = now_ms() // 1000
    said = {"iss": ISSUER, "sub": "248289", "aud": "moorage", "exp": now + 60, "iat": now, "nonce": "n"}
    return {name: value for name, value in {**said, **changes}.items() if value is not None}


def check(said: dict[str, Any]) -> str:
    return check_id_token(said, ISSUER, "moorage", "n")


@pytest.mark.parametrize(
    "changes",
    [{}, {"aud": ["moorage"]}, {"azp": "moorage"}, {"aud": ["moorage", "x"], "azp": "moorage"}],
    ids=str,
)
def test_id_token_for_us_names_its_subject(changes: dict[str, Any]) -> None:
    assert check(claims(**changes)) == "248289"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"iss": "https://other.example"}, "issuer"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": "moorage-x"}, "audience"),
        ({"aud": {"moorage": 1}}, "audience"),
        ({"aud": ["moorage", "x"]}, "authorized party"),
        ({"aud": ["moorage", "x"], "azp": "x"}, "authorized party"),
        ({"azp": "x"}, "authorized party"),
        ({"nonce": "m"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"exp": None}, "time"),
        ({"exp": True}, "time"),
        ({"exp": 1}, "time"),
        ({"iat": 9e9}, "time"),
        ({"nbf": 9e9}, "time"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": "x" * 256}, "subject"),
    ],
    ids=str,
)
def test_id_token_with_one_thing_wrong_is_refused_by_that(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(TokenRefused, match=f"^{what}: "):
        check(claims(**changes))


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("acme/app", "acme/app"),
        ("acme/*", "acme/app"),
        ("refs/heads/*", "refs/heads/release/1.0"),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main"),
        ("*@example.com", "ci@example.com"),
        ("true", True),
        ("42", 42),
        ("ops", ["dev", "ops"]),
        ("a.b", "a.b"),
    ],
)
def test_claim_fits(pattern: str, value: object) -> None:
    assert is_claim(pattern, value)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("acme/app", "acme/app2"),
        ("acme/app", "xacme/app"),
        ("acme/app", "acme/app\n"),
        ("acme/*", "acmeevil/app"),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:pull_request:ref:refs/heads/main"),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/x/y:ref:refs/heads/main"),
        ("*@example.com", "x:@example.com"),
        ("a.b", "axb"),
        ("true", "True"),
        ("1", True),
        ("ops", ["dev-ops", ["ops"]]),
        ("*", None),
        ("*", {"a": 1}),
        ("x", 1.5),
    ],
)
def test_claim_does_not_fit(pattern: str, value: object) -> None:
    assert not is_claim(pattern, value)


def trust(name: str, **claims: str) -> Trust:
    return Trust(name, ISSUER, "moorage", claims, ("push,delete team/*", "pull library/*"))


def test_first_trust_that_fits_counts() -> None:
    trusts = [trust("a", ref="main"), trust("b", ref="*"), trust("c", ref="dev")]

    assert find_trust(trusts, claims(ref="dev")).name == "b"


def test_all_claims_of_a_trust_must_fit() -> None:
    with pytest.raises(TokenRefused, match=r"^claims: no trust fits what the token says of ref, repository$"):
        find_trust([trust("a", ref="main", repository="x")], claims(ref="main"))


def test_grants_are_scopes_with_what_they_bring() -> None:
    assert [(each.pattern, each.actions) for each in scopes_of(trust("a", ref="main"))] == [
        ("team/*", ("pull", "push", "delete")),
        ("library/*", ("pull",)),
    ]

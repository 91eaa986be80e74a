"""What clients ask a token for. Source: Docker's token authentication, "Token Scope Documentation"."""

import pytest

from moorage.errors import ScopesInvalid
from moorage.identity.tokens.scopes import SCOPES_MAX, parse_scopes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("repository:team/app:pull", {"team/app": "pull"}),
        ("repository:team/app:push,pull", {"team/app": "pull push"}),
        ("repository:team/app:*", {"team/app": "pull push delete"}),
        ("repository:team/app:pull,push,delete", {"team/app": "pull push delete"}),
        ("repository(plugin):team/app:pull", {"team/app": "pull"}),
        ("repository:a:pull repository:b:push", {"a": "pull", "b": "push"}),
        ("repository:a:pull repository:a:push", {"a": "pull push"}),
        ("repository:a:", {"a": ""}),
        ("repository:a:admin", {"a": ""}),
        ("repository:a:PULL", {"a": ""}),
        ("registry:catalog:*", {None: ""}),
        ("registry:catalog:pull", {}),
        # a host's port is part of the name, which is then no repository of ours
        ("repository:host:5000/team/app:pull", {}),
        ("repository:*:*", {}),
        ("repository:team/*:pull", {}),
        ("repository:Team/app:pull", {}),
        ("repository:../x:pull", {}),
        ("repository", {}),
        (":::", {}),
        ("image:team/app:pull", {}),
        ("", {}),
        ("   ", {}),
    ],
)
def test_scopes_are_read_as_clients_write_them(text: str, expected: dict[str | None, str]) -> None:
    asked = {each.name: each.actions for each in parse_scopes([text])}

    assert asked == {name: frozenset(actions.split()) for name, actions in expected.items()}


def test_several_scopes_may_come_in_one_parameter_or_in_many() -> None:
    one = parse_scopes(["repository:a:pull repository:b:pull"])
    many = parse_scopes(["repository:a:pull", "repository:b:pull"])

    assert one == many


def test_b83_more_than_a_hundred_scopes_are_refused() -> None:
    assert len(parse_scopes(f"repository:r{n}:pull" for n in range(SCOPES_MAX))) == SCOPES_MAX

    with pytest.raises(ScopesInvalid):
        parse_scopes([" ".join(f"repository:r{n}:pull" for n in range(SCOPES_MAX + 1))])

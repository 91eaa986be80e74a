"""Endpoint 1: is this a registry?"""

import pytest

from tests.spec.client import Client


@pytest.mark.parametrize("target", ["/v2/", "/v2"])
def test_ping_answers_200_with_an_empty_object(client: Client, target: str) -> None:
    reply = client.send("GET", target)

    assert (reply.status, reply.json) == (200, {})
    assert reply["Content-Type"] == "application/json"


@pytest.mark.parametrize("target", ["/v2/", "/v2"])
def test_ping_says_which_protocol_it_speaks(client: Client, target: str) -> None:
    assert client.send("GET", target)["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_ping_without_accounts_asks_for_no_credentials(client: Client) -> None:
    assert client.send("GET", "/v2/").header("WWW-Authenticate") is None

"""A client that is not installed is said to be so, in one line."""

import pytest

from tests.acceptance import sandbox


def test_a_missing_client_skips_the_test_and_names_its_debian_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "SEARCH_PATH", "/nowhere")
    monkeypatch.delenv("MOORAGE_REQUIRE_CLIENTS", raising=False)

    with pytest.raises(pytest.skip.Exception) as skipped:
        sandbox.require("dockerd")

    assert str(skipped.value) == "dockerd is not installed; on Debian: apt-get install docker.io"


def test_a_missing_client_fails_the_test_where_all_have_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SEARCH_PATH", "/nowhere")
    monkeypatch.setenv("MOORAGE_REQUIRE_CLIENTS", "1")

    with pytest.raises(pytest.fail.Exception, match="apt-get install skopeo"):
        sandbox.require("skopeo")

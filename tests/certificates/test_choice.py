from pathlib import Path

import pytest

from moorage.certificates.choice import uses_tls
from moorage.config_file import load

LOOPBACK = ["127.0.0.1:5000", "127.9.9.9:5000", "[::1]:5000", "localhost:5000"]
BEYOND = ["0.0.0.0:5000", "[::]:5000", "10.0.0.1:5000", "registry.lan:5000"]


def chosen(listen: str, **env: str) -> bool:
    environment = {"MOORAGE_SERVER_LISTEN": listen} | {
        f"MOORAGE_{name}": value for name, value in env.items()
    }
    return uses_tls(load(None, environment))


@pytest.mark.parametrize("listen", LOOPBACK)
def test_loopback_is_plain_unless_tls_is_asked_for(listen: str) -> None:
    assert not chosen(listen)
    assert chosen(listen, TLS_MODE="always")
    assert chosen(listen, TLS_CERTIFICATE="a", TLS_KEY="b")


@pytest.mark.parametrize("listen", BEYOND)
def test_any_other_address_is_encrypted_unless_plain_http_is_asked_for(listen: str) -> None:
    assert chosen(listen)
    assert not chosen(listen, SERVER_INSECURE_HTTP="true")


def test_certificate_of_the_operators_wins_over_plain_http() -> None:
    assert chosen(BEYOND[0], SERVER_INSECURE_HTTP="true", TLS_CERTIFICATE="a", TLS_KEY="b")


def test_path_of_the_certificate_is_one(tmp_path: Path) -> None:
    environment = {"MOORAGE_TLS_CERTIFICATE": str(tmp_path / "a"), "MOORAGE_TLS_KEY": str(tmp_path / "b")}

    assert load(None, environment).tls.certificate == tmp_path / "a"

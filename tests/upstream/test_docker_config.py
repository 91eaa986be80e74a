"""Docker's config.json, with helpers that are real programs."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from moorage.upstream import docker_config
from moorage.upstream.docker_config import Credentials, DockerConfig, DockerConfigError

HUB_KEY = "https://index.docker.io/v1/"

HELPER = """\
#!/bin/sh
# keeps what it is given in a file, and one line for each call
store="$HOME/kept"
echo "$1" >> "$HOME/calls"
case "$1" in
  store) cat > "$store" ;;
  get) read -r server || true
       [ -f "$store" ] || { echo "credentials not found in native keychain"; exit 1; }
       grep -qF "\\"$server\\"" "$store" || { echo "credentials not found in native keychain"; exit 1; }
       cat "$store" ;;
  erase) rm -f "$store" ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / ".docker").mkdir()
    return tmp_path


def config(home: Path, **more: str) -> DockerConfig:
    return DockerConfig({"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", **more})


def write(home: Path, document: object) -> Path:
    path = home / ".docker" / "config.json"
    path.write_text(json.dumps(document))
    return path


def install(home: Path, name: str, script: str = HELPER) -> None:
    path = home / "bin" / f"docker-credential-{name}"
    path.write_text(script)
    path.chmod(0o755)


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text().split()


def auth(name: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("reg.example:5000", "reg.example:5000"),
        ("https://reg.example:5000", "reg.example:5000"),
        ("http://reg.example:5000/v2/", "reg.example:5000"),
        (HUB_KEY, "docker.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ],
)
def test_entry_is_found_by_any_of_its_names(home: Path, key: str, registry: str) -> None:
    write(home, {"auths": {key: auth("me", "a:b"), "other.example": auth("no", "no")}})

    assert config(home).find(registry) == Credentials("me", "a:b")


@pytest.mark.parametrize(
    "key", ["other.example", "reg.example", "reg.example:5000/team", "evil.example/reg.example:5000"]
)
def test_entry_of_another_is_not_found(home: Path, key: str) -> None:
    write(home, {"auths": {key: auth("me", "secret")}})

    assert config(home).find("reg.example:5000") is None


def test_nothing_is_found_without_a_file(home: Path) -> None:
    assert config(home).find("reg.example") is None
    assert not config(home).erase("reg.example")
    assert not config(home).path.exists()


def test_identity_token_goes_before_the_password(home: Path) -> None:
    write(home, {"auths": {"reg.example": {**auth("me", ""), "identitytoken": "the-token"}}})

    assert config(home).find("reg.example") == Credentials("<token>", "the-token")


def test_file_of_podman_is_read_where_docker_has_nothing(home: Path) -> None:
    folder = home / "run" / "containers"
    folder.mkdir(parents=True)
    (folder / "auth.json").write_text(json.dumps({"auths": {"reg.example": auth("pod", "man")}}))
    podman = config(home, XDG_RUNTIME_DIR=str(home / "run"))
    assert podman.find("reg.example") == Credentials("pod", "man")

    write(home, {"auths": {"reg.example": auth("doc", "ker")}})

    assert podman.find("reg.example") == Credentials("doc", "ker")


def test_what_is_stored_is_found_and_erased_and_the_rest_stays(home: Path) -> None:
    other = {"proxies": {"x": [1]}, "HttpHeaders": {"ä": "ö"}}
    path = write(home, {"auths": {"other.example": auth("a", "b")}, **other})
    path.chmod(0o644)

    where = config(home).store("reg.example", Credentials("me", "päss:word"))

    assert str(path) in where
    assert "not encrypted" in where
    assert config(home).find("reg.example") == Credentials("me", "päss:word")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert config(home).erase("reg.example")
    assert json.loads(path.read_text()) == {"auths": {"other.example": auth("a", "b")}, **other}
    assert [each.name for each in path.parent.iterdir()] == ["config.json"]


def test_hub_is_stored_as_docker_stores_it(home: Path) -> None:
    config(home).store("docker.io", Credentials("me", "secret"))

    assert json.loads(config(home).path.read_text()) == {"auths": {HUB_KEY: auth("me", "secret")}}
    assert config(home).erase("docker.io")
    assert config(home).find("docker.io") is None


def test_folder_of_the_environment_is_made_and_a_link_is_kept(home: Path) -> None:
    folder = home / "elsewhere"
    chosen = config(home, DOCKER_CONFIG=str(folder))
    chosen.store("reg.example", Credentials("me", "secret"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    real = home / "real.json"
    chosen.path.rename(real)
    chosen.path.symlink_to(real)

    chosen.store("reg.example", Credentials("me", "other"))

    assert chosen.path.is_symlink()
    assert auth("me", "other") == json.loads(real.read_text())["auths"]["reg.example"]


@pytest.mark.parametrize("settings", [{"credsStore": "box"}, {"credHelpers": {"reg.example": "box"}}])
def test_helper_keeps_the_secret_and_the_file_does_not(home: Path, settings: dict[str, object]) -> None:
    install(home, "box")
    path = write(home, settings)
    docker = config(home)

    assert docker.find("reg.example") is None
    assert docker.store("reg.example", Credentials("me", "secret")) == "in docker-credential-box"
    assert docker.find("reg.example") == Credentials("me", "secret")
    assert "secret" not in path.read_text()
    assert json.loads(path.read_text()) == {**settings, "auths": {"reg.example": {}}}
    assert json.loads((home / "kept").read_text()) == {
        "ServerURL": "reg.example",
        "Username": "me",
        "Secret": "secret",
    }
    assert docker.erase("reg.example")
    assert not docker.erase("reg.example")
    assert docker.find("reg.example") is None
    assert calls(home) == ["get", "store", "get", "get", "erase", "get", "get"]


def test_helper_of_a_registry_goes_before_the_store(home: Path) -> None:
    install(home, "box")
    install(home, "other", "#!/bin/sh\nexit 3\n")
    write(home, {"credsStore": "other", "credHelpers": {"docker.io": "box"}})

    config(home).store("docker.io", Credentials("me", "secret"))

    assert config(home).find("docker.io") == Credentials("me", "secret")
    assert json.loads((home / "kept").read_text())["ServerURL"] == HUB_KEY


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("#!/bin/sh\necho the box is shut; exit 2\n", "docker-credential-box get failed: the box is shut"),
        ("#!/bin/sh\nexit 2\n", "exit code 2"),
        ("#!/bin/sh\necho hello\n", "did not print credentials"),
        ('#!/bin/sh\necho \'{"Username": 1, "Secret": 2}\'\n', "did not print credentials"),
        ("#!/no/such/shell\n", "cannot be run"),
        ("#!/bin/sh\nexec sleep 20\n", "did not end within"),
    ],
)
def test_helper_that_fails_is_told_of(
    home: Path, script: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_config, "HELPER_WITHIN_S", 0.5)
    install(home, "box", script)
    write(home, {"credsStore": "box"})

    with pytest.raises(DockerConfigError, match=says):
        config(home).find("reg.example")


@pytest.mark.parametrize("name", ["../../bin/evil", "a b", "", 7, "x;y"])
def test_helper_that_is_no_name_is_not_run(home: Path, name: object) -> None:
    write(home, {"credsStore": name})

    if name:
        with pytest.raises(DockerConfigError, match="helper that is none"):
            config(home).find("reg.example")
    else:
        assert config(home).find("reg.example") is None


def test_helper_that_is_not_installed_is_told_of(home: Path) -> None:
    write(home, {"credsStore": "desktop"})

    with pytest.raises(DockerConfigError, match="docker-credential-desktop is not on the PATH"):
        config(home).find("reg.example")


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', '{"auths": []}', '{"credHelpers": 7}', '{"auths":null}', "\udcff"]
)
def test_file_that_is_none_of_docker_s_is_told_of_and_left_alone(home: Path, text: str) -> None:
    path = config(home).path
    path.write_text(text, errors="surrogateescape")
    before = path.read_bytes()

    with pytest.raises(DockerConfigError, match=r"config\.json"):
        config(home).find("x.example")
    with pytest.raises(DockerConfigError, match=r"config\.json"):
        config(home).store("x.example", Credentials("a", "b"))

    assert path.read_bytes() == before


def test_entry_that_cannot_be_read_is_told_of(home: Path) -> None:
    write(home, {"auths": {"reg.example": {"auth": "not base64!"}}})

    with pytest.raises(DockerConfigError, match=r"entry for reg\.example"):
        config(home).find("reg.example")


def test_secret_is_in_no_repr() -> None:
    assert "secret" not in repr(Credentials("me", "secret"))

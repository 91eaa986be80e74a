"""What a client is told, on scratch roots; the clients themselves are in tests/acceptance/test_mirrors.py."""

import json
import ssl
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
import yaml  # type: ignore[import-untyped]  # it comes with schemathesis
from typer.testing import CliRunner

from moorage.cli.connect import docker, podman
from moorage.cli.connect.files import Files
from moorage.cli.connect.setup import Mirrored, Registry
from moorage.cli.main import app
from moorage.cli.manage.session import REGISTRY_VARIABLE, TOKEN_VARIABLE
from moorage.web.trust import fingerprint
from tests.cli.commands import Ran, moorage
from tests.servers import ServerProcess, find_free_port

DAEMON = '{\n    "log-driver": "journald",\n    "registry-mirrors": ["https://old.example"]\n}\n'
HUB = Mirrored("docker.io", ("docker.io",), is_root=True)
HOSTS = PurePosixPath("/etc/containerd/certs.d")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("tls") / "data", "--workers", "1", is_tls=True) as server:
        yield server


@pytest.fixture
def pem(tls: ServerProcess) -> str:
    text = (tls.data_dir / "tls" / "authority.pem").read_text()
    return text[text.index("-----BEGIN CERTIFICATE") :]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a daemon.json that only root and its group may read."""
    (tmp_path / "etc" / "docker").mkdir(parents=True)
    (tmp_path / "etc" / "docker" / "daemon.json").write_text(DAEMON)
    (tmp_path / "etc" / "docker" / "daemon.json").chmod(0o640)
    return tmp_path


@pytest.fixture
def options(tls: ServerProcess, root: Path, pem: str) -> tuple[str | Path, ...]:
    known = ("--registry", tls.url, "--fingerprint", fingerprint(ssl.PEM_cert_to_DER_cert(pem)))
    return (*known, "--root", root, "--upstream", "docker.io", "--upstream", "quay.io")


def connect(client: str, *arguments: object, stdin: str = "") -> Ran:
    """The command in this process: there are many runs of it."""
    command = ["connect", client, *map(str, arguments)]
    env = {REGISTRY_VARIABLE: None, TOKEN_VARIABLE: None}
    ran = CliRunner().invoke(app, command, input=stdin, env=env, catch_exceptions=False)
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


def tree(folder: Path) -> dict[str, tuple[int, str | None]]:
    """All that is below a folder: modes, and what files say."""
    return {
        str(each.relative_to(folder)): (each.stat().st_mode, each.read_text() if each.is_file() else None)
        for each in folder.rglob("*")
    }


def test_what_would_be_written_is_shown_and_is_not(
    options: tuple[str | Path, ...], root: Path, pem: str
) -> None:
    before = tree(root)

    shown = connect("docker", *options).check().out

    assert tree(root) == before
    assert "/etc/docker/daemon.json  (changed)" in shown
    assert all(line in shown for line in pem.splitlines())
    assert "systemctl reload docker" in shown
    assert "/quay.io/REPOSITORY:TAG" in shown


def test_docker_keeps_its_other_settings_and_gets_them_back_exactly(
    options: tuple[str | Path, ...], root: Path, tls: ServerProcess, pem: str
) -> None:
    before = tree(root)

    connect("docker", *options, "--write").check()

    path = root / "etc" / "docker" / "daemon.json"
    assert json.loads(path.read_text()) == {
        "log-driver": "journald",
        "registry-mirrors": [tls.url, "https://old.example"],
    }
    assert path.stat().st_mode & 0o777 == 0o640
    assert (root / "etc" / "docker" / "certs.d" / tls.address / "ca.crt").read_text() == pem
    kept = root / "etc" / "moorage" / "connect" / "docker" / "before"
    assert (kept / "etc" / "docker" / "daemon.json").read_text() == DAEMON
    assert kept.stat().st_mode & 0o077 == 0

    connect("docker", "--root", root, "--undo").check()
    assert tree(root) == before


@pytest.mark.parametrize("client", ["docker", "containerd", "podman", "kubernetes"])
def test_second_run_changes_nothing_and_undo_leaves_no_trace(
    options: tuple[str | Path, ...], root: Path, client: str
) -> None:
    before = tree(root)
    connect(client, *options, "--write").check()
    written = tree(root)
    assert len(written) > len(before)

    again = connect(client, *options, "--write").check().out

    assert tree(root) == written
    assert "nothing to do" in again
    connect(client, "--root", root, "--undo").check()
    assert tree(root) == before
    assert "nothing to undo" in connect(client, "--root", root, "--undo").check().out


def test_other_fingerprint_is_refused_and_nothing_is_written(tls: ServerProcess, root: Path) -> None:
    before = tree(root)

    ran = connect("docker", "--registry", tls.url, "--root", root, "--fingerprint", "AB" * 32, "--write")

    assert ran.code == 1
    assert "somebody may be in between" in ran.err
    assert tree(root) == before


@pytest.mark.parametrize(("said", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_root_is_compared_by_a_person_before_it_is_trusted(
    tls: ServerProcess, root: Path, said: str, code: int
) -> None:
    before = tree(root)

    ran = connect("docker", "--registry", tls.url, "--root", root, "--write", stdin=said)

    assert ran.code == code
    assert (tree(root) == before) is bool(code)


def test_root_that_is_trusted_already_is_not_asked_about(
    options: tuple[str | Path, ...], tls: ServerProcess, root: Path
) -> None:
    connect("podman", *options, "--write").check()

    ran = connect("podman", "--registry", tls.url, "--root", root, "--upstream", "ghcr.io", "--write").check()

    assert "Is it the same?" not in ran.out
    text = (root / "etc" / "containers" / "registries.conf.d" / "moorage.conf").read_text()
    assert [each["prefix"] for each in tomllib.loads(text)["registry"]] == ["ghcr.io"]


def test_script_is_asked_nothing(tls: ServerProcess, root: Path) -> None:
    ran = connect("docker", "--registry", tls.url, "--root", root, "--write", "--json")

    assert (ran.code, ran.out) == (1, "")
    assert "--fingerprint" in ran.err


def test_json_says_all_that_a_script_needs(
    options: tuple[str | Path, ...], tls: ServerProcess, root: Path, pem: str
) -> None:
    said = connect("docker", *options, "--write", "--json").json()

    assert (said["client"], said["registry"], said["root"], said["written"]) == ("docker", tls.url, pem, True)
    assert [each["name"] for each in said["upstreams"]] == ["docker.io", "quay.io"]
    assert [(each["path"], each["action"]) for each in said["files"]] == [
        (f"/etc/docker/certs.d/{tls.address}/ca.crt", "create"),
        ("/etc/docker/daemon.json", "change"),
    ]
    assert said["reload"] == ["systemctl reload docker"]
    undone = connect("docker", "--root", root, "--undo", "--json").json()
    assert [each["action"] for each in undone["files"]] == ["restore", "remove"]


def test_file_that_someone_has_changed_since_is_left_by_undo(
    options: tuple[str | Path, ...], root: Path
) -> None:
    connect("docker", *options, "--write").check()
    path = root / "etc" / "docker" / "daemon.json"
    path.write_text(edited := path.read_text().replace("journald", "local"))

    ran = connect("docker", "--root", root, "--undo")

    assert ran.code == 1
    assert "someone has changed it since" in ran.out
    assert path.read_text() == edited
    assert not (root / "etc" / "docker" / "certs.d").exists()


def test_what_someone_has_added_since_is_what_undo_puts_back_after_another_run(
    options: tuple[str | Path, ...], root: Path
) -> None:
    connect("docker", *options, "--write").check()
    path = root / "etc" / "docker" / "daemon.json"
    path.write_text(path.read_text().replace("journald", "local"))

    connect("docker", *options, "--write").check()
    connect("docker", "--root", root, "--undo").check()

    assert json.loads(path.read_text()) == json.loads(DAEMON.replace("journald", "local"))


def test_another_registry_takes_the_place_of_the_first(
    options: tuple[str | Path, ...], root: Path, tls: ServerProcess
) -> None:
    before = tree(root)
    connect("containerd", *options, "--write").check()
    connect("docker", *options, "--write").check()
    other = ("--registry", f"https://localhost:{tls.port}", *options[2:-2])

    connect("docker", *other, "--write").check()
    connect("containerd", *other, "--write").check()

    mirrors = json.loads((root / "etc" / "docker" / "daemon.json").read_text())["registry-mirrors"]
    assert mirrors == [f"https://localhost:{tls.port}", "https://old.example"]
    names = {each.name for each in (root / "etc" / "containerd" / "certs.d").iterdir()}
    assert names == {"docker.io", f"localhost:{tls.port}"}
    for client in ("docker", "containerd"):
        connect(client, "--root", root, "--undo").check()
    assert tree(root) == before


@pytest.mark.parametrize("text", ["{", "[]", '{"registry-mirrors": "https://old.example"}'])
def test_daemon_json_that_docker_would_not_take_is_left_as_it_is(
    options: tuple[str | Path, ...], root: Path, text: str
) -> None:
    (root / "etc" / "docker" / "daemon.json").write_text(text)
    before = tree(root)

    ran = connect("docker", *options, "--write")

    assert ran.code == 1
    assert "/etc/docker/daemon.json" in ran.err
    assert tree(root) == before


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("version = 2\n", '[plugins."io.containerd.grpc.v1.cri".registry]'),
        ("version = 3\n", '[plugins."io.containerd.cri.v1.images".registry]'),
        ("", '[plugins."cri".registry]'),
        (None, '[plugins."io.containerd.cri.v1.images".registry]'),
        (f'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{HOSTS}"\n', None),
        (
            f'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/x:{HOSTS}"\n',
            None,
        ),
        (
            'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/elsewhere"\n',
            "config_path = '/elsewhere'",
        ),
    ],
)
def test_containerd_is_told_what_its_own_version_needs(
    options: tuple[str | Path, ...], root: Path, text: str | None, hint: str | None
) -> None:
    (root / "etc" / "containerd").mkdir()
    if text is not None:
        (root / "etc" / "containerd" / "config.toml").write_text(text)

    shown = connect("containerd", *options).check().out

    assert ("config_path" in shown) is (hint is not None)
    assert hint is None or hint in shown
    assert ("systemctl restart containerd" in shown) is (hint is not None)


def test_containerd_asks_the_upstream_itself_where_the_registry_fails(
    options: tuple[str | Path, ...], root: Path, tls: ServerProcess
) -> None:
    connect("containerd", *options, "--write").check()

    folder = root / "etc" / "containerd" / "certs.d"
    for host, server in (("docker.io", "https://registry-1.docker.io"), ("quay.io", "https://quay.io")):
        assert tomllib.loads((folder / host / "hosts.toml").read_text()) == {
            "server": server,
            "host": {
                tls.url: {
                    "capabilities": ["pull", "resolve"],
                    "ca": f"/etc/containerd/certs.d/{tls.address}/ca.crt",
                }
            },
        }


def test_podman_is_told_of_a_file_that_decides_after_ours(
    options: tuple[str | Path, ...], root: Path
) -> None:
    folder = root / "etc" / "containers" / "registries.conf.d"
    folder.mkdir(parents=True)
    (folder / "zz-own.conf").write_text('[[registry]]\nprefix = "quay.io"\nlocation = "mirror.example"\n')
    (folder / "aa-own.conf").write_text('[[registry]]\nlocation = "docker.io"\n')

    shown = connect("podman", *options).check().out

    assert "zz-own.conf is read after ours and decides for quay.io" in shown
    assert "aa-own.conf" not in shown


@pytest.mark.parametrize("kind", ["k3s", "rke2"])
def test_k3s_node_gets_its_own_file(
    options: tuple[str | Path, ...], root: Path, tls: ServerProcess, pem: str, kind: str
) -> None:
    (root / "var" / "lib" / "rancher" / kind).mkdir(parents=True)
    before = tree(root)

    connect("kubernetes", *options, "--write").check()

    folder = root / "etc" / "rancher" / kind
    assert yaml.safe_load((folder / "registries.yaml").read_text()) == {
        "mirrors": {"docker.io": {"endpoint": [tls.url]}, "quay.io": {"endpoint": [tls.url]}},
        "configs": {tls.address: {"tls": {"ca_file": f"/etc/rancher/{kind}/moorage-ca.crt"}}},
    }
    assert (folder / "moorage-ca.crt").read_text() == pem
    assert not (root / "etc" / "containerd").exists()
    assert "nothing to do" in connect("kubernetes", *options, "--write").check().out
    connect("kubernetes", "--root", root, "--undo").check()
    assert tree(root) == before


def test_k3s_file_of_someone_else_is_not_written_over(options: tuple[str | Path, ...], root: Path) -> None:
    (root / "etc" / "rancher" / "k3s").mkdir(parents=True)
    (root / "etc" / "rancher" / "k3s" / "registries.yaml").write_text("mirrors: {}\n")
    before = tree(root)

    ran = connect("kubernetes", *options, "--write")

    assert ran.code == 1
    assert '"quay.io":\n    endpoint:' in ran.err
    assert tree(root) == before


def test_daemonset_brings_a_node_the_same_files_and_takes_them_back(
    options: tuple[str | Path, ...], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = tmp_path_factory.mktemp("node")
    (node / "docker.io").mkdir()
    (node / "docker.io" / "hosts.toml").write_text("# mine\n")
    before = tree(node)
    connect("containerd", *options, "--write").check()
    wanted = {path: text for path, (_, text) in tree(root / "etc/containerd/certs.d").items() if text}

    run_on(node, connect("kubernetes", *options, "--daemonset").check().out)
    run_on(node, connect("kubernetes", *options, "--daemonset").check().out)

    found = {path: text for path, (_, text) in tree(node).items() if text and not path.endswith("-moorage")}
    assert found == wanted
    run_on(node, connect("kubernetes", *options, "--daemonset", "--undo").check().out)
    assert tree(node) == before


def run_on(node: Path, text: str) -> None:
    """Do what the DaemonSet's container does, once."""
    configuration, daemonset = yaml.safe_load_all(text)
    container = daemonset["spec"]["template"]["spec"]["containers"][0]
    assert "sh /files/connect.sh" in container["command"][-1]
    volumes = {each["name"]: each for each in daemonset["spec"]["template"]["spec"]["volumes"]}
    assert volumes["node"]["hostPath"]["path"] == str(HOSTS)
    assert volumes["files"]["configMap"]["name"] == configuration["metadata"]["name"]
    files = node.with_name(f"{node.name}-files")
    files.mkdir(exist_ok=True)
    for name, content in configuration["data"].items():
        (files / name).write_text(content)
    env = {"FILES": str(files), "NODE": str(node), "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", files / "connect.sh"], env=env, check=True, capture_output=True)


@pytest.mark.parametrize("name", ["../../etc", "a/b", 'a"b', "..", "", "Docker.io", "a\nb"])
def test_upstream_that_is_no_host_is_refused(options: tuple[str | Path, ...], name: str) -> None:
    ran = connect("containerd", *options, "--upstream", name, "--write")

    assert ran.code == 1
    assert "is no upstream" in ran.err


def test_place_that_may_not_be_written_is_said(options: tuple[str | Path, ...]) -> None:
    """Nobody may make a folder there, root neither."""
    ran = connect("podman", *options[:4], "--root", "/sys", "--upstream", "docker.io", "--write")

    assert ran.code == 1
    assert "run this again as root" in ran.err
    assert "Traceback" not in ran.err


def test_link_that_leads_out_of_the_root_is_not_followed(
    options: tuple[str | Path, ...], root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (root / "etc" / "containers").symlink_to(outside)

    ran = connect("podman", *options, "--write")

    assert ran.code == 1
    assert "is a link to" in ran.err
    assert tree(outside) == {}


def test_link_within_the_root_stays_one(options: tuple[str | Path, ...], root: Path) -> None:
    path = root / "etc" / "docker" / "daemon.json"
    path.rename(root / "etc" / "docker.json")
    path.symlink_to("../docker.json")

    connect("docker", *options, "--write").check()
    assert path.is_symlink()
    assert "registry-mirrors" in path.read_text()

    connect("docker", "--root", root, "--undo").check()
    assert path.is_symlink()
    assert path.read_text() == DAEMON


def test_plain_http_is_said_to_be_so_and_allowed_where_docker_would_not_take_it(tmp_path: Path) -> None:
    files = Files(tmp_path, "docker")

    far = docker.set_up(files, Registry("http", "registry.lan:5000"), [HUB]).files[-1]
    near = docker.set_up(files, Registry("http", "127.0.0.1:5000"), [HUB]).files[-1]

    assert json.loads(far.text) == {
        "registry-mirrors": ["http://registry.lan:5000"],
        "insecure-registries": ["registry.lan:5000"],
    }
    assert json.loads(near.text) == {"registry-mirrors": ["http://127.0.0.1:5000"]}
    mirror = tomllib.loads(podman.configuration(Registry("http", "registry.lan:5000"), [HUB]))
    assert mirror["registry"][0]["mirror"] == [{"location": "registry.lan:5000/docker.io", "insecure": True}]


def test_what_the_registry_mirrors_is_asked_of_it(
    server: ServerProcess, admin_token: str, folder: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(admin_token)
    url = f"http://{server.address}"
    for name, more in (("docker.io", ["--root"]), ("hub2.example", ["--host", "other.example:5000"])):
        moorage("upstream", "add", name, *more, "--data", folder).check()
    known = ("--registry", url, "--token-file", token, "--root", tmp_path, "--json")

    said = connect("podman", *known).json()

    assert [(each["name"], each["hosts"]) for each in said["upstreams"]] == [
        ("docker.io", ["docker.io"]),
        ("hub2.example", ["hub2.example", "other.example:5000"]),
    ]
    assert "does not mirror quay.io" in str(
        connect("podman", *known, "--upstream", "quay.io").json()["notes"]
    )
    anonymous = connect("podman", *known[:2], *known[4:]).json()
    assert [each["name"] for each in anonymous["upstreams"]] == ["docker.io"]
    assert "$MOORAGE_TOKEN" in str(anonymous["notes"])


def test_upstream_that_is_no_host_is_mirrored_but_has_no_name_that_clients_could_use(
    server: ServerProcess, admin_token: str, folder: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(admin_token)
    moorage("upstream", "add", "quay.io", "--data", folder).check()
    moorage("upstream", "add", "lan", "--url", "https://registry.example", "--data", folder).check()
    known = ("--registry", f"http://{server.address}", "--root", tmp_path, "--json")
    named = ("--upstream", "quay.io", "--upstream", "lan")

    for more in ((*named, "--token-file", token), ("--token-file", token), named):
        said = connect("containerd", *known, *more).json()

        notes = str(said["notes"])
        assert "does not mirror" not in notes
        assert f"write {server.address}/lan/REPOSITORY:TAG" in notes
        files = {each["path"]: each["content"] for each in said["files"]}
        assert str(HOSTS / "quay.io" / "hosts.toml") in files
        assert str(HOSTS / "lan" / "hosts.toml") not in files
        assert "https://lan" not in str(files)
    docker_notes = connect("docker", *known, *named).json()["notes"]
    assert str(docker_notes).count(f"{server.address}/lan/REPOSITORY:TAG") == 1


def test_plain_address_where_nobody_answers_is_said(tmp_path: Path) -> None:
    known = ("--registry", f"http://127.0.0.1:{find_free_port()}", "--root", tmp_path, "--json")

    for more in ((), ("--upstream", "docker.io")):
        notes = str(connect("podman", *known, *more).json()["notes"])
        assert "does not answer: connection refused" in notes


def test_client_that_asks_for_no_registry_is_told_what_to_give() -> None:
    ran = connect("docker")

    assert ran.code == 1
    assert "--registry https://HOST:PORT" in ran.err

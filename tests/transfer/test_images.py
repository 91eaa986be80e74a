"""Images in files: brought from OCI layouts and what docker saved, and taken away again."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moorage.cli.main import app
from tests.acceptance.images import Layout, pack, write_docker_archive
from tests.cli.commands import Ran, moorage
from tests.registry.audit import audit
from tests.registry.in_process import InProcess
from tests.transfer.trees import digest_of, image_manifest

LAYERS = [pack({f"file{number}": bytes([number]) * 100_000}) for number in range(3)]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An index of two images, and an image with a layer of theirs."""
    layout = Layout(tmp_path / "layout")
    images = [
        layout.add_image(LAYERS[:2], architecture="amd64"),
        layout.add_image([LAYERS[0], LAYERS[2]], architecture="arm64"),
    ]
    layout.add_index(images, tag="1.0")
    layout.add_image(LAYERS[:1], tag="2.0")
    return layout


@pytest.fixture
def served(data: Path) -> Iterator[InProcess]:
    registry = InProcess(data)
    registry.open()
    yield registry
    registry.end()


def bring(data: Path, *arguments: object) -> Ran:
    return run_here("import", *arguments, "--data", data)


def take(data: Path, *arguments: object) -> Ran:
    return run_here("export", *arguments, "--data", data)


def run_here(*arguments: object) -> Ran:
    """The command in this process, which is there already."""
    ran = CliRunner().invoke(app, [str(each) for each in arguments])
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


def pack_folder(folder: Path, path: Path, *options: str) -> Path:
    subprocess.run(["tar", "-c", *options, "-f", path, "-C", folder, "."], check=True)
    return path


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive}
        return {name: file.read() for name, file in files.items() if file is not None}


def pull(registry: InProcess, repository: str, reference: str) -> bytes:
    reply = registry.send("GET", f"/v2/{repository}/manifests/{reference}")
    assert reply.status == 200, reply
    return reply.body


def test_a_layout_comes_and_goes_byte_for_byte(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    bring(data, "oci", layout.folder, "team/app").check()
    for name, target in {"folder": tmp_path / "out", "tar": tmp_path / "out.tar"}.items():
        take(data, "oci", "team/app", "--to", target).check()
        bring(data, "oci", target, f"again/{name}").check()

    assert Layout.read_blobs(_at(tmp_path / "out")) == layout.read_blobs()
    files = read_tar(tmp_path / "out.tar")
    assert {content for name, content in files.items() if "blobs" in name} == set(
        layout.read_blobs().values()
    )
    for tag in ("1.0", "2.0"):
        pulled = {pull(served, name, tag) for name in ("team/app", "again/folder", "again/tar")}
        assert len(pulled) == 1
        assert layout.read_blobs()[digest_of(pulled.pop())]
    served.close()
    assert audit(data) == []


def _at(folder: Path) -> Layout:
    found = object.__new__(Layout)
    found.folder = folder
    return found


@pytest.mark.parametrize("options", [(), ("-z",), ("--format=pax",), ("--format=ustar",)])
def test_a_layout_comes_from_a_tar(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = pack_folder(layout.folder, tmp_path / "layout.tar", *options)

    said = bring(data, "oci", path, "team/app").check().out

    assert "2 images, with 4 manifests and 6 blobs" in said
    index = json.loads(pull(served, "team/app", "1.0"))
    for child in index["manifests"]:
        assert digest_of(pull(served, "team/app", child["digest"])) == child["digest"]


def test_what_the_person_says_goes_before_what_the_archive_says(
    layout: Layout, data: Path, served: InProcess
) -> None:
    bring(data, "oci", layout.folder, "team/one:2.0").check()
    refusal = bring(data, "oci", layout.folder, "team/one:3.0").refusal
    unnamed = bring(data, "oci", layout.folder).refusal
    wrong = bring(data, "oci", layout.folder, "Team/One").refusal

    assert pull(served, "team/one", "2.0")
    assert served.send("GET", "/v2/team/one/tags/list").body == b'{"name":"team/one","tags":["2.0"]}'
    assert "2 images, none of them 3.0: 1.0, 2.0" in refusal
    assert "say into which repository" in unnamed
    assert "is no REPOSITORY" in wrong


def test_full_names_say_the_repository(layout: Layout, data: Path, served: InProcess) -> None:
    index = json.loads((layout.folder / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"io.containerd.image.name": "docker.io/library/tool:1.0"}
    index["manifests"][1]["annotations"] = {
        "org.opencontainers.image.ref.name": "registry.local:5000/team/app:2.0"
    }
    (layout.folder / "index.json").write_text(json.dumps(index))

    bring(data, "oci", layout.folder).check()

    assert pull(served, "tool", "1.0")
    assert pull(served, "team/app", "2.0")


def test_several_repositories_go_into_one_layout_and_back(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    for repository in ("team/app", "team/other"):
        bring(data, "oci", layout.folder, repository).check()
    taken = take(data, "oci", "team/*:1.*", "--to", tmp_path / "out", "--json").json()
    names = [
        each["annotations"]["org.opencontainers.image.ref.name"]
        for each in json.loads((tmp_path / "out/index.json").read_text())["manifests"]
    ]

    assert [(each["repository"], each["tag"]) for each in taken["images"]] == [
        ("team/app", "1.0"),
        ("team/other", "1.0"),
    ]
    assert names == ["team/app:1.0", "team/other:1.0"]
    assert len(bring(data, "oci", tmp_path / "out", "--json").json()["images"]) == 2


def test_referrers_go_along_unless_told_otherwise(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    bring(data, "oci", layout.folder, "team/app").check()
    child = json.loads(pull(served, "team/app", "1.0"))["manifests"][0]
    subject = {key: child[key] for key in ("mediaType", "digest", "size")}
    served.send("POST", f"/v2/team/app/blobs/uploads/?digest={digest_of(b'{}')}", b"{}")
    signature = image_manifest(b"{}", [], subject=subject, artifactType="application/x.signature")
    on_it = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": len(signature)}
    second = image_manifest(b"{}", [], subject=on_it | {"digest": digest_of(signature)})
    for manifest in (signature, second):
        path = f"/v2/team/app/manifests/{digest_of(manifest)}"
        assert served.send("PUT", path, manifest).status == 201

    take(data, "oci", "team/app:1.0", "--to", tmp_path / "with").check()
    take(data, "oci", "team/app:1.0", "--to", tmp_path / "without", "--no-referrers").check()
    bring(data, "oci", tmp_path / "with", "copy/app").check()

    listed = json.loads((tmp_path / "with/index.json").read_text())["manifests"]
    assert {each["digest"] for each in listed[1:]} == {digest_of(signature), digest_of(second)}
    assert len(json.loads((tmp_path / "without/index.json").read_text())["manifests"]) == 1
    referrers = json.loads(served.send("GET", f"/v2/copy/app/referrers/{child['digest']}").body)
    assert [each["digest"] for each in referrers["manifests"]] == [digest_of(signature)]


def test_an_image_is_taken_by_its_digest(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    bring(data, "oci", layout.folder, "team/app").check()
    child = json.loads(pull(served, "team/app", "1.0"))["manifests"][1]["digest"]

    take(data, "oci", f"team/app@{child}", "--to", tmp_path / "out").check()
    bring(data, "oci", tmp_path / "out", "copy/app").check()

    assert digest_of(pull(served, "copy/app", child)) == child
    assert json.loads(served.send("GET", "/v2/copy/app/tags/list").body)["tags"] == []


def test_what_is_wrong_in_a_layout_ends_it_with_a_sentence(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    blobs = layout.folder / "blobs/sha256"
    index = json.loads((layout.folder / "index.json").read_text())["manifests"][0]["digest"]
    manifest = json.loads((blobs / index[7:]).read_text())["manifests"][0]["digest"]
    layer = json.loads((blobs / manifest[7:]).read_text())["layers"][1]["digest"]

    def spoil(digest: str, content: bytes | None) -> str:
        folder = tmp_path / f"spoiled-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(layout.folder, folder)
        path = folder / "blobs/sha256" / digest[7:]
        path.unlink() if content is None else path.write_bytes(content)
        return bring(data, "oci", folder, "team/app").refusal

    assert "has other bytes than its name says" in spoil(index, b"{}")
    assert "has other bytes than its name says" in spoil(manifest, (blobs / manifest[7:]).read_bytes() + b" ")
    assert "digest" in spoil(layer, b"x" * (blobs / layer[7:]).stat().st_size)
    assert "unknown to repository" in spoil(layer, None)
    assert "unknown to repository" in spoil(manifest, None)
    assert "no OCI layout" in bring(data, "oci", tmp_path, "team/app").refusal
    assert served.send("GET", "/v2/team/app/manifests/1.0").status == 404
    assert list((data / "uploads").iterdir()) == []


def test_nothing_is_written_over(layout: Layout, data: Path, tmp_path: Path) -> None:
    bring(data, "oci", layout.folder, "team/app").check()
    (tmp_path / "there").mkdir()

    assert "is there already" in take(data, "oci", "team/app", "--to", tmp_path / "there").refusal
    assert "names nothing" in take(data, "oci", "team/none", "--to", tmp_path / "new").refusal
    assert "names nothing" in take(data, "oci", "team/app:9", "--to", tmp_path / "new").refusal
    assert "is no digest" in take(data, "oci", "team/app@sha256:x", "--to", tmp_path / "new").refusal
    assert not (tmp_path / "new").exists()


def test_damaged_bytes_are_not_taken_away(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    """I2: a file with other bytes than its digest says is no export; nothing of it is left behind."""
    bring(data, "oci", layout.folder, "team/app").check()
    largest = max((data / "blobs").rglob("*.*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[10] ^= 1
    largest.write_bytes(content)

    refusal = take(data, "oci", "team/app", "--to", tmp_path / "out.tar").refusal

    assert largest.name[:64] in refusal
    assert "team/app:" in refusal
    assert "push it again" in refusal
    assert [path.name for path in tmp_path.iterdir() if path.name != "layout" and "out" in path.name] == []


def test_a_tag_that_moves_is_told_and_one_that_is_there_already_is_left_as_it_is(
    layout: Layout, data: Path, served: InProcess
) -> None:
    first = bring(data, "oci", layout.folder, "team/app").check().out
    moved_at = served.run(served.db.all("SELECT name, moved_at FROM tag ORDER BY name"))
    again = bring(data, "oci", layout.folder, "team/app").check().out
    was = digest_of(pull(served, "team/app", "2.0"))
    layout.add_image(LAYERS[1:], tag="2.0")
    third = bring(data, "oci", layout.folder, "team/app", "--json").json()

    assert "moved from" not in first
    assert "as it was" not in first
    assert again.count("  as it was") == 2
    assert "2 images, with 0 manifests and 0 blobs of 0 B" in again
    assert [(each["tag"], each["was"]) for each in third["images"] if each["digest"] != each["was"]] == [
        ("2.0", was)
    ]
    kept = served.run(served.db.all("SELECT name, moved_at FROM tag WHERE name = '1.0'"))
    assert kept == [row for row in moved_at if row[0] == "1.0"]


def test_blobs_that_are_here_already_are_leased_before_the_manifest_comes(
    layout: Layout, data: Path, served: InProcess
) -> None:
    """Garbage that is collected beside an import takes nothing that the import counts on."""
    bring(data, "oci", layout.folder, "team/app").check()
    served.run(served.db.write(lambda tx: tx.run("DELETE FROM lease")))

    bring(data, "oci", layout.folder, "team/app").check()

    unleased = served.run(
        served.db.all("SELECT digest FROM repository_blob WHERE digest NOT IN (SELECT digest FROM lease)")
    )
    assert unleased == []


# what docker saved


def test_what_docker_saved_comes_with_its_layers_packed(
    data: Path, served: InProcess, tmp_path: Path
) -> None:
    write_docker_archive(tmp_path / "saved.tar", LAYERS[:2], "team/app:1.0")

    first = bring(data, "docker-archive", tmp_path / "saved.tar", "--json").json()
    again = bring(data, "docker-archive", tmp_path / "saved.tar", "other/app", "--json").json()

    manifest = json.loads(pull(served, "team/app", "1.0"))
    assert first["images"][0]["digest"] == again["images"][0]["digest"]
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    layers = [
        served.send("GET", f"/v2/team/app/blobs/{layer['digest']}").body for layer in manifest["layers"]
    ]
    assert [gzip.decompress(layer) for layer in layers] == LAYERS[:2]
    config = json.loads(served.send("GET", f"/v2/team/app/blobs/{manifest['config']['digest']}").body)
    assert config["rootfs"]["diff_ids"] == [digest_of(layer) for layer in LAYERS[:2]]
    assert list((data / "uploads").iterdir()) == []


def test_several_names_links_and_packed_layers_are_understood(
    data: Path, served: InProcess, tmp_path: Path
) -> None:
    """Layers that two images share are links; some tools pack them; `docker save | gzip` packs it all."""
    configs = {f"{name}.json": _config(layers) for name, layers in _IMAGES.items()}
    listed = [
        {"Config": "one.json", "RepoTags": ["app:1", "registry.local/team/app:2"], "Layers": ["a/layer.tar"]},
        {"Config": "two.json", "RepoTags": None, "Layers": ["b/layer.tar", "c/layer.tar"]},
    ]
    with tarfile.open(tmp_path / "saved.tar.gz", "w:gz") as archive:
        _add(archive, "a/layer.tar", LAYERS[0])
        link = tarfile.TarInfo("b/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
        archive.addfile(link)
        _add(archive, "c/layer.tar", gzip.compress(LAYERS[1]))
        for name, content in configs.items():
            _add(archive, name, content)
        _add(archive, "manifest.json", json.dumps(listed).encode())

    unnamed = bring(data, "docker-archive", tmp_path / "saved.tar.gz").refusal
    brought = bring(data, "docker-archive", tmp_path / "saved.tar.gz", "team/all", "--json").json()

    assert "image without a name" in unnamed
    assert [each["tag"] for each in brought["images"]] == ["1", "2", None]
    assert pull(served, "team/all", "1") == pull(served, "team/all", "2")
    two = json.loads(pull(served, "team/all", brought["images"][2]["digest"]))
    layer = served.send("GET", f"/v2/team/all/blobs/{two['layers'][1]['digest']}").body
    assert layer == gzip.compress(LAYERS[1]) or gzip.decompress(layer) == LAYERS[1]


_IMAGES = {"one": LAYERS[:1], "two": LAYERS[:2]}


def _config(layers: list[bytes]) -> bytes:
    return json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}
    ).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _write(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            _add(archive, name, content)
    return path


def test_a_layer_that_is_not_the_one_it_should_be_is_refused(
    data: Path, served: InProcess, tmp_path: Path
) -> None:
    listed = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"]}]
    files = {"c.json": _config(LAYERS[:1]), "manifest.json": json.dumps(listed).encode()}
    other = _write(tmp_path / "other.tar", files | {"layer.tar": LAYERS[1]})
    packed = _write(tmp_path / "packed.tar", files | {"layer.tar": gzip.compress(LAYERS[1])})
    missing = _write(tmp_path / "missing.tar", files)
    outside = [{"Config": "/etc/passwd", "RepoTags": ["app:1"], "Layers": ["../../etc/passwd"]}]
    leading = _write(tmp_path / "leading.tar", {"manifest.json": json.dumps(outside).encode()})

    assert "is not the layer" in bring(data, "docker-archive", other).refusal
    assert "is not the layer" in bring(data, "docker-archive", packed).refusal
    assert "the archive has no 'layer.tar'" in bring(data, "docker-archive", missing).refusal
    assert "the archive has no '/etc/passwd'" in bring(data, "docker-archive", leading).refusal
    assert served.send("GET", "/v2/app/manifests/1").status == 404
    assert list((data / "uploads").iterdir()) == []


def test_platform_that_a_single_image_is_not_for_is_refused(
    layout: Layout, data: Path, tmp_path: Path
) -> None:
    bring(data, "oci", layout.folder, "team/app").check()
    single = ("docker-archive", "team/app:2.0", "--to", tmp_path / "out.tar")

    refusal = take(data, *single, "--platform", "plan9/mips").refusal
    assert "has no image for plan9/mips; it is one for linux/amd64" in refusal
    assert not (tmp_path / "out.tar").exists()
    take(data, *single, "--platform", "linux/amd64").check()


def test_what_is_taken_for_docker_is_a_layout_too(
    layout: Layout, data: Path, served: InProcess, tmp_path: Path
) -> None:
    bring(data, "oci", layout.folder, "team/app").check()
    wrong = ("docker-archive", "team/app:1.0", "--platform", "plan9/mips", "--to", tmp_path / "no.tar")
    refusal = take(data, *wrong).refusal
    chosen = ("docker-archive", "team/app", "--platform", "linux/amd64", "--to", tmp_path / "out.tar")
    take(data, *chosen).check()
    bring(data, "docker-archive", tmp_path / "out.tar", "copy/app").check()

    assert "it has linux/amd64, linux/arm64: choose one with --platform" in refusal
    listed = json.loads(read_tar(tmp_path / "out.tar")["manifest.json"])
    assert [each["RepoTags"] for each in listed] == [["team/app:1.0"], ["team/app:2.0"]]
    amd, arm = (each["digest"] for each in json.loads(pull(served, "team/app", "1.0"))["manifests"][:2])
    assert digest_of(pull(served, "copy/app", "1.0")) == amd
    other = ("docker-archive", "team/app:1.0", "--platform", "linux/arm64", "--to", tmp_path / "arm.tar")
    take(data, *other).check()
    bring(data, "docker-archive", tmp_path / "arm.tar", "copy/arm").check()
    assert digest_of(pull(served, "copy/arm", "1.0")) == arm
    assert pull(served, "copy/app", "2.0") == pull(served, "team/app", "2.0")
    assert [path.name for path in tmp_path.iterdir() if "no.tar" in path.name] == []


def test_a_registry_over_the_network_is_said_to_be_out_of_reach(layout: Layout) -> None:
    ran = moorage(
        "import", "oci", layout.folder, "team/app", env={"MOORAGE_REGISTRY": "https://registry.local:5000"}
    )

    assert "works on the data folder itself, not over the network" in ran.refusal


def test_large_layers_are_brought_in_little_memory(data: Path, tmp_path: Path) -> None:
    size = 200 << 20
    layer = tmp_path / "layer"
    with layer.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    folder = tmp_path / "layout"
    layout = Layout(folder)
    with layer.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    layer.rename(folder / "blobs/sha256" / digest[7:])
    config = layout.add_blob(b"{}", "application/vnd.oci.image.config.v1+json")
    described = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}
    manifest = {"schemaVersion": 2, "config": config, "layers": [described]}
    root = layout.add_blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    path = pack_folder(folder, tmp_path / "layout.tar")

    peak = _peak_kib("import", "oci", path, "team/app:1", "--data", data)
    back = _peak_kib("export", "oci", "team/app:1", "--to", tmp_path / "out.tar", "--data", data)

    assert max(peak, back) < 120 * 1024


def _peak_kib(*arguments: object) -> int:
    script = (
        "import resource, subprocess, sys;"
        "subprocess.run([sys.executable, '-m', 'moorage', *sys.argv[1:]], check=True, stdout=sys.stderr);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], check=False, capture_output=True, text=True
    )
    return int(ran.stdout)

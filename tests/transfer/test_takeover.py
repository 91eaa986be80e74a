"""Taking over a folder of Docker's registry that was made by hand: what comes, what does not, what stays."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from tests.cli.commands import moorage
from tests.registry.audit import audit
from tests.registry.in_process import InProcess
from tests.transfer.taking import kept, take_over, told
from tests.transfer.trees import Tree, digest_of, image_manifest

REPOSITORY = "team/app"


def pull(registry: InProcess, reference: str, repository: str = REPOSITORY) -> tuple[int, bytes]:
    reply = registry.send("GET", f"/v2/{repository}/manifests/{reference}")
    return reply.status, reply.body


def find_files(data: Path) -> list[Path]:
    return [path for path in (data / "blobs").rglob("*") if path.is_file()]


def test_images_come_with_all_they_have_and_no_byte_is_copied(
    tree: Tree, data: Path, registry: InProcess
) -> None:
    shared = b"a layer of all" * 999
    images = [tree.add_image(REPOSITORY, mark, shared=[shared]) for mark in ("amd64", "arm64")]
    index = tree.add_index(REPOSITORY, images, "latest")
    untagged = tree.add_image(REPOSITORY, "replaced", shared=[shared])
    other = tree.add_image("team/other/deep", "other", "1.0", shared=[shared])

    report = take_over(tree.folder, data)

    assert (report.repositories, report.manifests, report.tags, report.blobs) == (2, 5, 2, 9)
    assert report.means == {"hard link": report.bytes}
    assert report.bytes == sum(path.stat().st_size for path in find_files(data))
    assert {path.stat().st_nlink for path in find_files(data)} == {2}
    assert pull(registry, "latest") == (200, tree.data(index).read_bytes())
    assert pull(registry, untagged)[0] == 200
    assert pull(registry, "1.0", "team/other/deep") == (200, tree.data(other).read_bytes())
    assert registry.send("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(shared)}").body == shared
    assert told(report) == kept(report) == []
    assert audit(data) == []


def test_a_dry_run_says_the_same_and_changes_nothing(tree: Tree, data: Path) -> None:
    tree.add_index(REPOSITORY, [tree.add_image(REPOSITORY, "one")], "latest")
    tree.add_image("team/other", "one", "latest")
    tree.current(REPOSITORY, "broken").parent.mkdir(parents=True)
    tree.current(REPOSITORY, "broken").touch()

    said = take_over(tree.folder, data, is_dry=True)

    assert not find_files(data)
    assert not list((data / "uploads").iterdir())
    assert said == take_over(tree.folder, data)
    assert (said.manifests, said.tags, said.blobs) == (3, 2, 2)
    assert told(said) == ["tag broken: its link is empty: a crash left it so"]


def test_a_layer_that_many_images_share_comes_once(tree: Tree, data: Path) -> None:
    shared = b"a layer of all" * 999
    for number in range(100):
        tree.add_image(REPOSITORY, f"{number}", f"v{number}", shared=[shared])

    said = take_over(tree.folder, data, is_dry=True)
    report = take_over(tree.folder, data)

    assert (report.manifests, report.tags, report.blobs) == (100, 100, 201)
    assert report == said
    assert audit(data) == []


def test_only_the_repositories_of_a_pattern_come(tree: Tree, data: Path, registry: InProcess) -> None:
    tree.add_image("team/app", "one", "latest")
    tree.add_image("other/app", "one", "latest")

    report = take_over(tree.folder, data, "team/*")

    assert report.repositories == 1
    assert pull(registry, "latest")[0] == 200
    assert pull(registry, "latest", "other/app")[0] == 404


def test_a_second_run_brings_what_is_new_and_moves_what_moved(
    tree: Tree, data: Path, registry: InProcess
) -> None:
    tree.add_image(REPOSITORY, "one", "latest")
    take_over(tree.folder, data)
    nothing = take_over(tree.folder, data)
    two = tree.add_image(REPOSITORY, "two", "latest")
    tree.tag(REPOSITORY, "2.0", two)

    report = take_over(tree.folder, data)

    assert (nothing.manifests, nothing.tags, nothing.bytes, nothing.known_tags) == (0, 0, 0, 1)
    assert (report.manifests, report.tags, report.known_manifests) == (1, 2, 1)
    assert pull(registry, "latest") == pull(registry, "2.0") == (200, tree.data(two).read_bytes())
    assert audit(data) == []


def test_tags_that_were_moved_or_deleted_here_stay_as_they_are(
    tree: Tree, data: Path, registry: InProcess
) -> None:
    one = tree.add_image(REPOSITORY, "one", "moved")
    tree.tag(REPOSITORY, "deleted", one)
    tree.tag(REPOSITORY, "left", one)
    take_over(tree.folder, data)
    two = image_manifest(b"{}", [])
    registry.send("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(b'{}')}", b"{}")
    assert registry.send("PUT", f"/v2/{REPOSITORY}/manifests/moved", two).status == 201
    assert registry.send("PUT", f"/v2/{REPOSITORY}/manifests/pushed", two).status == 201
    assert registry.send("DELETE", f"/v2/{REPOSITORY}/manifests/deleted").status == 202
    three = tree.add_image(REPOSITORY, "three", "moved")
    for tag in ("deleted", "left", "pushed"):
        tree.tag(REPOSITORY, tag, three)

    report = take_over(tree.folder, data)

    assert pull(registry, "moved") == pull(registry, "pushed") == (200, two)
    assert pull(registry, "deleted")[0] == 404
    assert pull(registry, "left")[1] == tree.data(three).read_bytes()
    assert sorted(kept(report)) == [
        "tag deleted: it was deleted here by anonymous@127.0.0.1",
        "tag moved: it was moved here by anonymous@127.0.0.1",
        "tag pushed: it was moved here by anonymous@127.0.0.1",
    ]
    assert audit(data) == []


def test_an_image_that_only_deleted_tags_name_does_not_come_again(tree: Tree, data: Path) -> None:
    tree.add_image(REPOSITORY, "one", "latest")
    take_over(tree.folder, data)
    registry = InProcess(data)
    registry.open()
    registry.send("DELETE", f"/v2/{REPOSITORY}/manifests/latest")
    registry.end()
    child = tree.add_image(REPOSITORY, "two")
    tree.add_index(REPOSITORY, [child], "latest")
    tree.add_image(REPOSITORY, "three")

    report = take_over(tree.folder, data)

    assert report.manifests == 1
    assert kept(report) == ["tag latest: it was deleted here by anonymous@127.0.0.1"]


def test_a_repository_that_was_deleted_here_stays_deleted_until_it_is_made_anew(
    tree: Tree, data: Path, registry: InProcess
) -> None:
    tree.add_image(REPOSITORY, "one", "latest")
    take_over(tree.folder, data)
    assert registry.send("DELETE", f"/api/v1/repositories/{REPOSITORY}").status < 300

    report = take_over(tree.folder, data)

    assert report.manifests == 0
    assert kept(report) == [
        f"repository: it was deleted here; `moorage repository add {REPOSITORY}` lets it come"
    ]
    made = registry.send(
        "POST", "/api/v1/repositories", b'{"name": "team/app"}', [("Content-Type", "application/json")]
    )
    assert made.status == 201
    assert take_over(tree.folder, data).tags == 1


def break_tag_link(tree: Tree, image: str) -> None:
    tree.current(REPOSITORY, "bad").write_text("")


def break_revision_link(tree: Tree, image: str) -> None:
    tree.revision(REPOSITORY, image).write_text("")


def break_layer_link(tree: Tree, image: str) -> None:
    tree.layer(REPOSITORY, digest_of(b"layer of bad" * 99)).write_text("")


def name_other_in_link(tree: Tree, image: str) -> None:
    tree.revision(REPOSITORY, image).write_text(digest_of(b"other"))


def write_no_digest_in_link(tree: Tree, image: str) -> None:
    tree.current(REPOSITORY, "bad").write_text("../../../etc/passwd")


def delete_revision(tree: Tree, image: str) -> None:
    tree.delete_manifest(REPOSITORY, image)


def lose_manifest(tree: Tree, image: str) -> None:
    tree.data(image).unlink()


def lose_layer(tree: Tree, image: str) -> None:
    tree.data(digest_of(b"layer of bad" * 99)).unlink()


def unlink_layer(tree: Tree, image: str) -> None:
    tree.layer(REPOSITORY, digest_of(b"layer of bad" * 99)).unlink()


def spoil_manifest(tree: Tree, image: str) -> None:
    tree.data(image).write_bytes(tree.data(image).read_bytes().replace(b"2", b"3", 1))


def spoil_layer(tree: Tree, image: str) -> None:
    tree.data(digest_of(b"layer of bad" * 99)).write_bytes(b"lAyer of bad" * 99)


def cut_layer(tree: Tree, image: str) -> None:
    tree.data(digest_of(b"layer of bad" * 99)).write_bytes(b"layer")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (break_tag_link, "tag bad: its link is empty"),
        (break_revision_link, "its link is empty: a crash left it so"),
        (break_layer_link, "is not there"),
        (name_other_in_link, "its link names"),
        (write_no_digest_in_link, "tag bad: its link holds no digest"),
        (delete_revision, "tag bad: the repository does not have its manifest"),
        (lose_manifest, "its bytes are gone"),
        (lose_layer, "is not there"),
        (unlink_layer, "is not there"),
        (spoil_manifest, "its bytes are those of"),
        (spoil_layer, "its bytes are those of"),
        (cut_layer, "has 5 bytes there, not 1188"),
    ],
)
def test_what_is_broken_is_told_and_left_out_and_the_rest_comes(
    tree: Tree, data: Path, registry: InProcess, spoil: Callable[[Tree, str], None], said: str
) -> None:
    """D4 among them: links that a crash has left empty."""
    bad = tree.add_image(REPOSITORY, "bad", "bad")
    tree.add_index(REPOSITORY, [bad], "worse")
    good = tree.add_image(REPOSITORY, "good", "good")
    spoil(tree, bad)

    report = take_over(tree.folder, data)

    assert any(said in problem for problem in told(report)), told(report)
    assert any(problem.startswith("tag bad") for problem in told(report))
    assert pull(registry, "bad")[0] == 404
    assert pull(registry, "good") == (200, tree.data(good).read_bytes())
    assert audit(data) == []


def test_manifests_that_cannot_be_here_are_told_with_the_reason(tree: Tree, data: Path) -> None:
    tree.add_manifest(REPOSITORY, b'{"schemaVersion": 1, "name": "team/app", "fsLayers": []}', "old")
    tree.add_manifest(REPOSITORY, b"no JSON", "none")

    report = take_over(tree.folder, data)

    reasons = {reason for problem in told(report) for reason in [problem.partition(": ")[2]]}
    assert any("not a manifest type" in reason for reason in reasons)
    assert any("not valid JSON" in reason for reason in reasons)
    assert report.manifests == 0


def test_names_that_cannot_be_here_are_told(tree: Tree, data: Path) -> None:
    tree.add_image("/".join(["a"] * 40), "deep", "latest")
    tree.add_image(REPOSITORY, "one", "-bad")

    report = take_over(tree.folder, data)

    assert "repository: no repository can have this name here" in told(report)
    assert "tag -bad: no tag can have this name" in told(report)


def test_times_of_the_old_registry_are_kept(tree: Tree, data: Path, registry: InProcess) -> None:
    """What is newest by time is so here too; what no tag names begins its time as untagged now."""
    image = tree.add_image(REPOSITORY, "one")
    tree.tag(REPOSITORY, "old", image, at_s=1_500_000_000)
    os.utime(tree.revision(REPOSITORY, image), (1_400_000_000, 1_400_000_000))
    untagged = tree.add_image(REPOSITORY, "two")
    os.utime(tree.revision(REPOSITORY, untagged), (1_400_000_000, 1_400_000_000))

    take_over(tree.folder, data)

    connection = apsw.Connection(str(data / "moorage.db"), flags=apsw.SQLITE_OPEN_READONLY)
    pushed = {str(row[0]): row[1] for row in connection.execute("SELECT digest, pushed_at FROM manifest")}
    moved = connection.execute("SELECT moved_at FROM tag").fetchall()
    events = connection.execute("SELECT at, by FROM tag_event").fetchall()
    connection.close()
    assert moved == [(1_500_000_000_000,)]
    assert events == [(1_500_000_000_000, "operator (import)")]
    assert pushed[image] == 1_400_000_000_000
    assert int(str(pushed[untagged])) > 1_700_000_000_000


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own")
    folder = Path(tempfile.mkdtemp(dir=shm))
    yield folder
    shutil.rmtree(folder)


def test_bytes_are_copied_where_the_file_system_is_another(
    elsewhere: Path, data: Path, registry: InProcess
) -> None:
    tree = Tree(elsewhere / "old")
    image = tree.add_image(REPOSITORY, "one", "latest", shared=[b"large" * 1_000_000])
    bad = tree.add_image(REPOSITORY, "bad", "bad")
    spoil_layer(tree, bad)

    said = take_over(tree.folder, data, is_dry=True)
    report = take_over(tree.folder, data)

    assert set(said.means) == set(report.means) == {"copy"}
    assert pull(registry, "latest") == (200, tree.data(image).read_bytes())
    assert pull(registry, "bad")[0] == 404
    assert {path.stat().st_nlink for path in find_files(data)} == {1}
    assert not list((data / "uploads").iterdir())
    assert audit(data) == []


def test_nothing_of_the_old_folder_is_written_to(tree: Tree, data: Path) -> None:
    tree.add_index(REPOSITORY, [tree.add_image(REPOSITORY, "one")], "latest")

    def look() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes())
            for path in tree.root.rglob("*")
            if path.is_file()
        }

    before = look()
    take_over(tree.folder, data)

    assert look() == before


def test_the_old_registry_may_collect_its_garbage(tree: Tree, data: Path, registry: InProcess) -> None:
    image = tree.add_image(REPOSITORY, "one", "latest")
    take_over(tree.folder, data)
    layer = b"layer of one" * 99

    shutil.rmtree(tree.folder)

    assert pull(registry, image)[0] == 200
    assert registry.send("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(layer)}").body == layer
    assert audit(data) == []


def test_bytes_that_are_written_to_over_there_are_never_served(
    tree: Tree, data: Path, registry: InProcess
) -> None:
    """No registry does so; whoever does spoils the one file of both. It is noticed, and a push heals it."""
    tree.add_image(REPOSITORY, "one", "latest")
    take_over(tree.folder, data)
    layer = b"layer of one" * 99
    path = f"/v2/{REPOSITORY}/blobs/{digest_of(layer)}"
    with tree.data(digest_of(layer)).open("r+b") as file:
        file.write(b"L")

    assert registry.send("GET", path).status == 500
    assert registry.send("HEAD", path).status == 404
    pushed = registry.send("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(layer)}", layer)
    assert pushed.status == 201
    assert registry.send("GET", path).body == layer
    assert tree.data(digest_of(layer)).read_bytes()[:1] == b"L"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works in a folder of somebody else's")
def test_what_root_brings_can_be_read_by_whose_folder_it_is(tree: Tree, data: Path) -> None:
    tree.add_image(REPOSITORY, "one", "latest")
    secret = b"layer of one" * 99
    for path in tree.root.rglob("data"):
        path.chmod(0o644)
    tree.data(digest_of(secret)).chmod(0o600)
    for path in (data, *data.rglob("*")):
        os.chown(path, 12345, 12345)

    report = take_over(tree.folder, data)

    assert report.means["copy"] == len(secret)
    for path in (data, *data.rglob("*")):
        stat = path.stat()
        assert stat.st_uid == 12345 or stat.st_mode & 0o004, path


def test_an_index_may_list_blobs(tree: Tree, data: Path, registry: InProcess) -> None:
    """As the cache that BuildKit exports does."""
    layer = tree.add_blob(REPOSITORY, b"cached" * 99)
    index = tree.add_index(REPOSITORY, [layer], "cache")

    report = take_over(tree.folder, data)

    assert told(report) == []
    assert pull(registry, "cache") == (200, tree.data(index).read_bytes())
    assert registry.send("GET", f"/v2/{REPOSITORY}/blobs/{layer}").body == b"cached" * 99


def test_a_pattern_that_names_nothing_there_is_refused_in_words(tree: Tree, data: Path) -> None:
    ran = moorage(
        "import", "distribution", tree.folder, "--repository", "absent/*", "--data", data, "--dry-run"
    )

    assert f"no repository in {tree.folder} is named by 'absent/*'" in ran.refusal


def test_pipes_among_the_files_are_not_waited_for(tree: Tree, data: Path, registry: InProcess) -> None:
    tree.add_image(REPOSITORY, "good", "good")
    manifest = tree.add_image(REPOSITORY, "manifest", "manifest")
    image = tree.add_image(REPOSITORY, "layer", "layer")
    layer = digest_of(b"layer of layer" * 99)
    tree.add_image(REPOSITORY, "tag", "tag")
    for path in (tree.data(manifest), tree.data(layer), tree.current(REPOSITORY, "tag")):
        path.unlink()
        os.mkfifo(path)

    report = take_over(tree.folder, data)

    assert pull(registry, "good")[0] == 200
    assert [pull(registry, tag)[0] for tag in ("manifest", "layer", "tag")] == [404] * 3
    assert "tag tag: its link cannot be read: it is no file" in told(report)
    assert f"manifest {manifest}: cannot be read: it is no file" in told(report)
    assert any(image in each and layer in each for each in told(report))


@pytest.fixture
def endless(tree: Tree) -> Iterator[None]:
    """Folders in folders, which Python's own way of removing a tree does not reach the end of."""
    (tree.root / "repositories").mkdir(parents=True, exist_ok=True)
    folder = os.open(tree.root / "repositories", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=folder)
        inner = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    yield
    subprocess.run(["rm", "-rf", tree.root / "repositories" / "deep"], check=True)


@pytest.mark.usefixtures("endless")
def test_folders_in_folders_without_end_are_told(tree: Tree, data: Path, registry: InProcess) -> None:
    tree.add_image(REPOSITORY, "good", "good")

    report = take_over(tree.folder, data)

    assert pull(registry, "good")[0] == 200
    assert told(report) == ["repository: no repository can have this name here"]

"""Copies between layouts and archives: no registry is asked."""

import gzip
import json
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.transfer.layers import Quiet
from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import Digest
from moorage.storage.image_files import FolderArchive
from moorage.storage.layout_folder import LayoutFolder
from moorage.transfer.between import streaming
from moorage.transfer.between.archives import ArchiveReader, LayoutSource
from moorage.transfer.between.copying import Copied, Copying
from moorage.transfer.between.layouts import LayoutDestination
from moorage.transfer.between.planning import Planning, Wanted
from moorage.transfer.between.ports import CopyRefused, Interrupted
from tests.acceptance.images import Layout, write_docker_archive
from tests.copies.conftest import Home
from tests.copies.content import add_multi, list_untagged, read_blobs, read_names, some_layers

Parts = dict[str, dict[str, Any]]


def path_in(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_an_image_goes_with_all_platforms_and_is_named_as_it_was(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = home.run("copy", f"oci:{layout.folder}", f"oci:{out}", "--json").json()

    assert [image["digest"] for image in said["images"]] == [multi["index"]["digest"]]
    assert read_names(out) == {"1.0": multi["index"]["digest"]}
    copied = read_blobs(out)
    assert copied.items() <= read_blobs(layout.folder).items()
    assert said["bytes_sent"] == sum(map(len, copied.values())) - sum(
        len(copied[multi[part]["digest"]]) for part in ("index", "amd", "arm")
    )
    assert multi["sbom"]["digest"] not in copied
    assert sorted(path.name for path in out.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_what_refers_to_it_comes_along_where_that_is_wanted(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    """Also what refers to a child, to what refers to it, and what cosign put beside it."""
    out = tmp_path / "out"
    said = home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{out}", "--referrers", "--json").json()

    assert said["referrers"] == 5
    assert read_blobs(out) == read_blobs(layout.folder)
    assert read_names(out) == read_names(layout.folder)


def test_a_second_copy_finds_all_there(home: Home, layout: Layout, multi: Parts, tmp_path: Path) -> None:
    arguments = ("copy", f"oci:{layout.folder}:1.0", f"oci:{tmp_path / 'out'}", "--referrers", "--json")
    home.run(*arguments).check()

    said = home.run(*arguments).json()

    assert (said["bytes_sent"], said["manifests_sent"], said["manifests_there"]) == (0, 0, 8)


def test_one_platform_is_a_single_image(home: Home, layout: Layout, multi: Parts, tmp_path: Path) -> None:
    out = tmp_path / "out"
    home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{out}:arm", "--platform", "linux/arm64/v8").check()

    assert read_names(out) == {"arm": multi["arm"]["digest"]}
    refusal = home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{out}", "--platform", "linux/s390x").refusal
    assert "it has linux/amd64, linux/arm64" in refusal
    refusal = home.run("copy", f"oci:{out}", f"oci:{out}:x", "--platform", "linux/amd64").refusal
    assert "is an image for linux/arm64, not for linux/amd64" in refusal


@pytest.mark.parametrize("how", ["colon", "option", "expression"])
def test_several_tags_go_by_a_pattern(home: Home, layout: Layout, tmp_path: Path, how: str) -> None:
    for tag in ("1.0", "1.1", "2.0"):
        layout.add_image(some_layers(1), tag=tag)
    out = tmp_path / "out"
    source = f"oci:{layout.folder}"
    chosen = {
        "colon": [f"{source}:1.*"],
        "option": [source, "--tags", "1.?"],
        "expression": [source, "--tags", "re:1\\.[0-9]+"],
    }[how]
    home.run("copy", chosen[0], f"oci:{out}", *chosen[1:]).check()

    assert sorted(read_names(out)) == ["1.0", "1.1"]
    assert "has no tag that 3.* names" in home.run("copy", f"{source}:3.*", f"oci:{out}").refusal


def test_a_folder_keeps_what_it_has_and_a_name_moves(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    digests = []
    for number, tag in enumerate(("one", "two", "one")):
        layout = Layout(tmp_path / f"layout{number}")
        digests.append(layout.add_image(some_layers(1), tag="v")["digest"])
        home.run("copy", f"oci:{layout.folder}", f"oci:{out}:{tag}").check()

    assert read_names(out) == {"two": digests[1], "one": digests[2]}
    assert digests[0] in read_blobs(out)


def test_a_tar_is_written_whole_and_read_again(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    """Also one that was packed by gzip since."""
    tar, back = tmp_path / "out.tar", tmp_path / "back"
    home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{tar}", "--referrers").check()
    packed = tmp_path / "out.tar.gz"
    packed.write_bytes(gzip.compress(tar.read_bytes(), 1))

    for source in (tar, packed):
        home.run("copy", f"oci:{source}:1.0", f"oci:{back}", "--referrers").check()
        assert read_blobs(back) == read_blobs(layout.folder)
        assert read_names(back) == read_names(layout.folder)
        shutil.rmtree(back)

    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert "is there already" in home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{tar}").refusal


def test_what_docker_loads_is_one_platform_under_a_full_name(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    tar = tmp_path / "saved.tar"
    source = f"oci:{layout.folder}:1.0"
    assert "say what docker is to call the image" in home.run("copy", source, f"docker-archive:{tar}").refusal

    ran = home.run("copy", source, f"docker-archive:{tar}:team/app:x", "--platform", "linux/arm64").check()
    assert f"docker-archive:{tar}:team/app:x  sha256:" in ran.out

    with tarfile.open(tar) as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        (saved,) = json.load(file)
    manifest = layout.read_manifest(multi["arm"]["digest"])
    assert saved["RepoTags"] == ["team/app:x"]
    assert [name.rpartition("/")[2] for name in (saved["Config"], *saved["Layers"])] == [
        each["digest"].removeprefix("sha256:") for each in (manifest["config"], *manifest["layers"])
    ]


def test_what_docker_saved_is_packed_the_same_each_time(home: Home, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    layers = some_layers()
    write_docker_archive(saved, layers, "team/app:3")
    for number in range(2):
        home.run("copy", f"docker-archive:{saved}", f"oci:{tmp_path / str(number)}").check()

    first, second = tmp_path / "0", tmp_path / "1"
    assert read_blobs(first) == read_blobs(second)
    assert list(read_names(first)) == ["3"]
    unpacked = [gzip.decompress(blob) for blob in read_blobs(first).values() if blob.startswith(b"\x1f\x8b")]
    assert sorted(unpacked) == sorted(layers)


def test_bytes_that_are_not_what_they_are_called_are_refused(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    """A blob, a manifest, and one that is too long; nothing of it is left at the destination."""
    out = tmp_path / "out"
    layer = layout.read_manifest(multi["amd"]["digest"])["layers"][0]["digest"]
    whole = path_in(layout.folder, layer).read_bytes()
    for spoiled in (bytes([whole[0] ^ 1]) + whole[1:], whole + b"x", whole[:-1]):
        path_in(layout.folder, layer).write_bytes(spoiled)
        refusal = home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{out}").code
        assert refusal == 1
        assert not path_in(out, layer).exists()
        assert read_names(out) == {}
    path_in(layout.folder, layer).write_bytes(whole)
    child = path_in(layout.folder, multi["amd"]["digest"])
    manifest = child.read_bytes()
    child.write_bytes(manifest.replace(b'"schemaVersion"', b' "schemaVersion"'))
    assert (
        "has other bytes than its name says"
        in home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{out}").refusal
    )
    child.write_bytes(manifest)

    home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{out}").check()

    assert read_blobs(out).items() <= read_blobs(layout.folder).items()
    assert not (out / ".partial").exists()


def test_an_index_whose_children_are_not_all_there_is_told(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    path_in(layout.folder, multi["arm"]["digest"]).unlink()

    refusal = home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{tmp_path / 'out'}").refusal

    assert multi["arm"]["digest"] in refusal
    assert "Copy one image of it with --platform" in refusal
    home.run(
        "copy", f"oci:{layout.folder}:1.0", f"oci:{tmp_path / 'out'}", "--platform", "linux/amd64"
    ).check()


def test_a_referrer_of_something_else_is_left(home: Home, layout: Layout, tmp_path: Path) -> None:
    wanted = add_multi(layout, "1.0")
    add_multi(layout, "2.0")

    home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{tmp_path / 'out'}", "--referrers").check()

    index = json.loads((tmp_path / "out" / "index.json").read_text())
    roots = {part: wanted[part]["digest"] for part in wanted if part not in {"amd", "arm"}}
    assert {entry["digest"] for entry in index["manifests"]} == set(roots.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("oci:", "oci:out"), "want oci:PATH"),
        (("./folder", "oci:out"), "for a folder or a tar write oci:PATH"),
        (("oci:missing", "oci:out"), "there is no missing"),
        (("docker://team/app", "oci:out"), "does not begin with"),
        (("oci:a:1.*", "oci:out:1.0"), "each keeps its own"),
        (("oci:a:1.*", "docker-archive:out.tar"), "with one image"),
        (("oci:a", "team/app@sha256:" + "0" * 64), "is said with a digest"),
        (("oci:a", "oci:b", "--tags", "re:("), "is no pattern of tags"),
        (("oci:a", "oci:b", "--platform", "arm"), "is no platform"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Layout(tmp_path / "a").add_image(some_layers(1), tag="1.0")

    assert said in home.run("copy", *arguments).refusal


def test_a_folder_of_something_else_is_left_alone(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")

    refusal = home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{tmp_path / 'out'}").refusal

    assert "is no OCI layout" in refusal
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_layout_that_was_cut_while_it_was_begun_is_gone_on_with(
    home: Home, layout: Layout, multi: Parts, tmp_path: Path
) -> None:
    """Between making its mark and filling it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "oci-layout").touch()

    home.run("copy", f"oci:{layout.folder}:1.0", f"oci:{tmp_path / 'out'}").check()

    assert json.loads((tmp_path / "out" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    home.run("copy", f"oci:{tmp_path / 'out'}:1.0", f"oci:{tmp_path / 'again'}").check()


# in this process, where a source fails as it is told


class Failing(LayoutSource):
    """A layout on a bad line: it breaks after so many bytes of a layer, as often as it is told."""

    def __init__(self, reader: ArchiveReader, breaks: list[int]) -> None:
        super().__init__(reader, "it")
        self.breaks = breaks
        self.offsets: list[int] = []

    @asynccontextmanager
    async def open_blob(self, target: Descriptor, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with super().open_blob(target, offset) as pieces:
            if "tar" not in target.media_type:
                yield pieces
                return
            self.offsets.append(offset)
            yield self._flow(pieces, self.breaks.pop(0) if self.breaks else 1 << 40)

    async def _flow(self, pieces: AsyncIterator[bytes], left: int) -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left < 0:
                raise Interrupted("the line broke")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_PAUSE_S", 0.001)


async def copy_from(source: LayoutSource, out: Path, threads: ThreadPoolExecutor) -> Copied:
    destination = LayoutDestination(LayoutFolder(out), threads)
    planning = Planning(source, destination, None, with_referrers=False)
    return await Copying(source, destination, planning, Quiet(), threads).run([Wanted("big", "big")])


@pytest.fixture
def big(layout: Layout) -> tuple[Layout, dict[str, Any]]:
    """An image of one layer of 4 MB."""
    image = layout.add_image(some_layers(1, 4_000_000), tag="big")
    layer: dict[str, Any] = layout.read_manifest(image["digest"])["layers"][0]
    return layout, layer


@pytest.mark.anyio
async def test_a_broken_line_is_gone_on_with_where_it_broke(
    big: tuple[Layout, dict[str, Any]], tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    layout, layer = big
    reader = ArchiveReader(FolderArchive(layout.folder), threads, is_sequential=False)
    source = Failing(reader, [1_000_000, 1_500_000])

    copied = await copy_from(source, tmp_path / "out", threads)

    assert source.offsets == [0, 1_000_000, 2_500_000]
    assert read_blobs(tmp_path / "out") == read_blobs(layout.folder)
    assert copied.bytes_sent == layer["size"] + len(
        read_blobs(layout.folder)[layout.read_manifest(copied.images[0]["digest"])["config"]["digest"]]
    )


@pytest.mark.anyio
async def test_what_came_before_the_line_stayed_broken_is_not_asked_for_again(
    big: tuple[Layout, dict[str, Any]], tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    layout, _ = big
    reader = ArchiveReader(FolderArchive(layout.folder), threads, is_sequential=False)
    source = Failing(reader, [3_000_000, *[0] * 20])
    with pytest.raises(Interrupted, match="the line broke"):
        await copy_from(source, tmp_path / "out", threads)
    assert source.offsets == [0, *[3_000_000] * (streaming.ATTEMPTS_MAX - 1)]
    again = Failing(reader, [])

    copied = await copy_from(again, tmp_path / "out", threads)

    assert again.offsets == [3_000_000]
    assert copied.bytes_sent < 1_100_000
    assert read_blobs(tmp_path / "out") == read_blobs(layout.folder)


@pytest.mark.anyio
async def test_a_beginning_that_is_wrong_is_thrown_away(
    big: tuple[Layout, dict[str, Any]], tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """As after a power cut, or from a source that lied."""
    layout, layer = big
    folder = LayoutFolder(tmp_path / "out")
    partial = folder.open_partial(Digest(layer["digest"]))
    partial.append(os.urandom(1_000_000))
    partial.close()
    source = Failing(ArchiveReader(FolderArchive(layout.folder), threads, is_sequential=False), [])

    await copy_from(source, tmp_path / "out", threads)

    assert source.offsets == [1_000_000, 0]
    assert read_blobs(tmp_path / "out") == read_blobs(layout.folder)


@pytest.mark.anyio
async def test_two_copies_do_not_write_one_blob(
    big: tuple[Layout, dict[str, Any]], tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    layout, layer = big
    partial = LayoutFolder(tmp_path / "out").open_partial(Digest(layer["digest"]))
    source = Failing(ArchiveReader(FolderArchive(layout.folder), threads, is_sequential=False), [])

    with pytest.raises(CopyRefused, match="another copy is writing"):
        await copy_from(source, tmp_path / "out", threads)
    partial.close()
    await copy_from(source, tmp_path / "out", threads)

    assert read_blobs(tmp_path / "out") == read_blobs(layout.folder)


def test_an_image_without_a_name_is_listed_once(home: Home, layout: Layout, tmp_path: Path) -> None:
    image = layout.add_image(some_layers(1))
    list_untagged(layout, image)
    out = tmp_path / "out"
    for _ in range(2):
        home.run("copy", f"oci:{layout.folder}", f"oci:{out}").check()

    (entry,) = json.loads((out / "index.json").read_text())["manifests"]
    assert entry["digest"] == image["digest"]

"""Copies that end half-way, by a kill or a cut line, and are run again: what came is not sent again."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.servers import DockerRegistry
from tests.acceptance.images import Layout
from tests.copies.conftest import Home
from tests.copies.content import read_blobs, read_names, some_layers
from tests.copies.line import Line
from tests.servers import ServerProcess

MB = 1_000_000
HEADS = 200_000
"""Bytes of requests, answers and manifests; far fewer than of the layers."""

Image = dict[str, Any]


@pytest.fixture
def image(layout: Layout) -> Image:
    """Three layers, of 2, 4 and 8 MB."""
    layers = [some_layers(1, size * MB)[0] for size in (2, 4, 8)]
    return layout.add_image(layers, tag="1.0")


def bytes_of(layout: Layout) -> int:
    return sum(map(len, layout.read_blobs().values()))


@pytest.fixture
def line(plain: ServerProcess) -> Iterator[Line]:
    """To the Moorage that anyone may write to."""
    with Line(plain.port) as line:
        yield line


@pytest.fixture
def old_line(docker_registry: DockerRegistry) -> Iterator[Line]:
    """To Debian's docker-registry."""
    with Line(docker_registry.address.port) as line:
        yield line


def kill_when(process: subprocess.Popen[bytes], is_time: Callable[[], bool]) -> None:
    """SIGKILL it in the middle of its work."""
    deadline = time.monotonic() + 60
    while not is_time():
        assert process.poll() is None, "it ended on its own"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert process.stderr is not None
    process.stderr.close()


def sizes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_killed_pull_goes_on_in_the_middle_of_its_layers(
    home: Home, line: Line, layout: Layout, image: Image, tmp_path: Path
) -> None:
    """Killed three times; of all layers each byte comes once, but for what was on the way."""
    name, out = f"127.0.0.1:{line.port}/team/killed:1.0", tmp_path / "out"
    home.run("push", layout.folder, name).check()
    line.forget()
    line.throttle(6 * MB)
    for turn in range(1, 4):
        process = home.start("pull", name, out)
        kill_when(process, lambda turn=turn: out.exists() and sizes_below(out) > turn * 3 * MB)  # type: ignore[misc]
    line.throttle(None)
    assert read_names(out) == {}
    had = sizes_below(out)

    said = home.run("pull", name, out, "--json").json()

    assert read_blobs(out) == layout.read_blobs()
    assert read_names(out) == {"1.0": image["digest"]}
    assert said["bytes_sent"] <= bytes_of(layout) - had + HEADS
    # what each kill lost was on its way: in the line, or in a buffer
    assert line.to_client < bytes_of(layout) + 3 * 2 * MB
    assert not (out / ".partial").exists()


def test_a_killed_push_to_moorage_goes_on_in_the_middle_of_a_layer(
    home: Home, line: Line, layout: Layout, image: Image
) -> None:
    name = f"127.0.0.1:{line.port}/team/pushed:1.0"
    total = bytes_of(layout)
    line.throttle(6 * MB)
    process = home.start("push", layout.folder, name)
    kill_when(process, lambda: line.to_server > total // 2)
    line.throttle(None)
    time.sleep(0.5)
    sent = line.to_server
    line.forget()

    said = home.run("push", layout.folder, name, "--json").json()

    assert said["images"][0]["digest"] == image["digest"]
    assert line.to_server < total - sent + MB
    assert said["bytes_sent"] < total - sent + MB
    assert list((home.folder / "state" / "moorage" / "uploads").iterdir()) == []


@pytest.mark.parametrize("registry", ["line", "old_line"])
def test_a_push_goes_on_when_the_line_is_cut(
    home: Home, registry: str, layout: Layout, image: Image, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Where the registry can: docker-registry begins the layers anew that were under way."""
    line: Line = request.getfixturevalue(registry)
    name = f"127.0.0.1:{line.port}/team/cut:1.0"
    total = bytes_of(layout)
    line.throttle(20 * MB)
    line.cut(to_server=total // 2)

    said = home.run("push", layout.folder, name, "--json").json()
    line.throttle(None)

    assert line.cuts == 1
    assert said["images"][0]["digest"] == image["digest"]
    assert line.to_server < (total + 2 * MB if registry == "line" else 2 * total)
    home.run("pull", name, tmp_path / "out").check()
    assert read_blobs(tmp_path / "out") == layout.read_blobs()


@pytest.mark.parametrize("registry", ["line", "old_line"])
def test_a_pull_goes_on_when_the_line_is_cut(
    home: Home, registry: str, layout: Layout, image: Image, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    line: Line = request.getfixturevalue(registry)
    name = f"127.0.0.1:{line.port}/team/cut-pull:1.0"
    home.run("push", layout.folder, name).check()
    line.forget()
    line.throttle(20 * MB)
    line.cut(to_client=bytes_of(layout) // 2)

    home.run("pull", name, tmp_path / "out").check()

    assert line.cuts == 1
    assert read_blobs(tmp_path / "out") == layout.read_blobs()
    assert line.to_client < bytes_of(layout) + 2 * MB


def test_a_copy_between_registries_that_was_killed_sends_what_is_missing(
    home: Home, old_line: Line, line: Line, layout: Layout, image: Image
) -> None:
    """Layers that arrived are neither read nor sent again."""
    source, target = f"127.0.0.1:{old_line.port}/team/both:1.0", f"127.0.0.1:{line.port}/team/both:1.0"
    home.run("push", layout.folder, source).check()
    old_line.forget()
    old_line.throttle(6 * MB)
    total = bytes_of(layout)
    process = home.start("copy", source, target)
    kill_when(process, lambda: line.to_server > total // 2)
    old_line.throttle(None)
    time.sleep(0.5)
    sent = line.to_server
    for each in (old_line, line):
        each.forget()

    said = home.run("copy", source, target, "--json").json()

    assert said["images"][0]["digest"] == image["digest"]
    assert line.to_server < total - sent + MB
    assert old_line.to_client < total - sent + MB


def test_an_upload_that_the_registry_has_forgotten_is_begun_anew(
    home: Home, line: Line, plain: ServerProcess, layout: Layout, image: Image
) -> None:
    name = f"127.0.0.1:{line.port}/team/forgotten:1.0"
    line.throttle(6 * MB)
    process = home.start("push", layout.folder, name)
    kill_when(process, lambda: line.to_server > bytes_of(layout) // 2)
    line.throttle(None)
    begun = list((home.folder / "state" / "moorage" / "uploads").iterdir())
    assert begun
    for path in begun:
        assert path.stat().st_mode & 0o077 == 0
        url = path.read_text()
        path.write_text(f"{url[:-8]}00000000")

    said = home.run("push", layout.folder, name, "--json").json()

    assert said["images"][0]["digest"] == image["digest"]
    assert plain.pid


def test_an_interrupt_says_that_it_can_be_gone_on_with(
    home: Home, line: Line, layout: Layout, image: Image, tmp_path: Path
) -> None:
    name = f"127.0.0.1:{line.port}/team/stopped:1.0"
    home.run("push", layout.folder, name).check()
    line.forget()
    line.throttle(4 * MB)
    process = home.start("pull", name, tmp_path / "out")
    deadline = time.monotonic() + 60
    while line.to_client < MB and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)

    assert process.returncode == 130
    assert told.splitlines()[-1] == b"moorage: interrupted. What came stays: run it again to go on."

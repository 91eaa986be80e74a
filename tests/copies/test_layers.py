"""What a person sees of a copy: a bar for each layer on a terminal, else a line for each that is done."""

import io
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from moorage.cli.transfer.layers import Bars
from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import digest_of
from tests.acceptance.images import Layout
from tests.copies.conftest import Home
from tests.copies.content import some_layers

LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest_of(b"layer"), 4096)
OTHER = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest_of(b"other"), 2048)


def short(target: Descriptor) -> str:
    return target.digest.removeprefix("sha256:")[:12]


def test_each_layer_has_a_bar_while_it_comes_and_a_line_when_it_is_there() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, highlight=False)
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True)]
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        bars = Bars(console, progress)
        bars.image("1.0", 2)
        bars.begin(LAYER)
        bars.begin(OTHER)
        bars.moved(LAYER, 1024)
        shown = [(task.description.strip(), task.completed, task.total) for task in progress.tasks]
        bars.end(LAYER, "sent")
        bars.leave(OTHER)
        left = list(progress.tasks)

    assert shown == [(short(LAYER), 1024, 4096), (short(OTHER), 0, 2048)]
    assert left == []
    assert f"{short(LAYER)}     4.0 KiB  copied" in screen.getvalue()


def test_without_a_terminal_there_is_a_line_for_each_layer(home: Home, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = layout.add_image(some_layers(2, 1000), tag="1.0")
    manifest = layout.read_manifest(image["digest"])
    targets = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    first = home.run("copy", f"oci:{layout.folder}", f"oci:{tmp_path / 'out'}").check()
    quiet = home.run("copy", f"oci:{layout.folder}", f"oci:{tmp_path / 'quiet'}", "--json").check()

    lines = first.err.splitlines()
    assert lines[0] == "1.0: 3 layers and configs"
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(
        digest.removeprefix("sha256:")[:12] for digest in targets
    )
    assert all(line.endswith("copied") for line in lines[1:])
    assert first.out.splitlines()[0] == f"oci:{tmp_path / 'out'}:1.0  {image['digest']}"
    assert quiet.err == ""

"""`moorage export`: images as files."""

import platform as machine
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.manage.session import refuse
from moorage.cli.manage.showing import Show, counted
from moorage.cli.settings import ConfigOption, DataOption
from moorage.cli.transfer.local import Place, in_bytes, shown, watched, work_on_folder

if TYPE_CHECKING:
    from moorage.cli.transfer.local import Holding
    from moorage.transfer.images.archive import Sink
    from moorage.transfer.images.taking import Chosen, Taken, Taking

app = typer.Typer(
    help="Write images into files. On the data folder, also while it is served.", no_args_is_help=True
)
ImagesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...",
        help="team/app for all its tags, team/app:1.0, 'team/*:1.*', team/app@sha256:...",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


@app.command()
def oci(
    images: ImagesArgument,
    *,
    to: Annotated[
        Path, typer.Option("--to", metavar="PATH", help="A new folder, or a new file if it ends in .tar.")
    ],
    with_referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="With signatures, SBOMs and what else refers.")
    ] = True,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Write an OCI layout: for skopeo, buildah, podman, and `moorage import oci`.

    Each image comes with all that its index lists. Every byte is compared with its digest on the way.
    """
    from moorage.storage.image_files import FolderSink, TarSink

    _take(
        images,
        lambda: TarSink(to) if to.suffix == ".tar" else FolderSink(to),
        lambda taking, chosen: taking.take_layout(chosen, with_referrers=with_referrers),
        Place(config, data),
        as_json=as_json,
    )


@app.command("docker-archive")
def docker_archive(
    images: ImagesArgument,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="TAR", help="A new file.")],
    platform: Annotated[
        str | None,
        typer.Option(
            "--platform",
            help="Which image of an index. Default: this machine's, or the only one.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a tar for `docker load` and `podman load`."""
    from moorage.storage.image_files import TarSink

    chosen_platform = platform or f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"
    _take(
        images,
        lambda: TarSink(to),
        lambda taking, chosen: taking.take_saved(chosen, chosen_platform, is_asked=platform is not None),
        Place(config, data),
        as_json=as_json,
    )


def _take(
    images: list[str],
    open_sink: Callable[[], "Sink"],
    take: Callable[["Taking", list["Chosen"]], Awaitable["Taken"]],
    place: Place,
    *,
    as_json: bool,
) -> None:
    from moorage.transfer.images.archive import ArchiveRefused

    async def work(holding: "Holding") -> "Taken":
        from moorage.transfer.images.taking import Taking, choose

        chosen = await choose(holding.db, images)
        sink = open_sink()
        taking = Taking(holding.db, holding.store, holding.threads, sink)
        try:
            with shown(is_quiet=as_json) as show, _damage_told(taking):

                def look() -> None:
                    now = taking.taken
                    counts = f"{now.blobs} blobs  {in_bytes(now.bytes)}"
                    show(f"{now.now}  {counts}", len(now.images), len(chosen))

                return await watched(take(taking, chosen), look)
        except BaseException:
            sink.discard()
            raise

    try:
        taken = work_on_folder(place, work)
    except (ArchiveRefused, FileExistsError) as refusal:
        refuse(str(refusal))
    except OSError as error:
        refuse(f"cannot write: {error.strerror}: nothing was kept")
    if as_json:
        fact = asdict(taken)
        del fact["now"]
        Show.json(fact)
        return
    for image in taken.images:
        name = f"{image['repository']}:{image['tag']}" if image["tag"] else str(image["repository"])
        typer.echo(f"{name}  {image['digest']}")
    typer.echo(
        f"{counted(len(taken.images), 'image')} written, with {counted(taken.manifests, 'manifest')} and"
        f" {counted(taken.blobs, 'blob')}, {in_bytes(taken.bytes)}."
    )


@contextmanager
def _damage_told(taking: "Taking") -> Iterator[None]:
    """Say of what cannot be read which image it is of, and what mends it. Raises ArchiveRefused."""
    from moorage.errors import BlobUnknown, ContentDamaged
    from moorage.transfer.images.archive import ArchiveRefused

    try:
        yield
    except (BlobUnknown, ContentDamaged) as refusal:
        what = "is damaged here" if isinstance(refusal, ContentDamaged) else "is not here"
        raise ArchiveRefused(
            f"{taking.taken.now}: its blob {refusal.detail.get('digest')} {what}; push it again, then export."
            " Nothing was kept."
        ) from refusal

"""`moorage copy`, `moorage push` and `moorage pull`: images from one place to another, without docker."""

import asyncio
import platform as machine
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.manage.session import refuse
from moorage.cli.manage.showing import Show
from moorage.cli.transfer.local import in_bytes
from moorage.cli.transfer.trusting import AuthorityOption, advise

if TYPE_CHECKING:
    from moorage.transfer.between.copying import Copied
    from moorage.transfer.between.places import Place

PlatformOption = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH",
        help="Only the image for this platform, as linux/arm64. Default: the index and all that it lists.",
        show_default=False,
    ),
]
ReferrersOption = Annotated[
    bool,
    typer.Option(
        "--referrers", help="With signatures, SBOMs and what else refers to the images; cosign's tags too."
    ),
]
TagsOption = Annotated[
    str | None,
    typer.Option(
        "--tags",
        metavar="PATTERN",
        help="All tags that it names, as '1.*' or 're:v[0-9]+'. Each keeps its name.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and show nothing meanwhile.")]
PlainOption = Annotated[
    bool, typer.Option("--plain-http", help="The registry speaks plain HTTP: anyone on the way can read it.")
]
_INTERRUPTED = 130


class Format(StrEnum):
    """What a pull writes."""

    OCI = "oci"
    DOCKER = "docker"


@dataclass(frozen=True, slots=True)
class _Choice:
    """What was said on the command line."""

    platform: str | None
    with_referrers: bool
    tags: str | None
    authority: Path | None
    is_plain_from: bool
    is_plain_to: bool
    as_json: bool


def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="registry.local:5000/team/app:1.0 or team/app on another, oci:PATH[:TAG],"
            " docker-archive:PATH[:NAME:TAG]. '...:1.*' for several tags.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST", help="The same. Without a tag the source's tag stays.", show_default=False
        ),
    ],
    *,
    platform: PlatformOption = None,
    with_referrers: ReferrersOption = False,
    tags: TagsOption = None,
    ca: AuthorityOption = None,
    is_plain_from: Annotated[
        bool, typer.Option("--from-plain-http", help="The registry of SRC speaks plain HTTP.")
    ] = False,
    is_plain_to: Annotated[
        bool, typer.Option("--to-plain-http", help="The registry of DST speaks plain HTTP.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy images between registries, OCI layouts and docker's archives.

    Manifests go byte for byte, so digests stay. What is there is not sent again, and layers that another
    repository of the same registry has are mounted. Interrupted, run it again: it goes on where it was.
    Credentials are those of `moorage login`, `docker login` and `podman login`. A path that ends in .tar is
    a tar.
    """
    from moorage.transfer.between.places import parse_place
    from moorage.transfer.between.ports import CopyRefused

    choice = _Choice(platform, with_referrers, tags, ca, is_plain_from, is_plain_to, as_json)
    try:
        places = parse_place(source), parse_place(target)
    except CopyRefused as refusal:
        refuse(str(refusal))
    _run(*places, choice)


def push(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH[:TAG]",
            help="An OCI layout, a folder or a tar, or what `docker save` wrote.",
            show_default=False,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="Where to, as registry.local:5000/team/app:1.0.", show_default=False
        ),
    ],
    *,
    platform: PlatformOption = None,
    with_referrers: ReferrersOption = False,
    tags: TagsOption = None,
    ca: AuthorityOption = None,
    is_plain: PlainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Push an image from a folder or a tar to a registry, on a machine without docker.

    The same as `moorage copy oci:PATH[:TAG] REF`.
    """
    from moorage.transfer.between.places import RegistryPlace, parse_place, place_of_path
    from moorage.transfer.between.ports import CopyRefused

    choice = _Choice(platform, with_referrers, tags, ca, is_plain, is_plain, as_json)
    try:
        come_from, go_to = place_of_path(path), parse_place(target)
    except CopyRefused as refusal:
        refuse(str(refusal))
    if not isinstance(go_to, RegistryPlace):
        refuse(
            f"{target}: a push goes to a registry, as registry.local:5000/team/app:1.0; else use moorage copy"
        )
    _run(come_from, go_to, choice)


def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="Which image, as registry.local:5000/team/app:1.0.", show_default=False
        ),
    ],
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH[:TAG]",
            help="An OCI layout: a folder, which may hold others, or a new file if it ends in .tar.",
            show_default=False,
        ),
    ],
    *,
    form: Annotated[
        Format, typer.Option("--format", help="docker: a tar for `docker load`, of one platform.")
    ] = Format.OCI,
    platform: PlatformOption = None,
    with_referrers: ReferrersOption = False,
    tags: TagsOption = None,
    ca: AuthorityOption = None,
    is_plain: PlainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pull an image from a registry into a folder or a tar, on a machine without docker.

    The same as `moorage copy REF oci:PATH[:TAG]`. Interrupted, run it again: it goes on in the middle of a
    layer.
    """
    from moorage.transfer.between.places import RegistryPlace, as_saved, parse_place, place_of_path
    from moorage.transfer.between.ports import CopyRefused

    choice = _Choice(platform, with_referrers, tags, ca, is_plain, is_plain, as_json)
    try:
        come_from, go_to = parse_place(source), place_of_path(path)
    except CopyRefused as refusal:
        refuse(str(refusal))
    if not isinstance(come_from, RegistryPlace):
        refuse(
            f"{source}: a pull comes from a registry, as registry.local:5000/team/app; else use moorage copy"
        )
    _run(come_from, as_saved(go_to) if form is Format.DOCKER else go_to, choice)


def _run(come_from: "Place", go_to: "Place", choice: _Choice) -> None:
    import uvloop

    from moorage.mirrors.asking import UpstreamFailure
    from moorage.transfer.between.ports import CopyRefused
    from moorage.upstream.docker_config import DockerConfigError

    began = time.monotonic()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            copied, name = runner.run(_copy(come_from, go_to, choice))
    except (CopyRefused, UpstreamFailure, DockerConfigError) as refusal:
        refuse(f"{refusal}{advise(str(refusal))}")
    except OSError as error:
        refuse(f"cannot write {go_to}: {error.strerror or error}. What came stays: run it again to go on.")
    except KeyboardInterrupt:
        typer.echo("moorage: interrupted. What came stays: run it again to go on.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    _tell(copied, go_to, name, time.monotonic() - began, as_json=choice.as_json)


async def _copy(come_from: "Place", go_to: "Place", choice: _Choice) -> tuple["Copied", str]:
    """What was copied, and what docker is to call it where it went to an archive of docker's."""
    from moorage.cli.transfer.layers import watching
    from moorage.cli.transfer.opening import opening
    from moorage.transfer.between.copying import Copying
    from moorage.transfer.between.places import SavedPlace, choose, name_for_docker
    from moorage.transfer.between.planning import Planning
    from moorage.transfer.between.platforms import parse_platform, platform_of_machine

    platform = None if choice.platform is None else parse_platform(choice.platform)
    if platform is None and isinstance(go_to, SavedPlace):
        platform = platform_of_machine(machine.machine())
    async with opening(choice.authority) as opened:
        source = await opened.open_source(come_from, is_plain=choice.is_plain_from)
        wanted = await choose(source, come_from, go_to, choice.tags)
        name = name_for_docker(come_from, go_to, wanted[0].tag or "") if isinstance(go_to, SavedPlace) else ""
        destination = await opened.open_destination(go_to, come_from, name, is_plain=choice.is_plain_to)
        planning = Planning(source, destination, platform, with_referrers=choice.with_referrers)
        with watching(is_quiet=choice.as_json) as watch:
            return await Copying(source, destination, planning, watch, opened.threads).run(wanted), name


def _tell(copied: "Copied", go_to: "Place", docker_name: str, seconds: float, *, as_json: bool) -> None:
    if as_json:
        Show.json({"destination": str(go_to)} | copied.as_fact() | {"seconds": round(seconds, 3)})
        return
    for image in copied.images:
        called = docker_name or image["tag"]
        name = f"{go_to}:{called}" if called else str(go_to)
        typer.echo(f"{name}  {image['digest']}")
    typer.echo(f"{_images(copied)} in {seconds:.1f} s: {_bytes(copied)}.")


def _images(copied: "Copied") -> str:
    said = f"{_count(len(copied.images), 'image')}, {_count(copied.manifests_sent, 'new manifest')}"
    if copied.manifests_there:
        said += f" ({copied.manifests_there:,} there already)"
    return f"{said}, {_count(copied.referrers, 'referrer')}" if copied.referrers else said


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _bytes(copied: "Copied") -> str:
    said = [f"{in_bytes(copied.bytes_sent)} copied"]
    if copied.blobs_mounted:
        said.append(f"{in_bytes(copied.bytes_mounted)} mounted")
    if copied.blobs_skipped:
        said.append(f"{in_bytes(copied.bytes_skipped)} there already")
    return ", ".join(said)

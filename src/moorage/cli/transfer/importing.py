"""`moorage import`: bring what another registry or an archive holds."""

import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.manage.session import refuse
from moorage.cli.manage.showing import Show, counted
from moorage.cli.settings import ConfigOption, DataOption
from moorage.cli.transfer.local import DryOption, Place, in_bytes, shown, watched, work_on_folder

if TYPE_CHECKING:
    from moorage.cli.transfer.local import Holding
    from moorage.identity.managing.htpasswd import TakenAccounts
    from moorage.transfer.images.bringing import Bringing, Brought
    from moorage.transfer.takeover.report import Report

TargetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[REPOSITORY[:TAG]]",
        help="Where to; else as the archive names its images.",
        show_default=False,
    ),
]
app = typer.Typer(
    help="Bring what another registry or an archive holds. On the data folder, also while it is served.",
    no_args_is_help=True,
)
_TOLD_MAX = 20


@app.command()
def distribution(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="The other registry's folder, its rootdirectory.", show_default=False
        ),
    ],
    *,
    repository: Annotated[
        str, typer.Option("--repository", metavar="PATTERN", help="Only these, as 'team/*'.")
    ] = "*",
    is_dry: DryOption = False,
    htpasswd: Annotated[
        Path | None,
        typer.Option("--htpasswd", help="Its htpasswd file: each name an account.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Take over the folder of Docker's registry ("distribution", Debian's docker-registry).

    Files come by a second name (hard link) where both folders are on one file system, else by a copy that
    shares blocks (reflink) or a plain one. Each is read and compared with its digest. The other registry may
    go on serving; run this again to bring what is new there. What is broken there is told and left out, what
    was moved or deleted here since stays as it is. Interrupted, run it again: it goes on.
    """
    from moorage.errors import PatternInvalid
    from moorage.identity.access.patterns import check_pattern, is_match
    from moorage.storage.distribution import DistributionTree
    from moorage.transfer.takeover.source import SourceRefused

    try:
        source = DistributionTree(path)
        check_pattern(repository)
        if repository != "*" and not any(is_match(repository, name) for name in source.list_repositories()):
            refuse(f"no repository in {path} is named by {repository!r}")
    except SourceRefused as refusal:
        refuse(str(refusal))
    except PatternInvalid as refusal:
        refuse(str(refusal))
    lines = None if htpasswd is None else _read_text(htpasswd)
    began = time.monotonic()

    async def work(holding: "Holding") -> tuple["Report", "TakenAccounts | None"]:
        accounts = None if lines is None else await _take_accounts(holding, lines, is_dry=is_dry)
        from moorage.storage.adopting import Adopter
        from moorage.transfer.takeover.bringing import Takeover

        lease_ms = holding.settings.delete.delay_ms
        adopter = Adopter(holding.store)
        takeover = Takeover(holding.db, holding.store, adopter, source, holding.threads, lease_ms)
        with shown(is_quiet=as_json) as show:

            def look() -> None:
                now = takeover.progress
                counts = f"{now.manifests}/{now.manifests_total} manifests  {in_bytes(now.bytes)}"
                show(f"{now.repository}  {counts}", now.repositories, now.repositories_total)

            return await watched(takeover.run(repository, is_dry=is_dry), look), accounts

    try:
        report, accounts = work_on_folder(Place(config, data), work)
    except SourceRefused as refusal:
        refuse(str(refusal))
    _tell(report, accounts, time.monotonic() - began, is_dry=is_dry, as_json=as_json)


@app.command()
def oci(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Its folder, or a tar of it.", show_default=False)
    ],
    target: TargetArgument = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Bring the images of an OCI layout, with all that their indexes list and all referrers in it.

    The layout is what skopeo, buildah and `moorage export oci` write. Each manifest comes byte for byte.
    """
    from moorage.storage.image_files import FolderArchive
    from moorage.storage.tar import TarArchive

    _bring(
        lambda: FolderArchive(path) if path.is_dir() else TarArchive(path),
        lambda bringing: bringing.bring_layout(target),
        Place(config, data),
        as_json=as_json,
    )


@app.command("docker-archive")
def docker_archive(
    path: Annotated[
        Path, typer.Argument(metavar="TAR", help="What `docker save` wrote.", show_default=False)
    ],
    target: TargetArgument = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Bring the images that `docker save` or `podman save` wrote into a tar, also one packed by gzip.

    Layers are packed by gzip, as a push would. Newer versions of docker write a layout into the tar: it comes
    byte for byte.
    """
    from moorage.storage.tar import TarArchive

    _bring(
        lambda: TarArchive(path),
        lambda bringing: bringing.bring_saved(target),
        Place(config, data),
        as_json=as_json,
    )


def _bring(
    open_archive: Callable[[], Any],
    bring: Callable[["Bringing"], Awaitable["Brought"]],
    place: Place,
    *,
    as_json: bool,
) -> None:
    from moorage.transfer.images.archive import ArchiveRefused

    async def work(holding: "Holding") -> "Brought":
        from moorage.transfer.images.bringing import Bringing

        with closing(open_archive()) as archive:
            bringing = Bringing(
                holding.db,
                holding.store,
                holding.uploads,
                holding.threads,
                archive,
                holding.settings.manifests.max_bytes,
                holding.settings.delete.delay_ms,
            )
            with shown(is_quiet=as_json) as show:

                def look() -> None:
                    now = bringing.brought
                    show(f"{now.now}  {now.blobs} blobs  {in_bytes(now.bytes)}", len(now.images), None)

                return await watched(bring(bringing), look)

    try:
        brought = work_on_folder(place, work)
    except ArchiveRefused as refusal:
        refuse(str(refusal))
    if as_json:
        fact = asdict(brought)
        del fact["now"]
        Show.json(fact)
        return
    for image in brought.images:
        name = f"{image['repository']}:{image['tag']}" if image["tag"] else str(image["repository"])
        typer.echo(f"{name}  {image['digest']}{_said_before(image)}")
    typer.echo(
        f"{counted(len(brought.images), 'image')}, with {counted(brought.manifests, 'manifest')} and"
        f" {counted(brought.blobs, 'blob')} of {in_bytes(brought.bytes)} that were not here."
    )


def _said_before(image: dict[str, str | None]) -> str:
    """What becomes of the tag, if it was there before."""
    if image["was"] is None:
        return ""
    return "  as it was" if image["was"] == image["digest"] else f"  moved from {image['was']}"


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"cannot read {path}: {error}")


async def _take_accounts(holding: "Holding", lines: str, *, is_dry: bool) -> "TakenAccounts":
    from moorage.identity.callers.caller import OPERATOR
    from moorage.identity.managing.htpasswd import NoAdministrator, take_accounts

    try:
        return await take_accounts(holding.db, OPERATOR.actor, lines, is_dry=is_dry)
    except NoAdministrator:
        refuse("this registry has no administrator yet: moorage admin claim NAME, then import")


def _tell(
    report: "Report", accounts: "TakenAccounts | None", seconds: float, *, is_dry: bool, as_json: bool
) -> None:
    if as_json:
        fact: dict[str, Any] = asdict(report)
        fact["skipped"] = [problem._asdict() for problem in report.skipped]
        fact["kept"] = [problem._asdict() for problem in report.kept]
        fact["accounts"] = None if accounts is None else asdict(accounts)
        Show.json(fact | {"is_dry": is_dry, "seconds": round(seconds, 3)})
        return
    if accounts is not None:
        _tell_accounts(accounts, is_dry=is_dry)
    verb = "Would bring" if is_dry else "Brought"
    typer.echo(
        f"{verb} {counted(report.manifests, 'manifest')} and {counted(report.tags, 'tag')} in"
        f" {counted(report.repositories, 'repository')},"
        f" with {counted(report.blobs, 'blob')} of {in_bytes(report.bytes)}, in {seconds:.1f} s."
    )
    for means, count in sorted(report.means.items()):
        typer.echo(f"  by {means}: {in_bytes(count)}")
    if report.known_manifests or report.known_tags:
        typer.echo(
            f"Here already: {counted(report.known_manifests, 'manifest')},"
            f" {counted(report.known_tags, 'tag')}."
        )
    _tell_problems(f"Kept as {'they are' if len(report.kept) > 1 else 'it is'} here", report.kept)
    _tell_problems("Broken there and left out", report.skipped)
    if report.untold:
        typer.echo(f"  and {report.untold:,} more")


def _tell_accounts(accounts: "TakenAccounts", *, is_dry: bool) -> None:
    made = ", ".join(accounts.made) or "none"
    typer.echo(f"{'Would make accounts' if is_dry else 'Accounts made'}: {made}")
    if accounts.made and not is_dry:
        typer.echo("  They sign in by the passwords they have. What they may do: moorage grant add, as")
        typer.echo(
            "  moorage grant add everyone push,delete '*'   lets them do all that they could do there."
        )
    if accounts.known:
        typer.echo(f"Accounts that are here already and stay as they are: {', '.join(accounts.known)}")
    for name, reason in accounts.refused.items():
        line = f"  no account for {name}: {reason}"
        typer.echo(line if line.isprintable() else ascii(line)[1:-1])


def _tell_problems(heading: str, problems: list[Any]) -> None:
    if problems:
        typer.echo(f"{heading}: {len(problems):,}")
    for problem in problems[:_TOLD_MAX]:
        line = f"  {problem.repository} {problem.what}: {problem.reason}"
        typer.echo(line if line.isprintable() else ascii(line)[1:-1])
    if len(problems) > _TOLD_MAX:
        typer.echo(f"  and {len(problems) - _TOLD_MAX:,} more; --json has them all")

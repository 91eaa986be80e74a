"""`moorage certificate`: this registry's own root and what it issued."""

from typing import NoReturn

import typer

from moorage.cli.settings import ConfigOption, DataOption, load_or_exit

app = typer.Typer(no_args_is_help=True, help="The registry's own certificate.")


@app.command()
def show(data: DataOption = None, config: ConfigOption = None) -> None:
    """Print the root's fingerprint, the names the server certificate is for, and until when."""
    from moorage.certificates.authority import fingerprint
    from moorage.certificates.keeping import CertificateRefused, find_own
    from moorage.certificates.serving import ServerCertificate

    settings = load_or_exit(config, data=data)
    try:
        own = find_own(settings.storage.data, settings.tls.names)
        root = own.read_authority()
        served = ServerCertificate(own.server_path, own.server_path)
    except FileNotFoundError as error:
        _refuse(f"{error.filename} is not there yet; the first start with TLS makes it")
    except (CertificateRefused, OSError) as refusal:
        _refuse(str(refusal))
    typer.echo(f"root         {root.certificate.subject.rfc4514_string()}")
    typer.echo(f"  SHA-256    {fingerprint(root.certificate)}")
    typer.echo(f"  until      {root.certificate.not_valid_after_utc:%Y-%m-%d}")
    typer.echo(f"certificate  {served.names}")
    typer.echo(f"  until      {served.expires_at:%Y-%m-%d}")


@app.command()
def renew_authority(data: DataOption = None, config: ConfigOption = None) -> None:
    """Make a new root, for the names of today; every client has to trust it anew. No restart is needed."""
    from moorage.certificates.authority import fingerprint
    from moorage.certificates.keeping import CertificateRefused, find_own

    settings = load_or_exit(config, data=data)
    try:
        root = find_own(settings.storage.data, settings.tls.names).renew_authority()
    except (CertificateRefused, OSError) as refusal:
        _refuse(str(refusal))
    typer.echo(f"A new root for {settings.storage.data}: clients have to trust it anew. SHA-256:")
    typer.echo(f"  {fingerprint(root.certificate)}")


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"moorage: {sentence}", err=True)
    raise typer.Exit(1)

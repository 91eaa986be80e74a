"""`moorage worker`: what is done beside the requests, in a process of its own."""

import typer

from moorage.cli.settings import ConfigOption, DataOption, load_or_exit


def worker(data: DataOption = None, config: ConfigOption = None) -> None:
    """Run jobs on a data folder until SIGTERM or Ctrl-C.

    `moorage serve` does this by itself, unless `jobs.beside` is false. Several workers may run at once.
    """
    settings = load_or_exit(config, data=data)
    from moorage.app import StartRefused
    from moorage.working import work_alone

    try:
        code = work_alone(settings)
    except StartRefused as refusal:
        typer.echo(f"moorage: {refusal}", err=True)
        raise typer.Exit(1) from refusal
    raise typer.Exit(code)

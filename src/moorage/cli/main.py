"""The `moorage` command."""

import typer

from moorage.cli import config, doctor, name, serve, version

app = typer.Typer(
    name="moorage",
    help="Moorage: a container registry for your own network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.add_typer(config.app, name="config")
app.command()(doctor.doctor)
app.command(context_settings={"ignore_unknown_options": True})(name.name)
app.command()(version.version)


def main() -> None:
    """Run the command."""
    app()

"""The command ``oncoweave``: one module of this folder is one verb."""

import sys
from importlib import import_module
from pathlib import Path

import typer

from oncoweave.core.errors import OncoweaveError

app = typer.Typer(
    name="oncoweave",
    help="From a cohort folder to an honest report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(*, version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from oncoweave import __version__

        typer.echo(__version__)
        raise typer.Exit


def _add_verbs() -> None:
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in ("__init__", "main"):
            import_module(f"oncoweave.cli.{path.stem}").add_to(app)


def main() -> None:
    """Run the command line; an error meant for the user ends it with exit code 1 and its text."""
    _add_verbs()
    try:
        app()
    except OncoweaveError as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        typer.secho(f"error: {error}{notes}", err=True, fg=typer.colors.RED)
        sys.exit(1)


if __name__ == "__main__":
    main()

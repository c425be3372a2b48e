"""The command ``oncoweave``: one module of this folder is one verb."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from oncoweave.core.errors import OncoweaveError

INTERRUPTED = 130
"""Exit code of a command stopped by Ctrl-C: 128 and the signal's number, as shells have it."""


class _Verbs(TyperGroup):
    """The verbs; one that is interrupted says how to go on."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  the context's class is private to typer
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo("interrupted; give the same command again to go on", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name="oncoweave",
    cls=_Verbs,
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
    """Run the command line; an error meant for the user, or of a file, ends it with exit code 1 and its text."""
    _add_verbs()
    try:
        app()
    except OncoweaveError as error:
        _stop("".join([str(error), *(f"\n  {note}" for note in getattr(error, "__notes__", []))]))
    except UnicodeDecodeError as error:
        _stop(f"a file that should be UTF-8 text is not: {error.reason} at byte {error.start}; give the text file itself")
    except OSError as error:
        # of two names, as in a move, the second is where the result should have gone
        name = error.filename2 or error.filename
        _stop(f"{name}: {error.strerror}" if name is not None else str(error))


def _stop(message: str) -> None:
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
    sys.exit(1)


if __name__ == "__main__":
    main()

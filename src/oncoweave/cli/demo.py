"""The whole job on phantom patients."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("demo")(demo)


def demo(out: Path = typer.Argument(Path("demo"), help="Folder for the cohort, the run and its report.")) -> None:
    """Draw a cohort of phantom patients with slides, embed them, run a study on it and write the report."""
    from oncoweave.serve.demo import run_demo

    typer.echo(f"report: {run_demo(out)}")

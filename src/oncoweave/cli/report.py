"""Rebuild the report of a run."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("report")(report)


def report(run: Path = typer.Argument(help="A run folder, as oncoweave run writes it.")) -> None:
    """Rebuild report.html of a run from the tables in its folder; nothing is fitted again."""
    from oncoweave.serve.report import write_report

    typer.echo(f"report: {write_report(run)}")

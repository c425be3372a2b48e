"""Run a study: cohort folder in, run folder with a report out."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("run")(run)


def run(
    study: Path = typer.Argument(help="A study file (YAML)."),
    out: Path = typer.Option(Path("run"), "--out", help="The run folder; an interrupted run there is resumed."),
    jobs: int = typer.Option(1, "--jobs", min=1, help="Processes that fit folds at a time; each holds the cohort in memory."),
) -> None:
    """Fit and evaluate every model of a study, and write the run folder with its report."""
    from oncoweave.serve.report import write_report
    from oncoweave.train.study import run_study

    folder = run_study(study, out, jobs=jobs)
    page = folder / "report.html"
    if not page.exists() or page.stat().st_mtime_ns < (folder / "manifest.json").stat().st_mtime_ns:
        write_report(folder)  # the manifest is written last, after any table that was made again
    typer.echo(f"report: {page}")

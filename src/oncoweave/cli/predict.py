"""Apply a locked model to new patients."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("predict")(predict)


def predict(
    run: Path = typer.Argument(help="A run folder."),
    cohort: Path = typer.Argument(help="A cohort folder with new patients."),
    out: Path = typer.Option(Path("predictions.csv"), "--out", help="Where the table goes (.csv or .parquet)."),
    model: str = typer.Option("", "--model", help="A model of the run; its main model when not given."),
) -> None:
    """Predict for new patients with a model that was locked when the run ended."""
    from oncoweave.train.predict import predict_cohort

    summary = predict_cohort(run, cohort, out, model=model or None)
    for warning in summary.warnings:
        typer.secho(f"warning: {warning}", err=True, fg=typer.colors.YELLOW)
    typer.echo(f"{summary.predicted} patients predicted, {summary.without} without any usable modality; table: {out}")

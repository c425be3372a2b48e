"""Say what a network of a run attends to, beside what its output does without it."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("explain")(explain)


def explain(
    run: Path = typer.Argument(help="The folder of a finished run."),
    model: str = typer.Option("", "--model", help="A network of the run; its main model when not given."),
    cohort: Path | None = typer.Option(None, "--cohort", help="A cohort folder; the patients of the run when not given."),
    out: Path = typer.Option(Path("explained"), "--out", help="Folder for the page and its tables; an earlier one is replaced."),
    sample: int = typer.Option(
        50, "--sample", min=5, help="Patients, drawn at random, in whom tokens are deleted one by one: each costs a pass."
    ),
    patients: str = typer.Option(
        "", "--patients", help="Patients who get a folder of their own: a file with one id a line, or ids parted by commas."
    ),
) -> None:
    """Lay a network's attention to modalities, columns, words and patches beside what its output does without them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from oncoweave.serve.explain.run import Asked, explain_run, read_patient_list

    asked = Asked(run=run, model=model or None, cohort=cohort, patients=read_patient_list(patients), sample=sample)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("reading patients", total=None)

        def show(what: str, done: int, total: int) -> None:
            bars.update(bar, description=what, completed=done, total=total)

        explained = explain_run(asked, out, progress=show)
    for warning in explained.warnings:
        typer.secho(f"warning: {warning}", err=True, fg=typer.colors.YELLOW)
    typer.echo(f"{explained.patients} patients followed, tokens deleted in {explained.sampled}; page: {explained.page}")
    if explained.folders:
        lacking = f" (none of the network's modalities in {explained.without} of them)" if explained.without else ""
        typer.echo(f"{explained.folders} patients in folders of their own, which hold their records: {out / 'patients'}{lacking}")

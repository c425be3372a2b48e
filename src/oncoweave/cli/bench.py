"""Ask many tasks of many models, and write one page."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("bench")(bench)


def bench(
    file: Path | None = typer.Argument(None, metavar="BENCH.yaml", help="A bench file; none with --phantom."),
    out: Path = typer.Option(Path("bench"), "--out", help="Folder of the bench; what is finished there is kept."),
    phantom: bool = typer.Option(False, "--phantom", help="Ask the stand-ins of all tasks of a drawn cohort; takes minutes."),
    jobs: int = typer.Option(1, "--jobs", min=1, help="Processes that fit folds at a time."),
) -> None:
    """Run tasks with encoders, aggregators and fusions, each into a run folder of its own, and write one page over all."""
    if (file is None) != phantom:
        raise typer.BadParameter("give either a bench file or --phantom")
    from oncoweave.serve.bench.phantom import phantom_bench
    from oncoweave.serve.bench.run import run_bench
    from oncoweave.train.bench.spec import read_bench

    asked = phantom_bench(out) if file is None else read_bench(file)
    results = run_bench(asked, out, jobs=jobs, tell=typer.echo)
    typer.echo(f"page: {out / 'bench.html'}")
    if results.failures:
        typer.secho(f"{len(results.failures)} of {len(results.tasks) + len(results.failures)} tasks did not finish", err=True)
        raise typer.Exit(1)

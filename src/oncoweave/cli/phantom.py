"""Draw a cohort of patients whose truth is known."""

from pathlib import Path

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("phantom")(phantom)


def phantom(
    out: Path = typer.Argument(help="Cohort folder to write; its truth goes to OUT-truth beside it."),
    patients: int = typer.Option(120, min=1, help="How many patients."),
    seed: int = typer.Option(0, min=0, help="The same seed gives the same files."),
    sites: int = typer.Option(5, min=1, help="How many hospitals."),
    site_confounder: bool = typer.Option(
        False, "--site-confounder", help="Let the hospital shift both the hazard and the stain."
    ),
    missing: float = typer.Option(
        1.0, min=0.0, help="Scale how often modalities and values are missing; 0 for complete patients."
    ),
    no_slides: bool = typer.Option(False, "--no-slides", help="Leave slides out."),
    no_scans: bool = typer.Option(False, "--no-scans", help="Leave volumes and films out."),
    lung_diseases: bool = typer.Option(
        False, "--lung-diseases", help="Draw eight diseases of the lung as well, shown by films, reports and records."
    ),
    slide_px: int = typer.Option(2048, min=512, help="Side of a slide in pixels, at 0.5 um a pixel."),
    workers: int = typer.Option(0, min=0, help="Processes that render slides; 0 for one a processor."),
) -> None:
    """Draw a cohort with known truth: slides, expression, variants, reports, records, volumes and films."""
    import os

    from oncoweave.phantom.biology import Config
    from oncoweave.phantom.cohort import describe, write_phantom
    from oncoweave.phantom.truth_folder import truth_folder

    config = Config(
        patients=patients, seed=seed, sites=sites, site_confounder=site_confounder, missing=missing, slide_px=slide_px,
        lung_diseases=lung_diseases, without=(("slide",) if no_slides else ()) + (("volume", "film") if no_scans else ()),
    )  # fmt: skip
    cohort = write_phantom(config, out, workers=workers or os.cpu_count() or 1)
    typer.echo(", ".join(f"{name} {count}" for name, count in describe(cohort).items()))
    typer.echo(f"cohort: {out}")
    typer.echo(f"truth:  {truth_folder(out)}")

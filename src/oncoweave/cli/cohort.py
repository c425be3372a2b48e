"""Bring a cohort in, look at it, check it, take it out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from oncoweave.data.cohort import Record
    from oncoweave.data.describe import Description
    from oncoweave.data.findings import Finding
    from oncoweave.data.importers.report import ImportReport
    from oncoweave.train.scan_checks import Records

cohort_app = typer.Typer(name="cohort", help="Import, check, describe and export a cohort folder.", no_args_is_help=True)

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim", "left out": "yellow", "unknown": "yellow"}

CohortPath = Annotated[Path, typer.Argument(help="A cohort folder.")]
EndpointName = Annotated[str | None, typer.Option(help="Endpoint whose events are counted; the first when not given.")]


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.add_typer(cohort_app)


@cohort_app.command("import")
def import_source(
    source: Annotated[
        Path, typer.Argument(help="A manifest .yaml, a cBioPortal study folder, a folder of .h5 bags, or an .h5mu file.")
    ],
    out: Annotated[Path, typer.Argument(help="The cohort folder to make; an older cohort there is replaced.")],
    format: Annotated[str | None, typer.Option(help="manifest, cbioportal, bags or mudata; found out when not given.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of a manifest's tables, when it is not the manifest's own.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Table of slide_id and patient_id for a folder of bags.")] = None,
) -> None:
    """Import a source into a cohort folder, and say what was left out and why."""
    from oncoweave.data.importers.choose import import_cohort

    cohort, report = import_cohort(source, out, format=format, data=data, slides=slides)
    console = _console()
    _print_report(console, report)
    counts = f"{len(cohort):,} patients, {len(cohort.modalities)} modalities"
    console.print(f"[bold]{_plain(cohort.name)}[/]: {counts}, in {_plain(str(out))}")


@cohort_app.command("describe")
def describe_cohort(
    cohort: CohortPath,
    endpoint: EndpointName = None,
    subsets: Annotated[
        bool, typer.Option("--subsets", help="List all 2^M subsets of modalities, also those of no patient.")
    ] = False,
) -> None:
    """Print modalities, outcomes and the missingness patterns of a cohort."""
    from oncoweave.data.describe import describe
    from oncoweave.data.store import read_cohort

    _print_description(_console(), describe(read_cohort(cohort), endpoint=endpoint, subsets=subsets))


@cohort_app.command("check")
def check(
    cohort: CohortPath,
    endpoint: EndpointName = None,
    splits: Annotated[Path | None, typer.Option(help="A splits.parquet, to look for what stands on both sides.")] = None,
    genes: Annotated[Path | None, typer.Option(help="A gene table with symbol and synonyms, to look for aliases.")] = None,
    hashes: Annotated[bool, typer.Option(help="Read every file again and compare it with the manifest.")] = True,
    images: Annotated[bool, typer.Option(help="Decode every film and volume, to count those that cannot be used.")] = True,
) -> None:
    """Check a cohort for what would make results wrong; ends with exit code 1 when there is an error."""
    from oncoweave.data.checks import check_cohort
    from oncoweave.data.describe import describe
    from oncoweave.data.findings import sorted_findings
    from oncoweave.data.genes import read_gene_table
    from oncoweave.data.importers.sources import read_source
    from oncoweave.data.store import read_cohort
    from oncoweave.data.tables import read_table
    from oncoweave.train.scan_checks import check_scans

    read = read_cohort(cohort)
    findings = check_cohort(
        read,
        splits=None if splits is None else read_table(splits),
        genes=None if genes is None else read_gene_table(read_source(genes)),
        hashes=hashes,
    )
    if images:
        findings = sorted_findings((*findings, *check_scans(read, showing=_shown)))
    console = _console()
    _print_description(console, describe(read, endpoint=endpoint))
    _print_findings(console, findings)
    if any(f.level == "error" for f in findings):
        raise typer.Exit(1)


@cohort_app.command("radiomics")
def radiomics(
    cohort: CohortPath,
    modality: Annotated[str | None, typer.Option(help="Volumes with masks; the only ones when not given.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the modality that is made; <modality>_radiomics when not given.")] = None,
) -> None:
    """Compute radiomics inside the masks of a cohort's volumes, and store them there as a modality of kind record."""
    from oncoweave.data.store import read_cohort
    from oncoweave.train.radiomics_table import lay_radiomics

    read = read_cohort(cohort)
    made = lay_radiomics(read, modality=modality, name=name)
    for added, table in made.tables.items():
        if table is not read.tables.get(added):
            typer.echo(f"{added}: {len(table.columns) - 2} features of {len(table):,} patients, in {cohort}")


@cohort_app.command("export")
def export(
    cohort: CohortPath,
    h5mu: Annotated[Path, typer.Option(help="The MuData file to write.")],
) -> None:
    """Write a cohort as one MuData file, from which it can be imported again without loss."""
    from oncoweave.data.importers.mudata import write_mudata
    from oncoweave.data.store import read_cohort

    typer.echo(write_mudata(read_cohort(cohort), h5mu))


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False, emoji=False)


def _print_report(console: "Console", report: "ImportReport") -> None:
    from rich.table import Table

    if not report.entries:
        console.print("Nothing was left out.")
        return
    table = Table("", "count", "what", "where", "reason", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    for entry in report.entries:
        colour = _COLOURS.get(entry.kind, "dim")
        table.add_row(
            f"[{colour}]{entry.kind}[/]", f"{entry.count:,}", _plain(entry.what), _plain(entry.where), _plain(entry.reason)
        )
    console.print(table)


def _print_description(console: "Console", about: "Description") -> None:
    from rich.table import Table

    sites = f", {about.num_sites} sites" if about.num_sites else ", no site known"
    console.print(f"\n[bold]{_plain(about.name)}[/]: {about.num_patients:,} patients{sites}")
    if len(about.endpoints):
        outcomes = Table("outcome", "kind", "known", "", box=None, header_style="bold", pad_edge=False)
        outcomes.columns[2].justify = "right"
        for row in about.endpoints.to_dict("records"):
            outcomes.add_row(_plain(row["name"]), row["kind"], f"{row['known']:,}", _plain(row["summary"]))
        console.print("", outcomes)
    table = Table(
        "#",
        "modality",
        "kind",
        "patients",
        "",
        "samples",
        "columns",
        "not measured",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for column in (0, 3, 4, 5, 6, 7):
        table.columns[column].justify = "right"
    for number, row in enumerate(about.modalities.to_dict("records"), start=1):
        share = f"{row['patients'] / max(about.num_patients, 1):.0%}"
        counts = (f"{row[key]:,}" for key in ("samples", "columns"))
        missing = f"{row['missing']:.0%}" if row["missing"] else "·"
        table.add_row(str(number), _plain(row["name"]), _plain(row["kind"]), f"{row['patients']:,}", share, *counts, missing)
    console.print("", table)
    _print_patterns(console, about)


def _shown(records: "Records", what: str) -> "Iterable[Record | None]":
    from rich.console import Console
    from rich.progress import track

    return track(records, what, console=Console(stderr=True), transient=True)


def _print_patterns(console: "Console", about: "Description") -> None:
    from rich.table import Table

    names = list(about.modalities["name"])
    header = [str(i + 1) for i in range(len(names))]
    table = Table(*header, "n", "share", "events", "n with these", "events", box=None, header_style="bold", pad_edge=False)
    for column in table.columns[len(names) :]:
        column.justify = "right"
    for row in about.patterns.to_dict("records"):
        dots = ["●" if row[f"has {name}"] else "[dim]·[/]" for name in names]
        events, at_least = ("" if about.endpoint is None else f"{row[key]:,}" for key in ("events", "events_at_least"))
        table.add_row(*dots, f"{row['n']:,}", f"{row['share']:.1%}", events, f"{row['n_at_least']:,}", at_least)
    counted = f"; events of {_plain(about.endpoint)}" if about.endpoint else ""
    occur = int((about.patterns["n"] > 0).sum())
    console.print(f"\n[bold]who has what[/] ({occur} of {2 ** len(names):,} subsets occur{counted})")
    console.print(table)


def _print_findings(console: "Console", findings: "tuple[Finding, ...]") -> None:
    from rich.table import Table

    counts = {level: sum(f.level == level for f in findings) for level in ("error", "warning", "note")}
    shown = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n) or "nothing found"
    console.print(f"\n[bold]check[/]: {shown}")
    if findings:
        table = Table("", "area", "where", "what", box=None, header_style="bold", pad_edge=False)
        for finding in findings:
            colour = _COLOURS[finding.level]
            table.add_row(f"[{colour}]{finding.level}[/]", finding.area, _plain(finding.where), _plain(finding.message))
        console.print(table)


def _plain(text: str) -> str:
    """Protect a user's text that looks like markup, such as an endpoint ``[os]``."""
    from rich.markup import escape

    return escape(text)

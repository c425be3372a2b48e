"""List what stands on a shelf."""

from typing import TYPE_CHECKING

import typer

from oncoweave.core import shelf as shelves
from oncoweave.core.shelf_settings import settings, variants
from oncoweave.train.penalties import PENALTIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from oncoweave.core.card import TileCard
    from oncoweave.core.shelf_settings import Setting


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("list")(list_shelf)


def list_shelf(
    shelf: str = typer.Argument(
        help=f"One of: {', '.join(shelves.SHELVES)}; or one file of it for its settings, as fusion/mdt, or one task in full."
    ),
) -> None:
    """List a shelf: each file's name, what it states of itself, and its first line; or the settings of one file, or one task."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    name, _, file = shelf.partition("/")
    if not file:
        _print_shelf(console, name)
    elif name == "tasks":
        from oncoweave.cli.parts.task_card import task_card

        console.print(task_card(file))
    else:
        _print_file(console, name, file)


def _print_shelf(console: "Console", name: str) -> None:
    entries = shelves.catalogue(name)
    stages: list[str | None] = [stage for stage in _STAGES if any(e.constants.get("STAGE") == stage for e in entries)]
    for stage in stages or [None]:
        console.print(_files([e for e in entries if e.constants.get("STAGE") == stage], title=stage))
        if stage == "early":
            console.print(_PENALTY)
    if name in ("encoders", "fusion", "missingness"):
        typer.echo(f"Settings of one: oncoweave list {name}/{entries[0].name}")
    if name == "fusion":
        typer.echo("What stands in for absent modalities: oncoweave list missingness")
    if name in ("fusion", "missingness"):
        typer.echo("Modality dropout, one rate or one for each: network: {modality_dropout: 0.2}")
    if name == "tasks":
        typer.echo("One in full, with published figures: oncoweave list tasks/tcga_survival")


_STAGES = ("early", "intermediate", "hybrid", "late")
"""In the order in which fusions are listed."""
_PENALTY = f"Above each stands a linear model with a penalty: {', '.join(PENALTIES)} (oncoweave list fusion/concat)"


def _files(entries: list[shelves.Entry], *, title: str | None) -> "Table":
    from rich import box
    from rich.table import Column, Table

    columns = ("READS", "ACTS_ON", "KINDS", "PRETRAINS", "BENCHMARK")
    keys = [k for k in columns if any(k in e.constants for e in entries)]
    headings = (k.lower().replace("_", " ") for k in keys)
    table = Table(Column("name", no_wrap=True), *headings, "what it is", title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for entry in entries:
        shown = (entry.constants.get(k, "") for k in keys)
        cells = [", ".join(s) if isinstance(s, tuple) else str(s) for s in shown]
        for number, member in enumerate(entry.members):
            table.add_row(member, *cells, "as above" if number else entry.summary)
    return table


def _print_file(console: "Console", shelf: str, file: str) -> None:
    """Print a file's settings, its variants, and what else is known of it."""
    own = settings(shelf, file)
    stated = next(e.constants for e in shelves.catalogue(shelf) if e.name == file)
    if stated.get("KINDS") == ("tile",):
        cards: dict[str, TileCard] = getattr(shelves.load(shelf, file), "CARDS", {})
        console.print(_cards(file, cards))
        for variant, card in cards.items():
            if card.notes:
                console.print(f"{file}/{variant}: {card.notes}")
    elif found := variants(shelf, file):
        console.print(_pairs(("name", "settings"), {f"{file}/{key}": how or "as below" for key, how in found.items()}))
    if own:
        console.print(_settings(own))
    else:
        typer.echo(f"{shelf}/{file} has no settings")
    if stated.get("STAGE") == "early":
        console.print(_pairs(("penalty", "the linear model above it"), PENALTIES))


def _settings(own: "list[Setting]") -> "Table":
    from rich import box
    from rich.table import Column, Table

    name, about = Column("setting", no_wrap=True), Column("what it does", overflow="fold")
    table = Table(name, Column("type", max_width=16), Column("default", max_width=16), about, box=box.SIMPLE_HEAD)
    for setting in own:
        table.add_row(setting.name, setting.type, setting.default, setting.about)
    return table


def _pairs(headings: tuple[str, str], rows: "Mapping[str, str]") -> "Table":
    from rich import box
    from rich.table import Column, Table

    table = Table(Column(headings[0], no_wrap=True), headings[1], box=box.SIMPLE_HEAD)
    for row in rows.items():
        table.add_row(*row)
    return table


def _cards(file: str, cards: "dict[str, TileCard]") -> "Table":
    from rich.table import Table

    table = Table()
    for heading in ("name", "what it is", "tiles", "mean, deviation", "output", "parameters", "licence", "weights, citation"):
        table.add_column(heading, overflow="fold")
    for variant, card in cards.items():
        table.add_row(
            f"{file}/{variant}",
            card.title,
            f"{card.tile} px at {' or '.join(f'{mpp:g}' for mpp in card.mpp)} um/px, {card.input}",
            ", ".join(" ".join(f"{v:.3g}" for v in values) for values in (card.mean, card.deviation)),
            f"{card.output}, {card.dim} wide",
            f"{card.parameters:,}",
            card.licence,
            "; ".join(text for text in (card.weights, card.citation) if text),
        )
    return table

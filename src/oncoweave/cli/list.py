"""List what stands on a shelf."""

from typing import TYPE_CHECKING

import typer

from oncoweave.core import shelf as shelves

if TYPE_CHECKING:
    from rich.table import Table

    from oncoweave.core.card import TileCard


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("list")(list_shelf)


def list_shelf(
    shelf: str = typer.Argument(
        help=f"One of: {', '.join(shelves.SHELVES)}; or one file of it for its variants, as encoders/vit, or one task in full."
    ),
) -> None:
    """List a shelf: each file's name, what it states of itself, and its first line; or the variants of one file, or one task."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    name, _, file = shelf.partition("/")
    if not file:
        console.print(_files(name))
        if name == "encoders":
            typer.echo("Variants of one, with their cards: oncoweave list encoders/vit")
        if name == "tasks":
            typer.echo("One in full, with published figures: oncoweave list tasks/tcga_survival")
        return
    if name == "tasks":
        from oncoweave.cli.parts.task_card import task_card

        console.print(task_card(file))
        return
    module = shelves.load(name, file)
    cards: dict[str, TileCard] = getattr(module, "CARDS", {})
    variants: dict[str, object] = getattr(module, "VARIANTS", {})
    if not variants:
        typer.echo(f"{shelf} has no variants")
        return
    console.print(_cards(file, cards) if cards else _variants(file, variants))
    for variant, card in cards.items():
        if card.notes:
            console.print(f"{file}/{variant}: {card.notes}")


_STAGES = ("early", "intermediate", "hybrid", "late")
"""In the order in which fusions are listed."""


def _files(name: str) -> "Table":
    from rich.table import Column, Table

    entries = shelves.catalogue(name)
    columns = ("STAGE", "READS", "ACTS_ON", "KINDS", "PRETRAINS", "BENCHMARK")
    keys = [k for k in columns if any(k in e.constants for e in entries)]
    table = Table(Column("name", no_wrap=True), *(k.lower().replace("_", " ") for k in keys), "what it is")
    for entry in sorted(entries, key=lambda e: _STAGES.index(str(e.constants.get("STAGE", _STAGES[0])))):
        shown = (entry.constants.get(k, "") for k in keys)
        cells = [", ".join(s) if isinstance(s, tuple) else str(s) for s in shown]
        for number, member in enumerate(entry.members):
            table.add_row(member, *cells, "as above" if number else entry.summary)
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


def _variants(file: str, variants: dict[str, object]) -> "Table":
    from rich.table import Table

    table = Table("name", "settings")
    for variant, config in variants.items():
        table.add_row(f"{file}/{variant}", str(config))
    return table

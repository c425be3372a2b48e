"""List what stands on a shelf."""

import typer

from oncoweave.core import shelf as shelves


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("list")(list_shelf)


def list_shelf(shelf: str = typer.Argument(help=f"One of: {', '.join(shelves.SHELVES)}.")) -> None:
    """List a shelf: each file's name, what it states of itself, and its first line."""
    from rich.console import Console
    from rich.table import Table

    entries = shelves.catalogue(shelf)
    keys = [k for k in ("STAGE", "KINDS") if any(k in e.constants for e in entries)]
    table = Table("name", *(k.lower() for k in keys), "what it is")
    for entry in entries:
        shown = (entry.constants.get(k, "") for k in keys)
        table.add_row(entry.name, *(", ".join(s) if isinstance(s, tuple) else str(s) for s in shown), entry.summary)
    Console(markup=False, emoji=False).print(table)

"""Say what works on this machine."""

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Check Python, the libraries of each extra, the accelerator and the disk; exit 1 when something required is missing."""
    from rich.console import Console
    from rich.table import Table

    from oncoweave.train.environment import examine

    table = Table("part", "found", "state", "what to do")
    findings = examine()
    for finding in findings:
        table.add_row(finding.part, finding.found, "ok" if finding.ok else "missing", finding.advice)
    Console(markup=False, emoji=False).print(table)  # the brackets of an extra are no markup
    if any(not f.ok and f.required for f in findings):
        raise typer.Exit(1)

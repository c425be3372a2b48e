"""The page of a bench as Markdown: its words and tables; charts are named by their captions."""

from collections.abc import Iterator

from oncoweave.serve.page import Block, Figure, Folded, Items, Links, Page, Prose, Table


def markdown_of(page: Page) -> str:
    """Write a page as Markdown."""
    facts = " · ".join(f"{name}: {value}" for name, value in page.facts)
    parts = [f"# {page.title}", facts, f"**{page.verdict.headline}** {' '.join(page.verdict.sentences)}"]
    for section in page.sections:
        parts.append(f"## {section.title}")
        parts += [part for block in section.blocks for part in _block(block)]
    return "\n\n".join([*parts, page.colophon]) + "\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Prose():
            yield block.text
        case Items():
            yield "\n".join(f"- {item}" for item in block.items)
        case Links():
            yield "\n".join(f"- [{text}]({address})" for text, address in block.links)
        case Table():
            yield _table(block)
        case Figure():
            yield f"*{block.caption}*"
        case Folded():
            yield f"{block.summary}:\n\n```\n{block.text}\n```"


def _table(table: Table) -> str:
    width = len(table.header)
    rule = ["---"] * table.num_text + ["--:"] * (width - table.num_text)
    rows = [[_cell(cell, bold=row.strong or place in row.best) for place, cell in enumerate(row.cells)] for row in table.rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in ([_cell(h) for h in table.header], rule, *rows)]
    return f"{table.caption}\n\n" + "\n".join(lines)


def _cell(text: str, *, bold: bool = False) -> str:
    written = text.replace("|", "\\|").replace("\n", "<br>")
    return f"**{written}**" if bold and written else written

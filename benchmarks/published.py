"""Published figures rebuilt on their own data, beside our models, simple floors and a verdict.

Usage: python benchmarks/published.py DATA OUT PAGE [row ...]. Rows are the modules ``published_<row>.py``; each leaves its lines
and tables under ``OUT/rows`` and is not made again while they are there, so that an interrupted run goes on (delete a row's files
to make it anew). PAGE is written from the rows that there are; what stands in it from ``## What it shows`` on is kept.
"""

import ast
import importlib
import sys
from pathlib import Path

import pandas as pd
from published_line import TITLE, Result

from oncoweave.core.errors import unknown_name
from oncoweave.core.files import publish

ROWS = ("mcat_table", "mcat_cohorts", "mcat_folds", "pancancer", "hancock", "reports", "mutations", "colon", "tiles")
WORDS = "## What it shows"
HEAD = """# Published figures, rebuilt on their own data (November 2026)

    python benchmarks/published.py DATA OUT benchmarks/published_2026-11.md

Each line is one figure. "Published" is the figure that is held against; where the figure says "(the floor)" nobody published it,
and it is a simple model made earlier by other code. "Rebuilt" is the same model or the same released predictions, measured here.
"Ours" is our own model on the same question, with its 95 % interval over patients. Verdicts: "reproduced to the digit" at the
digits that were published; "within interval" where the interval of what was rebuilt holds the figure; "not reproduced" and by how
much; "cannot be judged here" where data, splits or predictions are not there.
"""
COLUMNS = {
    "task": "task",
    "figure": "figure",
    "n": "n",
    "events": "events",
    "published": "published",
    "reproduced": "rebuilt",
    "ours": "our model",
    "value": "ours",
    "interval": "95 % interval",
    "floor": "floor",
    "floor_is": "the floor is",
    "verdict": "verdict",
    "reason": "remarks",
}


def make(row: str, data: Path, out: Path) -> None:
    """Make a row where it is not there yet."""
    stem = out / "rows" / row
    if stem.with_suffix(".parquet").exists():
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    for old in stem.parent.glob(f"{row}.*.parquet"):
        old.unlink()
    result: Result = importlib.import_module(f"published_{row}").run(data, out)
    result.write(stem)
    print(f"{row}: {len(result.lines)} figure(s)", flush=True)


def markdown(table: pd.DataFrame) -> str:
    """Lay a table out as Markdown; numbers have three decimals, gaps are empty."""
    rows = [table.columns.tolist(), ["---"] * table.shape[1], *([_cell(v) for v in row] for row in table.to_numpy(dtype=object))]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.3f}"
    return "" if value is None else str(value)


def figures(out: Path, rows: list[str]) -> str:
    """The table of all lines."""
    lines = pd.concat([pd.read_parquet(out / "rows" / f"{row}.parquet") for row in rows], ignore_index=True)
    told = lines["low"].notna()
    lines["interval"] = [
        f"{low:.3f} to {high:.3f}" if ok else "" for low, high, ok in zip(lines["low"], lines["high"], told, strict=True)
    ]
    for column in ("n", "events"):
        lines[column] = [str(v) if v else "" for v in lines[column]]
    return markdown(lines[list(COLUMNS)].rename(columns=COLUMNS))


def details(out: Path, row: str) -> str:
    """What a row did, in the words of its module, and its tables."""
    source = Path(__file__).with_name(f"published_{row}.py").read_text(encoding="utf-8")
    text = (ast.get_docstring(ast.parse(source)) or "").replace("``", "`").strip()
    title, _, body = text.partition("\n")
    parts = [f"### {title.rstrip('.')}", body.strip()]
    for path in sorted((out / "rows").glob(f"{row}.*.parquet")):
        table = pd.read_parquet(path)
        parts += [f"{table[TITLE].iloc[0]}:", markdown(table.drop(columns=TITLE))]
    return "\n\n".join(parts)


def main(data: Path, out: Path, page: Path, asked: list[str]) -> None:
    """Make the rows that are asked for, and write the page from all there are."""
    for row in asked or ROWS:
        if row not in ROWS:
            raise unknown_name("row", row, ROWS)
        make(row, data, out)
    there = [row for row in ROWS if (out / "rows" / f"{row}.parquet").exists()]
    missing = [row for row in ROWS if row not in there]
    words = page.read_text(encoding="utf-8").partition(WORDS)[2] if page.exists() else "\n"
    parts = [HEAD.strip(), "## All figures", figures(out, there), "## Row by row", *(details(out, row) for row in there)]
    parts += [f"Not made yet: {', '.join(missing)}."] if missing else []
    with publish(page) as partial:
        partial.write_text("\n\n".join(parts) + f"\n\n{WORDS}{words}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), Path(sys.argv[3]), sys.argv[4:])

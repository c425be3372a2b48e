"""The results of the tile-level protocols as a page in Markdown."""

import math
from collections.abc import Sequence

import pandas as pd

_MEANT = {
    "linear probe": "Logistic regression on the frozen embeddings, its penalty chosen on inner folds of the training tiles.",
    "k-NN": "The class of the nearest training tiles by cosine; T weights votes by exp(cosine / T).",
    "SimpleShot": "The class whose mean is nearest, of centred embeddings of length one.",
    "k-shot": "SimpleShot with k training tiles a class. The interval holds the middle 95 % of episodes; episodes share tiles, so"
    " it says how far one draw may be from the mean, not how sure the mean is.",
    "retrieval": "Training tiles ranked by cosine with each test tile.",
    "fine-tuning": "The encoder trained further with the linear probe as its head, against the frozen probe on the same tiles.",
    "robustness": "One tile in 13 stains and 7 scanners, made by computation: is it nearest to itself when all tiles of another"
    " version are ranked? The cosine of the same tile says something only beside that of other tiles. Intervals resample"
    " tiles; the versions are fixed.",
    "out of distribution": "The linear probe, trained on tiles as they are, on the same test tiles stained and scanned anew.",
}
_HEADLINES = (
    ("linear probe", "", "balanced accuracy", "linear"),
    ("k-NN", "k=20", "balanced accuracy", "k-NN"),
    ("SimpleShot", "", "balanced accuracy", "SimpleShot"),
    ("k-shot", "k=4", "balanced accuracy", "4-shot"),
    ("retrieval", "", "mean average precision", "mAP"),
    ("fine-tuning", "tuned", "balanced accuracy", "tuned"),
    ("robustness", "across both", "top-1 same tile", "same tile, top-1"),
    ("out of distribution", "both other", "balanced accuracy", "both other"),
)
_WIDEST = 6
"""Columns of a table; a protocol with more has one table for each setting."""


def write_page(scores: pd.DataFrame, differences: pd.DataFrame, *, title: str, facts: Sequence[str], figure: str) -> str:
    """Lay the tables out; ``facts`` say what the tiles are and what was left out, ``figure`` is where the picture lies."""
    lines = [f"# {title}", "", *facts, "", f"![Scores of all encoders]({figure})", ""]
    if len(differences):
        lines += ["## Encoders less their controls", "", *_differences(differences), ""]
    for protocol, table in scores.groupby("protocol", sort=False):
        lines += [f"## {_upper(str(protocol))}", "", _MEANT[str(protocol)], ""]
        lines += [*_tables(table), *_notes(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def estimate(value: float, low: float, high: float, *, sign: str = "") -> str:
    """Write a value with its interval."""
    interval = "no interval" if math.isnan(low) else f"{low:{sign}.3f} to {high:{sign}.3f}"
    return f"{value:{sign}.3f} ({interval})"


def _differences(differences: pd.DataFrame) -> list[str]:
    present = [h for h in _HEADLINES if len(_of(differences, h))]
    rows = []
    for (encoder, control), table in differences.groupby(["encoder", "control"], sort=False):
        cells = [_of(table, h) for h in present]
        found = [estimate(*c[["difference", "low", "high"]].iloc[0], sign="+") if len(c) else "-" for c in cells]
        rows.append([str(encoder), str(control), *found])
    return _layout(["encoder", "less", *(h[3] for h in present)], rows)


def _of(table: pd.DataFrame, headline: tuple[str, str, str, str]) -> pd.DataFrame:
    protocol, setting, metric, _ = headline
    return table[(table["protocol"] == protocol) & (table["setting"] == setting) & (table["metric"] == metric)]


def _tables(table: pd.DataFrame) -> list[str]:
    pairs = table[["setting", "metric"]].drop_duplicates()
    if len(pairs) <= _WIDEST:
        return _table(table)
    lines: list[str] = []
    for setting, part in table.groupby("setting", sort=False):
        lines += [f"{_upper(str(setting))}:", "", *_table(part.assign(setting="")), ""]
    return lines[:-1]


def _table(table: pd.DataFrame) -> list[str]:
    pairs = list(table[["setting", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    several = table["metric"].nunique() > 1
    heads = [", ".join(p for p in (setting, metric if several or not setting else "") if p) for setting, metric in pairs]
    rows = []
    for encoder, mine in table.groupby("encoder", sort=False):
        held = mine.set_index(["setting", "metric"])
        cells = [estimate(*held.loc[p, ["value", "low", "high"]]) if p in held.index else "-" for p in pairs]
        rows.append([str(encoder), *cells])
    chance = table.drop_duplicates(["setting", "metric"])["chance"]
    if chance.notna().any():
        rows.append(["chance", *("" if pd.isna(c) else f"{c:.3f}" for c in chance)])
    return _layout(["encoder", *heads], rows)


def _notes(table: pd.DataFrame) -> list[str]:
    sizes = table[["n", "groups", "resampled"]].drop_duplicates()
    n, groups, resampled = sizes.iloc[0]
    over = {
        "slides": f"{n} test tiles of {groups} slides or patients; intervals resample these.",
        "tiles": f"{n} test tiles, taken as independent; those of a slide are not, so the intervals are too narrow.",
        "episodes": f"{n} test tiles.",
    }[str(resampled)]
    notes = table.drop_duplicates("encoder")[["encoder", "note"]]
    if notes["note"].nunique() == 1:
        said = str(notes["note"].iloc[0])
        return ["", over + (f" {_upper(said)}." if said else "")]
    return ["", over + " " + "; ".join(f"{e}: {note}" for e, note in notes.itertuples(index=False, name=None)) + "."]


def _upper(text: str) -> str:
    """Begin with a capital, but for k in k-NN and the like."""
    return text if text.startswith("k-") else text[:1].upper() + text[1:]


def _layout(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]

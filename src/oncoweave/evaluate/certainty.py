"""How sure predictions are of single patients, counted: coverage of conformal sets and intervals, and patients flagged as new.

All of the first repeat, in which every patient stands once. The sets, intervals and flags themselves are columns of the
prediction table, fixed on training patients.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from oncoweave.evaluate.clustered import exact_share
from oncoweave.evaluate.conformal import coverage
from oncoweave.evaluate.displays import first_repeat
from oncoweave.evaluate.pooling import owner
from oncoweave.evaluate.tables import IN_SET, INTERVAL, NOVEL, NOVELTY_P, PredictionTable, class_names

LEVEL = 0.9
"""Share of sets and intervals that are to hold the truth."""
ALPHA = 0.05
"""Share of patients like those of the training set who may be flagged."""

CERTAINTY = ["model", "grouping", "group", "covered", "low", "high", "size", "single", "empty", "n"]
NOVELTY = ["model", "grouping", "group", "flagged", "share", "low", "high", "n", "judged"]


def certainty_table(table: PredictionTable, models: list[str]) -> pd.DataFrame:
    """How often sets (or intervals) held the truth: over all patients, within each true class, and at each site.

    ``size`` is the mean number of classes in a set, or width of an interval; ``single`` and ``empty`` the shares of sets of one
    class and of none (NaN for intervals). ``n`` counts patients; intervals of the coverage are exact, and count a person's
    specimens together (see ``clustered``).
    """
    out = []
    for model in models:
        rows = first_repeat(table.of(model))
        found = _held(table, rows)
        if found is None:
            continue
        held, size = found
        of_sets = table.endpoint.kind != "regression"
        for grouping, labels in _groupings(table, rows):
            for group, covered in coverage(held, size, labels, persons=owner(rows).to_numpy()).items():
                if (group == "all") != (grouping == "all"):
                    continue
                inside = np.ones(len(rows), dtype=bool) if grouping == "all" else labels == group
                row = {"model": model, "grouping": grouping, "group": group, "covered": covered.covered}
                row |= {"low": covered.low, "high": covered.high, "size": covered.size, "n": covered.n}
                row |= {"single": float((size[inside] == 1).mean()) if of_sets else float("nan")}
                out.append({**row, "empty": float((size[inside] == 0).mean()) if of_sets else float("nan")})
    return pd.DataFrame(out, columns=CERTAINTY).astype({"n": "Int64"})


def novelty_table(table: PredictionTable, models: list[str]) -> pd.DataFrame:
    """How many patients are flagged as unlike the training patients: in all, at each site and by combination of modalities.

    ``n`` counts patients, ``judged`` those who could be judged; ``share`` is of these, with its interval as that of a coverage.
    """
    out = []
    if NOVELTY_P not in table.frame.columns:
        return _counted([])
    for model in models:
        rows = first_repeat(table.of(model))
        judged = rows[NOVELTY_P].notna().to_numpy()
        if not judged.any():
            continue
        whose = owner(rows).to_numpy()
        flagged = judged & (rows[NOVEL].fillna("").astype(str) != "").to_numpy()
        for grouping in ("all", "site", "pattern"):
            labels = np.full(len(rows), "all") if grouping == "all" else rows[grouping].astype(str).to_numpy()
            for group in np.unique(labels):
                inside = labels == group
                num, of = int((flagged & inside).sum()), int((judged & inside).sum())
                row = {"model": model, "grouping": grouping, "group": group, "flagged": num, "n": int(inside.sum()), "judged": of}
                low, high = exact_share(flagged[judged & inside], whose[judged & inside])
                out.append({**row, "share": num / of if of else float("nan"), "low": low, "high": high})
    return _counted(out)


def _counted(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=NOVELTY).astype(dict.fromkeys(("flagged", "n", "judged"), "Int64"))


def _groupings(table: PredictionTable, rows: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    yield "all", np.full(len(rows), "all")
    if table.endpoint.kind != "regression":
        yield "class", _truth(table, rows)
    yield "site", rows["site"].astype("string").fillna("unknown").to_numpy(dtype=object).astype(str)


def _truth(table: PredictionTable, rows: pd.DataFrame) -> np.ndarray:
    if table.endpoint.kind == "binary":
        return np.array(class_names(table.endpoint))[rows["y"].to_numpy(dtype=int)]
    return rows["y"].to_numpy(dtype=object).astype(str)


def _held(table: PredictionTable, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """Whether each patient's set or interval holds the truth, and its size; None where the model gives none."""
    kind = table.endpoint.kind
    columns = list(INTERVAL) if kind == "regression" else [f"{IN_SET}{name}" for name in class_names(table.endpoint)]
    if kind in ("survival", "multilabel") or any(c not in rows or rows[c].isna().any() for c in columns):
        return None
    values = rows[columns].to_numpy(dtype=float)
    if kind == "regression":
        y = rows["y"].to_numpy(dtype=float)
        return (values[:, 0] <= y) & (y <= values[:, 1]), values[:, 1] - values[:, 0]
    order = {name: i for i, name in enumerate(class_names(table.endpoint))}
    at = np.array([order[name] for name in _truth(table, rows)])
    return values[np.arange(len(rows)), at] > 0.5, values.sum(axis=1)

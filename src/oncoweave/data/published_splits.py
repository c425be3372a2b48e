"""Splits that somebody published: a table of folds, or a folder with one CSV a fold."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.splits import COLUMNS, TRAIN_ONLY, canonical, read_splits


def read_published(path: Path) -> pd.DataFrame:
    """Read splits from a table, or from a folder with one CSV a fold (columns ``train`` and ``val``)."""
    return published_splits(sorted(path.glob("*.csv"))) if path.is_dir() else read_splits(path)


def published_splits(paths: Sequence[Path], *, test: str = "val", train: str = "train") -> pd.DataFrame:
    """Read splits that were published as one CSV a fold with a column of training and one of tested patients.

    If every patient is tested once and trains in all other files, the files are the folds of one repeat; otherwise (Monte Carlo
    splits, a single hold-out) each file is a repeat of its own.

    Raises:
        DataError: a column is missing, or a patient is on both sides of a file; names the file.
    """
    sides = [_read_sides(Path(path), test=test, train=train) for path in paths]
    if not sides:
        msg = "published splits: wanted one file or more, got none"
        raise DataError(msg)
    tested = [patient for _, tests in sides for patient in tests]
    everyone = set(tested)
    crossed = len(sides) > 1 and len(tested) == len(everyone) and all(trains | tests == everyone for trains, tests in sides)
    rows = []
    for index, (trains, tests) in enumerate(sides):
        repeat, fold = (0, index) if crossed else (index, 0)
        rows += [(patient, repeat, fold) for patient in tests]
        rows += [] if crossed else [(patient, repeat, TRAIN_ONLY) for patient in trains]
    return canonical(pd.DataFrame(rows, columns=list(COLUMNS)))


def _read_sides(path: Path, *, test: str, train: str) -> tuple[set[str], set[str]]:
    table = pd.read_csv(path, dtype=str)
    missing = [column for column in (train, test) if column not in table.columns]
    if missing:
        msg = f"{path}: published split lacks the column(s) {missing}; it has {list(table.columns)}"
        raise DataError(msg)
    trains, tests = set(table[train].dropna()), set(table[test].dropna())
    if trains & tests:
        line = int(table[test].isin(trains).argmax()) + 2
        msg = f"{path}: {len(trains & tests)} patient(s) are in {train!r} and in {test!r}, first of {test!r} in line {line}"
        raise DataError(msg)
    return trains, tests

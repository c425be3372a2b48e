"""Which predictions may be ranked against each other: those of one fold's model and, over several cancers, of one cancer type.

Raw risks of different folds come from different models, each with a scale of its own: ranking them against each other measures
which fold a patient was in. Across cancer types, most pairs compare a deadly cancer with a mild one, which any model can do that
knows the organ.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError

STRATUM = "stratum"
"""Optional column of the prediction table: patients are ranked within its values (cancer type, say) as they are within folds."""

PERSON = "person"
"""Optional column of the prediction table: whose each row is, where rows are specimens; drawn or left out as one."""

_MODEL = ("repeat", "fold")


def owner(rows: pd.DataFrame) -> pd.Series:
    """Say who is drawn with each row: its person where the table names one, otherwise its patient."""
    return rows[PERSON if PERSON in rows.columns else "patient_id"]


def persons_of(rows: pd.DataFrame) -> np.ndarray | None:
    """Say whose each of one model's rows of one repeat is where a person has several specimens, ``[row]``; otherwise None."""
    return rows[PERSON].to_numpy() if PERSON in rows.columns and rows[PERSON].duplicated().any() else None


def pair_strata(rows: pd.DataFrame, by: Sequence[str] | None = None) -> np.ndarray:
    """Number the strata within which one model's rows are ranked, ``Int[row]``.

    Args:
        rows: one model's rows of the prediction table.
        by: columns whose values part the rows; by default repeat, fold and, where the table has it, ``stratum``.

    Raises:
        DataError: a stratum that holds predictions of several folds, or a row that is in none.
    """
    columns = list(by) if by is not None else [*_MODEL, *([STRATUM] if STRATUM in rows.columns else [])]
    codes = np.zeros((len(rows), len(columns) + 1), dtype=np.int64)
    for index, column in enumerate(columns):
        codes[:, index] = pd.factorize(rows[column], sort=True)[0]
        if (codes[:, index] < 0).any():
            msg = f"column {column!r}: wanted a value in every row to rank within, got {int((codes[:, index] < 0).sum())} without"
            raise DataError(msg)
    strata = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    models = rows.groupby(strata)[list(_MODEL)].nunique().max().max() if len(rows) else 1
    if models > 1:
        msg = (
            f"ranking within {columns or 'nothing'}: a stratum holds raw predictions of {models} folds or repeats, whose models"
            " have scales of their own; rank within repeat and fold too, and let the pairs of all strata add up"
        )
        raise DataError(msg)
    return strata

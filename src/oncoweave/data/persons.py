"""Whose a row of the patient table is, where a row is a specimen: rows of one person are never parted and are drawn together."""

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.cohort import Cohort


def whose(cohort: Cohort, column: str) -> pd.Series:
    """Give the person of each row as text, indexed by patient.

    Raises:
        DataError: the patient table lacks the column, or a row has no value in it.
    """
    if column not in cohort.patients:
        held = ", ".join(map(str, cohort.patients.columns)) or "none"
        msg = f"cohort {cohort.name!r}: column {column!r} (person) is not in the patient table; it has {held}"
        raise DataError(msg)
    named = cohort.patients[column].astype("string")
    empty = named.isna() | (named.str.strip() == "").fillna(value=True)
    if empty.any():
        msg = (
            f"cohort {cohort.name!r}: column {column!r} (person) is empty in {int(empty.sum())} row(s), first in row"
            f" {int(empty.to_numpy().argmax()) + 1}; write whose these specimens are, or leave them out"
        )
        raise DataError(msg)
    return named.astype(object)


def joined_groups(site: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Number groups that hold whole hospitals and whole persons, ``Text[n]``; an unknown hospital joins nobody."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from oncoweave.data.splits import site_names

    rows = np.arange(len(person))
    own = pd.factorize(pd.Series(person))[0] + len(rows)
    hospital = pd.factorize(site_names(site, len(person)))[0]
    known = np.flatnonzero(hospital >= 0)
    ends = np.concatenate([own, hospital[known] + own.max(initial=0) + 1])
    size = int(max(ends.max(initial=0), len(rows))) + 1
    edges = coo_array((np.ones(len(ends)), (np.concatenate([rows, known]), ends)), shape=(size, size))
    return connected_components(edges, directed=False)[1][rows].astype(str).astype(object)


def persons_on_both_sides(splits: pd.DataFrame, person: pd.Series) -> int:
    """Count the persons whose rows stand in two folds of a repeat (or train and are tested), in the worst repeat."""
    spread = splits.assign(person=splits["patient_id"].map(person)).groupby(["repeat", "person"])["fold"].nunique()
    return int((spread > 1).groupby(level="repeat").sum().max()) if len(spread) else 0

"""Groups of patients by a column of the patient table: types of cancer, within which patients are ranked or told apart."""

import pandas as pd

from oncoweave.core.errors import unknown_name
from oncoweave.data.cohort import Cohort

UNKNOWN_GROUP = "unknown"


def groups_of(cohort: Cohort, column: str, *, what: str) -> pd.Series:
    """Give the group of each row as text, indexed by patient; those without a value are a group called ``unknown``.

    Args:
        cohort: with the patient table.
        column: of that table.
        what: the setting that names it, for the message.

    Raises:
        UnknownNameError: the patient table lacks the column.
    """
    if column not in cohort.patients:
        raise unknown_name(f"column of the patient table ({what})", column, [str(c) for c in cohort.patients.columns])
    named = cohort.patients[column].astype("string").str.strip()
    return named.mask(named == "").fillna(UNKNOWN_GROUP).astype(object)

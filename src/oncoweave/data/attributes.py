"""Age group and sex of patients, wherever a cohort holds them: by these groups performance is told apart."""

import re

import numpy as np
import pandas as pd

from oncoweave.data.cohort import Cohort
from oncoweave.data.plausible import OLDEST_YEARS

AGE, SEX = "age group", "sex"
AGE_GROUPS = ("below 50", "50 to 64", "65 to 74", "75 and older")
"""In the order of age."""
_EDGES = (0.0, 50.0, 65.0, 75.0, OLDEST_YEARS + 1)
_AGE = re.compile(
    r"^(?:patient_)?age(?:$|_(?:years?|at_(?:diagnosis|index|initial_(?:pathologic_)?diagnosis|surgery))(?:_years?)?$)", re.I
)
_SEX = re.compile(r"^(?:patient_)?(?:sex|gender)$", re.I)
_FEMALE, _MALE = ("f", "female", "w", "weiblich", "woman"), ("m", "male", "man", "männlich")


def attributes(cohort: Cohort) -> pd.DataFrame:
    """Give each patient an age group and a sex, indexed by ``patient_id``; missing where not known.

    They are read from the first column so called of the patient table or, after it, of a modality of kind ``record`` that holds
    any. Ages are in years; one below 0 or above 120 counts as not known. A sex is ``female``, ``male`` or the cohort's own word.
    A cohort that holds neither gives no columns.
    """
    found = {}
    age, sex = _first(cohort, _AGE), _first(cohort, _SEX)
    if age is not None:
        years = pd.to_numeric(age, errors="coerce").astype(float)
        found[AGE] = pd.cut(years, _EDGES, right=False, labels=AGE_GROUPS).astype("string")
    if sex is not None:
        found[SEX] = sex.map(_sex_word, na_action="ignore").astype("string")
    return pd.DataFrame(found, index=cohort.patients.index)


def _first(cohort: Cohort, name: re.Pattern[str]) -> pd.Series | None:
    records = [t for m, t in cohort.tables.items() if cohort.modalities[m].kind == "record"]
    tables = [cohort.patients, *(t.groupby("patient_id").first().reindex(cohort.patients.index) for t in records)]
    for table in tables:
        for column in (c for c in table.columns if name.search(str(c))):
            if table[column].notna().any():
                return table[column]
    return None


def _sex_word(value: object) -> object:
    word = str(value).strip().casefold()
    return "female" if word in _FEMALE else "male" if word in _MALE else str(value).strip() or np.nan

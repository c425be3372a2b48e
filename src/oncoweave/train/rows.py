"""Whose a row of a study is: a column of the patient table that the study names, laid beside the predictions."""

import pandas as pd

from oncoweave.data.cohort import Cohort
from oncoweave.data.persons import whose
from oncoweave.evaluate.pooling import PERSON
from oncoweave.train.study import Study


def labelled(predictions: pd.DataFrame, study: Study, cohort: Cohort) -> pd.DataFrame:
    """Add to a prediction table whose each row is, where the study says."""
    if study.person is None:
        return predictions
    return predictions.assign(**{PERSON: predictions["patient_id"].map(whose(cohort, study.person))})


def row_notes(study: Study, cohort: Cohort, patient_ids: pd.Index) -> list[str]:
    """Say what a reader has to know of the rows of a run."""
    if study.person is None:
        return []
    persons = whose(cohort, study.person).loc[patient_ids].nunique()
    return [
        f"Rows are specimens, {len(patient_ids)} of {persons} persons (column {study.person}): all of a person's are on one side"
        " of every split, and intervals draw persons. Counts of patients are counts of rows."
    ]

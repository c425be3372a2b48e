"""What each row of a study belongs to, by columns of the patient table that the study names: a person, a stratum, groups."""

import numpy as np
import pandas as pd

from oncoweave.data.attributes import attributes
from oncoweave.data.cohort import Cohort
from oncoweave.data.persons import whose
from oncoweave.data.row_groups import UNKNOWN_GROUP, groups_of
from oncoweave.evaluate.pooling import PERSON, STRATUM
from oncoweave.train.study import Study

TRAINING = "training"
"""Grouping of tested patients into those of groups that train in other splits, and those that never do."""
SEEN, UNSEEN = "seen in training", "not seen in training"


def labelled(predictions: pd.DataFrame, study: Study, cohort: Cohort) -> pd.DataFrame:
    """Add to a prediction table whose each row is, and within what it is ranked, where the study says."""
    patients, added = predictions["patient_id"], {}
    if study.person is not None:
        added[PERSON] = patients.map(whose(cohort, study.person))
    if study.stratum is not None:
        added[STRATUM] = patients.map(groups_of(cohort, study.stratum, what="stratum"))
    return predictions.assign(**added)


def told_apart(study: Study, cohort: Cohort, splits: pd.DataFrame) -> pd.DataFrame:
    """Give the groups by which performance is told apart, a column a grouping, indexed by patient.

    They are age group and sex where the cohort holds them, the study's own, and, where some patients who are tested never train
    while others do, whether they do.
    """
    found = attributes(cohort).assign(**{name: groups_of(cohort, name, what="groups") for name in study.groups})
    tested = splits[splits["fold"] >= 0]
    crossed = tested.groupby("repeat")["fold"].transform("nunique") > 1
    trains = set(tested.loc[crossed, "patient_id"]) | set(splits.loc[splits["fold"] < 0, "patient_id"])
    never = ~found.index.isin(trains) & found.index.isin(tested["patient_id"])
    if never.any() and set(tested["patient_id"]) & trains:
        found[TRAINING] = np.where(never, UNSEEN, SEEN)
    return found


def _of_times(study: Study, cohort: Cohort) -> str:
    if cohort.endpoint(study.endpoint).kind != "survival":
        return ""
    return " Kaplan-Meier curves, log-rank tests, hazard ratios and D-calibration take rows to be independent."


def row_notes(study: Study, cohort: Cohort, patient_ids: pd.Index) -> list[str]:
    """Say what a reader has to know of the rows of a run."""
    notes = []
    if study.person is not None:
        persons = whose(cohort, study.person).loc[patient_ids].nunique()
        notes.append(
            f"Rows are specimens, {len(patient_ids)} of {persons} persons (column {study.person}): all of a person's are on one"
            " side of every split, and intervals draw persons. Counts of patients are counts of rows; intervals of shares and"
            f" tests at cut-offs count the rows of a person together.{_of_times(study, cohort)}"
        )
    if study.stratum is not None:
        groups = groups_of(cohort, study.stratum, what="stratum").loc[patient_ids]
        lacking = int((groups == UNKNOWN_GROUP).sum())
        none = f" {lacking} patient(s) have no value in it and are ranked against each other alone." if lacking else ""
        notes.append(
            f"Measures that rank count pairs of patients of one {study.stratum} ({groups.nunique()} of them), in comparisons too;"
            f' those called "over all pairs" stand beside them and count differences between them as skill.{none}'
        )
    return notes

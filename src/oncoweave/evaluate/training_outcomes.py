"""What was known of the outcome in training: the censoring and the prevalence of the training patients of each fold."""

from collections.abc import Mapping

from oncoweave.evaluate.censoring import Censoring, fit_censoring
from oncoweave.evaluate.tables import PredictionTable

Curves = Mapping[tuple[int, int], Censoring]
"""Censoring curve of the training patients of each (repeat, fold)."""

Prevalence = Mapping[tuple[int, int], float]
"""Share of positive training patients of each (repeat, fold)."""


def training_curves(table: PredictionTable) -> dict[tuple[int, int], Censoring]:
    """Fit the censoring curve of each fold on the patients that the same repeat tests in its other folds.

    A repeat of a single fold has no such patients and gets no curve: give the curves of its training patients instead.
    """
    patients = table.frame.drop_duplicates(["repeat", "fold", "patient_id"])
    curves = {}
    for repeat in patients["repeat"].unique().tolist():
        rows = patients[patients["repeat"] == repeat]
        for fold in rows["fold"].unique().tolist():
            others = rows[rows["fold"] != fold]
            if len(others):
                curves[int(repeat), int(fold)] = fit_censoring(others["time"].to_numpy(), others["event"].to_numpy(dtype=float))
    return curves


def training_prevalence(table: PredictionTable) -> dict[tuple[int, int], float]:
    """Share of positive patients among those that the same repeat tests in its other folds; see :func:`training_curves`."""
    patients = table.frame.drop_duplicates(["repeat", "fold", "patient_id"])
    prevalence = {}
    for repeat in patients["repeat"].unique().tolist():
        rows = patients[patients["repeat"] == repeat]
        for fold in rows["fold"].unique().tolist():
            others = rows.loc[rows["fold"] != fold, "y"]
            if len(others):
                prevalence[int(repeat), int(fold)] = float(others.mean())
    return prevalence

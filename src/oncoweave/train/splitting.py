"""The split of a study: made by hospital and outcome, or published; with what a reader has to know of it."""

from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.derived_splits import monte_carlo
from oncoweave.data.how_split import HowSplit, how_split
from oncoweave.data.persons import persons_on_both_sides
from oncoweave.data.published_splits import read_published
from oncoweave.data.splits import (
    TRAIN_ONLY,
    check_splits,
    distinct_repeats,
    make_splits,
    needed_counts,
)
from oncoweave.train.dataset import Dataset
from oncoweave.train.scarcity import refuse_scarce, training_rows
from oncoweave.train.study import Study


def study_splits(study: Study, data: Dataset, *, cohort_ids: np.ndarray | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Make or read a resolved study's splits; also returns the warnings they call for.

    A published split is used as it is, less the patients whom the study does not admit, who are counted.

    Args:
        study: resolved.
        data: the patients admitted.
        cohort_ids: everybody in the cohort, so that who is a stranger to it is told from who was not admitted.

    Raises:
        DataError: a published split lacks an admitted patient, has one on two sides, a hospital too where the study keeps
            hospitals apart, or has no training side.
        InfeasibleSplitError: the split asked for cannot be made, or its training patients cannot be split again.
    """
    protocol, warnings = study.protocol, list[str]()
    if protocol.splits is None:
        together, grouped = data.kept_together(by_site=bool(protocol.group_by_site))
        splits = make_splits(
            data.patient_ids,
            data.outcome,
            together,
            folds=protocol.folds,
            repeats=protocol.repeats,
            group_by_site=grouped,
            seed=protocol.seed,
        )
        if protocol.scheme == "monte_carlo":
            splits = monte_carlo(splits, seed=protocol.seed)
    else:
        splits, said = _published(Path(protocol.splits), data, cohort_ids, group_by_site=bool(protocol.group_by_site))
        warnings += said
    splits, copies = distinct_repeats(splits)
    refuse_scarce(study, data, splits)
    if copies:
        distinct = splits["repeat"].nunique()
        warnings.append(
            f"Of {distinct + copies} repeats, {copies} would part the patients as an earlier one does"
            f"{_too_few_hospitals(study, data)}; {'it was' if copies == 1 else 'they were'} left out, so the figures rest on"
            f" {distinct} different split{'s' if distinct > 1 else ''} and count no patient for more than that."
        )
    warnings += _untaught(data, splits)
    return splits, [*warnings, *_hospital_warnings(how_split(splits, data.patient_ids, data.site))]


def _untaught(data: Dataset, splits: pd.DataFrame) -> list[str]:
    """Name the classes that are absent from the training patients of some folds, and count whom that concerns."""
    target, found = data.outcome, dict[str, list[int]]()
    for _, trains, tested in training_rows(data.patient_ids, splits):
        taught, asked = needed_counts(target.take(trains)), needed_counts(target.take(tested))
        for name in needed_counts(target).keys() - taught.keys():
            found.setdefault(name, []).append(asked.get(name, 0))
    folds = len(splits.loc[splits["fold"] >= 0, ["repeat", "fold"]].drop_duplicates())
    return [
        f"{name[:1].upper()}{name[1:]} is absent from the training patients of {len(asked)} of {folds} folds: no model can"
        f" learn it there, and {sum(asked)} tested patient(s) of it are missed."
        for name, asked in sorted(found.items())
    ]


def _hospital_warnings(how: HowSplit) -> list[str]:
    if how.sites == 0:
        return ["No hospital is known for any patient: the split is by patient only, and a site effect cannot be ruled out."]
    warnings = []
    if how.overlap:
        warnings.append(
            f"{how.overlap:.0%} of tested patients come from a hospital that also trains: what is learnt about hospitals counts"
            " as skill here. Compare with the site-only baseline."
        )
    if how.without_site:
        alone = "it counts as a group of its own" if how.without_site == 1 else "each counts as a group of its own"
        whose = "1 patient is" if how.without_site == 1 else f"{how.without_site} patients is"
        warnings.append(f"The hospital of {whose} not known; {alone}.")
    return warnings


def _too_few_hospitals(study: Study, data: Dataset) -> str:
    if study.protocol.splits is not None or not study.protocol.group_by_site:
        return ""
    return f" ({len(set(data.site))} hospitals in {study.protocol.folds} folds)"


def _published(
    path: Path, data: Dataset, cohort_ids: np.ndarray | None, *, group_by_site: bool
) -> tuple[pd.DataFrame, list[str]]:
    released, admitted = read_published(path), set(data.patient_ids)
    splits = released[released["patient_id"].isin(admitted)].reset_index(drop=True)
    check_splits(splits, data.patient_ids, data.site, group_by_site=group_by_site)
    if data.person is not None and (crossing := persons_on_both_sides(splits, pd.Series(data.person, index=data.patient_ids))):
        msg = (
            f"{path}: {crossing} person(s) have rows on two sides of a repeat, so that they are trained on and tested; keep the"
            " rows of a person in one fold"
        )
        raise DataError(msg)
    never = admitted - set(splits["patient_id"])
    if never:
        msg = f"{path}: {len(never)} admitted patient(s) are not in these splits; add them (fold {TRAIN_ONLY} only trains)"
        raise DataError(msg)
    for repeat, rows in splits.groupby("repeat"):
        if rows["fold"].nunique() < 2 or not (rows["fold"] >= 0).any():
            msg = f"{path}: repeat {repeat} leaves nobody to train on or nobody to test; add a fold, or fold {TRAIN_ONLY}"
            raise DataError(msg)
    return splits, _left_out(set(released["patient_id"]) - admitted, cohort_ids)


def _left_out(patients: set[str], cohort_ids: np.ndarray | None) -> list[str]:
    """Count the patients of published splits whom the study does not hold."""
    if not patients:
        return []
    strangers = len(patients if cohort_ids is None else patients - set(cohort_ids))
    excluded = len(patients) - strangers
    why = [f"{strangers} not in the cohort"] * (strangers > 0) + [f"{excluded} in it but not analysed"] * (excluded > 0)
    return [
        f"The published splits name {len(patients)} patient{'' if len(patients) == 1 else 's'} whom this run leaves out:"
        f" {' and '.join(why)}. Folds are smaller by them than published."
    ]

"""The split of a study: made by hospital and outcome, or published; with what a reader has to know of it."""

from pathlib import Path

import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.derived_splits import monte_carlo
from oncoweave.data.persons import persons_on_both_sides
from oncoweave.data.splits import (
    TRAIN_ONLY,
    check_splits,
    describe_splits,
    distinct_repeats,
    make_splits,
    published_splits,
    read_splits,
)
from oncoweave.train.dataset import Dataset
from oncoweave.train.scarcity import refuse_scarce
from oncoweave.train.study import Study


def study_splits(study: Study, data: Dataset) -> tuple[pd.DataFrame, list[str]]:
    """Make or read a resolved study's splits; also returns the warnings they call for.

    A published split is used as it is, less the patients whom the study does not admit.

    Raises:
        DataError: a published split lacks an admitted patient, has one on two sides, or has no training side.
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
        splits = _published(Path(protocol.splits), data)
    splits, copies = distinct_repeats(splits)
    refuse_scarce(study, data, splits)
    if copies:
        distinct = splits["repeat"].nunique()
        warnings.append(
            f"Of {distinct + copies} repeats, {copies} would part the patients as an earlier one does"
            f"{_too_few_hospitals(study, data)}; {'it was' if copies == 1 else 'they were'} left out, so the figures rest on"
            f" {distinct} different split{'s' if distinct > 1 else ''} and count no patient for more than that."
        )
    described = describe_splits(splits, data.patient_ids, data.outcome, data.site)
    overlap = described["site_overlap"].mean()
    if overlap > 0:
        warnings.append(
            f"{overlap:.0%} of tested patients come from a hospital that also trains: what is learnt about hospitals counts as"
            " skill here. Compare with the site-only baseline."
        )
    unknown = int(described["without_site"].sum() / max(described["repeat"].nunique(), 1))
    if unknown == len(data):
        warnings.append(
            "No hospital is known for any patient: the split is by patient only, and a site effect cannot be ruled out."
        )
    elif unknown:
        warnings.append(f"The hospital of {unknown} patients is not known; each is a group of its own in the split.")
    return splits, warnings


def _too_few_hospitals(study: Study, data: Dataset) -> str:
    if study.protocol.splits is not None or not study.protocol.group_by_site:
        return ""
    return f" ({len(set(data.site))} hospitals in {study.protocol.folds} folds)"


def read_published(path: Path) -> pd.DataFrame:
    """Read splits from a table, or from a folder with one CSV a fold (columns ``train`` and ``val``)."""
    return published_splits(sorted(path.glob("*.csv"))) if path.is_dir() else read_splits(path)


def _published(path: Path, data: Dataset) -> pd.DataFrame:
    splits = read_published(path)
    admitted = set(data.patient_ids)
    splits = splits[splits["patient_id"].isin(admitted)].reset_index(drop=True)
    check_splits(splits, data.patient_ids)
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
    return splits

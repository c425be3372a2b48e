"""Splits that test groups of patients nothing is trained on: rare cancers, a hospital, a scanner.

The patients of the other groups are dealt to folds; in each repeat one fold of them is tested together with all patients of the
unseen groups, and the rest train. So every patient of a common group is tested once, and one of an unseen group in each repeat,
each time by a model that never met the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import DataError, InfeasibleSplitError, unknown_name
from oncoweave.data.splits import TRAIN_ONLY, make_splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """Groups of patients, by a column of the patient table, that are tested and never trained on."""

    column: str
    groups: tuple[str, ...]


def unseen_splits(
    patients: pd.DataFrame,
    target: Target,
    unseen: Unseen,
    *,
    folds: int,
    seed: int,
    person: Sequence[object] | None = None,
) -> pd.DataFrame:
    """Split patients so that unseen groups are only tested: one repeat for each fold of the others.

    Args:
        patients: indexed by patient, with the column that names the groups; row by row of ``target``.
        target: what is predicted; those whose outcome is not known are left out.
        unseen: the groups.
        folds: of the patients of all other groups.
        seed: of the draw.
        person: where a row is a specimen, whose it is: all of a person's specimens are on one side, and all of them are unseen
            where one is.

    Returns:
        A table of ``patient_id, repeat, fold``: fold 0 is tested, ``TRAIN_ONLY`` trains.

    Raises:
        DataError: the column is missing, or a patient's group is.
        UnknownNameError: no patient is of any of the groups.
        InfeasibleSplitError: the other groups cannot be split into so many folds.
    """
    hidden = _hidden(patients, unseen)
    whose = pd.Series(patients.index if person is None else person, dtype=object).to_numpy()
    hidden |= np.isin(whose, whose[hidden])
    known = target.known
    common = known & ~hidden
    if not common.any():
        msg = f"splits: nobody with a known outcome is left to train on without {unseen.column} {', '.join(unseen.groups)}"
        raise InfeasibleSplitError(msg)
    rows = np.flatnonzero(common)
    ids = patients.index.to_numpy(dtype=object)
    dealt = make_splits(
        ids[rows],
        target.take(rows),
        None if person is None else whose[rows],
        folds=folds,
        repeats=1,
        group_by_site=person is not None,
        seed=seed,
    )
    always = pd.DataFrame({"patient_id": ids[known & hidden], "fold": 0})
    frames = []
    for repeat in range(folds):
        mine = dealt.assign(fold=np.where(dealt["fold"] == repeat, 0, TRAIN_ONLY))
        frames.append(pd.concat([mine[["patient_id", "fold"]], always]).assign(repeat=repeat))
    return pd.concat(frames, ignore_index=True)[["patient_id", "repeat", "fold"]]


def lacking_groups(patients: pd.DataFrame, unseen: Unseen) -> tuple[str, ...]:
    """Name the unseen groups of which there is no patient, so that those who are asked of the others can say so."""
    held = set(patients[unseen.column].astype("string").dropna()) if unseen.column in patients else set()
    return tuple(name for name in unseen.groups if name not in held)


def check_unseen(splits: pd.DataFrame, patients: pd.DataFrame, unseen: Unseen) -> None:
    """Refuse splits in which a patient of an unseen group trains: with fold ``TRAIN_ONLY``, or where another fold is tested.

    Raises:
        DataError: one does, the column is missing, or a patient's group is.
        UnknownNameError: no patient is of any of the groups.
    """
    hidden = set(patients.index[_hidden(patients, unseen)])
    tested = splits[splits["fold"] >= 0].groupby("repeat")["fold"].nunique()
    mine = splits[splits["patient_id"].isin(hidden)]
    trains = (mine["fold"] == TRAIN_ONLY) | (mine["repeat"].map(tested) > 1)
    if trains.any():
        count, repeat = mine.loc[trains, "patient_id"].nunique(), mine.loc[trains, "repeat"].iloc[0]
        msg = (
            f"splits: {count} patient(s) whose {unseen.column} must not be trained on ({', '.join(unseen.groups)}) train, first"
            f" in repeat {repeat}; make the splits with data.unseen_groups.unseen_splits"
        )
        raise DataError(msg)


def _hidden(patients: pd.DataFrame, unseen: Unseen) -> np.ndarray:
    if unseen.column not in patients:
        msg = f"unseen groups: column {unseen.column!r} is not in the patient table; it has {list(patients.columns)}"
        raise DataError(msg)
    group = patients[unseen.column].astype("string")
    if group.isna().any():
        msg = (
            f"unseen groups: {unseen.column!r} is not known for {int(group.isna().sum())} patient(s), first in row"
            f" {int(group.isna().to_numpy().argmax()) + 1}; leave them out, as they may be of a group that must not be seen"
        )
        raise DataError(msg)
    if not group.isin(unseen.groups).any():
        raise unknown_name(f"group of column {unseen.column!r}", unseen.groups[0], sorted(group.unique()))
    return group.isin(unseen.groups).to_numpy(dtype=bool)

"""Performance of a task by groups of patients: all, each type of cancer, and those that nothing was trained on."""

from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import ConfigError, DataError
from oncoweave.data.cohort import Cohort
from oncoweave.data.persons import whose
from oncoweave.data.splits import write_splits
from oncoweave.data.unseen_groups import unseen_splits
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.train.study import Protocol
from oncoweave.train.task import PHANTOM, Task, endpoint_of, unseen_of

ALL = "all"
SEEN, UNSEEN = "seen in training", "not seen in training"


def make_task_splits(
    task: Task, cohort: Path | str, out: Path, *, person: str | None = None, protocol: Protocol | None = None
) -> pd.DataFrame:
    """Make and write the splits of a task with groups that nothing is trained on; its protocol says how many.

    Args:
        task: one with such groups.
        cohort: a cohort folder.
        out: a parquet file; give it to ``study_of`` and to the study.
        person: the column of the patient table that says whose a specimen is, where a row is a specimen and not a patient.
        protocol: in place of the task's own. Of it count folds, repeats (so many times the others are dealt to folds), seed and
            scheme: of ``monte_carlo`` one fold of each dealing is tested.

    Raises:
        ConfigError: the task has no such groups.
        DataError: a column is missing, or somebody's group is.
    """
    opened = Cohort.open(cohort)
    unseen = unseen_of(task, opened)
    if unseen is None:
        msg = f"task {task.name!r} has no groups that are unseen in training: its protocol makes the splits"
        raise ConfigError(msg)
    target, protocol = opened.target(endpoint_of(task, opened)[0]), protocol or task.protocol
    persons = None if person is None else list(whose(opened, person))
    dealt = [
        unseen_splits(opened.patients, target, unseen, folds=protocol.folds, seed=protocol.seed + again, person=persons)
        for again in range(protocol.repeats)
    ]
    if protocol.scheme == "monte_carlo":
        dealt = [splits[splits["repeat"] == 0] for splits in dealt]
    offset = np.cumsum([0, *(splits["repeat"].nunique() for splits in dealt[:-1])])
    splits = pd.concat([s.assign(repeat=s["repeat"] + o) for s, o in zip(dealt, offset, strict=True)], ignore_index=True)
    write_splits(out, splits)
    return splits


def task_groups(task: Task, cohort: Cohort) -> pd.DataFrame:
    """Give the groups of each patient, a column a grouping, indexed by patient.

    On phantom cohorts there are only the groups that play those unseen in training.

    Raises:
        DataError: the patient table lacks a column.
    """
    unseen = unseen_of(task, cohort)
    named = () if cohort.name == PHANTOM else task.groups
    columns = dict.fromkeys(named if unseen is None else (unseen.column, *named))
    groups = {name: _column(cohort, name).astype("string") for name in columns}
    if unseen is not None:
        hidden = groups[unseen.column].isin(unseen.groups)
        groups["training"] = pd.Series(np.where(hidden, UNSEEN, SEEN), index=cohort.patients.index, dtype="string")
    return pd.DataFrame(groups, index=cohort.patients.index)


def figures_by_group(
    task: Task, cohort: Cohort, predictions: pd.DataFrame, *, generator: np.random.Generator, replicates: int = 1000
) -> pd.DataFrame:
    """Measure every model overall and in each of the task's groups, with intervals over patients.

    Patients of one fold are compared. Columns: model, grouping, group, metric, value, low, high, n, events, note; groups too
    small to be measured have a note and no value.

    Args:
        task: the task.
        cohort: whose patients were predicted.
        predictions: the prediction table of a study of the task.
        generator: draws the bootstrap.
        replicates: of the bootstrap.
    """
    endpoint = cohort.endpoint(endpoint_of(task, cohort)[0])
    groups = task_groups(task, cohort)
    roles = dict.fromkeys(predictions["model"].unique(), "fusion")
    options = SummaryOptions(replicates=replicates, attributes=groups)
    summary = summarise(predictions, endpoint, roles=roles, generator=generator, options=options)
    measured = summary.groups[summary.groups["grouping"].isin(groups.columns)]
    whole = summary.metrics[summary.metrics["metric"].isin(measured["metric"].unique())].assign(grouping=ALL, group=ALL)
    return pd.concat([whole[list(measured.columns)], measured], ignore_index=True)


def _column(cohort: Cohort, name: str) -> pd.Series:
    if name not in cohort.patients:
        msg = f"cohort {cohort.name!r}: column {name!r} is not in the patient table; it has {list(cohort.patients.columns)}"
        raise DataError(msg)
    return cohort.patients[name]

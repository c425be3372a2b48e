"""Splits of tasks with groups of patients that nothing is trained on."""

from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import ConfigError
from oncoweave.data.cohort import Cohort
from oncoweave.data.persons import whose
from oncoweave.data.splits import write_splits
from oncoweave.data.unseen_groups import unseen_splits
from oncoweave.train.study import Protocol
from oncoweave.train.task import Task, endpoint_of, unseen_of


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

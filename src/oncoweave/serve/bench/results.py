"""What a bench found, in memory: the tables its page is made from, and what failed."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from oncoweave.evaluate.ranking import Ranking
from oncoweave.train.bench.asked import Asked
from oncoweave.train.bench.collect import ranking_of
from oncoweave.train.bench.spec import Bench


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Finished tasks with their tables, and the reasons of those that did not finish."""

    bench: Bench
    asked: tuple[Asked, ...]
    """Tasks of patients that finished."""
    scores: pd.DataFrame
    """See ``train.bench.collect.SCORES``; with ``rank`` and ``best_differs``."""
    duels: pd.DataFrame
    """See ``train.bench.collect.duels_of``; with ``p_adjusted``, ``q`` and ``differs``."""
    groups: pd.DataFrame
    """See ``train.bench.collect.GROUPS``."""
    curves: pd.DataFrame
    """See ``train.bench.label_curve.COLUMNS``."""
    audits: pd.DataFrame
    """Columns task, audit, verdict, evidence, n."""
    failures: dict[str, str]
    """By key of the task."""
    pages: dict[str, str]
    """Relative address of each task's own page."""
    seconds: float

    @cached_property
    def tasks(self) -> list[str]:
        """Keys of the tasks that finished, in the order of the bench."""
        return self.scores["task"].drop_duplicates().tolist()

    @cached_property
    def ranking(self) -> tuple[Ranking | None, tuple[str, ...]]:
        """Ranks of models over tasks of patients, and the tasks left out."""
        return ranking_of(self.scores[self.scores["level"] == "patients"])

    def of(self, task: str) -> pd.DataFrame:
        """Figures of one task, best first, nulls last."""
        return self.scores[self.scores["task"] == task].sort_values("rank", kind="stable", na_position="last")

    def duel(self, question: str) -> pd.DataFrame:
        """Rows of one question, tasks that repeat another left out."""
        repeats = set(self.scores.loc[self.scores["same_as"] != "", "task"])
        return self.duels[(self.duels["question"] == question) & ~self.duels["task"].isin(repeats)]

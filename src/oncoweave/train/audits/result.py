"""What an audit looks at, and what it says."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.data.cohort import Cohort
from oncoweave.data.how_split import HowSplit, how_split
from oncoweave.evaluate.metrics import CHANCE, MAIN
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.panel import Planned
from oncoweave.train.study import Study

Verdict = Literal["passed", "failed", "not applicable"]
_ORDER: dict[str, int] = {"failed": 0, "passed": 1, "not applicable": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """One audit: what it looked for, whether it found it, and the figures."""

    audit: str
    verdict: Verdict
    evidence: str
    """Whole sentences without identifiers of patients."""
    n: int
    """Patients looked at."""


def judged(name: str, *, fault: bool, evidence: str, n: int) -> Audit:
    """Make an audit that could be done."""
    return Audit(audit=name, verdict="failed" if fault else "passed", evidence=evidence, n=n)


def not_applicable(name: str, why: str) -> Audit:
    """Make an audit for which the study holds nothing to look at."""
    return Audit(audit=name, verdict="not applicable", evidence=why, n=0)


def audits_table(audits: Sequence[Audit]) -> pd.DataFrame:
    """Lay audits out as a table, failures first."""
    return pd.DataFrame([asdict(a) for a in sorted(audits, key=lambda a: _ORDER[a.verdict])])


MakeFold = Callable[[Study, Dataset, np.ndarray, int, int, Path | None], Fold]
"""How the run makes what a fold trains on: study, admitted patients, training rows, repeat, fold, checkpoint folder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Audited:
    """A study that has been cross-validated, with everything that audits look at."""

    study: Study
    cohort: Cohort
    data: Dataset
    """The patients admitted."""
    splits: pd.DataFrame
    planned: Sequence[Planned]
    make_fold: MakeFold
    scratch: Path
    predictions: pd.DataFrame
    metrics: pd.DataFrame
    """Of every model, as the run folder has them."""
    site_audit: pd.DataFrame | None
    """Metrics of the site-only baseline under a split by patient, where the study's own split is another."""

    @property
    def endpoint(self) -> Endpoint:
        """What is predicted."""
        return self.data.outcome.endpoint

    @property
    def metric(self) -> str:
        """The measure of the verdict."""
        return MAIN[self.endpoint.kind][0]

    @property
    def chance(self) -> float:
        """Its value for a prediction that knows nothing."""
        return CHANCE[self.metric]

    @property
    def left_out(self) -> int:
        """Patients left out because they were not followed at all."""
        if self.endpoint.kind != "survival":
            return 0
        target = self.cohort.target(self.endpoint.name)
        return int((target.known & ~(np.nan_to_num(target.time) > 0)).sum())

    @cached_property
    def how_split(self) -> HowSplit:
        """How the splits part patients and hospitals, counted."""
        return how_split(self.splits, self.data.patient_ids, self.data.site)

    @cached_property
    def studied(self) -> Cohort:
        """The admitted patients' tables of the modalities that the study reads."""
        taken, names = self.cohort.take(self.data.patient_ids), self.study.modalities or ()
        return replace(
            taken,
            tables={m: taken.tables[m] for m in names},
            modalities={m: taken.modalities[m] for m in names},
            endpoints={self.endpoint.name: self.endpoint},
        )

    def folds(self) -> list[tuple[int, int, np.ndarray]]:
        """List repeat, fold and, ``Bool[n]``, who is tested in it."""
        tested, found = self.splits[self.splits["fold"] >= 0], []
        for repeat, fold in sorted(set(zip(tested["repeat"].astype(int), tested["fold"].astype(int), strict=True))):
            rows = tested[(tested["repeat"] == repeat) & (tested["fold"] == fold)]
            found.append((repeat, fold, np.isin(self.data.patient_ids, rows["patient_id"].to_numpy(dtype=object))))
        return found

    def trains(self, repeat: int, fold: int) -> np.ndarray:
        """``Bool[n]``: who trains for a fold."""
        rows = self.splits[(self.splits["repeat"] == repeat) & (self.splits["fold"] != fold)]
        return np.isin(self.data.patient_ids, rows["patient_id"].to_numpy(dtype=object))

    def measured(self, model: str) -> pd.Series | None:
        """Look up the row of the main measure of a model; None where it was not measured."""
        rows = self.metrics[(self.metrics["model"] == model) & (self.metrics["metric"] == self.metric)]
        return None if rows.empty else rows.iloc[0]

    def figure(self, row: pd.Series) -> str:
        """Write a measure with its interval; with so many digits that a limit which is not chance does not read like it."""
        limits, chance = (row["low"], row["high"]), self.chance
        digits = next((d for d in range(3, 9) if all(round(x, d) != chance or x == chance for x in limits)), 9)
        interval = "no interval" if np.isnan(row["low"]) else " to ".join(f"{x:.{digits}f}" for x in limits)
        return f"{self.metric.replace('_', '-')} {row['value']:.3f} ({interval})"

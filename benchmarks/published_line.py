"""What every row of the page of published figures is made of: lines with one figure each, tables of details, verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.evaluate.intervals import Interval, bootstrap
from oncoweave.evaluate.pairs import Statistic, survival_pairs

REPLICATES = 2000
REPRODUCED = "reproduced to the digit"
WITHIN = "within interval"
OPEN = "cannot be judged here"
NONE = float("nan")
TITLE = "title of the table"
"""Column that a stored table's title travels in."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure: what was published, what the same data give, and what else reaches how much."""

    task: str
    data: str
    figure: str
    """The metric, and of what."""
    n: int
    events: int
    published: float = NONE
    reproduced: float = NONE
    ours: str = ""
    """Which model of ours."""
    value: float = NONE
    low: float = NONE
    high: float = NONE
    floor: float = NONE
    floor_is: str = ""
    verdict: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a row hands in: its lines, and tables by title."""

    lines: tuple[Line, ...]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def write(self, stem: Path) -> None:
        """Store the tables, then the lines, which mark the row as done."""
        for number, (title, table) in enumerate(self.tables.items()):
            table.assign(**{TITLE: title}).to_parquet(stem.with_suffix(f".{number}.parquet"), index=False)
        pd.DataFrame([asdict(line) for line in self.lines]).to_parquet(stem.with_suffix(".parquet"), index=False)


def judged(published: float, reproduced: float, *, digits: int = 3) -> str:
    """Say whether a figure came out as published, at the digits that were published; otherwise by how much it is off."""
    shown = round(reproduced, digits)
    if abs(shown - published) < 0.5 * 10**-digits:
        return REPRODUCED
    return f"not reproduced: off by {shown - published:+.{digits}f}"


def within(published: float, interval: Interval) -> str:
    """Say whether a published figure lies in our interval of the same quantity."""
    if interval.low <= published <= interval.high:
        return WITHIN
    return f"refuted: {'above' if published > interval.high else 'below'} our interval"


def interval_of(statistic: Statistic, patients: np.ndarray, *, strata: np.ndarray | None = None, seed: int = 0) -> Interval:
    """Percentile interval over patients, always with the same draws."""
    return bootstrap(statistic, patients, replicates=REPLICATES, generator=np.random.default_rng(seed), strata=strata)


def c_index(rows: pd.DataFrame, risk: str = "risk", *, within: tuple[str, ...] = ("fold",)) -> Interval:
    """Harrell's C over the pairs within folds (and what else is named), with its interval."""
    strata = rows.groupby(list(within)).ngroup().to_numpy()
    statistic = survival_pairs(rows["time"].to_numpy(float), rows["event"].to_numpy(bool), rows[risk].to_numpy(float), strata)
    return interval_of(statistic, rows["patient_id"].to_numpy())


Told = TypeVar("Told")


def fold_by_fold(work: Callable[[int], Told], folds: np.ndarray) -> list[Told]:
    """Do the work of each fold in turn; all that is fitted is fitted in there."""
    return [work(int(k)) for k in np.unique(folds)]


def survival_rows(patients: np.ndarray, fold: np.ndarray, target: Target) -> pd.DataFrame:
    """Lay out the rows that risks of cross-validated models are put into."""
    return pd.DataFrame({"patient_id": patients, "fold": fold, "time": target.time, "event": target.event})

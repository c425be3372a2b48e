"""What a run fits: every planned model on the training rows of every fold, and on all patients; in one process or in several."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from oncoweave.core.errors import OncoweaveError
from oncoweave.core.state import load_state, save_state
from oncoweave.train.cost import count_parameters
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.ledger import record
from oncoweave.train.locked import LockedModel, lock
from oncoweave.train.panel import Planned, plan
from oncoweave.train.results import write_table
from oncoweave.train.scarcity import fold_of
from oncoweave.train.study import Study
from oncoweave.train.subsets import SubsetPlan, SubsetScores, plan_subsets, score_subsets
from oncoweave.train.workers import work_off


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Fitting:
    """A claimed run folder and what is fitted into it."""

    out: Path
    study: Study
    """Resolved."""
    data: Dataset
    """The patients admitted."""
    splits: pd.DataFrame

    @property
    def has_sites(self) -> bool:
        """Whether there is a site-only baseline."""
        return len(np.unique(self.data.site)) > 1

    @property
    def planned(self) -> list[Planned]:
        """Everything that is fitted on each fold."""
        return plan(self.study, has_sites=self.has_sites)

    @property
    def subsets(self) -> SubsetPlan | None:
        """Subsets of the modalities on which a late main model is scored."""
        return plan_subsets(self.study)

    @property
    def checkpoints(self) -> Path:
        """Where networks that are being trained leave their checkpoints."""
        return self.out / "checkpoints"

    def folds(self) -> list[tuple[int, int]]:
        """List repeat and fold of every outer fold."""
        tested = self.splits[self.splits["fold"] >= 0]
        return sorted(set(zip(tested["repeat"].astype(int), tested["fold"].astype(int), strict=True)))

    def part(self, repeat: int, fold: int) -> Path:
        """Name the file of a fold's predictions."""
        return self.out / "parts" / f"repeat{repeat}_fold{fold}.parquet"

    def cost(self, repeat: int, fold: int) -> Path:
        """Name the file of what a fold's models cost; the run does not vouch for it, as no two runs take the same time."""
        return self.out / "costs" / f"repeat{repeat}_fold{fold}.parquet"

    def scores(self, repeat: int, fold: int) -> Path:
        """Name the file of a fold's scores on subsets of the modalities."""
        return self.out / "subsets" / f"repeat{repeat}_fold{fold}.safetensors"

    def locked(self, model: str) -> Path:
        """Name the file of a model fitted on all patients."""
        return self.out / "models" / f"{model}.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class OuterFold:
    """Fit everything on one fold's training rows, and predict its tested patients."""

    repeat: int
    fold: int

    def __str__(self) -> str:
        """Name it in messages."""
        return f"fold {self.fold} of repeat {self.repeat}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Everyone:
    """Fit models on all patients, for use on others."""

    models: tuple[str, ...]

    def __str__(self) -> str:
        """Name it in messages."""
        return f"{', '.join(self.models)} on all patients"


def fit_all(given: Fitting, *, jobs: int) -> pd.DataFrame:
    """Fit whatever a run folder lacks, and record it there; returns the predictions of every model on every fold.

    Folds, and networks on all patients, are worked off by ``jobs`` processes. What is random comes from the seed of each fold, so
    that their number changes nothing but rounding, and that only where it changes how many threads each has.
    """
    from rich.markup import escape
    from rich.progress import Progress

    planned, subsets = given.planned, given.subsets
    folds = [OuterFold(repeat=repeat, fold=fold) for repeat, fold in given.folds()]
    left = [f for f in folds if not _is_there(given, f, subsets)]
    finals = list(_finals(given, planned))
    tasks: list[OuterFold | Everyone] = [*left, *finals]
    with Progress(transient=True) as progress:
        steps = len(folds) * len(planned) + sum(len(final.models) for final in finals)
        bar = progress.add_task(f"{escape(given.study.name)}: {len(planned)} models", total=steps)
        progress.advance(bar, (len(folds) - len(left)) * len(planned))
        work_off(
            tasks,
            _worker,
            given,
            jobs=jobs,
            hear=lambda written: record(given.out, *written) if written else progress.advance(bar),
        )
    shutil.rmtree(given.checkpoints, ignore_errors=True)
    _write_cost(given)
    return pd.concat([pd.read_parquet(given.part(f.repeat, f.fold)) for f in folds], ignore_index=True)


def _write_cost(given: Fitting) -> None:
    """Write ``cost.parquet``: model, repeat, fold, seconds, parameters.

    Seconds are of fitting on the training rows and predicting the tested ones; parts that models share are charged to each.
    """
    known = [path for path in (given.cost(repeat, fold) for repeat, fold in given.folds()) if path.exists()]
    if known:
        write_table(given.out / "cost.parquet", pd.concat([pd.read_parquet(path) for path in known], ignore_index=True))


def read_scores(given: Fitting) -> list[tuple[int, int, SubsetScores]]:
    """Read repeat, fold and scores on subsets of the modalities; nothing where the main model is not scored on any."""
    scored = []
    for repeat, fold in given.folds() if given.subsets is not None else ():
        scores = load_state(given.scores(repeat, fold))
        assert isinstance(scores, SubsetScores), f"{given.out}: repeat {repeat}, fold {fold} holds a {type(scores).__name__}"
        scored.append((repeat, fold, scores))
    return scored


def training_fold(study: Study, data: Dataset, rows: np.ndarray, repeat: int, fold: int, scratch: Path | None) -> Fold:
    """Make what a fold trains on; audits make it again in the same way."""
    return fold_of(study, data.take(rows), repeat=repeat, fold=fold, scratch=scratch)


def _is_there(given: Fitting, task: OuterFold, subsets: SubsetPlan | None) -> bool:
    scored = subsets is None or given.scores(task.repeat, task.fold).exists()
    return scored and given.part(task.repeat, task.fold).exists()


def _finals(given: Fitting, planned: list[Planned]) -> Iterator[Everyone]:
    """Group the models that are not there yet: each network by itself, and together all that share models of one modality."""
    networks = {m.name for m in given.study.models or () if m.stage in ("intermediate", "hybrid") and m.levels is None}
    lacking = [m.name for m in planned if m.role not in ("null", "ablation") and not given.locked(m.name).exists()]
    if together := tuple(name for name in lacking if name not in networks):
        yield Everyone(models=together)
    yield from (Everyone(models=(name,)) for name in lacking if name in networks)


_Tell = Callable[[tuple[Path, ...]], None]
"""Told of files that were written, or of none when a model is fitted."""


@dataclass(kw_only=True, eq=False, slots=True)
class _Worker:
    given: Fitting
    planned: list[Planned]
    everyone: Fold | None = field(default=None)
    """Once made, for all that is fitted on all patients in this process."""


def _worker(given: Fitting) -> Callable[[OuterFold | Everyone, _Tell], None]:
    worker = _Worker(given=given, planned=given.planned)

    def work(task: OuterFold | Everyone, tell: _Tell) -> None:
        if isinstance(task, OuterFold):
            _fit_fold(worker, task, tell)
        else:
            _fit_everyone(worker, task, tell)

    return work


def _fit_fold(worker: _Worker, task: OuterFold, tell: _Tell) -> None:
    given, repeat, fold = worker.given, task.repeat, task.fold
    row_of = {patient: i for i, patient in enumerate(given.data.patient_ids)}
    in_repeat = given.splits[given.splits["repeat"] == repeat]
    rows = np.array([row_of[p] for p in in_repeat["patient_id"]])
    is_test = in_repeat["fold"].to_numpy() == fold
    scratch = given.checkpoints / f"repeat{repeat}_fold{fold}"
    train = training_fold(given.study, given.data, np.sort(rows[~is_test]), repeat, fold, scratch)
    test = given.data.take(rows[is_test]).without([m for m in given.data.modalities if train.absent(m)])
    known_to_main = np.asarray(test.only(_main(worker).modalities).availability.any(axis=1))
    parts, costs = [], []
    for model in worker.planned:
        train.reused, started = 0.0, perf_counter()
        locked = _lock(model, train, given.study)
        if locked is not None:
            predicted = locked.frame(test, averaged=known_to_main if model.role == "ablation" else None)
            seconds = perf_counter() - started + train.reused
            parts.append(predicted.assign(repeat=repeat, fold=fold))
            costs.append((model.name, repeat, fold, seconds, count_parameters(locked.fitted)))
        tell(())
    write_table(given.cost(repeat, fold), pd.DataFrame(costs, columns=["model", "repeat", "fold", "seconds", "parameters"]))
    if (subsets := given.subsets) is not None:
        save_state(given.scores(repeat, fold), score_subsets(subsets, given.study, train, test))
        tell((given.scores(repeat, fold),))
    tell((write_table(given.part(repeat, fold), pd.concat(parts, ignore_index=True)),))
    shutil.rmtree(scratch, ignore_errors=True)


def _main(worker: _Worker) -> Planned:
    """Give the main model, on whose patients its ablations are compared with it."""
    return next(m for m in worker.planned if m.name == worker.given.study.main)


def _fit_everyone(worker: _Worker, task: Everyone, tell: _Tell) -> None:
    given = worker.given
    if worker.everyone is None:
        scratch = given.checkpoints / "everyone"
        worker.everyone = fold_of(given.study, given.data, repeat=given.study.protocol.repeats, fold=0, scratch=scratch)
    for model in (m for m in worker.planned if m.name in task.models):
        locked = _lock(model, worker.everyone, given.study)
        assert locked is not None, f"model {model.name!r}: all patients teach what those of some folds do"
        save_state(given.locked(model.name), locked)
        tell((given.locked(model.name),))
        tell(())


def _lock(model: Planned, fold: Fold, study: Study) -> LockedModel | None:
    try:
        return lock(model, fold, study)
    except OncoweaveError as error:
        error.add_note(f"while fitting model {model.name!r} on {len(fold.train)} training patients")
        raise

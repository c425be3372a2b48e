"""What a task's models reach with fewer labels: the run's folds again, with some of each fold's training patients."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from oncoweave.core.errors import InfeasibleSplitError, UnknownNameError, unknown_name
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.data.derived_splits import fewer_labels
from oncoweave.data.splits import TRAIN_ONLY, read_splits
from oncoweave.evaluate.versus import figures
from oncoweave.train.bench.asked import Asked
from oncoweave.train.bench.spec import Curves
from oncoweave.train.dataset import Dataset, load_dataset
from oncoweave.train.fitting import training_fold
from oncoweave.train.locked import lock
from oncoweave.train.panel import Planned, plan
from oncoweave.train.read_as import read_as
from oncoweave.train.results import trained, write_table
from oncoweave.train.rows import labelled
from oncoweave.train.scarcity import refuse_scarce
from oncoweave.train.study import Study
from oncoweave.train.texts import read_texts_as
from oncoweave.train.workers import work_off

COLUMNS = ("task", "labels", "model", "metric", "value", "low", "high", "n", "events", "note")
"""``labels`` is the mean number of training patients; a number too small to be trained on has a note and no value."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Given:
    study: Study
    """Resolved."""
    cohort: Cohort
    data: Dataset
    labels: float
    """As asked for."""
    splits: pd.DataFrame
    models: tuple[str, ...]
    folder: Path

    @property
    def planned(self) -> list[Planned]:
        everything = plan(self.study, has_sites=len(np.unique(self.data.site)) > 1)
        return [p for p in everything if p.name in self.models]

    def part(self, repeat: int) -> Path:
        return self.folder / f"labels{self.labels:g}_split{repeat}.parquet"


def label_curve(asked: Asked, curves: Curves, out: Path, *, jobs: int = 1) -> pd.DataFrame:
    """Fit the models of a finished run on fewer labels and measure them on the patients it tests; see :data:`COLUMNS`.

    What is there from a call that was stopped is kept. A number that is too small to be trained on, and a task that has none of
    the models, give a row with a note.

    Args:
        asked: the task; its run is finished.
        curves: how many labels, and which models.
        out: folder of the bench.
        jobs: processes.
    """
    manifest = read_json(asked.run / "manifest.json")
    study = Study.model_validate(manifest["study"])
    splits = read_splits(asked.run / "splits.parquet")
    cohort = Cohort.open(study.cohort)
    cohort = read_texts_as(cohort, study.texts, cohort.endpoint(study.endpoint))
    admitted = np.isin(cohort.patient_ids, splits["patient_id"].unique())
    kinds = {m: cohort.modalities[m].kind for m in study.modalities or ()}
    configs = read_as(kinds, study.preparation)
    data = load_dataset(cohort, study.endpoint, tuple(kinds), configs, person=study.person).take(admitted)
    known = [p.name for p in plan(study, has_sites=len(np.unique(data.site)) > 1) if p.role not in ("null", "ablation")]
    models = tuple(name for name in known if not curves.models or name in curves.models)
    folder = out / "curves" / f"{asked.run.name}-{_digest(manifest, models)}"
    rows = []
    for labels in curves.labels:
        try:
            if not models:
                raise unknown_name("model (curves)", curves.models[0], known)
            reduced = fewer_labels(splits, data.patient_ids, data.outcome, labels=labels, seed=study.protocol.seed)
            refuse_scarce(study, data, reduced, advice="ask for more labels (curves.labels)")
            given = _Given(study=study, cohort=cohort, data=data, labels=labels, splits=reduced, models=models, folder=folder)
            rows.append(_measured(asked, given, jobs).assign(labels=_trained(reduced)))
        except (InfeasibleSplitError, UnknownNameError) as error:
            rows.append(pd.DataFrame([{"labels": _asked_for(labels, splits), "note": str(error)}]))
    return pd.concat(rows, ignore_index=True).assign(task=asked.entry.key, metric=asked.metric).reindex(columns=list(COLUMNS))


def _measured(asked: Asked, given: _Given, jobs: int) -> pd.DataFrame:
    repeats = sorted(given.splits["repeat"].unique().tolist())
    work_off([r for r in repeats if not given.part(r).exists()], _worker, given, jobs=jobs, hear=lambda _: None)
    predictions = pd.concat([pd.read_parquet(given.part(repeat)) for repeat in repeats], ignore_index=True)
    return figures(
        labelled(predictions, given.study, given.cohort),
        asked.endpoint,
        metric=asked.metric,
        generator=np.random.default_rng([given.study.protocol.seed, 7]),
        replicates=given.study.protocol.bootstrap,
    )


def _trained(splits: pd.DataFrame) -> float:
    return float((splits["fold"] == TRAIN_ONLY).sum() / splits["repeat"].nunique())


def _asked_for(labels: float, splits: pd.DataFrame) -> float:
    """Number the labels of a split that could not be made."""
    return float(labels if labels > 1 else labels * np.mean(list(trained(splits).values())))


def _digest(manifest: dict, models: tuple[str, ...]) -> str:
    """Tell what is fitted by study, splits, cohort and models, so that no part of another run is taken for one."""
    hashes = manifest["hashes"]
    told = "".join(hashes[name] for name in ("study.yaml", "splits.parquet", "cohort manifest")) + repr(models)
    return sha256(told.encode()).hexdigest()[:12]


_Tell = Callable[[None], None]


def _worker(given: _Given) -> Callable[[int, _Tell], None]:
    planned, data = given.planned, given.data
    row_of = {patient: i for i, patient in enumerate(data.patient_ids)}

    def work(repeat: int, tell: _Tell) -> None:
        rows = given.splits[given.splits["repeat"] == repeat]
        place = np.array([row_of[p] for p in rows["patient_id"]])
        tested = rows["fold"].to_numpy() == 0
        train = training_fold(given.study, data, np.sort(place[~tested]), repeat, 0, None)
        test = data.take(place[tested])
        locked = [made for model in planned if (made := lock(model, train, given.study)) is not None]
        if not locked:
            msg = f"{len(train.train)} training patients can teach none of the modalities of {', '.join(given.models)}"
            raise InfeasibleSplitError(msg)
        frames = [made.frame(test).assign(repeat=repeat, fold=0) for made in locked]
        write_table(given.part(repeat), pd.concat(frames, ignore_index=True))
        tell(None)

    return work

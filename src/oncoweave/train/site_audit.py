"""How much the hospital alone tells of the outcome, under a split that ignores hospitals.

Where the study's own split keeps hospitals apart, a model that knows nothing but the hospital is at chance by construction. Under
a split by patient it shows what any model that can tell hospitals apart (by stain, by scanner, by batch) would get for nothing.
"""

import numpy as np
import pandas as pd

from oncoweave.data.cohort import Cohort
from oncoweave.data.splits import make_splits
from oncoweave.evaluate.metrics import CHANCE, MAIN
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.locked import lock
from oncoweave.train.panel import Planned
from oncoweave.train.rows import labelled
from oncoweave.train.study import Study

NAME = "site_only_by_patient"


def audit_site(study: Study, data: Dataset, site_only: Planned, cohort: Cohort) -> tuple[pd.DataFrame, str]:
    """Cross-validate the site-only baseline by patient; returns its metrics and a sentence on what they mean."""
    protocol = study.protocol
    together, grouped = data.kept_together(by_site=False)
    splits = make_splits(
        data.patient_ids,
        data.outcome,
        together,
        folds=protocol.folds,
        repeats=protocol.repeats,
        group_by_site=grouped,
        seed=protocol.seed,
    )
    frames = []
    for _, tested in splits.groupby(["repeat", "fold"]):
        is_test = np.isin(data.patient_ids, tested["patient_id"].to_numpy(dtype=object))
        train = Fold(train=data.take(~is_test), seed=protocol.seed, inner_folds=protocol.inner_folds, group_by_site=False)
        locked = lock(site_only, train, study)
        assert locked is not None, "the hospital alone needs no modality"
        predicted = locked.frame(data.take(is_test))
        where = {key: int(tested[key].iloc[0]) for key in ("repeat", "fold")}
        frames.append(predicted.assign(model=NAME, **where))
    options = SummaryOptions(replicates=protocol.bootstrap)
    rng = np.random.default_rng([protocol.seed, 5])
    table = labelled(pd.concat(frames, ignore_index=True), study, cohort)
    metrics = summarise(table, data.outcome.endpoint, roles={NAME: "baseline"}, generator=rng, options=options).metrics
    return metrics, _sentence(metrics, data.outcome.endpoint.kind)


def _sentence(metrics: pd.DataFrame, kind: str) -> str:
    found = metrics[metrics["metric"] == MAIN[kind][0]].iloc[0]
    interval = "no interval" if np.isnan(found["low"]) else f"{found['low']:.3f} to {found['high']:.3f}"
    figure = f"{found['metric'].replace('_', '-')} {found['value']:.3f} ({interval})"
    carries = found["low"] > CHANCE.get(MAIN[kind][0], -np.inf)
    meaning = (
        "outcomes differ between hospitals, and a split by patient would have counted that as skill; this run keeps them apart"
        if carries
        else f"without an interval this cannot be judged ({found['note']})"
        if np.isnan(found["low"])
        else "no more than chance, so hospitals tell little of the outcome here"
    )
    return f"Site audit: under a split that ignores hospitals, the hospital alone scores {figure}: {meaning}."

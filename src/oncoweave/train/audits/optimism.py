"""What choosing the best epoch on the test fold would have added: measured beside the run, never used by it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.tables import check_predictions
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable
from oncoweave.train.dataset import Dataset
from oncoweave.train.filling import filled_fold
from oncoweave.train.locked import score_columns
from oncoweave.train.network_learner import FittedNetwork, fit_network
from oncoweave.train.panel import block_policy, learned_part, network_spec
from oncoweave.train.study import ModelSpec

COLUMNS = ("model", "repeat", "fold", "epochs", "chosen_epoch", "best_epoch", "chosen", "best", "optimism", "same_loss")
_SAME = 1e-6
"""Losses that agree so well, epoch by epoch, are losses of the same patients."""


def measure_optimism(run: Audited) -> pd.DataFrame:
    """Train one network a fold of the first repeat again, and follow the main measure on the test fold over its epochs.

    It is done for the main model where that is a network, else for the first network of the study; one member, so that a study of
    five members and three repeats spends a fifteenth more on this model. Columns: ``COLUMNS``; ``chosen`` is the measure at the
    epoch of the lowest loss on inner validation rows, ``best`` at the epoch that is best on the test fold, ``optimism`` how much
    better that is, and ``same_loss`` says that the losses on inner rows and on the test fold are one and the same.
    """
    model, rows = _network(run), []
    first = min((repeat for repeat, _, _ in run.folds()), default=0)
    for repeat, fold, is_test in run.folds() if model is not None else ():
        if repeat == first and model is not None:
            found = _follow(run, model, repeat, fold, is_test)
            rows += [] if found is None else [{"model": model.name, "repeat": repeat, "fold": fold, **found}]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def audit_epochs(run: Audited, optimism: pd.DataFrame) -> Audit:
    """No network's epoch is chosen on the patients it is tested on."""
    name = "epoch chosen on the test fold"
    if optimism.empty:
        return not_applicable(name, "The study trains no network that stops on inner rows.")
    same, model = int(optimism["same_loss"].sum()), optimism["model"].iloc[0]
    measure = run.metric.replace("_", "-")
    evidence = (
        f"In {same} of {len(optimism)} folds the rows that decide when {model} stops are the tested ones. The best epoch on the"
        f" test fold would have shown a {measure} of {optimism['best'].mean():.3f} instead of {optimism['chosen'].mean():.3f}: an"
        f" optimism of {optimism['optimism'].mean():.3f} (mean of {len(optimism)} folds), which no figure here contains."
    )
    return judged(name, fault=same > 0, evidence=evidence, n=len(run.data))


def _network(run: Audited) -> ModelSpec | None:
    models = sorted(run.study.models or (), key=lambda m: m.name != run.study.main)
    return next((m for m in models if m.stage in ("intermediate", "hybrid") and m.levels is None), None)


def _follow(run: Audited, model: ModelSpec, repeat: int, fold: int, is_test: np.ndarray) -> dict[str, object] | None:
    trains = np.flatnonzero(run.trains(repeat, fold))
    train = run.make_fold(run.study, run.data, trains, repeat, fold, None)
    learned = learned_part(model, train)
    if learned is None:
        return None
    spec = network_spec(learned, run.study)
    single = replace(spec, options=replace(spec.options, members=1))
    seen: list[tuple[float, float, float]] = []
    names, policy, test = learned.modalities or (), block_policy(learned), run.data.take(is_test)
    if policy is not None:
        filling, train = filled_fold(train, names, policy, read=names)
        test = filling.fill(test)
    fit_network(train, names, single, watch=partial(_see, run, test, (repeat, fold), seen))
    inner, tested, measured = np.array(seen).T
    if np.isnan(measured).all():
        return None
    sign = 1.0 if _higher(run) else -1.0
    chosen, best = int(inner.argmin()), int(np.nanargmax(sign * measured))
    return {
        "epochs": len(seen),
        "chosen_epoch": chosen,
        "best_epoch": best,
        "chosen": measured[chosen],
        "best": measured[best],
        "optimism": sign * (measured[best] - measured[chosen]),
        "same_loss": bool(np.allclose(inner, tested, rtol=_SAME, atol=0.0)),
    }


def _higher(run: Audited) -> bool:
    return bool(run.metrics.loc[run.metrics["metric"] == run.metric, "higher_is_better"].iloc[0])


def _see(
    run: Audited,
    test: Dataset,
    where: tuple[int, int],
    seen: list[tuple[float, float, float]],
    epoch: int,
    loss: float,
    network: FittedNetwork,
) -> None:
    """Note an epoch's loss on inner rows, its loss on the test fold, and the main measure there."""
    scores = network.predict(test)
    known = ~np.isnan(scores).any(axis=1)
    rows = run.predictions.drop_duplicates("patient_id").set_index("patient_id", drop=False).loc[test.patient_ids[known]]
    frame = rows.reset_index(drop=True).assign(model="network", repeat=where[0], fold=where[1])
    table = check_predictions(frame.assign(**score_columns(run.endpoint, scores[known])), run.endpoint)
    metric = next(m for m in metrics_of(table, {}) if m.name == run.metric)
    value = float(metric.build(table.of("network"))(np.ones((1, int(known.sum()))))[0])
    seen.append((loss, network.loss(test), value))

"""The result tables of a study, from its prediction table: how good each model is, against which other, for whom.

Every number comes with patients, events and an interval over patients, or with a note that says why there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import unknown_name
from oncoweave.evaluate.acting import DECISION, RECLASSIFICATION, decision_table, operating_table, reclassification_table
from oncoweave.evaluate.certainty import certainty_table, novelty_table
from oncoweave.evaluate.comparisons import Compared, comparison_table, share_patients
from oncoweave.evaluate.displays import calibration_table, distribution_table, km_tables
from oncoweave.evaluate.inputs import check_level
from oncoweave.evaluate.measure import Measured, Resamples, count, draw, measure
from oncoweave.evaluate.metrics import ALL_PAIRS, MAIN, Metric, metrics_of
from oncoweave.evaluate.tables import PredictionTable, check_predictions
from oncoweave.evaluate.training_outcomes import Curves, Prevalence, training_curves

MIN_PATIENTS = 10
MIN_EVENTS = 5
"""Groups with fewer patients or events are listed without a value."""

ROLES = ("baseline", "single", "fusion", "null", "ablation")
"""What a model of a study may be."""

_BY_GROUP = ("site", "pattern")
_UNKNOWN = "unknown"
COMPLETE = "complete"
"""Grouping of all patients into those who have every modality and those who lack something."""
EVERY, SOME = "every modality", "lacks something"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class SummaryOptions:
    """How results are summarised."""

    references: tuple[str, ...] = ()
    """Models that every other model is compared with."""
    pair: tuple[str, str] | None = None
    """The main model and the reference, whose decisions are held against each other."""
    replicates: int = 1000
    level: float = 0.95
    bins: int = 5
    """Calibration bins."""
    attributes: pd.DataFrame | None = None
    """Further groupings, such as age group and sex: a column each, indexed by ``patient_id``; missing counts as unknown."""
    trained: Mapping[tuple[int, int], int] | None = None
    """How many patients trained for each (repeat, fold); by default those whom the same repeat tests in its other folds."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Summary:
    """Result tables by name; the fields are the names of the files of a run folder.

    - ``metrics``: model, role, metric, value, low, high, n, events, fold_mean, fold_sd, higher_is_better, note; for
      the method of each interval see ``metrics.Metric``
    - ``comparisons``: model, reference, metric, difference (model minus reference), low, high, p, p_adjusted (Holm, over all
      comparisons of a metric and method), q (Benjamini and Hochberg, over the same), method, detectable (see ``comparisons``), n,
      events, note
    - ``groups``: model, grouping, group, metric, value, low, high, n, events, note
    - ``calibration``: model, horizon, bin, predicted, observed, low, high, n
    - ``km``: model, group, time, survival, low, high, at_risk
    - ``km_summary``: model, logrank_p, hazard_ratio, hr_low, hr_high, rmst_until, rmst_difference, rmst_low, rmst_high, rmst_p,
      n, events, note
    - ``distribution`` (D-calibration): model, bins, statistic, p, n, events, note
    - ``operating``, ``decision``, ``reclassification``: see ``acting``; the last two are of the ``pair`` of the options
    - ``certainty``, ``novelty``: see ``certainty``
    """

    metrics: pd.DataFrame
    comparisons: pd.DataFrame
    groups: pd.DataFrame
    calibration: pd.DataFrame
    km: pd.DataFrame
    km_summary: pd.DataFrame
    distribution: pd.DataFrame
    operating: pd.DataFrame
    decision: pd.DataFrame
    reclassification: pd.DataFrame
    certainty: pd.DataFrame
    novelty: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Give the tables by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Study:
    table: PredictionTable
    roles: Mapping[str, str]
    metrics: list[Metric]
    resamples: Resamples
    trained: Mapping[tuple[int, int], int] | None = None
    measured: dict[str, dict[str, Measured]] = field(default_factory=dict)

    @property
    def main(self) -> list[Metric]:
        return [m for m in self.metrics if m.name in MAIN[self.table.endpoint.kind]]

    @property
    def compared(self) -> Compared:
        return Compared(
            table=self.table,
            models=tuple(self.models("ablation", "null")),
            metrics=tuple(self.main),
            measured=self.measured,
            resamples=self.resamples,
            trained=self.trained,
        )

    def models(self, *left_out: str) -> list[str]:
        return [m for m in self.table.models if self.roles[m] not in left_out]


def summarise(
    predictions: pd.DataFrame | PredictionTable,
    endpoint: Endpoint,
    *,
    roles: Mapping[str, str],
    generator: np.random.Generator,
    options: SummaryOptions | None = None,
    train_censoring: Curves | None = None,
    train_prevalence: Prevalence | None = None,
) -> Summary:
    """Summarise the predictions of a study.

    Rankings compare patients within a fold only. All models share one set of bootstrap draws of patients. Ablations have metrics
    only; permuted models are not compared. The weights of survival metrics come from ``train_censoring``, one curve a
    (repeat, fold), by default fitted on the patients of the other folds of the same repeat.

    Args:
        predictions: the prediction table; see ``tables``.
        endpoint: what is predicted.
        roles: role of each model: baseline, single, fusion, null or ablation.
        generator: draws the bootstrap.
        options: references, replicates, level, bins.
        train_censoring: censoring of the training patients, where the table cannot tell.
        train_prevalence: share of positive training patients of a binary endpoint, by default that of the other folds.

    Raises:
        DataError: the table is not as the schema says.
        UnknownNameError: a model without a role, a role that there is not, or a reference that is not among the models.
    """
    options = options or SummaryOptions()
    table = predictions if isinstance(predictions, PredictionTable) else check_predictions(predictions, endpoint)
    for model in table.models:
        if model not in roles:
            raise unknown_name("role of a model", model, roles)
        if roles[model] not in ROLES:
            raise unknown_name(f"role (of model {model!r})", roles[model], ROLES)
    check_level(options.level)
    for reference in (*options.references, *(options.pair or ())):
        if reference not in table.models:
            raise unknown_name("reference model", reference, table.models)
    survival = endpoint.kind == "survival"
    curves = train_censoring if train_censoring is not None else training_curves(table) if survival else {}
    resamples = draw(table, replicates=options.replicates, level=options.level, generator=generator)
    study = _Study(
        table=table,
        roles=roles,
        metrics=metrics_of(table, curves, train_prevalence),
        resamples=resamples,
        trained=options.trained,
    )
    for model in table.models:
        study.measured[model] = measure(table.of(model), study.metrics, endpoint, resamples)
    shown = study.models("ablation")
    km, km_summary = km_tables(table, shown, level=options.level)
    main, reference = options.pair if options.pair is not None else ("", "")
    differ = main != reference and share_patients(table, main, reference)
    return Summary(
        metrics=_metrics(study),
        comparisons=comparison_table(study.compared, options.references),
        groups=_groups(study, options.attributes),
        calibration=calibration_table(table, shown, bins=options.bins, level=options.level),
        km=km,
        km_summary=km_summary,
        distribution=distribution_table(table, shown),
        operating=operating_table(
            table,
            shown,
            reference=reference if differ else None,
            together=study.models("ablation", "null"),
            level=options.level,
        ),
        decision=decision_table(table, resamples, main=main, reference=reference) if differ else pd.DataFrame(columns=DECISION),
        reclassification=reclassification_table(table, resamples, main=main, reference=reference, curves=curves)
        if differ
        else pd.DataFrame(columns=RECLASSIFICATION),
        certainty=certainty_table(table, shown),
        novelty=novelty_table(table, shown),
    )


def _metrics(study: _Study) -> pd.DataFrame:
    rows = []
    for model, measured in study.measured.items():
        for name, result in measured.items():
            interval = result.interval
            folds = result.folds[~np.isnan(result.folds)]
            row = {
                "model": model,
                "role": study.roles[model],
                "metric": name,
                "value": result.value,
                "low": interval.low,
                "high": interval.high,
                "n": result.n,
                "events": result.events,
                "fold_mean": folds.mean() if len(folds) else float("nan"),
                "fold_sd": folds.std(ddof=1) if len(folds) > 1 else float("nan"),
                "higher_is_better": result.metric.higher_is_better,
                "note": result.note,
            }
            rows.append(row)
    return _frame(rows)


def _groups(study: _Study, attributes: pd.DataFrame | None) -> pd.DataFrame:
    columns = ["model", "grouping", "group", "metric", "value", "low", "high", "n", "events", "note"]
    rows = []
    for model in study.models("ablation"):
        of_model = study.table.of(model)
        further = {} if attributes is None else {str(c): of_model["patient_id"].map(attributes[c]) for c in attributes}
        for grouping, column in {**{name: of_model[name] for name in _BY_GROUP}, **further}.items():
            names = column.astype("string").fillna(_UNKNOWN)
            for group in sorted(names.unique()):
                rows += _group(study, of_model[names == group].reset_index(drop=True), model, grouping, group)
        for group, inside in _pooled(study, of_model).items():
            rows += _group(study, of_model[inside].reset_index(drop=True), model, COMPLETE, group)
    return _frame(rows, columns)


def _pooled(study: _Study, of_model: pd.DataFrame) -> dict[str, np.ndarray]:
    """Part patients by whether they lack anything, and by each modality that they lack: single patterns are often too small."""
    parts = study.table.frame["pattern"].astype(str).str.split("+")
    every = sorted({name for held in parts for name in held if name})
    held = of_model["pattern"].astype(str).str.split("+")
    lacks = {f"lacks {name}": np.array([name not in h for h in held], dtype=bool) for name in every}
    some = np.logical_or.reduce([np.zeros(len(of_model), dtype=bool), *lacks.values()])
    return {group: rows for group, rows in {EVERY: ~some, SOME: some, **lacks}.items() if rows.any()}


def _group(study: _Study, inside: pd.DataFrame, model: str, grouping: str, group: str) -> list[dict[str, object]]:
    n, events, _ = count(inside, study.table.endpoint)
    small = f"fewer than {MIN_PATIENTS} patients" if n < MIN_PATIENTS else ""
    if events is not None and events < MIN_EVENTS:
        small = small or f"fewer than {MIN_EVENTS} events"
    shown = [m for m in study.metrics if m.name.removesuffix(ALL_PAIRS) in MAIN[study.table.endpoint.kind]]
    measured = {} if small else measure(inside, shown, study.table.endpoint, study.resamples)
    rows = []
    for metric in shown:
        row: dict[str, object] = {"model": model, "grouping": grouping, "group": group, "metric": metric.name}
        result = measured.get(metric.name)
        if result is None:
            row |= {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": n, "events": events, "note": small}
        else:
            interval = result.interval
            row |= {
                "value": result.value,
                "low": interval.low,
                "high": interval.high,
                "n": result.n,
                "events": result.events,
                "note": result.note,
            }
        rows.append(row)
    return rows


def _frame(rows: list[dict[str, object]], columns: list[str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({c: "Int64" for c in ("n", "events") if c in frame.columns})

"""What models that must know nothing reach: trained on permuted outcomes, on the hospital alone, on what is missing alone."""

import numpy as np
import pandas as pd

from oncoweave.data.splits import inner_splits
from oncoweave.evaluate.metrics import metrics_of
from oncoweave.evaluate.permuted import ENOUGH, null_of
from oncoweave.evaluate.pooling import PERSON, STRATUM
from oncoweave.evaluate.summary import SummaryOptions, summarise
from oncoweave.evaluate.tables import check_predictions
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable
from oncoweave.train.heads import fit_head
from oncoweave.train.locked import score_columns
from oncoweave.train.panel import SITE_ONLY

MISSING_ONLY = "missing_only"
_PERMUTATIONS = 39
"""Of hospitals among patients; a score that none of them reaches comes by luck once in forty studies."""
_FEW = 1000
"""Patients up to whom hospitals are dealt out by lot; with more it takes minutes, and the interval decides."""
_ROUNDING = 1e-9
"""Shares of values that differ by less are equal."""
_LEVEL = 0.99
"""Of the interval that has to leave out chance: in a run without the fault it does so once in 200 (one side)."""


def audit_null(run: Audited) -> Audit:
    """The main model, trained on permuted outcomes, scores as chance does; too few such runs to show a fault judge nothing."""
    name, wanted = "permuted outcomes not at chance", f"ask for {ENOUGH} or more (protocol.permutations)"
    null = null_of(run.metrics, run.metric, num_folds=len(run.folds()))
    if null is None:
        return not_applicable(name, f"No model was trained on permuted outcomes; {wanted}.")
    evidence = (
        f"The main model, trained on permuted outcomes in {null.runs} run(s), has a mean {run.metric.replace('_', '-')} of"
        f" {null.mean:.3f} ({null.low:.3f} to {null.high:.3f}); chance is {run.chance:g}."
    )
    if not null.enough:
        return not_applicable(name, f"{evidence} So few runs cannot show a fault: {wanted}.")
    return judged(name, fault=null.low > run.chance, evidence=evidence, n=len(run.data))


def audit_site_only(run: Audited) -> Audit:
    """The hospital alone tells nothing of the outcome, or the split keeps hospitals apart."""
    name = "hospital predicts the outcome"
    table = run.metrics if run.site_audit is None else run.site_audit
    rows = table[(table["metric"] == run.metric) & table["model"].str.startswith(SITE_ONLY)]
    if rows.empty or np.isnan(rows["value"].iloc[0]):
        return not_applicable(name, "The cohort names fewer than two hospitals, or the baseline could not be measured.")
    row, how = rows.iloc[0], run.how_split
    if np.isnan(row["low"]):
        return not_applicable(name, f"The hospital alone scores {run.figure(row)}, which cannot be judged: {row['note']}.")
    carries = bool(row["low"] > run.chance)
    # Folds that train on the same patients err together, which no interval over patients sees: an interval is no proof.
    small = len(run.data) <= _FEW
    lucky = carries and not how.apart and small and _by_luck(run)
    if not carries:
        meaning = "no more than chance"
    elif lucky:
        meaning = f"hospitals dealt out to patients by lot ({_PERMUTATIONS} times at most) score as much, so it may be luck"
    elif how.apart:
        meaning = "the split keeps hospitals apart, so no figure gains by it"
    else:
        lots = f"none of {_PERMUTATIONS} lots that deal hospitals out to patients scores as much; " if small else ""
        meaning = (
            f"{lots}{how.crossing} of {how.sites} hospitals stand on both sides of the split, and any model that can tell"
            " hospitals apart gets this for nothing; group the split by site"
        )
    under = "this run's split" if run.site_audit is None else "a split by patient"
    evidence = f"Under {under} the hospital alone scores {run.figure(row)}: {meaning}."
    return judged(name, fault=carries and not how.apart and not lucky, evidence=evidence, n=int(row["n"]))


def audit_missingness(run: Audited) -> Audit:
    """What was measured of a patient, without the values, tells nothing of the outcome; on the study's own folds."""
    name, columns = "missingness predicts the outcome", _gaps(run)
    if not columns.shape[1]:
        return not_applicable(name, "Every patient has the same modalities and values.")
    options = SummaryOptions(replicates=max(run.study.protocol.bootstrap, 1000), level=_LEVEL)
    rng = np.random.default_rng([run.study.protocol.seed, 6])
    grouped = bool(run.study.protocol.group_by_site)
    table = _predicted(run, columns, MISSING_ONLY, folds=run.folds(), by_site=grouped)
    metrics = summarise(table, run.endpoint, roles={MISSING_ONLY: "baseline"}, generator=rng, options=options).metrics
    row = metrics[metrics["metric"] == run.metric].iloc[0]
    columns_said = f"{columns.shape[1]} indicators" if columns.shape[1] > 1 else "one indicator"
    evidence = (
        f"A model of {columns_said} of what was measured, without any value, scores {run.figure(row)}"
        f" ({_LEVEL:.0%} interval); chance is {run.chance:g}."
    )
    if np.isnan(row["low"]):
        return not_applicable(name, f"{evidence} This cannot be judged: {row['note']}.")
    return judged(name, fault=bool(row["low"] > run.chance), evidence=evidence, n=int(row["n"]))


def _by_luck(run: Audited) -> bool:
    """Whether the hospital alone scores as much where hospitals are dealt out to patients by lot, on the first repeat's folds.

    Hospitals change hands within strata, and a person's rows share one. The lots end with the first that scores as much.
    """
    first = [found for found in run.folds() if found[0] == run.folds()[0][0]]
    names, code = np.unique(run.data.site.astype(str), return_inverse=True)

    def score(hospital: np.ndarray) -> float:
        table = _predicted(run, np.eye(len(names))[hospital], SITE_ONLY, folds=first, by_site=False)
        metric = next(m for m in metrics_of(check_predictions(table, run.endpoint), {}) if m.name == run.metric)
        return float(metric.build(table)(np.ones((1, len(table)), dtype=np.float32))[0])

    found, rng = score(code), np.random.default_rng([run.study.protocol.seed, 7])
    return any(not score(_dealt(run, code, rng)) < found for _ in range(_PERMUTATIONS))


def _dealt(run: Audited, code: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Permute the hospitals of persons within their strata; ``Int[n]``."""
    ids = run.data.patient_ids if run.data.person is None else run.data.person
    _, row, of_row = np.unique(ids.astype(str), return_index=True, return_inverse=True)
    within = np.zeros(len(row)) if STRATUM not in run.predictions else _stratum(run)[row]
    dealt = code[row]
    for stratum in np.unique(within):
        members = np.flatnonzero(within == stratum)
        dealt[members] = rng.permutation(dealt[members])
    return dealt[of_row]


def _stratum(run: Audited) -> np.ndarray:
    known = run.predictions.drop_duplicates("patient_id").set_index("patient_id")[STRATUM]
    return known.reindex(run.data.patient_ids).astype(str).to_numpy()


def _predicted(
    run: Audited, columns: np.ndarray, model: str, *, folds: list[tuple[int, int, np.ndarray]], by_site: bool
) -> pd.DataFrame:
    """Cross-validate a linear model of columns ``Float[n, column]`` on some of the study's folds; its predictions.

    With ``by_site``, inner folds keep hospitals apart.
    """
    frames = []
    for repeat, fold, is_test in folds:
        train, target = run.trains(repeat, fold), run.data.outcome
        rows = np.flatnonzero(train & target.known)
        protocol = run.study.protocol
        together, grouped = run.data.kept_together(by_site=by_site)
        inner = inner_splits(
            target.take(rows), together[rows], folds=protocol.inner_folds, group_by_site=grouped, seed=protocol.seed
        )
        centre = columns[rows].mean(axis=0)
        head, _ = fit_head(columns[rows] - centre, target.take(rows), inner=inner, blocks=None)
        tested = np.flatnonzero(is_test)
        scores = score_columns(run.endpoint, head.predict(columns[tested] - centre))
        frames.append(_truth(run, tested).assign(model=model, **scores, repeat=repeat, fold=fold))
    table = pd.concat(frames, ignore_index=True)
    return table.assign(high_risk=np.nan) if run.endpoint.kind == "survival" else table


def _gaps(run: Audited) -> np.ndarray:
    """``Float[n, indicator]``: who has each modality, and the share of its values that each patient has; none is constant."""
    columns = [run.data.availability.astype(float)]
    for table in run.studied.tables.values():
        values = table.drop(columns=["patient_id", "sample_id"])
        share = values.notna().groupby(table["patient_id"].to_numpy()).mean().mean(axis=1)
        columns.append(share.reindex(run.data.patient_ids).fillna(0.0).to_numpy()[:, None])
    return _varying(np.hstack(columns))


def _varying(joined: np.ndarray) -> np.ndarray:
    """Keep the columns that vary by more than rounding, each over its standard deviation."""
    varies = np.ptp(joined, axis=0) > _ROUNDING
    return joined[:, varies] / joined[:, varies].std(axis=0)


def _truth(run: Audited, rows: np.ndarray) -> pd.DataFrame:
    """Look up what the run's predictions hold of the same patients: outcome, site, person, stratum."""
    fixed = ("patient_id", "site", "pattern", "time", "event", "y", PERSON, STRATUM)
    truth = [c for c in run.predictions.columns if c in fixed or c.startswith("y@")]
    known = run.predictions.drop_duplicates("patient_id").set_index("patient_id", drop=False)[truth]
    return known.loc[run.data.patient_ids[rows]].reset_index(drop=True)

"""What a run can say of itself, a sentence or two a fact; what only a person can say is marked as such.

Nothing is said that the run's own tables do not show: each sentence depends on the endpoint, the splits and the models there are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from oncoweave.core import shelf
from oncoweave.core.endpoint import Endpoint
from oncoweave.data.how_split import HowSplit, hospital_words, scheme_words
from oncoweave.evaluate.metrics import MAIN
from oncoweave.train.dataset import Dataset
from oncoweave.train.panel import SITE_ONLY
from oncoweave.train.policies import MASK
from oncoweave.train.study import ModelSpec, Study

PERSON = "to be written by a person"
_WITHOUT_SETS = ("survival", "multilabel")
"""Kinds of endpoint for which no prediction set or interval is made (see ``train.certainty``)."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Facts:
    """What a run knows of itself."""

    study: Study
    data: Dataset
    """The patients admitted."""
    flow: list[dict[str, object]]
    metrics: pd.DataFrame
    groups: pd.DataFrame
    audits: pd.DataFrame
    splits: pd.DataFrame
    how: HowSplit
    """These splits, counted."""
    commit: str

    @property
    def endpoint(self) -> Endpoint:
        """What is predicted."""
        return self.data.outcome.endpoint

    @property
    def main(self) -> ModelSpec:
        """The model the study is about."""
        return next(m for m in self.study.models or () if m.name == self.study.main)

    @property
    def has_site_model(self) -> bool:
        """Whether the hospital alone was fitted as a baseline."""
        return bool((self.metrics["model"] == SITE_ONLY).any())

    @property
    def groupings(self) -> list[str]:
        """What performance was told apart by: groupings of two groups or more."""
        of_main = self.groups[self.groups["model"] == self.study.main]
        counts = of_main.groupby("grouping", sort=False)["group"].nunique()
        return [str(name) for name in counts.index[counts > 1]]


def said_of(facts: Facts) -> dict[str, str]:
    """Say each fact in a sentence or two."""
    return {**_of_data(facts), **_of_making(facts), **_of_results(facts)}


def _of_data(facts: Facts) -> dict[str, str]:
    protocol, endpoint, how = facts.study.protocol, facts.endpoint, facts.how
    read = ", ".join(f"{m} ({facts.data.kinds[m]})" for m in facts.main.modalities or ())
    rest = [m for m in facts.data.kinds if m not in (facts.main.modalities or ())]
    size = f"{len(facts.data)} patients were analysed{_events(facts, np.ones(len(facts.data), dtype=bool))}"
    if how.tested < how.patients:
        rows = np.isin(facts.data.patient_ids, facts.splits.loc[facts.splits["fold"] >= 0, "patient_id"].to_numpy(dtype=object))
        size += f"; {how.tested} of them were tested{_events(facts, rows)}, the others only trained"
    unknown = f"; the centre of {how.without_site} patients is not known" if how.without_site else ""
    horizons = (
        f"; horizons: {', '.join(f'{h:g}' for h in protocol.horizons or ()) or 'none'}" if endpoint.kind == "survival" else ""
    )
    return {
        "sites": f"{how.sites} centre(s) are recorded{unknown}; places and setting are {PERSON}.",
        "outcome": f"{endpoint.name} ({endpoint.kind}{', in ' + endpoint.time_unit if endpoint.time_unit else ''}){horizons}."
        f" Why these is {PERSON}.",
        "predictors": f"What {facts.study.main} reads: {read}."
        f"{' Read by other models only: ' + ', '.join(rest) + '.' if rest else ''} Why these is {PERSON}.",
        "size": f"{size}. Nothing shows how the number was planned; that is {PERSON}.",
        "flow": "; ".join(_step(step) for step in facts.flow),
    }


def _of_making(facts: Facts) -> dict[str, str]:
    study, how = facts.study, facts.how
    published = " (splits given as a table, used as they are)" if study.protocol.splits else ""
    starts = sorted({m.name for m in study.models or () if m.weights})
    brought = f" Weights that {', '.join(starts)} started from were brought along and not learned here." if starts else ""
    alone = [f"{m} alone" for m in study.modalities or ()]
    baselines = ", ".join([*(["the hospital only"] if facts.has_site_model else []), *alone])
    return {
        "aim": f"Development with internal validation; its model, {study.main}, was named before anything was fitted.",
        "preparation": "Imputation, scaling and selection were learned on training patients only, for each fold anew.",
        "missing": _missing_words(facts),
        "split": f"{_capital(scheme_words(how))}{published}; at most {study.protocol.inner_folds} inner folds;"
        f" {hospital_words(how)}.",
        "models": f"Models compared: {', '.join(f'{m.name} ({m.fusion})' for m in study.models or ())}; beside them: {baselines}."
        f"{brought} Settings are in study.yaml.",
        "recalibration": _recalibration_words(facts),
        "prediction": "Tested patients were predicted by models that had not seen them; whoever has no modality of a model has no"
        " prediction by it (predictions.parquet).",
        "code": f"oncoweave, commit {facts.commit or 'not recorded'}; the run's own code beyond it is {PERSON}.",
        "model": f"models/{study.main}.safetensors, fitted on all {len(facts.data)} patients; hashes in manifest.json.",
        "output": _output_words(facts.endpoint.kind),
    }


def _of_results(facts: Facts) -> dict[str, str]:
    study, kind = facts.study, facts.endpoint.kind
    rows = facts.metrics[(facts.metrics["model"] == study.main) & (facts.metrics["role"] != "ablation")]
    measured = "; ".join(f"{r['metric']} {interval_words(r)}" for _, r in rows.iterrows())
    groupings = ", ".join(facts.groupings)
    told = f"Performance was told apart by: {groupings}" if groupings else "All patients are of one group, so none was told apart"
    drawn = "patients" if study.person is None else f"persons ({study.person}; a row is a specimen)"
    within = "" if study.stratum is None else f", ranked within {study.stratum} (over all pairs beside it)"
    benefit = "; net benefit over thresholds is in decision.parquet" if kind in ("binary", "survival") else ""
    covered = "" if kind in _WITHOUT_SETS else "; coverage of prediction sets or intervals is in certainty.parquet"
    subgroups = f" Subgroups ({groupings}) with n and intervals: groups.parquet." if groupings else ""
    return {
        "clusters": _cluster_words(facts),
        "measures": f"Main measure: {MAIN[kind][0]}{within}; all, with 95% intervals of {study.protocol.bootstrap} bootstraps of"
        f" {drawn}, are in metrics.parquet{benefit}{covered}. Why these is {PERSON}.",
        "fairness": f"{told}. What was done beyond that is {PERSON}.",
        "performance": f"{study.main}: {measured}.{subgroups}",
        "audits": f"{_audit_words(facts.audits)} Anything else is {PERSON}.",
    }


def _audit_words(audits: pd.DataFrame) -> str:
    failed = audits.loc[audits["verdict"] == "failed", "audit"].tolist()
    judged = int((audits["verdict"] != "not applicable").sum())
    rest = len(audits) - judged
    named = f" ({', '.join(failed)})" if failed else ""
    not_judged = f"; {rest} more were not applicable" if rest else ""
    return f"{len(failed)} of {judged} audits that could be made failed{named}{not_judged} (audits.parquet)."


def _cluster_words(facts: Facts) -> str:
    names = {"site": "centre", "pattern": "combination of modalities"}
    there = [words for name, words in names.items() if name in facts.groupings]
    told = (
        f"Performance by {' and by '.join(there)} is in groups.parquet"
        if there
        else "Centres or clusters could not be told apart"
    )
    if facts.has_site_model and facts.how.apart:
        told += "; site_audit.parquet says what the centre alone would score under a split by patient"
    elif facts.has_site_model:
        told += f"; what the centre alone scores is in metrics.parquet ({SITE_ONLY})"
    return f"{told}."


def _missing_words(facts: Facts) -> str:
    has = facts.data.availability
    lacking = int((~has.all(axis=1)).sum())
    within = (
        "In columns, a value that was not measured is imputed from training patients, in records with an indicator; networks that"
        " read values one by one leave it out."
    )
    if not lacking:
        return f"{within} Every patient has every modality of the study; {_absent_words(facts.main)}"
    counted = f"{lacking} of {len(has)} patients lack one or more of the study's modalities"
    return (
        f"{within} {counted}, in {len(set(facts.data.patterns))} combinations (missingness.parquet); {_absent_words(facts.main)}"
    )


def _absent_words(main: ModelSpec) -> str:
    """What stands in the main model for a modality that a patient lacks."""
    if main.missing not in (None, MASK):
        does = next(entry.summary for entry in shelf.catalogue("missingness") if entry.name == main.missing)
        return f"in {main.name} the policy {main.missing} stands in for one that is absent: {does}"
    if main.fusion in ("concat", "pca"):
        how = "the columns of an absent one stand at the training mean"
    else:
        how = (
            "the models of those that are there are combined" if main.stage == "late" else "the fusion does without an absent one"
        )
    return f"in {main.name} ({main.stage} fusion) {how}."


def _recalibration_words(facts: Facts) -> str:
    what = {"survival": "Predicted survival is", "regression": "Predicted values are"}.get(
        facts.endpoint.kind, "Predicted probabilities are"
    )
    how = f"on out-of-fold scores of training patients ({facts.study.recalibration})"
    return f"{what} recalibrated {how}; there was no other updating."


def _output_words(kind: str) -> str:
    flagged = "Patients unlike those of training are flagged, where a modality has enough of them to tell."
    if kind == "survival":
        return f"A log-risk, survival at the horizons, and high risk above the median of the training patients. {flagged}"
    if kind == "regression":
        return f"A value, with an interval that is to hold 90% of patients. {flagged}"
    if kind == "multilabel":
        return f"A probability a label; no cut-offs were chosen. {flagged}"
    sets = "A probability a class, with a set of classes that is to hold the true one of 90%."
    cutoffs = " Cut-offs: .90 and .95 sensitivity or specificity on out-of-fold scores of training patients."
    return f"{sets}{cutoffs * (kind == 'binary')} {flagged}"


def _events(facts: Facts, rows: np.ndarray) -> str:
    if facts.endpoint.kind == "survival":
        return f", {int(facts.data.outcome.event[rows].sum())} with the event"
    return f", {int(np.nansum(facts.data.outcome.values[rows]))} positive" if facts.endpoint.kind == "binary" else ""


def _step(step: dict[str, object]) -> str:
    events = "" if step.get("events") is None else f", {step['events']} events"
    reason = f" ({step['reason']})" if step.get("reason") else ""
    return f"{step['step']}: {step['patients']} patients{events}{reason}"


def interval_words(row: pd.Series) -> str:
    """Write a value with its interval and number of patients."""
    return (
        "not defined" if pd.isna(row["value"]) else f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}, n = {row['n']})"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

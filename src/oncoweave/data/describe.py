"""A cohort at a glance: modalities, outcomes, and who lacks what."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Target
from oncoweave.data.audit import readable_targets
from oncoweave.data.cohort import Cohort

NOTHING = "(none)"
"""Pattern of a patient without any modality."""
MOST_SUBSETS = 12
"""All subsets are listed up to this many modalities (4,096 subsets)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What a cohort holds, as tables."""

    name: str
    num_patients: int
    num_sites: int
    modalities: pd.DataFrame
    """name, kind, patients, samples, columns, missing (share of values not measured among those who have the modality)."""
    endpoints: pd.DataFrame
    """name, kind, known, summary."""
    patterns: pd.DataFrame
    """See :func:`missingness`."""
    endpoint: str | None
    """The endpoint whose events the patterns count."""


def describe(cohort: Cohort, *, endpoint: str | None = None, subsets: bool = False) -> Description:
    """Describe a cohort; ``endpoint`` is the one whose events are counted by pattern, the first when not given."""
    chosen = endpoint or next(iter(readable_targets(cohort)), None)
    return Description(
        name=cohort.name,
        num_patients=len(cohort),
        num_sites=int(cohort.site.nunique()),
        modalities=_modalities(cohort),
        endpoints=_endpoints(cohort),
        patterns=missingness(cohort, endpoint=chosen, subsets=subsets),
        endpoint=chosen,
    )


def patterns(cohort: Cohort) -> pd.Series:
    """Name each patient's pattern: the modalities present, in the cohort's order, joined by ``+``."""
    available = cohort.availability()
    names = np.array(available.columns, dtype=object)
    named = ["+".join(names[row]) or NOTHING for row in available.to_numpy(dtype=bool)]
    return pd.Series(named, index=available.index, name="pattern", dtype=object)


def missingness(cohort: Cohort, *, endpoint: str | None = None, subsets: bool = False) -> pd.DataFrame:
    """Count patients and events by subset of modalities.

    One row a subset that occurs, or with ``subsets`` each of the 2^M: ``pattern``, a bool ``has <name>`` a modality, ``n`` and
    ``events`` of the patients with exactly this subset, their ``share``, and ``n_at_least`` and ``events_at_least`` of those who
    have it and maybe more, which is who could be studied with these modalities and no imputation. Events are those of the
    endpoint: 1 of binary and survival, otherwise patients whose outcome is known; missing (NA) without an endpoint.
    """
    available = cohort.availability()
    has = available.to_numpy(dtype=bool).reshape(len(cohort), -1)
    events = np.zeros(len(cohort), dtype=int) if endpoint is None else _happened(cohort.target(endpoint)).astype(int)
    rows = np.unique(has, axis=0)
    if subsets and has.shape[1] <= MOST_SUBSETS:
        rows = np.array(list(product((False, True), repeat=has.shape[1])), dtype=bool).reshape(-1, has.shape[1])
    names = np.array(available.columns, dtype=object)
    counted = []
    for row in rows:
        exactly, at_least = (has == row).all(axis=1), has[:, row].all(axis=1)
        counted.append(
            {
                "pattern": "+".join(names[row]) or NOTHING,
                **{f"has {name}": bool(there) for name, there in zip(names, row, strict=True)},
                "n": int(exactly.sum()),
                "events": int(events[exactly].sum()),
                "share": float(exactly.mean()),
                "n_at_least": int(at_least.sum()),
                "events_at_least": int(events[at_least].sum()),
            }
        )
    table = pd.DataFrame(counted)
    if endpoint is None:
        table[["events", "events_at_least"]] = pd.NA
    order = np.lexsort((-rows.sum(axis=1), -table["n"].to_numpy()))
    return table.iloc[order].reset_index(drop=True)


def median_follow_up(target: Target) -> float:
    """Median follow-up by the reverse Kaplan-Meier estimate, in which censoring is the event (Schemper and Smith 1996).

    Where a death and a censoring stand at one time, the death is taken out of the risk set first. Infinite when half the patients
    were never censored.
    """
    known = target.known
    time, censored = target.time[known], ~target.event[known]
    order = np.lexsort((censored, time))
    time, censored = time[order], censored[order]
    at_risk = len(time) - np.arange(len(time))
    staying = np.cumprod(1 - censored / at_risk)
    below = np.flatnonzero(staying <= 0.5 + 1e-12)
    return float(time[below[0]]) if len(below) else float("inf")


def _happened(target: Target) -> np.ndarray:
    if target.endpoint.kind == "survival":
        return target.known & (target.values[:, 1] > 0.5)
    return target.values == 1 if target.endpoint.kind == "binary" else target.known


def _modalities(cohort: Cohort) -> pd.DataFrame:
    rows = []
    for name, table in cohort.tables.items():
        values = table.drop(columns=["patient_id", "sample_id"])
        rows.append(
            {
                "name": name,
                "kind": cohort.modalities[name].kind,
                "patients": int(table["patient_id"].nunique()),
                "samples": len(table),
                "columns": len(values.columns),
                "missing": float(values.isna().to_numpy().mean()) if values.size else 0.0,
            }
        )
    return pd.DataFrame(rows, columns=["name", "kind", "patients", "samples", "columns", "missing"])


def _endpoints(cohort: Cohort) -> pd.DataFrame:
    rows, targets = [], readable_targets(cohort)
    for name, endpoint in cohort.endpoints.items():
        target = targets.get(name)
        known, summary = (
            (0, "cannot be read, see oncoweave cohort check") if target is None else (int(target.known.sum()), _summary(target))
        )
        rows.append({"name": name, "kind": endpoint.kind, "known": known, "summary": summary})
    return pd.DataFrame(rows, columns=["name", "kind", "known", "summary"])


def _summary(target: Target) -> str:
    endpoint, known = target.endpoint, target.known
    values = target.values[known]
    if not len(values):
        return "known for nobody"
    if endpoint.kind == "survival":
        middle = median_follow_up(target)
        shown = f"{middle:,.0f} {endpoint.time_unit}" if np.isfinite(middle) else "not reached"
        return f"{int(target.event[known].sum()):,} events, median follow-up {shown}"
    if endpoint.kind == "regression":
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        return f"median {middle:.3g}, quartiles {low:.3g} to {high:.3g}"
    if endpoint.kind == "multilabel":
        positive = [
            f"{label} {int(np.nansum(column)):,}/{int((~np.isnan(column)).sum()):,}"
            for label, column in zip(endpoint.classes, values.T, strict=True)
        ]
        return ", ".join(positive)
    classes = endpoint.classes or ("0", "1")
    return ", ".join(f"{name} {int((values == i).sum()):,}" for i, name in enumerate(classes))

"""Was a modality measured in one way? Encoders, resolutions, scanners and batches, and whether they go with the outcome."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from oncoweave.core.endpoint import Target
from oncoweave.data.columns import ID_COLUMNS
from oncoweave.evaluate.curves import logrank
from oncoweave.modalities import slide
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable

_BATCH = re.compile(
    r"(?:^|_)(?:batch|scanner|plate|platform|sequencer|vendor|manufacturer|stainer|chip|flow_?cell|kit)(?:$|_)", re.I
)
_GENE = re.compile(r"^(?:kit|chip)(?:$|_)", re.I)
"""In tables of genes these are a receptor and a ligase, with or without what was measured of them (``KIT_cnv``)."""
_P = 1e-3
"""Scanners and batches differ in most cohorts; beyond this they go with the outcome, and a model may read them for it."""
_MOST = 50
"""A column of more values than this is no batch."""
_ONE_WAY = ("encoder", "tile resolution", "tile size")
"""What must be one for features to be comparable."""


def audit_sources(run: Audited) -> Audit:
    """Every modality was measured in one way; where scanners or batches differ, they tell nothing of the outcome."""
    name, told, fault, looked = "mixed batches, scanners or encoders", [], False, 0
    for modality, what, source in _sources(run):
        known = source.notna().to_numpy()
        counts = source[known].value_counts()
        looked += 1
        if len(counts) < 2:
            continue
        if what in _ONE_WAY:
            fault = True
            told.append(f"{modality}: {len(counts)} different values of {what} ({', '.join(str(c) for c in counts)} patients)")
            continue
        p = _association(source.to_numpy(dtype=object)[known], run.data.outcome.take(np.flatnonzero(known)))
        fault |= p < _P
        goes = "goes" if p < _P else "does not go"
        told.append(f"{modality}: {what} has {len(counts)} values and {goes} with the outcome (p = {p:.2g}, bound {_P:g})")
    if not looked:
        return not_applicable(name, "No modality says how, by what or in which batch it was measured.")
    evidence = f"{'; '.join(told)}." if told else f"Each of {looked} source(s) recorded is one and the same for all patients."
    return judged(name, fault=fault, evidence=evidence, n=len(run.data))


def _sources(run: Audited) -> Iterator[tuple[str, str, pd.Series]]:
    """Yield modality, what may differ, and its value for each admitted patient (missing where not recorded)."""
    for modality, samples in run.data.samples.items():
        if any(isinstance(s, slide.Sample) for s in samples):
            yield from ((modality, what, values) for what, values in _of_bags(samples).items() if values.notna().any())
        table, genes = run.studied.tables[modality], run.studied.modalities[modality].kind in ("expression", "variants")
        columns = [str(c) for c in table.columns if c not in ID_COLUMNS and _BATCH.search(str(c))]
        for column in (c for c in columns if not (genes and _GENE.search(c))):
            first = table.groupby("patient_id")[column].first().reindex(run.data.patient_ids)
            if first.nunique() <= _MOST:
                yield modality, f"column {column!r}", first.map(str, na_action="ignore").reset_index(drop=True)


def _of_bags(samples: tuple[object | None, ...]) -> dict[str, pd.Series]:
    bags = [s.bags if isinstance(s, slide.Sample) else () for s in samples]

    def joined(values: list[list[str]]) -> pd.Series:
        return pd.Series([" and ".join(sorted(set(v))) or None for v in values], dtype=object)

    def said(value: float | None) -> list[str]:
        return [] if value is None else [f"{value:.2g}"]

    return {
        "encoder": joined([[b.attrs.encoder_fingerprint or b.attrs.encoder or "not stated" for b in some] for some in bags]),
        "tile resolution": joined([[v for b in some for v in said(b.attrs.mpp)] for some in bags]),
        "tile size": joined([[str(b.attrs.patch_size) for b in some if b.attrs.patch_size] for some in bags]),
        "scanner resolution": joined([[v for b in some for v in said(b.attrs.level0_mpp)] for some in bags]),
    }


def _association(source: np.ndarray, target: Target) -> float:
    """P of the log-rank, chi-square or Kruskal-Wallis test of the outcome between sources; 1 where there is none."""
    kind, names = target.endpoint.kind, np.unique(source.astype(str), return_inverse=True)[1]
    if kind == "survival":
        return logrank(target.time, target.event, names).p if target.event.any() else 1.0
    if kind == "regression":
        groups = [target.values[names == k] for k in np.unique(names)]
        return float(stats.kruskal(*groups).pvalue) if len(np.unique(target.values)) > 1 else 1.0
    labels = target.values.T if kind == "multilabel" else target.values[None]
    smallest = 1.0
    for label in labels:
        known = ~np.isnan(label)
        table = pd.crosstab(names[known], label[known]).to_numpy()
        if min(table.shape, default=0) > 1:
            smallest = min(smallest, float(stats.chi2_contingency(table).pvalue) * len(labels))
    return smallest

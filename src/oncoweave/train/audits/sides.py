"""Does anything stand on both sides of the split? Patients, hospitals, the same patient or slide under another id."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oncoweave.data.audit import PERSONS, SLIDES, Crossing, crossings
from oncoweave.data.duplicates import equal_patients
from oncoweave.data.persons import persons_on_both_sides
from oncoweave.modalities import embedding, slide
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable

SKETCH = 64
"""Tiles of a patient that are held against those of others: the ones whose features hash lowest, so copies are among them."""
SHARED_TILES, SHARED_SHARE = 3, 0.05
"""Two patients hold the same slide where they share so many different tiles of the sketch, and this share of it."""
NEAR = 0.05
"""So do two whose pooled features lie nearer than this part of the usual distance to the nearest other patient."""
_VALUES = ("record", "expression", "embedding")
_AT_ONCE = 1024
"""Rows whose distances are in memory together."""
_PLENTY = 8
"""Numbers of a vector from which on a near one is no chance."""


def audit_patients(run: Audited) -> Audit:
    """No patient is trained on and tested: by id, by ids that differ in case or spaces only, and in the predictions made."""
    name = "patient on both sides"
    twice = int(run.splits.duplicated(["patient_id", "repeat"]).sum())
    alike = _crossing(run, (PERSONS,))
    merged = run.predictions.merge(run.splits, on=["patient_id", "repeat"], how="left", suffixes=("", "_split"))
    astray = int((merged["fold"] != merged["fold_split"]).sum()) if not twice else 0
    evidence = (
        f"{twice} patient(s) stand in two folds of a repeat, {alike} id(s) cross the split that differ by case or spaces only,"
        f" and {astray} of {len(run.predictions)} predictions are of patients outside the fold they were kept out for."
    )
    crossing = 0
    if run.data.person is not None:
        person = pd.Series(run.data.person, index=run.data.patient_ids)
        crossing = persons_on_both_sides(run.splits, person)
        evidence += f" Of {person.nunique()} persons whose specimens these are, {crossing} stand on both sides of a split."
    return judged(name, fault=bool(twice or alike or astray or crossing), evidence=evidence, n=len(run.data))


def audit_sites(run: Audited) -> Audit:
    """No hospital is on both sides, where the study keeps them apart."""
    name, how = "site on both sides", run.how_split
    if not how.sites:
        return not_applicable(name, "No hospital is recorded.")
    evidence = f"{how.crossing} of {how.sites} hospitals stand on both sides of the split"
    evidence += f"; the hospital of {how.without_site} patients is not known" if how.without_site else ""
    if how.crossing and not run.study.protocol.group_by_site:
        share = f"{how.overlap or 0.0:.0%} of the tested patients come from a hospital that also trains"
        return not_applicable(name, f"{evidence}, which is not asked to keep them apart: {share}.")
    evidence += ", which is to keep them apart." if run.study.protocol.group_by_site else "."
    return judged(name, fault=how.crossing > 0, evidence=evidence, n=how.patients - how.without_site)


def audit_twins(run: Audited) -> Audit:
    """No two patients have rows of equal values."""
    name, groups = "duplicate patients under other ids", []
    tables = {m: t for m, t in run.studied.tables.items() if run.studied.modalities[m].kind in _VALUES}
    if not tables:
        return not_applicable(name, "The study reads no table of values.")
    told = []
    for modality, table in tables.items():
        equal = equal_patients(table)
        groups += equal
        told += [f"{modality}: {len(equal)}"] if equal else []
    evidence = f"No two patients hold equal rows of values in {', '.join(tables)} (beyond what chance gives)."
    if groups:
        crossing = sum(_crosses(run, group) for group in groups)
        evidence = f"Groups of patients with equal rows of values: {', '.join(told)}; {crossing} stand on both sides of a split."
    n = len(set().union(*(t["patient_id"] for t in tables.values())))
    return judged(name, fault=bool(groups), evidence=evidence, n=n)


def audit_slides(run: Audited) -> Audit:
    """No slide, file or specimen, and no near-copy of a slide or an image's vector, belongs to two patients."""
    name = "same or near-same slide of two patients"
    counts = {c: _crossing(run, (c,)) for c in SLIDES}
    shared = {what: count for what, count in counts.items() if count}
    pairs, compared = _near(run)
    if not compared and not any("path" in t or "slide_id" in t for t in run.studied.tables.values()):
        return not_applicable(name, "The study reads no slides, images or vectors of them.")
    told = [f"{count} {what} stand on both sides" for what, count in shared.items()]
    told += [f"{len(pairs)} pair(s) of patients hold near-equal ones"] if pairs else []
    looked = f"{compared} patients were held against each other by tiles and pooled features" if compared else "by id and hash"
    evidence = f"{'; '.join(told) or 'No slide, file or specimen crosses, and none is the near-copy of another'} ({looked})."
    return judged(name, fault=bool(told), evidence=evidence, n=compared or len(run.data))


def _found(run: Audited, kinds: Sequence[str]) -> list[Crossing]:
    return [c for _, rows in run.splits.groupby("repeat") for c in crossings(run.studied, rows) if c.what in kinds]


def _crossing(run: Audited, kinds: Sequence[str]) -> int:
    return max((c.count for c in _found(run, kinds)), default=0)


def _crosses(run: Audited, group: Sequence[str]) -> bool:
    rows = run.splits[run.splits["patient_id"].isin(group)]
    return bool((rows.groupby("repeat")["fold"].nunique() > 1).any())


def _near(run: Audited) -> tuple[set[tuple[int, int]], int]:
    pairs: set[tuple[int, int]] = set()
    compared: set[int] = set()
    for modality, samples in run.data.samples.items():
        rows = [i for i, s in enumerate(samples) if isinstance(s, slide.Sample | embedding.Sample)]
        some = [samples[i] for i in rows]
        slides = [s for s in some if isinstance(s, slide.Sample)]
        vectors = [s.values.mean(axis=0) for s in some if isinstance(s, embedding.Sample)]
        close = near_pairs(np.stack(vectors)) if vectors else set()
        if slides:
            pooled = np.stack([np.concatenate([s.mean, s.std]) for s in slides])
            close = near_pairs(pooled) | sharing_pairs([sketch(s) for s in slides])
        compared |= set(rows)
        pairs |= {(rows[i], rows[j]) for i, j in close}
        assert len(vectors) in (0, len(rows)), f"{modality!r} mixes bags and vectors"
    return pairs, len(compared)


def sketch(sample: slide.Sample) -> np.ndarray:
    """Hash a patient's tiles by their features and keep the lowest, ``UInt[at most SKETCH]``: equal tiles hash equally."""
    factors = np.random.default_rng(0).integers(1, 2**63, size=8, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = []
    for bag in sample.bags:
        words = np.ascontiguousarray(bag.features[:, :8], dtype=np.float32).view(np.uint32).astype(np.uint64)
        keys.append((words * factors[: words.shape[1]]).sum(axis=1, dtype=np.uint64))
    return np.unique(np.concatenate(keys))[:SKETCH]


def sharing_pairs(sketches: Sequence[np.ndarray]) -> set[tuple[int, int]]:
    """List the pairs whose sketches have tiles in common: three different ones, and a twentieth of the smaller sketch."""
    owner = np.repeat(np.arange(len(sketches)), [len(s) for s in sketches])
    table = pd.DataFrame({"key": np.concatenate(sketches), "owner": owner})
    table = table[table.duplicated("key", keep=False)]
    both = table.merge(table, on="key")
    pairs, counts = np.unique(both.loc[both["owner_x"] < both["owner_y"], ["owner_x", "owner_y"]], axis=0, return_counts=True)
    return {
        (i, j)
        for (i, j), count in zip(pairs.tolist(), counts, strict=True)
        if count >= max(SHARED_TILES, SHARED_SHARE * min(len(sketches[i]), len(sketches[j])))
    }


def near_pairs(vectors: np.ndarray) -> set[tuple[int, int]]:
    """List the pairs of rows ``[n, d]`` that lie far nearer to each other than rows usually do to their nearest."""
    if len(vectors) < 3 or vectors.shape[1] < _PLENTY:
        return set()
    spread = vectors.std(axis=0)
    z = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    square, nearest, distance = (z**2).sum(axis=1), np.zeros(len(z), dtype=int), np.zeros(len(z))
    for start in range(0, len(z), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(z)))
        apart = square[rows][:, None] + square - 2 * z[rows] @ z.T
        apart[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = apart.argmin(axis=1)
        distance[rows] = np.sqrt(np.maximum(apart.min(axis=1), 0.0))
    close = np.flatnonzero(distance <= NEAR * np.median(distance))
    return {(min(int(i), int(nearest[i])), max(int(i), int(nearest[i]))) for i in close}

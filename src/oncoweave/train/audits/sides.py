"""Does anything stand on both sides of the split? Patients, hospitals, the same patient or slide under another id."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from oncoweave.data.audit import PERSONS, SLIDES, Crossing, crossings
from oncoweave.data.duplicates import alike_patients
from oncoweave.data.near_copies import near_pairs
from oncoweave.data.persons import persons_on_both_sides
from oncoweave.modalities import embedding, slide
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable

COLUMNS = 64
"""Features of a tile that are read."""
DIRECTIONS = 16
"""Along which the outermost tiles of a bag are taken, two each."""
SHARED_TILES = 3
"""Two bags hold the same slide where so many different ones of these tiles are near-copies."""
_VALUES = ("record", "expression", "embedding")


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
    """No two patients have rows of equal values, nor of measurements that are equal but for noise."""
    name, groups = "duplicate patients under other ids", []
    tables = {m: t for m, t in run.studied.tables.items() if run.studied.modalities[m].kind in _VALUES}
    if not tables:
        return not_applicable(name, "The study reads no table of values.")
    told = []
    for modality, table in tables.items():
        alike = alike_patients(table)
        groups += alike
        told += [f"{modality}: {len(alike)}"] if alike else []
    evidence = f"No two patients hold equal or near-equal rows of values in {', '.join(tables)} (beyond what chance gives)."
    if groups:
        crossing = sum(_crosses(run, group) for group in groups)
        evidence = (
            f"Groups of patients with equal or near-equal rows of values: {', '.join(told)}; {crossing} stand on both sides of a"
            " split."
        )
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
    """Pairs of patients, by place, who hold near-copies, and how many were compared; specimens of one person are not."""
    pairs: set[tuple[int, int]] = set()
    compared: set[int] = set()
    person = np.arange(len(run.data)) if run.data.person is None else np.unique(run.data.person, return_inverse=True)[1]
    for modality, samples in run.data.samples.items():
        bags = [(i, bag) for i, s in enumerate(samples) if isinstance(s, slide.Sample) for bag in s.bags]
        vectors = [(i, s.values.mean(axis=0)) for i, s in enumerate(samples) if isinstance(s, embedding.Sample)]
        assert not bags or not vectors, f"{modality!r} mixes bags and vectors"
        rows = np.array([i for i, _ in bags or vectors], dtype=int)
        close: set[tuple[int, int]] = set()
        if bags:
            tiles = [some_columns(bag.features) for _, bag in bags]
            pooled = np.stack([t.mean(axis=0, dtype=np.float64) for t in tiles])
            close = near_pairs(pooled, person[rows]) | sharing_pairs(tiles, person[rows])
        elif vectors:
            close = near_pairs(np.stack([v for _, v in vectors]), person[rows])
        compared |= set(rows.tolist())
        pairs |= {(min(a, b), max(a, b)) for a, b in ((int(rows[i]), int(rows[j])) for i, j in close)}
    return pairs, len(compared)


def some_columns(features: np.ndarray) -> np.ndarray:
    """Take evenly spaced features of tiles, ``[tile, at most COLUMNS]``."""
    return features[:, :: max(1, features.shape[1] // COLUMNS)][:, :COLUMNS]


def sharing_pairs(tiles: Sequence[np.ndarray], owner: np.ndarray) -> set[tuple[int, int]]:
    """List the pairs of bags (``[tile, d]`` each) of different owners that share tiles, or all but share them.

    Of each bag the tiles are held against those of others that lie farthest out along some directions, the same for all bags: a
    copy's are the same tiles, also where every tile has changed a little or half of them are gone.
    """
    spread = np.mean([t.std(axis=0, dtype=np.float64) for t in tiles], axis=0)
    signs = (
        np.random.default_rng(0).choice([-1.0, 1.0], size=(len(spread), DIRECTIONS)) / np.where(spread > 0, spread, 1.0)[:, None]
    )
    outer = []
    for t in tiles:
        along = t.astype(np.float32) @ signs
        outer.append(np.concatenate([along.argmax(axis=0), along.argmin(axis=0)]))
    alike: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for k in range(2 * DIRECTIONS):
        for i, j in near_pairs(np.stack([t[o[k]] for t, o in zip(tiles, outer, strict=True)]), owner):
            alike.setdefault((i, j), set()).add((int(outer[i][k]), int(outer[j][k])))
    return {pair for pair, of in alike.items() if min(len({a for a, _ in of}), len({b for _, b in of})) >= SHARED_TILES}

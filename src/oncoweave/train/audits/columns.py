"""Is the outcome, or something known only after it, among the features? One column at a time, of texts one word."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from oncoweave.core.endpoint import Target
from oncoweave.core.errors import NoComparablePairsError
from oncoweave.core.units import convert_time
from oncoweave.data.audit import tells_outcome
from oncoweave.data.columns import ID_COLUMNS, MEASURED_AT
from oncoweave.data.label_words import mask_text
from oncoweave.evaluate.concordance import count_pairs, harrell_c
from oncoweave.modalities import report
from oncoweave.train.audits.luck import chance_of_area, chance_of_correlation, chance_of_order, two_sided
from oncoweave.train.audits.result import Audit, Audited, judged, not_applicable

ORDERS = 0.95
"""A single column that orders survival times this well (C-index, either way) is the outcome."""
SEPARATES = 0.98
"""So is one that tells an event, a class or a label this well (AUROC), or ranks as a measured outcome does (Spearman)."""
NAMED = 0.65
"""A column whose name says that it is known only later is taken for a leak from here on."""
LATE_DAYS, LATE_SHARE = 90.0, 0.05
"""Measured so long after the index date, in so many of the patients: who died before could not be measured."""
NO_FOLLOW_UP = 0.01
"""Share of patients with no follow-up at all from which on the start of follow-up is in doubt."""
_FEWEST_TEXTS, _SHARE_OF_TEXTS = 5, 0.02
"""Texts that have to hold a word, and to lack it, before it is looked at."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_TABULAR = ("record", "expression", "variants", "embedding")
_EXACT = 25
"""Columns of a modality whose C-index is computed, those that follow the martingale residuals most; all are screened."""
_LEVELS = 20
_P = 1e-3
"""A column is named a leak where the best of so many would be as good by luck less often."""


def audit_columns(run: Audited) -> Audit:
    """No single column of any table that is read, and no word of any text, equals or nearly determines the outcome."""
    name, found, doubtful, looked = "outcome in a feature", [], [], 0
    for where, columns in _feature_columns(run):
        if not columns.shape[1]:
            continue
        looked += columns.shape[1]
        named = {str(c) for c in columns if where[1] == "record" and tells_outcome(str(c).partition("=")[0])}
        for column, what, value, chance in _telling(columns, run.data.outcome, named):
            after = ", and its name is of something known later" if column in named else ""
            told = f"{where[0]}, column {column!r}: {what} {value:.3f}{after}"
            if chance < _P:
                found.append(told)
            else:
                doubtful.append(f"{told} (chance of the best of so many {chance:.2g})")
    if not looked:
        return not_applicable(name, "The study reads no table of columns.")
    bounds = f"bounds: C-index {ORDERS:g}, AUROC or Spearman {SEPARATES:g}; {NAMED:g} where the name is of something known later"
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    evidence = (
        f"{'; '.join(found[:4])}{more} ({looked:,} columns, {bounds})." if found else f"None of {looked:,} columns ({bounds})."
    )
    if doubtful:
        others = f" and {len(doubtful) - 4} more" if len(doubtful) > 4 else ""
        evidence += f" Beyond a bound, but in so few patients that luck may explain it: {'; '.join(doubtful[:4])}{others}."
    return judged(name, fault=bool(found), evidence=evidence, n=len(run.data))


def audit_times(run: Audited) -> Audit:
    """No follow-up starts before it can: none of zero, nothing measured after the event or long after the index date."""
    name, told, fault = "immortal time", [], False
    total = len(run.data) + run.left_out
    survival = run.endpoint.kind == "survival"
    if survival:
        fault = run.left_out > NO_FOLLOW_UP * total
        told.append(f"{run.left_out} of {total} patients have a follow-up of zero and were left out (bound {NO_FOLLOW_UP:.0%})")
    dated = [m for m, t in run.studied.tables.items() if MEASURED_AT in t]
    for modality in dated:
        rows = run.studied.tables[modality].dropna(subset=[MEASURED_AT])
        days = rows.groupby("patient_id")[MEASURED_AT].min().astype(float).reindex(run.data.patient_ids).to_numpy()
        known, late = ~np.isnan(days), np.nan_to_num(days) > LATE_DAYS
        after = np.zeros(len(days), dtype=bool)
        if survival:
            per_unit = convert_time(1.0, source=run.endpoint.time_unit or "days", target="days")
            after = np.nan_to_num(days, nan=-np.inf) > run.data.outcome.time * per_unit
        fault |= bool(after.any() or late.sum() > LATE_SHARE * max(known.sum(), 1))
        told.append(
            f"{modality}: {int(after.sum())} of {int(known.sum())} dated patients were measured after event or last contact,"
            f" {int(late.sum())} more than {LATE_DAYS:g} days after the index date (bound {LATE_SHARE:.0%})"
        )
    if not told:
        return not_applicable(name, f"No table has a column {MEASURED_AT!r}, and the endpoint has no time.")
    told += [] if dated else [f"no table says in a column {MEASURED_AT!r} when it was measured"]
    return judged(name, fault=fault, evidence=f"{'; '.join(told)}.", n=total)


def _feature_columns(run: Audited) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for modality, table in run.studied.tables.items():
        kind = run.studied.modalities[modality].kind
        if kind in _TABULAR:
            yield (modality, kind), _by_patient(table).reindex(run.data.patient_ids)
        elif kind == "report" and modality in run.data.samples:
            yield (modality, kind), _by_word(run.data.samples[modality]).set_axis(run.data.patient_ids, axis=0)


def _by_patient(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers of each patient, averaged over rows; a text column of few values becomes a column a value."""
    values = table.drop(columns=[c for c in ID_COLUMNS if c in table])
    numbers = values.select_dtypes(["number", "bool"]).astype(float)
    texts = [c for c in values.columns if c not in numbers and 1 < values[c].nunique() <= _LEVELS]
    shown = [pd.get_dummies(values[c], prefix=c, prefix_sep="=", dtype=float).where(values[c].notna()) for c in texts]
    return pd.concat([numbers, *shown], axis=1).groupby(table["patient_id"].to_numpy()).mean()


def _by_word(samples: Sequence[object | None]) -> pd.DataFrame:
    """Whether each patient's texts, as models read them, hold each word; not words that few texts hold, or all but few."""
    texts = [sample if isinstance(sample, report.Sample) else None for sample in samples]
    read = [None if t is None else set(_WORD.findall(mask_text(t.text, t.mask_words)[0].lower())) for t in texts]
    written = [words for words in read if words is not None]
    counts = Counter(word for words in written for word in words)
    fewest = max(_FEWEST_TEXTS, _SHARE_OF_TEXTS * len(written))
    kept = sorted(word for word, count in counts.items() if fewest <= count <= len(written) - fewest)
    held = [[float("nan")] * len(kept) if words is None else [float(word in words) for word in kept] for words in read]
    return pd.DataFrame(np.array(held).reshape(len(read), len(kept)), columns=[f"word {word}" for word in kept])


def _telling(columns: pd.DataFrame, target: Target, named: set[str]) -> list[tuple[str, str, float, float]]:
    """List columns that are beyond a bound: what of the outcome they tell, how well, and the chance of that by luck.

    The chance is that of the best of all columns (Bonferroni); a column stands once, with what luck explains least.
    """
    measured: dict[str, tuple[str, float, float]] = {}
    for what, bound, values, luck in _scores(columns, target):
        for column in values.index[values >= [min(bound, NAMED) if str(c) in named else bound for c in values.index]]:
            value, chance = float(values[column]), min(1.0, luck(columns[column]) * columns.shape[1])
            known = measured.get(str(column), ("", 0.0, 1.1))
            if (chance >= _P, -value) < (known[2] >= _P, -known[1]):
                measured[str(column)] = (what, value, chance)
    return [(column, what, value, chance) for column, (what, value, chance) in measured.items()]


Luck = Callable[[pd.Series], float]
"""Chance that a column which has nothing to do with the outcome scores as well or better."""


def _scores(columns: pd.DataFrame, target: Target) -> Iterator[tuple[str, float, pd.Series, Luck]]:
    kind = target.endpoint.kind
    if kind == "survival":
        event = target.event.astype(float)
        yield "tells the event with AUROC", SEPARATES, _aurocs(columns, event), partial(_luck_of_area, truth=event)
        concordances = _concordances(columns, target)
        yield "orders follow-up with C-index", ORDERS, concordances, partial(_luck_of_concordance, target=target)
    elif kind == "regression":
        found = _correlations(columns, target.values)
        yield "ranks as the outcome does, Spearman", SEPARATES, found, partial(_luck_of_correlation, values=target.values)
    else:
        labels = target.endpoint.classes or target.endpoint.columns
        truths = (
            {labels[-1]: target.values}
            if kind == "binary"
            else dict(zip(labels, target.values.T, strict=True))
            if kind == "multilabel"
            else {label: (target.values == i).astype(float) for i, label in enumerate(labels)}
        )
        for label, truth in truths.items():
            yield f"tells {label} with AUROC", SEPARATES, _aurocs(columns, truth), partial(_luck_of_area, truth=truth)


def _aurocs(columns: pd.DataFrame, truth: np.ndarray) -> pd.Series:
    """AUROC of every column, whichever way; 0 where a class is lacking."""
    known = columns.notna().to_numpy() & ~np.isnan(truth)[:, None]
    ranks = columns.where(known).rank().fillna(0.0).to_numpy()
    positive = known & (np.nan_to_num(truth) > 0.5)[:, None]
    num_positive, num_negative = positive.sum(axis=0), (known & ~positive).sum(axis=0)
    pairs = np.maximum(num_positive * num_negative, 1)
    area = ((ranks * positive).sum(axis=0) - num_positive * (num_positive + 1) / 2) / pairs
    area = np.where(num_positive * num_negative > 0, np.maximum(area, 1 - area), 0.0)
    return pd.Series(area, index=columns.columns)


def _concordances(columns: pd.DataFrame, target: Target) -> pd.Series:
    """C-index of the columns that follow the martingale residuals of a model without features most, whichever way."""
    residual = _martingale(target.time, target.event)
    screened = _correlations(columns, residual).nlargest(_EXACT).index
    found = {}
    for column in screened:
        known = columns[column].notna().to_numpy()
        if not known.any():
            continue
        try:
            c_index = harrell_c(target.time[known], target.event[known], columns[column].to_numpy()[known])
        except NoComparablePairsError:
            continue  # nothing can be told of it
        found[column] = max(c_index, 1 - c_index)
    return pd.Series(found, dtype=float)


def _luck_of_area(column: pd.Series, truth: np.ndarray) -> float:
    values, known = column.to_numpy(dtype=float), column.notna().to_numpy() & ~np.isnan(truth)
    exact = chance_of_area(values[known & (truth > 0.5)], values[known & ~(truth > 0.5)])
    return _least(exact, column, truth)


def _luck_of_concordance(column: pd.Series, target: Target) -> float:
    values, known = column.to_numpy(dtype=float), column.notna().to_numpy()
    time, event = target.time[known], target.event[known]
    counts = count_pairs(time, event, values[known])
    cases, beyond = np.unique(counts.comparable, return_counts=True)
    wrong = counts.comparable.sum() - np.maximum(counts.lower.sum(), (counts.comparable - counts.lower - counts.equal).sum())
    exact = two_sided(chance_of_order([(int(k), int(m)) for m, k in zip(cases, beyond, strict=True)], int(wrong)))
    return _least(exact, column, _martingale(target.time, target.event))


def _luck_of_correlation(column: pd.Series, values: np.ndarray) -> float:
    known = column.notna().to_numpy() & ~np.isnan(values)
    return chance_of_correlation(float(_correlations(column.to_frame(), values).iloc[0]), int(known.sum()))


def _least(exact: float, column: pd.Series, values: np.ndarray) -> float:
    """Lesser of the exact chance and the normal one of the rank correlation, doubled for the choice.

    Each is too large somewhere: the exact one where values are equal, which it counts as wrong, the normal one in small samples.
    """
    count = (column.notna().to_numpy() & ~np.isnan(values)).sum()
    normal = 2 * stats.norm.sf(_correlations(column.to_frame(), values).iloc[0] * np.sqrt(count))
    return float(min(1.0, 2 * np.fmin(exact, normal)))


def _martingale(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Events less the Nelson-Aalen hazard up to each patient's time (Therneau et al. 1990)."""
    times, place = np.unique(time, return_inverse=True)
    at_risk = len(time) - np.searchsorted(np.sort(time), times, side="left")
    hazard = np.cumsum(np.bincount(place, weights=event.astype(float)) / at_risk)
    return event - hazard[place]


def _correlations(columns: pd.DataFrame, values: np.ndarray) -> pd.Series:
    """Size of the rank correlation of every column with some values, over the patients who have both."""
    known = columns.notna().to_numpy() & ~np.isnan(values)[:, None]
    count = np.maximum(known.sum(axis=0), 1)
    ranks = columns.where(known).rank().fillna(0.0).to_numpy()
    other = np.where(known, stats.rankdata(np.nan_to_num(values))[:, None], 0.0)
    ranks = (ranks - ranks.sum(axis=0) / count) * known
    other = (other - other.sum(axis=0) / count) * known
    scale = np.sqrt((ranks**2).sum(axis=0) * (other**2).sum(axis=0))
    return pd.Series(np.abs((ranks * other).sum(axis=0)) / np.where(scale > 0, scale, np.inf), index=columns.columns)

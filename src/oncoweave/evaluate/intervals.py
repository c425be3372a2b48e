"""Intervals by resampling patients: whatever rows a patient has (repeats, folds, labels), he is drawn or left out as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.inputs import check_level, labels
from oncoweave.evaluate.pairs import Statistic, contiguous

_CHUNK = 1 << 21
"""Entries of one matrix of row weights; more replicates are done in turns, whose products then stay near the processor."""

_ROUNDING = 1e-9

Method = Literal["percentile", "expanded", "bca", "logit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with its interval over ``replicates`` resamples of patients in which it was defined."""

    value: float
    low: float
    high: float
    replicates: int


def draw_weights(
    num_patients: int, *, replicates: int, generator: np.random.Generator, strata: np.ndarray | None = None
) -> np.ndarray:
    """How often each patient is drawn in each bootstrap replicate, ``Float32[replicate, patient]``; rows sum to the patients.

    With ``strata``, a label a patient, each stratum (class, site, cancer type) keeps its number of patients in every replicate.
    """
    weights = np.zeros((replicates, num_patients), dtype=np.float32)
    labels = np.zeros(num_patients, dtype=int) if strata is None else np.asarray(strata)
    step = max(1, _CHUNK // max(num_patients, 1))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for start in range(0, replicates, step):
            block = weights[start : start + step]
            drawn = generator.integers(len(members), size=(len(block), len(members)))
            drawn += np.arange(len(block))[:, None] * len(members)
            counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
            block[:, contiguous(members)] = counts
    return weights


def replicate(
    statistics: Mapping[str, Statistic], patient_weights: np.ndarray, patient_index: np.ndarray
) -> dict[str, np.ndarray]:
    """Evaluate statistics of n rows under weights of patients; ``patient_index`` says whose each row is."""
    step = max(1, _CHUNK // max(len(patient_index), 1))
    columns = contiguous(patient_index)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for start in range(0, len(patient_weights), step):
        weights = patient_weights[start : start + step][:, columns]
        for name, statistic in statistics.items():
            parts[name].append(statistic(weights))
    return {name: np.concatenate(values) for name, values in parts.items()}


def jackknife(statistic: Statistic, patient_index: np.ndarray) -> np.ndarray:
    """Evaluate a statistic of n rows once without each patient, ``Float[patient]``."""
    num_patients = int(patient_index.max(initial=-1)) + 1
    step = max(1, _CHUNK // max(len(patient_index), 1))
    turns = (np.arange(start, min(start + step, num_patients)) for start in range(0, num_patients, step))
    return np.concatenate([statistic((patient_index != left_out[:, None]).astype(np.float32)) for left_out in turns])


def varies(replicates: np.ndarray) -> bool:
    """Whether replicates differ by more than rounding, NaN left out; those that all agree do not say how sure a value is."""
    defined = replicates[~np.isnan(replicates)]
    return len(defined) > 1 and bool(np.ptp(defined) > max(1e-6 * np.abs(defined).max(), 1e-12))


def percentile_interval(value: float, replicates: np.ndarray, *, level: float = 0.95) -> Interval:
    """Percentile interval of replicates; those in which the metric was not defined are left out and not counted.

    Where more than half were not defined there is no interval (NaN): what is left is no sample of the patients. Nor is there one
    at a level of NaN, which :func:`expanded_level` gives where patients do not say how they vary.
    """
    if np.isnan(level):
        return Interval(value=value, low=level, high=level, replicates=int((~np.isnan(replicates)).sum()))
    check_level(level)
    return _quantiles(value, replicates, np.array([0.5 - level / 2, 0.5 + level / 2]))


def expanded_level(level: float, n: float, *, lost: float = 1.0) -> float:
    """Level at which percentiles hold a mean of n patients as often as ``level`` asks (Hesterberg 2015, section 5.3).

    Bootstrap samples of n patients vary by one part in n too little, and percentiles know no t distribution: of 16 patients those
    at 95 % hold a mean in 92 %. Patients drawn within strata, such as folds, vary less by one part in n for each: ``lost``. NaN
    where fewer than one degree of freedom is left, as one patient does not say how patients vary.
    """
    check_level(level)
    free = n - max(lost, 1.0)
    if free < 1 - _ROUNDING:
        return float("nan")
    reach = np.sqrt(n / free) * stats.t.ppf(0.5 + level / 2, free)
    return float(min(1 - 2 * stats.norm.sf(reach), 1 - _ROUNDING))


def worth(weight: np.ndarray) -> float:
    """How many patients of equal weight tell as much as those of weight ``[n]``: (sum w)^2 / sum w^2 (Kish 1965)."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def bca_interval(
    value: float, replicates: np.ndarray, *, left_out: np.ndarray, strata: np.ndarray | None = None, level: float = 0.95
) -> Interval:
    """Bias-corrected and accelerated interval (Efron 1987; Davison and Hinkley 1997, eqs. 5.20 to 5.22).

    Args:
        value: the statistic of the sample itself.
        replicates: bootstrap replicates; those that are NaN are left out.
        left_out: the statistic without each patient, see :func:`jackknife`.
        strata: a label a patient where the draws were stratified: influence is then counted within strata (eq. 3.29).
        level: coverage asked for.

    Where the value lies outside all replicates, or the jackknife is not defined for some patient, no correction can be told and
    the ends are NaN. A statistic that no patient influences has no acceleration.
    """
    check_level(level)
    defined = replicates[~np.isnan(replicates)]
    share = ((defined < value).sum() + 0.5 * (defined == value).sum()) / max(len(defined), 1)
    if not 0 < share < 1 or np.isnan(left_out).any():
        return Interval(value=value, low=float("nan"), high=float("nan"), replicates=len(defined))
    labels = np.zeros(len(left_out), dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    size = np.bincount(labels)
    influence = (np.bincount(labels, weights=left_out) / size)[labels] - left_out
    influence *= ((size - 1) / size)[labels]
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    bias, reach = stats.norm.ppf(share), stats.norm.ppf([0.5 - level / 2, 0.5 + level / 2])
    levels = stats.norm.cdf(bias + (bias + reach) / (1 - acceleration * (bias + reach)))
    return _quantiles(value, replicates, levels)


def logit_interval(value: float, replicates: np.ndarray, *, n: int, level: float = 0.95) -> Interval:
    """Normal interval on the logit scale with the replicates' standard deviation (Boyd, Eng and Page 2013, average precision).

    It is centred on the value: replicates of an average precision lie above it, as a positive that is drawn twice precedes
    itself, and take a percentile interval with them. Replicates are kept 1/(4n) from 0 and 1, n the patients. A value of exactly
    0 or 1, or replicates of which more than half are not defined, have no interval (NaN).
    """
    defined = replicates[~np.isnan(replicates)]
    if not 0 < value < 1 or len(defined) * 2 <= len(replicates):
        return Interval(value=value, low=float("nan"), high=float("nan"), replicates=len(defined))
    spread = special.logit(defined.clip(0.25 / n, 1 - 0.25 / n)).std(ddof=1)
    low, high = special.expit(special.logit(value) + stats.norm.ppf([0.5 - level / 2, 0.5 + level / 2]) * spread)
    return Interval(value=value, low=float(low), high=float(high), replicates=len(defined))


def bootstrap(
    statistic: Statistic,
    patients: np.ndarray,
    *,
    generator: np.random.Generator,
    replicates: int = 1000,
    level: float = 0.95,
    method: Method = "percentile",
    strata: np.ndarray | None = None,
) -> Interval:
    """Value and interval of one statistic of n rows whose patients are ``patients`` (any labels, repeated at will).

    ``strata`` gives a label a row, the same in all rows of a patient: patients are then drawn within their stratum. A difference
    of two models is a statistic too: ``lambda weights: first(weights) - second(weights)``. Where all replicates are alike, as of
    an accuracy of 1, there is no interval (NaN).

    Raises:
        DataError: a patient in two strata, or not one patient a row of the statistic.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> time, risk = np.arange(40.0), -np.arange(40.0)
        >>> from oncoweave.evaluate.pairs import survival_pairs
        >>> pairs = survival_pairs(time, np.ones(40, dtype=bool), risk, strata=np.zeros(40, dtype=int))
        >>> bootstrap(pairs, np.arange(40), replicates=10, generator=rng).value
        1.0
    """
    names, index = np.unique(labels("patients", patients), return_inverse=True)
    of_patient = None if strata is None else strata_of_patients(strata, index)
    weights = draw_weights(len(names), replicates=replicates, generator=generator, strata=of_patient)
    value = float(statistic(np.ones((1, len(index)), dtype=np.float32))[0])
    draws = replicate({"": statistic}, weights, index)[""]
    if not varies(draws):
        return Interval(value=value, low=float("nan"), high=float("nan"), replicates=int((~np.isnan(draws)).sum()))
    if method == "percentile":
        return percentile_interval(value, draws, level=level)
    if method == "logit":
        return logit_interval(value, draws, n=len(names), level=level)
    if method == "expanded":
        lost = 1 if of_patient is None else len(np.unique(of_patient))
        return percentile_interval(value, draws, level=expanded_level(level, len(names), lost=lost))
    return bca_interval(value, draws, left_out=jackknife(statistic, index), strata=of_patient, level=level)


def strata_of_patients(strata: np.ndarray, patient_index: np.ndarray) -> np.ndarray:
    """Code the stratum of each patient from labels of rows.

    Raises:
        DataError: a patient in two strata.
    """
    labels, code = np.unique(strata, return_inverse=True)
    of_patient = np.zeros(int(patient_index.max(initial=-1)) + 1, dtype=int)
    of_patient[patient_index] = code
    differs = np.flatnonzero(of_patient[patient_index] != code)
    if len(differs):
        row = int(differs[0])
        msg = (
            f"strata: wanted one stratum a patient, got {labels[code[row]]} in row {row} and"
            f" {labels[of_patient[patient_index[row]]]} in another row of the same patient"
        )
        raise DataError(msg)
    return of_patient


def _quantiles(value: float, replicates: np.ndarray, levels: np.ndarray) -> Interval:
    defined = replicates[~np.isnan(replicates)]
    if len(defined) * 2 <= len(replicates):
        return Interval(value=value, low=float("nan"), high=float("nan"), replicates=len(defined))
    low, high = np.quantile(defined, levels)
    return Interval(value=value, low=float(low), high=float(high), replicates=len(defined))

"""Intervals by resampling patients: whatever rows a patient has (repeats, folds, labels), he is drawn or left out as one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oncoweave.evaluate.pairs import Statistic

_CHUNK = 1 << 23
"""Entries of one matrix of row weights; more replicates are done in turns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with its percentile interval over ``replicates`` resamples of patients in which it was defined."""

    value: float
    low: float
    high: float
    replicates: int


def draw_weights(num_patients: int, *, replicates: int, generator: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn in each bootstrap replicate, ``Float32[replicate, patient]``; rows sum to the patients."""
    chance = np.full(num_patients, 1.0 / max(num_patients, 1))
    return generator.multinomial(num_patients, chance, size=replicates).astype(np.float32)


def replicate(
    statistics: Mapping[str, Statistic], patient_weights: np.ndarray, patient_index: np.ndarray
) -> dict[str, np.ndarray]:
    """Evaluate statistics of n rows under weights of patients; ``patient_index`` says whose each row is."""
    step = max(1, _CHUNK // max(len(patient_index), 1))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for start in range(0, len(patient_weights), step):
        weights = patient_weights[start : start + step][:, patient_index]
        for name, statistic in statistics.items():
            parts[name].append(statistic(weights))
    return {name: np.concatenate(values) for name, values in parts.items()}


def percentile_interval(value: float, replicates: np.ndarray, *, level: float = 0.95) -> Interval:
    """Percentile interval of replicates; those in which the metric was not defined are left out and not counted.

    Where more than half were not defined there is no interval (NaN): what is left is no sample of the patients.
    """
    defined = replicates[~np.isnan(replicates)]
    if len(defined) * 2 <= len(replicates):
        return Interval(value=value, low=float("nan"), high=float("nan"), replicates=len(defined))
    low, high = np.quantile(defined, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value=value, low=float(low), high=float(high), replicates=len(defined))


def bootstrap(
    statistic: Statistic, patients: np.ndarray, *, replicates: int = 1000, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """Value and interval of one statistic of n rows whose patients are ``patients`` (any labels, repeated at will).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> time, risk = np.arange(40.0), -np.arange(40.0)
        >>> from oncoweave.evaluate.pairs import survival_pairs
        >>> pairs = survival_pairs(time, np.ones(40, dtype=bool), risk, strata=np.zeros(40, dtype=int))
        >>> bootstrap(pairs, np.arange(40), replicates=10, generator=rng).value
        1.0
    """
    names, index = np.unique(patients, return_inverse=True)
    weights = draw_weights(len(names), replicates=replicates, generator=generator)
    value = float(statistic(np.ones((1, len(index)), dtype=np.float32))[0])
    return percentile_interval(value, replicate({"": statistic}, weights, index)[""], level=level)

"""Tests of whether models differ: over folds and tasks, over decisions at one sensitivity, and how large a gap could be seen.

How large a gap could be seen: before a study by :func:`minimum_detectable`, of a comparison that was made by
:func:`detectable_difference`.

Which test when: predictions of the same patients, bootstrap or DeLong; few folds that share training patients, the corrected
resampled t test or, with five repeats of two folds, the combined F; tasks or cohorts of their own, Wilcoxon; decisions at one
sensitivity, McNemar (two models) or Cochran's Q (more).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

from oncoweave.core.errors import DataError
from oncoweave.evaluate.clustered import sums_by_person
from oncoweave.evaluate.inputs import finite
from oncoweave.evaluate.intervals import varies


@dataclass(frozen=True, kw_only=True, slots=True)
class Test:
    """A test statistic, its two-sided p value, and how many observations (folds, tasks, patients) it rests on.

    ``reason`` says why a p of NaN could not be told.
    """

    __test__ = False

    statistic: float
    p: float
    n: int
    reason: str = ""


def combined_f_5x2(differences: np.ndarray) -> Test:
    """Combined F test of five repeats of two-fold cross-validation (Alpaydin 1999, eq. 5): F with 10 and 5 degrees of freedom.

    Args:
        differences: ``Float[5, 2]`` difference of the metric in each fold of each repeat.

    Raises:
        DataError: another shape, or a NaN.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.shape != (5, 2) or not np.isfinite(differences).all():
        msg = f"5x2 F test: wanted five repeats of two finite differences, got shape {differences.shape}: {differences.tolist()}"
        raise DataError(msg)
    variance = ((differences - differences.mean(axis=1, keepdims=True)) ** 2).sum()
    total = (differences**2).sum()
    if variance == 0:
        reason = "the two folds of every repeat differ alike, so the variance is zero"
        return Test(statistic=float("nan"), p=1.0 if total == 0 else float("nan"), n=10, reason=reason)
    statistic = float(total / (2 * variance))
    return Test(statistic=statistic, p=float(stats.f.sf(statistic, 10, 5)), n=10)


EXACT = 50
"""Differences that are not zero, up to which Wilcoxon's p is exact."""


def wilcoxon(differences: np.ndarray) -> Test:
    """Wilcoxon's signed-rank test of differences over tasks, cohorts or folds; exact up to 50 that are not zero.

    Exact is the distribution of the sum of the ranks as they are: every sign of every rank that is not of a zero is as likely,
    equal sizes have their mean rank, and zeros are ranked and then left out (Pratt 1959), so that a method that wins once and
    draws often is not called better. More differences have a normal p with the variance of these ranks. ``n`` counts the
    differences that are not zero. Folds of one cohort share training patients: their p is too small, and
    :func:`oncoweave.evaluate.compare.corrected_resampled_t` is the test for them.

    Raises:
        DataError: a NaN difference.
    """
    differences = finite("difference", differences)
    won, lost = differences > 0, differences < 0
    num = int((won | lost).sum())
    if not num:
        return Test(statistic=0.0, p=1.0, n=0, reason="no difference at all")
    doubled = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)  # mean ranks are whole or half
    least = int(min(doubled[won].sum(), doubled[lost].sum()))
    if num <= EXACT:
        p = 2 * _tail(doubled[won | lost], least)[0]
    else:
        p = float(stats.wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue)
    return Test(statistic=least / 2, p=min(1.0, p), n=num)


def mcnemar(first: np.ndarray, second: np.ndarray, *, persons: np.ndarray | None = None, mid_p: bool = True) -> Test:
    """McNemar's test of two models' right (1) and wrong (0) decisions on the same patients, exact binomial or mid-p.

    The statistic is the number of patients of whom only the first is right. Mid-p (Fagerland, Lydersen and Laake 2013) counts
    half of the observed table's probability and is less conservative. To compare specificity at one sensitivity give the
    decisions on the negatives, each model's at the cut-off that reached this sensitivity in training patients: a cut-off read
    from the test patients knows their outcomes.

    Several rows of a person, whose ``persons`` says, count together: what the first gains on them, less what it loses, changes
    its sign as one (Fisher's randomisation of pairs, exact; with many persons the clustered test of Obuchowski 1998 as Yang, Sun
    and Hardin 2010 have it), and the statistic is the sum of these gains above 0. With a row a person it is McNemar's test.

    Raises:
        DataError: decisions that are not 0 or 1, or of different patients, or a row whose person is not known.
    """
    if np.shape(first) != np.shape(second) or np.ndim(first) != 1:
        msg = f"decisions: wanted two models' on the same patients, got shapes {np.shape(first)} and {np.shape(second)}"
        raise DataError(msg)
    decisions = _decisions(np.stack([first, second], axis=1))
    sums = sums_by_person(decisions, persons)
    gains = (sums[:, 0] - sums[:, 1]).astype(int)
    gained, lost = int(gains[gains > 0].sum()), int(-gains[gains < 0].sum())
    if not gained + lost:
        return Test(statistic=0.0, p=1.0, n=len(decisions), reason=_alike(persons))
    tail, at = _tail(np.abs(gains[gains != 0]), min(gained, lost))
    p = 2 * tail - (at if mid_p else 0.0)
    return Test(statistic=float(gained), p=min(1.0, float(p)), n=len(decisions))


def _tail(sizes: np.ndarray, least: int) -> tuple[float, float]:
    """Chance that of these sizes, each counted or not by a coin, the sum is at most ``least``, and that it is just that."""
    each, number = np.unique(sizes, return_counts=True)
    if len(each) == 1:
        hits, num = least // each[0], number[0]
        return float(stats.binom.cdf(hits, num, 0.5)), float(stats.binom.pmf(hits, num, 0.5))
    chances = np.ones(1)
    for size, num in zip(each, number, strict=True):
        before, chances = chances, np.zeros(len(chances) + size * num)
        for hits, chance in enumerate(stats.binom.pmf(np.arange(num + 1), num, 0.5)):
            chances[hits * size : hits * size + len(before)] += chance * before
    return float(chances[: least + 1].sum()), float(chances[least])


def cochran_q(right: np.ndarray, *, persons: np.ndarray | None = None) -> Test:
    """Cochran's Q test (1950) of several models' right (1) and wrong (0) decisions, ``[patient, model]``.

    Several rows of a person, whose ``persons`` says, count together: the same sums are taken of how often each model is right on
    a person. Of two models that is the clustered McNemar test of Yang, Sun and Hardin (2010).

    Raises:
        DataError: decisions that are not 0 or 1, fewer than two models, or a row whose person is not known.
    """
    right = _decisions(right)
    sums, num = sums_by_person(right, persons), right.shape[1]
    by_model, by_person = sums.sum(axis=0), sums.sum(axis=1)
    bottom = num * (sums**2).sum() - (by_person**2).sum()
    if bottom == 0:
        return Test(statistic=0.0, p=1.0, n=len(right), reason=_alike(persons))
    statistic = float((num - 1) * (num * (by_model**2).sum() - by_model.sum() ** 2) / bottom)
    return Test(statistic=statistic, p=float(stats.chi2.sf(statistic, num - 1)), n=len(right))


def _alike(persons: np.ndarray | None) -> str:
    return "the models decide alike on every patient" if persons is None else "the models are right as often on every person"


def _decisions(right: np.ndarray) -> np.ndarray:
    right = np.asarray(right, dtype=np.float64)
    if right.ndim != 2 or right.shape[1] < 2 or not len(right) or not np.isin(right, (0.0, 1.0)).all():
        msg = f"decisions: wanted 0 or 1 for each patient and two models or more, got shape {right.shape}"
        raise DataError(msg)
    return right


def auroc_error(area: float, *, positives: int, negatives: int) -> float:
    """Standard error of an AUROC of scores with exponential tails (Hanley and McNeil 1982, eqs. 1 and 2)."""
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (one - area**2) + (negatives - 1) * (other - area**2)
    return float(np.sqrt(variance / (positives * negatives)))


def c_index_error(concordance: float, *, n: int, events: int) -> float:
    """Approximate standard error of Harrell's C: that of an AUROC of the d events against n / 2 + 2 d others.

    The second count is fitted to simulated proportional hazards (9 to 100 % events, C of .58 and .74, n of 150 and 500), where
    the approximation is right to 2 % or too large by up to 18 %, most where C is high: gains are then stated too large.
    """
    return auroc_error(concordance, positives=events, negatives=n // 2 + 2 * events)


def detectable_difference(replicates: np.ndarray, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference that a two-sided test of this precision would find with this power, from bootstrap differences.

    The sum of the two normal quantiles times the standard deviation of the replicates: what the comparison could see, and not
    what it saw. Replicates in which a metric was not defined are left out; NaN where the others do not vary.
    """
    defined = np.asarray(replicates, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    return float(_quantiles(power, alpha) * defined.std(ddof=1)) if varies(defined) else float("nan")


def _quantiles(power: float, alpha: float) -> float:
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))


def minimum_detectable(
    reference: float,
    *,
    kind: Literal["auroc", "c_index"],
    n: int,
    events: int,
    correlation: float,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Smallest gain over a ``reference`` AUROC or C-index that a two-sided paired test would find with this power: for planning.

    The variance of a difference is v1 + v2 - 2 r sqrt(v1 v2) (Hanley and McNeil 1983), each v at its own area; ``correlation`` is
    r between the two estimates (bootstrap replicates show it; models that share data have .5 to .9). NaN where no gain up to a
    perfect model would be found.

    Args:
        reference: value of the model to be beaten, at least 0.5.
        kind: which statistic.
        n: patients.
        events: events, or positives.
        correlation: between the two estimates.
        power: chance to find the gain.
        alpha: two-sided error rate; divide it by the number of comparisons.

    Raises:
        DataError: a reference, correlation or count that cannot be.
    """
    if not (0.5 <= reference < 1 and -1 < correlation < 1 and 0 < events <= n and (kind == "c_index" or events < n)):
        msg = (
            f"minimum detectable gain: wanted a reference in [0.5, 1), a correlation inside (-1, 1) and 0 < events <= n, got"
            f" {reference}, {correlation}, {events} of {n}"
        )
        raise DataError(msg)

    def error(value: float) -> float:
        if kind == "c_index":
            return c_index_error(value, n=n, events=events)
        return auroc_error(value, positives=events, negatives=n - events)

    wanted = _quantiles(power, alpha)
    known = error(reference)

    def excess(gain: float) -> float:
        other = error(reference + gain)
        return gain - wanted * np.sqrt(known**2 + other**2 - 2 * correlation * known * other)

    most = 1 - reference
    if excess(most) < 0:
        return float("nan")
    return float(optimize.brentq(excess, 0.0, most, xtol=1e-8))

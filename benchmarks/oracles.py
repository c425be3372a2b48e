"""How far our statistics are from those of scikit-survival, lifelines, scikit-learn and scipy on simulated cohorts.

Run ``python benchmarks/oracles.py`` (under a minute on one core). Prints the largest absolute difference over 20 cohorts of 150
to 400 patients, half of them with many ties in times and scores. torchsurv, which is not installed here, is compared
with by its stored values: ``tests/reference/make_torchsurv.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import concordance_index, restricted_mean_survival_time
from scipy import stats
from sklearn import metrics as sk
from sksurv import metrics as sks
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from oncoweave.evaluate import discrimination, survival
from oncoweave.evaluate.censoring import fit_censoring
from oncoweave.evaluate.compare import benjamini_hochberg
from oncoweave.evaluate.concordance import harrell_c, uno_c
from oncoweave.evaluate.cox import fit_cox
from oncoweave.evaluate.curves import kaplan_meier, logrank
from oncoweave.evaluate.delong import delong
from oncoweave.evaluate.intervals import bca_interval, jackknife
from oncoweave.evaluate.pairs import ordered_pairs, survival_pairs
from oncoweave.evaluate.ranking import rank_models
from oncoweave.evaluate.restricted import restricted_mean
from oncoweave.evaluate.significance import mcnemar, wilcoxon
from oncoweave.evaluate.weighted import average_precision, explained_variance, mean_of, rank_correlation


@dataclass(frozen=True, kw_only=True)
class Cohort:
    time: np.ndarray
    event: np.ndarray
    risk: np.ndarray
    y: np.ndarray
    score: np.ndarray
    weights: np.ndarray
    generator: np.random.Generator

    @property
    def copies(self) -> np.ndarray:
        """Rows of the cohort as often as their weight says."""
        return np.repeat(np.arange(len(self.y)), self.weights[0].astype(int))


def main() -> None:
    worst: dict[tuple[str, str], float] = {}
    for seed in range(20):
        cohort = simulate(np.random.default_rng(seed), decimals=1 if seed % 2 else 8)
        for comparisons in (ranking, survival_errors, classes, curves, tests):
            for name, oracle, ours, theirs in comparisons(cohort):
                gap = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
                worst[name, oracle] = max(worst.get((name, oracle), 0.0), gap)
    print("| statistic | oracle | largest difference |\n|---|---|---|")
    for (name, oracle), gap in worst.items():
        print(f"| {name} | {oracle} | {gap:.1e} |")


def simulate(generator: np.random.Generator, *, decimals: int) -> Cohort:
    n = int(generator.integers(150, 400))
    log_hazard = generator.normal(size=n)
    death, follow_up = generator.exponential(np.exp(-log_hazard)), generator.exponential(1.5, size=n)
    y = (generator.random(n) < 0.35).astype(float)
    return Cohort(
        time=np.round(np.minimum(death, follow_up), decimals) + 0.05,
        event=death <= follow_up,
        risk=np.round(log_hazard + generator.normal(size=n), decimals),
        y=y,
        score=np.round(np.clip(0.25 * y + 0.7 * generator.random(n), 0.01, 0.99), decimals).clip(0.01, 0.99),
        weights=generator.integers(0, 4, size=(1, n)).astype(np.float32),
        generator=generator,
    )


Rows = Iterator[tuple[str, str, object, object]]


def ranking(c: Cohort) -> Rows:
    n, one, rows = len(c.y), np.zeros(len(c.y), dtype=int), c.copies
    outcome = Surv.from_arrays(c.event, c.time)
    expected = concordance_index(c.time[rows], -c.risk[rows], c.event[rows])
    yield "Harrell's C", "lifelines", harrell_c(c.time, c.event, c.risk), concordance_index(c.time, -c.risk, c.event)
    theirs = sks.concordance_index_censored(c.event, c.time, c.risk)[0]
    yield "Harrell's C", "scikit-survival", harrell_c(c.time, c.event, c.risk), theirs
    yield (
        "Harrell's C under weights",
        "lifelines, copied rows",
        survival_pairs(c.time, c.event, c.risk, one)(c.weights)[0],
        expected,
    )
    tau = fit_censoring(c.time, c.event).horizon()
    theirs = sks.concordance_index_ipcw(outcome, outcome, c.risk, tau=tau)[0]
    yield "Uno's C", "scikit-survival", uno_c(c.time, c.event, c.time, c.event, c.risk, tau), theirs
    horizons = np.quantile(c.time, [0.3, 0.5, 0.6]) + 1e-4
    curve = fit_censoring(c.time, c.event)
    ours = survival.cumulative_dynamic_auc(c.time, c.event, c.risk, horizons=horizons, censoring=curve).values
    yield "cumulative/dynamic AUC", "scikit-survival", ours, sks.cumulative_dynamic_auc(outcome, outcome, c.risk, horizons)[0]
    expected = sk.roc_auc_score(c.y[rows], c.score[rows])
    yield "AUROC under weights", "scikit-learn, copied rows", ordered_pairs(c.y, c.score, one)(c.weights)[0], expected
    expected = sk.average_precision_score(c.y[rows], c.score[rows])
    found = average_precision(c.y, c.score, one)(c.weights)[0]
    yield "average precision under weights", "scikit-learn, copied rows", found, expected
    found = rank_correlation(c.risk, c.score, np.zeros(n, dtype=int))(c.weights)[0]
    yield "Spearman under weights", "scipy, copied rows", found, stats.spearmanr(c.risk[rows], c.score[rows]).statistic


def survival_errors(c: Cohort) -> Rows:
    outcome = Surv.from_arrays(c.event, c.time)
    horizons = np.quantile(c.time, [0.2, 0.4, 0.6]) + 1e-4
    predicted = np.exp(-horizons * np.exp(c.risk[:, None] / 2))
    curve = fit_censoring(c.time, c.event)
    terms = survival.brier_terms(c.time, c.event, predicted, horizons=horizons, censoring=curve)
    expected = sks.brier_score(outcome, outcome, predicted, horizons)[1]
    yield "Brier score (censored)", "scikit-survival", terms.mean(axis=0), expected
    expected = sks.integrated_brier_score(outcome, outcome, predicted, horizons)
    yield "integrated Brier score", "scikit-survival", survival.integrate(terms, horizons).mean(), expected
    theirs = CensoringDistributionEstimator().fit(outcome).predict_proba(horizons)
    yield "censoring curve", "scikit-survival", curve.at(horizons), theirs


def classes(c: Cohort) -> Rows:
    yield "AUROC", "scikit-learn", discrimination.auroc(c.y, c.score), sk.roc_auc_score(c.y, c.score)
    yield "average precision", "scikit-learn", discrimination.auprc(c.y, c.score), sk.average_precision_score(c.y, c.score)
    yield "AUROC from midranks (DeLong)", "scikit-learn", delong(c.y, c.score).values[0], sk.roc_auc_score(c.y, c.score)
    yield "log loss", "scikit-learn", discrimination.log_loss(c.y, c.score), sk.log_loss(c.y, c.score)
    called = c.score > 0.5
    expected = sk.balanced_accuracy_score(c.y, called)
    yield "balanced accuracy", "scikit-learn", discrimination.balanced_accuracy(c.y, called), expected
    grade, guess = c.generator.integers(0, 4, size=(2, len(c.y)))
    expected = sk.cohen_kappa_score(grade, guess, weights="quadratic")
    yield "quadratic kappa", "scikit-learn", discrimination.kappa(grade, guess, 4, weighting="quadratic"), expected
    found = explained_variance(c.risk, c.score)(c.weights)[0]
    yield "R squared under weights", "scikit-learn, copied rows", found, sk.r2_score(c.risk[c.copies], c.score[c.copies])


def curves(c: Cohort) -> Rows:
    theirs = KaplanMeierFitter().fit(c.time, c.event)
    at = np.quantile(c.time, [0.1, 0.3, 0.5, 0.7])
    yield "Kaplan-Meier", "lifelines", kaplan_meier(c.time, c.event).at(at), theirs.predict(at).to_numpy()
    group = (c.risk > np.median(c.risk)).astype(int) + (c.score > 0.5)
    found, expected = logrank(c.time, c.event, group), multivariate_logrank_test(c.time, group, c.event)
    yield "log-rank statistic (three groups)", "lifelines", found.statistic, expected.test_statistic
    until = float(np.quantile(c.time, 0.6))
    expected = restricted_mean_survival_time(theirs, until)
    yield "restricted mean survival", "lifelines", restricted_mean(c.time, c.event, until=until).value, expected

    features = np.column_stack([c.risk, c.score])
    theirs = CoxPHSurvivalAnalysis(ties="efron", tol=1e-14, n_iter=200).fit(features, Surv.from_arrays(c.event, c.time))
    yield "Cox coefficients (ties by Efron)", "scikit-survival", fit_cox(c.time, c.event, features).coefficients, theirs.coef_


def tests(c: Cohort) -> Rows:
    differences = c.generator.normal(0.2, 1.0, size=12)
    yield "Wilcoxon p", "scipy", wilcoxon(differences).p, stats.wilcoxon(differences).pvalue
    first, second = c.score > 0.5, c.score + 0.1 * c.generator.normal(size=len(c.y)) > 0.5
    gained, lost = int((first & ~second).sum()), int((~first & second).sum())
    yield (
        "McNemar exact p",
        "scipy (binomial)",
        mcnemar(first, second, mid_p=False).p,
        stats.binomtest(gained, gained + lost).pvalue,
    )
    p = c.generator.random(15) ** 2
    yield "Benjamini-Hochberg", "scipy", benjamini_hochberg(p), stats.false_discovery_control(p)
    values = np.round(c.generator.random((12, 5)), 1)
    yield (
        "Friedman chi-square",
        "scipy",
        rank_models(values, tuple("abcde")).statistic,
        stats.friedmanchisquare(*values.T).statistic,
    )
    values = c.generator.exponential(size=40)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=2000, rng=c.generator)
    left_out = jackknife(mean_of(values), np.arange(40))
    found = bca_interval(values.mean(), theirs.bootstrap_distribution, left_out=left_out)
    expected = [theirs.confidence_interval.low, theirs.confidence_interval.high]
    yield "BCa ends", "scipy", [found.low, found.high], expected


if __name__ == "__main__":
    main()

"""Survival statistics against scikit-survival and lifelines, on tied and untied times."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.evaluate.survival import (
    breslow_baseline,
    brier_score,
    cumulative_dynamic_auc,
    fit_censoring,
    harrell_c,
    hazard_ratio,
    integrated_brier_score,
    kaplan_meier,
    logrank,
    survival_at,
    uno_c,
)

TOLERANCE = 1e-9  # all are sums of a few hundred terms in float64
HORIZONS = np.array([5.0, 10.0, 20.0])


def draw(rng, size, *, tied):
    time = rng.exponential(size=size) * 20
    return (np.ceil(time) if tied else time), rng.random(size) < 0.6


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def patients(request, rng):
    train_time, train_event = draw(rng, 400, tied=request.param)
    time, event = draw(rng, 150, tied=request.param)
    inside = time < train_time.max()
    time, event = time[inside], event[inside]
    return train_time, train_event, time, event, np.round(rng.normal(size=len(time)), 1)


def surv(time, event):
    from sksurv.util import Surv

    return Surv.from_arrays(event, time)


def test_concordance(patients):
    from sksurv.metrics import concordance_index_censored, concordance_index_ipcw

    train_time, train_event, time, event, risk = patients
    assert harrell_c(time, event, risk) == pytest.approx(concordance_index_censored(event, time, risk)[0], abs=TOLERANCE)
    for tau in (fit_censoring(train_time, train_event).horizon(), 15.0):
        expected = concordance_index_ipcw(surv(train_time, train_event), surv(time, event), risk, tau=tau)[0]
        assert uno_c(train_time, train_event, time, event, risk, tau=tau) == pytest.approx(expected, abs=TOLERANCE)


def test_censoring_curve(patients):
    from sksurv.nonparametric import CensoringDistributionEstimator

    train_time, train_event, time, _, _ = patients
    expected = CensoringDistributionEstimator().fit(surv(train_time, train_event)).predict_proba(time)
    assert fit_censoring(train_time, train_event).at(time) == pytest.approx(expected, abs=TOLERANCE)


def test_auc_and_brier(patients, rng):
    from sksurv import metrics

    train_time, train_event, time, event, risk = patients
    train, test, censoring = surv(train_time, train_event), surv(time, event), fit_censoring(train_time, train_event)
    values, mean = metrics.cumulative_dynamic_auc(train, test, risk, HORIZONS)
    found = cumulative_dynamic_auc(time, event, risk, horizons=HORIZONS, censoring=censoring)
    assert found.values == pytest.approx(values, abs=TOLERANCE)
    assert found.mean == pytest.approx(mean, abs=TOLERANCE)
    survival = -np.sort(-rng.random((len(time), 3)), axis=1)
    expected = metrics.brier_score(train, test, survival, HORIZONS)[1]
    assert brier_score(time, event, survival, horizons=HORIZONS, censoring=censoring) == pytest.approx(expected, abs=TOLERANCE)
    expected = metrics.integrated_brier_score(train, test, survival, HORIZONS)
    assert integrated_brier_score(time, event, survival, horizons=HORIZONS, censoring=censoring) == pytest.approx(expected)


def test_kaplan_meier_and_logrank(patients, rng):
    from lifelines import KaplanMeierFitter
    from lifelines.statistics import multivariate_logrank_test

    _, _, time, event, _ = patients
    fitted, km = KaplanMeierFitter().fit(time, event), kaplan_meier(time, event)
    alive = km.survival > 0  # where nobody survives, lifelines closes the interval at 0 and we keep the upper end
    assert km.times == pytest.approx(fitted.timeline)
    assert km.survival == pytest.approx(fitted.survival_function_.to_numpy()[:, 0], abs=TOLERANCE)
    bounds = fitted.confidence_interval_.to_numpy()
    assert km.low[alive] == pytest.approx(bounds[alive, 0], abs=TOLERANCE)
    assert km.high[alive] == pytest.approx(bounds[alive, 1], abs=TOLERANCE)
    assert km.at_risk == pytest.approx(fitted.event_table["at_risk"].to_numpy())
    for num_groups in (2, 3):
        group = rng.integers(0, num_groups, len(time))
        expected, found = multivariate_logrank_test(time, group, event), logrank(time, event, group)
        assert found.statistic == pytest.approx(expected.test_statistic, abs=TOLERANCE)
        assert found.p == pytest.approx(expected.p_value, abs=TOLERANCE)


def test_hazard_ratio(patients):
    from lifelines import CoxPHFitter

    _, _, time, event, risk = patients
    frame = pd.DataFrame({"time": time, "event": event, "high": (risk > 0).astype(float)})
    fitted = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    found = hazard_ratio(time, event, risk > 0)
    assert found.value == pytest.approx(np.exp(fitted.params_["high"]), rel=1e-6)
    assert [found.low, found.high] == pytest.approx(np.exp(fitted.confidence_intervals_.loc["high"]).tolist(), rel=1e-6)
    assert found.p == pytest.approx(fitted.summary.loc["high", "p"], abs=1e-6)


def test_breslow(patients):
    from sksurv.linear_model.coxph import BreslowEstimator

    _, _, time, event, risk = patients
    fitted, baseline = BreslowEstimator().fit(risk, event, time), breslow_baseline(time, event, risk)
    assert baseline.cumulative_hazard == pytest.approx(fitted.cum_baseline_hazard_(baseline.times), abs=TOLERANCE)
    expected = [[function(h) for h in HORIZONS] for function in fitted.get_survival_function(risk)]
    assert survival_at(baseline, risk, HORIZONS) == pytest.approx(np.array(expected), abs=TOLERANCE)

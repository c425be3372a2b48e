"""Cox losses against lifelines and scikit-survival, ties included."""

import numpy as np
import pandas as pd
import pytest
import torch

from oncoweave.objectives.cox import Cox


@pytest.fixture
def patients(rng):
    x = rng.normal(size=(80, 3))
    time = np.ceil(8 * rng.exponential(np.exp(-x[:, 0])))
    return x, time, rng.random(80) < 0.6


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_equals_scikit_survival(patients, ties, rng):
    from sksurv.linear_model.coxph import CoxPHOptimizer

    x, time, event = patients
    beta = 2 * rng.normal(size=3)
    theirs = CoxPHOptimizer(x, event, time, np.zeros(3), ties).nlog_likelihood(beta) * len(x) / event.sum()
    ours = Cox(ties=ties).loss(torch.from_numpy(x @ beta)[:, None], torch.from_numpy(np.stack([time, event], axis=1)))
    assert float(ours) == pytest.approx(theirs, abs=1e-6)


def test_equals_lifelines_at_its_fit(patients):
    from lifelines import CoxPHFitter

    x, time, event = patients
    fitted = CoxPHFitter().fit(pd.DataFrame(x).assign(time=time, event=event), "time", "event")
    values = torch.from_numpy(np.stack([time, event], axis=1))
    ours = Cox().loss(torch.from_numpy(x @ fitted.params_.to_numpy())[:, None], values)
    assert float(ours) * event.sum() == pytest.approx(-fitted.log_likelihood_, abs=1e-6)

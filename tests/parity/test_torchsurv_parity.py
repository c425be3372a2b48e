"""Survival statistics and the Cox loss against stored values of torchsurv; see tests/reference/make_torchsurv.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from oncoweave.evaluate.survival import brier_score, cumulative_dynamic_auc, fit_censoring, harrell_c, uno_c
from oncoweave.objectives.cox import Cox

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "torchsurv.json").read_text())
TOLERANCE = 1e-6  # torchsurv works in float32


@pytest.fixture(params=GOLDEN["cases"], ids=lambda case: "tied" if case["tied"] else "untied")
def case(request):
    columns = {name: np.array(values) for name, values in request.param["cohort"].items()}
    return columns, request.param["torchsurv"]


def test_concordance_auc_and_brier(case):
    given, theirs = case
    train, test = (given["train_time"], given["train_event"]), (given["test_time"], given["test_event"])
    horizons, censoring = np.array(GOLDEN["horizons"]), fit_censoring(*train)
    assert harrell_c(*test, given["risk"]) == pytest.approx(theirs["harrell_c"], abs=TOLERANCE)
    assert uno_c(*train, *test, given["risk"], tau=theirs["tau"]) == pytest.approx(theirs["uno_c"], abs=TOLERANCE)
    area = cumulative_dynamic_auc(*test, given["risk"], horizons=horizons, censoring=censoring).values
    assert area == pytest.approx(np.array(theirs["auc"]), abs=TOLERANCE)
    error = brier_score(*test, given["survival"], horizons=horizons, censoring=censoring)
    assert error == pytest.approx(np.array(theirs["brier"]), abs=TOLERANCE)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_cox_loss(case, ties):
    given, theirs = case
    values = torch.from_numpy(np.stack([given["test_time"], given["test_event"]], axis=1))
    ours = Cox(ties=ties).loss(torch.from_numpy(given["risk"])[:, None], values)
    assert float(ours) * given["test_event"].sum() == pytest.approx(theirs["cox"][ties], rel=TOLERANCE)

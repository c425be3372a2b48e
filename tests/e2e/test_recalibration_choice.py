"""A study that asks for another recalibration than its own: what is predicted, stored, said, and refused."""

import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError
from oncoweave.core.state import load_state
from oncoweave.data.store import write_cohort
from oncoweave.evaluate.rescale import Isotonic
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.study import ModelSpec, Protocol, Study, run_study

WITHOUT = ("slide", "report", "volume", "film", "variants", "expression")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    drawn, _, _ = draw_cohort(Config(patients=80, seed=5, sites=3, missing=0.0, without=WITHOUT))
    return write_cohort(drawn, tmp_path_factory.mktemp("cohort") / "cohort")


def asked(cohort, endpoint, how):
    quick = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, permutations=0, group_by_site=False)
    linear = ModelSpec(name="linear", fusion="concat")
    return Study(
        name="s", cohort=str(cohort), endpoint=endpoint, models=(linear,), main="linear", recalibration=how, protocol=quick
    )


def test_probabilities_are_those_of_the_form_that_was_asked_for(cohort, tmp_path):
    run = run_study(asked(cohort, "driver_a", "isotonic"), tmp_path / "run")
    stored = load_state(run / "models" / "linear.safetensors").recalibration.by
    assert isinstance(stored, Isotonic) and (pd.Series(stored.values).diff().dropna() >= 0).all()
    p = pd.read_parquet(run / "predictions.parquet").query("model == 'linear'")["p"]
    assert p.between(0, 1).all() and p.nunique() < 0.8 * len(p)  # steps: many patients share a probability
    assert "out-of-fold scores of training patients (isotonic)" in (run / "tripod_ai.csv").read_text(encoding="utf-8")


def test_a_form_that_does_not_serve_the_endpoint_is_refused_before_anything_is_fitted(cohort, tmp_path):
    with pytest.raises(ConfigError, match="isotonic serves binary endpoints, not a survival one"):
        run_study(asked(cohort, "overall_survival", "isotonic"), tmp_path / "run")
    assert not (tmp_path / "run" / "parts").exists()

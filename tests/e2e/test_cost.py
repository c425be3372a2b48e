"""What the models of a run cost: seconds a fold, and parameters."""

import pandas as pd
import pytest

from oncoweave.core.state import load_state
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.cost import count_parameters
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, run_study

WITHOUT = ("slide", "report", "volume", "film", "expression")
QUICK = Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, permutations=0, group_by_site=False)
MODELS = (
    ModelSpec(name="early", fusion="concat"),
    ModelSpec(name="network", fusion="gated"),
    ModelSpec(name="late", fusion="average"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    drawn, _, _ = draw_cohort(Config(patients=60, seed=3, sites=3, without=WITHOUT))
    cohort = write_cohort(drawn, folder / "cohort")
    network = NetworkConfig(epochs=2, members=2, width=8)
    content = {"cohort": str(cohort), "endpoint": "overall_survival", "models": MODELS, "main": "late", "protocol": QUICK}
    return run_study(Study(name="s", network=network, **content), folder / "run")


def test_every_model_has_a_cost_on_every_fold(run):
    cost = pd.read_parquet(run / "cost.parquet")
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert set(cost["model"]) == set(predictions["model"])
    assert (cost.groupby("model").size() == 2).all()
    assert (cost["seconds"] > 0).all()
    # what a late fusion is made of was fitted before, and counts all the same
    seconds = cost.groupby("model")["seconds"].mean()
    assert seconds["late"] > seconds[["only_record", "only_variants"]].max()


def test_parameters_are_those_of_the_fitted_model(run):
    cost = pd.read_parquet(run / "cost.parquet").groupby("model")["parameters"].max()
    locked = {name: load_state(run / "models" / f"{name}.safetensors").fitted for name in ("early", "network", "late")}
    network = locked["network"]
    assert count_parameters(network) == 2 * sum(p.numel() for p in network.model().state_dict().values())
    assert cost["network"] == pytest.approx(count_parameters(network), rel=0.1)  # a fold may have a category less
    assert count_parameters(locked["late"]) == sum(len(base.head.model.coefficients) for base in locked["late"].bases)
    assert cost["late"] == cost["only_record"] + cost["only_variants"]

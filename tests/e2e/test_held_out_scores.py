"""What every family of models takes its cut-off, baseline and recalibration from."""

import numpy as np
import pytest

from oncoweave.evaluate.concordance import harrell_c
from oncoweave.evaluate.curves import breslow_baseline
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.dataset import load_dataset
from oncoweave.train.fold import Fold
from oncoweave.train.locked import lock
from oncoweave.train.panel import plan
from oncoweave.train.study import ModelSpec, NetworkConfig, Protocol, Study, resolve


@pytest.fixture(scope="module")
def noise() -> tuple[Study, Fold]:
    """Training rows whose outcomes are permuted: whatever a model seems to know of them it has memorised."""
    cohort, _, _ = draw_cohort(Config(patients=120, seed=3, without=("slide", "report", "volume", "film")))
    models = (
        ModelSpec(name="concat", fusion="concat"),
        ModelSpec(name="blocks", fusion="pca", penalty="per_modality"),
        ModelSpec(name="network", fusion="joint"),
        ModelSpec(name="stacking", fusion="stacking"),
    )
    asked = Study(
        name="s",
        cohort="",
        endpoint="overall_survival",
        models=models,
        network=NetworkConfig(epochs=15, patience=15, learning_rate=1e-2),
        protocol=Protocol(folds=2, inner_folds=3, group_by_site=False),
    )
    study = resolve(asked, cohort)
    data = load_dataset(cohort, study.endpoint, study.modalities or ())
    data = data.take(data.outcome.known)
    order = np.random.default_rng(1).permutation(len(data))
    shuffled = data.with_target(data.outcome.take(order))
    return study, Fold(train=shuffled, seed=0, inner_folds=3, group_by_site=False)


@pytest.mark.parametrize("name", ["site_only", "concat", "blocks", "network", "stacking"])
def test_scores_of_training_rows_are_by_models_that_did_not_see_them(noise, name):
    study, fold = noise
    model = next(p for p in plan(study, has_sites=True) if p.name == name)
    trained = model.fit(fold)
    scores, target = trained.out_of_fold[:, 0], fold.train.outcome
    rows = ~np.isnan(scores)
    assert harrell_c(target.time[rows], target.event[rows], scores[rows]) < 0.65
    assert rows.all()
    if name == "network":  # each of its networks scores the inner fold that it left out, and knows the others by heart
        memorised = trained.fitted.predict(fold.train)[:, 0]
        assert harrell_c(target.time, target.event, memorised) > 0.6
    locked = lock(model, fold, study)
    assert locked.cutoff == np.median(scores[rows])
    stretched = locked.recalibration.slope[0] * (scores[rows] - scores[rows].mean()) + scores[rows].mean()
    expected = breslow_baseline(target.time[rows], target.event[rows], stretched)
    np.testing.assert_allclose(locked.baseline.cumulative_hazard, expected.cumulative_hazard)

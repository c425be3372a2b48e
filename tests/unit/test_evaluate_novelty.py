import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.evaluate.novelty import fit_novelty

METHODS = ("mahalanobis", "neighbours")


@pytest.mark.parametrize("method", METHODS)
def test_p_of_patients_like_those_of_training_is_uniform(rng, method):
    p, flagged = [], []
    for _ in range(30):
        rows = rng.normal(size=(90, 5)) @ rng.normal(size=(5, 5))
        found = fit_novelty(rows[:60], method=method, generator=rng).examine(rows[60:])
        p.append(found.p)
        flagged.append(found.flagged.mean())
    assert np.mean(p) == pytest.approx(0.51, abs=0.04)
    assert 0.02 < np.mean(flagged) < 0.07 and np.mean(np.concatenate(p) <= 0.1) == pytest.approx(0.09, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [4, 200], ids=["narrow", "wider than patients"])
def test_patients_from_elsewhere_are_flagged(rng, method, width):
    mixing = rng.normal(size=(width, width))
    rows = rng.normal(size=(80, width)) @ mixing
    found = fit_novelty(rows, method=method, generator=rng).examine(rows[:10] + 6 * rows.std(axis=0))
    assert found.flagged.all() and found.p == pytest.approx(1 / 81)


def test_a_patient_between_two_clusters_is_strange_to_his_neighbours_only(rng):
    corners = np.array([[-3.0, -3.0], [-3.0, 3.0], [3.0, -3.0], [3.0, 3.0]])
    rows = rng.normal(0, 0.1, size=(100, 2)) + np.repeat(corners, 25, axis=0)
    middle = np.zeros((1, 2))
    assert fit_novelty(rows, method="neighbours", generator=rng).examine(middle).flagged[0]
    assert not fit_novelty(rows, method="mahalanobis", generator=rng).examine(middle).flagged[0]


def test_units_do_not_matter_but_directions_do(rng):
    rows = rng.normal(size=(300, 2)) @ np.array([[1.0, 0.99], [0.0, 0.14]])
    asked = np.array([[1.0, 1.0], [1.0, -1.0]])
    one = fit_novelty(rows, generator=np.random.default_rng(1)).examine(asked)
    other = fit_novelty(rows * [1, 1000], generator=np.random.default_rng(1)).examine(asked * [1, 1000])
    assert one.strangeness == pytest.approx(other.strangeness) and one.flagged.tolist() == [False, True]


def test_distances_use_the_covariance_of_ledoit_and_wolf(rng):
    from sklearn.covariance import LedoitWolf

    rows = rng.normal(size=(40, 12)) @ rng.normal(size=(12, 12))
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    expected = np.sqrt(LedoitWolf(assume_centered=True).fit(standard).mahalanobis(standard))
    assert fit_novelty(rows, generator=rng).examine(rows).strangeness == pytest.approx(expected)


def test_absent_modalities_are_not_judged_and_a_constant_column_does_no_harm(rng):
    rows = np.column_stack([rng.normal(size=(50, 3)), np.ones(50)])
    rows[:5] = np.nan
    found = fit_novelty(rows, generator=rng).examine(rows[:10])
    assert found.judged.tolist() == [False] * 5 + [True] * 5
    assert np.isnan(found.p[:5]).all() and not found.flagged[:5].any() and np.isfinite(found.p[5:]).all()
    with pytest.raises(DataError, match="wanted 20 training patients or more without a hole, got 15 of 20"):
        fit_novelty(rows[:20], generator=rng)
    with pytest.raises(DataError, match="wanted rows of 4 columns"):
        fit_novelty(rows, generator=rng).examine(rows[:, :3])


def test_many_columns_keep_few_axes_and_the_variance_of_all(rng):
    block = rng.normal(size=(150, 300)) @ np.diag(np.linspace(3, 0.5, 300))
    found = fit_novelty(block, generator=rng)
    distance = found.distance
    assert distance.axes.shape == (64, 300)
    assert distance.axes @ distance.axes.T == pytest.approx(np.eye(64), abs=1e-9)
    assert distance.variances.sum() + (300 - 64) * distance.floor == pytest.approx(300)  # columns are standardised
    assert found.examine(block[:5] + 40).flagged.all()
    again = rng.normal(size=(400, 300)) @ np.diag(np.linspace(3, 0.5, 300))
    assert found.examine(again).flagged.mean() < 0.1
    assert fit_novelty(block[:, :100], generator=rng).distance.axes.shape == (64, 100)

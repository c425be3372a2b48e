"""The site-only baseline: patients of one hospital tie exactly, and those of an unseen one get the average."""

import numpy as np
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold
from oncoweave.train.linear_learner import fit_site

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")


def patients(site: np.ndarray, *, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.exponential(20, len(site)), rng.random(len(site)) < 0.6])
    ids = np.array([f"P{i}" for i in range(len(site))], dtype=object)
    return Dataset(patient_ids=ids, site=site, target=Target(endpoint=SURVIVAL, values=values), samples={}, kinds={})


# numbers of hospitals and patients for which the product of matrices rounded equal rows differently
@pytest.mark.parametrize(("num_sites", "num_tested"), [(8, 22), (8, 30), (9, 21), (9, 23)])
def test_patients_of_one_hospital_tie_exactly(num_sites: int, num_tested: int):
    rng = np.random.default_rng(num_sites)
    names = np.array([f"site-{i}" for i in range(num_sites)], dtype=object)
    train = patients(names[rng.integers(num_sites, size=150)], seed=1)
    fitted = fit_site(Fold(train=train, seed=0, inner_folds=5, group_by_site=False)).fitted
    for tested in (np.full(num_tested, "elsewhere", dtype=object), np.full(num_tested, names[0], dtype=object)):
        assert len(np.unique(fitted.predict(patients(tested, seed=2)))) == 1


def test_an_unseen_hospital_gets_the_average():
    site = np.array(["a", "b"] * 40, dtype=object)
    fitted = fit_site(Fold(train=patients(site, seed=3), seed=0, inner_folds=5, group_by_site=False)).fitted
    mixed = fitted.predict(patients(np.array(["a", "elsewhere", "b"], dtype=object), seed=4))[:, 0]
    assert mixed[1] == pytest.approx(fitted.head.predict(np.zeros((1, 2)))[0, 0])
    assert sorted(mixed)[1] == mixed[1]
    assert mixed[0] != mixed[2]

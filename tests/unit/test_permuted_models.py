"""Models fitted to permuted outcomes, of rows that the lot alone can make impossible to split again."""

import numpy as np
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.modalities.record import Sample
from oncoweave.train.dataset import Dataset
from oncoweave.train.fold import Fold, Trained
from oncoweave.train.panel import plan
from oncoweave.train.study import ModelSpec, Protocol, Study

RARE = np.arange(24) % 6 == 0
"""One patient with the outcome at each of four hospitals."""
STACKING = ModelSpec(name="stacking", fusion="stacking", modalities=("a", "b"))


def rows() -> Fold:
    draw = np.random.default_rng(0)
    samples = {m: tuple(Sample(patient_id=f"p{i}", values={"x": v}) for i, v in enumerate(draw.normal(size=24))) for m in "ab"}
    data = Dataset(
        patient_ids=np.array([f"p{i:02d}" for i in range(24)], dtype=object),
        site=np.repeat(np.array(["s0", "s1", "s2", "s3"], dtype=object), 6),
        samples=samples,
        kinds={"a": "record", "b": "record"},
        target=Target(endpoint=Endpoint(name="y", kind="binary", columns=("y",)), values=RARE.astype(float)),
    )
    return Fold(train=data, seed=0, inner_folds=2, group_by_site=True)


def null(k: int, model: ModelSpec = STACKING):
    protocol = Protocol(permutations=k + 1, group_by_site=True, inner_folds=2)
    study = Study(name="s", cohort="c", endpoint="y", modalities=("a", "b"), models=(model,), main=model.name, protocol=protocol)
    return [p for p in plan(study, has_sites=True) if p.role == "null"][k]


@pytest.mark.parametrize("k", range(30))
def test_a_lot_that_cannot_be_split_again_is_drawn_again(k):
    """One lot in ten puts three of the four outcomes into one hospital, whose fold leaves one behind."""
    assert isinstance(null(k).fit(rows()), Trained)


def test_rows_that_no_lot_lets_split_have_no_null(monkeypatch):
    def refuse(*_, **__):
        raise InfeasibleSplitError("no folds")

    monkeypatch.setattr("oncoweave.train.fold.inner_splits", refuse)
    assert null(0).fit(rows()) is None

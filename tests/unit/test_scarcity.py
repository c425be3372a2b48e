"""Too few patients of a class for the inner folds are refused before anything is fitted, with advice that can be followed."""

import re

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, Target
from oncoweave.core.errors import InfeasibleSplitError
from oncoweave.train.dataset import Dataset
from oncoweave.train.scarcity import refuse_scarce
from oncoweave.train.splitting import study_splits
from oncoweave.train.study import ModelSpec, Protocol, Study

BINARY = Endpoint(name="response", kind="binary", columns=("response",), classes=("no", "yes"))
SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
LATE = ModelSpec(name="stacking", fusion="stacking")
EARLY = ModelSpec(name="early", fusion="concat")


def patients(endpoint: Endpoint, having: int, site: np.ndarray | None = None) -> Dataset:
    flag = (np.arange(40) < having).astype(float)
    values = flag if endpoint is BINARY else np.column_stack([np.arange(1.0, 41.0), flag])
    return Dataset(
        patient_ids=np.array([f"p{i:02d}" for i in range(40)], dtype=object),
        site=np.full(40, "s0", dtype=object) if site is None else site,
        samples={"record": (None,) * 40},
        kinds={"record": "record"},
        target=Target(endpoint=endpoint, values=values),
    )


def split(data: Dataset, *, model: ModelSpec = LATE, **protocol: object) -> tuple[pd.DataFrame, list[str]]:
    settings = Protocol(**({"folds": 2, "repeats": 1, "inner_folds": 2, "group_by_site": False} | protocol))
    return study_splits(Study(name="s", cohort="c", endpoint="e", models=(model,), protocol=settings), data)


@pytest.mark.parametrize("model", [LATE, EARLY])
def test_two_patients_of_a_class_are_refused_by_the_inner_folds(model):
    told = r"class 'yes' is found in 2 patients, of whom 1 trains when .* \(inner_folds: 2\).*gather more patients of it"
    with pytest.raises(InfeasibleSplitError, match=told):
        split(patients(BINARY, 2), model=model)


def test_too_few_events_cannot_be_merged():
    with pytest.raises(InfeasibleSplitError, match=r"an event is found in 2 patients.*gather more patients, or follow them"):
        split(patients(SURVIVAL, 2))


@pytest.mark.parametrize("model", [LATE, EARLY])
@pytest.mark.parametrize("endpoint", [BINARY, SURVIVAL])
@pytest.mark.parametrize("having", [4, 5, 6])
def test_settings_that_are_advised_will_do(endpoint, having, model):
    data = patients(endpoint, having)
    with pytest.raises(InfeasibleSplitError, match="; set ") as refused:
        split(data, model=model)  # whichever fusion: single modalities are scored out of fold in every study
    advised = {key: int(value) for key, value in re.findall(r"(folds|inner_folds): (\d+)", str(refused.value).split("; set ")[1])}
    assert len(split(data, **advised)[0]) == 40


def test_a_class_of_one_hospital_is_split_by_patient_where_that_is_advised():
    site = np.array(["a", "b", "c", "d"], dtype=object)[np.arange(40) % 4]
    site[:9] = ["a"] * 7 + ["b", "c"]
    data = patients(BINARY, 9, site)
    with pytest.raises(InfeasibleSplitError, match=r"set group_by_site: false$"):
        split(data, group_by_site=True)
    assert len(split(data)[0]) == 40


def test_other_advice_stands_in_place_of_settings_that_do_not_make_the_splits():
    data = patients(BINARY, 5)
    splits = pd.DataFrame({"patient_id": data.patient_ids, "repeat": 0, "fold": np.arange(40) % 2})
    study = Study(name="s", cohort="c", endpoint="e", models=(LATE,), protocol=Protocol(inner_folds=2, group_by_site=False))
    with pytest.raises(InfeasibleSplitError, match=r"models are chosen; set "):
        refuse_scarce(study, data, splits)
    with pytest.raises(InfeasibleSplitError, match=r"models are chosen; ask for more labels$"):
        refuse_scarce(study, data, splits, advice="ask for more labels")

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError, UnknownNameError
from oncoweave.evaluate.tables import check_predictions

SURVIVAL = Endpoint(name="os", kind="survival", columns=("time", "event"), time_unit="months")
BINARY = Endpoint(name="response", kind="binary", columns=("response",))
CLASSES = Endpoint(name="subtype", kind="multiclass", columns=("subtype",), classes=("a", "b"))
LABELS = Endpoint(name="findings", kind="multilabel", columns=("x", "z"))
AGE = Endpoint(name="age", kind="regression", columns=("age",))


def keys(**own):
    base = {"patient_id": ["p1", "p0"], "site": ["s", None], "model": "m", "repeat": 0, "fold": [1, 0], "pattern": "rna"}
    return pd.DataFrame(base | own)


def survival(**changed):
    own = {"time": [3.0, 5.0], "event": [1, 0], "risk": [0.3, -1.0], "high_risk": [True, False]}
    return keys(**(own | {"survival@12": [0.5, 0.9], "survival@36": [0.2, 0.8]} | changed))


def test_a_good_table_is_sorted_and_knows_its_horizons():
    table = check_predictions(survival(), SURVIVAL)
    assert table.horizons == (12.0, 36.0)
    assert table.frame["patient_id"].tolist() == ["p0", "p1"]
    assert table.models == ["m"]
    with pytest.raises(UnknownNameError, match="no model in the prediction table named 'n'"):
        table.of("n")


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        (BINARY, {"y": [0, 1], "p": [0.2, 0.7]}),
        (CLASSES, {"y": ["a", "b"], "p@a": [0.2, 0.7], "p@b": [0.8, 0.3]}),
        (LABELS, {"y@x": [0, np.nan], "y@z": [np.nan, 1], "p@x": [0.2, 0.7], "p@z": [0.8, 0.3]}),
        (AGE, {"y": [50.0, 60.0], "yhat": [55.0, 55.0]}),
        (SURVIVAL, {"time": [3.0, 5.0], "event": [1, 0], "risk": [0.3, -1.0], "high_risk": [None, None]}),
    ],
    ids=["binary", "multiclass", "multilabel", "regression", "survival without probabilities or cut-off"],
)
def test_every_kind_has_its_schema(endpoint, own):
    assert len(check_predictions(keys(**own), endpoint).of("m")) == 2


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        (
            {"time": [-1.0, 5.0]},
            "column 'time': wanted a time of zero or more, got -1.0 in row 1, model 'm', repeat 0, fold 1",
        ),
        ({"event": [2, 0]}, "column 'event': wanted 0 or 1, got .*2"),
        ({"event": ["dead", "alive"]}, "column 'event': wanted 0 or 1, got 'alive'"),
        ({"risk": [np.nan, 0.0]}, "column 'risk': wanted a finite log-risk, got nan"),
        ({"high_risk": [True, None]}, "column 'high_risk': wanted a value in all rows of a model or in none"),
        ({"survival@12": [0.5, np.nan]}, "column 'survival@12': wanted a value in all rows of a model or in none"),
        ({"survival@12": [0.5, 1.9]}, "column 'survival@12': wanted a probability, got 1.9"),
        ({"survival@36": [0.6, 0.8]}, "column 'survival@36': wanted a survival not above that of 'survival@12', got 0.6"),
        ({"survival@late": [0.1, 0.1]}, "column 'survival@late': wanted a time after"),
        ({"survival@36.0": [0.1, 0.1]}, "write a horizon in its shortest form"),
        ({"fold": [0.5, 0]}, "column 'fold': wanted a whole number from 0, got 0.5"),
        ({"model": [None, "m"]}, "column 'model': wanted a value in every row"),
        ({"patient_id": ["p0", "p0"], "fold": [0, 1]}, "column 'fold': wanted one fold a patient, model and repeat"),
        (
            {"patient_id": ["p0", "p0"], "repeat": [0, 1], "site": "s"},
            "column 'time': wanted one value a patient, got 3.0 and 5.0 for the patient of rows 1 and 2",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_column(changed, match):
    with pytest.raises(DataError, match=match):
        check_predictions(survival(**changed), SURVIVAL)


def test_missing_columns_and_rows_are_named():
    with pytest.raises(DataError, match=r"the survival endpoint 'os': the table lacks the column\(s\) \['risk'\]"):
        check_predictions(survival().drop(columns="risk"), SURVIVAL)
    with pytest.raises(DataError, match="has no rows"):
        check_predictions(survival().iloc[:0], SURVIVAL)


def test_a_site_that_changes_between_models_is_refused():
    frame = pd.concat([survival(), survival(model="n", site=["other", None])])
    told = "column 'site': wanted one value a patient, got 's' and 'other' for the patient of rows 1 and 3"
    with pytest.raises(DataError, match=told):
        check_predictions(frame, SURVIVAL)


@pytest.mark.parametrize(
    ("endpoint", "own", "match"),
    [
        (BINARY, {"y": [0, 1], "p": [0.2, -0.7]}, "column 'p': wanted a probability, got -0.7"),
        (CLASSES, {"y": ["a", "c"], "p@a": [0.2, 0.7], "p@b": [0.8, 0.3]}, "column 'y': wanted one of the classes .*, got 'c'"),
        (CLASSES, {"y": ["a", "b"], "p@a": [0.2, 0.7], "p@b": [0.2, 0.3]}, "probabilities that sum to 1 .the worst sum is 0.4"),
        (LABELS, {"y@x": [0, 3], "y@z": [1, 1], "p@x": [0.2, 0.7], "p@z": [0.8, 0.3]}, "column 'y@x': wanted 0, 1 or nothing"),
        (AGE, {"y": [50.0, 60.0], "yhat": [np.inf, 55.0]}, "column 'yhat': wanted a finite number, got inf"),
    ],
)
def test_other_kinds_name_the_column_too(endpoint, own, match):
    with pytest.raises(DataError, match=match):
        check_predictions(keys(**own), endpoint)

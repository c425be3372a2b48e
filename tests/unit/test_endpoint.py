"""Endpoints refuse values that are not theirs, and say where they stand."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint, read_target
from oncoweave.core.errors import DataError
from oncoweave.core.units import convert_time

SURVIVAL = Endpoint(name="os", kind="survival", columns=("months", "death"), time_unit="months")


def patients(**columns: object) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.Index([f"p{i}" for i in range(n)], name="patient_id"))


def test_survival_values_are_time_and_event_with_nan_where_unknown():
    target = read_target(SURVIVAL, patients(months=[3.0, None, 5.0], death=[1, 0, None]))
    assert target.known.tolist() == [True, False, False]
    assert target.time[0] == 3.0
    assert target.event[0]


def test_multilabel_patient_counts_as_known_with_one_known_label():
    endpoint = Endpoint(name="m", kind="multilabel", columns=("a", "b"))
    target = read_target(endpoint, patients(a=[1, None, None], b=[None, 0, None]))
    assert target.known.tolist() == [True, True, False]


def test_classes_are_indexed_in_the_order_declared():
    endpoint = Endpoint(name="grade", kind="ordinal", columns=("g",), classes=("low", "mid", "high"))
    values = read_target(endpoint, patients(g=["high", "low", None])).values
    assert values[:2].tolist() == [2.0, 0.0]
    assert np.isnan(values[2])


@pytest.mark.parametrize(
    ("endpoint", "columns", "message"),
    [
        (
            SURVIVAL,
            {"months": [1.0, -2.0], "death": [0, 1]},
            r"wanted a follow-up time of zero or more, got -2.0 in row 2 of the patient table",
        ),
        (
            SURVIVAL,
            {"months": [1.0, 2.0], "death": ["yes", "no"]},
            r"wanted a number in column 'death', got 'yes' in row 1 of the patient table",
        ),
        (SURVIVAL, {"months": [1.0, 2.0], "death": [1, 2]}, r"wanted 0 or 1, got 2.0 in row 2 of the patient table"),
        (
            SURVIVAL,
            {"time": [1.0], "death": [1]},
            r"column\(s\) \['months'\] not in the patient table; it has \['time', 'death'\]",
        ),
    ],
)
def test_bad_outcomes_are_refused_with_patient_and_value(endpoint, columns, message):
    with pytest.raises(DataError, match=message):
        read_target(endpoint, patients(**columns))


def test_unknown_class_is_refused():
    endpoint = Endpoint(name="s", kind="multiclass", columns=("s",), classes=("A", "B"))
    with pytest.raises(DataError, match=r"wanted one of \['A', 'B'\], got 'C' in row 2 of the patient table"):
        read_target(endpoint, patients(s=["A", "C"]))


def test_survival_without_unit_is_refused():
    with pytest.raises(DataError, match="needs a time unit"):
        Endpoint(name="os", kind="survival", columns=("t", "e"))


def test_a_year_is_twelve_months_and_unknown_units_name_the_nearest():
    assert convert_time(2, source="years", target="months") == pytest.approx(24)
    with pytest.raises(LookupError, match="did you mean 'months'"):
        convert_time(1, source="month", target="days")

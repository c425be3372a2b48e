"""Columns as numbers: reading, lining up, scaling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import (
    Scaling,
    blank_absent,
    by_column,
    fit_scaling,
    join_records,
    line_up,
    make_record,
    mean_of_known,
    read_numbers,
    union,
    varying,
)

SPEC = ModalitySpec(name="labs", kind="record")


def record(**columns: list) -> Record:
    rows = pd.DataFrame({"patient_id": "P1", "sample_id": [str(i) for i in range(len(next(iter(columns.values()))))], **columns})
    return Record(patient_id="P1", modality=SPEC, rows=rows, root=Path("cohort"))


def test_numbers_are_read_with_gaps():
    names, values = read_numbers(record(a=[1.0, None], b=pd.array([2, None], dtype="Int64"), c=[True, False]))
    assert names == ("a", "b", "c")
    np.testing.assert_array_equal(values, [[1, 2, 1], [np.nan, np.nan, 0]])


def test_text_in_a_number_column_names_row_file_column_and_value():
    with pytest.raises(DataError, match=r"^modality 'labs', row 1 .*cohort/modalities/labs.parquet.*column 'b' holds 'high'"):
        read_numbers(record(a=[1.0], b=["high"]))


def test_infinite_values_and_tables_without_values_are_refused():
    with pytest.raises(DataError, match="column 'a' holds an infinite value"):
        read_numbers(record(a=[np.inf]))
    rows = pd.DataFrame({"patient_id": ["P1"], "sample_id": ["1"]})
    with pytest.raises(DataError, match="no columns of values"):
        read_numbers(Record(patient_id="P1", modality=SPEC, rows=rows, root=None))


def test_mean_of_known_ignores_gaps():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(mean_of_known(values), [2.0, 5.0, np.nan])


def test_patients_with_other_columns_are_lined_up():
    rows = [(("a", "b"), np.array([1.0, 2.0])), None, (("c", "b"), np.array([3.0, 4.0]))]
    np.testing.assert_array_equal(line_up(rows, ("b", "a")), [[2, 1], [np.nan, np.nan], [4, np.nan]])
    assert union([("a", "b"), ("c", "b")]) == ("a", "b", "c")


def test_scaling_standardises_and_leaves_constant_columns_at_zero():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(1e6, 1e-2, 50), np.full(50, 0.1 + 0.2), np.full(50, np.nan), rng.normal(5, 3, 50)])
    values[::7, 3] = np.nan
    scaled = fit_scaling(values)(values)
    assert abs(np.nanmean(scaled[:, 3])) < 1e-12
    assert np.nanstd(scaled[:, 3]) == pytest.approx(1)
    assert np.nanstd(scaled[:, 0]) == pytest.approx(1)
    np.testing.assert_allclose(scaled[:, 1], 0, atol=1e-12)  # rounding of the mean is not blown up
    assert np.isnan(scaled[:, 2]).all()


def test_varying_needs_two_known_values_that_differ():
    values = np.array([[1.0, 1.0, np.nan, np.nan], [2.0, 1.0, np.nan, 3.0]])
    assert varying(values).tolist() == [True, False, False, False]


def test_a_block_that_is_not_finite_is_refused():
    block = np.array([[1.0, np.nan], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"1 value\(s\) of a block are not finite"):
        blank_absent(block, np.array([True, False]))
    np.testing.assert_array_equal(blank_absent(np.ones((2, 1)), np.array([True, False])), [[1], [np.nan]])


def test_joined_records_take_types_from_those_who_have_values():
    records = [make_record(p, [{"lab": v}], modality=SPEC, root=Path()) for p, v in (("P1", None), ("P2", 2.0))]
    table = join_records(records)
    assert table["lab"].dtype == float
    assert table["sample_id"].tolist() == ["P1-1", "P2-1"]


def test_one_absurd_value_counts_as_ten_training_deviations():
    scaling = fit_scaling(np.array([[0.0], [1.0], [2.0]]))
    scaled = scaling(np.array([[1.0], [36_000.0], [-36_000.0], [np.nan]]))
    np.testing.assert_array_equal(scaled[:, 0], [0.0, 10.0, -10.0, np.nan])


def test_values_outside_the_training_range_by_more_than_its_width_are_counted_by_column():
    train = np.array([[30.0, 1.0, np.nan], [90.0, 1.0, np.nan], [np.nan, 1.0, np.nan]])
    new = np.array([[22995.0, 1.0, 5.0], [150.0, 1.0 + 1e-9, 5.0], [-31.0, 2.0, np.nan], [np.nan, np.nan, np.nan]])
    scaling = fit_scaling(train)
    assert by_column(("age", "constant", "nobody"), scaling.far_outside(new)) == {"age": 2, "constant": 1}
    assert not scaling.far_outside(train).any()


def test_a_scaling_stored_before_ranges_were_counts_beyond_ten_standard_deviations():
    old = Scaling(centre=np.array([60.0]), scale=np.array([10.0]))
    assert old.far_outside(np.array([[22995.0], [161.0], [159.0], [np.nan]])).tolist() == [2]

"""Record: types, gaps, rare and unknown categories in closed form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.modalities import record
from oncoweave.modalities.record import Sample

SPEC = ModalitySpec(name="clinical", kind="record")


def sample(patient: str = "P1", **values) -> Sample:
    return Sample(patient_id=patient, values=values)


def read(**columns) -> Sample | None:
    rows = pd.DataFrame({"patient_id": "P1", **columns})
    return record.read(Record(patient_id="P1", modality=SPEC, rows=rows, root=Path("cohort")))


def test_cells_become_numbers_texts_and_gaps():
    rows = {"n": [3], "i": pd.array([None], dtype="Int64"), "b": [True], "t": [" IV "], "e": [""], "c": pd.Categorical(["x"])}
    assert read(**rows).values == {"n": 3.0, "i": None, "b": 1.0, "t": "IV", "e": None, "c": "x"}


def test_the_first_measured_value_counts():
    assert read(lab=[np.nan, 4.0, 9.0], stage=[None, "II", "III"]).values == {"lab": 4.0, "stage": "II"}


def test_a_row_of_gaps_is_an_absent_patient():
    assert read(lab=[np.nan], stage=[None]) is None


def test_cells_that_are_neither_are_refused():
    with pytest.raises(DataError, match=r"^modality 'clinical', row 1 .*clinical.parquet.*column 'day' holds Timestamp"):
        read(day=[pd.Timestamp("2020-01-01")])
    with pytest.raises(DataError, match="column 'lab' holds inf"):
        read(lab=[np.inf])


def test_words_for_missing_are_refused():
    with pytest.raises(DataError, match="patient 'P1': column 'stage' holds the text 'N/A'; leave what is missing empty"):
        record.check(sample(stage="N/A"))


def test_numbers_are_standardised_and_gaps_take_the_median():
    lab = [1.0, 2.0, 3.0, 10.0, None]
    drawn = [sample(lab=v, age=float(i)) for i, v in enumerate(lab)]
    fitted = record.fit(drawn)
    assert fitted.feature_names == ("lab", "age", "lab missing")
    block = fitted.block(drawn)
    known = np.array(lab[:4], dtype=float)
    np.testing.assert_allclose(block[:4, 0], (known - 4) / known.std())
    np.testing.assert_allclose(block[4], [(2.5 - 4) / known.std(), block[4, 1], 1])
    assert fitted.collate(drawn).keep[4].tolist() == [False, True]


def test_no_missing_indicator_where_training_has_no_gaps():
    fitted = record.fit([sample(lab=1.0, age=4.0), sample(lab=2.0, age=6.0)])
    assert fitted.feature_names == ("lab", "age")
    np.testing.assert_allclose(fitted.block([sample(lab=None, age=5.0)])[0], [0, 0])  # median of two is their mean


def test_rare_levels_are_merged_and_unknown_ones_are_zero_and_counted():
    stages = ["I"] * 60 + ["II"] * 5 + ["IIIa"] * 4 + ["IIIb"] * 4 + [None] * 27
    fitted = record.fit([sample(stage=s) for s in stages])
    assert fitted.feature_names == ("stage=I", "stage=II", "stage=(rare)", "stage missing")
    new = [sample(stage="II"), sample(stage="IIIb"), sample(stage="IV"), sample(stage=None, other=1.0)]
    block = fitted.block(new)
    np.testing.assert_array_equal(block[:3], [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    assert np.isnan(block[3]).all()
    assert fitted.unknown(new) == {"stage": 1}
    assert fitted.collate(new).present.tolist() == [True, True, True, False]


def test_a_single_rare_level_stays_as_it_is():
    fitted = record.fit([sample(sex=s) for s in ["f"] * 99 + ["m"]])
    assert len(fitted.rare[0]) == 0
    assert fitted.feature_names == ("sex=f", "sex=m")


def test_columns_that_do_not_vary_are_dropped_and_named():
    fitted = record.fit([sample(a=1.0, b=1.0, c="x", d=None), sample(a=2.0, b=1.0, c="x", d=None)])
    assert fitted.feature_names == ("a",)
    assert fitted.dropped == ("b", "c", "d")


def test_a_column_of_numbers_and_texts_is_refused():
    with pytest.raises(DataError, match=r"column 'stage' holds the number 2\.0 in patient 'B' and the text 'II' in patient 'A'"):
        record.fit([sample("A", stage="II"), sample("B", stage=2.0)])
    numbers = record.fit([sample(lab=1.0), sample(lab=2.0)])
    with pytest.raises(DataError, match="patient 'P7': column 'lab' holds the text 'high', training patients have numbers"):
        numbers.block([sample("P7", lab="high")])
    texts = record.fit([sample(stage="I"), sample(stage="II")])
    with pytest.raises(DataError, match=r"patient 'P7': column 'stage' holds the number 1.0, training patients have text"):
        texts.collate([sample("P7", stage=1.0)])


def test_nothing_to_learn_is_refused():
    with pytest.raises(DataError, match=r"no column of \['a'\] varies"):
        record.fit([sample(a=1.0), sample(a=1.0)])


def test_a_text_among_numbers_at_prediction_is_placed_by_its_row_and_names_nobody():
    numbers = record.fit([sample(str(i), lab=float(i)) for i in range(6)])
    rows = pd.DataFrame({"patient_id": ["P7"], "lab": ["about 63"]}, index=[41])
    read = record.read(Record(patient_id="P7", modality=SPEC, rows=rows, root=Path("cohort")))
    with pytest.raises(DataError, match=r"row 42 \(cohort/modalities/clinical\.parquet\): column 'lab' holds the text") as caught:
        numbers.block([read])
    assert "P7" not in str(caught.value)

"""Embedding: whole vectors, averaged over samples."""

from pathlib import Path

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.cohort import ModalitySpec
from oncoweave.data.columns import make_record
from oncoweave.modalities import embedding

SPEC = ModalitySpec(name="slide_vector", kind="embedding")


def read(*rows: dict[str, float | None]) -> embedding.Sample | None:
    return embedding.read(make_record("P1", list(rows), modality=SPEC, root=Path("cohort")))


def test_samples_are_averaged_and_empty_rows_left_out():
    sample = read({"e0": 1.0, "e1": 4.0}, {"e0": None, "e1": None}, {"e0": 3.0, "e1": 0.0})
    assert sample.values.tolist() == [[1, 4], [3, 0]]
    fitted = embedding.fit([sample, read({"e0": 4.0, "e1": 4.0})])
    np.testing.assert_allclose(fitted.block([sample])[0], [-1, -1])  # (2, 2) beside (4, 4)
    assert fitted.collate([sample]).values.shape == (1, 1, 2)


def test_columns_in_another_order_are_the_same_vector():
    fitted = embedding.fit([read({"e0": 1.0, "e1": 4.0}), read({"e0": 2.0, "e1": 8.0})])
    np.testing.assert_array_equal(fitted.block([read({"e1": 4.0, "e0": 1.0})]), fitted.block([read({"e0": 1.0, "e1": 4.0})]))


def test_no_vector_is_an_absent_patient():
    assert read({"e0": None, "e1": None}) is None


def test_a_vector_with_gaps_is_refused():
    with pytest.raises(DataError, match=r"^modality 'slide_vector', row 1 .*slide_vector.parquet.*1 gap\(s\), first in 'e1'"):
        read({"e0": 1.0, "e1": None})


def test_a_vector_of_zeros_is_refused():
    with pytest.raises(DataError, match=r"row 1 .*zero in all 2 columns"):
        embedding.check(read({"e0": 0.0, "e1": 0.0}))


def test_other_columns_of_the_same_width_are_refused():
    fitted = embedding.fit([read({"e0": 1.0, "e1": 4.0}), read({"e0": 2.0, "e1": 8.0})])
    with pytest.raises(DataError, match=r"row 1 .*width 2, the training patients' 2.*column 'e0' is not in both"):
        fitted.collate([read({"f0": 1.0, "e1": 2.0})])

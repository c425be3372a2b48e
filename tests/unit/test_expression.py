"""Expression: normalisation, gene choice and gaps in closed form."""

from pathlib import Path

import numpy as np
import pytest

from oncoweave.core.errors import DataError, UnknownNameError
from oncoweave.data.cohort import ModalitySpec
from oncoweave.data.columns import make_record
from oncoweave.modalities import expression
from oncoweave.modalities.expression import Sample


def sample(values: list, *, genes: str = "ABC", scale: str = "log2", patient: str = "P1") -> Sample:
    return Sample(
        patient_id=patient, genes=tuple(genes), values=np.array(values, dtype=float).reshape(-1, len(genes)), scale=scale
    )


def test_counts_become_log2_of_counts_per_million():
    profile = expression.profile(sample([10, 30, 60], scale="counts"))
    np.testing.assert_allclose(profile, np.log2(np.array([1e5, 3e5, 6e5]) + 1))


def test_sequencing_depth_does_not_count_and_samples_are_averaged_after_normalisation():
    shallow, deep = sample([1, 2, 7], scale="counts"), sample([100, 200, 700], scale="counts")
    np.testing.assert_allclose(expression.profile(shallow), expression.profile(deep))
    both = sample([[1, 2, 7], [500, 300, 200]], scale="counts")
    second = expression.profile(sample([500, 300, 200], scale="counts"))
    np.testing.assert_allclose(expression.profile(both), (expression.profile(shallow) + second) / 2)


def test_a_gene_measured_in_one_sample_only_counts_from_there():
    np.testing.assert_array_equal(expression.profile(sample([[1, np.nan, np.nan], [3, 4, np.nan]])), [2, 4, np.nan])


def test_log2_and_z_are_taken_as_they_are():
    for scale in ("log2", "z"):
        np.testing.assert_array_equal(expression.profile(sample([-1, 0, 2], scale=scale)), [-1, 0, 2])


def test_genes_of_largest_median_absolute_deviation_are_chosen(rng, monkeypatch):
    monkeypatch.setattr(expression, "MAX_GENES", 2)
    spread = {"A": 1.0, "B": 0.1, "C": 5.0, "D": 0.0}
    drawn = [sample([rng.normal() * s for s in spread.values()], genes="ABCD", patient=str(i)) for i in range(40)]
    drawn[0] = sample([0, 500.0, 0, 0], genes="ABCD")  # one outlier must not bring gene B in, as it would by variance
    fitted = expression.fit(drawn)
    assert fitted.genes == ("A", "C")


def test_genes_few_patients_have_are_left_out_and_absent_genes_are_not_kept(rng):
    drawn = [sample(rng.normal(size=2), genes="AB") for _ in range(9)] + [sample(rng.normal(size=3)) for _ in range(3)]
    fitted = expression.fit(drawn)
    assert fitted.genes == ("A", "B")
    tokens = fitted.collate([sample([1.0], genes="B"), sample([1.0], genes="C")])
    assert tokens.keep.tolist() == [[False, True], [False, False]]
    block = fitted.block([sample([1.0], genes="B"), sample([1.0], genes="C")])
    assert block[0, 0] == 0  # the training mean
    assert np.isnan(block[1]).all()


def test_training_block_is_standardised(rng):
    drawn = [sample(rng.normal(3, 2, size=3)) for _ in range(30)]
    block = expression.fit(drawn).block(drawn)
    np.testing.assert_allclose(block.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(block.std(axis=0), 1)


def test_scales_are_not_mixed(rng):
    drawn = [sample(rng.normal(size=3), patient=str(i)) for i in range(4)]
    with pytest.raises(DataError, match="patient 'P9': expression is on the scale 'z', the training patients' on 'log2'"):
        expression.fit([*drawn, sample([0, 1, 2], scale="z", patient="P9")])
    with pytest.raises(DataError, match="scale 'z'"):
        expression.fit(drawn).block([sample([0, 1, 2], scale="z")])


def test_the_scale_must_be_stated():
    def record(notes: dict[str, str]):
        return make_record("P1", [{"A": 1.0}], modality=ModalitySpec(name="rna", kind="expression", notes=notes), root=Path())

    with pytest.raises(DataError, match="note 'scale' is missing; state one of counts, log2, z"):
        expression.read(record({}))
    with pytest.raises(UnknownNameError, match=r"no scale of expression .* named 'count'; did you mean 'counts'"):
        expression.read(record({"scale": "count"}))


def test_counts_that_cannot_be_counts_are_refused():
    with pytest.raises(DataError, match=r"gene 'B' has the count -2\.0"):
        expression.check(sample([1, -2, 3], scale="counts"))
    with pytest.raises(DataError, match="counts are all zero"):
        expression.check(sample([0, 0, np.nan], scale="counts"))
    expression.check(sample([1, -2, 3], scale="z"))


def test_nothing_to_learn_is_refused():
    with pytest.raises(DataError, match="no gene of 3 varies between the 2 training patients"):
        expression.fit([sample([1, 2, 3]), sample([1, 2, 3])])


def test_a_row_of_gaps_is_an_absent_patient():
    spec = ModalitySpec(name="rna", kind="expression", notes={"scale": "z"})
    assert expression.read(make_record("P1", [{"A": None, "B": None}], modality=spec, root=Path())) is None


def test_an_absurd_value_counts_as_ten_robust_deviations_and_does_not_flatten_the_others(rng):
    values = rng.normal(size=(60, 3))
    wild = values.copy()
    wild[7, 1] = 36_000.0
    samples = [Sample(patient_id=f"p{i}", genes=("A", "B", "C"), values=row[None], scale="z") for i, row in enumerate(wild)]
    preparation = expression.fit(samples)
    block = preparation.block(samples)
    assert block[7, 1] < 12
    assert block[:, 1].std() == pytest.approx(1.0)
    assert np.median(np.abs(block[:, 1])) > 0.3


def test_a_row_of_gaps_beside_a_row_of_counts_is_no_library(tmp_path):
    read = Sample(patient_id="P1", genes=("A", "B"), values=np.array([[3.0, 5.0], [np.nan, np.nan]]), scale="counts")
    found = expression.read(expression.to_record(read, root=tmp_path))
    np.testing.assert_array_equal(found.values, [[3, 5]])
    expression.check(found)


def test_counts_of_another_set_of_genes_are_said(rng):
    genes = tuple(f"G{k}" for k in range(100))

    def drawn(count, scale="counts"):
        rows = rng.integers(1, 50, size=(12, count)).astype(float)
        return [Sample(patient_id=str(i), genes=genes[:count], values=row[None], scale=scale) for i, row in enumerate(rows)]

    fitted = expression.fit(drawn(100))
    assert fitted.differs([*drawn(95), None]) == ""
    told = fitted.differs([*drawn(40), *drawn(100)])
    assert told.startswith("12 of 24 patients have counts of 40 to 40 genes, the training patients of 100 to 100")
    assert expression.fit(drawn(100, "log2")).differs(drawn(40, "log2")) == ""

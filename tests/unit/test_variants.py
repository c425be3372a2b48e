"""Variants: not profiled is never wild type; rates, burdens and the frequency filter in closed form."""

from pathlib import Path

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.cohort import ModalitySpec
from oncoweave.data.columns import make_record
from oncoweave.modalities import variants
from oncoweave.modalities.variants import Sample

NAN = np.nan


def sample(patient: str = "P1", **values: float) -> Sample:
    return Sample(patient_id=patient, alterations=tuple(values), values=np.array(list(values.values()), dtype=float))


def cohort() -> list[Sample]:
    """Ten patients: TP53 in 4 of 8 profiled, KRAS in 2 of 10, RARE in 1 of 10."""
    tp53 = [1, 1, 1, 1, 0, 0, 0, 0, NAN, NAN]
    kras = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    rare = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    return [sample(TP53_mut=a, KRAS_mut=b, RARE_mut=c) for a, b, c in zip(tp53, kras, rare, strict=True)]


def test_rates_are_over_the_profiled_and_are_imputed():
    fitted = variants.fit(cohort())
    assert fitted.alterations == ("TP53_mut", "KRAS_mut")
    np.testing.assert_allclose(fitted.rates, [0.5, 0.2])
    block = fitted.block([sample(KRAS_mut=1, RARE_mut=0)])
    np.testing.assert_allclose(block[0, :2], [0.5, 1.0])
    assert fitted.collate([sample(KRAS_mut=1, RARE_mut=0)]).keep[0].tolist() == [False, True, True]


def test_not_profiled_differs_from_wild_type():
    fitted = variants.fit(cohort())
    wild, unknown = sample(TP53_mut=0, KRAS_mut=0, RARE_mut=0), sample(TP53_mut=NAN, KRAS_mut=0, RARE_mut=0)
    block = fitted.block([wild, unknown])
    assert fitted.feature_names[-1] == "not profiled"
    assert block[0, 0] == 0
    assert block[1, 0] == 0.5
    assert block[1, -1] > block[0, -1]


def test_share_not_profiled_is_left_out_where_everybody_was_profiled():
    fitted = variants.fit([s for s in cohort() if not np.isnan(s.values).any()])
    assert "not profiled" not in fitted.feature_names


def test_burden_is_per_profiled_alteration_and_by_class():
    names = ("A_mut", "B_mut", "C_cnv", "D_cnv")
    values = np.array([[1, NAN, -2, 0], [1, 1, 0, 0], [0, 0, NAN, NAN]])
    burden = variants._burden(values, names, ("mut", "cnv"))
    np.testing.assert_allclose(burden, np.log1p([[100, 50], [100, 0], [0, NAN]]))


def test_several_samples_merge_to_the_value_furthest_from_zero():
    rows = [{"A_cnv": -1.0, "B_cnv": NAN, "C_cnv": NAN, "D_cnv": 2}, {"A_cnv": 1.0, "B_cnv": 0.0, "C_cnv": NAN, "D_cnv": -1}]
    merged = variants.read(make_record("P1", rows, modality=ModalitySpec(name="v", kind="variants"), root=Path()))
    np.testing.assert_array_equal(merged.values, [1, 0, NAN, 2])


def test_nothing_profiled_is_an_absent_patient():
    assert variants.read(make_record("P1", [{"A": NAN}], modality=ModalitySpec(name="v", kind="variants"), root=Path())) is None


def test_a_patient_profiled_for_unknown_alterations_only_is_absent():
    fitted = variants.fit(cohort())
    assert not fitted.collate([sample(OTHER_mut=1)]).keep.any()
    assert np.isnan(fitted.block([sample(OTHER_mut=1)])).all()


def test_fractions_are_refused():
    with pytest.raises(DataError, match=r"patient 'P1': alteration 'TP53_mut' is 0\.31, wanted a whole number"):
        variants.check(sample(TP53_mut=0.31))
    variants.check(sample(TP53_mut=NAN, EGFR_cnv=-2))


def test_nothing_to_learn_is_refused():
    with pytest.raises(DataError, match="no alteration of 1 varies"):
        variants.fit([sample(A_mut=0), sample(A_mut=0)])


def test_a_panel_of_what_is_often_altered_is_said_and_its_burden_is_far_outside(rng):
    names = tuple(f"G{k}_mut" for k in range(60))
    often = np.arange(60) < 6

    def drawn(own):
        rows = rng.random((40, 60)) < np.where(often, 0.6, 0.01)
        rows = np.where(own, rows.astype(float), NAN)
        return [Sample(patient_id=str(i), alterations=names, values=row) for i, row in enumerate(rows)]

    fitted = variants.fit(drawn(np.ones(60, dtype=bool)))
    assert fitted.differs(drawn(np.ones(60, dtype=bool))) == ""
    assert fitted.outside(drawn(np.ones(60, dtype=bool))) == {}
    panel = drawn(often)
    assert fitted.differs(panel).startswith("nobody was profiled for 54 of the 60 alterations over which burdens are taken")
    assert fitted.outside(panel)["burden mut"] > 10

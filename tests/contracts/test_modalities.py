"""What every modality on the shelf promises; names are read from disk, so a new file is tested without a change here."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import preparation, samples

from oncoweave.core import shelf
from oncoweave.core.errors import DataError
from oncoweave.core.state import load_state, save_state
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import Cohort, Record
from oncoweave.data.columns import join_records

KINDS = shelf.names("modalities")

PIXELS = ("film", "volume")

pytestmark = pytest.mark.parametrize("kind", KINDS)


def as_cohort(kind: str, drawn: tuple[object, ...], root: Path) -> Cohort:
    module = shelf.load("modalities", kind)
    records = [module.to_record(sample, root=root) for sample in drawn]
    patients = pd.DataFrame(index=pd.Index([*(r.patient_id for r in records), "absent"], name="patient_id"))
    spec = records[0].modality
    return Cohort(
        name="drawn", patients=patients, tables={spec.name: join_records(records)}, modalities={spec.name: spec}, root=root
    )


def assert_same(a: object, b: object, path: str = "sample") -> None:
    """Deep equality of samples; where a bag was read is allowed to differ."""
    if dataclasses.is_dataclass(a):
        assert type(a) is type(b), path
        for field in dataclasses.fields(a):
            if field.name not in ("path", "paths", "place"):
                assert_same(getattr(a, field.name), getattr(b, field.name), f"{path}.{field.name}")
    elif isinstance(a, np.ndarray):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=0, equal_nan=True, err_msg=path)  # bags store float32
    elif isinstance(a, tuple) and a and dataclasses.is_dataclass(a[0]):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    else:
        assert a == b, path


def rows_of(tokens, row: int) -> torch.Tensor:
    return tokens.values[row][tokens.keep[row]]


def test_what_is_synthesised_is_read_back_from_a_cohort(kind, tmp_path):
    drawn = samples(kind)[:5]
    module = shelf.load("modalities", kind)
    *records, absent = as_cohort(kind, drawn, tmp_path).records(kind)
    assert absent is None
    for sample, record in zip(drawn, records, strict=True):
        back = module.read(record)
        module.check(back)
        assert_same(sample, back)


def test_synthesis_follows_the_generator_and_nothing_else(kind):
    module = shelf.load("modalities", kind)
    assert_same(samples(kind)[0], samples.__wrapped__(kind)[0])
    assert samples(kind)[0].patient_id == "P000"
    assert dataclasses.is_dataclass(module.Sample)


def test_absent_patient_keeps_nothing_and_has_no_block(kind):
    drawn = samples(kind)
    fitted = preparation(kind)
    tokens = fitted.collate([drawn[0], None, drawn[2]])
    assert tokens.present.tolist() == [True, False, True]
    block = fitted.block([drawn[0], None, drawn[2]])
    assert np.isnan(block[1]).all()
    assert np.isfinite(block[[0, 2]]).all()
    assert block.shape == (3, len(fitted.feature_names))
    assert len(set(fitted.feature_names)) == len(fitted.feature_names)


def test_a_batch_of_nobody_is_legal(kind):
    fitted = preparation(kind)
    assert not fitted.collate([None, None]).keep.any()
    assert np.isnan(fitted.block([None, None])).all()


def test_padding_and_neighbours_change_nothing(kind):
    drawn, fitted = samples(kind), preparation(kind)
    batch = fitted.collate([*drawn[:6], None])
    blocks = fitted.block([*drawn[:6], None])
    for row in range(6):
        alone = fitted.collate([drawn[row]])
        assert torch.equal(rows_of(alone, 0), rows_of(batch, row))
        np.testing.assert_allclose(fitted.block([drawn[row]])[0], blocks[row], rtol=0, atol=1e-12)  # BLAS sums by shape
        if batch.positions is not None:
            assert torch.equal(alone.positions[0][alone.keep[0]], batch.positions[row][batch.keep[row]])


def test_tokens_have_the_declared_shape_and_are_finite(kind):
    fitted = preparation(kind)
    tokens = fitted.collate([*samples(kind)[:4], None])
    assert tokens.values.dtype == torch.float32
    assert tokens.values.shape[2] == fitted.dim
    assert fitted.num_tokens in (None, tokens.values.shape[1])
    assert (fitted.num_tokens is None) == getattr(shelf.load("modalities", kind), "BAG", False)
    assert torch.isfinite(tokens.clean).all()


def test_stored_preparation_gives_identical_output(kind, tmp_path):
    fitted = preparation(kind)
    save_state(tmp_path / "preparation.safetensors", fitted)
    back = load_state(tmp_path / "preparation.safetensors")
    patients = [*samples(kind, seed=3)[:6], None]
    a, b = fitted.collate(patients), back.collate(patients)
    assert torch.equal(a.keep, b.keep)
    assert torch.equal(a.clean, b.clean)
    np.testing.assert_array_equal(fitted.block(patients), back.block(patients))
    assert (back.dim, back.num_tokens, back.feature_names) == (fitted.dim, fitted.num_tokens, fitted.feature_names)


def test_other_patients_do_not_change_a_patient(kind):
    """All statistics come from the training rows: new patients in any order and company are transformed alike."""
    module = shelf.load("modalities", kind)
    fitted = module.fit(samples(kind)[:16])
    new = samples(kind, seed=5)[:8]
    order = np.random.default_rng(0).permutation(8)
    whole = fitted.block(new)
    np.testing.assert_allclose(fitted.block([new[i] for i in order]), whole[order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fitted.block(new[2:5]), whole[2:5], rtol=0, atol=1e-12)
    refitted = module.fit(samples(kind)[:16])
    np.testing.assert_array_equal(refitted.block(new), whole)


def test_absent_training_patients_do_not_change_the_fit(kind):
    module = shelf.load("modalities", kind)
    drawn = samples(kind)[:16]
    with_gaps = module.fit([None, *drawn[:7], None, *drawn[7:]])
    np.testing.assert_array_equal(with_gaps.block(drawn), module.fit(drawn).block(drawn))


def test_columns_that_stand_in_are_laid_back_as_tokens(kind):
    """Where columns are tokens: what was measured comes back as it was, and what stands in for a patient is kept whole."""
    fitted, drawn = preparation(kind), samples(kind)[:6]
    if not hasattr(fitted, "lay_back"):
        assert kind in ("film", "report", "slide", "volume"), f"{kind}: columns cannot stand in before networks"
        return
    tokens, laid = fitted.collate(drawn), fitted.lay_back(fitted.block(drawn))
    assert laid.keep.all()
    assert laid.values.shape == tokens.values.shape
    torch.testing.assert_close(laid.values[tokens.keep], tokens.values[tokens.keep])


def test_fit_refuses_when_nobody_has_the_modality(kind):
    with pytest.raises(DataError, match=f"no training patient of 3 has a sample of kind '{kind}'"):
        shelf.load("modalities", kind).fit([None, None, None])


def test_unreadable_input_names_row_and_path(kind, tmp_path):
    module = shelf.load("modalities", kind)
    record = module.to_record(samples(kind)[0], root=tmp_path)
    bad, where = _spoil(record, tmp_path)
    with pytest.raises(DataError, match="row 1 ") as caught:
        module.read(bad)
    assert where in str(caught.value)


def _spoil(record: Record, root: Path) -> tuple[Record, str]:
    """Break a record in the way its table can break: a truncated file, or a value that cannot be one."""
    rows = record.rows.copy()
    if "path" in rows:
        path = root / rows["path"].iloc[0]
        path.write_bytes(path.read_bytes()[:100])
        return record, str(path)
    column = next(c for c in rows.columns if c not in ("patient_id", "sample_id"))
    rows[column] = pd.Series([b"\x00"] * len(rows), dtype=object)
    return dataclasses.replace(record, rows=rows), str(root / "modalities" / f"{record.modality.name}.parquet")


def test_another_encoders_width_names_patient_path_and_both_widths(kind):
    module = shelf.load("modalities", kind)
    fitted = preparation(kind)
    if fitted.dim == 1:
        pytest.skip("single values have no width that an encoder could change")
    if kind in PIXELS:
        pytest.skip("tokens are cut from pixels, in the width of the preparation")
    narrow, path = _narrow(samples(kind)[1], kind)
    for apply in (fitted.collate, fitted.block):
        with pytest.raises(DataError, match="'P001'") as caught:
            apply([samples(kind)[0], narrow])
        assert all(part in str(caught.value) for part in (path, f"width {fitted.dim - 1}", str(fitted.dim)))
    with pytest.raises(DataError, match="'P001'"):
        module.fit([samples(kind)[0], narrow])


def _narrow(sample: object, kind: str) -> tuple[object, str]:
    if kind == "slide":
        bags = [dataclasses.replace(b, features=b.features[:, :-1]) for b in sample.bags]
        return shelf.load("modalities", kind).from_bags(sample.patient_id, bags, paths=sample.paths), sample.paths[0]
    path = "patient 'P001', modality 'embedding' (table)"
    return dataclasses.replace(sample, columns=sample.columns[:-1], values=sample.values[:, :-1], path=path), path


def test_planted_biology_is_visible_in_the_block(kind):
    """A modality that shows nothing of the truth would make phantom experiments empty: proliferation or age must be found."""
    module = shelf.load("modalities", kind)
    rng = np.random.default_rng(11)
    scores = rng.normal(size=60)
    drawn = [module.synthesise(_patient(i, score), rng) for i, score in enumerate(scores)]
    block = module.fit(drawn).block(drawn)
    spread = block.std(axis=0)
    correlations = ((block - block.mean(axis=0)) * scores[:, None]).mean(axis=0) / np.where(spread > 0, spread, 1.0)
    assert np.abs(correlations).max() > 0.4


def _patient(index: int, score: float) -> PatientTruth:
    return PatientTruth(
        patient_id=f"Q{index}",
        site="a",
        subtype=0,
        driver_a=False,
        driver_b=False,
        immune=-score,
        proliferation=score,
        stage=2 + int(score > 0),
        age_years=60 + 10 * score,
        female=True,
        private_slide=0.0,
        private_expression=0.0,
        synergy=0.0,
        log_hazard=score,
    )

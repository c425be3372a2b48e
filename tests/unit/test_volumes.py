"""Volumes read from DICOM series and NIfTI: order, orientation, units, resampling, and what is no volume."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy import ndimage

from oncoweave.core.errors import ConfigError, DataError, MissingExtraError
from oncoweave.data.cohort import Cohort, ModalitySpec, Record
from oncoweave.data.importers import manifest
from oncoweave.modalities import volume
from oncoweave.scans.radiomics import radiomics
from oncoweave.scans.volumes import Volume, read_volume, resample, to_ras
from oncoweave.train.scan_checks import check_scans

SHAPE = (6, 5, 4)
"""Columns, rows, slices."""


def write_series(folder, stored, *, gap=None, series="1.2.3", modality="CT", tags=lambda number: {}):
    """Write slices ``stored[column, row, slice]`` of 2 x 3 x 5 mm in axial orientation, files in reversed order of height.

    ``tags`` gives further elements of a slice by its number.
    """
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(stored.shape[2]):
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{series}.{number + 1}"
        dataset.SeriesInstanceUID, dataset.Modality, dataset.SeriesDescription = series, modality, f"series {series}"
        dataset.Columns, dataset.Rows = stored.shape[:2]
        dataset.PixelSpacing = [3, 2]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-10, -20, 5 * number + (0 if gap is None or number < gap else 5)]
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000
        dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 16, 15
        dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
        for tag, value in tags(number).items():
            setattr(dataset, tag, value)
        dataset.PixelData = np.ascontiguousarray(stored[:, :, number].T).astype(np.uint16).tobytes()
        dataset.save_as(folder / f"{series}-{stored.shape[2] - number}.dcm", enforce_file_format=True)
    return folder


def write_nifti(path, values, affine):
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def record(root, path, *, unit="HU", **columns):
    rows = pd.DataFrame([{"patient_id": "A", "sample_id": "A1", "path": str(path)} | columns])
    return Record(patient_id="A", modality=ModalitySpec(name="ct", kind="volume", notes={"unit": unit}), rows=rows, root=root)


@pytest.fixture
def stored():
    return np.arange(np.prod(SHAPE)).reshape(SHAPE) * 3


def test_a_series_is_sorted_by_place_in_hounsfield_units_and_in_ras(tmp_path, stored):
    scan = read_volume(write_series(tmp_path / "ct", stored))
    assert scan.spacing_mm == (2, 3, 5)
    assert scan.origin_mm == (0, 8, 0)  # the voxel furthest to the left and back
    assert scan.modality == "CT"
    # DICOM counts to the patient's left and back; RAS to the right and front
    np.testing.assert_array_equal(scan.values, 2.0 * stored[::-1, ::-1, :] - 1000)


def test_a_series_and_its_nifti_give_the_same_volume(tmp_path, stored):
    """The affine is the one that DICOM's LPS coordinates have in NIfTI's RAS; axes are also stored in another order."""
    affine = np.diag([-2.0, -3.0, 5.0, 1.0])
    affine[:3, 3] = (10, 20, 0)
    hounsfield = (2.0 * stored - 1000).astype(np.float32)
    wanted = read_volume(write_series(tmp_path / "ct", stored))
    turned = affine[:, [2, 0, 1, 3]]
    for name, values, how in (("a", hounsfield, affine), ("b", hounsfield.transpose(2, 0, 1), turned)):
        came = read_volume(write_nifti(tmp_path / f"{name}.nii.gz", values, how))
        np.testing.assert_array_equal(came.values, wanted.values)
        assert came.spacing_mm == wanted.spacing_mm


def test_oblique_axes_go_to_the_nearest():
    values = np.arange(24).reshape(2, 3, 4)
    slanted = np.array([[0.1, 0.0, -1.9], [2.9, 0.2, 0.1], [0.0, 5.0, 0.2]])
    turned, spacing = to_ras(values, slanted)
    np.testing.assert_array_equal(turned, values.transpose(2, 0, 1)[::-1])
    np.testing.assert_allclose(spacing, np.linalg.norm(slanted, axis=0)[[2, 0, 1]])


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        ("missing", r"slices are missing: after 5\.0 mm comes 15\.0 mm, slices are usually 5\.00 mm"),
        ("mixed", r"2 series in one folder: series 1\.2\.3 \(4 slices.*; series 9\.9 \(4 slices"),
        ("doubled", "two slices in one place"),
        ("empty", r"0 slice file\(s\), a volume needs at least two"),
    ],
)
def test_a_folder_that_is_no_one_volume_is_refused(tmp_path, stored, fault, match):
    folder = tmp_path / "ct"
    folder.mkdir()
    if fault != "empty":
        write_series(folder, stored, gap=2 if fault == "missing" else None)
    if fault == "mixed":
        write_series(folder, stored, series="9.9")
    if fault == "doubled":
        (folder / "again.dcm").write_bytes(next(folder.iterdir()).read_bytes())
    with pytest.raises(DataError, match=match):
        read_volume(folder)
    with pytest.raises(DataError, match=r"modality 'ct', row 1 .*ct"):
        volume.read(record(tmp_path, "ct"))


@pytest.mark.parametrize(
    ("tags", "reason", "match"),
    [
        (lambda number: {"PixelSpacing": [0, 0]}, "spacing", r"ct: its axes .* give no spacing"),
        (
            lambda number: {"PixelSpacing": [3, 2 if number < 2 else 4]},
            "spacing",
            r"pixels of \(3\.0, 2\.0\) mm, the series begins",
        ),
        (lambda number: {"ImageOrientationPatient": [0] * 6}, "slices", "two slices in one place"),
        (lambda number: {"ImagePositionPatient": [0, number, 5 * number]}, "leaning", r"axes lean by 11\.3 degrees"),
        (lambda number: {"ImageOrientationPatient": [1, 0, 0, 0.1, 1, 0]}, "leaning", r"axes lean by 5\.7 degrees"),
    ],
)
def test_a_series_that_fills_no_box_is_refused_and_counted(tmp_path, stored, tags, reason, match):
    write_series(tmp_path / "ct", stored, tags=tags)
    with pytest.raises(DataError, match=match):
        read_volume(tmp_path / "ct")
    (found,) = check_scans(cohort_of([record(tmp_path, "ct")]), showing=lambda records, _: records)
    assert found.message.startswith(f"1 patient(s) have a volume that cannot be used: 1 {reason};")


def test_a_nifti_whose_axes_lean_is_refused(tmp_path, stored):
    leaning = np.diag([2.0, 3.0, 5.0, 1.0])
    leaning[1, 2] = 1.0
    with pytest.raises(DataError, match=r"leaning\.nii: its axes lean by 11\.3 degrees"):
        read_volume(write_nifti(tmp_path / "leaning.nii", stored.astype(np.float32), leaning))


def test_padding_of_slices_is_the_lowest_value_that_is_none(tmp_path, stored):
    padded = stored.copy()
    padded[:2, :, 1:] = 65535
    scan = read_volume(write_series(tmp_path / "ct", padded, tags=lambda number: {"PixelPaddingValue": 65535}))
    wanted = 2.0 * stored - 1000
    wanted[:2, :, 1:] = -1000  # that of the first pixel of the first slice
    np.testing.assert_array_equal(scan.values, wanted[::-1, ::-1])


def test_resampling_keeps_a_linear_field_in_its_place():
    """A field that grows by 1 a millimetre still does, and its middle stays in the middle; padding is said to be none of it."""
    x = (np.arange(40) - 19.5) * 1.5
    values = (x[:, None, None] + np.zeros((40, 20, 10))).astype(np.float32)
    scan = Volume(values=values, spacing_mm=(1.5, 2.0, 4.0), modality="CT")
    framed, scanned = resample(scan, spacing_mm=(5.0, 5.0, 5.0), size=(20, 6, 4), outside=-1000.0)
    assert scanned.tolist() == [[4, 16], [0, 6], [0, 4]]
    np.testing.assert_allclose(framed[5:15, 2, 2], (np.arange(5, 15) - 9.5) * 5, atol=0.8)
    assert (framed[:4] == -1000).all()
    same, whole = resample(scan, spacing_mm=scan.spacing_mm, size=(40, 20, 10), outside=0.0)
    np.testing.assert_array_equal(same, values)
    assert whole[:, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_resampling_a_mirrored_scan_gives_the_mirror_image(rng, factor):
    """Where an even number of voxels is averaged too, nothing moves."""
    values = ndimage.gaussian_filter(rng.normal(size=(24, 12, 12)), 1.5).astype(np.float32)
    spacing = (10.0 / factor, 5.0, 5.0)
    scans = [Volume(values=v, spacing_mm=spacing, modality="CT") for v in (values, values[::-1])]
    one, other = (resample(s, spacing_mm=(10.0, 10.0, 10.0), size=(24 // factor, 6, 6), outside=0.0)[0] for s in scans)
    np.testing.assert_allclose(one[1:-1], other[::-1][1:-1], atol=1e-6)


def test_a_scan_thinner_than_a_voxel_says_what_to_do(tmp_path):
    thin = np.zeros((60, 60, 3), dtype=np.int16)
    write_nifti(tmp_path / "thin.nii", thin, np.diag([3.0, 3.0, 1.0, 1.0]))
    wanted = r"row 1.*thin\.nii: 3 mm feet to head \(3 voxel\(s\) of 1 mm\), too thin for voxels of 5 mm.*'spacing_mm'"
    with pytest.raises(DataError, match=wanted):
        volume.read(record(tmp_path, "thin.nii"))
    finer = volume.Config(spacing_mm=(5.0, 5.0, 1.0))
    assert volume.read(record(tmp_path, "thin.nii"), finer) is not None


def test_a_varied_scan_is_moved_and_changed_in_contrast_and_nothing_else(rng):
    config = volume.Config(size=(16, 16, 16), patch=8, vary=0.25)
    x, y, z = np.meshgrid(*(np.arange(16),) * 3, indexing="ij")
    values = (3 * x + 17 * y - 29 * z + rng.integers(0, 3, size=x.shape)).astype(np.int16)
    whole = np.array([[0, 16]] * 3)
    samples = [volume.from_voxels(p, values, scanned=whole, unit="HU", config=config) for p in "AB"]
    fitted = volume.fit(samples, config)
    tokens = fitted.collate([*samples, None])
    varied = fitted.varied(tokens, torch.Generator().manual_seed(3))
    assert torch.equal(varied.keep, tokens.keep) and torch.equal(varied.positions, tokens.positions)

    def boxes(values):
        return values.reshape(3, 2, 2, 2, 8, 8, 8).permute(0, 1, 4, 2, 5, 3, 6).reshape(3, 16, 16, 16)[:2].numpy()

    before, after = boxes(tokens.values)[0], boxes(varied.values)
    np.testing.assert_allclose(before * fitted.scale + fitted.centre, (values + 1000) / 1400, atol=1e-5)
    assert not np.allclose(after[0], after[1])
    steps = [np.clip(np.arange(16) + by, 0, 15) for by in range(-2, 3)]
    for scan in after:
        fits = []
        for moved in (before[np.ix_(i, j, k)] for i in steps for j in steps for k in steps):
            slope, level = np.polyfit(moved.ravel(), scan.ravel(), 1)
            fits.append((np.abs(slope * moved + level - scan).max(), abs(slope - 1), abs(level)))
        error, slope, level = min(fits)
        assert error < 1e-4
        assert max(slope, level) <= 0.3 * 0.25 + 1e-4
    same = dataclasses.replace(fitted, config=dataclasses.replace(config, vary=0.0)).varied(tokens, torch.Generator())
    torch.testing.assert_close(same.values, tokens.values)


def test_a_varied_scan_takes_nothing_from_beyond_its_kept_cubes(rng):
    config = volume.Config(size=(16, 16, 24), patch=8, vary=1.0)
    values = rng.integers(-500, 300, size=(16, 16, 24)).astype(np.int16)
    samples = [volume.from_voxels("A", values, scanned=np.array([[0, 16], [0, 16], [8, 16]]), unit="HU", config=config), None]
    fitted = volume.fit(samples, config)
    tokens = fitted.collate(samples)
    assert tokens.keep[0].sum() == 4
    hollow = dataclasses.replace(tokens, values=torch.where(tokens.keep.unsqueeze(-1), tokens.values, torch.nan))
    for seed in range(8):
        varied = fitted.varied(hollow, torch.Generator().manual_seed(seed))
        assert varied.values[varied.keep].isfinite().all()


def test_cubes_outside_the_scan_are_not_kept_and_the_unit_is_minded(tmp_path, rng):
    short = rng.integers(-1000, 500, size=(80, 64, 8)).astype(np.int16)
    write_nifti(tmp_path / "ct.nii", short, np.diag([*volume.USUAL.spacing_mm, 1]))
    sample = volume.read(record(tmp_path, "ct.nii"))
    volume.check(sample)
    np.testing.assert_array_equal(sample.values[:, :, 24:32], short)
    tokens = volume.fit([sample]).collate([sample])
    kept = tokens.positions[0][tokens.keep[0]]
    assert kept[:, 2].unique().tolist() == [3]
    assert len(kept) == 10 * 8
    mri = volume.read(record(tmp_path, "ct.nii", unit="arbitrary"))
    assert mri.unit == "own"
    with pytest.raises(DataError, match="unit is 'own', the training volumes' 'HU'"):
        volume.fit([sample, mri])
    write_nifti(tmp_path / "mr.nii", np.abs(short), np.diag([*volume.USUAL.spacing_mm, 1]))
    with pytest.raises(DataError, match="not in Hounsfield units"):
        volume.check(volume.read(record(tmp_path, "mr.nii")))


@pytest.mark.parametrize("unit", ["HU", "hu", "Hounsfield", "hounsfield units"])
def test_hounsfield_units_are_known_however_they_are_written(tmp_path, unit):
    write_nifti(tmp_path / "ct.nii", np.full((8, 8, 8), -1000, dtype=np.int16), np.eye(4))
    sample = volume.read(record(tmp_path, "ct.nii", unit=unit))
    assert (sample.unit, sample.values.min()) == ("HU", -1000)


def test_another_unit_is_refused_where_it_is_read_checked_and_imported(tmp_path):
    write_nifti(tmp_path / "ct.nii", np.full((8, 8, 8), -1000, dtype=np.int16), np.eye(4))
    told = r"the unit of scans is noted as 'houns'; wanted HU \(CT\) or arbitrary"
    with pytest.raises(DataError, match=rf"modality 'ct', row 1.*: {told}"):
        volume.read(record(tmp_path, "ct.nii", unit="houns"))
    page = {"name": "c", "patients": {"table": "p.csv"}, "modalities": {"ct": {"kind": "volume", "table": "v.csv"}}}
    page["modalities"]["ct"]["notes"] = {"unit": "houns"}
    (tmp_path / "page.yaml").write_text(yaml.safe_dump(page))
    with pytest.raises(ConfigError, match=rf"page\.yaml: modalities\.ct\.notes: {told}"):
        manifest.read(tmp_path / "page.yaml", scratch=tmp_path / "made")
    (finding,) = check_scans(cohort_of([record(tmp_path, "ct.nii", unit="houns")]), showing=lambda records, _: records)
    assert (finding.level, finding.area) == ("error", "units")


def cohort_of(records):
    """One patient a record, all of one modality."""
    ids = [f"P{i}" for i in range(len(records))]
    table = pd.concat([r.rows.assign(patient_id=i) for i, r in zip(ids, records, strict=True)], ignore_index=True)
    patients, spec = pd.DataFrame(index=pd.Index(ids, name="patient_id")), records[0].modality
    return Cohort(name="c", patients=patients, tables={"ct": table}, modalities={"ct": spec}, root=records[0].root)


def test_a_check_counts_volumes_that_cannot_be_used_and_names_nobody(tmp_path, rng):
    air = np.full((8, 8, 8), -1000, dtype=np.int16)
    write_nifti(tmp_path / "good.nii", air + rng.integers(0, 900, air.shape).astype(np.int16), np.eye(4))
    write_nifti(tmp_path / "black.nii", air, np.eye(4))
    write_nifti(tmp_path / "mr.nii", np.abs(air) + rng.integers(0, 9, air.shape).astype(np.int16), np.eye(4))
    (tmp_path / "short.nii").write_bytes((tmp_path / "good.nii").read_bytes()[:600])
    names = ("good", "black", "mr", "short", "gone")
    cohort = cohort_of([record(tmp_path, f"{name}.nii", mask_path="not.nii") for name in names])
    (finding,) = check_scans(cohort, showing=lambda records, _: records)
    assert (finding.level, finding.count) == ("error", 4)
    told = "4 patient(s) have a volume that cannot be used: 1 blank, 1 not in Hounsfield units, 2 unreadable; a study ends"
    assert finding.message.startswith(told)
    assert not any(f"P{i}" in finding.message for i in range(5))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.zeros((5, 5, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), r"odd\.nii: its voxels are colours .*, wanted one"),
        (np.ones((5, 5, 5), dtype=np.complex64), r"odd\.nii: its voxels are complex numbers \(complex64\), wanted one"),
        (np.zeros((0, 3, 3), dtype=np.float32), r"odd\.nii: an array of shape \(0, 3, 3\) without a voxel"),
    ],
)
def test_nifti_of_other_than_real_numbers_is_refused(tmp_path, values, match):
    write_nifti(tmp_path / "odd.nii", values, np.eye(4))
    with pytest.raises(DataError, match=rf"modality 'ct', row 1.*{match}"):
        volume.read(record(tmp_path, "odd.nii"))


def test_spacing_box_cubes_and_window_are_as_asked_and_kept_by_what_is_fitted(tmp_path):
    x = np.arange(100, dtype=np.int16)[:, None, None] - 50
    values = np.broadcast_to(x * 10, (100, 80, 70)).astype(np.int16)  # 10 HU a voxel of 4 mm, and 0 in the middle
    write_nifti(tmp_path / "ct.nii", values, np.diag([4.0, 4.0, 4.0, 1]))
    config = volume.Config(spacing_mm=(4.0, 4.0, 8.0), size=(44, 36, 32), patch=4, window=(-160, 240))
    sample = volume.read(record(tmp_path, "ct.nii"), config)
    np.testing.assert_array_equal(sample.values[:, 0, 0], values[28:72, 0, 0])
    fitted = volume.fit([sample], config)
    assert (fitted.config, fitted.dim, fitted.num_tokens) == (config, 64, 11 * 9 * 8)
    tokens = fitted.collate([sample])
    seen = tokens.values[0].numpy() * fitted.scale + fitted.centre
    assert (seen.min(), seen.max()) == (pytest.approx(0, abs=1e-6), pytest.approx(370 / 400))  # -220 HU is clipped, 210 is not
    first = seen[tokens.positions[0][:, 0] == 5].reshape(-1, 4, 4, 4)[0, :, 0, 0]  # voxels 20 to 23, which hold -20 to 10 HU
    np.testing.assert_allclose(first, (values[48:52, 0, 0] + 160) / 400, atol=1e-6)
    assert len(sample.coarse) == 10 * 8 * 7 and (np.diff(sample.coarse.reshape(10, -1)[:, 0]) >= 0).all()
    assert fitted.block([sample]).shape == (1, len(fitted.feature_names))
    with pytest.raises(ValueError, match="read them with the same settings"):
        volume.fit([sample])
    again = volume.read(volume.to_record(sample, root=tmp_path), config)
    np.testing.assert_array_equal(again.values, sample.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 5}, "whole patches of 5 voxels"),
        ({"size": (8, 64, 56)}, "at least, got"),
        ({"window": (400, -1000)}, "wanted a window"),
        ({"window": (-3000, 400)}, "within"),
    ],
)
def test_a_box_or_window_that_cannot_be_cut_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        volume.Config(**change)


def test_shares_of_hounsfield_ranges_are_counted_inside_the_scan():
    values = np.full(volume.USUAL.size, -1000, dtype=np.int16)
    values[:40] = 40
    whole = np.array([[0, n] for n in volume.USUAL.size])
    sample = volume.from_voxels("A", values, scanned=whole, unit="HU")
    named = dict(zip(volume.fit([sample]).feature_names, sample.statistics, strict=False))
    assert named["share of 20 to 80 HU"] == 0.5
    assert named["share of -1000 to -900 HU"] == 0.5
    assert named["mean"] == pytest.approx(0.5 * 1040 / 1400)
    assert (named["skewness"], named["kurtosis"]) == (pytest.approx(0, abs=1e-4), pytest.approx(1, rel=1e-4))


def test_two_volumes_of_a_patient_are_refused(tmp_path):
    both = record(tmp_path, "a.nii")
    rows = pd.concat([both.rows, both.rows], ignore_index=True)
    with pytest.raises(DataError, match=r"row 1 .*2 volumes of the patient, wanted one"):
        volume.read(dataclasses.replace(both, rows=rows))
    with pytest.raises(DataError, match="does not exist"):
        volume.read(both)


def test_radiomics_needs_its_extra_and_a_mask_that_fits():
    scan = Volume(values=np.zeros((8, 8, 8), dtype=np.float32), spacing_mm=(1, 1, 1), modality="CT")
    with pytest.raises(DataError, match=r"mask has shape \(4, 8, 8\)"):
        radiomics(scan, dataclasses.replace(scan, values=scan.values[:4]))
    with pytest.raises(DataError, match=r"mask holds 0 voxel"):
        radiomics(scan, scan)
    placed = dataclasses.replace(scan, origin_mm=(10.0, 0.0, -400.0))
    with pytest.raises(DataError, match=r"the mask begins 0\.0 x 0\.3 x 60\.0 mm from where the volume does"):
        radiomics(placed, dataclasses.replace(scan, origin_mm=(10.0, 0.3, -340.0)))
    try:
        import radiomics as library  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"oncoweave\[radiomics\]"):
            radiomics(scan, dataclasses.replace(scan, values=np.ones_like(scan.values)))


def test_radiomics_of_a_scan_without_a_unit_do_not_depend_on_how_it_was_stored(tmp_path, rng, monkeypatch):
    values, mask = rng.gamma(4, 0.05, (40, 40, 40)).astype(np.float32), np.zeros((40, 40, 40), dtype=np.float32)
    mask[10:30, 10:30, 10:30] = 1
    handed = []
    monkeypatch.setattr("oncoweave.scans.radiomics.radiomics", lambda scan, _: handed.append(scan.values) or ((), np.zeros(0)))
    write_nifti(tmp_path / "mask.nii", mask, np.diag([5, 5, 5, 1.0]))
    for scale in (1, 1000):
        path = write_nifti(tmp_path / f"{scale}.nii", values * scale, np.diag([5, 5, 5, 1.0]))
        assert volume.read(record(tmp_path, path.name, unit="arbitrary", mask_path="mask.nii")) is not None
    np.testing.assert_allclose(handed[0], handed[1], rtol=1e-4, atol=1e-2)
    assert np.quantile(handed[0], 0.99) > 500  # many bins of 25


def test_radiomics_inside_a_mask_are_those_of_its_voxels(tmp_path, rng):
    pytest.importorskip("radiomics", reason="pyradiomics is not installed (extra radiomics)")
    values = rng.normal(-300, 200, size=(20, 16, 12)).astype(np.float32)
    inside = np.zeros_like(values)
    inside[4:12, 5:11, 3:9] = 1
    write_nifti(tmp_path / "ct.nii", values, np.diag([5.0, 5, 5, 1]))
    write_nifti(tmp_path / "mask.nii", inside.astype(np.uint8), np.diag([5.0, 5, 5, 1]))
    sample = volume.read(record(tmp_path, "ct.nii", mask_path="mask.nii"))
    found = dict(zip(sample.radiomics_names, sample.radiomics, strict=True))
    assert found["firstorder_Mean"] == pytest.approx(values[inside > 0].mean(), rel=1e-5)
    assert found["shape_VoxelVolume"] == pytest.approx(inside.sum() * 125)
    without = dataclasses.replace(sample, patient_id="B", radiomics_names=(), radiomics=np.zeros(0))
    fitted = volume.fit([sample, without])
    block = fitted.block([sample, without, None])
    assert np.isfinite(block[:2]).all()
    assert np.isnan(block[2]).all()
    assert fitted.feature_names[-1] == "mask missing"


@pytest.mark.real
def test_a_real_ct_is_air_lung_and_tissue(real_data):
    folder = real_data / "radiology_samples" / "ct_tcga_34_2605"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    pytest.importorskip("pydicom")
    sample = volume.read(record(real_data, folder))
    volume.check(sample)
    assert int(np.diff(sample.scanned[2])[0]) == 12  # 12 slices of 5 mm
    named = dict(zip(volume.fit([sample]).feature_names, sample.statistics, strict=False))
    assert 0.05 < named["share of -900 to -700 HU"] < 0.4
    assert 0.1 < named["share of 20 to 80 HU"] + named["share of -20 to 20 HU"] < 0.5

"""Radiomics of a cohort's volumes as a record: who gets a row, which numbers, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from oncoweave.cli.cohort import cohort_app
from oncoweave.core.errors import ConfigError, DataError
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import read_cohort, write_cohort
from oncoweave.modalities import record
from oncoweave.scans import radiomics as library
from oncoweave.train.radiomics_table import lay_radiomics


def mean_and_size(volume, mask):
    """Stands for pyradiomics, which is an extra."""
    return ("firstorder_Mean", "voxels"), np.array([volume.values[mask.values > 0].mean(), (mask.values > 0).sum()])


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    nibabel = pytest.importorskip("nibabel")
    monkeypatch.setattr(library, "radiomics", mean_and_size)
    rows, wanted = [], {}
    for place, patient in enumerate(("A", "B", "C")):
        values = rng.normal(-300, 200, size=(12, 10, 8)).astype(np.float32)
        inside = np.zeros(values.shape, dtype=np.uint8)
        inside[2:6, 2:6, 2 : 4 + place] = 1
        for name, array in ((f"{patient}.nii", values), (f"{patient}_mask.nii", inside)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([5.0, 5, 5, 1])), tmp_path / name)
        mask = None if patient == "B" else str(tmp_path / f"{patient}_mask.nii")
        rows.append(
            {"patient_id": patient, "sample_id": f"{patient}1", "path": str(tmp_path / f"{patient}.nii"), "mask_path": mask}
        )
        wanted[patient] = [values[inside > 0].mean(), inside.sum()]
    cohort = Cohort(
        name="c",
        patients=pd.DataFrame({"site": "x"}, index=pd.Index(["A", "B", "C", "D"], dtype=object, name="patient_id")),
        tables={"ct": pd.DataFrame(rows)},
        modalities={"ct": ModalitySpec(name="ct", kind="volume", notes={"unit": "HU"})},
    )
    return write_cohort(cohort, tmp_path / "cohort"), wanted


def test_patients_with_a_mask_get_their_features_as_a_record(folder):
    path, wanted = folder
    for _ in range(2):  # made again, it replaces what was made before
        done = CliRunner().invoke(cohort_app, ["radiomics", str(path)])
        assert done.exit_code == 0, done.output
        assert "ct_radiomics: 2 features of 2 patients" in done.output
    stored = read_cohort(path)
    assert stored.modalities["ct_radiomics"].kind == "record"
    table = stored.tables["ct_radiomics"].set_index("patient_id")
    assert list(table.index) == ["A", "C"]
    for patient in ("A", "C"):
        np.testing.assert_allclose(table.loc[patient, ["firstorder_Mean", "voxels"]].astype(float), wanted[patient], rtol=1e-5)
    samples = [None if r is None else record.read(r) for r in stored.records("ct_radiomics")]
    assert record.fit(samples).collate(samples).present.tolist() == [True, False, True, False]


def test_what_cannot_be_made_is_refused(folder):
    path, _ = folder
    cohort = read_cohort(path)
    with pytest.raises(ConfigError, match="that is not the radiomics of 'ct'; choose another --name"):
        lay_radiomics(cohort, name="ct")
    without = cohort.tables["ct"].assign(mask_path=None)
    cohort.tables["ct"]["mask_path"] = without["mask_path"]
    with pytest.raises(DataError, match="no patient has a volume with a mask"):
        lay_radiomics(cohort)
    del cohort.tables["ct"]["mask_path"]
    with pytest.raises(ConfigError, match="wanted one modality of kind volume with a column 'mask_path', found none"):
        lay_radiomics(cohort)

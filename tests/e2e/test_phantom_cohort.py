"""A phantom cohort written whole: its files, its truth beside it, and the verb."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from oncoweave.core.files import sha256
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import verify
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.phantom.truth_folder import read_truth, truth_folder

SMALL = Config(patients=3, seed=4, slide_px=512)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    return write_phantom(SMALL, folder, progress=False)


def hashes(folder):
    return {str(f.relative_to(folder)): sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_same_config_writes_the_same_bytes(written, tmp_path):
    again = write_phantom(SMALL, tmp_path / "cohort", progress=False)
    assert hashes(again.root) == hashes(written.root)
    assert hashes(truth_folder(again.root)) == hashes(truth_folder(written.root))
    assert verify(written.root) == []


def test_the_cohort_opens_with_every_modality_and_endpoint(written):
    opened = Cohort.open(written.root)
    kinds = {"slide", "expression", "variants", "report", "record", "volume", "film"}
    assert set(opened.modalities) == kinds
    kinds = {name: e.kind for name, e in opened.endpoints.items()}
    assert {"survival", "binary", "multiclass", "ordinal", "multilabel", "regression"} == set(kinds.values())
    assert all(len(opened.target(name)) == 3 for name in opened.endpoints)
    for modality, column in (("slide", "slide_path"), ("volume", "path"), ("film", "path")):
        assert all((written.root / p).is_file() for p in opened.tables[modality][column])
    assert "path" not in opened.tables["slide"]


def test_the_truth_is_beside_the_cohort_and_not_inside(written):
    planted, patients = read_truth(written.root)
    assert planted["config"]["seed"] == 4
    assert {e["factor"] for e in planted["effects"]} <= {*patients.columns}
    shown = {c for t in written.tables.values() for c in t.columns} | {*written.patients.columns}
    assert not shown & {"immune", "proliferation", "private_slide", "private_expression", "synergy", "log_hazard", "driver_b"}
    assert not any("truth" in name for name in hashes(written.root))
    slides = truth_folder(written.root) / "slides"
    for slide in written.tables["slide"]["slide_id"]:
        table = pd.read_parquet(slides / f"{slide}.nuclei.parquet")
        with np.load(slides / f"{slide}.masks.npz") as masks:
            assert masks["instances"].max() == len(table)
            assert masks["instances"].shape == masks["types"].shape == (512, 512)


def test_the_verb_writes_a_cohort_and_says_where(tmp_path):
    import typer

    from oncoweave.cli import phantom

    app = typer.Typer()
    phantom.add_to(app)
    result = CliRunner().invoke(app, [str(tmp_path / "c"), "--patients", "4", "--no-slides", "--no-scans", "--site-confounder"])
    assert result.exit_code == 0, result.output
    assert "patients 4" in result.output
    planted, patients = read_truth(tmp_path / "c")
    assert planted["config"]["site_confounder"] is True
    assert len(Cohort.open(tmp_path / "c")) == len(patients) == 4

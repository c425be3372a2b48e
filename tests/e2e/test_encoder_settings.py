"""Settings of encoders in a study: own gene sets, from the study file to a stored model; what does not fit is refused."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.core.files import read_json, sha256
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort
from oncoweave.data.genes import gene_of
from oncoweave.data.store import write_cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import draw_cohort
from oncoweave.train.encoder_settings import check_settings
from oncoweave.train.predict import predict_cohort
from oncoweave.train.study import read_study, resolve, run_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("study")
    drawn, _, _ = draw_cohort(Config(patients=40, seed=3, without=("slide", "report", "volume", "film", "variants")))
    write_cohort(drawn, made / "cohort")
    return made


def genes(folder: Path) -> list[str]:
    table = Cohort.open(folder / "cohort").tables["expression"]
    return sorted({gene_of(c) for c in table.columns if c not in ("patient_id", "sample_id")})


def write_study(folder: Path, settings: dict, *, encoder: str = "pathways/tiny") -> Path:
    model = {"name": "paths", "fusion": "mean", "modalities": ["expression"], "encoders": {"expression": encoder}}
    content = {
        "name": "s",
        "cohort": "cohort",
        "endpoint": "progression_24m",
        "main": "paths",
        "models": [model | {"encoder_settings": {"expression": settings}}],
        "protocol": {"folds": 2, "repeats": 1, "inner_folds": 2, "bootstrap": 100, "group_by_site": False, "permutations": 0},
        "network": {"epochs": 1, "members": 1},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder / "study.yaml"


def test_own_gene_sets_reach_the_network_are_stored_with_it_and_change_the_study_where_they_change(folder, tmp_path):
    own, names = folder / "own.gmt", genes(folder)
    own.write_text("\n".join("\t".join(["set " + "ab"[i], "", *names[5 * i : 5 * i + 5]]) for i in range(2)) + "\n")
    study = write_study(folder, {"gene_sets": "own.gmt", "rest": False, "width": 3})
    run = run_study(study, tmp_path / "run")
    assert read_json(run / "manifest.json")["files"] == {str(own.resolve()): sha256(own)}
    own.write_text(own.read_text().replace("set a", "set c"))
    with pytest.raises(ConfigError, match="holds a run of this study, of files that have changed since"):
        run_study(study, tmp_path / "run")
    own.unlink()
    encoder = load_state(run / "models" / "paths.safetensors").fitted.model().encoders["expression"]
    assert encoder.names == ("set a", "set b")
    assert encoder.weight.shape[1] == 3
    predict_cohort(run, folder / "cohort", tmp_path / "p.csv", model="paths")
    assert len(pd.read_csv(tmp_path / "p.csv")) == int(Cohort.open(folder / "cohort").availability()["expression"].sum())


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"gene_set": "hallmark"}, UnknownNameError, "no setting of encoder 'pathways/tiny' .*; did you mean 'gene_sets'"),
        ({"width": "wide"}, ConfigError, "model 'paths': setting 'width' .* wanted int .1 or more. as in 8, got 'wide'"),
        ({"rest": 1}, ConfigError, "wanted bool as in True, got 1"),
        ({"gene_sets": "none.gmt"}, DataError, r"gene sets '.*/none.gmt': neither a file nor one of those that come"),
    ],
)
def test_settings_that_an_encoder_does_not_have_are_refused_before_anything_is_fitted(folder, settings, error, match):
    study = read_study(write_study(folder, settings))
    with pytest.raises(error, match=match):
        resolve(study, Cohort.open(study.cohort))


@pytest.mark.parametrize("encoder", ["abmil", "bert/tiny", "vit/nano", "cnn3d"])
@pytest.mark.parametrize("key", ["rna", "expression"])
def test_an_encoder_of_another_kind_is_refused_with_those_that_fit(folder, encoder, key):
    cohort = Cohort.open(folder / "cohort")
    named = {"modalities": {"rna": replace(cohort.modalities["expression"], name="rna")}}
    named |= {"tables": {"rna": cohort.tables["expression"]}}
    study = read_study(write_study(folder, {}))
    model = study.models[0].model_copy(update={"modalities": ("rna",), "encoders": {key: encoder}, "encoder_settings": {}})
    asked = study.model_copy(update={"models": (model,)})
    told = (
        rf"model 'paths': encoder '{encoder}' reads \w+, not expression; choose one of linear, pathways, project, snn, tabular,"
    )
    with pytest.raises(ConfigError, match=told):
        resolve(asked, replace(cohort, **named))


def test_settings_belong_to_an_encoder_that_is_named_and_in_their_range(folder):
    cohort, study = Cohort.open(folder / "cohort"), read_study(write_study(folder, {"width": 4}))
    nameless = study.models[0].model_copy(update={"encoders": {}})
    with pytest.raises(ConfigError, match="encoder_settings of 'expression' belong to an encoder; name it"):
        resolve(study.model_copy(update={"models": (nameless,)}), cohort)
    with pytest.raises(ConfigError, match="model 'paths': settings of encoder 'longnet/tiny': width 32 does not divide into 5"):
        check_settings("longnet/tiny", {"heads": 5}, where="model 'paths'")
    named = read_study(write_study(folder, {"gene_sets": "hallmark"})).models[0]
    assert named.encoder_settings == {"expression": {"gene_sets": "hallmark"}}

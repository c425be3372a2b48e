"""A study that says how films are read: it is stored, in the model as well, and new patients' films are read the same way."""

import pandas as pd
import pytest

from oncoweave.core.errors import ConfigError
from oncoweave.modalities import film
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.train.predict import load_locked, predict_cohort
from oncoweave.train.study import NetworkConfig, Protocol, read_study, run_study

STUDY = """
name: large films
cohort: phantom
endpoint: driver_a
modalities: [film, record]
preparation: {{film: {{side: {side}, patch: 64, vary: 0.5}}}}
models: [{{name: network, fusion: gated, encoders: {{film: film_vit/tiny, record: tabular/tiny}}}}]
main: network
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("preparation")
    config = Config(patients=24, seed=3, sites=1, missing=0.0, without=("slide", "volume", "expression", "variants", "report"))
    write_phantom(config, root / "phantom", progress=False)
    (root / "study.yaml").write_text(STUDY.format(side=256))
    return root


def test_films_are_read_as_the_study_says_in_the_run_and_for_new_patients(folder):
    study = read_study(folder / "study.yaml").model_copy(
        update={
            "protocol": Protocol(folds=2, repeats=1, inner_folds=2, bootstrap=100, permutations=0),
            "network": NetworkConfig(epochs=1, members=1, width=8),
        }
    )
    run = run_study(study, folder / "run")
    assert read_study(run / "study.yaml").preparation == {"film": {"side": 256, "patch": 64, "vary": 0.5}}
    fitted = load_locked(run, "network").fitted.preparations["film"]
    assert fitted.config == film.Config(side=256, patch=64, vary=0.5)
    predict_cohort(run, folder / "phantom", folder / "new.csv", model="network")
    assert pd.read_csv(folder / "new.csv")["p"].between(0, 1).all()
    other = study.model_copy(update={"preparation": {"film": {"side": 128, "patch": 64}}})
    with pytest.raises(ConfigError, match="another study"):
        run_study(other, folder / "run")


def test_a_side_that_is_not_whole_patches_is_refused_before_anything_is_read(folder):
    (folder / "odd.yaml").write_text(STUDY.format(side=250))
    with pytest.raises(ConfigError, match=r"preparation: film: .*wanted a side of whole patches of 64 px, got 250"):
        run_study(folder / "odd.yaml", folder / "odd")
    assert not (folder / "odd").exists()

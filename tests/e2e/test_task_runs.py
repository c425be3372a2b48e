"""A task run on a phantom cohort from end to end: who is admitted, the study it becomes, and its panel fitted on one fold."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from oncoweave.cli import main
from oncoweave.core.errors import ConfigError
from oncoweave.core.files import read_json
from oncoweave.data.cohort import Cohort
from oncoweave.phantom.biology import Config
from oncoweave.phantom.cohort import write_phantom
from oncoweave.train.dataset import load_dataset
from oncoweave.train.locked import lock
from oncoweave.train.panel import plan
from oncoweave.train.scarcity import fold_of
from oncoweave.train.study import NetworkConfig, Study, resolve
from oncoweave.train.task import admit, load_task, study_of

pytest.importorskip("tokenizers")
TINY = {"film": "film_vit/tiny", "report": "bert/tiny", "record": "tabular/tiny"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("task")
    config = Config(patients=30, seed=1, sites=2, without=("slide", "volume", "expression", "variants"), lung_diseases=True)
    write_phantom(config, root / "phantom", progress=False)
    return root


def small(study: Study) -> Study:
    """Shrink encoders and training, not the panel."""
    models = tuple(m.model_copy(update={"encoders": {k: TINY[k] for k in m.encoders}}) for m in study.models or ())
    network = NetworkConfig(epochs=1, members=1, width=8)
    protocol = study.protocol.model_copy(update={"folds": 2, "inner_folds": 2, "permutations": 0})
    return study.model_copy(update={"models": models, "network": network, "protocol": protocol})


def test_a_task_admits_runs_and_predicts(folder):
    task = load_task("pulmonary_diseases")
    whole = Cohort.open(folder / "phantom")
    absent = int((~whole.availability()["film"]).sum())
    assert absent
    with pytest.raises(ConfigError, match=rf"without \{{'image': {absent}\}} of 30; leave them out"):
        study_of(task, folder / "phantom")
    assert admit(task, folder / "phantom", folder / "admitted") == {"image": absent}
    assert read_json(folder / "admitted" / "task.json")["patients"] == 30 - absent
    study = study_of(task, folder / "admitted")
    assert study.name == "pulmonary_diseases (stand-in: pulmonary_diseases)"
    assert study.modalities == ("film", "report", "record")
    asked = {model.name: model for model in study.models}
    assert asked["image_only"].modalities == ("film",)
    assert asked["image_only"].encoder_settings == {}  # nothing of a kind that it does not read
    assert asked["mdt"].encoders["report"] == "bert/tokens"
    assert asked["mdt"].encoder_settings == {"report": {"depth": 1}}
    cohort = Cohort.open(folder / "admitted")
    resolved = resolve(small(study), cohort)
    data = load_dataset(cohort, resolved.endpoint, resolved.modalities)
    test = np.arange(len(data)) % 4 == 0
    fold = fold_of(resolved, data.take(~test), repeat=0, fold=0)
    fitted = [p for p in plan(resolved, has_sites=True) if p.name in {m.name for m in task.models}]
    frames = pd.concat([lock(p, fold, resolved).frame(data.take(test)) for p in fitted])
    assert set(frames["model"]) == {"image_only", "early", "late", "late_linear", "stacking", "perceiver", "mdt"}
    assert (frames["model"].value_counts() == test.sum()).all()
    scores = frames.filter(like="p@")
    assert scores.notna().all(axis=None)
    assert scores.to_numpy().min() >= 0
    assert scores.to_numpy().max() <= 1


def test_the_outcome_task_takes_the_best_endpoint_there_is(folder):
    task = load_task("adverse_outcome")
    admit(task, folder / "phantom", folder / "for_outcome")
    study = study_of(task, folder / "for_outcome")
    assert study.endpoint == "progression_24m"
    assert study.name.endswith("(stand-in: progression_24m)")


def test_a_cohort_without_a_role_or_an_endpoint_is_refused(folder):
    config = Config(patients=2, without=("slide", "volume", "film"))
    write_phantom(config, folder / "no_image", progress=False)
    with pytest.raises(ConfigError, match="wants one film or volume as image; cohort 'phantom' has"):
        study_of(load_task("adverse_outcome"), folder / "no_image")


def test_tasks_are_listed():
    if not main.app.registered_commands:
        main._add_verbs()
    listed = CliRunner().invoke(main.app, ["list", "tasks"])
    assert listed.exit_code == 0
    assert "pulmonary_diseases" in listed.stdout
    assert "adverse_outcome" in listed.stdout

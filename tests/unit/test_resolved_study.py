"""What a study leaves open is filled in, and what it cannot have is refused, before anything is fitted."""

import numpy as np
import pandas as pd
import pytest

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError, UnknownNameError
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.train.study import ModelSpec, Study, resolve

NAMES = ("clinical", "rna")
IDS = pd.Index([f"p{i}" for i in range(8)], dtype=object, name="patient_id")


def cohort() -> Cohort:
    table = pd.DataFrame({"patient_id": IDS, "sample_id": IDS, "x": np.arange(8.0)})
    notes = pd.DataFrame({"patient_id": IDS, "sample_id": IDS, "text": "a report"})
    return Cohort(
        name="c",
        patients=pd.DataFrame({"site": pd.array([None] * 8, dtype="string"), "y": np.arange(8.0) % 2}, index=IDS),
        tables={**dict.fromkeys(NAMES, table), "notes": notes},
        modalities={
            **{name: ModalitySpec(name=name, kind="record") for name in NAMES},
            "notes": ModalitySpec(name="notes", kind="report"),
        },
        endpoints={"y": Endpoint(name="y", kind="binary", columns=("y",))},
    )


def resolved(*models: ModelSpec, **given: object) -> Study:
    study = {"name": "s", "cohort": "c", "endpoint": "y", "modalities": NAMES, "models": models or None, **given}
    return resolve(Study.model_validate(study), cohort())


def model(name: str, fusion: str = "average", **given: object) -> ModelSpec:
    return ModelSpec.model_validate({"name": name, "fusion": fusion, **given})


def test_the_main_model_is_the_only_one_or_stacking_and_else_has_to_be_named():
    assert resolved(model("x")).main == "x"
    assert resolved().main == "stacking"
    assert resolved(model("x"), model("stacking", "stacking")).main == "stacking"
    assert resolved(model("x"), model("y"), main="y").main == "y"
    with pytest.raises(ConfigError, match="study 's': set main: to the model that it is about, one of x, y"):
        resolved(model("x"), model("y"))
    with pytest.raises(UnknownNameError, match=r"no model \(main\) named 'xy'; did you mean"):
        resolved(model("x"), model("y"), main="xy")


def test_a_fault_of_a_model_is_told_before_the_main_model_is_asked_for():
    with pytest.raises(ConfigError, match=r"model 'y': setting 'prior_sd' of 'stacking' .* wanted float"):
        resolved(model("x"), model("y", "stacking", settings={"prior_sd": 0}))


def test_settings_of_what_is_wrapped_and_of_policies_name_the_model():
    with pytest.raises(ConfigError, match="model 'h', wrapped_settings: operator: setting 'dropout' of 'joint'"):
        resolved(model("h", "auxiliary", wrapped_settings={"operator": {"dropout": 1.5}}))
    with pytest.raises(ConfigError, match="model 'k', missing_settings: setting 'neighbours' of 'knn'"):
        resolved(model("k", "concat", missing="knn", missing_settings={"neighbours": 0}))


@pytest.mark.parametrize("penalty", ["per_modality", "group_lasso", "ipf_lasso", "priority_lasso"])
def test_a_penalty_of_modalities_is_refused_where_columns_are_of_all(penalty):
    for given in ({"fusion": "factors"}, {"fusion": "two_level", "settings": {"feature": "factors"}}):
        with pytest.raises(ConfigError, match=f"model 'f': penalty {penalty} tells modalities apart, .* of 'factors' is of all"):
            resolved(model("f", penalty=penalty, **given))
    assert resolved(model("f", "factors")).models[0].penalty == "shared"


def test_a_tokenizer_that_is_not_there_is_told_before_anything_is_fitted(tmp_path):
    texts = {"notes": {"tokenizer": str(tmp_path / "bert")}}
    with pytest.raises(ConfigError, match=r"texts: notes: tokenizer: .*bert: no such file or folder; name the folder"):
        resolved(model("x"), modalities=(*NAMES, "notes"), texts=texts)


def test_an_objective_that_no_network_would_read_is_refused():
    told = r"model 'm': objective 'classify' trains networks, which this model has none of; name encoders"
    for fusion in ("stacking", "two_level"):
        with pytest.raises(ConfigError, match=told):
            resolved(model("m", fusion, objective="classify"))
        assert resolved(model("m", fusion, objective="classify", encoders={"record": "snn"})).main == "m"
    assert resolved(model("m", "two_level", settings={"feature": "joint"}, objective="classify")).main == "m"

"""Built-in weights named by a study: found, frozen, checked, and refused where there are none."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.train.builtin_weights import builtin_weights
from oncoweave.train.study import read_study, resolve


def resolved(tmp_path: Path, encoder: str, **given: object):
    model = {"name": "m", "fusion": "mean", "encoders": {"slide": encoder}, "weights": {"slide": "builtin"}, **given}
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump({"name": "s", "cohort": "c", "endpoint": "y", "models": [model], "main": "m"}), encoding="utf-8"
    )
    ids = pd.Index(["p1", "p2"], dtype=object, name="patient_id")
    cohort = Cohort(
        name="c",
        patients=pd.DataFrame({"site": pd.Series([None, None], dtype="string").to_numpy(), "y": [0.0, 1.0]}, index=ids),
        tables={"he": pd.DataFrame({"patient_id": ids, "sample_id": ["s1", "s2"], "slide_id": ["a", "b"], "path": ["a", "b"]})},
        modalities={"he": ModalitySpec(name="he", kind="slide")},
        endpoints={"y": Endpoint(name="y", kind="binary", columns=("y",))},
    )
    return resolve(read_study(path), cohort)


def test_builtin_stands_for_the_weights_of_the_package(tmp_path):
    model = resolved(tmp_path, "longnet/tiny", frozen=["slide"]).models[0]
    assert model.weights == {"slide": str(builtin_weights("longnet/tiny")[0])}
    assert model.frozen == ("slide",)


def test_an_encoder_without_built_in_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no built-in weights for abmil \(built in: longnet/tiny"):
        resolved(tmp_path, "abmil")
    with pytest.raises(ConfigError, match=r"weights of 'he' belong to an encoder"):
        resolved(tmp_path, "longnet/tiny", weights={"he": "builtin"})

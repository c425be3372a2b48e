"""A study file that does not fit says which key, and which was meant."""

import pytest

from oncoweave.core.errors import ConfigError
from oncoweave.core.schema import parse_config, read_config
from oncoweave.train.study import Study

MINIMAL = {"name": "s", "cohort": "c", "endpoint": "os"}


def test_minimal_study_is_valid():
    assert parse_config(Study, MINIMAL, where="study").main == "stacking"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"endpiont": "os"}, r"unknown key 'endpiont'; did you mean 'endpoint'\?"),
        ({"protocol": {"fold": 5}}, r"unknown key 'protocol.fold'; did you mean 'folds'\?"),
        (
            {"models": [{"name": "a", "fusion": "concat", "encoder": {}}]},
            r"unknown key 'models.0.encoder'; did you mean 'encoders'\?",
        ),
        ({"protocol": {"folds": 1}}, r"protocol.folds: input should be greater than or equal to 2 \(got 1\)"),
    ],
)
def test_misfits_name_their_place(extra, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(Study, MINIMAL | extra, where="study")


def test_missing_file_and_broken_yaml_are_errors_for_the_user(tmp_path):
    with pytest.raises(ConfigError, match="no file"):
        read_config(Study, tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config(Study, tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="wanted keys and values, got list"):
        read_config(Study, tmp_path / "list.yaml")

"""A study file that does not fit says which key, and which was meant."""

import pytest

from oncoweave.core.errors import ConfigError
from oncoweave.core.schema import parse_config, read_config
from oncoweave.train.study import Study

MINIMAL = {"name": "s", "cohort": "c", "endpoint": "os"}


def test_minimal_study_is_valid():
    assert parse_config(Study, MINIMAL, where="study") == Study(name="s", cohort="c", endpoint="os")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"endpiont": "os"}, r"unknown key 'endpiont'; did you mean 'endpoint'\?"),
        ({"protocol": {"fold": 5}}, r"unknown key 'protocol.fold'; did you mean 'folds'\?"),
        (
            {"models": [{"name": "a", "fusion": "concat", "encoder": {}}]},
            r"unknown key 'models.0.encoder'; did you mean 'encoders'\?",
        ),
        ({"models": [{"name": "../escape", "fusion": "concat"}]}, r"models.0.name: wanted text that matches .*, got '../escape'"),
        ({"protocol": {"horizons": [-5]}}, "protocol.horizons.0: wanted a number above 0, got -5"),
        ({"modalities": []}, r"modalities: wanted 1 or more of them, got \[\]"),
        ({"models": []}, r"models: wanted 1 or more of them, got \[\]"),
        ({"protocol": {"folds": 1}}, "protocol.folds: wanted a number of 2 or more, got 1"),
        ({"protocol": {"folds": 2.5}}, "protocol.folds: wanted a whole number, got 2.5"),
        (
            {"network": {"modality_dropout": 1.5}},
            "study: network.modality_dropout: wanted a number below 1 or keys and values, got 1.5$",
        ),
        ({"network": {"modality_dropout": {"he": 2}}}, "study: network.modality_dropout.he: wanted a number below 1, got 2$"),
        ({"network": {"precision": 16}}, "network.precision: wanted '32-true', 'bf16-mixed' or '16-mixed', got 16"),
        ({"texts": {"notes": {"mask_words": "icu"}}}, r"texts.notes.mask_words: wanted a list, got 'icu'; write \[icu\]"),
        (
            {"models": [{"name": "a", "fusion": "rank", "encoder_settings": {"he": {"width": {}}}}]},
            "models.0.encoder_settings.he.width: wanted a number or a whole number or text or true or false or a list, got {}",
        ),
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
    with pytest.raises(ConfigError, match="cannot be read: Is a directory; wanted a YAML file"):
        read_config(Study, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not text: invalid start byte at byte 3"):
        read_config(Study, tmp_path / "binary.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match=r"wanted keys and values \(key: value\), got a list"):
        read_config(Study, tmp_path / "list.yaml")


def test_a_key_given_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: s\ncohort: c\nendpoint: os\nprotocol:\n  folds: 5\n  repeats: 2\n  folds: 3\n")
    with pytest.raises(ConfigError, match=r"study.yaml: line 7 gives 'folds' a second time; keep one of the two"):
        read_config(Study, path)
    path.write_text("name: s\ncohort: c\nendpoint: os\nmodels:\n- {name: a, fusion: concat}\n- {name: b, fusion: concat}\n")
    assert [m.name for m in read_config(Study, path).models] == ["a", "b"]
    path.write_text("name: &n s\ncohort: *n\nendpoint: os\nmodels: &m\n- *m\n")  # a list that holds itself ends as well
    with pytest.raises(ConfigError, match="models"):
        read_config(Study, path)

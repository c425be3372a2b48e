"""A study of notes that name the outcome: read as they are and with words hidden, and by a language model of a local folder."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError
from oncoweave.core.files import read_json
from oncoweave.core.state import load_state
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.store import write_cohort
from oncoweave.train.predict import predict_cohort
from oncoweave.train.study import read_study, resolve, run_study
from reference.make_bert import CONFIG, weights

FILLER = ("cough", "fever", "hypertension", "no allergies", "lives alone", "walks", "smoker", "diabetes")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(" ".join(FILLER).split()), "icu", "ventilated"]
PIECES += [f"word{i}" for i in range(CONFIG["vocab_size"] - len(PIECES))]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A cohort whose notes name who died, and the folder of a small BERT."""
    root, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    ids = [f"P{i:03d}" for i in range(80)]
    died = np.arange(80) % 2 == 0
    said = [[*rng.permutation(FILLER)[:3], *([str(rng.choice(["ICU", "Ventilated"]))] if d else [])] for d in died]
    notes = pd.DataFrame({"patient_id": ids, "sample_id": ids, "text": [" ".join(rng.permutation(s)) for s in said]})
    cohort = Cohort(
        name="ward",
        patients=pd.DataFrame({"died": died.astype(float)}, index=pd.Index(ids, name="patient_id")),
        tables={"notes": notes},
        modalities={"notes": ModalitySpec(name="notes", kind="report")},
        endpoints={"death": Endpoint(name="death", kind="binary", columns=("died",))},
    )
    write_cohort(cohort, root / "cohort")
    bert = root / "bert"
    bert.mkdir()
    (bert / "config.json").write_text(json.dumps(CONFIG))
    (bert / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    save_file(weights(), bert / "model.safetensors")
    return root


def write_study(root: Path, name: str, **changes: object) -> Path:
    study = {
        "name": name,
        "cohort": "cohort",
        "endpoint": "death",
        "models": [{"name": "main", "fusion": "average"}],
        "main": "main",
        "protocol": {"folds": 2, "repeats": 1, "inner_folds": 2, "bootstrap": 100, "permutations": 0},
        "network": {"epochs": 2, "members": 1},
    }
    (root / f"{name}.yaml").write_text(yaml.safe_dump(study | changes))
    return root / f"{name}.yaml"


def test_the_words_that_name_the_outcome_are_what_the_notes_know_of_it(root, tmp_path):
    texts = {"masked": {"of": "notes", "mask_words": ["ICU", "ventilat*"]}}
    models = [{"name": "main", "fusion": "average", "modalities": ["masked"]}, {"name": "open", "fusion": "average"}]
    out = run_study(write_study(root, "both", texts=texts, models=models), tmp_path / "run")
    auroc = pd.read_parquet(out / "metrics.parquet").query("metric == 'auroc'").set_index("model")["value"]
    assert auroc["only_notes"] > 0.9
    assert 0.3 < auroc["only_masked"] < 0.7
    warnings = read_json(out / "manifest.json")["warnings"]
    (note,) = [w for w in warnings if w.startswith("Words hidden")]
    assert "'masked': in 40 of 80 texts (icu " in note
    assert "; 20 to 20 of the training texts of a fold." in note
    # new patients' notes are read in the same two ways, from the one table they have
    summary = predict_cohort(out, root / "cohort", tmp_path / "new.csv", model="only_masked")
    assert (summary.predicted, summary.warnings) == (80, ())
    fitted = load_state(out / "models" / "only_masked.safetensors").fitted
    assert not any("icu" in term for term in fitted.preparations["masked"].tfidf.terms)


@pytest.mark.parametrize("key", ["notes", "report"])
def test_an_encoder_that_is_its_weights_is_refused_without_them(root, key):
    models = [{"name": "main", "fusion": "mean", "encoders": {key: "pretrained_bert"}}]
    study = read_study(write_study(root, "none", models=models))
    told = rf"model 'main': encoder 'pretrained_bert' is made to start from .*; give their file: weights: {{{key}: FILE}}"
    with pytest.raises(ConfigError, match=told):
        resolve(study, Cohort.open(study.cohort))


def test_a_network_starts_from_a_folder_and_only_with_its_vocabulary(root, tmp_path):
    model = {"name": "main", "fusion": "mean", "encoders": {"notes": "pretrained_bert"}, "frozen": ["notes"]}
    models = [model | {"weights": {"notes": "bert/model.safetensors"}}]
    told = write_study(root, "bert", models=models, texts={"notes": {"tokenizer": "bert"}})
    out = run_study(told, tmp_path / "run")
    fitted = load_state(out / "models" / "main.safetensors").fitted
    member = fitted.members[0]
    np.testing.assert_array_equal(member["encoders.notes.model.word.weight"], weights()["embeddings.word_embeddings.weight"])
    assert fitted.config.modalities["notes"].settings["width"] == CONFIG["hidden_size"]
    assert isinstance(fitted.model(), torch.nn.Module)
    with pytest.raises(ConfigError, match="trained with the vocabulary") as caught:
        run_study(write_study(root, "own", models=models), tmp_path / "own")
    assert "while fitting model 'main'" in caught.value.__notes__[0]
    assert Path(read_study(told).texts["notes"].tokenizer) == root / "bert"

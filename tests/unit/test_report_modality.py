"""Report: texts, term weights, tokens."""

import builtins
import math
from pathlib import Path

import numpy as np
import pytest

from oncoweave.core.errors import DataError, MissingExtraError
from oncoweave.data.cohort import ModalitySpec
from oncoweave.data.columns import make_record
from oncoweave.modalities import report
from oncoweave.modalities.report import Sample, Tfidf
from oncoweave.nn.text import VOCABULARY_SIZE

SPEC = ModalitySpec(name="pathology", kind="report")


def read(*texts: object) -> Sample | None:
    return report.read(make_record("P1", [{"text": t} for t in texts], modality=SPEC, root=Path("cohort")))


def samples(*texts: str) -> list[Sample]:
    return [Sample(patient_id=str(i), text=t) for i, t in enumerate(texts)]


def test_several_reports_are_joined_in_order_without_empty_ones():
    assert read(" First. ", None, "  ", "Second.").text == "First.\n\nSecond."


def test_no_text_is_an_absent_patient():
    assert read(None, "  ") is None


def test_what_is_no_text_is_refused():
    with pytest.raises(DataError, match=r"^modality 'pathology', row 1 .*pathology.parquet.*column 'text' holds 3"):
        read(3)
    with pytest.raises(DataError, match="no column 'text'"):
        report.read(make_record("P1", [{"note": "x"}], modality=SPEC, root=Path()))
    with pytest.raises(DataError, match="patient 'P1': the report holds null or replacement characters"):
        report.check(Sample(patient_id="P1", text="a\x00b"))


def test_term_weights_in_closed_form():
    tfidf = Tfidf(terms=("tumour", "free", "free tumour"), idf=np.array([1.0, 2.0, 3.0]))
    weights = tfidf(["Free tumour, free TUMOUR tumour.", "nothing known", ""]).toarray()
    raw = np.array([(1 + math.log(3)) * 1, (1 + math.log(2)) * 2, (1 + math.log(2)) * 3])
    np.testing.assert_allclose(weights[0], raw / np.linalg.norm(raw))
    assert not weights[1:].any()


def test_a_text_without_known_terms_is_finite():
    fitted = report.fit(samples("tumour cells", "tumour free margin", "stroma cells"))
    block = fitted.block(samples("unrelated wording"))
    np.testing.assert_allclose(block[0], -fitted.scaling.centre / fitted.scaling.scale)


def test_ids_come_from_the_training_vocabulary_and_fit_the_encoders():
    fitted = report.fit(samples(*("invasive ductal carcinoma of the breast" for _ in range(3))))
    tokens = fitted.collate(samples("ductal carcinoma", "Ductal  CARCINOMA", "\u4e2d", "\x07"))
    assert tokens.values[0][tokens.keep[0]].tolist() == tokens.values[1][tokens.keep[1]].tolist()
    assert tokens.values[2][tokens.keep[2]].tolist() == [[0.0]]  # an unknown letter
    assert tokens.keep[3].sum() == 1  # a text of nothing that prints is still a text
    assert float(tokens.clean.max()) < VOCABULARY_SIZE


def test_many_letters_do_not_overflow_the_vocabulary():
    import json

    texts = ["".join(chr(0x4E00 + i) for i in range(6000)), "tumour of the colon"] * 2
    state = json.loads(report.fit(samples(*texts)).tokenizer)
    assert len(state["model"]["vocab"]) <= VOCABULARY_SIZE


def test_characters_of_scripts_without_spaces_are_words_and_known(rng):
    characters = [chr(0x4E00 + i) for i in range(2000)]
    texts = ["".join(rng.choice(characters, size=300)) for _ in range(40)]
    fitted = report.fit(samples(*texts))
    read = fitted.collate(samples(*texts))
    assert read.keep.sum(dim=1).tolist() == [300] * 40
    assert (read.clean[read.keep] > 0).all()  # none is the unknown piece
    assert fitted.tfidf(["".join(characters[:5]) + " tumour"]).nnz == 5  # no pair of them is known
    few = report.fit(samples("\u809d\u764c", "\u80ba\u764c T2"))
    assert few.tfidf.terms == ("t2", "\u764c", "\u764c t2", "\u809d", "\u809d \u764c", "\u80ba", "\u80ba \u764c")


def test_fitting_twice_gives_the_same_tokenizer():
    texts = ["gland forming tumour \u03b1\u03b2", "solid tumour \u00b5m \u2265 5", "margins free"]
    assert report.fit(samples(*texts)).tokenizer == report.fit(samples(*texts)).tokenizer


def test_without_the_library_the_block_works_and_tokens_name_the_extra(monkeypatch):
    real_import = builtins.__import__

    def no_tokenizers(name: str, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_tokenizers)
    drawn = samples("tumour cells", "tumour free margin", "stroma cells")
    fitted = report.fit(drawn)
    assert np.isfinite(fitted.block(drawn)).all()
    with pytest.raises(MissingExtraError, match=r"oncoweave\[text\]"):
        fitted.collate(drawn)


def test_reports_without_words_are_refused():
    with pytest.raises(DataError, match="no term occurs in 1 or more of 2 training reports"):
        report.fit(samples("! ?", ". . ."))

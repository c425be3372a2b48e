"""Words that state the answer: what is hidden, how it is counted, and that a planted leak is gone."""

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError, DataError, UnknownNameError
from oncoweave.core.state import load_state, save_state
from oncoweave.data.cohort import Cohort, ModalitySpec
from oncoweave.data.columns import make_record
from oncoweave.data.label_words import blank_text, check_words, is_ordinary, mask_text
from oncoweave.modalities import report
from oncoweave.modalities.report import Sample
from oncoweave.train.dataset import load_dataset
from oncoweave.train.study import ModelSpec, Study, resolve
from oncoweave.train.texts import TextReading, masking_notes, read_texts_as, spared_classes

WORDS = ("intubat*", "icu", "mechanical ventilation")
SPOKEN = ("ICU", "intubated", "intubation", "mechanical ventilation")
FILLER = ("cough and fever for three days", "known hypertension", "no allergies", "lives alone", "walks without help")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Moved to the ICU.", "Moved to the _."),
        ("ICU-admission, (icu)", "_-admission, (_)"),
        ("Intubated; extubation after intubation", "_; extubation after _"),
        ("mechanical\n  Ventilation or ventilation", "_ or ventilation"),
        ("focus, icus, icu2, particular", "focus, icus, icu2, particular"),
    ],
)
def test_hiding_is_by_word_not_by_substring(text, masked):
    assert mask_text(text, WORDS)[0] == masked.replace("_", " ")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("intub\u00adated in IC\u200bU and \u00cdCU", "# in # and #"),
        ("mechanical\u00adventilation, me\u0301chanical\u00a0venti\u00adlation", "#, #"),
        ("I\ufeffCU, icu\u0301\u200d, q\u0301icu", "#, #, q\u0301icu"),
        ("sta\u00adble, caf\u00e9 \u4f4f\u9662", "sta\u00adble, caf\u00e9 \u4f4f\u9662"),
    ],
)
def test_words_are_found_as_the_tokenizer_reads_them(text, left):
    masked, hidden = mask_text(text, WORDS)
    assert masked == left.replace("#", " ")
    assert hidden.total() == left.count("#")
    normalizers = pytest.importorskip("tokenizers.normalizers")
    read = normalizers.BertNormalizer(lowercase=True).normalize_str(masked)
    assert not set(read.replace(",", " ").split()) & {"icu", "intubated", "mechanical", "ventilation"}


def test_words_of_a_list_are_found_with_and_without_their_accents():
    assert mask_text("opéré, opere, operé", ("opere",))[0] == " ,  ,  "
    assert mask_text("opéré, opere, operé", ("opéré",))[0] == " ,  ,  "


def test_a_word_hides_its_forms_only_where_a_stem_is_given():
    text = "recurrence, recurrences, recurrent"
    assert mask_text(text, ("recurrence",))[0] == " , recurrences, recurrent"
    assert mask_text(text, ("recurren*",))[0] == " ,  ,  "


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ICU admission needed; mechanical-ventilation was started", "# needed; # was started"),
        ("mechanical\nventilation, mechanical-\n  ventilation, mechanical \u2011 ventilation", "#, #, #"),
        ("ICU_stay, pre_icu, mechanical_ventilation, ICU_admission_2", "#_stay, pre_#, #, #_2"),
        ("after admission to ward 3, readmission to warden", "after # 3, readmission to warden"),
    ],
)
def test_the_order_of_the_list_changes_nothing_and_no_piece_of_a_word_stays(text, left):
    words = ("icu", "icu admission", "admission to", "to ward", "mechanical-ventilation")
    for order in itertools.permutations(words):
        assert mask_text(text, order)[0] == left.replace("#", " ")
        assert mask_text(text, order)[1] == mask_text(text, words)[1]
        assert len(blank_text(text, order)) == len(text)
        assert blank_text(text, order).split() == left.replace("#", " ").split()


def test_words_within_others_are_found_too():
    assert dict(mask_text("ICU admission, icu", ("icu", "icu admission", "admission"))[1]) == {
        "icu": 2,
        "icu admission": 1,
        "admission": 1,
    }


def test_a_word_is_hidden_however_its_letters_are_written():
    word = "m\u00e9tastase"
    apart = unicodedata.normalize("NFD", word)
    assert apart != word
    for given, written in ((word, apart), (apart, word), (apart, apart)):
        assert mask_text(f"une {written} nette", check_words([given]))[0].split() == ["une", "nette"]
        assert blank_text(f"une {written} nette", check_words([given])) == f"une {' ' * 9} nette"
    row = make_record("P1", [{"text": f"une {apart} nette"}], modality=ModalitySpec(name="report", kind="report"), root=Path())
    assert report.read(row).text == f"une {word} nette"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("患者死亡了。", "患者#了。"),
        ("患者死\n亡，入ICU后intubated死亡", "患者#，入#后##"),
        ("ICU患者 icus", "#患者 icus"),
        ("人工呼吸を開始、人工\u200b呼吸器", "#を開始、#器"),
    ],
)
def test_words_of_scripts_without_spaces_are_hidden_wherever_they_stand(text, left):
    masked, hidden = mask_text(text, check_words(["死亡*", "人工呼吸", *WORDS]))
    assert masked == left.replace("#", " ")
    assert hidden.total() == left.count("#")


def test_what_was_hidden_is_counted_by_word_of_the_list():
    _, hidden = mask_text("ICU, icu, intubated, intubation, reintubated", WORDS)
    assert dict(hidden) == {"icu": 2, "intubat*": 2}


def test_words_are_brought_to_one_form_and_refused_where_they_are_none():
    assert check_words(["ICU", "icu ", "Mechanical  ventilation"]) == ("icu", "mechanical ventilation")
    for wrong in ("*tubated", "in*ed", "  ", "*", "_"):
        with pytest.raises(ConfigError, match="is no word; write a word"):
            check_words([wrong])


def notes(outcome: np.ndarray, rng: np.random.Generator, **reading: object) -> list[Sample]:
    """Draw notes whose filler knows nothing, and that name the outcome where it happened."""
    drawn = []
    for i, happened in enumerate(outcome):
        facts = [FILLER[k] for k in rng.permutation(len(FILLER))[: rng.integers(2, 5)]]
        if happened:
            facts.insert(int(rng.integers(len(facts) + 1)), str(rng.choice(SPOKEN)))
        drawn.append(Sample(patient_id=str(i), text=" ".join(facts), **reading))
    return drawn


def auroc(score: np.ndarray, outcome: np.ndarray) -> float:
    above = score[outcome][:, None] - score[~outcome][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def ridge_score(train: np.ndarray, outcome: np.ndarray, test: np.ndarray) -> np.ndarray:
    x, mean = train - train.mean(axis=0), train.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ (outcome - outcome.mean()))
    return (test - mean) @ weights


@pytest.mark.parametrize("columns", ["block", "tokens"])
@pytest.mark.parametrize(("words", "low", "high"), [((), 0.97, 1.0), (WORDS, 0.36, 0.64)])
def test_the_text_predicts_a_planted_outcome_only_by_the_words_that_name_it(columns, words, low, high):
    rng = np.random.default_rng(0)
    outcome = np.arange(240) % 2 == 0
    drawn = notes(outcome, rng, mask_words=words)
    fitted = report.fit(drawn[:120])
    x = fitted.block(drawn) if columns == "block" else bag(fitted, drawn)
    score = ridge_score(x[:120], outcome[:120].astype(float), x[120:])
    assert low <= auroc(score, outcome[120:]) <= high


def bag(fitted: report.Preparation, drawn: list[Sample]) -> np.ndarray:
    """Count the pieces of each text."""
    tokens = fitted.collate(drawn)
    ids = tokens.clean.squeeze(-1).long()
    counts = torch.zeros(len(drawn), int(ids.max()) + 1).scatter_add_(1, ids, tokens.keep.float())
    return counts.double().numpy()


def test_a_hidden_word_is_as_if_it_had_not_been_written():
    rng = np.random.default_rng(1)
    fitted = report.fit(notes(np.arange(40) % 2 == 0, rng, mask_words=WORDS))
    said, unsaid = (
        Sample(patient_id="a", text="no allergies, ICU lives alone"),
        Sample(patient_id="b", text="no allergies, lives alone"),
    )
    a, b = fitted.collate([said]), fitted.collate([unsaid])
    assert torch.equal(a.values, b.values)
    np.testing.assert_array_equal(fitted.block([said]), fitted.block([unsaid]))
    only = fitted.collate([Sample(patient_id="c", text="ICU")])
    assert only.keep.sum() == 1  # a text of nothing else is still a text
    assert not any(word in " ".join(fitted.tfidf.terms) for word in ("icu", "intub", "mask", "ventilation"))


def test_the_preparation_hides_in_new_texts_too_counts_and_is_stored(tmp_path):
    rng = np.random.default_rng(2)
    outcome = np.arange(40) % 2 == 0
    fitted = report.fit(notes(outcome, rng, mask_words=WORDS))
    assert fitted.masked_texts == 20
    assert sum(fitted.masked_words.values()) == 20
    save_state(tmp_path / "report.safetensors", fitted)
    back = load_state(tmp_path / "report.safetensors")
    new = notes(outcome, rng)  # read without any notes
    np.testing.assert_array_equal(back.block(new), fitted.block(new))
    assert back.masked_words == fitted.masked_words
    assert back.mask_words == WORDS


def test_texts_of_one_modality_are_read_in_one_way():
    with pytest.raises(ConfigError, match="in different ways"):
        report.fit([Sample(patient_id="a", text="x y"), Sample(patient_id="b", text="x y", mask_words=("icu",))])


ENDPOINT = Endpoint(name="outcome", kind="binary", columns=("dead",), classes=("went_home", "Died"))


def cohort(**changes: object) -> Cohort:
    outcome = np.arange(30) % 2 == 0
    drawn = notes(outcome, np.random.default_rng(3))
    ids = [s.patient_id for s in drawn]
    table = pd.DataFrame({"patient_id": ids, "sample_id": ids, "text": [s.text for s in drawn]})
    labs = pd.DataFrame({"patient_id": ids, "sample_id": ids, "crp": np.arange(30.0)})
    spec = ModalitySpec(name="notes", kind="report", **changes)
    return Cohort(
        name="c",
        patients=pd.DataFrame({"dead": outcome.astype(float)}, index=pd.Index(ids, name="patient_id")),
        tables={"notes": table, "labs": labs},
        modalities={"notes": spec, "labs": ModalitySpec(name="labs", kind="record")},
        endpoints={"outcome": ENDPOINT},
    )


def test_one_study_reads_a_text_with_and_without_its_words():
    texts = {"masked": TextReading(of="notes", mask_words=("ICU", "intubat*", "ecmo"), mask_classes=True)}
    both = read_texts_as(cohort(), texts, ENDPOINT)
    assert both.modalities["masked"].notes == {"mask_words": "icu, intubat*, ecmo, went home, died"}
    data = load_dataset(both, "outcome", ["notes", "masked"])
    assert [s.text for s in data.samples["notes"]] == [s.text for s in data.samples["masked"]]
    assert data.samples["notes"][0].mask_words == ()
    assert data.samples["masked"][0].mask_words == ("icu", "intubat*", "ecmo", "went home", "died")
    fold = np.arange(30) % 3
    splits = pd.DataFrame({"patient_id": data.patient_ids, "repeat": 0, "fold": fold})
    (note,) = masking_notes(data, splits)
    held = np.array([bool(mask_text(s.text, ("icu", "intubat*"))[1]) for s in data.samples["notes"]])
    each = [int(held[fold != k].sum()) for k in range(3)]
    assert note.startswith(f"Words hidden from models of 'masked': in {held.sum()} of 30 texts (icu ")
    assert f"; {min(each)} to {max(each)} of the training texts of a fold. Never found: ecmo, went home, died." in note


def test_a_study_replaces_what_the_cohort_says_of_its_words():
    noted = cohort(notes={"mask_words": "icu", "source": "ward"})
    assert load_dataset(noted, "outcome", ["notes"]).samples["notes"][0].mask_words == ("icu",)
    opened = read_texts_as(noted, {"notes": TextReading(mask_words=())}, ENDPOINT)
    assert opened.modalities["notes"].notes == {"source": "ward"}


def test_what_a_study_does_not_speak_of_stays_as_the_cohort_says(tmp_path):
    noted = cohort(notes={"mask_words": "icu", "tokenizer": "here"})
    texts = {"notes": TextReading(tokenizer="there"), "classes": TextReading(of="notes", mask_classes=True)}
    read = read_texts_as(noted, texts, ENDPOINT).modalities
    assert read["notes"].notes == {"mask_words": "icu", "tokenizer": "there"}
    assert read["classes"].notes == {"mask_words": "icu, went home, died", "tokenizer": "here"}


def test_readings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="'labs' is of kind 'record', wanted 'report'"):
        read_texts_as(cohort(), {"labs": TextReading(mask_words=("icu",))}, ENDPOINT)
    with pytest.raises(ConfigError, match="the cohort has a modality of that name"):
        read_texts_as(cohort(), {"labs": TextReading(of="notes")}, ENDPOINT)
    with pytest.raises(DataError, match=r"modality 'a/b': a name may hold letters, digits and _ . \+ -"):
        read_texts_as(cohort(), {"a/b": TextReading(of="notes")}, ENDPOINT)
    with pytest.raises(UnknownNameError, match="did you mean 'notes'"):
        read_texts_as(cohort(), {"masked": TextReading(of="note")}, ENDPOINT)
    survival = Endpoint(name="os", kind="survival", columns=("t", "e"), time_unit="days")
    with pytest.raises(ConfigError, match="'os' has no class names to hide"):
        read_texts_as(cohort(), {"notes": TextReading(mask_classes=True)}, survival)
    with pytest.raises(ConfigError, match="'a, b' holds a comma"):
        read_texts_as(cohort(), {"notes": TextReading(mask_words=("a, b",))}, ENDPOINT)


@pytest.mark.parametrize(
    "name", ["no", "Yes", "none", "NEGATIVE", "absent", "unknown", "low", "other", "not_identified", "0", "3+", "I"]
)
def test_class_names_that_any_text_is_full_of_are_ordinary(name):
    assert is_ordinary(name)


@pytest.mark.parametrize("name", ["died", "no recurrence", "HER2 positive", "grade 3", "low grade", "stage_II"])
def test_names_with_a_word_of_their_own_are_not(name):
    assert not is_ordinary(name)


def test_negations_stay_where_classes_are_called_yes_and_no():
    text = "No lymphovascular invasion is identified."
    mixed = Endpoint(name="lvi", kind="multiclass", columns=("dead",), classes=("no", "yes", "indeterminate"))
    texts = {"masked": TextReading(of="notes", mask_classes=True)}
    read = read_texts_as(cohort(), texts, mixed)
    words = load_dataset(read, "outcome", ["masked"]).samples["masked"][0].mask_words
    assert words == ("indeterminate",)
    assert mask_text(text, words)[0] == text
    (note,) = spared_classes(texts, mixed)
    assert note.startswith("Not hidden from models of 'masked': no, yes. ")
    assert spared_classes(texts, ENDPOINT) == []


def test_nothing_left_to_hide_is_refused():
    endpoint = Endpoint(name="lvi", kind="binary", columns=("dead",), classes=("no", "yes"))
    with pytest.raises(ConfigError, match=r"the class names \(no, yes\) are ordinary words"):
        read_texts_as(cohort(), {"notes": TextReading(mask_classes=True)}, endpoint)
    both = read_texts_as(cohort(), {"notes": TextReading(mask_classes=True, mask_words=("invasion",))}, endpoint)
    assert both.modalities["notes"].notes == {"mask_words": "invasion"}


def test_a_reading_that_the_studys_modalities_leave_out_is_refused():
    texts = {"masked": TextReading(of="notes", mask_words=("icu",))}
    read = read_texts_as(cohort(), texts, ENDPOINT)
    models = (ModelSpec(name="main", fusion="concat"),)
    study = Study(name="s", cohort="c", endpoint="outcome", modalities=("labs", "notes"), texts=texts, models=models, main="main")
    with pytest.raises(ConfigError, match=r"texts: masked is read by no model.*modalities: \[labs, notes, masked\]"):
        resolve(study, read)
    assert resolve(study.model_copy(update={"modalities": None}), read).modalities == ("notes", "labs", "masked")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Crohn\u2019s disease", "crohn's"),
        ("Crohn's disease", "crohn\u2019s"),
        ("in\ufb01ltration of fat", "infiltration"),
        ("\uff2d\uff25\uff34\uff21\uff33\uff34\uff21\uff33\uff29\uff33 seen", "metastasis"),
        ("stage \u2163 seen", "stage iv"),
        ("GROSS tumour", "groß"),
        ("ein großer Tumor", "grosser"),
    ],
)
def test_words_in_another_writing_are_the_same_words(text, word):
    masked, hidden = mask_text(text, check_words((word,)))
    assert hidden.total() == 1
    assert all(part not in masked.casefold() for part in ("crohn", "ltration", "\uff2d", "\u2163", "gross", "groß"))

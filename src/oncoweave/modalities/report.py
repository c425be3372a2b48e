"""Report: free text of a patient; several reports are concatenated in the order of the table, an empty line between.

The block is TF-IDF over words and word pairs, reduced by a singular value decomposition (latent semantic analysis, Deerwester et
al. 1990); tokens are ids of a byte-pair vocabulary. Vocabularies, weights and components are learned on training patients. In
scripts without spaces (Chinese, Japanese, Thai) every character counts as a word in both.

Two notes of the modality, from the cohort or the study, say how it is read. ``mask_words``, parted by commas, are hidden from
both, as if they had not been written. ``tokenizer`` is the folder of a language model whose vocabulary the tokens are to have
instead of one of their own.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse

from oncoweave.core.errors import ConfigError, DataError, NothingToLearnError, missing_extra
from oncoweave.core.truth import PatientTruth
from oncoweave.data.cohort import ModalitySpec, Record
from oncoweave.data.columns import Scaling, at_least_one, blank_absent, make_record, place, whose
from oncoweave.data.label_words import UNSPACED, check_words, composed, mask_text, noted_words
from oncoweave.nn.text import VOCABULARY_SIZE
from oncoweave.nn.tokens import Tokens, pad
from oncoweave.nn.vocabulary import fingerprint, parse_tokenizer, read_tokenizer

BAG = True
"""Patients differ in their number of tokens."""
MAX_TERMS = 20_000
_MAX_GRAM = 3000
"""Documents up to which their Gram matrix is decomposed."""

NUM_COMPONENTS = 64
"""Width of the block at most."""

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]{{2,}}")
"""Two letters or more; in scripts without spaces, each by itself."""
_UNKNOWN = "[UNK]"
_TEXTS_KEPT = 2**14
"""Texts whose tokens are kept, some kilobytes each."""
_MAX_LETTERS = VOCABULARY_SIZE * 3 // 4
"""Letters the token vocabulary knows, enough for Chinese; rarer ones become the unknown token."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sample:
    """Everything written about one patient."""

    patient_id: str
    text: str
    place: str = ""
    """Where it was read, for messages."""
    mask_words: tuple[str, ...] = ()
    """Words that models fitted on it must not see."""
    tokenizer: str = ""
    """Folder whose vocabulary models fitted on it read with; empty for one of their own."""


def read(record: Record) -> Sample | None:
    """Read and join a patient's texts; None where all are empty.

    Raises:
        DataError: there is no column ``text``, or it holds something else; names patient and table.
    """
    if "text" not in record.rows.columns:
        msg = f"{place(record)}: no column 'text'; it has {list(record.rows.columns)}"
        raise DataError(msg)
    texts = record.rows["text"].dropna().tolist()
    for text in texts:
        if not isinstance(text, str):
            msg = f"{place(record)}: column 'text' holds {text!r}, wanted a text or nothing"
            raise DataError(msg)
    joined = composed("\n\n".join(t.strip() for t in texts if t.strip()))
    if not joined:
        return None
    return Sample(patient_id=record.patient_id, text=joined, place=place(record), **_notes(record))


def _notes(record: Record) -> dict[str, Any]:
    notes = record.modality.notes
    folder = notes.get("tokenizer", "")
    return {
        "mask_words": check_words(noted_words(notes)),
        "tokenizer": str(Path(record.root or ".") / folder) if folder else "",
    }


def check(sample: Sample) -> None:
    """Refuse a text that is bytes or markup decoded wrongly.

    Raises:
        DataError: names the patient.
    """
    if "\x00" in sample.text or sample.text.count("\ufffd") > 0.01 * len(sample.text):
        msg = f"{whose(sample)}: the report holds null or replacement characters; decode the source as UTF-8 text"
        raise DataError(msg)


def to_record(sample: Sample, *, root: Path, name: str = "report") -> Record:
    """Lay a sample out as a row of a modality table."""
    return make_record(sample.patient_id, [{"text": sample.text}], modality=ModalitySpec(name=name, kind="report"), root=root)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Tfidf:
    """Term weights: (1 + log count) x inverse document frequency, each text scaled to unit length.

    Equal to scikit-learn's ``TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)`` with the same vocabulary and words.
    """

    terms: tuple[str, ...]
    idf: Float[np.ndarray, " term"]
    """log((1 + n) / (1 + texts with the term)) + 1."""

    def __call__(self, texts: Sequence[str]) -> sparse.csr_array:
        """Weigh the terms of each text, ``[text, term]``; terms outside the vocabulary are left out."""
        index = {term: i for i, term in enumerate(self.terms)}
        rows = [_row({index[t]: c for t, c in _terms(text).items() if t in index}) for text in texts]
        columns = np.concatenate([np.zeros(0, dtype=int), *(r[0] for r in rows)])
        weights = np.concatenate([np.zeros(0), *(r[1] for r in rows)]) * self.idf[columns]
        starts = np.cumsum([0, *(len(r[0]) for r in rows)])
        matrix = sparse.csr_array((weights, columns, starts), shape=(len(texts), len(self.terms)))
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        return sparse.diags_array(np.divide(1.0, length, out=np.zeros(len(texts)), where=length > 0)).tocsr() @ matrix


def _terms(text: str) -> Counter[str]:
    words = _WORD.findall(text.lower())
    return Counter(words) + Counter(f"{a} {b}" for a, b in pairwise(words))


def _row(counts: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    columns = np.array(sorted(counts), dtype=int)
    return columns, 1.0 + np.log(np.array([counts[c] for c in columns], dtype=float))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Preparation:
    """Term weights, components and token vocabulary of the training patients' reports."""

    tfidf: Tfidf
    components: Float[np.ndarray, "component term"]
    scaling: Scaling
    """Centre of each component; all share the first one's scale, so that later ones are not blown up to its size where patients
    are compared. Linear models scale each column anew."""
    tokenizer: str
    """The tokenizer as its JSON text; empty where the library ``tokenizers`` was not installed."""
    mask_words: tuple[str, ...] = ()
    """Words hidden from every text."""
    masked_texts: int = 0
    """Training texts that held one of them."""
    masked_words: Mapping[str, int] = field(default_factory=dict)
    """How often each was hidden in them."""

    @property
    def vocabulary_sha256(self) -> str:
        """Which piece has which id; empty where there is no tokenizer."""
        return fingerprint(self.tokenizer) if self.tokenizer else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the modality's table that are read."""
        return ("text",)

    @property
    def dim(self) -> int:
        """Width of a token: its id, held as a float."""
        return 1

    @property
    def num_tokens(self) -> None:
        """Texts differ in length."""
        return None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Each component with its three heaviest terms."""
        heaviest = np.argsort(-np.abs(self.components), axis=1, kind="stable")[:, :3]
        return tuple(f"lsa{i} ({', '.join(self.tfidf.terms[t] for t in top)})" for i, top in enumerate(heaviest))

    def collate(self, samples: Sequence[Sample | None]) -> Tokens:
        """Make one token of each piece of text, its id held as a float.

        Raises:
            MissingExtraError: the library ``tokenizers`` is not installed, or was not when this was fitted.
        """
        if not self.tokenizer:
            raise missing_extra("tokenizers", "text")
        return pad([None if s is None else _tokens(self.tokenizer, s.text, self.mask_words) for s in samples], 1)

    def block(self, samples: Sequence[Sample | None]) -> Float[np.ndarray, "patient feature"]:
        """Project term weights on the components; a text without a known term is at the origin, NaN for absent patients."""
        weights = self.tfidf(self._masked(samples))
        present = np.array([s is not None for s in samples], dtype=bool)
        out = np.full((len(samples), len(self.components)), np.nan)
        out[present] = self.scaling(weights @ self.components.T)
        return blank_absent(out, present)

    def _masked(self, samples: Sequence[Sample | None]) -> list[str]:
        return [mask_text(s.text, self.mask_words)[0] for s in samples if s is not None]


@lru_cache(maxsize=_TEXTS_KEPT)
def _tokens(tokenizer: str, text: str, words: tuple[str, ...]) -> Float[torch.Tensor, "token 1"]:
    """Ids of the pieces of a text; kept, as training asks for the same texts in every epoch. Nobody may write into it."""
    pieces = parse_tokenizer(tokenizer)
    ids = pieces.encode(mask_text(text, words)[0], add_special_tokens=False).ids
    ids = ids or [pieces.token_to_id(_UNKNOWN)]  # a text of nothing but control characters is still a text
    return torch.tensor(ids, dtype=torch.float32).unsqueeze(-1)


def fit(samples: Sequence[Sample | None]) -> Preparation:
    """Learn term weights, components and tokens from the training patients' reports.

    A term counts if two reports have it (one, below ten reports); the ``MAX_TERMS`` most frequent stay.

    Raises:
        NothingToLearnError: nobody has the modality, or no term is frequent enough.
    """
    at_least_one(samples, "report")
    mask_words, folder = _reading(samples)
    masked = [mask_text(s.text, mask_words) for s in samples if s is not None]
    texts = [text for text, _ in masked]
    tfidf = _fit_tfidf(texts)
    weights = tfidf(texts)
    components = _components(weights)
    projected = weights @ components.T
    spread = max(float(projected.std(axis=0).max()), 1e-9)
    return Preparation(
        tfidf=tfidf,
        components=components,
        scaling=Scaling(centre=projected.mean(axis=0), scale=np.full(len(components), spread)),
        tokenizer=read_tokenizer(Path(folder)) if folder else _train_tokenizer(texts),
        mask_words=mask_words,
        masked_texts=sum(bool(hidden) for _, hidden in masked),
        masked_words=dict(sum((hidden for _, hidden in masked), Counter())),
    )


def _reading(samples: Sequence[Sample | None]) -> tuple[tuple[str, ...], str]:
    """Find how all of them are to be read."""
    readings = {(s.mask_words, s.tokenizer) for s in samples if s is not None}
    if len(readings) > 1:
        msg = "texts of one modality are to be read in different ways (mask_words, tokenizer); make them modalities of their own"
        raise ConfigError(msg)
    return readings.pop()


def _fit_tfidf(texts: Sequence[str]) -> Tfidf:
    from sklearn.feature_extraction.text import TfidfVectorizer

    least = 2 if len(texts) >= 10 else 1
    vectoriser = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=least, max_features=MAX_TERMS, token_pattern=_WORD.pattern
    )
    try:
        vectoriser.fit(texts)
    except ValueError as error:  # sklearn's way to say that no term is left
        msg = f"no term occurs in {least} or more of {len(texts)} training reports; leave the modality out ({error})"
        raise NothingToLearnError(msg) from error
    return Tfidf(terms=tuple(vectoriser.get_feature_names_out().tolist()), idf=vectoriser.idf_.astype(float))


def _components(weights: sparse.csr_array) -> Float[np.ndarray, "component term"]:
    """Leading right singular vectors, signs fixed; those of no weight are left out.

    They come from the Gram matrix of the documents while that is small, which is exact and, for a cohort, many times faster than
    a randomised decomposition.
    """
    wanted = min(NUM_COMPONENTS, *weights.shape)
    if weights.shape[0] > _MAX_GRAM:
        from sklearn.utils.extmath import randomized_svd

        _, values, components = randomized_svd(weights, n_components=wanted, n_iter=5, random_state=0)
        return components[values > 1e-6 * values[0]]
    squares, left = np.linalg.eigh((weights @ weights.T).toarray())
    kept = [k for k in np.argsort(squares)[::-1][:wanted] if squares[k] > 1e-12 * squares.max()]
    components = (weights.T @ (left[:, kept] / np.sqrt(squares[kept]))).T
    signs = np.sign(components[np.arange(len(kept)), np.abs(components).argmax(axis=1)])
    return components * signs[:, None]


def _train_tokenizer(texts: Sequence[str]) -> str:
    """Train byte-pair encoding on lower-cased words; returns JSON, or an empty text where the library is not installed.

    WordPiece is not used: its trainer's numbering of word-inner pieces differed between processes (tokenizers 0.23.3).
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError:
        return ""
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = Counter(letter for text in texts for letter in tokenizer.normalizer.normalize_str(text))
    alphabet = sorted(letters, key=lambda letter: (-letters[letter], letter))[:_MAX_LETTERS]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        min_frequency=2,
        special_tokens=[_UNKNOWN],
        initial_alphabet=alphabet,  # given, because the trainer's own choice between equally rare letters changes from run to run
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)


_STAGE = (
    "The tumour is staged as {s}.",
    "Pathological stage: {s}.",
    "Findings correspond to stage {s} disease.",
)
_IMMUNE = {
    True: ("Brisk tumour infiltrating lymphocytes are seen.", "There is a dense lymphocytic infiltrate at the invasive margin."),
    False: ("Lymphocytes are sparse.", "No significant inflammatory infiltrate is identified."),
}
_GRADE = {
    True: ("Mitoses are frequent, high grade.", "Poorly differentiated carcinoma with brisk mitotic activity."),
    False: ("Mitotic figures are rare, low grade.", "Well differentiated carcinoma; mitoses are not conspicuous."),
}
_SUBTYPE = (
    ("Glandular growth pattern.", "Adenocarcinoma with tubule formation."),
    ("Solid growth pattern without glands.", "Sheets of cells; gland formation is not seen."),
    ("Discohesive growth in single cells.", "Single-file pattern; the cells are discohesive."),
)
_INVASION = {
    True: ("Lymphovascular invasion is present.", "Tumour emboli are seen within lymphatic vessels."),
    False: ("No lymphovascular invasion is identified.", "Lymphovascular invasion: absent."),
}
_BOILERPLATE = (
    "Specimen received in formalin and labelled with the patient's name.",
    "Resection margins are free of tumour.",
    "No perineural invasion is identified.",
    "Representative sections were submitted in cassettes A1 to A6.",
    "The findings were discussed at the multidisciplinary conference.",
    "Immunohistochemistry was performed with appropriate controls.",
)


def synthesise(truth: PatientTruth, rng: np.random.Generator) -> Sample:
    """Write a pathology report in varied words: growth, grade, lymphocytes, invasion, stage; negations, boilerplate."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    facts = [
        pick(_SUBTYPE[truth.subtype]),
        pick(_GRADE[bool(truth.proliferation + rng.normal(0.0, 0.4) > 0)]),
        pick(_IMMUNE[bool(truth.immune + rng.normal(0.0, 0.4) > 0)]),
        pick(_INVASION[truth.private_report]),
        pick(_STAGE).format(s=("I", "II", "III", "IV")[truth.stage - 1]),
    ]
    facts += [_BOILERPLATE[i] for i in rng.permutation(len(_BOILERPLATE))[: rng.integers(2, len(_BOILERPLATE))]]
    return Sample(patient_id=truth.patient_id, text=" ".join(facts[i] for i in rng.permutation(len(facts))))

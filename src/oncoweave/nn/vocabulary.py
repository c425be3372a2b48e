"""Vocabularies of other projects' language models: read from their folder, and told apart by what they map to which id."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from oncoweave.core.errors import ConfigError, missing_extra

CLASS_TOKEN, SEPARATOR, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_LETTERS_A_WORD = 100
"""BERT's tokenizer makes a longer word unknown."""


def read_tokenizer(path: Path) -> str:
    """Read a tokenizer as the JSON text of the library ``tokenizers``: ids of pieces only, nothing cut, padded or added.

    ``path`` is a folder with ``tokenizer.json`` or ``vocab.txt`` (which of them counts in this order), or one of these files.
    Whether ``vocab.txt`` is of lower-cased words stands in ``tokenizer_config.json`` beside it; BERT's default is that it is.

    Raises:
        ConfigError: there is no such file, or it is not a tokenizer.
        MissingExtraError: the library ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_extra("tokenizers", "text") from error
    file = find_tokenizer(path)
    if file.suffix == ".txt":
        tokenizer = _word_piece(file)
    else:
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare exceptions
            msg = f"{file}: not a tokenizer of the library tokenizers ({error})"
            raise ConfigError(msg) from error
    if tokenizer.token_to_id(UNKNOWN) is None:
        msg = f"{file}: its vocabulary has no piece {UNKNOWN}; wanted that of BERT or a network of its kind"
        raise ConfigError(msg)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)


def find_tokenizer(path: Path) -> Path:
    """Find the file of a tokenizer in a folder, or take the file named.

    Raises:
        ConfigError: there is none.
    """
    candidates = [path / "tokenizer.json", path / "vocab.txt"] if path.is_dir() else [path]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        what = "neither tokenizer.json nor vocab.txt in it" if path.is_dir() else "no such file or folder"
        msg = f"{path}: {what}; name the folder of a language model, or its tokenizer.json or vocab.txt"
        raise ConfigError(msg)
    return found


def _word_piece(file: Path) -> Any:  # noqa: ANN401  (a tokenizers.Tokenizer; the library is optional)
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = file.read_text(encoding="utf-8").splitlines()
    if UNKNOWN not in pieces:
        msg = f"{file}: no line {UNKNOWN} among {len(pieces)}; wanted BERT's vocab.txt, one piece a line"
        raise ConfigError(msg)
    beside = file.parent / "tokenizer_config.json"
    told = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=_LETTERS_A_WORD))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=told.get("do_lower_case", True),
        strip_accents=told.get("strip_accents"),
        handle_chinese_chars=told.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@lru_cache(maxsize=8)
def parse_tokenizer(state: str) -> Any:  # noqa: ANN401  (a tokenizers.Tokenizer; the library is optional)
    """Make the tokenizer of a JSON text.

    Raises:
        MissingExtraError: the library ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_extra("tokenizers", "text") from error
    return Tokenizer.from_str(state)


@lru_cache(maxsize=8)
def fingerprint(state: str) -> str:
    """SHA-256 of which piece has which id; how text is cut into words is not in it."""
    pieces = sorted((number, piece) for piece, number in parse_tokenizer(state).get_vocab().items())
    return hashlib.sha256(json.dumps(pieces).encode()).hexdigest()

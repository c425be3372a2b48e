"""Words that state the answer, hidden from models that read text.

A word counts whole and in any case: ``recurrence`` hides neither ``recurrences`` nor ``recurrent``. With a star it is a stem:
``recur*`` hides all three. Several words hide that sequence of them, whatever space, line break, dash, underscore or slash stands
between, and where no letter or digit stands next to it: ``icu`` is hidden in ``ICU_stay``. Words that overlap are hidden each in
full, whatever their order in the list.

A hidden word is as one that was never written. A mark in its place would not do: where only the texts of one outcome hold it, it
tells what the word told, as does a gap in the pairs of words. Punctuation and whatever else is written around it stay. Words are
compared as a tokenizer reads them: without accents, and without what is not seen (soft hyphens, spaces of no width); ligatures,
full-width letters and typographic apostrophes are as plain ones. A word cut by a hyphen at the end of a line is not found.

Scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) do not tell where a word ends: a word in them is hidden
wherever its letters stand, over line breaks too and as a part of a longer one (``再发`` within ``再发现``), and a star adds none
of their letters.

Names of classes may be words that any text is full of: without its ``no``, "no invasion" says that there is one.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from oncoweave.core.errors import ConfigError

ORDINARY = frozenset(
    re.findall(
        r"\w+",
        """
        a all an and any both either neither no none nor not never or other others same some the with without yes
        absent present detected undetected found identified seen stated given missing unknown known unclear na nan
        negative positive neg pos true false low lower high higher large small few many more less left right before after
        first second third last zero one two three four five event control case
        """,
    )
)
"""Words that turn or shade what stands beside them, or that most texts hold, whatever the answer."""


_BETWEEN = r"[\s_/\u2010-\u2015\u2212-]+"
"""What may stand between two words: space, underscore, slash, and hyphens and dashes of every kind."""
_UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs")
"""Unicode's categories of controls, of what formats text, and of what is no character."""
_PLAIN = re.compile(r"[\t\n\r -~]*")
"""Texts that are compared as they are."""
_APOSTROPHES = dict.fromkeys("\u2018\u2019\u201b\u02bc\u0060\u00b4\u2032", "'")
"""Signs that are written for an apostrophe."""
_LETTER = r"[^\W_]"
"""A letter or digit."""
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana and Chinese characters, as a regular expression's ranges: scripts without spaces."""
_GOES_ON = rf"(?-i:[^\W_{UNSPACED}])"
"""A letter or digit of any other script: next to one, a word of such scripts goes on."""


def is_ordinary(name: str) -> bool:
    """Whether a class name is nothing but ``ORDINARY`` words, numbers and single letters."""
    words = re.findall(r"\w+", name.lower().replace("_", " "))
    return all(word in ORDINARY or len(word) == 1 or word.isdigit() for word in words)


def noted_words(notes: Mapping[str, str]) -> tuple[str, ...]:
    """Read the words that the notes of a modality hide."""
    return tuple(word.strip() for word in notes.get("mask_words", "").split(",") if word.strip())


def check_words(words: Sequence[str]) -> tuple[str, ...]:
    """Bring words to hide to lower case, each once.

    Raises:
        ConfigError: one is empty, or has a star elsewhere than at its end.
    """
    plain = tuple(dict.fromkeys(" ".join(composed(word).lower().split()) for word in words))
    for word in plain:
        if not re.search(_LETTER, word) or "*" in word[:-1]:
            msg = f"mask_words: {word!r} is no word; write a word (icu), words (mechanical ventilation) or a stem (intubat*)"
            raise ConfigError(msg)
    return plain


def mask_text(text: str, words: tuple[str, ...]) -> tuple[str, Counter[str]]:
    """Take each of the ``words`` out of a text; count too how often each stands there, alone or within another."""
    text = composed(text)
    spans, hidden = _found(text, words)
    kept, end = [], 0
    for start, stop in spans:
        kept.append(text[end:start])
        end = stop
    return " ".join([*kept, text[end:]]), hidden


def blank_text(text: str, words: tuple[str, ...]) -> str:
    """Put as many spaces in place of each of the ``words``, so that all else stays where it stands in the composed text."""
    text = composed(text)
    for start, stop in _found(text, words)[0]:
        text = f"{text[:start]}{' ' * (stop - start)}{text[stop:]}"
    return text


def composed(text: str) -> str:
    """Write each letter with its marks as one character, where there is one (Unicode's form C)."""
    return unicodedata.normalize("NFC", text)


def _found(text: str, words: tuple[str, ...]) -> tuple[list[tuple[int, int]], Counter[str]]:
    """Where the words stand, those that overlap as one span, and how often each does."""
    if not words:
        return [], Counter()
    starts, patterns = _patterns(words)
    matches = dict[tuple[int, str], int]()
    for read, places in _readings(text):
        for place in starts.finditer(read):
            for word, pattern in patterns.items():
                if match := pattern.match(read, place.start()):
                    found = places[match.start()], word
                    matches[found] = max(matches.get(found, 0), places[match.end()])
    spans: list[tuple[int, int]] = []
    for (start, _), stop in sorted(matches.items()):
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return spans, Counter(word for _, word in matches)


def _readings(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Give a text as it is compared, with each character's place in the text: what is not seen left out, then as a space."""
    if _PLAIN.fullmatch(text):
        yield text, range(len(text) + 1)
        return
    for between in ("", " ") if any(map(_is_unseen, text)) else ("",):
        letters = [between if _is_unseen(letter) else _bare(letter) for letter in text]
        places = [place for place, letter in enumerate(letters) for _ in letter]
        yield "".join(letters), [*places, len(text)]


@lru_cache(maxsize=4096)
def _is_unseen(letter: str) -> bool:
    return letter == "\ufffd" or (unicodedata.category(letter) in _UNSEEN and letter not in "\t\n\r")


@lru_cache(maxsize=4096)
def _bare(letter: str) -> str:
    """A letter as it is compared: small, without its accents (nothing for an accent alone), one sign for all of its writings.

    Ligatures are their letters, full-width letters the usual ones, and an apostrophe is straight.
    """
    parts = unicodedata.normalize("NFKD", _APOSTROPHES.get(letter, letter)).casefold()
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")


@lru_cache(maxsize=32)
def _patterns(words: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, re.Pattern[str]]]:
    """Match, without a width, the places where any of the words begins; and each of them from such a place on."""
    bodies = {word: _one("".join(_bare(letter) for letter in composed(word) if not _is_unseen(letter))) for word in words}
    unspaced = [body for body in bodies.values() if re.match(f"[{UNSPACED}]", body)]
    spaced = [body for body in bodies.values() if body not in unspaced]
    starts = [rf"(?<!{_GOES_ON})(?={'|'.join(spaced)})"] if spaced else []
    starts += [rf"(?={'|'.join(unspaced)})"] if unspaced else []
    return re.compile("|".join(starts), re.IGNORECASE), {word: re.compile(body, re.IGNORECASE) for word, body in bodies.items()}


def _one(word: str) -> str:
    stem = word.removesuffix("*")
    parts = [re.escape(part) for part in re.split(_BETWEEN, stem) if part]
    after = "" if re.search(f"[{UNSPACED}]$", parts[-1]) else rf"{_GOES_ON}*" if stem != word else rf"(?!{_GOES_ON})"
    return re.sub(f"(?<=[{UNSPACED}])(?=[{UNSPACED}])", r"\\s*", _BETWEEN.join(parts)) + after

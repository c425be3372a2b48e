"""Words that state the answer, hidden from models that read text.

A word counts whole and in any case: ``recurrence`` hides neither ``recurrences`` nor ``recurrent``. With a star it is a stem:
``recur*`` hides all three. Several words hide that sequence of them, whatever space stands between.

A hidden word is as one that was never written. A mark in its place would not do: where only the texts of one outcome hold it, it
tells what the word told, as does a gap in the pairs of words. Punctuation and whatever else is written around it stay.

Names of classes may be words that any text is full of: without its ``no``, "no invasion" says that there is one.
"""

import re
from collections import Counter
from collections.abc import Sequence
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


def is_ordinary(name: str) -> bool:
    """Whether a class name is nothing but ``ORDINARY`` words, numbers and single letters."""
    words = re.findall(r"\w+", name.lower().replace("_", " "))
    return all(word in ORDINARY or len(word) == 1 or word.isdigit() for word in words)


def check_words(words: Sequence[str]) -> tuple[str, ...]:
    """Bring words to hide to lower case, each once.

    Raises:
        ConfigError: one is empty, or has a star elsewhere than at its end.
    """
    plain = tuple(dict.fromkeys(" ".join(word.lower().split()) for word in words))
    for word in plain:
        if not re.search(r"\w", word) or "*" in word[:-1]:
            msg = f"mask_words: {word!r} is no word; write a word (icu), words (mechanical ventilation) or a stem (intubat*)"
            raise ConfigError(msg)
    return plain


def mask_text(text: str, words: tuple[str, ...]) -> tuple[str, Counter[str]]:
    """Take each of the ``words`` out of a text; also count what was taken out, by word of the list."""
    hidden: Counter[str] = Counter()
    if not words:
        return text, hidden

    def hide(match: re.Match[str]) -> str:
        hidden[words[(match.lastindex or 1) - 1]] += 1
        return " "

    return _pattern(words).sub(hide, text), hidden


def blank_text(text: str, words: tuple[str, ...]) -> str:
    """Put as many spaces in place of each of the ``words``, so that all else stays where it stands in the text."""
    return _pattern(words).sub(lambda match: " " * len(match[0]), text) if words else text


@lru_cache(maxsize=32)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Match any of the words; group k is word k of the list."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(f'({_one(word)})' for word in words)})", re.IGNORECASE)


def _one(word: str) -> str:
    stem = word.removesuffix("*")
    body = r"\s+".join(re.escape(part) for part in stem.split())
    return body + (r"\w*" if stem != word else r"(?!\w)")

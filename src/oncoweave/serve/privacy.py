"""Keeps patient identifiers out of free text: warnings, reasons, notes, file names."""

import re
from collections.abc import Callable, Iterable

HIDDEN = "[patient]"


def eraser(patient_ids: Iterable[object]) -> Callable[[str], str]:
    """Make a function that replaces patient identifiers in a text by ``[patient]``.

    An identifier that cannot be an ordinary word or count (a digit together with a letter, or five characters or more with a
    digit) is replaced wherever it stands alone. Another, such as ``7`` or ``Anna``, is replaced only where it is quoted or
    follows the word *patient*, so that counts and words survive.
    """
    ids = sorted({str(p) for p in patient_ids if str(p).strip()}, key=len, reverse=True)
    plain = [p for p in ids if _unmistakable(p)]
    mistakable = [p for p in ids if not _unmistakable(p)]

    def erase(text: str) -> str:
        found = [re.escape(p) for p in plain if p in text]
        if found:
            text = re.sub(rf"(?<![A-Za-z0-9])(?:{'|'.join(found)})(?![A-Za-z0-9])", HIDDEN, text)
        found = [re.escape(p) for p in mistakable if p in text]
        if found:
            either = "|".join(found)
            text = re.sub(rf"(['\"‘“])(?:{either})(['\"’”])", rf"\1{HIDDEN}\2", text)
            text = re.sub(rf"(?i)\b(patients?(?:[ _]id)?\s*[:=#]?\s*)(?:{either})(?![A-Za-z0-9])", rf"\1{HIDDEN}", text)
        return text

    return erase


def _unmistakable(patient: str) -> bool:
    digits = any(c.isdigit() for c in patient)
    return digits and (len(patient) >= 5 or any(c.isalpha() for c in patient))

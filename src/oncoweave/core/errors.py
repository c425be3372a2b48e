"""Errors that name what was wanted, what came, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class OncoweaveError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user and is shown without a traceback."""


class DataError(OncoweaveError, ValueError):
    """A table, file or value that cannot be used; names patient, file and column."""


class NothingToLearnError(DataError):
    """A modality of which the patients given show nothing: nobody has it, or nothing in it varies between them."""


class ConfigError(OncoweaveError, ValueError):
    """A configuration that cannot be run; names the key."""


class SlideError(OncoweaveError, ValueError):
    """A slide that cannot be read or tiled; names the slide and the reason."""


class InfeasibleSplitError(OncoweaveError, ValueError):
    """A split that cannot be made as asked; names the group or class that prevents it."""


class NoComparablePairsError(OncoweaveError, ValueError):
    """A ranking statistic over patients none of whom can be compared."""


class UnknownNameError(OncoweaveError, LookupError):
    """A name that is not among those known; the nearest are listed."""


class MissingExtraError(OncoweaveError, ImportError):
    """An optional library that is not installed; names the extra that brings it."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that misses, with the nearest known names."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return UnknownNameError(f"no {kind} named {name!r}; {hint}")


def missing_extra(library: str, extra: str) -> MissingExtraError:
    """Build the error for a library that an extra brings."""
    return MissingExtraError(f"{library} is not installed; install it with: pip install 'oncoweave[{extra}]'")

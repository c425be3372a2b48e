"""What a user sets of a file, held against the annotations of its ``Config``."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from math import isfinite
from numbers import Real
from types import MappingProxyType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from oncoweave.core.errors import ConfigError, unknown_name
from oncoweave.core.ranges import Range


@runtime_checkable
class Configuration(Protocol):
    """What a file's ``Config`` is, whichever: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def ranged(config: type[Class]) -> type[Class]:
    """Make a ``Config`` a frozen dataclass that refuses numbers out of the ranges of its annotations, however it is built.

    Types are left to the checker of types; :func:`configured` holds them as well, of what a user writes. A ``__post_init__`` of
    its own runs after.
    """
    own = getattr(config, "__post_init__", None)

    def hold(self: Configuration) -> None:
        for name, hint in _hints(type(self)).items():
            _refuse_outside(f"{type(self).__module__.rpartition('.')[2]}: {name}", getattr(self, name), hint)
        if own is not None:
            own(self)

    type.__setattr__(config, "__post_init__", hold)
    return dataclass(frozen=True, kw_only=True, slots=True)(config)


@cache
def _hints(config: type) -> dict[str, Any]:
    hints = get_type_hints(config, include_extras=True)
    return {f.name: hints[f.name] for f in fields(config)}


def _refuse_outside(name: str, value: object, hint: object) -> None:
    """Refuse a number that is in no range of its annotation, also one of several."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(value, tuple):
        several = next((a for a in (hint, *arguments) if get_origin(a) is tuple), None)
        of_each = [a for a in get_args(several) if a is not ...]
        for place, each in enumerate(value):
            _refuse_outside(name, each, of_each[min(place, len(of_each) - 1)] if of_each else None)
        return
    parts = arguments if origin in (Union, UnionType) else (hint,)
    allowed = [a for part in parts if get_origin(part) is Annotated for a in get_args(part)[1:] if isinstance(a, Range)]
    if allowed and isinstance(value, Real) and not isinstance(value, bool) and not any(float(value) in r for r in allowed):
        msg = f"{name} wanted {' or '.join(str(r) for r in allowed)}, got {value!r}"
        raise ConfigError(msg)


def configured(
    usual: Configuration,
    settings: Mapping[str, object],
    *,
    of: str,
    where: str = "",
    start: Mapping[str, object] = MappingProxyType({}),
) -> Any:  # noqa: ANN401  (each file has a Config of its own)
    """Set fields of a ``Config``.

    Args:
        usual: what stands where nothing is set.
        settings: what a user sets.
        of: whose settings they are, such as ``fusion 'mdt'``.
        where: whose model or which key sets them; empty where nothing but the file is known.
        start: what stands before the user's settings, from oncoweave's own files: not held against the annotations.

    Raises:
        UnknownNameError: there is no such field; names the nearest.
        ConfigError: a value is of another type, is none of the words allowed, lies out of its range or does not fit the others.
    """
    known = {f.name for f in fields(usual)}
    hints, before = get_type_hints(type(usual), include_extras=True), f"{where}: " if where else ""
    for key, value in settings.items():
        if key not in known:
            raise unknown_name(f"setting of {of}" + (f" ({where})" if where else ""), key, known)
        if not fits(value, hints[key]):
            own = getattr(usual, key)
            msg = f"{before}setting {key!r} of {of} wanted {wanted(hints[key])} as in {own!r}, got {value!r}"
            raise ConfigError(msg + _hint(value, hints[key]))
    try:
        return replace(usual, **{**start, **settings})
    except ValueError as error:
        msg = f"{before}settings of {of}: {error}"
        raise ConfigError(msg) from error


def fits(value: object, annotation: object) -> bool:
    """Say whether a value is what an annotation wants; whole numbers pass for others, truth values for none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        ranges = (a for a in arguments[1:] if isinstance(a, Range))
        return fits(value, arguments[0]) and all(isinstance(value, int | float) and value in r for r in ranges)
    if origin in (Union, UnionType):
        return any(fits(value, a) for a in arguments)
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in arguments)
    if origin is tuple:
        if not isinstance(value, tuple) or (arguments[-1] is not ... and len(value) != len(arguments)):
            return False
        wanted_each = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return all(fits(v, a) for v, a in zip(value, wanted_each, strict=True))
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is None:
        return value is None
    assert isinstance(annotation, type), f"settings of type {annotation} cannot be held against what a user sets"
    return isinstance(value, annotation)


def wanted(annotation: object) -> str:
    """Write an annotation as the listing and errors show it: ``int (1 or more)``, ``curve | hazard``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{wanted(arguments[0])} ({', '.join(str(a) for a in arguments[1:])})"
    if origin in (Union, UnionType):
        return " | ".join(wanted(a) for a in arguments)
    if origin is Literal:
        return " | ".join(str(word) for word in arguments)
    if origin is tuple:
        each = [wanted(a) for a in arguments if a is not ...]
        return f"{'' if ... in arguments else f'{len(each)} '}values: {', '.join(dict.fromkeys(each))}"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _hint(value: object, annotation: object) -> str:
    if not isinstance(value, str):
        return ""
    words = [str(a) for a in get_args(annotation)] if get_origin(annotation) is Literal else []
    near = get_close_matches(value.lower(), words, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    try:
        number = float(value)
    except ValueError:
        return ""
    return f"; in YAML that is text, write {number!r}" if fits(number, annotation) else ""

"""Strict configuration: an unknown key fails and names the nearest valid one."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from oncoweave.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from yaml import Node


class Strict(BaseModel):
    """Base of everything that is read from YAML: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Config = TypeVar("Config", bound=Strict)


def read_config(schema: type[Config], path: Path) -> Config:
    """Read a YAML file into its schema.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or does not fit; every misfit is listed with its place.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        repeated = _repeated_key(yaml.compose(text, Loader=yaml.SafeLoader))
    except FileNotFoundError as error:
        msg = f"no file {path}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not text: {error.reason} at byte {error.start}; wanted YAML in UTF-8"
        raise ConfigError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}; wanted a YAML file"
        raise ConfigError(msg) from error
    except yaml.YAMLError as error:
        msg = f"{path} is not valid YAML: {' '.join(str(error).split())}"
        raise ConfigError(msg) from error
    if repeated is not None:  # YAML readers keep the last one and say nothing
        key, line = repeated
        msg = f"{path}: line {line} gives {key!r} a second time; keep one of the two"
        raise ConfigError(msg)
    return parse_config(schema, content, where=str(path))


def _repeated_key(root: "Node | None") -> tuple[str, int] | None:
    """Find a key that a mapping has twice, with its line, 1-based."""
    from yaml import MappingNode, SequenceNode

    waiting, visited = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in visited:  # an alias is the node that it stands for
            continue
        visited.add(id(node))
        if isinstance(node, SequenceNode):
            waiting += node.value
        elif isinstance(node, MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    return key.value, key.start_mark.line + 1
                seen.add(str(key.value))
                waiting.append(value)
    return None


def parse_config(schema: type[Config], content: object, *, where: str) -> Config:
    """Check a nested mapping against its schema; see :func:`read_config`."""
    if not isinstance(content, Mapping):
        came = "nothing" if content is None else "a list" if isinstance(content, list) else repr(content)
        msg = f"{where}: wanted keys and values (key: value), got {came}"
        raise ConfigError(msg)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        msg = f"{where}: " + "; ".join(_explained(schema, error.errors()))
        raise ConfigError(msg) from error


_ALTERNATIVE = re.compile(r"(constrained-)?(float|int|str|bool)|(dict|tuple|list|literal)\[.*\]")
"""What pydantic puts behind a key of which several types are wanted: one of them."""
_WANTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys and values",
    "model": "keys and values",
}
"""By the start of the kind of an error."""
_LIMITS = {
    "gt": "a number above {:g}",
    "ge": "a number of {:g} or more",
    "lt": "a number below {:g}",
    "le": "a number of {:g} or less",
}


def _explained(schema: type[BaseModel], errors: "Sequence[ErrorDetails]") -> list[str]:
    """Write a line a key: what was wanted there, each of several types once, and what came."""
    lines, wanted = [], dict[tuple[str, ...], list[str]]()
    came: dict[tuple[str, ...], object] = {}
    for error in errors:
        place = tuple(str(p) for p in error["loc"])
        if error["type"] == "extra_forbidden":
            lines.append(_unknown_key(schema, list(place)))
        elif error["type"] == "missing":
            lines.append(f"{'.'.join(place)}: is missing")
        else:
            key = tuple(p for p in place if not _ALTERNATIVE.fullmatch(p))
            wanted.setdefault(key, []).append(_wanted(error))
            came[key] = error["input"]
    for key, words in wanted.items():  # where faults lie deeper, the value was meant as the type that has them
        if not any(other[: len(key)] == key and len(other) > len(key) for other in wanted):
            hint = f"; write [{came[key]}]" if "a list" in words and isinstance(came[key], str) else ""
            lines.append(f"{'.'.join(key)}: wanted {' or '.join(dict.fromkeys(words))}, got {came[key]!r}{hint}")
    return lines


def _wanted(error: "ErrorDetails") -> str:
    context = error.get("ctx", {})
    for limit, words in _LIMITS.items():
        if limit in context:
            return words.format(context[limit])
    if error["type"] == "literal_error":
        return str(context["expected"])
    if error["type"] == "too_short":
        return f"{context['min_length']} or more of them"
    if error["type"] == "string_pattern_mismatch":
        return f"text that matches {context['pattern']}"
    kind, _, fault = error["type"].partition("_")
    return _WANTED[kind] if kind in _WANTED and fault in ("type", "parsing", "from_float") else str(error["msg"])


def _unknown_key(schema: type[BaseModel], place: list[str]) -> str:
    valid = _keys_at(schema, place[:-1])
    near = get_close_matches(place[-1], valid, n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key {'.'.join(place)!r}{hint} (valid: {', '.join(valid)})"


def _keys_at(schema: type[BaseModel], place: list[str]) -> list[str]:
    """List the keys of the model that a path leads to, looking through containers and unions."""
    models = [schema]
    for step in place:
        tagged = [m for m in models if step in get_args(getattr(m.model_fields.get("kind"), "annotation", None))]
        if step in models[0].model_fields:
            models = _models_in(models[0].model_fields[step].annotation) or models
        elif tagged:
            models = tagged  # a union told apart by kind: the place names the kind
    return list(models[0].model_fields)


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]

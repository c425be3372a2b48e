"""Fitted objects to safetensors and back: frozen dataclasses of arrays, numbers, text and other such dataclasses.

Nothing is unpickled. A file holds arrays as tensors and the rest as JSON in its header; reading one creates only dataclasses that
are defined inside oncoweave. Equal objects give equal bytes.
"""

import dataclasses
import json
from importlib import import_module
from pathlib import Path

import numpy as np

from oncoweave.core.errors import DataError
from oncoweave.core.files import publish

_VERSION = "2"
_KEY = "oncoweave"
"""The one key of a file's metadata, as safetensors writes several in an order that differs from process to process."""
_OLD_VERSION, _OLD_KEY = "1", "oncoweave_state"
"""Files of version 1 are read; they held their version and structure under a key each."""


def save_state(path: Path, fitted: object) -> None:
    """Write a fitted dataclass to one safetensors file, atomically."""
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    structure = _pack(fitted, arrays, "fitted")
    with publish(path) as partial:
        save_file(
            {k: np.ascontiguousarray(v) for k, v in arrays.items()},
            partial,
            metadata={_KEY: json.dumps({"state": _VERSION, "structure": structure}, sort_keys=True)},
        )


def load_state(path: Path) -> object:
    """Read what :func:`save_state` wrote.

    Raises:
        DataError: the file is not one of ours, is damaged, or names a class or field that this oncoweave does not have.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            arrays = {k: stream.get_tensor(k) for k in stream.keys()}  # noqa: SIM118
    except SafetensorError as error:
        msg = f"{path}: not a readable safetensors file ({error})"
        raise DataError(msg) from error
    try:
        return _unpack(_structure(metadata), arrays)
    except DataError as error:
        msg = f"{path}: {error}"
        raise DataError(msg) from error
    except (KeyError, json.JSONDecodeError) as error:
        msg = f"{path}: a fitted model whose parts do not fit each other ({error!r}); the file is damaged, fit it again"
        raise DataError(msg) from error


def _not_ours(came: object) -> DataError:
    return DataError(f"not a fitted model of oncoweave (state version {came!r}, wanted {_VERSION!r})")


def _structure(metadata: dict[str, str]) -> object:
    if _KEY in metadata:
        held = json.loads(metadata[_KEY])
        if held["state"] != _VERSION:
            raise _not_ours(held["state"])
        return held["structure"]
    if metadata.get(_OLD_KEY) != _OLD_VERSION:
        raise _not_ours(metadata.get(_OLD_KEY))
    return json.loads(metadata["structure"])


def _pack(value: object, arrays: dict[str, np.ndarray], key: str) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _pack(getattr(value, f.name), arrays, f"{key}.{f.name}") for f in dataclasses.fields(value) if f.init}
        return {"class": f"{type(value).__module__}:{type(value).__qualname__}", "fields": fields}
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "OUS":
            return {"list": [_pack(v, arrays, key) for v in value.tolist()], "as": "text array"}
        arrays[key] = value
        return {"array": key}
    if isinstance(value, dict):
        items = [[_pack(k, arrays, f"{key}.key{i}"), _pack(v, arrays, f"{key}.{i}")] for i, (k, v) in enumerate(value.items())]
        return {"dict": items}
    if isinstance(value, list | tuple):
        return {"list": [_pack(v, arrays, f"{key}.{i}") for i, v in enumerate(value)], "as": type(value).__name__}
    if isinstance(value, np.generic):
        return _pack(value.item(), arrays, key)
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    msg = f"cannot store a {type(value).__name__} at {key}; fitted objects hold arrays, numbers, text and dataclasses of them"
    raise TypeError(msg)


def _unpack(node: object, arrays: dict[str, np.ndarray]) -> object:
    if not isinstance(node, dict):
        return node
    if "array" in node:
        return arrays[node["array"]]
    if "float" in node:
        return float(node["float"])
    if "dict" in node:
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in node["dict"]}
    if "list" in node:
        items = [_unpack(v, arrays) for v in node["list"]]
        if node["as"] == "text array":
            return np.array(items)
        return tuple(items) if node["as"] == "tuple" else items
    return _create(node["class"], {k: _unpack(v, arrays) for k, v in node["fields"].items()})


def _create(name: str, fields: dict[str, object]) -> object:
    module_name, _, class_name = name.partition(":")
    if not module_name.startswith("oncoweave.") or "." in class_name:
        msg = f"a stored model names the class {name!r}, which is not one of oncoweave's"
        raise DataError(msg)
    try:
        cls = getattr(import_module(module_name), class_name)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("oncoweave"):
            raise  # a library is missing, not ours
        raise _of_another_version(name, str(error)) from error
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        msg = f"a stored model names {name!r}, which is not a dataclass"
        raise DataError(msg)
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    strange = sorted(fields.keys() - known.keys())
    needed = {n for n, f in known.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    lacking = sorted(needed - fields.keys())
    if strange or lacking:
        raise _of_another_version(name, f"unknown fields {strange}, missing fields {lacking}")
    return cls(**fields)


def _of_another_version(name: str, why: str) -> DataError:
    return DataError(
        f"a stored model names {name!r}, which does not fit here ({why}): it was written by another version of oncoweave;"
        " use that version, or fit the model again"
    )

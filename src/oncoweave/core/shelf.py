"""Shelves: folders where one file is one thing and the file name is its name."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from oncoweave.core.errors import unknown_name
from oncoweave.core.settings import Configuration, configured

SHELVES = ("modalities", "encoders", "fusion", "missingness", "objectives", "recipes", "tasks")

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a shelf's catalogue."""

    name: str
    summary: str
    constants: dict[str, object]
    """Upper-case module constants whose values are literals, such as ``STAGE``."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names that a user may give: the file's own, or of a family, which lists its ``KEYS``, ``file/key`` for each."""
        keys = self.constants.get("KEYS")
        return tuple(f"{self.name}/{key}" for key in keys) if isinstance(keys, tuple) else (self.name,)


def names(shelf: str) -> list[str]:
    """List the names on a shelf, read from disk without importing anything."""
    if shelf not in SHELVES:
        raise unknown_name("shelf", shelf, SHELVES)
    return sorted(p.stem for p in (_ROOT / shelf).glob("*.py") if not p.stem.startswith("_"))


def catalogue(shelf: str) -> list[Entry]:
    """List a shelf with the first docstring line and the literal constants of each file, without importing it."""
    return [_entry(shelf, name) for name in names(shelf)]


def load(shelf: str, name: str) -> ModuleType:
    """Import one file of a shelf by name; ``vit/tiny`` imports ``vit``."""
    stem = name.partition("/")[0]
    stands = shelf in SHELVES and not stem.startswith("_") and (_ROOT / shelf / f"{stem}.py").is_file()
    if not stands:  # only now is the folder listed: a study asks for the same few files thousands of times
        raise unknown_name(f"entry on shelf {shelf!r}", stem, names(shelf))
    return import_module(f"oncoweave.{shelf}.{stem}")


def variant(shelf: str, name: str) -> Configuration:
    """Look up ``file/key`` in the file's ``VARIANTS``; a bare ``file`` means its first variant."""
    module = load(shelf, name)
    variants: dict[str, Configuration] = module.VARIANTS
    key = name.partition("/")[2] or next(iter(variants))
    if key not in variants:
        raise unknown_name(f"variant of {name.partition('/')[0]!r}", key, variants)
    return variants[key]


def configure(shelf: str, name: str, settings: Mapping[str, object], *, where: str = "") -> Any:  # noqa: ANN401
    """Build a file's ``Config`` from settings; see :func:`oncoweave.core.settings.configured`, also for ``where`` and errors."""
    return configured(load(shelf, name).Config(), settings, of=f"{name!r} on shelf {shelf!r}", where=where)


def _entry(shelf: str, name: str) -> Entry:
    path = _ROOT / shelf / f"{name}.py"
    return _parsed(path, path.stat().st_mtime_ns)


@cache
def _parsed(path: Path, modified: int) -> Entry:  # read once: a study asks its fusions for their stage again and again
    del modified
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    constants: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            try:
                constants[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # not a literal: it is not part of the catalogue
    return Entry(name=path.stem, summary=summary, constants=constants)

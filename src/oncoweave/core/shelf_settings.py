"""What may be set of a file on a shelf, read from its source as the shelf's catalogue is, without importing anything."""

import ast
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path

from oncoweave.core import ranges
from oncoweave.core import shelf as shelves
from oncoweave.core.errors import unknown_name
from oncoweave.core.settings import wanted

_ROOT = Path(__file__).parents[1]
_PACKAGE = "oncoweave."


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A field of a file's ``Config``."""

    name: str
    type: str
    """As its annotation says; where only some words or numbers are allowed, which."""
    default: str
    """As Python writes it; empty where there is none."""
    about: str
    """Its docstring."""


def settings(shelf: str, name: str) -> list[Setting]:
    """List what may be set of a file, those of the class that its ``Config`` builds on first; nothing where it has none.

    Raises:
        UnknownNameError: there is no such file on the shelf.
    """
    if name not in (known := shelves.names(shelf)):
        raise unknown_name(f"entry on shelf {shelf!r}", name, known)
    source = _Source.of(_ROOT / shelf / f"{name}.py")
    found = source.find("Config")
    return [] if found is None else list(_fields(*found).values())


def variants(shelf: str, name: str) -> dict[str, str]:
    """List a file's variants, with how each differs from the defaults as the source writes it."""
    source = _Source.of(_ROOT / shelf / f"{name}.py")
    table = source.values.get("VARIANTS")
    pairs = zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ()
    return {ast.literal_eval(key): _changes(source, value) for key, value in pairs if key is not None}


def _changes(source: "_Source", value: ast.expr) -> str:
    """Write the settings of ``Config(...)``, of what a name stands for, and of ``replace(that, ...)``; anything else as it is."""
    named = source.value(value.id) if isinstance(value, ast.Name) else None
    if named is not None:
        return _changes(source, named)
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name) or value.func.id not in ("Config", "replace"):
        return ast.unparse(value)
    changed = [f"{k.arg}={source.written(k.value)}" for k in value.keywords]
    start = [_changes(source, value.args[0])] if value.func.id == "replace" else []
    return ", ".join(part for part in (*start, *changed) if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A module's classes, values by name, and where its other names come from."""

    classes: dict[str, ast.ClassDef]
    values: dict[str, ast.expr]
    imports: dict[str, Path]

    @staticmethod
    def of(path: Path) -> "_Source":
        classes: dict[str, ast.ClassDef] = {}
        values: dict[str, ast.expr] = {}
        imports: dict[str, Path] = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                values[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                values[node.target.id] = node.value
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
                place = _ROOT.joinpath(*str(node.module).removeprefix(_PACKAGE).split(".")).with_suffix(".py")
                imports |= {alias.asname or alias.name: place for alias in node.names if place.is_file()}
        return _Source(classes=classes, values=values, imports=imports)

    def find(self, name: str) -> "tuple[_Source, ast.ClassDef] | None":
        """Find a class here or where it is imported from."""
        if name in self.classes:
            return self, self.classes[name]
        return _Source.of(self.imports[name]).find(name) if name in self.imports else None

    def value(self, name: str) -> ast.expr | None:
        """Find a value by name, here or where it is imported from."""
        if name in self.values:
            return self.values[name]
        return _Source.of(self.imports[name]).value(name) if name in self.imports else None

    def written(self, node: ast.expr) -> str:
        """Write a default; one that has a name is written out."""
        named = self.value(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "field":
            made = next((k.value for k in node.keywords if k.arg == "default_factory"), None)
            return "" if made is None else ast.unparse(made.body) if isinstance(made, ast.Lambda) else f"{ast.unparse(made)}()"
        return ast.unparse(node if named is None else named)

    def typed(self, node: ast.expr) -> str:
        """Write an annotation; of a ``Literal``, here or by a name, the words that it allows, of a range its numbers."""
        if any(isinstance(part, ast.Name) and part.id in vars(ranges) for part in ast.walk(node)):
            return wanted(eval(ast.unparse(node), vars(ranges)))  # noqa: S307  (our own source)
        named = self.value(node.id) if isinstance(node, ast.Name) else None
        meant = node if named is None else named
        if isinstance(meant, ast.Subscript) and ast.unparse(meant.value) == "Literal":
            words = meant.slice.elts if isinstance(meant.slice, ast.Tuple) else [meant.slice]
            return " | ".join(str(ast.literal_eval(word)) for word in words)
        return ast.unparse(node)


def _fields(source: _Source, node: ast.ClassDef) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for base in node.bases:
        inherited = source.find(base.id) if isinstance(base, ast.Name) else None
        found |= {} if inherited is None else _fields(*inherited)
    for place, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name = item.target.id
            found[name] = Setting(
                name=name,
                type=source.typed(item.annotation),
                default="" if item.value is None else source.written(item.value),
                about=_docstring(node.body[place + 1 :]),
            )
    return found


def _docstring(after: list[ast.stmt]) -> str:
    first = after[0] if after else None
    if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)):
        return ""
    return " ".join(cleandoc(first.value.value).replace("``", "").split())

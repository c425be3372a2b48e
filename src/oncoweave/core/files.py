"""Files that appear whole or not at all, and their content hashes."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Write a file or folder beside its place and move it there when the block ends without an error.

    The block receives a path that does not exist yet, on the same file system, and creates a file or a folder there. A crash
    leaves only a hidden ``.<name>.*.partial`` entry, never a half-written ``path``.

    Example:
        >>> with publish(Path("table.csv")) as partial:  # doctest: +SKIP
        ...     partial.write_text("a,b")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as scratch:
        partial = Path(scratch) / path.name
        yield partial
        old = Path(scratch) / "replaced"
        if partial.is_dir() and path.is_dir():
            path.rename(old)
        try:
            partial.replace(path)
        except BaseException:
            if old.is_dir() and not path.exists():
                old.rename(path)  # otherwise the old folder would go with the scratch
            raise


def sweep_partials(folder: Path) -> int:
    """Delete what interrupted writers left directly in a folder; returns how many entries went."""
    partials = [p for p in Path(folder).glob(".*.partial") if p.is_dir()]
    for partial in partials:
        shutil.rmtree(partial, ignore_errors=True)
    return len(partials)


def sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically, keys in the order given."""
    with publish(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON object."""
    return json.loads(Path(path).read_text(encoding="utf-8"))

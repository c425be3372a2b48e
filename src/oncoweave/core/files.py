"""Files that appear whole or not at all, and their content hashes."""

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oncoweave.core.errors import ConfigError, DataError

_LONGEST_NAME = 200
"""Bytes; file systems take 255, and endings and the marks of a partial entry are added."""
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_PARTIAL = re.compile(r"\.(?P<name>.+?)\.(?:(?P<host>[0-9a-f]{8})-(?P<pid>\d+)\.)?[a-z0-9_]+\.partial", re.DOTALL)
_DAY = 86_400.0


def require_file_name(name: str, *, where: str) -> str:
    """Take a name from a table for the name of a file; returns it.

    Raises:
        DataError: it is empty, hidden, longer than 200 bytes, or would lead into another folder.
    """
    length = len(os.fsencode(name))
    if not name.strip():
        fault = "it is empty"
    elif any(c in "/\\" or ord(c) < 32 for c in name):
        fault = "it holds a slash, a backslash or a control character"
    elif name.startswith("."):
        fault = "it begins with a dot"
    elif length > _LONGEST_NAME:
        fault = f"it is {length} bytes long, {_LONGEST_NAME} at most"
    else:
        return name
    msg = f"{where}: {name[:80]!r} cannot name a file: {fault}; give a plain name"
    raise DataError(msg)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Make a hidden folder beside a path to write it in, after clearing away what killed writers of that path left.

    The folder is called ``.<name>.<host>-<process>.*.partial`` and goes when the block ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for entry in path.parent.iterdir():
        if (left := _PARTIAL.fullmatch(entry.name)) and left["name"] == path.name and _abandoned(entry, left):
            _clear(entry, path)
    prefix = f".{path.name}.{_HOST}-{os.getpid()}."
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=".partial", dir=path.parent) as scratch:
        yield Path(scratch)


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Write a file or folder beside its place and move it there when the block ends without an error.

    The block receives a path that does not exist yet, on the same file system, and creates a file or a folder there. A crash
    leaves only a hidden ``.<name>.*.partial`` entry, never a half-written ``path``; the next writer of ``path`` clears it away,
    and puts the older folder back where the crash came between taking it away and moving the new one in. A new file gets the
    permissions that files get here, also from a library that writes for its owner alone, as safetensors does.

    Example:
        >>> with publish(Path("table.csv")) as partial:  # doctest: +SKIP
        ...     partial.write_text("a,b")
    """
    path = Path(path)
    with scratch_beside(path) as scratch:
        partial = scratch / path.name
        yield partial
        _permit(partial)
        old = _replaced(scratch, path)
        if partial.is_dir() and path.is_dir():
            path.rename(old)
        try:
            partial.replace(path)
        except BaseException:
            if old.is_dir() and not path.exists():
                old.rename(path)  # otherwise the old folder would go with the scratch
            raise


def _permit(partial: Path) -> None:
    """Give a file of ours the permissions of a plain new one; a link's belong to the file it links."""
    if partial.is_file() and not partial.is_symlink() and partial.stat().st_nlink == 1:
        plain = partial.with_name(".permissions")
        plain.touch()
        partial.chmod(plain.stat().st_mode)


def sweep_partials(folder: Path) -> int:
    """Clear away what interrupted writers left directly in a folder that nobody else writes to; returns how many entries went."""
    partials = [(p, _PARTIAL.fullmatch(p.name)) for p in Path(folder).glob(".*.partial") if p.is_dir()]
    for partial, left in partials:
        _clear(partial, partial.with_name(left["name"]) if left else None)
    return len(partials)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one run; the lock goes with the process, however it ends.

    Raises:
        ConfigError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"{folder}: another run is writing there; wait for it, or choose another --out"
            raise ConfigError(msg) from error
        yield


def _replaced(scratch: Path, path: Path) -> Path:
    return scratch / f"{path.name}.replaced"


def _clear(partial: Path, path: Path | None) -> None:
    """Delete a partial entry, but put back the older folder that its writer had taken away and not yet replaced."""
    if path is not None and (old := _replaced(partial, path)).is_dir() and not path.exists():
        old.rename(path)
    shutil.rmtree(partial, ignore_errors=True)


def _abandoned(partial: Path, left: "re.Match[str]") -> bool:
    """Whether the writer is gone; of one on another machine that cannot be asked, so its entry must have lain still for a day."""
    if left["host"] == _HOST and sys.platform != "win32":
        try:
            os.kill(int(left["pid"]), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False
    try:
        latest = max(p.lstat().st_mtime for p in (partial, *partial.rglob("*")))
    except FileNotFoundError:
        return False  # its writer is at work
    return time.time() - latest > _DAY


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

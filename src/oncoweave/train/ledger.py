"""Which files of a run folder the run wrote itself, and with what content: a rerun relies on nothing else that lies there.

``written.json`` holds the SHA-256 of each file. A file is recorded right after it was written, so one that a crash left in
between is not recorded, and is made again.
"""

from pathlib import Path

from oncoweave.core.files import read_json, sha256, write_json

LEDGER = "written.json"
FITTED = ("parts", "subsets", "models")
"""Folders of what takes long to make and is kept for a rerun."""


def record(out: Path, *paths: Path) -> None:
    """Note the content of files that the run has just written."""
    held = recorded(out)
    write_json(out / LEDGER, {**held, **{path.relative_to(out).as_posix(): sha256(path) for path in paths}})


def recorded(out: Path) -> dict[str, str]:
    """Name the files the run wrote, with their SHA-256; none where the ledger is missing or cannot be read."""
    try:
        return read_json(out / LEDGER)
    except (FileNotFoundError, ValueError):
        return {}  # nothing is relied on, everything is made again


def changed(out: Path) -> list[str]:
    """Name the files that are there and not as the run wrote them."""
    return sorted(name for name, digest in recorded(out).items() if (out / name).is_file() and sha256(out / name) != digest)


def discard_changed(out: Path) -> list[str]:
    """Delete what was fitted and is not, or not any more, as the run wrote it; names everything that was changed.

    A file of which the ledger knows nothing goes too.
    """
    held, wrong = recorded(out), set(changed(out))
    fitted = [path for folder in FITTED for path in sorted((out / folder).glob("*")) if path.is_file()]
    wrong |= {name for path in fitted if (name := path.relative_to(out).as_posix()) not in held}
    for name in wrong:
        (out / name).unlink()
    left = {name: digest for name, digest in held.items() if (out / name).is_file()}
    if left != held:
        write_json(out / LEDGER, left)
    return sorted(wrong)

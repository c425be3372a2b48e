"""The cohort folder: parquet tables, bags, and a manifest with a schema version and a hash of every file.

``manifest.json`` names the endpoints and modalities; ``patients.parquet`` and ``modalities/<name>.parquet`` hold the tables. A
relative ``path`` in a table is a file of the folder (a bag, say), copied and hashed with it; an absolute one is a reference to a
file elsewhere (an image, a volume), of which only the size is noted.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import DataError
from oncoweave.core.files import publish, read_json, require_file_name, sha256, write_json
from oncoweave.data.cohort import Cohort, ModalitySpec, check_name
from oncoweave.data.tables import read_table, write_table

SCHEMA = "oncoweave.cohort"
VERSION = 1
MANIFEST = "manifest.json"
PATH_COLUMNS = ("path", "slide_path")
"""Columns that name files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """What the manifest says of one file of the folder."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The table of contents of a cohort folder."""

    schema: str
    version: int
    name: str
    endpoints: tuple[Endpoint, ...]
    modalities: tuple[ModalitySpec, ...]
    files: Mapping[str, StoredFile]
    references: Mapping[str, int] = field(default_factory=dict)
    """Absolute paths of files elsewhere, with their size in bytes."""


def read_cohort(path: Path | str) -> Cohort:
    """Read a cohort folder. The manifest is checked; hashes are not (that is :func:`verify`).

    Raises:
        DataError: not a cohort folder, a schema version unknown here, or a table that is missing or damaged.
    """
    root = Path(path).resolve()
    manifest = read_manifest(root)
    patients = read_table(root / "patients.parquet").set_index("patient_id")
    return Cohort(
        name=manifest.name,
        patients=patients,
        tables={m.name: read_table(root / _table_path(m.name)) for m in manifest.modalities},
        modalities={m.name: m for m in manifest.modalities},
        endpoints={e.name: e for e in manifest.endpoints},
        root=root,
    )


def write_cohort(cohort: Cohort, path: Path | str, *, documents: Mapping[str, object] | None = None) -> Path:
    """Write a cohort folder; it appears whole, in place of an older cohort, or not at all.

    Files that tables name by a relative path are linked from the cohort's root, or copied where the file system cannot link.
    ``documents`` are JSON files to lay beside the manifest, by file name, such as an import report.

    Raises:
        DataError: the place is taken by something that is not a cohort, a named file does not exist, a slide id is no plain file
            name, or a table cannot be stored without loss.
    """
    path = Path(path).resolve()
    _refuse_taken(path)
    _check(cohort)
    with publish(path) as partial:
        partial.mkdir()
        write_table(partial / "patients.parquet", cohort.patients.rename_axis("patient_id").reset_index())
        for name, table in cohort.tables.items():
            write_table(partial / _table_path(name), table)
        references = _lay_files(cohort, partial)
        for name, content in (documents or {}).items():
            write_json(partial / name, content)
        manifest = Manifest(
            schema=SCHEMA,
            version=VERSION,
            name=cohort.name,
            endpoints=tuple(cohort.endpoints.values()),
            modalities=tuple(cohort.modalities.values()),
            files={name: StoredFile(sha256=sha256(file), bytes=file.stat().st_size) for name, file in _files(partial)},
            references=references,
        )
        write_json(partial / MANIFEST, asdict(manifest))
    return path


def read_documents(root: Path) -> dict[str, object]:
    """Read the JSON files that lie beside a cohort's manifest, by file name: what a cohort written again has to keep."""
    return {file.name: read_json(file) for file in sorted(root.glob("*.json")) if file.name != MANIFEST}


def read_manifest(path: Path) -> Manifest:
    """Read a cohort folder's manifest.

    Raises:
        DataError: there is none, it is not a cohort's, its version is unknown, or a field is wrong (the field is named).
    """
    from pydantic import TypeAdapter, ValidationError

    file = Path(path) / MANIFEST
    if not file.is_file():
        msg = f"{path}: not a cohort folder, it has no {MANIFEST}; make one with: oncoweave cohort import SOURCE {path}"
        raise DataError(msg)
    try:
        content = read_json(file)
    except ValueError as error:
        msg = f"{file}: not readable JSON ({error})"
        raise DataError(msg) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        msg = f"{file}: wanted schema {SCHEMA!r}, got {content.get('schema') if isinstance(content, dict) else content!r}"
        raise DataError(msg)
    if content.get("version") != VERSION:
        msg = (
            f"{file}: cohort schema version {content.get('version')!r}, and this oncoweave reads version {VERSION};"
            " install the oncoweave that wrote it or a newer one, or import the sources again"
        )
        raise DataError(msg)
    try:
        manifest = TypeAdapter(Manifest).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
        raise DataError(msg) from error
    for name in (m.name for m in manifest.modalities):
        check_name(name)
    return manifest


def verify(path: Path | str) -> list[str]:
    """Hash every file again; one line a file that is missing, changed or not listed, none when all is well.

    References to files elsewhere are checked by existence and size.
    """
    root = Path(path).resolve()
    manifest = read_manifest(root)
    there = dict(_files(root))
    differences = []
    for name, stored in manifest.files.items():
        if name not in there:
            differences.append(f"{name}: missing")
        elif (size := there[name].stat().st_size) != stored.bytes:
            differences.append(f"{name}: {size:,} bytes, the manifest says {stored.bytes:,}")
        elif (digest := sha256(there[name])) != stored.sha256:
            differences.append(f"{name}: content changed, sha256 {digest[:12]}…, the manifest says {stored.sha256[:12]}…")
    differences += [f"{name}: not in the manifest" for name in there if name not in manifest.files]
    for name, size in manifest.references.items():
        if not Path(name).exists():
            differences.append(f"{name}: the file referred to is missing")
        elif Path(name).is_file() and Path(name).stat().st_size != size:
            differences.append(
                f"{name}: the file referred to has {Path(name).stat().st_size:,} bytes, the manifest says {size:,}"
            )
    return differences


def refuse_changed_tables(path: Path | str) -> None:
    """Hash the tables again, but not the bags and images, and refuse a cohort whose tables are not those of its manifest.

    Raises:
        DataError: a table is missing or was changed after the cohort was written.
    """
    root = Path(path).resolve()
    for name, stored in read_manifest(root).files.items():
        if name.endswith(".parquet") and (not (root / name).is_file() or sha256(root / name) != stored.sha256):
            msg = f"{root / name}: missing or changed since the cohort was written; see: oncoweave cohort check"
            raise DataError(msg)


def _table_path(modality: str) -> str:
    return f"modalities/{modality}.parquet"


def _check(cohort: Cohort) -> None:
    for name, table in cohort.tables.items():
        check_name(name)
        missing = [c for c in ("patient_id", "sample_id") if c not in table]
        if missing:
            msg = f"modality {name!r}: its table lacks {missing}; it has {list(table.columns)[:10]}"
            raise DataError(msg)
        if "slide_id" in table:  # bags and previews are called after it
            for row, slide_id in enumerate(table["slide_id"], start=1):
                if not pd.isna(slide_id):
                    require_file_name(str(slide_id), where=f"modality {name!r}, row {row}, column 'slide_id'")
    not_text = [(row, type(p).__name__) for row, p in enumerate(cohort.patients.index, start=1) if not isinstance(p, str)]
    if not_text:
        row, kind = not_text[0]
        msg = f"patient ids must be text, got one of type {kind} in row {row} of the patient table ({len(not_text)} such)"
        raise DataError(msg)


def _refuse_taken(path: Path) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file()):
        msg = f"{path}: already there and not a cohort folder; it is left as it is, choose another place"
        raise DataError(msg)
    if (path / MANIFEST).is_file() and read_json(path / MANIFEST).get("schema") != SCHEMA:
        msg = f"{path}: holds a {MANIFEST} that is not a cohort's; it is left as it is, choose another place"
        raise DataError(msg)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        if file.is_file() and name != MANIFEST:
            yield name, file


def _lay_files(cohort: Cohort, partial: Path) -> dict[str, int]:
    """Bring the files that tables name into the new folder; returns those that stay elsewhere, with their sizes."""
    references: dict[str, int] = {}
    for modality, table in cohort.tables.items():
        for column in (c for c in PATH_COLUMNS if c in table):
            first = (table[column].notna() & ~table[column].duplicated()).to_numpy()
            for row, name in zip(np.flatnonzero(first) + 1, table[column][first], strict=True):
                where = f"modality {modality!r}, row {row}, column {column!r}"
                if Path(name).is_absolute():
                    references[str(name)] = _size(Path(name), where)
                else:
                    _lay(cohort.root, partial, str(name), where)
    return references


def _size(file: Path, where: str) -> int:
    if not file.exists():
        msg = f"{where}: the file {str(file)!r} does not exist"
        raise DataError(msg)
    return file.stat().st_size if file.is_file() else sum(f.stat().st_size for f in file.rglob("*") if f.is_file())


def _lay(root: Path | None, partial: Path, name: str, where: str) -> None:
    if root is None or ".." in PurePosixPath(name).parts:
        reason = "the cohort is not on disk" if root is None else "it leads out of the folder"
        msg = f"{where}: the relative path {name!r} cannot be stored, {reason}; give an absolute path"
        raise DataError(msg)
    source = root / name
    _size(source, where)
    for file in [source] if source.is_file() else sorted(f for f in source.rglob("*") if f.is_file()):
        target = partial / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _link(file, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)

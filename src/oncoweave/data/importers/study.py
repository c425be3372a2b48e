"""The files of a cBioPortal study folder: what its meta files declare, its gene panels and its case lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.importers.sources import pick, read_source


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A data file and what its meta file says of it."""

    path: Path
    alteration: str
    datatype: str
    stable_id: str
    panel: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study folder, its tables not yet read."""

    folder: Path
    name: str
    files: tuple[DataFile, ...]
    panels: Mapping[str, frozenset[str]]
    matrix: pd.DataFrame | None
    """Sample by profile, the panel used; None where the study has no gene-panel matrix."""
    case_lists: Mapping[str, frozenset[str]]
    """Samples by the list's suffix, such as ``sequenced`` or ``cna``."""

    def find(self, alteration: str, *datatypes: str) -> DataFile | None:
        """Find the first file of a type, the datatypes in order of preference; empty files do not count."""
        there = [f for f in self.files if f.alteration == alteration and f.path.is_file() and f.path.stat().st_size]
        for datatype in datatypes:
            for file in there:
                if file.datatype == datatype:
                    return file
        return None

    def panel_of(self, file: DataFile) -> pd.Series:
        """Say which panel each sample of the matrix was profiled with; missing = none, the whole exome or genome."""
        if self.matrix is None:
            return pd.Series(dtype=object)
        column = next((c for c in (file.stable_id, file.stable_id.removeprefix(f"{self.name}_")) if c in self.matrix), None)
        column = column or ("mutations" if file.alteration == "MUTATION_EXTENDED" and "mutations" in self.matrix else None)
        if column is None:
            return pd.Series(dtype=object)
        unknown = sorted(set(self.matrix[column].dropna()) - set(self.panels))
        if unknown:
            msg = f"{self.folder.name}: the gene-panel matrix names panel {unknown[0]!r}, which has no gene list; add its file"
            raise DataError(msg)
        return self.matrix[column]


def read_study(folder: Path) -> Study:
    """Read a study folder's meta files, panels, panel matrix and case lists.

    Raises:
        DataError: neither meta files nor clinical files are there, or a panel is used that is not defined.
    """
    files = tuple(_declared(meta) for meta in sorted(folder.glob("meta_*.txt")) if "data_filename" in read_fields(meta))
    about = read_fields(folder / "meta_study.txt") if (folder / "meta_study.txt").is_file() else {}
    matrix_file = next((f.path for f in files if f.alteration == "GENE_PANEL_MATRIX"), folder / "data_gene_panel_matrix.txt")
    matrix = None
    if matrix_file.is_file():
        matrix = pick(read_source(matrix_file), ["SAMPLE_ID"], where=matrix_file.name)
        matrix = read_source(matrix_file).set_index("SAMPLE_ID")
    return Study(
        folder=folder,
        name=about.get("cancer_study_identifier", folder.resolve().name),
        files=files,
        panels=dict(_panels(folder)),
        matrix=matrix,
        case_lists=dict(_case_list(path) for path in sorted(folder.glob("case_lists/*.txt"))),
    )


def read_fields(path: Path) -> dict[str, str]:
    """Read ``key: value`` lines."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


def _declared(meta: Path) -> DataFile:
    fields = read_fields(meta)
    return DataFile(
        path=meta.parent / fields["data_filename"],
        alteration=fields.get("genetic_alteration_type", ""),
        datatype=fields.get("datatype", ""),
        stable_id=fields.get("stable_id", ""),
        panel=fields.get("gene_panel"),
    )


def _panels(folder: Path) -> list[tuple[str, frozenset[str]]]:
    found = []
    for path in sorted(folder.glob("*gene_panel*.txt")):
        fields = read_fields(path)
        if "gene_list" in fields:
            found.append((fields["stable_id"], frozenset(fields["gene_list"].split())))
    return found


def _case_list(path: Path) -> tuple[str, frozenset[str]]:
    fields = read_fields(path)
    suffix = fields.get("stable_id", path.stem).removeprefix(fields.get("cancer_study_identifier", "")).removeprefix("_")
    return suffix, frozenset(fields.get("case_list_ids", "").split())

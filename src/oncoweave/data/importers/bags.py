"""Folder of bags: one .h5 a slide as TRIDENT, CLAM or GigaPath write them, and a table of whose slides they are."""

from pathlib import Path

import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.core.files import require_file_name
from oncoweave.data.bags import read_head
from oncoweave.data.cohort import SITE, Cohort, ModalitySpec
from oncoweave.data.importers.barcodes import tcga_patient, tcga_site
from oncoweave.data.importers.files import Place, lay_files
from oncoweave.data.importers.ids import FIRST_ROW, as_text, check_ids
from oncoweave.data.importers.report import ImportReport, report_absent
from oncoweave.data.importers.sources import first_place, pick, read_source

MODALITY = "slides"


def read(source: Path, *, scratch: Path, slides: Path | None = None) -> tuple[Cohort, ImportReport]:
    """Read a folder of bags; the file's name without ``.h5`` is the slide id.

    ``slides`` is a table with the columns ``slide_id`` and ``patient_id``, and optionally ``sample_id`` and ``site``. Without one
    the slides must be named by TCGA barcodes, which say patient and site.

    Raises:
        DataError: no bag can be read, a slide's patient is not known, or two bags come from different encoders.
    """
    report = ImportReport(source=source.name, format="bags")
    files: dict[str, Path] = {}
    for found in sorted(source.rglob("*.h5")):
        if found.stem in files:
            first, second = files[found.stem].relative_to(source), found.relative_to(source)
            msg = f"{source}: two bags are named {found.stem!r}, {first} and {second}; give each slide a name of its own"
            raise DataError(msg)
        files[found.stem] = found
    if not files:
        msg = f"{source}: no .h5 file in this folder"
        raise DataError(msg)
    table = _from_barcodes(files, report) if slides is None else _from_table(slides, files, report)
    table["path"] = [str(files[s].resolve()) for s in table["slide_id"]]
    place = Place(folder=source, scratch=scratch, modality=MODALITY)
    values = lay_files(table[["slide_id", "path"]], place, report)
    patients = table.drop_duplicates("patient_id").set_index("patient_id")[[SITE]]
    table = table.loc[values.index].assign(path=values["path"])
    head = read_head(scratch / table["path"].iloc[0])
    encoder = None if head.attrs.encoder == "unknown" else head.attrs.encoder
    notes = {"width": str(head.dim), **({"encoder": encoder} if encoder else {})}
    rows = table[["patient_id", "sample_id", "slide_id", "path"]].reset_index(drop=True)
    cohort = Cohort(
        name=source.resolve().name,
        patients=patients,
        tables={MODALITY: rows},
        modalities={MODALITY: ModalitySpec(name=MODALITY, kind="slide", notes=notes)},
        root=scratch,
    )
    report_absent(cohort, report)
    return cohort, report


def _from_barcodes(files: dict[str, Path], report: ImportReport) -> pd.DataFrame:
    nameless = [s for s in files if tcga_patient(s) is None]
    if nameless:
        msg = (
            f"{len(nameless)} of {len(files)} bag(s) are not named by a TCGA barcode, first {nameless[0]!r}: give a table of"
            " slide_id and patient_id with --slides"
        )
        raise DataError(msg)
    report.note("chosen", len(files), "slides", where=MODALITY, reason="patient and site read from the TCGA barcode")
    rows = {
        "patient_id": [tcga_patient(s) for s in files],
        "sample_id": [s[:15] for s in files],
        "slide_id": list(files),
        SITE: [tcga_site(s) for s in files],
    }
    return pd.DataFrame(rows, dtype=object).astype({SITE: "string"})


def _from_table(path: Path, files: dict[str, Path], report: ImportReport) -> pd.DataFrame:
    table = read_source(path)
    pick(table, ["slide_id", "patient_id"], where=path.name)
    ids = as_text(table["patient_id"])
    check_ids(ids, where=path.name)
    slide_ids = as_text(table["slide_id"]).str.removesuffix(".h5")
    for row, name in zip(slide_ids.index.to_list(), slide_ids, strict=True):
        require_file_name("" if name is None else name, where=f"{path.name}, line {row + FIRST_ROW}, column 'slide_id'")
    repeated = slide_ids.duplicated()
    if repeated.any():
        line = first_place(repeated)
        msg = f"{path.name}: {int(repeated.sum())} slide(s) are listed more than once, first in {line}; list each once"
        raise DataError(msg)
    samples = as_text(table["sample_id"]) if "sample_id" in table else ids
    site = as_text(table[SITE]) if SITE in table else pd.Series(None, index=table.index, dtype=object)
    listed = pd.DataFrame({"patient_id": ids, "sample_id": samples, "slide_id": slide_ids, SITE: site.astype("string")})
    _refuse_two_sites(listed, where=path.name)
    there = listed["slide_id"].isin(list(files))
    report.note("left out", int((~there).sum()), "slides", where=path.name, reason="listed, but there is no .h5 of that name")
    unlisted = len(set(files) - set(listed["slide_id"]))
    report.note("left out", unlisted, "slides", where=MODALITY, reason=f"there is a .h5, but it is not listed in {path.name}")
    if not there.any():
        msg = f"{path.name}: none of its {len(listed)} slides has a .h5 named after it among the {len(files)} there"
        raise DataError(msg)
    return listed[there].copy()


def _refuse_two_sites(listed: pd.DataFrame, *, where: str) -> None:
    several = listed.groupby("patient_id")[SITE].nunique() > 1
    if several.any():
        concerned = listed["patient_id"].isin(several.index[several])
        msg = (
            f"{where}: {int(several.sum())} patient(s) have slides of more than one site, first the one in"
            f" {first_place(concerned)}; give one"
        )
        raise DataError(msg)

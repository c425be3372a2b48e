"""The slides of a cohort: which ones to embed, and their bags laid into the cohort."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.core.files import publish, require_file_name
from oncoweave.data.cohort import Cohort
from oncoweave.data.store import read_documents, write_cohort
from oncoweave.train.slide_record import SlideRecord
from oncoweave.wsi.files import SlideFile, slide_id_of


def slide_modality(cohort: Cohort, *, name: str | None = None) -> str:
    """Choose the modality whose slides are to be embedded: the one named, or the only one of kind slide with ``slide_path``.

    Raises:
        ConfigError: there is none, or more than one and none is named.
        DataError: the one named has no column ``slide_path``.
    """
    if name is not None:
        if name not in cohort.modalities:
            raise unknown_name("modality", name, cohort.modalities)
        if "slide_path" not in cohort.tables[name]:
            msg = f"modality {name!r} has no column 'slide_path' to its slides; it has {list(cohort.tables[name].columns)}"
            raise DataError(msg)
        return name
    fit = [n for n, spec in cohort.modalities.items() if spec.kind == "slide" and "slide_path" in cohort.tables[n]]
    if len(fit) != 1:
        found = f"it has {len(fit)}: {fit}" if fit else f"it has none (modalities: {list(cohort.modalities)})"
        msg = (
            f"cohort {cohort.name!r}: wanted one modality of slides with a column 'slide_path', {found}; name it with --modality"
        )
        raise ConfigError(msg)
    return fit[0]


def cohort_slides(cohort: Cohort, modality: str, *, mpp: float | None = None) -> tuple[SlideFile, ...]:
    """List a modality's slides, named by its column ``slide_id`` or else after their files.

    A column ``slide_mpp`` declares a slide's level-0 resolution; ``mpp`` does so for the rest.

    Raises:
        DataError: one slide id names two files, or is not a plain file name.
    """
    slides: dict[str, SlideFile] = {}
    for number, row in enumerate(_named(cohort, modality).to_dict("records"), start=1):
        path = Path(str(row["slide_path"]))
        path = path if path.is_absolute() or cohort.root is None else cohort.root / path
        declared = row.get("slide_mpp")
        where = f"modality {modality!r}, row {number}, column 'slide_id'"
        slide = SlideFile(
            slide_id=require_file_name(str(row["slide_id"]), where=where),
            path=path.absolute(),
            mpp=mpp if declared is None or pd.isna(declared) else float(declared),
        )
        if slides.setdefault(slide.slide_id, slide).path.resolve() != slide.path.resolve():
            msg = (
                f"{where}: the slide id of this row names another file, {slide.path.name}, than in a row above,"
                f" {slides[slide.slide_id].path.name}; give each slide its own slide_id"
            )
            raise DataError(msg)
    return tuple(slides.values())


def lay_bags(cohort: Cohort, modality: str, record: SlideRecord, *, drop_failed: bool = False) -> Cohort:
    """Lay the bags of a record into the cohort folder and fill its column ``path``; returns the cohort as it now stands.

    A slide without a bag keeps its row, with no path, so that a study refuses to run on it unawares; ``drop_failed`` removes such
    rows. Either way ``slides-<modality>.json`` beside the manifest lists every slide with its status and reason.

    Raises:
        DataError: the cohort is not on disk.
    """
    if cohort.root is None:
        msg = f"cohort {cohort.name!r} is not on disk; write it first"
        raise DataError(msg)
    paths: dict[str, str] = {}
    for result in record.results.values():
        if result.status != "failed":
            paths[result.slide_id] = f"bags/{modality}/{result.slide_id}.h5"
            _lay(record.folder / "bags" / f"{result.slide_id}.h5", cohort.root / paths[result.slide_id])
    table = _named(cohort, modality)
    table["path"] = table["slide_id"].map(paths).astype("object").where(lambda column: column.notna(), None)
    if drop_failed:
        table = table[table["path"].notna()].reset_index(drop=True)
    notes = {
        **cohort.modalities[modality].notes,
        "encoder": record.encoder.name,
        "encoder_fingerprint": record.encoder.fingerprint,
    }
    spec = replace(cohort.modalities[modality], notes=notes)
    filled = Cohort(
        name=cohort.name,
        patients=cohort.patients,
        tables={**cohort.tables, modality: table},
        modalities={**cohort.modalities, modality: spec},
        endpoints=cohort.endpoints,
        root=cohort.root,
    )
    document: Mapping[str, object] = {
        "encoder": record.encoder.name,
        "slides": [
            {"slide_id": r.slide_id, "status": r.status, "reason": r.reason, "tiles": r.tiles} for r in record.results.values()
        ],
    }
    write_cohort(filled, cohort.root, documents={**read_documents(cohort.root), f"slides-{modality}.json": document})
    return filled


def _named(cohort: Cohort, modality: str) -> pd.DataFrame:
    table = cohort.tables[modality].copy()
    missing = table["slide_path"].isna()
    if missing.any():
        first = int(missing.to_numpy().argmax()) + 1
        msg = f"modality {modality!r}: {int(missing.sum())} row(s) lack slide_path, first row {first}; complete them"
        raise DataError(msg)
    after_file = table["slide_path"].map(lambda p: slide_id_of(Path(str(p))))
    table["slide_id"] = table["slide_id"].fillna(after_file) if "slide_id" in table else after_file
    return table


def _lay(source: Path, target: Path) -> None:
    with publish(target) as partial:
        try:
            os.link(source, partial)
        except OSError:  # another file system, or one without links
            shutil.copy2(source, partial)

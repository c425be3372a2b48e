"""Plain manifest: a YAML page beside CSV, TSV, parquet or npz tables."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from oncoweave.core.endpoint import Endpoint
from oncoweave.core.errors import ConfigError, DataError, unknown_name
from oncoweave.core.schema import read_config
from oncoweave.core.units import scan_unit
from oncoweave.data.cohort import SITE, Cohort, ModalitySpec
from oncoweave.data.duplicates import repeated_vectors
from oncoweave.data.importers import outcomes
from oncoweave.data.importers.barcodes import tcga_site
from oncoweave.data.importers.files import Place, lay_files
from oncoweave.data.importers.ids import FIRST_ROW, as_text, check_ids, keep_known
from oncoweave.data.importers.report import ImportReport, report_absent
from oncoweave.data.importers.schema import (
    Binary,
    Classes,
    CohortSource,
    ModalitySource,
    Multilabel,
    Patients,
    Regression,
    Survival,
)
from oncoweave.data.importers.sources import (
    TableOfPatients,
    first_place,
    numbers,
    numbers_of_samples,
    pick,
    read_source,
    refuse_infinite,
    typed,
)

_NUMERIC = ("expression", "variants", "embedding")
_FILES = ("slide", "volume", "film")


def read(source: Path, *, scratch: Path, data: Path | None = None) -> tuple[Cohort, ImportReport]:
    """Read a manifest page and its tables; ``data`` is the folder of the tables, the page's own when not given.

    Bags are brought into ``scratch``, which is the root of the cohort returned.

    Raises:
        ConfigError: the page does not fit the schema.
        DataError: a table cannot be used as declared; names table, column and line.
    """
    page = read_config(CohortSource, source)
    _check_units(page, source)
    report = ImportReport(source=source.name, format="manifest")
    tables = _Tables(folder=data or source.parent, page=page)
    patients = _read_patients(tables, page.patients, report)
    endpoints, patients = _read_outcomes(tables, patients, report)
    frames = {name: _read_modality(tables, name, patients.index, scratch=scratch, report=report) for name in page.modalities}
    frames = _without_empty_images(frames, page, report)
    cohort = Cohort(
        name=page.name,
        patients=patients,
        tables=frames,
        modalities={name: ModalitySpec(name=name, kind=m.kind, notes=_notes(m)) for name, m in page.modalities.items()},
        endpoints=endpoints,
        root=scratch,
    )
    report_absent(cohort, report)
    return cohort, report


def _check_units(page: CohortSource, source: Path) -> None:
    for name, modality in page.modalities.items():
        try:
            scan_unit(modality.notes.get("unit", "HU") if modality.kind == "volume" else "HU")
        except DataError as error:
            msg = f"{source}: modalities.{name}.notes: {error}"
            raise ConfigError(msg) from error


class _Tables:
    """The tables of a manifest, each read once."""

    def __init__(self, *, folder: Path, page: CohortSource) -> None:
        self.folder = folder
        self.page = page
        self.lines: dict[str, dict[str, int]] = {}
        """Of each table with one row a patient that was read: the line of its file in which each patient stands."""
        self.text = cache(lambda name: read_source(folder / name, missing=page.missing_values))

    def one_row_a_patient(self, name: str, columns: list[str], *, patient: str, prefix: str | None) -> pd.DataFrame:
        """Read columns of a table in which each patient has one row, indexed by patient."""
        table = pick(self.text(name), list(dict.fromkeys([patient, *columns])), where=name)
        ids = as_text(table[patient], prefix=prefix)
        check_ids(ids, where=name)
        repeated = ids.duplicated()
        if repeated.any():
            msg = (
                f"{name}: {ids[repeated].nunique()} patient(s) have more than one row, first in {first_place(repeated)}; keep one"
                " row a patient here, and give repeated samples as a modality with a sample column"
            )
            raise DataError(msg)
        self.lines.setdefault(name, {}).update(zip(ids.map(str), table.index + FIRST_ROW, strict=True))
        return table[columns].set_axis(pd.Index(ids, name="patient_id", dtype=object), axis=0)


def _read_patients(tables: _Tables, spec: Patients, report: ImportReport) -> pd.DataFrame:
    columns = [*([spec.site] if spec.site else []), *spec.keep]
    table = tables.one_row_a_patient(spec.table, columns, patient=spec.patient, prefix=spec.id_prefix)
    patients = pd.DataFrame({c: typed(table[c]) for c in spec.keep}, index=table.index)
    if spec.site:
        patients.insert(0, SITE, table[spec.site].map(lambda v: None if pd.isna(v) else str(v)).astype("string"))
        report.note("unknown", int(patients[SITE].isna().sum()), "patients", where=spec.table, reason="site not known")
    elif spec.site_from_barcode:
        patients.insert(0, SITE, pd.Series([tcga_site(p) for p in table.index], index=table.index, dtype="string"))
        report.note(
            "chosen", int(patients[SITE].notna().sum()), "patients", where=spec.table, reason="site read from the TCGA barcode"
        )
    return patients


def _read_outcomes(tables: _Tables, patients: pd.DataFrame, report: ImportReport) -> tuple[dict[str, Endpoint], pd.DataFrame]:
    page = tables.page

    def columns(name: str | None, wanted: list[str]) -> pd.DataFrame:
        spec = page.patients
        table = tables.one_row_a_patient(name or spec.table, wanted, patient=spec.patient, prefix=spec.id_prefix)
        if name is not None and name != spec.table:
            rows = table.reset_index().set_axis([tables.lines[name][p] - FIRST_ROW for p in table.index], axis=0)
            known = keep_known(rows, patients.index, column="patient_id", where=name, report=report)
            table = known.set_index("patient_id")
        return table.reindex(patients.index)

    endpoints: dict[str, Endpoint] = {}
    made: dict[str, pd.DataFrame] = {}
    late = [(n, s) for n, s in page.endpoints.items() if isinstance(s, Binary) and s.within]
    for name, source in [*(p for p in page.endpoints.items() if p not in late), *late]:
        table = source.table or page.patients.table
        where = TableOfPatients(name=table, lines=tables.lines.setdefault(table, {}))
        match source:
            case Survival():
                endpoints[name], made[name] = outcomes.survival(name, source, columns, where=where)
            case Binary() if source.within or source.of:
                survivals = {n: made[n] for n, e in endpoints.items() if e.kind == "survival"}
                endpoints[name], made[name] = outcomes.within(name, source, survivals, where=where)
            case Binary():
                endpoints[name], made[name] = outcomes.binary(name, source, columns, where=where)
            case Classes():
                endpoints[name], made[name] = outcomes.classes(name, source, columns, where=where)
            case Multilabel():
                endpoints[name], made[name] = outcomes.multilabel(name, source, columns, where=where)
            case Regression():
                endpoints[name], made[name] = outcomes.regression(name, source, columns, where=where)
    order = [n for n in page.endpoints if n in endpoints]
    columns_taken = [c for n in order for c in made[n].columns if c in patients.columns]
    if columns_taken:
        msg = f"{page.patients.table}: kept column {columns_taken[0]!r} has the name of an outcome's column; rename the endpoint"
        raise ConfigError(msg)
    return {n: endpoints[n] for n in order}, pd.concat([patients, *(made[n] for n in order)], axis=1)


def _read_modality(tables: _Tables, name: str, known: pd.Index, *, scratch: Path, report: ImportReport) -> pd.DataFrame:
    spec = tables.page.modalities[name]
    where = f"modality {name!r}, {spec.table}"
    where += " (genes in rows: lines are its columns)" if spec.orientation == "genes_in_rows" else ""
    table = _read_rows(tables, spec, where=where)
    ids = as_text(table[spec.patient], prefix=spec.id_prefix)
    check_ids(ids, where=where)
    samples = ids if spec.sample is None else as_text(table[spec.sample])
    table = table.drop(columns=[c for c in {spec.patient, spec.sample} - {None} if c in table])
    identified = pd.concat([ids.rename("patient_id"), samples.rename("sample_id")], axis=1)
    kept = keep_known(identified, known, column="patient_id", where=where, report=report)
    table = table.loc[kept.index]
    _refuse_repeats(kept, spec, where=where)
    values = _read_values(tables, name, table, where=where, report=report)
    if spec.kind in _FILES:
        place = Place(folder=tables.folder, scratch=scratch, modality=name, encoder=spec.encoder)
        values = lay_files(values, place, report)
        kept = kept.loc[values.index]
    empty = values.isna().all(axis=1)
    report.note("left out", int(empty.sum()), "rows", where=where, reason="nothing was measured: the patient lacks this modality")
    return pd.concat([kept, values], axis=1)[~empty].reset_index(drop=True)


def _without_empty_images(frames: dict[str, pd.DataFrame], page: CohortSource, report: ImportReport) -> dict[str, pd.DataFrame]:
    groups: dict[str, dict[str, pd.DataFrame]] = {}
    for name, spec in page.modalities.items():
        if spec.kind == "embedding" and spec.repeated_vectors == "absent":
            groups.setdefault(spec.encoder or name, {})[name] = frames[name]
    kept = dict(frames)
    for name, repeated in repeated_vectors(groups.values()).items():
        reason = "the vector stands more than once: the encoding of an empty image, so the patient lacks this modality"
        report.note("left out", int(repeated.sum()), "rows", where=f"modality {name!r}", reason=reason)
        kept[name] = frames[name][~repeated].reset_index(drop=True)
    return kept


def _read_rows(tables: _Tables, spec: ModalitySource, *, where: str) -> pd.DataFrame:
    if spec.orientation == "genes_in_rows":
        table = read_source(tables.folder / spec.table, missing=tables.page.missing_values, numeric=spec.genes or "")
        genes = spec.genes or str(table.columns[0])
        pick(table, [genes, *spec.exclude], where=where)
        names = table[genes]
        if names.isna().any() or names.duplicated().any():
            odd = int(names.isna().sum()), int(names.duplicated().sum())
            msg = f"{where}: column {genes!r} must name each gene once, {odd[0]} are empty and {odd[1]} repeated; drop them"
            raise DataError(msg)
        samples = [c for c in map(str, table) if c not in {genes, *spec.exclude}]
        values = numbers_of_samples(table, samples, where=where) if spec.kind in _NUMERIC else table[samples]
        turned = values.set_axis(pd.Index(names.astype(str)), axis=0).T
        turned.columns.name = None
        turned = turned.rename_axis(spec.patient).reset_index()
        return turned.set_axis(table.columns.get_indexer(pd.Index(samples)) + 1 - FIRST_ROW, axis=0)  # its column is its line
    if spec.kind in _NUMERIC:
        table = read_source(tables.folder / spec.table, missing=tables.page.missing_values, numeric=spec.patient)
    else:
        table = tables.text(spec.table)
    if spec.patient not in table:
        unknown = unknown_name("column", spec.patient, map(str, table.columns))
        msg = f"{where}: {unknown}; say which holds the patients: patient: COLUMN"
        raise DataError(msg)
    pick(table, [spec.sample] if spec.sample else [], where=where)
    return table


def _read_values(tables: _Tables, name: str, table: pd.DataFrame, *, where: str, report: ImportReport) -> pd.DataFrame:
    spec = tables.page.modalities[name]
    if spec.kind == "report":
        texts = pick(table, [spec.text], where=where).rename(columns={spec.text: "text"})
        said = texts["text"].astype(str).str.strip() != ""  # blanks say nothing
        return texts.assign(text=texts["text"].where(said, None))
    if spec.kind in _FILES:
        named = {"slide_id": spec.slide} if spec.kind == "slide" else {}
        named |= {"path": spec.path} if spec.path in table or not spec.image else {}
        named |= {"slide_path": spec.image} if spec.image else {}
        return pick(table, list(named.values()), where=where).set_axis(list(named), axis=1)
    if spec.orientation == "patients_in_rows" and spec.exclude:
        pick(table, spec.exclude, where=where)
        report.note(
            "left out", len(spec.exclude), "columns", where=where, reason=f"excluded by the manifest: {', '.join(spec.exclude)}"
        )
    chosen = pick(table, spec.columns if spec.columns is not None else list(table.columns), where=where)
    chosen = chosen.drop(columns=[c for c in spec.exclude if c in chosen])
    _refuse_outcomes(tables, spec, chosen, where=where)
    pick(chosen, spec.categorical, where=where)
    if spec.kind in _NUMERIC:
        return numbers(chosen, where=where)
    values = pd.DataFrame({c: typed(chosen[c], categorical=c in spec.categorical) for c in chosen}, index=chosen.index)
    refuse_infinite(values, where=where)
    _refuse_half_numbers(values, where=where, report=report, codes=spec.categorical)
    return values


def _refuse_outcomes(tables: _Tables, spec: ModalitySource, chosen: pd.DataFrame, *, where: str) -> None:
    """Refuse a feature that is an outcome: the same column of the same table."""
    used: dict[str, str] = {}
    for name, source in tables.page.endpoints.items():
        if (source.table or tables.page.patients.table) == spec.table:
            parts: Mapping[str, str | Sequence[str] | None] = source.model_dump(
                include={"time", "event", "column", "columns", "censored_time"}
            )
            for part in parts.values():
                used |= dict.fromkeys([part] if isinstance(part, str) else part or (), name)
    taken = [c for c in chosen if c in used]
    if taken:
        msg = f"{where}: column {taken[0]!r} is the outcome {used[taken[0]]!r} and cannot be a feature; list it under exclude"
        raise DataError(msg)


def _refuse_repeats(kept: pd.DataFrame, spec: ModalitySource, *, where: str) -> None:
    keys = ["patient_id"] if spec.sample is None else ["patient_id", "sample_id"]
    repeated = kept.duplicated(keys) if spec.kind not in _FILES else pd.Series(data=False, index=kept.index)
    if repeated.any():
        todo = (
            "name the column that tells samples apart (sample: ...)"
            if spec.sample is None
            else "the same sample twice: keep one row"
        )
        msg = f"{where}: {int(repeated.sum())} repeated row(s), first in {first_place(repeated)}; {todo}"
        raise DataError(msg)


def _refuse_half_numbers(values: pd.DataFrame, *, where: str, report: ImportReport, codes: tuple[str, ...]) -> None:
    """Refuse a column that is mostly numbers, such as a laboratory value with one ``<0.5`` in it, and report codes."""
    for name in values.select_dtypes(object):
        known = values[name].dropna()
        parsed = pd.to_numeric(known, errors="coerce").notna()
        if name not in codes and len(known) and parsed.all():
            reason = f"column {name!r} holds numbers with leading zeros, read as codes; list it under categorical to confirm"
            report.note("chosen", 1, "columns", where=where, reason=reason)
        elif name not in codes and 0.5 < parsed.mean() < 1:
            shown = ", ".join(map(repr, known[~parsed].unique()[:5]))
            msg = (
                f"{where}: column {name!r} is mostly numbers, but {int((~parsed).sum())} value(s) are not ({shown}), first in"
                f" {first_place(~parsed)}; list what means unknown under missing_values, write a number for what is below"
                " detection, or list the column under categorical if it holds codes"
            )
            raise DataError(msg)


def _notes(spec: ModalitySource) -> dict[str, str]:
    return {**spec.notes, **{k: v for k, v in (("encoder", spec.encoder), ("scale", spec.scale)) if v}}

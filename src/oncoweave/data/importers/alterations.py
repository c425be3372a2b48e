"""Mutations, copy number and expression of a cBioPortal study, in which not profiled is absent and never wild type.

A sample was profiled for mutations if it is in the study's list of sequenced samples, has a panel in the gene-panel matrix, or
has a row in the mutation file. With a panel only the panel's genes are known; calls of other genes are removed, since only
positive ones would ever be there. Copy number is known where the file gives a value, and inside the sample's panel.
"""

import numpy as np
import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.importers.report import ImportReport
from oncoweave.data.importers.sources import numbers, numbers_of_samples, pick, read_source
from oncoweave.data.importers.study import DataFile, Study

QUIET = frozenset(("Silent", "Intron", "IGR", "3'UTR", "5'UTR", "3'Flank", "5'Flank"))
"""Variant classes that do not change the protein; 5'Flank of TERT, its promoter, is kept."""
_NOT_SOMATIC = frozenset(("none", "loh", "wildtype"))
_GENE, _SAMPLE = "Hugo_Symbol", "Tumor_Sample_Barcode"


def read_variants(study: Study, samples: pd.Index, report: ImportReport) -> pd.DataFrame | None:
    """Read mutations (``GENE_mut``, 0/1) and discrete copy number (``GENE_cnv``, -2 to 2); NaN = not profiled; None = neither."""
    parts = [_mutations(study, samples, report), _copy_number(study, samples, report)]
    known = [p for p in parts if p is not None]
    return pd.concat(known, axis=1).reindex(samples).dropna(how="all") if known else None


def read_expression(study: Study, samples: pd.Index, report: ImportReport) -> tuple[pd.DataFrame, dict[str, str]] | None:
    """Read expression, measured values before z-scores, one column a gene; gives the rows and their notes."""
    file = study.find("MRNA_EXPRESSION", "CONTINUOUS", "Z-SCORE", "DISCRETE")
    if file is None:
        return None
    table = _matrix(file, samples, report)
    scale = "z" if file.datatype == "Z-SCORE" else "log2" if (table.to_numpy() < 0).any() else "counts"
    reason = f"scale {scale!r} taken from the datatype {file.datatype} and the values"
    report.note("chosen", 1, "files", where=file.path.name, reason=reason)
    return table, {"scale": scale, "source": file.stable_id}


def _mutations(study: Study, samples: pd.Index, report: ImportReport) -> pd.DataFrame | None:
    file = study.find("MUTATION_EXTENDED", "MAF")
    if file is None:
        return None
    where = file.path.name
    calls = pick(read_source(file.path), [_GENE, _SAMPLE, "Variant_Classification"], where=where)
    status = read_source(file.path).get("Mutation_Status", pd.Series(None, index=calls.index, dtype=object))
    panels = study.panel_of(file).dropna()
    profiled = set(study.case_lists.get("sequenced", ())) | set(panels.index) | set(calls[_SAMPLE])
    calls = _kept_calls(calls, status, samples, where=where, report=report)
    sequenced = samples[samples.isin(profiled)]
    report.note("unknown", len(samples) - len(sequenced), "samples", where=where, reason="not profiled for mutations: absent")
    genes = sorted(set(calls[_GENE]).union(*(study.panels[p] for p in panels.unique())))
    table = pd.DataFrame(0.0, index=sequenced, columns=pd.Index(genes))
    row, column = table.index.get_indexer(pd.Index(calls[_SAMPLE])), table.columns.get_indexer(pd.Index(calls[_GENE]))
    values = table.to_numpy(copy=True)
    values[row, column] = 1.0
    table = pd.DataFrame(values, index=table.index, columns=table.columns)
    return _inside_panels(table, study, file, what="mutated genes", report=report).add_suffix("_mut")


def _kept_calls(calls: pd.DataFrame, status: pd.Series, samples: pd.Index, *, where: str, report: ImportReport) -> pd.DataFrame:
    promoter = (calls[_GENE] == "TERT") & (calls["Variant_Classification"] == "5'Flank")
    reasons = {
        "no gene symbol": calls[_GENE].isna(),
        "the sample is not in the sample table": ~calls[_SAMPLE].isin(samples),
        "a class that does not change the protein (silent, intron, UTR, flank)": calls["Variant_Classification"].isin(QUIET)
        & ~promoter,
        "called as wild type or loss of heterozygosity": status.fillna("").astype(str).str.lower().isin(_NOT_SOMATIC),
    }
    keep = pd.Series(data=True, index=calls.index)
    for reason, wrong in reasons.items():
        report.note("left out", int((wrong & keep).sum()), "mutations", where=where, reason=reason)
        keep &= ~wrong
    return calls[keep]


def _copy_number(study: Study, samples: pd.Index, report: ImportReport) -> pd.DataFrame | None:
    file = study.find("COPY_NUMBER_ALTERATION", "DISCRETE", "DISCRETE_LONG")
    if file is None:
        return None
    table = _long(file, samples, report) if file.datatype == "DISCRETE_LONG" else _matrix(file, samples, report)
    table = table.dropna(how="all")
    odd = ~(np.isnan(table.to_numpy()) | np.isin(table.to_numpy(), (-2, -1.5, -1, 0, 1, 2)))
    if odd.any():
        first = table.to_numpy()[odd][0]
        msg = f"{file.path.name}: {int(odd.sum())} value(s) are no discrete copy number (-2 to 2 or -1.5), first {first}"
        raise DataError(msg)
    report.note("unknown", len(samples) - len(table), "samples", where=file.path.name, reason="no copy number: absent")
    return _inside_panels(table, study, file, what="copy numbers", report=report).add_suffix("_cnv")


def _long(file: DataFile, samples: pd.Index, report: ImportReport) -> pd.DataFrame:
    where = file.path.name
    rows = pick(read_source(file.path), [_GENE, "Sample_Id", "Value"], where=where)
    known = rows["Sample_Id"].isin(samples) & rows[_GENE].notna()
    report.note(
        "left out", int((~known).sum()), "rows", where=where, reason="no gene symbol, or the sample is not in the sample table"
    )
    rows = rows[known].drop_duplicates()
    repeated = rows.duplicated([_GENE, "Sample_Id"])
    if repeated.any():
        first = rows.loc[repeated, _GENE].iloc[0]
        msg = f"{where}: {int(repeated.sum())} gene(s) have two different values in one sample, first {first!r}"
        raise DataError(msg)
    values = rows.assign(Value=numbers(rows[["Value"]], where=where)["Value"])
    return values.pivot_table(index="Sample_Id", columns=_GENE, values="Value", sort=False)


def _matrix(file: DataFile, samples: pd.Index, report: ImportReport) -> pd.DataFrame:
    """Read a table with genes in rows and samples in columns; of several rows of a gene the first is kept."""
    where = file.path.name
    table = read_source(file.path, numeric=_GENE)
    pick(table, [_GENE], where=where)
    nameless = table[_GENE].isna()
    repeated = table[_GENE].duplicated() & ~nameless
    report.note("left out", int(nameless.sum()), "genes", where=where, reason="no gene symbol")
    report.note("left out", int(repeated.sum()), "genes", where=where, reason="another row of the same gene; the first is kept")
    table = table[~(nameless | repeated)]
    strangers = [c for c in table.columns if c not in samples and c not in (_GENE, "Entrez_Gene_Id")]
    report.note("left out", len(strangers), "columns", where=where, reason="the sample is not in the sample table")
    values = numbers_of_samples(table, [c for c in table.columns if c in samples], where=where)
    turned = values.set_axis(pd.Index(table[_GENE]), axis=0).astype(float).T
    turned.columns.name = None
    return turned


def _inside_panels(table: pd.DataFrame, study: Study, file: DataFile, *, what: str, report: ImportReport) -> pd.DataFrame:
    """Make what lies outside a sample's panel unknown."""
    panels = study.panel_of(file).reindex(table.index)
    if file.panel is not None:
        panels = panels.fillna(file.panel)
    outside = np.zeros(table.shape, dtype=bool)
    for panel in panels.dropna().unique():
        outside[np.ix_((panels == panel).to_numpy(), ~table.columns.isin(study.panels[panel]))] = True
    removed = int((outside & (table.fillna(0.0).to_numpy() != 0)).sum())
    reason = "outside the sample's gene panel: not profiled, so unknown"
    report.note("left out", removed, what, where=file.path.name, reason=reason)
    return table.mask(outside)

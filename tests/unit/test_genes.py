"""Gene symbols and what spreadsheets do to them."""

import pandas as pd
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.genes import check_genes, from_date, gene_of, read_gene_table, renamed, without_version


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("2-Sep", "SEPTIN2"),
        ("Sep-02", "SEPTIN2"),
        ("1-Mar", "MARCHF1"),
        ("11-mar", "MARCHF11"),
        ("1-Dec", "DELEC1"),
        ("2021-09-07", "SEPTIN7"),
        ("2006-03-01 00:00:00", "MARCHF1"),
        ("02.Sep.2023", "SEPTIN2"),
        ("3-Jan", ""),  # a date, but of no gene
        ("TP53", None),
        ("MARCHF1", None),
        ("SEPT2", None),  # an old name, not a date
        ("HLA-DRB1", None),
        ("NKX2-5", None),
        ("MAR1", None),
    ],
)
def test_dates_lead_back_to_the_gene(name, symbol):
    assert from_date(name) == symbol


def test_old_names_versions_and_suffixes():
    assert [renamed(n) for n in ("SEPT9", "MARCH10", "DEC1", "SEPTIN9", "DECR1", "MARCHF1")] == [
        "SEPTIN9",
        "MARCHF10",
        "DELEC1",
        None,
        None,
        None,
    ]
    assert without_version("ENSG00000141510.18") == "ENSG00000141510"
    assert without_version("ENSMUSG00000059552.14") == "ENSMUSG00000059552"
    assert without_version("AC002310.4") == "AC002310.4"  # a clone, not a version
    assert [gene_of(c) for c in ("TP53_mut", "EGFR_cnv", "TP53_rnaseq", "MT_CO1")] == ["TP53", "EGFR", "TP53", "MT_CO1"]


def test_clean_names_give_no_finding():
    assert check_genes(["TP53_mut", "TP53_cnv", "KRAS", "ENSG00000141510", "HLA-A"], where="x") == []


@pytest.mark.parametrize(
    ("columns", "level", "message"),
    [
        (["2-Sep", "TP53"], "error", r"1 gene\(s\) are dates made by a spreadsheet; .*: 2-Sep → SEPTIN2"),
        (["MARCH1_mut"], "warning", "withdrawn .*: MARCH1 → MARCHF1"),
        (["ENSG00000141510.18"], "warning", r"carry a version.*: ENSG00000141510\.18 → ENSG00000141510"),
        (["TP53", "TP53"], "error", r"1 column\(s\) stand more than once: TP53"),
        (["TP53", "Tp53"], "error", "differ by case or version only: TP53 = Tp53"),
        (["ENSG00000141510.1", "ENSG00000141510.2"], "error", r"ENSG00000141510\.1 = ENSG00000141510\.2"),
        (["2.31E+13"], "error", r"numbers made by a spreadsheet .*: 2\.31E\+13"),
    ],
)
def test_problems_are_named_with_their_cure(columns, level, message):
    findings = [f for f in check_genes(columns, where="modality 'rna'") if f.level == level]
    assert len(findings) == 1
    assert pd.Series([findings[0].message]).str.contains(message).all(), findings[0].message


def test_aliases_lead_to_one_gene_or_nowhere():
    table = pd.DataFrame(
        {"symbol": ["ERBB2", "TP53", "A1", "B1", "NEU"], "synonyms": ["HER2|NEU|HER2", "p53", "SHARED", "SHARED", None]}
    )
    genes = read_gene_table(table)
    assert genes.aliases == {"HER2": "ERBB2", "p53": "TP53"}  # NEU is itself a symbol here, SHARED means two genes
    findings = check_genes(["HER2", "TP53", "NEU", "XYZ9", "ENSG00000141510"], where="x", genes=genes)
    assert [(f.level, f.count) for f in findings] == [("warning", 1), ("note", 1)]
    with pytest.raises(DataError, match="needs the columns symbol and synonyms"):
        read_gene_table(pd.DataFrame({"gene": []}))

"""Gene symbols: what spreadsheets, versions and renamings do to them.

Spreadsheets turn SEPT2 into ``2-Sep`` and MARCH1 into ``1-Mar``; the symbols were renamed for that reason (Bruford et al., Nature
Genetics 2020: SEPTIN2, MARCHF1). Ensembl identifiers may carry a version (``ENSG00000141510.18``), another in each release.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from oncoweave.core.errors import DataError
from oncoweave.data.findings import Finding, Level

_MONTHS = {"mar": "MARCHF", "sep": "SEPTIN", "dec": "DELEC"}
_MONTH_NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec"
_DAY_MONTH = re.compile(rf"(\d{{1,2}})[-/. ]({_MONTH_NAMES})[a-z]*(?:[-/. ]\d{{2,4}})?", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"({_MONTH_NAMES})[a-z]*[-/. ](\d{{1,2}})(?:[-/. ]\d{{2,4}})?", re.IGNORECASE)
_ISO = re.compile(r"\d{4}-(\d{2})-(\d{2})(?:[ T]00:00:00)?")
_FLOAT = re.compile(r"\d+(?:\.\d+)?[eE]\+?\d+")
_OLD = re.compile(r"(SEPT|MARCH)(\d{1,2})|DEC1")
_VERSION = re.compile(r"(ENS[A-Z]*G\d{11})\.\d+(?:_PAR_Y)?")
_SUFFIX = re.compile(r"_(mut|cnv|rnaseq|fusion)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneTable:
    """Approved symbols, and the aliases that lead to exactly one of them."""

    approved: frozenset[str]
    aliases: Mapping[str, str] = field(default_factory=dict)


def gene_of(column: str) -> str:
    """Name the gene of a column such as ``TP53_mut``."""
    return _SUFFIX.sub("", column)


def from_date(name: str) -> str | None:
    """Give the approved symbol that a spreadsheet turned into a date; None when the name is not such a date.

    A date of a month that no gene is named after gives an empty text.

    >>> from_date("2-Sep"), from_date("1-Mar"), from_date("TP53")
    ('SEPTIN2', 'MARCHF1', None)
    """
    if match := _DAY_MONTH.fullmatch(name):
        day, month = match[1], match[2]
    elif match := _MONTH_DAY.fullmatch(name):
        day, month = match[2], match[1]
    elif match := _ISO.fullmatch(name):
        day, month = match[2], {"03": "mar", "09": "sep", "12": "dec"}.get(match[1], "")
    else:
        return None
    family = _MONTHS.get(month.lower()[:3])
    return f"{family}{int(day)}" if family else ""


def renamed(name: str) -> str | None:
    """Give the approved symbol of one that was renamed because spreadsheets read it as a date; None for others.

    >>> renamed("SEPT2"), renamed("MARCH1"), renamed("SEPTIN2")
    ('SEPTIN2', 'MARCHF1', None)
    """
    match = _OLD.fullmatch(name)
    if match is None:
        return None
    return "DELEC1" if match[1] is None else {"SEPT": "SEPTIN", "MARCH": "MARCHF"}[match[1]] + str(int(match[2]))


def without_version(name: str) -> str:
    """Drop the version of an Ensembl gene identifier.

    >>> without_version("ENSG00000141510.18")
    'ENSG00000141510'
    """
    match = _VERSION.fullmatch(name)
    return match[1] if match else name


def read_gene_table(table: pd.DataFrame) -> GeneTable:
    """Read a gene table with the columns ``symbol`` and ``synonyms`` (or ``aliases``), synonyms joined by ``|``.

    An alias of two genes, or one that is itself an approved symbol, leads nowhere and is left out.
    """
    columns = {c.lower(): c for c in table.columns}
    symbol = columns.get("symbol") or columns.get("hugo_symbol")
    other = columns.get("synonyms") or columns.get("aliases") or columns.get("alias_symbol")
    if symbol is None or other is None:
        msg = f"a gene table needs the columns symbol and synonyms (joined by |), this one has {list(table.columns)}"
        raise DataError(msg)
    approved = frozenset(table[symbol].dropna().astype(str))
    pairs = [
        (a, s) for s, text in zip(table[symbol], table[other], strict=True) if isinstance(text, str) for a in text.split("|")
    ]
    count = Counter(a for a, _ in set(pairs))
    aliases = {a: str(s) for a, s in pairs if count[a] == 1 and a not in approved and a}
    return GeneTable(approved=approved, aliases=aliases)


def check_genes(columns: Sequence[str], *, where: str, genes: GeneTable | None = None) -> list[Finding]:
    """List what is wrong with the gene names of a modality's columns."""
    by_gene = {gene_of(c): c for c in columns}
    names = list(by_gene)
    findings = [
        _named(
            "error",
            where,
            {n: from_date(n) or "?" for n in names if from_date(n) is not None},
            "gene(s) are dates made by a spreadsheet; import the table from before it was opened there",
        ),
        _named(
            "warning",
            where,
            {n: new for n in names if (new := renamed(n))},
            "gene(s) bear a name that was withdrawn because spreadsheets read it as a date; use the new one",
        ),
        _named(
            "warning",
            where,
            {n: without_version(n) for n in names if without_version(n) != n},
            "Ensembl identifier(s) carry a version, which will not match another release; drop it",
        ),
        _named(
            "error",
            where,
            {n: "" for n in names if _FLOAT.fullmatch(n)},
            "gene(s) are numbers made by a spreadsheet (RIKEN clones)",
        ),
        _named("error", where, {c: "" for c, n in Counter(columns).items() if n > 1}, "column(s) stand more than once"),
        _folded(names, where=where),
    ]
    if genes is not None:
        findings.append(
            _named(
                "warning",
                where,
                {n: genes.aliases[n] for n in names if n in genes.aliases},
                "gene(s) bear an alias; use the approved symbol",
            )
        )
        unknown = {n: "" for n in names if n not in genes.approved and n not in genes.aliases and not n.startswith("ENS")}
        findings.append(_named("note", where, unknown, "gene(s) are not in the gene table"))
    return [f for f in findings if f is not None]


def _named(level: Level, where: str, named: Mapping[str, str], message: str) -> Finding | None:
    if not named:
        return None
    shown = ", ".join(f"{old} → {new}" if new else old for old, new in list(named.items())[:4])
    more = f" and {len(named) - 4:,} more" if len(named) > 4 else ""
    text = f"{len(named):,} {message}: {shown}{more}"
    return Finding(level=level, area="genes", where=where, message=text, count=len(named))


def _folded(names: Iterable[str], *, where: str) -> Finding | None:
    """Names that are one gene once case and version are ignored."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(without_version(name).upper(), []).append(name)
    same = {" = ".join(group): "" for group in groups.values() if len(group) > 1}
    return _named("error", where, same, "gene(s) stand more than once under names that differ by case or version only")

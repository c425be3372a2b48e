"""Gene sets in the GMT format: a line a set, with its name, a description and its genes, separated by tabs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from oncoweave.core.errors import DataError
from oncoweave.data.genes import gene_of

BUILT_IN = Path(__file__).parent / "gene_sets"
"""Folder of the gene sets that come with oncoweave, known by name; its README says whose they are."""

REST = "(genes of no set)"


def find_gmt(name: str) -> Path:
    """Find a file of gene sets: one that comes with oncoweave by its name (``hallmark``), any other by its path.

    Raises:
        DataError: there is none.
    """
    built_in = BUILT_IN / f"{name}.gmt"
    path = built_in if built_in.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.gmt")))
        msg = f"gene sets {name!r}: neither a file nor one of those that come with oncoweave ({known})"
        raise DataError(msg)
    return path


def read_gmt(path: Path) -> dict[str, tuple[str, ...]]:
    """Read gene sets by name; a gene that a set names twice counts once.

    Raises:
        DataError: no text, a line without a name or genes, a name that stands twice, or no set at all; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path}: no text in UTF-8 ({error.reason} at byte {error.start}); unpack it, or store it anew as UTF-8"
        raise DataError(msg) from error
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        name, kept = fields[0], tuple(dict.fromkeys(gene for gene in fields[2:] if gene))
        if not kept or not name:
            msg = f"{path}, line {number}: wanted name, description and genes separated by tabs, got {line[:60]!r}"
            raise DataError(msg)
        if name in sets:
            msg = f"{path}, line {number}: the gene set {name!r} stands there twice; names must differ"
            raise DataError(msg)
        sets[name] = kept
    if not sets:
        msg = f"{path}: no gene set in it"
        raise DataError(msg)
    return sets


def place_sets(
    sets: Mapping[str, Sequence[str]], columns: Sequence[str], *, smallest: int = 1, rest: bool = False
) -> dict[str, tuple[int, ...]]:
    """Say which columns belong to each set, by the gene of the column (``TP53_mut`` is of TP53); a column may be of several.

    Sets with fewer than ``smallest`` columns are left out; with ``rest``, the columns of no set that stays become a last one.

    Raises:
        DataError: no set stays; says how many columns are of any set.
    """
    places: dict[str, list[int]] = {}
    for index, column in enumerate(columns):
        places.setdefault(gene_of(column), []).append(index)
    found = {name: tuple(i for gene in genes for i in places.get(gene, ())) for name, genes in sets.items()}
    kept = {name: members for name, members in found.items() if len(members) >= max(smallest, 1)}
    if not kept:
        known = len({i for members in found.values() for i in members})
        msg = (
            f"none of {len(sets)} gene sets has {smallest} or more of the {len(columns)} columns ({known} of which are of a set;"
            f" the first are {list(columns[:4])}); columns have to bear gene symbols as the sets do"
        )
        raise DataError(msg)
    used = {i for members in kept.values() for i in members}
    others = tuple(i for i in range(len(columns)) if i not in used)
    return kept | {REST: others} if rest and others else kept

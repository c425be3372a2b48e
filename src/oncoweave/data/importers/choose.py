"""From any source to a cohort folder: which importer reads it, and the account of what it left out."""

from collections.abc import Mapping
from pathlib import Path

from oncoweave.core.errors import DataError, unknown_name
from oncoweave.core.files import scratch_beside
from oncoweave.data.cohort import Cohort
from oncoweave.data.importers.report import ImportReport
from oncoweave.data.store import write_cohort

FORMATS: Mapping[str, str] = {
    "manifest": "a YAML page beside CSV, TSV, parquet or npz tables",
    "cbioportal": "a study folder with meta_study.txt",
    "bags": "a folder of .h5 bags (TRIDENT, CLAM, GigaPath) and a slide table",
    "mudata": "an .h5mu file",
}
REPORT = "import_report.json"


def detect(source: Path) -> str:
    """Name the format of a source.

    Raises:
        DataError: nothing there, or nothing that an importer reads.
    """
    if not source.exists():
        msg = f"no source {source}"
        raise DataError(msg)
    if source.suffix in (".yaml", ".yml"):
        return "manifest"
    if source.suffix == ".h5mu":
        return "mudata"
    if source.is_dir() and ((source / "meta_study.txt").is_file() or any(source.glob("data_clinical*.txt"))):
        return "cbioportal"
    if source.is_dir() and any(source.rglob("*.h5")):
        return "bags"
    formats = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    msg = f"{source}: not a source that is known here ({formats})"
    raise DataError(msg)


def import_cohort(
    source: Path, out: Path, *, format: str | None = None, data: Path | None = None, slides: Path | None = None
) -> tuple[Cohort, ImportReport]:
    """Import a source into a cohort folder, which appears whole or not at all, with ``import_report.json`` inside.

    ``data`` is the folder of a manifest's tables; ``slides`` the slide table of a folder of bags.

    Raises:
        DataError: the source cannot be used; nothing is written then.
    """
    name = format or detect(source)
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    out = out.resolve()
    with scratch_beside(out) as scratch:
        cohort, report = _read(name, source, scratch=scratch, data=data, slides=slides)
        write_cohort(cohort, out, documents={REPORT: report.content(cohort)})
    return cohort, report


def _read(name: str, source: Path, *, scratch: Path, data: Path | None, slides: Path | None) -> tuple[Cohort, ImportReport]:
    from oncoweave.data.importers.bags import read as read_bags
    from oncoweave.data.importers.cbioportal import read as read_cbioportal
    from oncoweave.data.importers.manifest import read as read_manifest
    from oncoweave.data.importers.mudata import read as read_mudata

    match name:
        case "manifest":
            return read_manifest(source, scratch=scratch, data=data)
        case "cbioportal":
            return read_cbioportal(source)
        case "bags":
            return read_bags(source, scratch=scratch, slides=slides)
        case _:
            return read_mudata(source)

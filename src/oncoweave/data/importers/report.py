"""What an import kept and what it left out, each with its reason."""

from dataclasses import asdict, dataclass, field
from typing import Literal

from oncoweave.data.cohort import Cohort

Kind = Literal["left out", "changed", "chosen", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line: how many of what, where, and why."""

    kind: Kind
    count: int
    what: str
    """Patients, rows, columns, values, files ..."""
    where: str
    reason: str


@dataclass(kw_only=True, slots=True)
class ImportReport:
    """The ledger that an importer fills while it reads."""

    source: str
    format: str
    entries: list[Entry] = field(default_factory=list)

    def note(self, kind: Kind, count: int, what: str, *, where: str, reason: str) -> None:
        """Add a line, unless it counts nothing."""
        if count:
            self.entries.append(Entry(kind=kind, count=count, what=what, where=where, reason=reason))

    def content(self, cohort: Cohort) -> dict[str, object]:
        """Give the report as JSON, with the sizes of what was made."""
        available = cohort.availability()
        return {
            "source": self.source,
            "format": self.format,
            "patients": len(cohort),
            "modalities": {
                name: {"kind": cohort.modalities[name].kind, "patients": int(available[name].sum()), "rows": len(table)}
                for name, table in cohort.tables.items()
            },
            "endpoints": {name: int(cohort.target(name).known.sum()) for name in cohort.endpoints},
            "entries": [asdict(e) for e in self.entries],
        }


def report_absent(cohort: Cohort, report: ImportReport) -> None:
    """Count the patients without any modality, and those without any outcome; they stay in the table."""
    absent = int((~cohort.availability().any(axis=1)).sum()) if cohort.tables else len(cohort)
    report.note(
        "unknown",
        absent,
        "patients",
        where="all modalities",
        reason="have no modality at all; kept in the patient table, used by no model",
    )
    for name in cohort.endpoints:
        unknown = int((~cohort.target(name).known).sum())
        report.note(
            "unknown",
            unknown,
            "patients",
            where=f"endpoint {name}",
            reason="outcome not known; kept, left out where this endpoint is studied",
        )

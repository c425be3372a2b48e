"""Files that a table names: bags come into the cohort folder, images and volumes stay where they are and are referred to."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from oncoweave.core.errors import DataError, SlideError
from oncoweave.data.importers.report import ImportReport

BAG_SUFFIXES = (".h5", ".hdf5")


def lay_bags(
    values: pd.DataFrame, patients: pd.Series, *, folder: Path, modality: str, scratch: Path, report: ImportReport
) -> pd.DataFrame:
    """Convert the bags of a table into ``scratch/bags/<modality>`` and make other paths absolute.

    A bag that cannot be read is left out and counted with its reason; the import fails when none can be read.
    """
    where = f"modality {modality!r}"
    values = values.copy()
    for column in (c for c in ("slide_path", "path") if c in values):
        place = f"{where}, column {column!r}"
        found = [
            str(_existing(folder / name, patient=patient, where=place)) if isinstance(name, str) else None
            for name, patient in zip(values[column], patients.loc[values.index], strict=True)
        ]
        values[column] = pd.Series(found, index=values.index, dtype=object)
    is_bag = (
        values["path"].map(lambda p: isinstance(p, str) and p.endswith(BAG_SUFFIXES)) if "path" in values else values.index < 0
    )
    if "slide_id" not in values or not is_bag.any():
        return values
    reasons: dict[str, int] = {}
    unread = []
    for row in values.index[is_bag]:
        try:
            values.loc[row, "path"] = lay_bag(
                Path(values.loc[row, "path"]), str(values.loc[row, "slide_id"]), modality=modality, scratch=scratch
            )
        except (DataError, SlideError) as error:
            reasons[_reason(error)] = reasons.get(_reason(error), 0) + 1
            unread.append(row)
    for reason, count in reasons.items():
        report.note("left out", count, "slides", where=where, reason=reason)
    if len(unread) == int(is_bag.sum()):
        msg = f"{where}: none of {len(unread)} bag(s) could be read: {'; '.join(reasons)}"
        raise DataError(msg)
    return values.drop(index=unread)


def lay_bag(source: Path, slide_id: str, *, modality: str, scratch: Path, encoder: str | None = None) -> str:
    """Convert one bag of any dialect into the folder; returns its path inside. ``encoder`` names one that the bag does not."""
    from oncoweave.data.bags import read_bag, write_bag

    name = f"bags/{modality}/{slide_id}.h5"
    if (scratch / name).exists():
        msg = f"two slides are called {slide_id!r} in modality {modality!r}; slide ids must differ"
        raise DataError(msg)
    bag = read_bag(source)
    attrs = replace(bag.attrs, slide_id=slide_id, encoder=bag.attrs.encoder or encoder)
    write_bag(scratch / name, replace(bag, attrs=attrs))
    return name


def _existing(path: Path, *, patient: str, where: str) -> Path:
    if not path.exists():
        msg = f"{where}, patient {patient!r}: no file {path}"
        raise DataError(msg)
    return path.resolve()


def _reason(error: Exception) -> str:
    """The reason without the file's name, so that equal reasons are counted together."""
    return str(error).partition(": ")[2] or str(error)

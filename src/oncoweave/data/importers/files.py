"""Files that a table names: bags come into the cohort folder, images and volumes stay where they are and are referred to."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from oncoweave.core.errors import DataError, SlideError
from oncoweave.core.files import require_file_name
from oncoweave.data.bags import read_bag, read_head, require_one_encoder, write_bag
from oncoweave.data.importers.ids import FIRST_ROW
from oncoweave.data.importers.report import ImportReport
from oncoweave.data.importers.sources import first_place

BAG_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where files come from and where bags go."""

    folder: Path
    """Folder that paths of the table start from."""
    scratch: Path
    """Root of the cohort that is being made."""
    modality: str
    encoder: str | None = None
    """Name of the encoder of bags that do not say."""


def lay_files(values: pd.DataFrame, place: Place, report: ImportReport) -> pd.DataFrame:
    """Convert the bags of a table into ``scratch/bags/<modality>`` and make other paths absolute.

    A bag that cannot be read is left out and counted with its reason.

    Raises:
        DataError: a file does not exist, a slide id is no plain file name, two slides have one name, none of the bags can be
            read, or they are of two encoders.
    """
    where = f"modality {place.modality!r}"
    values = values.copy()
    for column in (c for c in ("slide_path", "path") if c in values):
        found = [
            str(_existing(place.folder / name, where=f"{where}, column {column!r}, line {row + FIRST_ROW}"))
            if isinstance(name, str)
            else None
            for row, name in zip(values.index.to_list(), values[column], strict=True)
        ]
        values[column] = pd.Series(found, index=values.index, dtype=object)
    if "slide_id" not in values:
        return values
    is_bag = values["path"].map(_is_bag) if "path" in values else pd.Series(data=False, index=values.index)
    names = values["slide_id"].fillna("").astype(str)[values["slide_id"].notna() | is_bag]
    for row, name in zip(names.index.to_list(), names, strict=True):
        require_file_name(name, where=f"{where}, line {row + FIRST_ROW}, column 'slide_id'")
    if not is_bag.any():
        return values
    laid, reasons = _lay_bags(values[is_bag], place, where=where)
    for reason, count in reasons.items():
        report.note("left out", count, "slides", where=where, reason=reason)
    unread = values.index[is_bag].difference(laid.index)
    if len(unread) and laid.empty:
        msg = f"{where}: none of {len(unread)} bag(s) could be read: {'; '.join(reasons)}"
        raise DataError(msg)
    values.loc[laid.index, "path"] = laid
    return values.drop(index=unread)


def _is_bag(path: object) -> bool:
    return isinstance(path, str) and path.endswith(BAG_SUFFIXES)


def _lay_bags(values: pd.DataFrame, place: Place, *, where: str) -> tuple[pd.Series, dict[str, int]]:
    """Bring bags in; gives their paths inside the folder by row, and how often each reason kept one out."""
    names = values["slide_id"].astype(str)
    twice = names.duplicated()
    if twice.any():
        msg = f"{where}: {int(twice.sum())} slide id(s) stand twice, first in {first_place(twice)}; each slide needs its own"
        raise DataError(msg)
    laid: dict[object, str] = {}
    reasons: dict[str, int] = {}
    for row, slide_id, source in zip(values.index, names, values["path"], strict=True):
        name = f"bags/{place.modality}/{slide_id}.h5"
        try:
            _convert(Path(source), place.scratch / name, slide_id=slide_id, encoder=place.encoder)
        except (DataError, SlideError) as error:
            reason = str(error).partition(": ")[2] or str(error)  # without the file's name, so that equal reasons count together
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            laid[row] = name
    if laid:
        require_one_encoder({str(values["path"].at[row]): read_head(place.scratch / name) for row, name in laid.items()})
    return pd.Series(laid, dtype=object), reasons


def _convert(source: Path, target: Path, *, slide_id: str, encoder: str | None) -> None:
    bag = read_bag(source)
    named = None if bag.attrs.encoder == "unknown" else bag.attrs.encoder
    write_bag(target, replace(bag, attrs=replace(bag.attrs, slide_id=slide_id, encoder=named or encoder)))


def _existing(path: Path, *, where: str) -> Path:
    if not path.exists():
        msg = f"{where}: no file {path}"
        raise DataError(msg)
    return path.resolve()
